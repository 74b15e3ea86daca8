"""Cuts the rows of a fused matrix into its parts: queries, keys and values; gate and up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from verify.sources.huggingface_families import FUSED
from verify.sources.refusal import refusal

_PARTS = {part: module for module, parts in FUSED.items() for part in parts}


def part_rows(path: Path, own: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    """Return which rows of its stored tensor each part of a fused matrix is, by llama2.c's name.

    own: llama2.c's name -> the stored one, as Names.own. shapes: of the stored tensors. How many rows are queries is
    the width of what wo reads; the rest are keys and values, as many of each.
    """
    rows: dict[str, slice] = {}
    for name, stored in own.items():
        module = _PARTS.get(name.removesuffix(".weight").split(".", 2)[-1])
        if module is None:
            continue
        total, prefix = shapes[stored][0], name.split(".attention.")[0]
        counts = _counts(path, module, total, shapes.get(own.get(f"{prefix}.attention.wo.weight", "")), stored)
        firsts = [sum(counts[:number]) for number in range(len(counts))]
        at = FUSED[module].index(name.removesuffix(".weight").split(".", 2)[-1])
        rows[name] = slice(firsts[at], firsts[at] + counts[at])
    return rows


def _counts(path: Path, module: str, total: int, of_wo: tuple[int, ...] | None, stored: str) -> list[int]:
    """Return how many rows each part has."""
    parts = len(FUSED[module])
    queries = of_wo[1] if of_wo is not None and len(of_wo) == 2 and parts == 3 else 0
    half, remainder = divmod(total - queries, 2)
    if remainder or half < 1:
        raise refusal(path, stored, "rows of the parts of a fused matrix", total)
    return [queries, half, half] if parts == 3 else [half, half]
