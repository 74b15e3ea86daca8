"""The tables of faulty and healthy engines: each change fits the source as it is, and the page has what they have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.engines import example
from helpers.faulty_engines import FLOAT_FAULTS, INT8_FAULTS
from helpers.healthy_engines import HEALTHY
from helpers.pages import DOCS

from reader_c.build import SOURCE_DIR

TABLES = {"fp32": FLOAT_FAULTS, "q8": INT8_FAULTS, "healthy": HEALTHY}
SECTIONS = {
    "fp32": "## Faulty, with float activations",
    "q8": "## Faulty, with int8 activations",
    "healthy": "## Healthy, with int8 activations and other roundings",
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_change_fits_the_source(kind: str, tmp_path: Path) -> None:
    for number, patch in enumerate(TABLES[kind].values()):
        sources = tmp_path / str(number)
        shutil.copytree(SOURCE_DIR, sources)
        (sources / "mine.c").write_text(example(), encoding="utf-8")
        before = {path.name: path.read_bytes() for path in sources.glob("*.c")}
        patch.apply(sources)
        changed = [name for name, text in before.items() if (sources / name).read_bytes() != text]
        assert changed or patch.flags
        shutil.rmtree(sources)


def test_there_are_as_many_faults_as_the_page_promises() -> None:
    assert len(FLOAT_FAULTS) >= 40
    assert len(INT8_FAULTS) >= 30


@pytest.mark.parametrize("kind", TABLES)
def test_the_page_has_every_engine_and_no_faulty_one_passes_at_full(kind: str) -> None:
    _, found, rest = (DOCS / "engines.md").read_text(encoding="utf-8").partition(SECTIONS[kind])
    assert found
    rows = [line.strip("| ").split(" | ") for line in rest.split("\n## ")[0].splitlines() if line.startswith("| ")]
    (heading, *engines) = rows
    assert heading == ["engine", "quick", "standard", "full"]
    assert [row[0] for row in engines] == list(TABLES[kind])
    for name, *depths in engines:
        assert (depths[-1] == "does not") == (kind == "healthy"), name
