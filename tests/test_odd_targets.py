"""Whatever stands where a file, a directory or a report is to be made: one line and nothing changed, or all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import refused, run, run_process, without_progress
from helpers.counted import Counted

from verify.report.files import NAMES

QUICK = ("--depth", "quick", "--windows", "1", "--length", "4")
V2 = ("--format", "v2", "--group-size", "8")
COMMANDS = {
    "export": ("export", *V2),
    "hf": ("export", "--format", "hf"),
    "release": ("release", *V2, *QUICK),
}


def circle(place: Path) -> Path:
    (place / "b").symlink_to("a")
    (place / "a").symlink_to("b")
    return place / "a"


def fifo(place: Path) -> Path:
    os.mkfifo(place / "fifo")
    return place / "fifo"


def device(_place: Path) -> Path:
    return Path("/dev/null")


def full_device(_place: Path) -> Path:
    return Path("/dev/full")


def too_long(place: Path) -> Path:
    return place / ("n" * 256)


def too_deep(place: Path) -> Path:
    return place / "/".join("n" * 2100)


def below_a_file(place: Path) -> Path:
    (place / "file").write_bytes(b"somebody's")
    return place / "file" / "out"


def below_a_circle(place: Path) -> Path:
    return circle(place) / "out"


def dangling_below_nothing(place: Path) -> Path:
    (place / "link").symlink_to("missing/out")
    return place / "link"


def socket(place: Path) -> Path:
    os.mknod(place / "socket", 0o140644)
    return place / "socket"


def content(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in place.rglob("*")}


REFUSED = [
    circle,
    fifo,
    device,
    full_device,
    socket,
    too_long,
    too_deep,
    below_a_file,
    below_a_circle,
    dangling_below_nothing,
]


@pytest.mark.parametrize("odd", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_a_target_is_refused_in_one_line_and_stays(
    tmp_path: Path, source: Path, command: str, odd: Callable[[Path], Path], counted: Counted
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    out = odd(place)
    before = content(place)
    name, *options = COMMANDS[command]
    refused(run(name, source, out, *options, "--overwrite"), str(out)[:200])
    assert content(place) == before
    counted("targets that cannot be one: circles, FIFOs, devices, below a file", 1, "refused in one line, untouched")


@pytest.mark.parametrize("command", ["export", "release"])
def test_a_directory_is_no_target_of_a_file_nor_a_link_to_one(tmp_path: Path, source: Path, command: str) -> None:
    own = tmp_path / "directory" / "somebody's"
    own.parent.mkdir()
    own.write_bytes(b"1")
    (tmp_path / "link").symlink_to("directory")
    name, *options = COMMANDS[command]
    for out in ("directory", "link"):
        refused(run(name, source, tmp_path / out, *options, "--overwrite"), out, "expected a regular file or nothing")
    assert own.read_bytes() == b"1"
    assert {path.name for path in tmp_path.iterdir()} == {"a source", "directory", "link"}


@pytest.mark.parametrize("odd", [circle, fifo, device, full_device, socket, below_a_file, below_a_circle])
def test_what_cannot_be_a_report_s_directory_is_refused_before_any_work(
    tmp_path: Path, source: Path, odd: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import exporter

    monkeypatch.delattr(exporter, "export")
    place = tmp_path / "place"
    place.mkdir()
    report = odd(place)
    before = content(tmp_path)
    refused(run("release", source, tmp_path / "out", *V2, *QUICK, "--report", report), str(report)[:200])
    assert content(tmp_path) == before


def test_a_link_that_leads_nowhere_is_no_report_s_directory_and_that_is_told_before_any_work(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import exporter

    monkeypatch.delattr(exporter, "export")
    report = tmp_path / "link"
    report.symlink_to("missing")
    refused(run("release", source, tmp_path / "out", *V2, *QUICK, "--report", report), "link", "expected a directory")


def under_its_own_name(place: Path, file: Path) -> Path:
    file.rename(place)
    return place


def linked(place: Path, file: Path) -> Path:
    place.hardlink_to(file)
    return file


def linked_by_name(place: Path, file: Path) -> Path:
    place.symlink_to(file)
    return file


READ = ("source", "--policy", "--baseline", "--text", "--tokenizer", "--tokens")


@pytest.mark.parametrize(
    ("command", "role"),
    [*(("verify", role) for role in ("file", "--engine", *READ)), *(("release", role) for role in ("out", *READ))],
)
def test_a_report_takes_the_place_of_nothing_that_is_read_judged_or_released(
    tmp_path: Path, source: Path, good: Path, command: str, role: str
) -> None:
    given = {"source": source, "file": good, "out": tmp_path / "out.bin"}
    given["out"].write_bytes(b"an earlier release")
    chosen = given.get(role, tmp_path / "some file")
    if role == "--baseline":
        assert run("verify", source, good, *QUICK, "--report", tmp_path / "last").returncode == 0
        chosen = tmp_path / "last" / "report.json"
    elif role not in given:
        chosen.write_bytes(b"somebody's")
    for name, reach in zip(NAMES, (linked, linked_by_name, *[under_its_own_name] * 3), strict=True):
        report = tmp_path / f"reports {name}"
        report.mkdir()
        chosen = given[role] = reach(report / name, chosen)
        options = [] if role in ("source", "file", "out") else [role, chosen]
        before = content(tmp_path)
        if command == "verify":
            result = run(command, given["source"], given["file"], *QUICK, *options, "--report", report)
        else:
            result = run(
                command, given["source"], given["out"], *V2, *QUICK, "--overwrite", *options, "--report", report
            )
        refused(result, f"{report / name}: expected a place for the report alone", str(chosen))
        assert content(tmp_path) == before


def test_a_report_does_not_take_the_place_of_the_engine_s_program(tmp_path: Path, source: Path, good: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    program = report / NAMES[0]
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    engine = f"{program} {{file}} {{tokens}} {{logits}}"
    result = run("verify", source, good, *QUICK, "--engine-command", engine, "--report", report)
    refused(result, f"{program}: expected a place for the report alone")
    assert program.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_new_file_is_not_released_to_where_its_report_goes(
    tmp_path: Path, source: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import exporter

    monkeypatch.delattr(exporter, "export")
    (tmp_path / "r").mkdir()
    (tmp_path / "link").symlink_to("r")
    for out, report in ((f"r/{name}", "r"), (f"link/{name}", "r"), (f"r/{name}", "link"), ("r/out", "r/out")):
        result = run("release", source, tmp_path / out, *V2, *QUICK, "--report", tmp_path / report)
        refused(result, "expected a place for the report alone", out)
    assert content(tmp_path / "r") == {}


@pytest.mark.parametrize("kind", ["report", "rejected"])
def test_neither_directory_that_a_release_reports_to_by_itself_holds_what_is_read(
    tmp_path: Path, source: Path, kind: str
) -> None:
    moved = tmp_path / f"out.bin.{kind}" / "junit.xml"
    moved.parent.mkdir()
    source.rename(moved)
    before = content(tmp_path)
    refused(run("release", moved, tmp_path / "out.bin", *V2, *QUICK), str(moved), "for the report alone")
    assert content(tmp_path) == before


def test_a_report_takes_the_place_of_its_predecessor(tmp_path: Path, source: Path, good: Path) -> None:
    out, windows = tmp_path / "out.bin", ("--depth", "quick", "--windows", "2", "--length", "8")
    command = ("release", source, out, *V2, *windows, "--overwrite")
    assert run(*command).returncode == 0
    saved = tmp_path / "out.bin.report" / "report.json"
    assert run(*command, "--baseline", saved).returncode == 0
    assert json.loads(saved.read_text())["baseline"]["path"] == str(saved)
    assert run("judge", saved, "--report", saved.parent).returncode == 0
    refused(run("judge", saved, "--baseline", saved, "--report", saved.parent), str(saved), "for the report alone")
    for _ in range(2):
        assert run("verify", source, good, *QUICK, "--report", tmp_path / "r").returncode == 0


@pytest.mark.parametrize("command", ["export", "release"])
def test_links_are_followed_and_stay(tmp_path: Path, source: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for link, to in (("link", "file"), ("dangling", "new")):
        (tmp_path / link).symlink_to(to)
        name, *options = COMMANDS[command]
        assert run(name, source, tmp_path / link, *options, "--overwrite").returncode == 0
        assert (tmp_path / link).readlink() == Path(to)
        assert (tmp_path / to).stat().st_size > 1000


@pytest.mark.parametrize("name", [b"a\nb.bin", b"-", b" ", b"\x1b[31m", b"n" * 230, b"%s{}\\", b"\xc3\x84"])
def test_any_name_is_a_target_and_its_report_s(tmp_path: Path, source: Path, name: bytes) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert run("release", source, out, *V2, *QUICK).returncode == 0
    assert out.stat().st_size > 1000
    assert {path.name for path in out.with_name(f"{out.name}.report").iterdir()} == set(NAMES)
    refused(run("release", source, out, *V2, *QUICK), "found a file")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_a_name_that_is_no_text_is_spelled_wherever_it_is_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard output, whatever letters it has, and in every report."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.bin"))
    reports = out.with_name(f"{out.name}.report")
    for command in (
        ("release", source, out, *V2, *QUICK),
        ("inspect", out),
        ("judge", reports / "report.json", "--json"),
    ):
        result = run_process(*command)
        words = [line for line in without_progress(result.stderr).splitlines() if not line.startswith("note: ")]
        assert (result.returncode, words) == (0, [])
        assert r"caf\udce9.bin" in result.stdout.replace("\\\\", "\\")
    assert json.loads(result.stdout)["file"]["path"].endswith(r"/caf\udce9.bin")
    # junit.xml names checks, not files
    for name in sorted({*NAMES} - {"junit.xml"}):
        assert r"caf\udce9.bin" in (reports / name).read_text(encoding="utf-8").replace("\\\\", "\\")
