"""Whatever stands where a file, a directory or a report is to be made: one line and nothing changed, or all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import refused, run, run_process
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
        assert (result.returncode, result.stderr) == (0, "")
        assert r"caf\udce9.bin" in result.stdout.replace("\\\\", "\\")
    assert json.loads(result.stdout)["file"]["path"].endswith(r"/caf\udce9.bin")
    # junit.xml names checks, not files
    for name in sorted({*NAMES} - {"junit.xml"}):
        assert r"caf\udce9.bin" in (reports / name).read_text(encoding="utf-8").replace("\\\\", "\\")
