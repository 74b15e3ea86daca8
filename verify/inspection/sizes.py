"""How large a model is: parameters, MiB, bits a weight."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

# RoPE's tables in a v0 file, which no training touched.
_TABLES = ("freqs_cos", "freqs_sin")


def parameters(tensors: Iterable[dict[str, Any]]) -> int:
    """Return the number of weights. tensors: each with its name and shape."""
    return sum(math.prod(tensor["shape"]) for tensor in tensors if tensor["name"] not in _TABLES)


def sizes(tensors: list[dict[str, Any]], nbytes: int) -> dict[str, Any]:
    """Return parameters, the file's size in MiB, and how many bits of the file there are for each weight."""
    count = parameters(tensors)
    return {"parameters": count, "mib": nbytes / 2**20, "bits_a_weight": 8 * nbytes / count}


def in_words(found: dict[str, Any]) -> str:
    """Write sizes() in one line."""
    return f"{found['parameters']:,} parameters, {mib(found['mib'])} MiB, {found['bits_a_weight']:.3g} bits a weight"


def mib(value: float) -> str:
    """Write a size in MiB with three digits at least."""
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"
