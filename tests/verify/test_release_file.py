"""release() step by step: what is exported, judged, published and removed. Quick: the verdict is made by hand."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.reports import failing, passing

import exporter
import verify.release_file as module
from exporter.errors import NotLastingError, WriteError
from verify.errors import CannotJudgeError
from verify.release_file import ExportOptions, Released, release
from verify.run.options import Options
from verify.run.requested import Requested


class Scene:
    """A verdict that is known before, and reports of one file. tampered: what happens to the candidate, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, passes: bool = True) -> None:
        self.passes = passes
        self.judged: list[Any] = []
        self.keys: list[Any] = []
        self.after_verdict: Callable[[Path], None] = lambda _candidate: None
        self.sha256: str | None = None
        self.report_error: WriteError | None = None
        monkeypatch.setattr(module, "verify", self._verify)
        monkeypatch.setattr(module, "staged", self._staged)
        monkeypatch.setattr(module, "SigningKey", lambda path: ("key", path))

    def _verify(self, source: Any, candidate: Path, *, options: Options) -> Any:
        self.judged.append((source, candidate, options))
        content = b"" if candidate.is_dir() else candidate.read_bytes()
        report = passing() if self.passes else failing()
        digest = self.sha256 or hashlib.sha256(content).hexdigest()
        report = dataclasses.replace(report, file={**report.file, "sha256": digest})
        self.after_verdict(candidate)
        return report

    @contextmanager
    def _staged(self, report: Any, directory: Path, key: Any) -> Iterator[Callable[[], None]]:
        self.keys.append(key)

        def publish() -> None:
            if self.report_error:
                raise self.report_error
            directory.mkdir(exist_ok=True)
            (directory / "report.json").write_text(report.file["path"])

        yield publish


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "a source")


