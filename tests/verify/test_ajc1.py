"""Verdicts on files of qwen3.c's: random Qwen 3 models pass, and each mistake fails at the check it belongs to."""

from __future__ import annotations

import dataclasses
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.family_models import family_model
from helpers.huggingface import save
from helpers.models import Arrays, hyperparameters
from helpers.qwen3c import qwen3c_config, qwen3c_file
from helpers.tokenizer_sources import byte_level_json, save_json
from helpers.tokenizers import trained
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from verify import verdict
from verify.evidence import Evidence
from verify.run.requested import Requested
from verify.sources.in_memory import MemorySource
from verify.testing import random_arrays

EVIDENCE = Evidence(windows=2)
MODEL = qwen3c_config()
YARN = exporter.RopeScaling(
    "yarn", factor=4.0, original_max_positions=8, beta_fast=32.0, beta_slow=1.0, attention_factor=1.1, truncate=True
)
WINDOWED = (exporter.LayerKind(windowed=True),) * 2
NORMS = [f"layers.{number}.{kind}.weight" for kind in ("attention_norm", "ffn_norm") for number in range(2)]
HEAD_NORMS = [f"layers.{number}.attention.{kind}.weight" for kind in ("q_norm", "k_norm") for number in range(2)]
QK = [f"layers.{number}.attention.{kind}.weight" for kind in ("wq", "wk") for number in range(2)]


