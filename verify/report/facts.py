"""Derive the facts that a reader asks for first: the model's name, parameters, storage and size, and what changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from verify.checks.digits import counted, number
from verify.report.findings import Findings

# Sources that are one file, whose suffix is no part of the model's name.
_FILES = (".pt", ".pth", ".bin")
# Tensors of v0 that no checkpoint has.
_TABLES = ("freqs_cos", "freqs_sin")
_BYTES_OF_FLOAT32 = 4


@dataclass(frozen=True)
class ModelFacts:
    """Describes the model in the file.

    name: of the source. parameters: how many numbers its tensors hold, a shared matrix once; None if no tensor was
    compared. storage: parameters by storage, the most frequent first. bits_per_weight: the whole file's bits, for
    each parameter.
    """

    name: str
    parameters: int | None
    storage: Mapping[str, int]
    bits_per_weight: float | None

    @property
    def compression(self) -> float | None:
        """Return how many times smaller the file is than its parameters in float32."""
        return None if self.bits_per_weight is None else 8 * _BYTES_OF_FLOAT32 / self.bits_per_weight


def model_facts(findings: Findings) -> ModelFacts:
    """Return the facts that follow from the source, the file and its tensors."""
    stored: Counter[str] = Counter()
    for tensor in findings.tensors:
        if tensor.name not in _TABLES:
            stored[tensor.storage] += math.prod(tensor.shape)
    parameters = stored.total() or None
    return ModelFacts(
        name=_name(str(findings.source["path"])),
        parameters=parameters,
        storage=dict(stored.most_common()),
        bits_per_weight=None if parameters is None else 8 * findings.file["bytes"] / parameters,
    )


def _name(path: str) -> str:
    name = PurePath(path).name or path
    return next((name.removesuffix(end) for end in _FILES if name.endswith(end) and name != end), name)


def in_short(count: int) -> str:
    """Write a number of parameters as people say it: 134,515,008 as "134.5 M"."""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:,}"


def mebibytes(size: int) -> str:
    """Write a size in MiB, or in KiB below one, with at least three digits."""
    found, unit = (size / 2**20, "MiB") if size >= 2**20 else (size / 2**10, "KiB")
    return f"{found:,.0f} {unit}" if found >= 100 else f"{found:.3g} {unit}"


def storage_in_words(facts: ModelFacts, group_size: object) -> str:
    """Write which storages hold how much: "q8_0 in groups of 64 (99.9 %), fp32 (0.1 %)"."""
    total = sum(facts.storage.values())
    parts = []
    for storage, held in facts.storage.items():
        groups = f" in groups of {group_size}" if storage == "q8_0" and group_size else ""
        parts.append(f"{storage}{groups}" + (f" ({_share(held, total)})" if held != total else ""))
    return ", ".join(parts)


def _share(part: int, whole: int) -> str:
    """Write a share of which neither nothing nor all is left."""
    shown = f"{100 * part / whole:.1f}"
    return {"0.0": "< 0.1", "100.0": "> 99.9"}.get(shown, shown) + " %"


def depth_in_words(evidence: Mapping[str, Any]) -> str:
    """Write depth and windows: "quick: 3 windows of text, 3 random, 2 fixed"; nothing if the report has none."""
    if "depth" not in evidence:
        return ""
    kinds = [(count, "of text" if origin == "text" else origin) for origin, count in evidence["windows"].items()]
    said = [f"{counted(count, 'window') if n == 0 else count} {origin}" for n, (count, origin) in enumerate(kinds)]
    return f"{evidence['depth']}: {', '.join(said) or 'no window'}"


def since_baseline(findings: Findings) -> str:
    """Say in one line what changed since the baseline; nothing without one."""
    if findings.baseline is None:
        return ""
    compared = findings.baseline.comparisons
    worse = [f"{c.metric} on {c.origin} by {number(c.difference)}" for c in compared if c.worse]
    size = findings.file["bytes"] - findings.baseline.file["bytes"]
    parts = [f"worse: {', '.join(worse)}" if worse else f"no worse in {counted(len(compared), 'figure')}"]
    parts.append(f"{size:+,} bytes" if size else "the same size")
    return "; ".join(parts)