def test_a_file_that_passes_gets_its_name_and_its_report(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = Scene(monkeypatch), tmp_path / "out.bin"
    announced: list[str] = []
    stages: list[tuple[str, int, int]] = []
    released = release(
        source,
        out,
        format="v2",
        group_size=8,
        announce=announced.append,
        progress=lambda *stage: stages.append(stage),
    )
    assert isinstance(released, Released)
    assert names(tmp_path) == ["out.bin", "out.bin.report"]
    assert (released.summary.path, released.report_dir) == (out, tmp_path / "out.bin.report")
    assert (released.report_dir / "report.json").read_text() == str(out) == released.report.file["path"]
    assert scene.keys == [None]
    ((judged, candidate, options),) = scene.judged
    assert (judged, candidate.name, candidate.parent.parent) == (source, "out.bin", tmp_path)
    assert (options.requested, options.report_dir) == (Requested("v2", 8, "source"), None)
    assert stages[-1] == ("report", 1, 1)
    assert {stage for stage, *_ in stages} == {"export", "report"}
    assert announced
    assert all(line.startswith("export: ") for line in announced)


def test_a_file_that_fails_gets_no_name_and_its_report_another(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scene(monkeypatch, passes=False)
    out = tmp_path / "out.bin"
    released = release(source, out, format="v2")
    assert names(tmp_path) == ["out.bin.rejected"]
    assert released.report_dir == tmp_path / "out.bin.rejected"
    assert (released.report_dir / "report.json").read_text() == f"{out} (not released)"
    # an earlier file stays, with its report
    out.write_bytes(b"earlier")
    (tmp_path / "out.bin.report").mkdir()
    release(source, out, format="v2", overwrite=True)
    assert out.read_bytes() == b"earlier"
    assert names(tmp_path) == ["out.bin", "out.bin.rejected", "out.bin.report"]


def test_a_directory_is_released_as_one(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, out = Scene(monkeypatch), tmp_path / "out"
    made = exporter.export(exporter.open_checkpoint(source), tmp_path / "other", format="hf")
    scene.sha256 = made.sha256
    released = release(source, out, format="hf", report_dir=tmp_path / "report")
    assert (released.summary.path, out.is_dir()) == (out, True)
    assert names(tmp_path) == ["other", "out", "report"]
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "other").iterdir()}
    with pytest.raises(WriteError, match="add --overwrite"):
        release(source, out, format="hf")


def test_defaults_are_those_of_an_export() -> None:
    made = ExportOptions("v2")
    assert (made.group_size, made.exact_group_size, made.storage) == (64, False, "source")
    assert (made.provenance, made.overwrite) == (True, False)
    assert ExportOptions("v3", 32, storage={"*": "fp16"}).requested == Requested("v3", 32, {"*": "fp16"})


def test_options_of_the_export_and_of_the_verdict_go_where_they_belong(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(monkeypatch)
    asked: dict[str, Any] = {}
    export: Callable[..., exporter.ExportSummary] = exporter.export

    def asking(*made: Any, **how: Any) -> exporter.ExportSummary:
        asked.update(how)
        return export(*made, **how)

    monkeypatch.setattr(exporter, "export", asking)
    options = Options(max_seq_len=7, notes=("given",))
    release(source, tmp_path / "a.bin", format="v3", options=options, provenance=False, timed=True, sign_key="k.pem")
    assert (asked["format"], asked["provenance"], asked["max_seq_len"]) == ("v3", False, 7)
    assert asked["announce"] is None
    assert scene.keys == [("key", Path("k.pem"))]
    judged = scene.judged[0][2]
    assert (judged.max_seq_len, judged.notes, judged.timed) == (7, ("given",), True)


def test_other_bytes_than_were_exported_are_not_judged(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = Scene(monkeypatch), tmp_path / "out.bin"
    scene.sha256 = "0" * 64
    with pytest.raises(CannotJudgeError) as caught:
        release(source, out, format="v2")
    assert str(caught.value) == f"{out}: changed between its export and its verdict"
    scene.sha256 = None
    scene.after_verdict = lambda candidate: candidate.touch()
    with pytest.raises(CannotJudgeError) as caught:
        release(source, out, format="v2")
    assert str(caught.value) == f"{out}: changed after its verdict, before it was published"
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (None, ["out.bin", "out.bin.report"]),
        ("elsewhere", ["elsewhere", "out.bin"]),
        ("out.bin.rejected", ["out.bin", "out.bin.rejected"]),
    ],
)
def test_reports_of_earlier_runs_are_removed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, left: list[str]
) -> None:
    Scene(monkeypatch)
    for name in ("out.bin.report", "out.bin.rejected"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text("earlier")
    report_dir = None if given is None else tmp_path / given
    release(source, tmp_path / "out.bin", format="v2", report_dir=report_dir)
    assert names(tmp_path) == left


def test_a_report_that_cannot_be_removed_is_told(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scene(monkeypatch)
    out = tmp_path / "out.bin"

    def fail(_directory: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission Denied")

    monkeypatch.setattr(module, "remove_report", fail)
    with pytest.raises(WriteError) as caught:
        release(source, out, format="v2")
    assert str(caught.value) == (
        f"{out}: written, but {out}.rejected, of an earlier run, cannot be removed: permission denied"
    )


def test_a_report_that_cannot_follow_its_file_is_told(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = Scene(monkeypatch), tmp_path / "out.bin"
    scene.report_error = WriteError("no room")
    with pytest.raises(WriteError) as caught:
        release(source, out, format="v2")
    assert str(caught.value) == f"{out}: written, but not all of its report: no room"
    assert names(tmp_path) == ["out.bin"]


def test_a_file_that_may_not_last_has_its_report_too(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scene(monkeypatch)
    out = tmp_path / "out.bin"

    def doubtful(temporary: Path, target: Path, **_how: Any) -> None:
        temporary.replace(target)
        raise NotLastingError("in doubt")

    monkeypatch.setattr(module, "publish", doubtful)
    with pytest.raises(NotLastingError, match=r"^in doubt$"):
        release(source, out, format="v2")
    assert names(tmp_path) == ["out.bin", "out.bin.report"]


def test_a_candidate_that_may_not_last_is_no_file_at_all(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the export says of the candidate: nothing has happened at the target."""
    Scene(monkeypatch)
    out = tmp_path / "out.bin"
    for cause, kind, text in (
        (OSError(errno.EIO, "Input/Output Error"), WriteError, f"{out}: cannot be written: input/output error"),
        (None, NotLastingError, "in doubt"),
    ):

        def doubtful(*_what: Any, error: OSError | None = cause, **_how: Any) -> Any:
            raise NotLastingError("in doubt") from error

        monkeypatch.setattr(exporter, "export", doubtful)
        with pytest.raises(WriteError) as caught:
            release(source, out, format="v2")
        assert (type(caught.value), str(caught.value)) == (kind, text)
    assert names(tmp_path) == []


@pytest.mark.parametrize("appeared", ["this", "another", "none"])
def test_a_directory_is_in_doubt_only_where_this_very_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appeared: str
) -> None:
    room, target = tmp_path / "room", tmp_path / "out"
    (room / "out").mkdir(parents=True)
    asked: list[Any] = []

    def failing_publish(where: Path, to: Path, **how: Any) -> None:
        asked.append((where, to, how))
        if appeared == "this":
            (room / "out").rename(target)
        elif appeared == "another":
            target.mkdir()
        raise WriteError("something else")

    monkeypatch.setattr(module, "publish_directory", failing_publish)
    with pytest.raises(WriteError, match=r"^something else$") as caught:
        module._Directory.publish(room, target, overwrite=True)
    assert isinstance(caught.value, NotLastingError) == (appeared == "this")
    assert asked == [(room, target, {"overwrite": True, "locked": True})]


def test_neither_a_file_nor_a_directory_may_replace_its_source() -> None:
    refused: list[Any] = []
    checkpoint: Any = SimpleNamespace(
        refuse_as_target=lambda out: refused.append(("file", out)),
        refuse_as_directory=lambda out: refused.append(("directory", out)),
    )
    for kind in (module._File, module._Directory):
        kind.refuse_source(checkpoint, Path("out"))
    assert refused == [("file", Path("out")), ("directory", Path("out"))]
