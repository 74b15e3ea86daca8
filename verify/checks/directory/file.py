"""Check `file` of a directory: its weight files are whole and hold each tensor once, and its source's companions are
there."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from verify.checks.directory.file_set import FileSet
from verify.checks.directory.names import stored_name
from verify.checks.directory.target import Directory
from verify.checks.result import CheckResult, exact
from verify.sources import Hyperparameters, Source

_COMPANIONS = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tekken.json", "generation_config.json"),
)
_COMPANION_PATTERNS = ("chat_template.*", "*.tiktoken")


def companions_of(source: Source) -> FileSet | None:
    """Return the files beside a Hugging Face source's weights that a directory must have too; None for others."""
    if source.kind != "huggingface":
        return None
    patterned = (path.name for pattern in _COMPANION_PATTERNS for path in source.path.glob(pattern))
    return FileSet(source.path, {*_COMPANIONS, *patterned})


def weight_findings(directory: Directory, hyper: Hyperparameters) -> list[str]:
    """Return what is wrong with the files of the weights, or with the names and shapes in them. hyper: the model that
    the directory's own config.json means."""
    if directory.weights.findings:
        return directory.weights.findings
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in hyper.shapes().items():
        theirs = stored_name(name, hyper.norm_place, fused=directory.is_fused, mixtral=directory.is_mixtral)
        # the parts of a fused matrix add up
        above = expected[theirs][0] if theirs in expected else 0
        expected[theirs] = (above + shape[0], *shape[1:])
    tensors = directory.weights.tensors
    findings = []
    for name in sorted(expected.keys() | tensors.keys()):
        if hyper.tied and name == "lm_head.weight":
            findings += _tied_findings(directory)
        elif name not in tensors:
            findings.append(f"{name}: expected {expected[name]}, as config.json implies, found no such tensor")
        elif name not in expected:
            findings.append(f"{tensors[name].file.name}: {name}: expected no such tensor by config.json, found it")
        elif tensors[name].shape != expected[name]:
            found = tensors[name].shape
            findings.append(f"{name}: expected {expected[name]}, as config.json implies, found {found}")
    return findings


def check_directory_file(directory: Directory, wrong: list[str], companions: FileSet | None) -> CheckResult:
    """Exact: any finding fails. wrong: what weight_findings() found."""
    findings = wrong + (_companion_findings(directory, companions.digests) if companions else [])
    if findings:
        return exact("file", len(findings), "; ".join(findings[:_SHOWN]) + _more(findings))
    shards = len({tensor.file for tensor in directory.weights.tensors.values()})
    many = "1 file" if shards == 1 else f"{shards} files"
    carried = f"; {len(companions.digests)} files carried over from the source" if companions else ""
    return exact("file", 0, f"{len(directory.weights.tensors)} tensors cover {many} without gap or overlap{carried}")


_SHOWN = 5


def _more(findings: list[str]) -> str:
    return f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""


def _tied_findings(directory: Directory) -> list[str]:
    """A tied directory may hold its classifier a second time, but no other one: transformers does not read it."""
    embedding, classifier = (
        directory.weights.tensors.get(f"{name}.weight") for name in ("model.embed_tokens", "lm_head")
    )
    if classifier is None or embedding is None:
        return []
    same = (embedding.storage, embedding.shape) == (classifier.storage, classifier.shape)
    if same and np.array_equal(embedding.read().view(np.uint8), classifier.read().view(np.uint8)):
        return []
    return [
        "lm_head.weight: expected the bits of model.embed_tokens.weight, as tie_word_embeddings says, found others"
    ]


def _is_companion(name: str) -> bool:
    return name in _COMPANIONS or any(fnmatchcase(name, pattern) for pattern in _COMPANION_PATTERNS)


def _companion_findings(directory: Directory, of_source: Mapping[str, str]) -> list[str]:
    here = directory.files.digests
    names = {*of_source, *filter(_is_companion, here)}
    findings = []
    for name in sorted(names):
        if name not in here:
            findings.append(f"{name}: expected the source's, found no such file: copy it from the source")
        elif name not in of_source:
            findings.append(f"{name}: expected no such file, because the source has none, found one")
        elif here[name] != of_source[name]:
            findings.append(f"{name}: expected the source's, sha256 {of_source[name]}, found {here[name]}")
    return findings
