"""Mistakes with RoPE are named from its table or from the first rotated vectors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.mistake_world import Case, World, assert_named, rotated

from verify.diagnosis.rope_candidates import of_positions, of_rotations, of_tables
from verify.sources import RopeScaling


def tables(w: World) -> Iterator[tuple[str, Case]]:
    plain, at = w.recompute, w.stages[1].at
    yield "rope-theta", (w.meaning(rope_theta=1e5), w.stage(1), "cosine", "theta 10000 instead of 100000")
    yield "rope-theta", (w.meaning(rope_theta=7777.0), w.stage(0), "sine", "theta 10000 instead of 7777")
    scaled = w.meaning(rope_scaling=RopeScaling("linear", factor=4.0))
    yield "rope-scaling-ignored", (scaled, w.stage(0), "sine", "omits RoPE's scaling (linear)")
    # an engine that counts positions from -1
    early = {name: at[name].roll(1, 1) for name in ("cosine", "sine")}
    early["cosine"][:, 0], early["sine"][:, 0] = at["cosine"][:, 1], -at["sine"][:, 1]
    text = "for each row of its table from the position before"
    yield "rope-position", (plain, w.stage(1, **early), "sine", text)


def rotations(w: World) -> Iterator[tuple[str, Case]]:
    for name in "qk":
        operation = f"{name}_rotated"
        for mistake, values, text in (
            ("rope-half-split", rotated(w, name, halves=True), "head_dim / 2"),
            ("rope-backwards", rotated(w, name, sign=-1), "in the opposite direction"),
            ("rope-missing", w.stages[1].at[name], f"does not apply RoPE to {name}"),
            ("rope-position", rotated(w, name, by=-1), "from the position after"),
            ("rope-position", rotated(w, name, by=1), "from the position before"),
        ):
            yield mistake, (w.recompute, w.stage(1, **{operation: values}), operation, text)


@pytest.mark.parametrize("mistakes", [tables, rotations])
def test_every_mistake_is_named(world: World, mistakes: object) -> None:
    assert callable(mistakes)
    assert_named(mistakes(world))


def test_other_operations_have_no_candidates(world: World) -> None:
    for propose in (of_tables, of_positions, of_rotations):
        assert not list(propose(world.recompute, world.stage(1), "gated"))
