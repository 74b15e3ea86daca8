"""Prefixes that wrappers leave before the names of tensors: torch.compile's, DDP's, FSDP's, Lightning's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.strict_json import shown

# Modules that only hold another one; they stand at the beginning of a name or between its parts.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What people call the model that they train, at the beginning alone.
_OWN_NAMES = ("model", "net")


@dataclass(frozen=True)
class Renamed:
    """stored: the name of each tensor in the file by the name it should have. notes: what was removed."""

    stored: dict[str, str]
    notes: tuple[str, ...]


def without_prefixes(where: str, found: Collection[str], expected: Collection[str], body: str = "") -> Renamed:
    """Undo what wrappers did to names.

    expected: names of the model's tensors, some of which may rightly be absent. body: a prefix of most of those,
    which a model that was saved without its head lacks ("model." of Hugging Face's).
    Raises CheckpointError where two tensors would have one name, or all have a prefix that nobody knows.
    """
    wanted = set(expected)
    plain, wrappers = _unwrapped(where, found)
    best, removed, score = plain, "", -1
    for names, prefix in _candidates(plain, body):
        fits = len(wanted & names.keys())
        if fits > score:
            best, removed, score = names, prefix, fits
    if score <= 0:
        _refuse_unknown_prefix(where, plain, wanted, body)
    notes = [f'weights are named with the prefix "{wrapper}."; it was removed' for wrapper in wrappers]
    if removed.startswith("+"):
        notes.append(f'weights are named without the prefix "{body}"; it was added')
        removed = removed[1:]
    if removed:
        notes.append(f'weights are named with the prefix "{removed}"; it was removed')
    return Renamed(best, tuple(notes))


def _unwrapped(where: str, found: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Without modules that only wrap others, wherever they stand; and which those were."""
    plain: dict[str, str] = {}
    wrappers: dict[str, None] = {}
    for stored in found:
        parts = stored.split(".")
        name = ".".join(part for part in parts if part not in _WRAPPERS)
        wrappers.update(dict.fromkeys(part for part in parts if part in _WRAPPERS))
        if name in plain:
            raise CheckpointError(f"{where}: {name}: expected once, found {shown(plain[name])} and {shown(stored)}")
        plain[name] = stored
    return plain, list(wrappers)


def _candidates(names: Mapping[str, str], body: str) -> Iterable[tuple[dict[str, str], str]]:
    """(names as they may have been meant, the prefix removed, with a + before it where body was added)."""
    removed = ""
    current = dict(names)
    while True:
        yield current, removed
        if body and not any(name.startswith(body) for name in current):
            head = body.rstrip(".")
            yield (
                {
                    name if name.startswith("lm_head.") else f"{head}.{name}": stored
                    for name, stored in current.items()
                },
                f"+{removed}",
            )
        first = {name.partition(".")[0] for name in current}
        if len(first) != 1 or not first <= set(_OWN_NAMES):
            return
        own = first.pop() + "."
        current = {name.removeprefix(own): stored for name, stored in current.items()}
        removed += own


def _refuse_unknown_prefix(where: str, names: Collection[str], wanted: Collection[str], body: str) -> None:
    """Where leaving something away at the beginning of all names would name tensors of the model."""
    first = next(iter(names), "")
    parts = first.split(".")
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count]) + "."
        if not all(name.startswith(prefix) for name in names):
            return
        stripped = {name.removeprefix(prefix) for name in names}
        if any(name in wanted or body + name in wanted for name in stripped):
            raise CheckpointError(
                f"{where}: expected names like {min(wanted)}, found all tensors under the unknown prefix "
                f"{shown(prefix)}: save the model without it"
            )
