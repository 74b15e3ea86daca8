"""A stage is one recorded layer, judged whole, window by window, or with other recordings."""

from __future__ import annotations

import torch
from helpers.mistake_world import World

from verify.diagnosis.stage import Stage
from verify.operations.bounds import utilisation


def test_every_recorded_operation_of_a_healthy_stage_is_within_its_bound(world: World) -> None:
    for stage in world.stages.values():
        judged = list(stage.judge(world.recompute))
        assert {found.operation for found in judged} == set(stage.at)
        for found in judged:
            assert float(utilisation((found.out - found.exact).abs(), found.bound).max()) <= 1


def test_a_window_of_a_stage_has_its_own_rows(world: World) -> None:
    one = world.stages[1]
    at = {name: torch.cat((recorded, recorded + 1)) for name, recorded in one.at.items()}
    both = Stage(1, at, torch.cat((one.x, one.x + 1)), torch.cat((one.tokens, one.tokens + 1)))
    second = both.of_window(1)
    assert all(torch.equal(second.at[name], one.at[name] + 1) for name in at)
    assert torch.equal(second.x, one.x + 1)
    assert torch.equal(second.tokens, one.tokens + 1)


def test_other_recordings_replace_only_those_named(world: World) -> None:
    one = world.stages[1]
    changed = one.with_recorded(q=one.at["q"] + 1)
    assert {name for name in one.at if changed.at[name] is not one.at[name]} == {"q"}
