"""release() trusts nobody: neither what made the file, nor whoever can reach it meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import exporter
import reader_c
import verify.release_file
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.report.model import Report
from verify.run.requested import Requested
from verify.sources import open_source

EVIDENCE = Evidence(depth="quick", windows=1, length=4)


def release(source: Path, out: Path, format_name: str, **options: Any) -> verify.release_file.Released:
    return verify.release_file.release(source, out, format=format_name, evidence=EVIDENCE, **options)


Q8_BUT_WO = {"*": "q8_0", "*wo*": "fp16"}


@pytest.mark.parametrize(
    ("asked", "made", "unlike"),
    [
        (Requested("v2", 8), {"format": "v1"}, {"format": ("v2", "v1")}),
        (Requested("v1-fp32", 8), {"format": "v0"}, {"format": ("v1-fp32", "v0")}),
        (Requested("v2", 8), {"format": "v2", "group_size": 2}, {"group_size": (8, 2)}),
        (
            Requested("v3", 8),
            {"format": "v3", "storage": {"*layers.1*w1*": "bf16"}},
            {"layers.1.feed_forward.w1.weight: storage": ("fp32", "bf16")},
        ),
        (
            Requested("v3", 8, Q8_BUT_WO),
            {"format": "v3", "group_size": 8, "storage": {**Q8_BUT_WO, "layers.0*wo*": "q8_0"}},
            {"layers.0.attention.wo.weight: storage": ("fp16", "q8_0")},
        ),
        (
            Requested("v3", 8, {"tok*": "q8_0"}),
            {"format": "v3", "group_size": 4, "storage": {"tok*": "q8_0"}},
            {"tok_embeddings.weight: group_size": (8, 4)},
        ),
    ],
)
def test_what_was_not_asked_for_is_told(
    tmp_path: Path, source: Path, asked: Requested, made: Mapping[str, Any], unlike: Mapping[str, Any]
) -> None:
    exporter.export(exporter.open_checkpoint(source), tmp_path / "m.bin", **made)
    with reader_c.open(tmp_path / "m.bin") as model:
        assert asked.unlike(model, open_source(source)) == unlike


@pytest.mark.parametrize("group_size", [1, 3, 8, 64, 1000])
@pytest.mark.parametrize("format_name", ["v0", "v1", "v1-fp32", "v2", "v3"])
def test_what_was_asked_for_is_like_it_however_it_had_to_be_rounded(
    tmp_path: Path, source: Path, format_name: str, group_size: int
) -> None:
    storage = {**Q8_BUT_WO, "*norm*": "fp32"} if format_name == "v3" else "source"
    options: dict[str, Any] = {"format": format_name, "group_size": group_size, "storage": storage}
    exporter.export(exporter.open_checkpoint(source), tmp_path / "m.bin", **options)
    with reader_c.open(tmp_path / "m.bin") as model:
        assert not Requested(format_name, group_size, storage).unlike(model, open_source(source))


def test_what_was_not_asked_for_is_not_released(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have been judged by its own, looser limits."""
    export: Callable[..., exporter.ExportSummary] = exporter.export
    monkeypatch.setattr(exporter, "export", lambda *made, **how: export(*made, **{**how, "storage": "q8_0"}))
    released = release(source, tmp_path / "out.bin", "v3")
    config = released.report.checks[0]
    assert (released.report.passed, config.name, config.status) == (False, "config", "fail")
    assert "tok_embeddings.weight: storage: expected fp32, found q8_0 instead of what was requested" in config.detail
    assert not (tmp_path / "out.bin").exists()


def meanwhile(monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """Somebody writes other bytes into the candidate, before or after its verdict."""
    judge = verify.release_file.verify

    def disturbed(source: Path, candidate: Path, *arguments: Any, **options: Any) -> Report:
        def disturb() -> None:
            content = bytearray(candidate.read_bytes())
            content[-1] ^= 1
            candidate.write_bytes(content)

        if before:
            disturb()
        report = judge(source, candidate, *arguments, **options)
        if not before:
            disturb()
        return report

    monkeypatch.setattr(verify.release_file, "verify", disturbed)


@pytest.mark.parametrize("before", [True, False])
def test_other_bytes_than_were_made_or_judged_get_no_name(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    out = tmp_path / "out.bin"
    meanwhile(monkeypatch, before=before)
    with pytest.raises(CannotJudgeError, match=r"changed (between its export and|after) its verdict"):
        release(source, out, "v2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.parent.name]


def test_no_report_of_an_earlier_file_stays_beside_a_new_one(tmp_path: Path, source: Path) -> None:
    out, elsewhere = tmp_path / "out.bin", tmp_path / "elsewhere"
    assert release(source, out, "v3").report.passed
    assert out.with_name("out.bin.report").is_dir()
    rejected = out.with_name("out.bin.rejected")
    rejected.mkdir()
    (rejected / "report.json").write_text("of an earlier failure")
    assert release(source, out, "v2", overwrite=True, report_dir=elsewhere).report.passed
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.parent.name, "elsewhere", "out.bin"])


def test_a_reports_own_place_is_known_by_any_name(tmp_path: Path, source: Path) -> None:
    out, by_another_name = tmp_path / "out.bin", tmp_path / "there" / ".." / "out.bin.report"
    by_another_name.parent.parent.mkdir()
    released = release(source, out, "v3", report_dir=by_another_name)
    assert released.report.passed
    assert (tmp_path / "out.bin.report" / "report.json").exists()
