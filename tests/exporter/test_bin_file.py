"""A .bin file is its header, every tensor at its offset, and zeros; v3's head is written last, with the digests."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from helpers.models import LEGACY_FORMATS, checkpoint, config
from helpers.v3_files import table_at

import exporter
from exporter.bin_file import write_legacy, write_v3
from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.formats.layout import lay_out
from exporter.payload import PayloadWriter


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_a_legacy_file_is_its_layout_and_what_export_writes(tmp_path: Path, format_name: str) -> None:
    source, layout = checkpoint(), lay_out(config(), format_name, 8)
    with (tmp_path / "own").open("wb+") as file:
        summaries = write_legacy(file, PayloadWriter(source), config(), format_name, 8)
    content = (tmp_path / "own").read_bytes()
    assert len(content) == layout.size
    assert content.startswith(layout.header)
    exporter.export(source, tmp_path / "exported", format=format_name, group_size=8)
    assert content == (tmp_path / "exported").read_bytes()
    # in the order of the file, each tensor once
    assert [summary.name for summary in summaries] == list(dict.fromkeys(part.tensor for part in layout.parts))


def test_a_v3_file_has_its_metadata_and_the_digest_of_every_extent(tmp_path: Path) -> None:
    stored = {
        name: v3.Stored("q8_0", 8) if len(shape) == 2 else v3.Stored("fp32")
        for name, shape in tensor_shapes(config()).items()
    }
    plan = v3.plan(config(), stored, {"note": "?????"})
    asked: list[int] = []

    def metadata() -> dict[str, str]:
        asked.append((tmp_path / "own").stat().st_size)
        return {"note": "hello"}

    with (tmp_path / "own").open("wb+") as file:
        write_v3(file, PayloadWriter(checkpoint()), plan, metadata)
    content = (tmp_path / "own").read_bytes()
    assert asked == [plan.size] == [len(content)]
    assert b"hello" in content[: plan.head_size]
    for number, entry in enumerate(plan.entries):
        start = plan.head_size + entry.offset
        row = table_at(content) + 192 * number
        digest = blake3(content[start : start + entry.extent]).digest()
        assert content[row + 160 : row + 192] == digest, entry.name
