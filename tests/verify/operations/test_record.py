"""Recording runs every window through the engine, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.models import config, toy_file

import reader_c
from verify.operations.record import record


def test_windows_side_by_side_are_those_of_one_window_each(tmp_path: Path) -> None:
    windows = [np.random.default_rng(seed).integers(0, 29, 9) for seed in range(3)]
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        together = list(record(model, windows, "q8", "fast"))
        assert [layer for layer, _ in together] == [None, *range(config().n_layers), None]
        for row, window in enumerate(windows):
            for (layer, at), (one_layer, alone) in zip(together, record(model, [window], "q8", "fast"), strict=True):
                assert layer == one_layer
                assert at.keys() == alone.keys()
                for name, recorded in at.items():
                    assert recorded[row].numpy().tobytes() == alone[name][0].numpy().tobytes(), name
        logits = together[-1][1]["logits"]
        assert logits[1].numpy().tobytes() == model.forward(windows[1], activations="q8").tobytes()
