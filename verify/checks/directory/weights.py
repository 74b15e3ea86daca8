"""All weight files of a Hugging Face directory: which ones count, and whether they agree with their index."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from verify.checks.directory.containers import StoredTensor, read_headers
from verify.errors import CannotJudgeError
from verify.system.reading import read_object

# In the order in which transformers looks for them.
_WHOLE = ("model.safetensors", "pytorch_model.bin")
# Of an index: those of the largest models have some 10 MB.
_MOST_BYTES = 100 * 1000 * 1000


@dataclass
class Weights:
    """All tensors of a directory by Hugging Face's names, and what is wrong with the files that hold them."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def read_weights(directory: Path, names: set[str]) -> Weights:
    """Return the weights of a directory whose files have these names."""
    weights = Weights()
    if (found := _files(directory, names, weights)) is None:
        return weights
    index, shards = found
    for shard in shards:
        try:
            held = read_headers(directory / shard)
        except ValueError as error:
            weights.findings.append(f"{shard}: {error}")
            continue
        for name, tensor in held.items():
            if name in weights.tensors:
                other = weights.tensors[name].file.name
                weights.findings.append(f"{shard}: {name}: expected in one shard, found in {other} too")
            weights.tensors[name] = tensor
    if index is not None and not weights.findings:
        weights.findings += _index_findings(directory / index, weights.tensors)
    return weights


def _files(directory: Path, names: set[str], weights: Weights) -> tuple[str | None, list[str]] | None:
    """Return the index, if there is one, and the files with tensors; add findings. None: there are no weights."""
    for whole in _WHOLE:
        index = f"{whole}.index.json"
        if not {whole, index} & names:
            continue
        shards, listed = [whole], None
        if index in names:
            try:
                shards, listed = sorted(set(_weight_map(directory / index).values())), index
            except CannotJudgeError as error:
                weights.findings.append(str(error))
                return None
        weights.findings += [
            f"{index}: expected {shard}, which it names, found no such file" for shard in shards if shard not in names
        ]
        known = {*shards, listed}
        stray = sorted(name for name in names if _holds_weights(name) and name not in known)
        weights.findings += [
            f"{name}: expected no weights but those of {listed or whole}, found this file" for name in stray
        ]
        return listed, [shard for shard in shards if shard in names]
    weights.findings.append(f"weights: expected model.safetensors or an index of shards, found none in {directory}")
    return None


def _holds_weights(name: str) -> bool:
    """Whether transformers, or a program that reads such directories, may take weights from a file of this name."""
    beginning = name.startswith(("model", "pytorch_model", "consolidated", "adapter_"))
    if name == "adapter_config.json":
        return True
    return name.endswith((".safetensors", ".index.json")) or (beginning and name.endswith((".bin", ".pth")))


def _weight_map(path: Path) -> dict[str, str]:
    """Return an index's {tensor: file}. Raises CannotJudgeError."""
    suffix = Path(path.name.removesuffix(".index.json")).suffix
    found = read_object(path, _MOST_BYTES, "an index of shards").get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CannotJudgeError(
            f"{path.name}: weight_map: expected tensor names with the file of each, found {found!r:.80}"
        )
    for name, shard in found.items():
        plain = isinstance(shard, str) and shard.isprintable() and Path(shard).name == shard
        if not plain or not shard.endswith(suffix):
            raise CannotJudgeError(
                f"{path.name}: {name[:80]!a}: expected a {suffix} file beside it, found {shard!r:.80}"
            )
    return found


def _index_findings(path: Path, tensors: dict[str, StoredTensor]) -> list[str]:
    """Return where an index says something else than the shards."""
    listed = _weight_map(path)
    findings = []
    for name in sorted(listed.keys() | tensors.keys()):
        there = tensors[name].file.name if name in tensors else "no shard"
        if listed.get(name, "no entry") != there:
            findings.append(
                f"{path.name}: {name}: expected {there}, which holds it, found {listed.get(name, 'no entry')}"
            )
    metadata = read_object(path, _MOST_BYTES).get("metadata")
    said = metadata.get("total_size") if isinstance(metadata, dict) else None
    total = sum(tensor.nbytes for tensor in tensors.values())
    if said is not None and said != total:
        findings.append(f"{path.name}: total_size: expected {total}, the bytes of all tensors, found {said!r:.80}")
    return findings
