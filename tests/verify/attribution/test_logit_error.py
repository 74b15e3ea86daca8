"""The parts of a logit's error add up to it, whether it is rounding or a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, checkpoint, toy_file
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.checks.execution import Execution
from verify.evidence import Window
from verify.oracle import llama
from verify.oracle.expected import numbers
from verify.oracle.logit_sigma import logit_sigma
from verify.run.reference_logits import References
from verify.run.traced_windows import Tracer
from verify.sources import Source, open_source
from verify.testing import configs


def judged(source: Source, path: Path, length: int) -> tuple[Tracer, dict[str, Any], list[Window], reader_c.Model]:
    """The place of the worst logit of "mirror", and what explains it."""
    model = reader_c.open(path)
    references = References(source, model)
    tracer = Tracer(model, source.hyperparameters, references, "full")
    tokens = np.random.default_rng(length).integers(0, source.hyperparameters.vocab_size, length)
    windows = [Window(tokens, "random")]
    reference, execution = references.of(torch.from_numpy(tokens)[None], [0], agree=False)[0], Execution()
    execution.add(0, reference.of_file, reference.sigma, model.forward(tokens, arithmetic="mirror"))
    return tracer, {**execution.where, "arithmetic": "mirror"}, windows, model


@pytest.mark.slow
@given(
    configs(max_layers=3, head_sizes=True, biases=True, activations=True, scalings=True),
    st.sampled_from(("fp32", "q8_0")),
    st.integers(2, 30),
)
def test_rounding_is_shared_out_among_all_operations(
    tmp_path_factory: pytest.TempPathFactory, config: exporter.ModelConfig, storage: str, length: int
) -> None:
    directory = tmp_path_factory.mktemp("closure")
    source_path, path = directory / "source.bin", directory / "model.bin"
    exporter.export(checkpoint(config), source_path, format="v3")
    exporter.export(checkpoint(config), path, format="v3", storage=storage, group_size=8)
    tracer, where, windows, model = judged(open_source(source_path), path, min(length, config.max_seq_len))
    with model:
        closure = tracer.explain(where, windows)
    assert closure is not None
    # what float64 itself loses is a part of a difference that may be tiny
    assert abs(1 - closure.explained) * abs(closure.difference) < 1e-11
    assert len({(part.layer, part.operation) for part in closure.parts}) == len(closure.parts)
    assert sum(part.part for part in closure.parts) == pytest.approx(closure.explained * closure.difference)


def test_numbers_of_the_file_are_the_references(tmp_path: Path) -> None:
    """Closure is of the engine's arithmetic: what storage costs is in both sides, and in no operation."""
    path, source_path = toy_file(tmp_path, "v2"), tmp_path / "source.bin"
    exporter.export(checkpoint(), source_path, format="v3")
    source = open_source(source_path)
    tracer, where, windows, model = judged(source, path, 30)
    with model:
        closure = tracer.explain(where, windows)
    assert closure is not None
    tokens = torch.from_numpy(windows[0].tokens)[None]

    def load(name: str) -> torch.Tensor:
        tensor = torch.from_numpy(arrays(exporter.open_checkpoint(source_path).config)[name])
        return tensor if tensor.ndim == 1 else numbers(tensor, "q8_0", 8)

    sigma = logit_sigma(source.hyperparameters, load, tokens, seed=0)
    assert abs(closure.difference) < 10 * float(sigma.max())
    clean = llama.logits(source.hyperparameters, load, tokens)[0]
    engine = reader_c.open(path).forward(windows[0].tokens, arithmetic="mirror")
    at = (closure.position, closure.index)
    assert closure.difference == pytest.approx(float(engine[at] - clean[at]), rel=1e-6)
