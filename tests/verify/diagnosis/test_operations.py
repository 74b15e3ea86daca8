"""The diagnosis names an engine's mistake from its first wrong operation, and only a mistake that explains it."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_world import World

from verify.diagnosis import diagnose_operation


def test_the_sentence_names_the_layer_the_operation_and_what_the_engine_does(world: World) -> None:
    found = diagnose_operation(world.meaning(norm_eps=1e-6), world.stage(1), "ffn_norm")
    assert found is not None
    assert found.sentence == "layer 1, ffn_norm: the engine computes RMSNorm with epsilon 1e-05 instead of 1e-06"
    assert (found.signature, found.tensors, found.explained) == ("norm-eps", ("layers.1.ffn_norm.weight",), 1.0)


def test_what_is_no_known_mistake_gets_no_name(world: World) -> None:
    rng = np.random.default_rng(1)
    for operation, recorded in world.stages[1].at.items():
        spoiled = recorded + torch.from_numpy(rng.standard_normal(recorded.shape)) * (recorded != 0)
        stage = world.stage(1, **{operation: spoiled})
        assert diagnose_operation(world.recompute, stage, operation) is None
