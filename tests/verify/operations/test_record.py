"""Recording runs every window through the engine, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.models import config, toy_file
from helpers.qwen3c import qwen3c_config, qwen3c_file

import exporter
import reader_c
from verify.operations.record import record
from verify.testing import random_arrays


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


def test_queries_and_keys_of_a_file_in_halves_are_recorded_as_of_one_in_pairs(tmp_path: Path) -> None:
    arrays = random_arrays(qwen3c_config(), 0)
    paired = tmp_path / "v3.bin"
    checkpoint = exporter.Checkpoint.from_arrays(qwen3c_config(), arrays)
    exporter.export(checkpoint, paired, format="v3", storage="q8_0", group_size=8)
    windows = [np.arange(9)]
    with (
        reader_c.open(qwen3c_file(tmp_path / "ajc1.bin", qwen3c_config(), arrays)) as model,
        reader_c.open(paired) as other,
    ):
        for (_, at), (_, expected) in zip(
            record(model, windows, "fp32", "fast"), record(other, windows, "fp32", "fast"), strict=True
        ):
            assert at.keys() == expected.keys()
            for name, recorded in at.items():
                # sums run over the elements of a head in another order
                np.testing.assert_allclose(recorded, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)
