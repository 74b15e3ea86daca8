"""The top of a report says what the model is, how it is stored and what changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from helpers.reports import GUILTY, passing

from verify.checks.baseline import BaselineComparison
from verify.checks.tensors import TensorReport
from verify.report.facts import (
    ModelFacts,
    depth_in_words,
    in_short,
    mebibytes,
    model_facts,
    since_baseline,
    storage_in_words,
)
from verify.report.findings import Baseline, Findings


def of_source(path: str) -> Findings:
    return dataclasses.replace(passing(), source={**passing().source, "path": path})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/stories15M.pt", "stories15M"),
        ("a/consolidated.00.pth", "consolidated.00"),
        ("model.bin", "model"),
        ("/hub/Llama-3.2-1B/", "Llama-3.2-1B"),
        (".pt", ".pt"),
        (".", "."),
        ("", ""),
    ],
)
def test_the_name_is_the_source_s(path: str, name: str) -> None:
    assert model_facts(of_source(path)).name == name


def test_parameters_are_those_of_all_tensors_but_the_tables_of_rope() -> None:
    tables = [
        TensorReport(name, (33, 4), "fp32", 0, 0.0, None, None, 0.0, None) for name in ("freqs_cos", "freqs_sin")
    ]
    facts = model_facts(dataclasses.replace(passing(), tensors=(*passing().tensors, *tables)))
    assert facts == ModelFacts("model", 48 * 40 + 48, {"q8_0": 48 * 40, "fp32": 48}, 8 * 1000 / 1968)
    assert facts.compression == pytest.approx(1968 * 4 / 1000)


def test_without_tensors_there_is_no_count() -> None:
    facts = model_facts(dataclasses.replace(passing(), tensors=()))
    assert (facts.parameters, facts.storage, facts.bits_per_weight, facts.compression) == (None, {}, None, None)


@pytest.mark.parametrize(
    ("count", "text"),
    [(29, "29"), (1968, "1,968"), (999_999, "999,999"), (134_515_008, "134.5 M"), (8_030_261_248, "8.03 B")],
)
def test_a_count_reads_as_people_say_it(count: int, text: str) -> None:
    assert in_short(count) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1000, "0.977 KiB"),
        (2**20 - 1, "1,024 KiB"),
        (2**20, "1 MiB"),
        (142_937_600, "136 MiB"),
        (32 * 2**30, "32,768 MiB"),
    ],
)
def test_a_size_has_three_digits_or_more(size: int, text: str) -> None:
    assert mebibytes(size) == text


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ({"fp32": 100}, "fp32"),
        ({"q8_0": 100}, "q8_0 in groups of 64"),
        ({"q8_0": 990, "fp32": 10}, "q8_0 in groups of 64 (99.0 %), fp32 (1.0 %)"),
        ({"q8_0": 999_999, "bf16": 1}, "q8_0 in groups of 64 (> 99.9 %), bf16 (< 0.1 %)"),
        ({}, ""),
    ],
)
def test_a_small_share_is_neither_nothing_nor_is_the_rest_all(storage: dict[str, int], text: str) -> None:
    assert storage_in_words(ModelFacts("m", 1, storage, None), 64) == text


def test_depth_and_windows_in_words() -> None:
    assert depth_in_words(passing().evidence) == "quick: 3 windows of text, 3 random, 2 fixed"
    assert depth_in_words({"depth": "full", "windows": {"random": 1}}) == "full: 1 window random"
    assert depth_in_words({"depth": "full", "windows": {}}) == "full: no window"
    assert depth_in_words({}) == ""


def compared(**changes: Any) -> BaselineComparison:
    fields: dict[str, Any] = {
        "metric": "kl_mean", "activations": "fp32", "origin": "text", "windows": 3, "baseline": 0.0, "found": 0.001,
        "difference": 0.001, "interval": (-1.0, 1.0), "limit": 0.0,
    }  # fmt: skip
    return BaselineComparison(**{**fields, **changes})


@pytest.mark.parametrize(
    ("comparisons", "size", "text"),
    [
        ((), 1000, "no worse in 0 figures; the same size"),
        ((compared(),), 900, "no worse in 1 figure; +100 bytes"),
        ((compared(interval=(0.0005, 1.0)), compared()), 12_345, "worse: kl_mean on text by 0.001; -11,345 bytes"),
    ],
)
def test_what_changed_since_the_baseline(comparisons: tuple[BaselineComparison, ...], size: int, text: str) -> None:
    baseline = Baseline("base.json", "ab" * 32, {**passing().file, "bytes": size}, comparisons)
    assert since_baseline(dataclasses.replace(passing(), baseline=baseline)) == text
    assert since_baseline(passing()) == ""


def test_a_report_s_document_has_the_facts() -> None:
    document = passing().to_dict()
    assert document["model"] == {
        "name": "model", "parameters": 1968, "storage": {"q8_0": 1920, "fp32": 48}, "bits_per_weight": 8000 / 1968,
    }  # fmt: skip
    assert GUILTY in {tensor["name"] for tensor in document["tensors"]}
