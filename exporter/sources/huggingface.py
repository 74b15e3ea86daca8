"""Hugging Face directories: config.json and safetensors (or pytorch_model.bin), whole or in shards.

Two things differ from llama2.c's convention: the names, and the order of q's and k's rows. Hugging Face rotates the
first half of a head against its second, llama2.c each element against its neighbour, so row i of the first half
and row i of the second become neighbours here: of q in each of n_heads heads, of k in each of n_kv_heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from exporter.checkpoint import Checkpoint, Dtype, Weights, check_names_and_shapes
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError, WeightError
from exporter.identity import identity
from exporter.sources.huggingface_config import read_config
from exporter.strict_json import read_object

_NAMES = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
_EMBEDDING, _CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"
# RoPE's frequencies, which old checkpoints kept as a buffer.
_BUFFER = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
_CANONICAL_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")

# safetensors' and torch's words. float64 is read as float32, and refused where that is another number.
_DTYPES: dict[str, Dtype] = {"F32": "fp32", "F64": "fp32", "F16": "fp16", "BF16": "bf16"}
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")


@dataclass(frozen=True)
class Stored:
    """A tensor as its file describes it. dtype: as safetensors spells it."""

    shape: tuple[int, ...]
    dtype: str


class _Container(Protocol):
    """A file of tensors: what it holds, told without reading them, and one of them at a time."""

    def describe(self) -> dict[str, Stored]: ...

    def read(self, name: str) -> NDArray[Any]: ...


def open_huggingface(path: Path) -> Checkpoint:
    """Open a directory without reading a weight, except for a classifier that should be the embedding.
    Raises CheckpointError."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: expected a Hugging Face directory, found none")
    config = read_config(path / "config.json")
    shards, index = _shards(path)
    held = _Held(shards)
    if index is not None:
        _check_index(path, index, held)
    names = {name: _hub_name(name) for name in tensor_shapes(config)}
    _check_classifier(path, config, held)
    # a tied model's own copy, which has been compared
    ignored = {name for name in held.stored if _BUFFER.fullmatch(name)} | ({_CLASSIFIER} if config.tied else set())
    shapes = {name: stored.shape for name, stored in held.stored.items() if name not in ignored}
    expected = {names[name]: shape for name, shape in tensor_shapes(config).items()}
    check_names_and_shapes(str(path), expected, shapes)

    def load(name: str) -> Weights:
        weights = _to_float32(f"{held.file_of(names[name])}: {names[name]}", held.read(names[name]))
        return _interleave(name, weights, config)

    tokenizer = next((path / name for name in _TOKENIZERS if (path / name).is_file()), None)
    beside = [path / "config.json", *(file for file in path.glob("*.index.json") if index is not None)]
    return Checkpoint(
        config,
        tensor_shapes(config),
        load,
        where=str(path),
        kind="huggingface",
        files=(*beside, *shards),
        dtypes={name: _DTYPES[held.stored[hub].dtype] for name, hub in names.items()},
        tokenizer=tokenizer,
    )


def _hub_name(name: str) -> str:
    match = _CANONICAL_LAYER.fullmatch(name)
    return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.{match[3]}" if match else _NAMES[name]


