"""List mistakes with RoPE: its pairs, its direction, its positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MakeWatch, MistakenReference
from verify.oracle import llama
from verify.sources import Hyperparameters

Rotate = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# The signs of x cos, y sin, x sin, y cos in a rotated pair, which should be + - + +, by what the pair becomes.
_Signs = tuple[int, int, int, int]
_SIGNS: dict[str, _Signs] = {
    "x cos - y sin, x sin - y cos": (1, -1, 1, -1),
    "x cos + y sin, x sin + y cos": (1, 1, 1, 1),
    "x cos - y sin, y cos - x sin": (1, -1, -1, 1),
}


def of_rope(hyper: Hyperparameters, load: Load, first: int) -> Iterator[MistakenReference]:
    """Yield the mistakes. first: the first position with wrong logits, at which a table may end."""
    if all(layer.rope == "none" for layer in hyper.layers) and hyper.layers:
        return
    for names, of in ((("q", "k"), ""), (("q",), ", of queries only"), (("k",), ", of keys only")):
        if hyper.rotated > 2:
            sentence = m.ROPE_HALF_SPLIT.of_engine() + of
            yield MistakenReference(m.ROPE_HALF_SPLIT, sentence, hyper, load, rotating(_halves, *names))
    for names, what, same in (
        (("q", "k"), "queries and keys", ", or exchanges cosine and sine, which gives the same logits"),
        (("q",), "queries", ""),
        (("k",), "keys", ""),
    ):
        sentence = m.ROPE_BACKWARDS.of_engine(what=what) + same
        yield MistakenReference(m.ROPE_BACKWARDS, sentence, hyper, load, rotating(_backwards, *names))
    for found, signs in _SIGNS.items():
        rotate = rotating(_with_signs(signs), "q", "k")
        yield MistakenReference(m.ROPE_SIGNS, m.ROPE_SIGNS.of_engine(found=found), hyper, load, rotate)
    for found, in_place in _IN_PLACE.items():
        overwritten = m.ROPE_SIGNS.of_engine(found=found)
        yield MistakenReference(m.ROPE_SIGNS, overwritten, hyper, load, rotating(in_place, "q", "k"))
    for names, what in (
        (("q", "k"), "queries and keys, or takes every position for 0"),
        (("q",), "queries"),
        (("k",), "keys"),
    ):
        missing = m.ROPE_MISSING.of_engine(what=what)
        yield MistakenReference(m.ROPE_MISSING, missing, hyper, load, rotating(_not_at_all, *names))
    yield MistakenReference(m.ROPE_ON_VALUES, m.ROPE_ON_VALUES.of_engine(), hyper, load, _values_rotated)
    # no logit tells a query that is rotated too far from keys that are rotated too little
    for name, what, other in (("q", "queries", "keys"), ("k", "keys", "queries")):
        further = m.ROPE_POSITION.of_engine(what=what, side=f"after (or for {other} from the position before)")
        yield MistakenReference(m.ROPE_POSITION, further, hyper, load, rotating(_one_further, name))
    if first > 1:
        ends = m.ROPE_POSITION.of_engine(what=f"position {first} and all later ones", side=str(first - 1))
        yield MistakenReference(m.ROPE_POSITION, ends, hyper, load, rotating(_at(_stopping(first)), "q", "k"))
        begins = m.ROPE_POSITION.of_engine(what=f"position {first} and later ones", side="0 on, again")
        yield MistakenReference(m.ROPE_POSITION, begins, hyper, load, rotating(_at(_again(first)), "q", "k"))


def _stopping(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda positions: positions.clamp(max=count - 1)


def _again(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda positions: positions % count


def _at(of: Callable[[torch.Tensor], torch.Tensor]) -> Rotate:
    """Rotate by another position. of: positions -> those whose angles are taken."""

    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        taken = rotations[of(torch.arange(heads.shape[1]))]
        return torch.view_as_real(_complex(heads) * taken.unsqueeze(1)).flatten(-2)

    return rotate


def at_positions(of: Callable[[torch.Tensor], torch.Tensor]) -> Rotate:
    """Rotate by positions that may be no whole numbers. of: positions -> those whose angles are taken."""

    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        # position 1 turns by the frequencies themselves, and no factor is on position 0 alone
        turn, size = rotations[1].angle().double(), rotations[1].abs()
        angles = of(torch.arange(heads.shape[1])).double().unsqueeze(1) * turn
        taken = torch.polar(size.double().expand_as(angles), angles).to(rotations.dtype)
        return torch.view_as_real(_complex(heads) * taken.unsqueeze(1)).flatten(-2)

    return rotate


def rotating(rotate: Rotate, *names: str) -> MakeWatch:
    """Replace RoPE of "q", "k" or both. rotate: of (windows, length, heads, rotary_dim) and a complex rotation
    (length + 1, rotary_dim / 2)."""

    def make(hyper: Hyperparameters, rotation: torch.Tensor | None) -> llama.Watch:
        seen: dict[str, torch.Tensor] = {}

        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation.removesuffix("_normed") in names:
                seen[operation[0]] = y
            if rotation is not None and operation.endswith("_rotated") and operation[0] in names:
                heads = seen[operation[0]].unflatten(-1, (-1, hyper.head_dim))
                moving, staying = heads[..., : hyper.rotated], heads[..., hyper.rotated :]
                return torch.cat((rotate(moving, rotation), staying), dim=-1).flatten(2)
            return y

        return watch

    return make


def _values_rotated(hyper: Hyperparameters, rotation: torch.Tensor | None) -> llama.Watch:
    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        if operation != "v" or rotation is None:
            return y
        heads = y.unflatten(-1, (-1, hyper.head_dim))
        moving, staying = heads[..., : hyper.rotated], heads[..., hyper.rotated :]
        moved = torch.view_as_real(_complex(moving) * rotation[:-1].unsqueeze(1)).flatten(-2)
        return torch.cat((moved, staying), dim=-1).flatten(2)

    return watch


def _complex(heads: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous())


def _halves(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    low, high = heads.chunk(2, dim=-1)
    rotated = torch.complex(low.contiguous(), high.contiguous()) * rotations[:-1].unsqueeze(1)
    return torch.cat((rotated.real, rotated.imag), dim=-1)


def _backwards(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * rotations[:-1].conj().unsqueeze(1)).flatten(-2)


def _with_signs(signs: _Signs) -> Rotate:
    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        x, y = heads.unflatten(-1, (-1, 2)).unbind(-1)
        turn = rotations[:-1].unsqueeze(1)
        terms = (x * turn.real, y * turn.imag, x * turn.imag, y * turn.real)
        one, other, third, fourth = (sign * term for sign, term in zip(signs, terms, strict=True))
        return torch.stack((one + other, third + fourth), dim=-1).flatten(-2)

    return rotate


def _first_overwritten(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    x, y = heads.unflatten(-1, (-1, 2)).unbind(-1)
    turn = rotations[:-1].unsqueeze(1)
    x = x * turn.real - y * turn.imag
    return torch.stack((x, x * turn.imag + y * turn.real), dim=-1).flatten(-2)


def _second_overwritten(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    x, y = heads.unflatten(-1, (-1, 2)).unbind(-1)
    turn = rotations[:-1].unsqueeze(1)
    y = x * turn.imag + y * turn.real
    return torch.stack((x * turn.real - y * turn.imag, y), dim=-1).flatten(-2)


# Rotations that overwrite one number of a pair before the other is computed.
_IN_PLACE: dict[str, Rotate] = {
    "x' = x cos - y sin, x' sin + y cos": _first_overwritten,
    "x cos - y' sin, y' = x sin + y cos": _second_overwritten,
}


def _not_at_all(heads: torch.Tensor, _rotations: torch.Tensor) -> torch.Tensor:
    return heads


def _one_further(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * rotations[1:].unsqueeze(1)).flatten(-2)
