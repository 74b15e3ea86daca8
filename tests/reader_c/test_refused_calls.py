"""Where the system refuses the reader memory, a thread or a byte, the reader says so and keeps nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.counted import Counted
from helpers.models import BIN_FORMATS, checkpoint, config, toy_file
from helpers.refused import build
from helpers.tokenizer_bins import byte_entries, save

import exporter

pytestmark = pytest.mark.slow

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("driver") / "refused"
    build(program, "gcc", *SANITIZE)
    return program


def refused(driver: Path, *given: object) -> dict[str, int]:
    """How many calls of each kind were refused, of all that were made; all promises were kept."""
    # a library that somebody preloads would come before the sanitizer's
    result = subprocess.run([driver, *map(str, given)], capture_output=True, text=True, check=False, env={})
    assert result.returncode == 0, result.stderr
    lines = [line.rpartition(": ") for line in result.stdout.splitlines()]
    return {name: int(count) for name, _, count in lines}


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_every_call_that_the_system_may_refuse_comes_out_as_its_code_and_leaks_nothing(
    tmp_path: Path, driver: Path, format_name: str, counted: Counted
) -> None:
    path = toy_file(tmp_path, format_name)
    if format_name == "v3":
        exporter.export(checkpoint(config()), path, format="v3", storage="q8_0", group_size=8, overwrite=True)
    counts = refused(driver, path)
    # a file small enough for small pages: nothing is advised
    assert {name for name, count in counts.items() if not count} == {"madvise"}
    assert counts["memory"] > 20
    for what, count in counts.items():
        if count:
            counted(f"{what} refused to the C reader, at each call in its turn", count, "told, nothing leaked")


def test_a_file_of_huge_pages_is_read_without_them(tmp_path: Path, driver: Path) -> None:
    # RoPE tables, which cost nothing to compute with
    path = toy_file(tmp_path, "v0", max_seq_len=140_000)
    assert path.stat().st_size > 4 << 20
    assert refused(driver, path)["madvise"] > 0


def test_every_allocation_of_a_tokenizer_may_be_refused(tmp_path: Path, counted: Counted) -> None:
    program = tmp_path / "refused_words"
    build(program, "gcc", *SANITIZE, driver="refused_words.c")
    entries = [*byte_entries(), (b" ", 0.0), (b"a", 0.0), (b"aa", 1.0), (b"aaaa", 2.0)]
    counts = refused(program, save(tmp_path / "tokenizer.bin", entries), len(entries), "aaaaaaaa b " * 9)
    assert counts["memory"] >= 12
    counted("memory refused to the tokenizer, at each call in its turn", counts["memory"], "told, nothing leaked")
