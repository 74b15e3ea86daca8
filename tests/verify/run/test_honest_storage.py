"""What a file costs beside honest storage is computed as the draws are: in float32, which moves no cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save, state_dict

import exporter
import reader_c
from verify.evidence import Window
from verify.oracle import llama
from verify.run.honest_storage import storage_batches, storage_cost
from verify.run.reference_logits import References
from verify.sources import open_source


def test_both_sides_are_computed_in_the_type_of_the_draws_and_cost_what_float64_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = save(tmp_path, state_dict()), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(path), file, format="v3", storage="q8_0", group_size=8)
    model, source = reader_c.open(file), open_source(path)
    hyper, references = source.hyperparameters, References(source, model)
    tokens = np.random.default_rng(0).integers(0, hyper.vocab_size, 16)
    windows, exact, asked = [Window(tokens, "random")], llama.logits, []

    def wide(*arguments: object) -> torch.Tensor:
        asked.append(arguments[3])
        return exact(*arguments[:3])  # type: ignore[arg-type]

    (batch,) = storage_batches(hyper, windows)
    found = storage_cost(model, hyper, references, windows, batch, int8=True, seed=0)
    monkeypatch.setattr(llama, "logits", wide)
    again = storage_cost(model, hyper, references, windows, batch, int8=True, seed=0)
    assert asked == [torch.float32] * 2
    for one, other in zip((*found.fp32, *found.q8), (*again.fp32, *again.q8), strict=True):
        assert one != other
        assert (one.file, *one.draws) == pytest.approx((other.file, *other.draws), abs=1e-3)
