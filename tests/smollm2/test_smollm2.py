"""SmolLM2-135M, a model that people use, from its Hugging Face directory to released files.

    make smollm2

needs the directory that make_directory.py writes, named by the environment variable SMOLLM2.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from helpers import meta
from helpers.real_models import assert_same_tensors, emptied, greedy_text, run_alone

import exporter
import reader_c

DIRECTORY = Path(os.environ.get("SMOLLM2", ""))
TEXT = Path(__file__).with_name("text.txt")
PROMPT = "The capital of France is"

pytestmark = pytest.mark.skipif("SMOLLM2" not in os.environ, reason="SMOLLM2 names no directory: make smollm2")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from emptied(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="module")
def released(room: Path) -> tuple[Path, dict[str, Any]]:
    """Float32, by the command that a user types; and the report."""
    out = room / "smollm2.bin"
    arguments = ("--format", "v3", "--text", TEXT, "--depth", "quick", "--report", room / "report")
    result = run_alone("release", DIRECTORY, out, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return out, json.loads((room / "report" / "report.json").read_text())


def test_it_is_released_with_transformers_perplexity(released: tuple[Path, dict[str, Any]]) -> None:
    _, report = released
    assert [(check["name"], check["status"]) for check in report["checks"]] == [
        (name, "pass")
        for name in (
            *("config", "file", "tokenizer", "tensors"),
            *("operations", "execution", "storage", "quantization"),
        )
    ]
    assert "transformers" in report["environment"]["versions"]
    low, high = report["metrics"]["perplexity_ratio_ci"]
    assert low <= 1 + 1e-6
    assert high >= 1 - 1e-6
    ratio = report["metrics"]["perplexity_file"] / report["metrics"]["perplexity_source"]
    assert abs(ratio - 1) < 1e-5
    assert report["metrics"]["top1_agreement"] == 1


def test_v2_is_refused_in_one_line_that_names_theta_and_v3(tmp_path: Path) -> None:
    result = run_alone("release", DIRECTORY, tmp_path / "out.bin", "--format", "v2")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    for words in ("rope_theta", "expected 10000", "found 100000", "v3 has"):
        assert words in line
    assert not list(tmp_path.iterdir())


def test_a_greedy_continuation_is_transformers_own(released: tuple[Path, dict[str, Any]]) -> None:
    assert greedy_text(released[0], DIRECTORY, PROMPT, 64).startswith("The capital of France is Paris")


@pytest.mark.parametrize("storage", ["source", "q8_0"])
def test_metas_layout_gives_the_same_bytes(room: Path, storage: str) -> None:
    ours = exporter.open_checkpoint(DIRECTORY)
    whole = {name: np.array(ours.load(name)) for name in ours.names}
    # Meta's params.json has no field for a tied classifier: the tensor is simply not there, or is the embedding
    directory = meta.write(room / "meta", whole, dataclasses.replace(ours.config), 3, embedding_axis=0)
    made = {}
    for name, source in (("huggingface", ours), ("meta", exporter.open_checkpoint(directory))):
        summary = exporter.export(
            source,
            room / "layout.bin",
            format="v3",
            storage=storage,
            provenance=False,
            # Meta's directory has none beside it
            tokenizer_block=False,
            overwrite=True,
        )
        made[name] = summary.sha256
    assert made["huggingface"] == made["meta"]
    for path in directory.iterdir():
        path.unlink()


def flip(file: BinaryIO, bits: Sequence[int]) -> None:
    for bit in bits:
        file.seek(bit // 8)
        before = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([before ^ 1 << bit % 8]))
    file.flush()


def test_ten_thousand_flipped_bits_are_found(room: Path) -> None:
    """Each by the digest that it stands under: the head's, which opening checks, or its tensor's."""
    path = room / "q8.bin"
    exporter.export(exporter.open_checkpoint(DIRECTORY), path, format="v3", storage="q8_0", overwrite=True)
    with reader_c.open(path, check_digests=True) as model:
        head, size = model.head_size, model.file_size
        starts = {name: model.spans(name)[0].offset for name in model.names}
    names = sorted(starts, key=starts.__getitem__)
    ends = [*(starts[name] for name in names), size]
    rng = random.Random(0)
    with path.open("rb+") as file:
        for _ in range(1_000):
            bits = [rng.randrange(8 * head)]
            flip(file, bits)
            with pytest.raises(reader_c.InvalidFileError):
                reader_c.open(path).close()
            flip(file, bits)
        for _ in range(-(-9_000 // len(names))):
            # one in each tensor and the padding after it
            bits = [rng.randrange(8 * start, 8 * end) for start, end in itertools.pairwise(ends)]
            flip(file, bits)
            with reader_c.open(path) as model:
                for name in names:
                    with pytest.raises(reader_c.InvalidFileError):
                        model.check_digest(name)
            flip(file, bits)
    reader_c.open(path, check_digests=True).close()


def test_there_and_back_no_bit_is_lost(room: Path, released: tuple[Path, dict[str, Any]]) -> None:
    exporter.export(exporter.open_checkpoint(released[0]), room / "back", format="hf", overwrite=True)
    assert_same_tensors(DIRECTORY / "model.safetensors", room / "back" / "model.safetensors")
