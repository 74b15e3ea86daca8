"""A header that differs from the source is blamed itself, and no engine that follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.mistake_tables import GROUP
from helpers.models import arrays, config

import exporter
import reader_c
import verify
from verify.diagnosis import Diagnosis, diagnose_header
from verify.evidence import Evidence
from verify.testing import source_of

LLAMA3 = exporter.RopeScaling(
    "llama3", factor=8.0, original_max_positions=16, low_freq_factor=1.0, high_freq_factor=4.0
)


def moved(to: int) -> exporter.RopeScaling:
    return exporter.RopeScaling(**{**vars(LLAMA3), "original_max_positions": to})


def layers(*windowed: bool) -> dict[str, Any]:
    return {"window": 4, "layers": tuple(exporter.LayerKind(windowed=one) for one in windowed)}


def header(directory: Path, right: dict[str, Any], wrong: dict[str, Any], kind: str = "v3") -> Diagnosis | None:
    """The diagnosis of a healthy file of another model that has the same tensors."""
    mine, path = config(**right), directory / "x.bin"
    other = config(**wrong)
    exporter.export(exporter.Checkpoint.from_arrays(other, arrays(other)), path, format=kind, group_size=GROUP)
    source = source_of(exporter.Checkpoint.from_arrays(mine, arrays(mine)))
    with reader_c.open(path) as model:
        return diagnose_header(model, source.hyperparameters, mine.max_seq_len)


@pytest.mark.parametrize(
    ("right", "wrong", "name", "text"),
    [
        ({}, {"activation": "gelu"}, "header-field", "says activation gelu where the source has silu"),
        ({"norm_eps": 1e-6}, {}, "header-field", "norm_eps 1e-05 where the source has 1e-06"),
        ({}, {"activation": "gelu", "norm_eps": 1e-6}, "header-field", "and activation differs, too"),
        (
            layers(True, False),
            layers(True, True),
            "header-windows",
            "to every layer, but the source has it in layers 0",
        ),
        (layers(True, False), layers(False, True), "header-field", "windowed_layers 1 where the source has 0"),
        ({"rope_scaling": LLAMA3}, {}, "header-scaling", "omits RoPE's scaling, which is llama3"),
        (
            {"rope_scaling": LLAMA3},
            {"rope_scaling": moved(33)},
            "header-context",
            "has 33, the model's longest sequence",
        ),
        ({"rope_scaling": LLAMA3}, {"rope_scaling": moved(15)}, "header-field", "original_max_positions 15"),
        ({}, {"tied": True}, "header-tied", "is the embedding, but the source's is a matrix of its own"),
        ({"tied": True}, {}, "header-tied", "is a matrix of its own, but the source's is the embedding"),
    ],
)
def test_a_field_is_named_with_both_values(
    tmp_path: Path, right: dict[str, Any], wrong: dict[str, Any], name: str, text: str
) -> None:
    found = header(tmp_path, right, wrong)
    assert found is not None
    assert (found.signature, found.tensors, found.explained) == (name, (), 0)
    assert text in found.sentence


def test_what_a_format_cannot_hold_is_no_wrong_field(tmp_path: Path) -> None:
    found = header(tmp_path, {"rope_theta": 5e5}, {}, "v2")
    assert found is not None
    assert (found.signature, found.sentence) == (
        "format-implies",
        "v2 has no field for rope_theta and implies 10000.0, but the source has 500000.0",
    )


@pytest.mark.parametrize("wrong", [{}, {"max_seq_len": 20}, {"hidden_dim": 48}, {"tied": True, "dim": 60}])
def test_a_right_header_another_length_and_another_shape_have_no_name(tmp_path: Path, wrong: dict[str, Any]) -> None:
    assert header(tmp_path, {}, wrong) is None


@pytest.mark.parametrize(("wrong", "name"), [({"activation": "gelu"}, "activation"), ({"tied": True}, "header-tied")])
def test_the_header_is_blamed_before_the_engine_that_follows_it(
    tmp_path: Path, wrong: dict[str, Any], name: str
) -> None:
    for file, changes in (("source.bin", {}), ("file.bin", wrong)):
        model = config(**changes)
        exporter.export(exporter.Checkpoint.from_arrays(model, arrays(model)), tmp_path / file, format="v3")
    evidence = Evidence(depth="quick", windows=1, length=8)
    report = verify.verify(tmp_path / "source.bin", tmp_path / "file.bin", evidence=evidence)
    assert report.verdict == "fail"
    assert report.diagnosis is not None
    assert report.diagnosis.signature == name
    assert report.diagnosis.sentence.startswith("the header says")
