"""Gemma 3 270M, a model that people use, from its Hugging Face directory to released files that speak.

    make gemma3

needs the directory that make_directory.py writes, named by the environment variable GEMMA3, and 6 GB of memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.real_models import assert_same_tensors, emptied, greedy_text, run_alone

import exporter

DIRECTORY = Path(os.environ.get("GEMMA3", ""))
PROMPT = "The capital of France is"
# beyond the window of 512 positions that most of its layers have
BEYOND = 560

pytestmark = pytest.mark.skipif("GEMMA3" not in os.environ, reason="GEMMA3 names no directory: make gemma3")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from emptied(tmp_path_factory.mktemp("gemma3"))


def released(room: Path, storage: str, *more: object) -> tuple[Path, dict[str, Any]]:
    """The file, by the command that a user types; and the report."""
    out, report = room / f"{storage}.bin", room / f"{storage}.report"
    arguments = ("--format", "v3", "--storage", storage, "--depth", "quick", "--report", report, "--with-tokenizer")
    result = run_alone("release", DIRECTORY, out, *arguments, *more)
    assert result.returncode == 0, result.stdout + result.stderr
    return out, json.loads((report / "report.json").read_text())


@pytest.fixture(scope="module")
def float32(room: Path) -> tuple[Path, dict[str, Any]]:
    return released(room, "source", "--windows", 2, "--length", BEYOND)


def test_it_is_released_with_windows_longer_than_its_layers_see(float32: tuple[Path, dict[str, Any]]) -> None:
    _, report = float32
    assert [(check["name"], check["status"]) for check in report["checks"]] == [
        (name, "pass")
        for name in (
            *("config", "file", "tokenizer", "tensors"),
            *("operations", "execution", "storage", "quantization"),
        )
    ]
    assert report["metrics"]["top1_agreement"] == 1


def test_a_greedy_continuation_is_transformers_own(float32: tuple[Path, dict[str, Any]]) -> None:
    assert greedy_text(float32[0], DIRECTORY, PROMPT, 48).startswith(PROMPT, len("<bos>"))


def test_it_speaks_with_its_own_tokenizer(float32: tuple[Path, dict[str, Any]]) -> None:
    result = run_alone("generate", float32[0], PROMPT, "--temperature", 0, "--steps", 24)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{PROMPT} the capital of the country of France")


def test_q8_0_is_released(room: Path) -> None:
    out, report = released(room, "q8_0")
    assert {check["status"] for check in report["checks"]} == {"pass"}
    out.unlink()


def test_there_and_back_no_bit_is_lost(room: Path, float32: tuple[Path, dict[str, Any]]) -> None:
    exporter.export(exporter.open_checkpoint(float32[0]), room / "back", format="hf", overwrite=True)
    assert_same_tensors(DIRECTORY / "model.safetensors", room / "back" / "model.safetensors")
