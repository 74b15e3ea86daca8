"""The layout is checked to the byte, from the header and the model's parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import BIN_FORMATS, toy_file

import reader_c
from verify.checks.file import check_file
from verify.sources import open_source


class Shown:
    """A model as another reader would show it."""

    def __init__(self, model: reader_c.Model, **shown: object) -> None:
        self._model, self._shown = model, shown

    def __getattr__(self, name: str) -> object:
        return self._shown.get(name) or getattr(self._model, name)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_a_healthy_file_is_covered_to_the_byte(tmp_path: Path, format_name: str) -> None:
    path = toy_file(tmp_path, format_name, tied=True)
    source = open_source(save(tmp_path, state_dict()))
    with reader_c.open(path) as model:
        found = check_file(model, source, 33)
        assert found.status == "pass"
        how = "every bit covered by a correct digest" if format_name == "v3" else "without gap or overlap"
        assert f"tensors cover {path.stat().st_size} bytes" in found.detail
        assert how in found.detail


def test_every_kind_of_finding_is_told(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    path = toy_file(tmp_path, "v2", tied=True)
    with reader_c.open(path) as model:
        size = path.stat().st_size
        content = bytearray(path.read_bytes())
        content[9] ^= 1
        found = check_file(Shown(model, content=memoryview(bytes(content))), source, 33)  # type: ignore[arg-type]
        assert found.detail == "header: byte 9 differs from what was read from it"
        found = check_file(Shown(model, content=model.content[: size - 4]), source, 33)  # type: ignore[arg-type]
        assert found.detail == f"size: expected {size} bytes, found {size - 4}"
        found = check_file(Shown(model, file_size=size + 1), source, 33)  # type: ignore[arg-type]
        assert found.detail == f"last tensor: expected to end at byte {size + 1}, found {size}"
        assert (found.status, found.observed) == ("fail", 1.0)
