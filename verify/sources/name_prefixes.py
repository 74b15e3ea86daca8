"""Removes what wrappers of a model put before the names of its tensors.

DistributedDataParallel names everything `module.`, torch.compile `_orig_mod.`, FSDP `_fsdp_wrapped_module.`, and a
Lightning module after the attribute that holds the model, most often `model.` or `net.`. They come nested, and those
that begin with an underscore also stand in the middle of a name, where a part of a model was wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from verify.sources.refusal import refusal

_ANYWHERE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_IN_FRONT = _ANYWHERE | {"module", "model", "net"}


def unwrapped(where: object, names: Iterable[str], known: Callable[[str], bool]) -> dict[str, str]:
    """Return each name without its wrappers, by the name as it is stored. known says whether a model has a tensor of
    that name; a name that is not known without its wrappers stays whole. Raises CannotJudgeError where two names
    become one."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in names:
        short = _without_wrappers(name, known)
        if short in first:
            raise refusal(where, short, "one such tensor", f"{first[short]} and {name}")
        first[short], found[name] = name, short
    return found


def _without_wrappers(name: str, known: Callable[[str], bool]) -> str:
    if known(name):
        return name
    first, *rest = (part for part in name.split(".") if part not in _ANYWHERE)
    parts = [first, *rest]
    while parts and not known(".".join(parts)):
        if parts[0] not in _IN_FRONT:
            return name
        del parts[0]
    return ".".join(parts) or name


def shared_unknown_prefix(names: Iterable[str], known: Callable[[str], bool]) -> str:
    """Return the prefix that all names share and without which a model has each of them; "" where there is none."""
    listed = list(names)
    parts = listed[0].split(".") if listed else []
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count]) + "."
        if all(name.startswith(prefix) and known(name.removeprefix(prefix)) for name in listed):
            return prefix
    return ""


def note_of_removed(prefixes: Iterable[str]) -> list[str]:
    """Return a note of the prefixes that were removed, without the empty one, as a list of none or one."""
    listed = sorted({prefix for prefix in prefixes if prefix})
    if not listed:
        return []
    some = ", ".join(f'"{prefix}"' for prefix in listed[:3]) + (" and others" if len(listed) > 3 else "")
    if len(listed) == 1:
        return [f"weights are named with the prefix {some}; it was removed"]
    return [f"weights are named with the prefixes {some}; they were removed"]
