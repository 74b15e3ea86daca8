"""A candidate is judged by other hyperparameters than the model's, and leaves those alone."""

from __future__ import annotations

from helpers.mistake_world import World

from verify.diagnosis.candidate import with_hyper


def test_only_the_named_hyperparameters_change(world: World) -> None:
    before = world.recompute.hyper
    changed = with_hyper(world.recompute, norm_eps=0.5)
    assert (changed.hyper.norm_eps, world.recompute.hyper) == (0.5, before)
    assert with_hyper(changed, norm_eps=before.norm_eps).hyper == before
    assert changed.weights is world.recompute.weights
