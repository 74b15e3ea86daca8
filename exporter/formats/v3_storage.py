"""Choose how v3 stores each tensor, from the caller's patterns, the source's types and the group size that fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from exporter.checkpoint import Checkpoint
from exporter.errors import FormatError
from exporter.experts import expert_matrix, is_router
from exporter.formats.layout import choose_group_size
from exporter.formats.v3 import STORAGES, Stored

CHOICES = ("source", *STORAGES)


def choose_storage(
    checkpoint: Checkpoint, storage: str | Mapping[str, str], group_size: int, *, exact: bool
) -> dict[str, Stored]:
    """Return how each tensor is stored, by name.

    storage: one of CHOICES, or a mapping of name patterns to these, of which the last match counts; a tensor without
    a match is stored as in the source. A vector (norm or bias) is never stored narrower than in the source: it is
    small, and every number of the rows that it acts on depends on it. A router is never Q8_0: its products decide
    which experts a token goes through. exact: refuse a group size below group_size.
    Raises FormatError for an unknown choice, a pattern without a match, one that would narrow vectors alone or
    quantize routers alone, and patterns that store the experts of one layer differently.
    """
    patterns = {"*": storage} if isinstance(storage, str) else dict(storage)
    for pattern, choice in patterns.items():
        if choice not in CHOICES:
            raise FormatError(f"storage: expected one of {', '.join(CHOICES)}, found {choice!r}")
        matching = [name for name in checkpoint.names if fnmatchcase(name, pattern)]
        if not matching:
            raise FormatError(
                f"storage: expected a pattern that matches a tensor's name, found {pattern!r}: "
                f"{_nearest(pattern, checkpoint.names)}"
            )
        if choice not in ("source", "fp32") and all(len(checkpoint.shape(name)) == 1 for name in matching):
            raise FormatError(
                f"storage: expected source or fp32 for vectors, which are never narrowed, found {pattern}={choice}"
            )
        if choice == "q8_0" and all(is_router(name) for name in matching):
            raise FormatError(
                f"storage: expected other than q8_0 for routers, which are never quantized, found {pattern}={choice}"
            )
    stored = {
        name: _choose(checkpoint, name, _requested(patterns, name), group_size, exact=exact)
        for name in checkpoint.names
    }
    _check_experts(stored)
    return stored


def _check_experts(stored: Mapping[str, Stored]) -> None:
    """Raise FormatError unless a layer's experts are stored alike, matrix by matrix, as v3 requires."""
    first: dict[tuple[str, str], tuple[str, Stored]] = {}
    for name, own in stored.items():
        place = expert_matrix(name)
        if place is None:
            continue
        other, as_stored = first.setdefault(place, (name, own))
        if own != as_stored:
            raise FormatError(
                f"storage: expected {as_stored.storage} for {name}, as for {other}, found {own.storage}: "
                "v3 stores a matrix of all experts of a layer alike; give a pattern that matches all of them"
            )


def _nearest(pattern: str, names: Iterable[str]) -> str:
    """Name a pattern that matches and tensors whose names are near, for one that matches none."""
    names = list(names)
    inside = pattern.strip("*.")
    if inside and any(f".{inside}." in f".{name}." for name in names):
        return f"give '*.{inside}.*', or '*{inside}*' for each tensor whose name has {inside} in it"
    parts = sorted({part for name in names for part in name.split(".") if not part.isdigit()})
    # for 'layers.0.attention.wqq.weight', the part that is mistyped tells more than the whole
    mistyped = [part for part in pattern.split(".") if part.strip("*") and part not in parts and not part.isdigit()]
    near = [found for part in mistyped for found in get_close_matches(part.strip("*"), parts, n=1)]
    if near:
        return f"did you mean '*.{near[0]}.*'?"
    return f"`inspect` lists the names, such as {', '.join(get_close_matches(pattern, names, n=2, cutoff=0.0))}"


def _requested(patterns: Mapping[str, str], name: str) -> str:
    matching = [choice for pattern, choice in patterns.items() if fnmatchcase(name, pattern)]
    return matching[-1] if matching else "source"


def _choose(checkpoint: Checkpoint, name: str, requested: str, group_size: int, *, exact: bool) -> Stored:
    shape = checkpoint.shape(name)
    if requested == "source" or (len(shape) == 1 and requested != "fp32"):
        return Stored(checkpoint.dtype(name))
    if requested == "q8_0" and is_router(name):
        return Stored(checkpoint.dtype(name))
    if requested == "q8_0":
        return Stored(requested, choose_group_size({f"the width of {name}": shape[-1]}, group_size, exact=exact))
    return Stored(requested)
