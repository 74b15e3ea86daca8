"""Random models of transformers' own, through v3 in random storage: every check passes, and a wrong number fails."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers import huggingface
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from verify.evidence import Evidence

EVIDENCE = Evidence(windows=2)


def judged(source: Path, path: Path) -> dict[str, Any]:
    report = verify.verify(source, path, evidence=EVIDENCE)
    return {check.name: check for check in report.checks}


@given(
    huggingface.models(),
    st.sampled_from(["source", "fp32", "q8_0", {"*": "q8_0", "layers.0.*": "fp32", "*.wq.*": "source"}]),
    st.integers(0, 99),
)
def test_every_check_but_policy_passes_for_any_model(
    described: tuple[str, dict[str, Any]], storage: Any, seed: int
) -> None:
    """What quantization costs a random model of a few dimensions is no matter of law."""
    architecture, changes = described
    with tempfile.TemporaryDirectory() as directory:
        source, path = Path(directory) / "source", Path(directory) / "out.bin"
        huggingface.save(source, huggingface.model(architecture, seed, **changes))
        exporter.export(exporter.open_checkpoint(source), path, format="v3", storage=storage, group_size=16)
        found = judged(source, path)
        for name in ("config", "file", "tensors", "execution"):
            assert found[name].status == "pass", found[name]
        if storage in ("source", "fp32"):
            assert found["quantization"].status == "pass", found["quantization"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rope_theta": 10000.0}, "rope_theta"),
        ({"norm_eps": 1e-6}, "norm_eps"),
        ({"activation": "gelu"}, "activation"),
        ({"rope_scaling": exporter.RopeScaling()}, "rope_scaling_type"),
        ({"max_seq_len": 16}, "max_seq_len"),
    ],
)
def test_a_header_that_says_something_else_is_caught_at_config_and_by_the_logits(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    """v3 can say what it should not: a writer that misreads config.json."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    made = huggingface.model(
        rope_parameters={**scaling, "original_max_position_embeddings": 8}, rms_norm_eps=2.0**-17
    )
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    right = exporter.open_checkpoint(source)
    wrong = exporter.Checkpoint(
        dataclasses.replace(right.config, **changes),
        {name: right.shape(name) for name in right.names},
        right.load,
        where="a misreader",
        kind="huggingface",
    )
    exporter.export(wrong, path, format="v3")
    found = judged(source, path)
    assert (found["config"].status, found["config"].where["field"]) == ("fail", field)
    if field != "max_seq_len":
        assert found["file"].status == "fail"
        assert found["execution"].status == "fail"


def test_provenance_of_another_file_fails_at_file(tmp_path: Path) -> None:
    source, path = huggingface.save(tmp_path / "source", huggingface.model()), tmp_path / "out.bin"
    exporter.export(exporter.open_checkpoint(source), path, format="v3")
    assert judged(source, path)["file"].status == "pass"
    said = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(said, indent=1))
    found = judged(source, path)["file"]
    assert found.status == "fail"
    assert "provenance: config.json" in found.detail


def test_the_policy_of_v3_is_that_of_what_was_lost(tmp_path: Path) -> None:
    import torch

    from verify.policy import policy_section
    from verify.sources import open_source

    made = huggingface.model().to(torch.bfloat16)
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    for storage, section in (
        ("source", "v3"),
        ("fp32", "v3"),
        ("bf16", "v3"),
        ("fp16", "v3-half"),
        ({"*.w1.*": "q8_0"}, "v3-q8_0"),
    ):
        exporter.export(
            exporter.open_checkpoint(source), path, format="v3", storage=storage, group_size=8, overwrite=True
        )
        with reader_c.open(path) as model:
            assert policy_section(model, open_source(source)) == section
