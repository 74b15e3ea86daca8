"""The layout is checked to the byte, from the header and the model's parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import BIN_FORMATS, LEGACY_FORMATS, config, hyperparameters, toy_file
from helpers.qwen3c import qwen3c_config, qwen3c_file

import reader_c
from verify.checks.file import check_file
from verify.checks.result import CheckResult
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
        unproven = {"not_judged": ["exporter", "source.kind"]} if format_name == "v3" else {}
        assert found.where == unproven
        assert found.detail.endswith("; not judged: exporter, source.kind") == bool(unproven)


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


def judged(model: Any, **changes: object) -> CheckResult:
    """Of a source, the check needs only hyperparameters for a file of an old format."""
    known: Any = SimpleNamespace(hyperparameters=hyperparameters(config(**changes)))
    return check_file(model, known, 33)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_a_change_of_any_byte_of_the_header_is_found(tmp_path: Path, format_name: str, tied: bool) -> None:
    with reader_c.open(toy_file(tmp_path, format_name, tied=tied)) as model:
        healthy = judged(model, tied=tied)
        assert (healthy.status, healthy.observed, healthy.limit, healthy.where) == ("pass", 0.0, 0.0, {})
        for byte in range(28 if format_name == "v0" else 256):
            content = bytearray(model.content)
            content[byte] ^= 1
            found = judged(Shown(model, content=bytes(content)), tied=tied)
            assert found.detail == f"header: byte {byte} differs from what was read from it"
        # the first of several is named
        content[byte - 3] ^= 0x80
        found = judged(Shown(model, content=bytes(content)), tied=tied)
        assert found.detail == f"header: byte {byte - 3} differs from what was read from it"


@pytest.mark.parametrize(("format_name", "size"), [("v0", 28), ("v1", 256), ("v1-fp32", 256), ("v2", 256)])
def test_a_header_that_ends_early_is_found(tmp_path: Path, format_name: str, size: int) -> None:
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        found = judged(Shown(model, content=bytes(model.content[: size - 1])))
        assert found.detail.startswith(f"header: byte {size - 1} differs from what was read from it; size: expected ")
        assert (found.status, found.observed) == ("fail", 2.0)


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize(
    "changes",
    [{"n_layers": 3}, {"dim": 96}, {"hidden_dim": 48}, {"n_kv_heads": 6}, {"vocab_size": 30}, {"tied": True}],
)
def test_the_size_is_that_of_the_source(tmp_path: Path, format_name: str, changes: dict[str, object]) -> None:
    """The size of a file of another model is the one that is expected of it."""
    own, other = toy_file(tmp_path, format_name).stat().st_size, toy_file(tmp_path, format_name, **changes)
    if format_name == "v0" and "tied" in changes:
        assert other.stat().st_size == own - 4 * 29 * 48
    with reader_c.open(other) as model:
        assert judged(model, **changes).status == "pass"
        found = judged(model)
    assert found.detail == f"size: expected {own} bytes, found {other.stat().st_size}"


def test_a_gap_is_named_with_both_places(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        names = [name for name in model.names if name != "layers.0.attention.wq.weight"]
        missing = min(span.offset for span in model.spans("layers.0.attention.wq.weight"))
        following = min(s.offset for name in names for s in model.spans(name) if s.offset > missing)
        found = judged(Shown(model, names=names))
    assert found.detail.endswith(f": expected at byte {missing}, found at {following}")
    assert (found.status, found.observed) == ("fail", 1.0)


@pytest.mark.parametrize("tied", [True, False])
def test_every_byte_of_ajc1_s_header_and_its_size_are_those_of_the_model(tmp_path: Path, *, tied: bool) -> None:
    model = qwen3c_config(tied=tied)
    path = qwen3c_file(tmp_path / "m.bin", model, group_size=8)

    def found_in(shown: Any, **changes: object) -> CheckResult:
        known: Any = SimpleNamespace(hyperparameters=hyperparameters(dataclasses.replace(model, **changes)))
        return check_file(shown, known, 33)

    with reader_c.open(path) as opened:
        assert found_in(opened).status == "pass"
        for byte in range(256):
            content = bytearray(opened.content)
            content[byte] ^= 1
            assert found_in(Shown(opened, content=bytes(content))).detail == (
                f"header: byte {byte} differs from what was read from it"
            )
        size = path.stat().st_size
        assert found_in(opened, n_layers=3).detail.endswith(f" bytes, found {size}")
    # norms of queries and keys have the width of a head in every layer
    for changes in ({"head_dim": 20}, {"n_layers": 3}):
        other = qwen3c_file(tmp_path / "o.bin", dataclasses.replace(model, **changes), group_size=8)
        with reader_c.open(other) as opened:
            assert found_in(opened, **changes).status == "pass"
            assert found_in(opened).detail == f"size: expected {size} bytes, found {other.stat().st_size}"