@st.composite
def qwen3_settings(draw: st.DrawFn) -> dict[str, Any]:
    """Of transformers' Qwen3Config, with the numbers that qwen3.c takes for granted."""
    kv_heads, head_dim = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 8))
    heads = kv_heads * draw(st.integers(1, 3))
    return {
        "hidden_size": draw(st.integers(1, heads * head_dim)),
        "intermediate_size": draw(st.integers(1, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": draw(st.integers(2, 40)),
        "max_position_embeddings": draw(st.integers(2, 40)),
        "tie_word_embeddings": draw(st.booleans()),
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "pad_token_id": None,
    }


@pytest.mark.slow
@settings(max_examples=max(4, settings().max_examples // 4))
@given(qwen3_settings(), st.integers(0, 99), st.sampled_from([64, 16, 12, 1]))
def test_any_qwen3_is_released(keywords: dict[str, Any], seed: int, group_size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, out = Path(directory) / "source", Path(directory) / "out.bin"
        save(source, family_model("qwen3", keywords, seed))
        report = verify.release(source, out, format="ajc1", group_size=group_size, evidence=EVIDENCE).report
    assert [check.detail for check in report.checks if check.status != "pass"] == []
    assert report.file["format"] == "ajc1"


def test_the_tokenizer_beside_it_is_qwen3_c_s(tmp_path: Path) -> None:
    keywords = {
        **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 303, "max_position_embeddings": 16},
        **{"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "pad_token_id": None},
    }
    save(tmp_path / "source", family_model("qwen3", keywords, 0))
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    save_json(tmp_path / "source" / "tokenizer.json", byte_level_json(trained(None, 300)), config)
    out, words = tmp_path / "model.bin", tmp_path / "model.bin.tokenizer"
    report = verify.release(tmp_path / "source", out, format="ajc1", tokenizer_out=words, evidence=EVIDENCE).report
    assert report.passed
    assert [(one.form, one.path) for one in report.tokenizers] == [("qwen3c", str(words))]
    assert words.exists()


def report_on(path: Path, arrays: Arrays, **source: Any) -> Any:
    """The verdict on a file beside the model that somebody holds in memory, which differs from MODEL by fields."""
    hyper = hyperparameters(dataclasses.replace(MODEL, **source))
    return verdict.verify(MemorySource(hyper, lambda name: arrays[name]), path, evidence=EVIDENCE)


def failed(report: Any) -> list[str]:
    return [check.name for check in report.checks if check.status == "fail"]


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ({"rope_theta": 10000.0}, "rope_theta: expected 10000.0, found 1000000.0, which ajc1 implies"),
        ({"norm_eps": 1e-5}, "norm_eps: expected 1e-05, found 1e-06, which ajc1 implies"),
        ({"rope_scaling": YARN}, "rope_scaling_type: expected yarn, found none, which ajc1 implies; "),
        ({"window": 8, "layers": WINDOWED}, "window: expected 8, found 0, which ajc1 implies; windowed_layers: "),
        ({"activation": "gelu"}, "activation: expected gelu, found silu, which ajc1 implies"),
        ({"tied": True}, "tied: expected True, found False"),
        ({"head_dim": 10}, "head_dim: expected 10, found 12"),
        ({"max_seq_len": 40}, "max_seq_len: expected 40, found 33"),
    ],
)
def test_what_the_header_cannot_say_is_judged_by_what_qwen3_c_assumes(
    tmp_path: Path, source: dict[str, Any], detail: str
) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    report = report_on(path, random_arrays(dataclasses.replace(MODEL, **source), 0), **source)
    config = report.checks[0]
    assert (config.name, config.status, report.passed) == ("config", "fail", False)
    assert config.detail.startswith(detail)


def test_a_file_that_says_shared_without_its_classifier(tmp_path: Path) -> None:
    arrays = random_arrays(MODEL, 0)
    tied = dataclasses.replace(MODEL, tied=True)
    without = {name: array for name, array in arrays.items() if name != "output.weight"}
    report = report_on(qwen3c_file(tmp_path / "model.bin", tied, without), arrays)
    assert failed(report) == ["config"]
    assert report.checks[0].detail == "tied: expected False, found True"


def moved(arrays: Arrays, old: tuple[int, int]) -> Arrays:
    """The rows that RoPE pairs, where a writer takes each head for an array of this shape and transposes it."""
    heads = {"wq": 6, "wk": 3}
    made = dict(arrays)
    for name in QK + HEAD_NORMS:
        rows = arrays[name].reshape(heads.get(name.split(".")[-2], 1), *old, -1)
        made[name] = np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(arrays[name].shape)
    return made


def swapped(names: list[str]) -> Callable[[Arrays], Arrays]:
    """The second half of the names for the first."""
    half = len(names) // 2
    return lambda arrays: arrays | {a: arrays[b] for a, b in zip(names, names[half:] + names[:half], strict=True)}


@pytest.mark.parametrize(
    ("mistake", "signature", "tensors"),
    [
        (lambda arrays: moved(arrays, (2, 6)), "q-k-left-in-pairs", QK + HEAD_NORMS),
        (lambda arrays: moved(arrays, (6, 2)), "q-k-halved-twice", QK + HEAD_NORMS),
        (swapped(NORMS), "tensors-swapped", NORMS),
        (swapped(HEAD_NORMS), "tensors-swapped", HEAD_NORMS),
    ],
)
def test_tensors_in_another_order_are_named(
    tmp_path: Path, mistake: Callable[[Arrays], Arrays], signature: str, tensors: list[str]
) -> None:
    arrays = random_arrays(MODEL, 0)
    report = report_on(qwen3c_file(tmp_path / "model.bin", MODEL, mistake(arrays)), arrays)
    assert "tensors" in failed(report)
    assert {"config", "file"}.isdisjoint(failed(report))
    assert report.diagnosis.signature == signature
    assert report.checks[2].where["tensor"] in tensors


def test_a_group_that_straddles_rows_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, 44, 16)
    path.write_bytes(content)
    with pytest.raises(reader_c.InvalidFileError, match=r"group_size at 44: expected a divisor of .*, found 16"):
        report_on(path, random_arrays(MODEL, 0))


@pytest.mark.parametrize(("requested", "expected"), [(64, 8), (8, 8), (12, 1), (4, 4)])
def test_another_group_size_than_requested_fails(tmp_path: Path, requested: int, expected: int) -> None:
    arrays = random_arrays(MODEL, 0)
    source = MemorySource(hyperparameters(MODEL), lambda name: arrays[name])
    path = qwen3c_file(tmp_path / "model.bin", MODEL, group_size=4)
    asked = Requested("ajc1", requested)
    config = verdict.verify(source, path, evidence=EVIDENCE, requested=asked).checks[0]
    if expected == 4:
        assert config.status == "pass"
        return
    assert config.detail == f"group_size: expected {expected}, found 4 instead of what was requested"