def _interleave(name: str, weights: Weights, config: ModelConfig) -> Weights:
    """q's and k's rows (weight or bias) from halves to pairs, head by head; all else as it is."""
    heads = {".wq.": config.n_heads, ".wk.": config.n_kv_heads}
    for part, count in heads.items():
        if part in name:
            halves = weights.reshape(count, 2, config.head_dim // 2, -1)
            return np.ascontiguousarray(halves.transpose(0, 2, 1, 3)).reshape(weights.shape)
    return weights


def _check_classifier(path: Path, config: ModelConfig, held: _Held) -> None:
    present = _CLASSIFIER in held.stored
    if not config.tied and not present:
        raise CheckpointError(f"{path}: {_CLASSIFIER}: expected one, since tie_word_embeddings is false, found none")
    if config.tied and present and not held.same_bits(_CLASSIFIER, _EMBEDDING):
        raise CheckpointError(
            f"{path}: {_CLASSIFIER}: expected the embedding's bits, since tie_word_embeddings is true, found others"
        )


# ---- files ----


def _shards(path: Path) -> tuple[list[Path], dict[str, str] | None]:
    """The files of weights, and the index's map of names to them; safetensors first, as transformers looks."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        whole, index = path / stem, path / f"{stem}.index.json"
        if whole.is_file():
            return [_inside(path, stem)], None
        if index.is_file():
            return _indexed(path, index)
    raise CheckpointError(
        f"{path}: expected model.safetensors or pytorch_model.bin, or an index of shards, found none"
    )


def _indexed(path: Path, index: Path) -> tuple[list[Path], dict[str, str]]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map: expected names and files, found {type(weight_map).__name__}")
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise CheckpointError(f"{index}: {name}: expected a file's name, found {type(file).__name__}")
    files = sorted(set(weight_map.values()))
    shards = [_inside(path, file) for file in files]
    kind = index.name.removesuffix(".index.json").rpartition(".")[2]
    for other in sorted(path.glob(f"*.{kind}")):
        if _SHARD.fullmatch(other.name) and other.name not in files:
            raise CheckpointError(f"{other}: expected a shard that {index.name} names, found one that it does not")
    return shards, weight_map


def _inside(path: Path, file: str) -> Path:
    """The file of that name in the directory, which may be a link into a hub cache and nowhere else."""
    if file in ("", ".", "..") or "/" in file or "\\" in file or "\0" in file:
        raise CheckpointError(f"{path}: expected a shard in the directory itself, found {file!r}")
    shard = path / file
    if not shard.is_file():
        raise CheckpointError(f"{shard}: expected a shard, found none")
    own, target = path.resolve(), shard.resolve()
    # models--org--name/snapshots/revision/file -> models--org--name/blobs/digest
    cache = own.parent.parent if own.parent.name == "snapshots" else own
    if not (target.is_relative_to(own) or target.is_relative_to(cache / "blobs")):
        raise CheckpointError(f"{shard}: expected a file in the directory, found a link to {target}")
    return shard


def _check_index(path: Path, index: Mapping[str, str], held: _Held) -> None:
    """Index and shards say the same of every tensor."""
    for name, file in index.items():
        if name not in held.stored or held.file_of(name).name != file:
            found = f"it in {held.file_of(name).name}" if name in held.stored else "no such tensor"
            raise CheckpointError(f"{path / file}: expected {name}, as the index has it, found {found}")
    extra = next((name for name in held.stored if name not in index), None)
    if extra is not None:
        raise CheckpointError(f"{held.file_of(extra)}: {extra}: expected an entry of the index, found none")


class _Held:
    """The tensors of all files, by the names that they have there."""

    def __init__(self, shards: list[Path]) -> None:
        self.stored: dict[str, Stored] = {}
        self._files: dict[str, Path] = {}
        self._identities = {shard: identity(shard) for shard in shards}
        for shard in shards:
            for name, stored in _open(shard).describe().items():
                if name in self._files:
                    raise CheckpointError(
                        f"{shard}: {name}: expected in one shard, found in {self._files[name].name} too"
                    )
                if stored.dtype not in _DTYPES and not _BUFFER.fullmatch(name):
                    raise CheckpointError(f"{shard}: {name}: expected a floating-point tensor, found {stored.dtype}")
                self.stored[name], self._files[name] = stored, shard

    def file_of(self, name: str) -> Path:
        return self._files[name]

    def read(self, name: str) -> NDArray[Any]:
        shard = self._files[name]
        if identity(shard) != self._identities[shard]:
            raise CheckpointError(f"{shard}: changed while it was being read")
        # Opened anew for each tensor: pages that one long-lived map had touched would stay in memory.
        return _open(shard).read(name)

    def same_bits(self, a: str, b: str) -> bool:
        """Equal as bytes: 0.0 and -0.0 differ."""
        if self.stored[a] != self.stored.get(b):
            return False
        return self.read(a).tobytes() == self.read(b).tobytes()


def _open(shard: Path) -> _Container:
    return _Safetensors(shard) if shard.suffix == ".safetensors" else _Pickled(shard)


class _Safetensors:
    """Read by the safetensors library, which checks the header, into numpy; ml_dtypes gives that bfloat16."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = safe_open(str(path), framework="np")
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: expected a safetensors file, found: {_first_line(error)}") from error

    def describe(self) -> dict[str, Stored]:
        with self._file as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            return {name: Stored(tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}

    def read(self, name: str) -> NDArray[Any]:
        try:
            with self._file as file:
                tensor: NDArray[Any] = file.get_tensor(name)
                return tensor
        except (SafetensorError, OSError, TypeError) as error:
            raise CheckpointError(f"{self._path}: {name}: cannot be read: {_first_line(error)}") from error


class _Pickled:
    """A state dict of torch.save, tensors and plain data alone."""

    def __init__(self, path: Path) -> None:
        # imported late: torch takes seconds, and safetensors does without
        import torch  # noqa: PLC0415

        from exporter.sources import torch_files  # noqa: PLC0415

        self._int16, self._bfloat16 = torch.int16, torch.bfloat16
        state = torch_files.load_mapped(path)
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise CheckpointError(f"{path}: expected a dict of tensors by name, found {type(state).__name__}")
        self._state = {name: torch_files.checked_tensor(f"{path}: {name}", value) for name, value in state.items()}

    def describe(self) -> dict[str, Stored]:
        spelled = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16"}
        words = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in self._state.items()}
        return {
            name: Stored(tuple(tensor.shape), spelled.get(words[name], words[name]))
            for name, tensor in self._state.items()
        }

    def read(self, name: str) -> NDArray[Any]:
        tensor = self._state[name].detach().contiguous()
        if tensor.dtype == self._bfloat16:
            # numpy has no bfloat16 of its own: by its bits
            bits: NDArray[Any] = tensor.view(self._int16).numpy()
            return bits.view(ml_dtypes.bfloat16)
        array: NDArray[Any] = tensor.numpy()
        return array


def _to_float32(where: str, tensor: NDArray[Any]) -> Weights:
    """Exactly the same numbers. Raises WeightError for a float64 that float32 cannot hold."""
    with np.errstate(over="ignore"):
        weights: Weights = tensor.astype(np.float32, copy=False)
    if tensor.dtype == np.float64:
        differs = (weights != tensor) & ~np.isnan(tensor)
        if differs.any():
            index = tuple(int(i) for i in np.argwhere(differs)[0])
            raise WeightError(
                f"{where}{list(index)}: expected a value that float32 can hold, found {float(tensor[index])!r}", index
            )
    return weights


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
