"""Positions whose experts rounding decides are left out, counted, and named in the check that leaves them out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers import huggingface
from helpers.family_models import family_model

import exporter
import verify
from verify.checks.result import exact
from verify.oracle.routing import Certainty
from verify.run.undecided import Undecided

CHECK = exact("execution", 0, "12 logits")


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    for windows, margin in (([], None), ([(8, Certainty(8, math.inf))], None), ([(8, Certainty(8, 12.5))], 12.5)):
        undecided = Undecided.of(windows)
        assert undecided == Undecided(0, 0, margin)
        assert undecided.beside(CHECK) is CHECK


def test_positions_windows_and_the_smallest_margin_are_counted() -> None:
    windows = [(8, Certainty(5, 3.25)), (8, Certainty(8, 40.0)), (4, Certainty(0, 0.0)), (6, Certainty(6, math.inf))]
    undecided = Undecided.of(windows)
    assert undecided == Undecided(7, 2, 0.0)
    said = (
        "12 logits; 7 positions in 2 windows not judged: from there on, rounding may choose other experts (smallest "
        "margin 0 of the 10 standard deviations that make a choice certain)"
    )
    assert undecided.beside(CHECK).detail == said
    assert (
        Undecided.of(windows[:1])
        .beside(CHECK)
        .detail.endswith("(smallest margin 3.2 of the 10 standard deviations that make a choice certain)")
    )


def olmoe(path: Path, *, layers: int, alike: int) -> Path:
    """A model in whose last layer so many experts have the same router."""
    sizes = {
        **{"hidden_size": 24, "intermediate_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2},
        **{"num_key_value_heads": 1, "vocab_size": 31, "max_position_embeddings": 24, "pad_token_id": None},
        **{"rms_norm_eps": 2.0**-17, "num_experts": 6, "num_experts_per_tok": 2},
    }
    model = family_model("olmoe", sizes, 0)
    with torch.no_grad():
        router = model.model.layers[-1].mlp.gate.weight
        router[:alike] = router[:1].clone()
    return huggingface.save(path / "source", model)


@pytest.mark.slow
def test_a_verdict_judges_what_rounding_does_not_decide(tmp_path: Path) -> None:
    source, file = olmoe(tmp_path, layers=2, alike=2), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3")
    report = verify.verify(source, file, depth="quick")
    assert report.passed
    covered = report.evidence["coverage"]
    assert 0 < covered["undecided_positions"] < covered["tokens"]
    assert covered["router_margin"] == 0
    (execution,) = (check for check in report.checks if check.name == "execution")
    assert f"{covered['undecided_positions']} positions in " in execution.detail


@pytest.mark.slow
def test_a_verdict_without_any_certain_position_does_not_pass(tmp_path: Path) -> None:
    source, file = olmoe(tmp_path, layers=1, alike=6), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3")
    report = verify.verify(source, file, depth="quick")
    assert not report.passed
    (execution,) = (check for check in report.checks if check.name == "execution")
    assert execution.status == "skipped"
    assert execution.detail.startswith("no logits were compared; ")
