"""What is killed, interrupted or raced leaves the old or the new, whole, and the next run leaves nothing else."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.models import checkpoint, config

import exporter
from exporter.disk.workspace import clear_stale, workspace

STALE = "0123abcd"
FORMATS = ("v0", "hf")

# argv: where, the format, a function by its full name, and the number of its call after which the process is killed
KILLED = """
import importlib, os, signal, sys
import fcntl, pathlib, shutil
from helpers.models import checkpoint
import exporter

out, format_name, function, calls = sys.argv[1:]
home, _, name = function.rpartition(".")
home = eval(home)
does, left = getattr(home, name), int(calls)

def killing(*arguments, **options):
    global left
    result = does(*arguments, **options)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(home, name, killing)
exporter.export(checkpoint(seed=1), out, format=format_name, overwrite=True)
"""

# argv: a target. Has a workspace for it until standard input ends.
HOLDING = """
import pathlib, sys
from exporter.disk.workspace import workspace

with workspace(pathlib.Path(sys.argv[1])) as room:
    print(room.name, flush=True)
    sys.stdin.read()
"""

# argv: where, the format, a seed.
EXPORTING = """
import sys
from helpers.models import checkpoint
import exporter

for _ in range(8):
    exporter.export(checkpoint(seed=int(sys.argv[3])), sys.argv[1], format=sys.argv[2], overwrite=True)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def export(out: Path, format_name: str, seed: int = 0, *, overwrite: bool = True) -> None:
    exporter.export(checkpoint(seed=seed), out, format=format_name, overwrite=overwrite)


def content(path: Path) -> dict[str, bytes]:
    """Of a file or a flat directory; of nothing, none."""
    files = path.iterdir() if path.is_dir() else [path] if path.exists() else []
    return {file.name if path.is_dir() else "": file.read_bytes() for file in files}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def stale(target: Path) -> Path:
    """As a killed process leaves it."""
    room = target.with_name(f".{target.name}.{STALE}.partial")
    (room / "inner").mkdir(parents=True)
    (room / f"{target.name}.lock").touch()
    (room / "inner" / target.name).write_bytes(b"half")
    return room


KILLS = [
    *itertools.product(("v0",), ("fcntl.flock", "pathlib.Path.mkdir", "os.fsync", "pathlib.Path.replace"), (1,)),
    # the first lock is that of the look at what stands there, before anything is made
    *itertools.product(("hf",), ("fcntl.flock",), (2, 3)),
    *itertools.product(("hf",), ("pathlib.Path.mkdir", "os.fsync"), (1, 2)),
    # set aside; in place; the old one out of the way; half removed
    *itertools.product(("hf",), ("pathlib.Path.rename",), (1, 2, 3)),
    ("hf", "pathlib.Path.unlink", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("format_name", "function", "call"), KILLS)
def test_a_killed_export_leaves_the_old_or_the_new_and_the_next_run_nothing_else(
    tmp_path: Path, format_name: str, function: str, call: int
) -> None:
    out = tmp_path / "out"
    export(out, format_name, seed=1)
    new = content(out)
    export(out, format_name)
    old = content(out)
    process = python(KILLED, out, format_name, function, call)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(names(tmp_path) - {"out"}) == 1
    if (function, call) == ("pathlib.Path.rename", 1):
        assert not out.exists()
    else:
        assert content(out) in (old, new)
    # what stands there is told before anything is done: also what was set aside
    with pytest.raises(exporter.WriteError, match="expected nothing there"):
        export(out, format_name, overwrite=False)
    assert content(out) in (old, new)
    export(out, format_name, seed=1)
    assert content(out) == new
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("name", ["out.bin", "a [model]*?.bin", "lock", "out.old", "-", "Ä\n{2}"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_stale_workspaces_of_this_target_are_removed_and_nothing_else_is(
    tmp_path: Path, name: str, format_name: str
) -> None:
    out = tmp_path / name
    others = [stale(tmp_path / other) for other in (f"{name}.b", f"b.{name}", "xyz")]
    not_ours = [tmp_path / f".{name}.{end}" for end in (f"{STALE}0.partial", "0123ABCD.partial", f"{STALE}.release")]
    for path in not_ours:
        path.mkdir()
    not_ours.append(tmp_path / f".{name}.ffffffff.partial")
    not_ours[-1].write_bytes(b"a regular file")
    stale(out)
    export(out, format_name)
    assert names(tmp_path) == {name, *(path.name for path in (*others, *not_ours))}


def test_a_workspace_that_a_living_process_holds_stays_until_it_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = python(HOLDING, out)
    assert process.stdout is not None
    held = process.stdout.readline().strip()
    export(out, "v0")
    assert names(tmp_path) == {"out", held}
    process.kill()
    process.communicate()
    assert names(tmp_path) == {"out", held}
    export(out, "v0")
    assert names(tmp_path) == {"out"}


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
def test_concurrent_exports_of_one_target_do_not_disturb_each_other(tmp_path: Path, format_name: str) -> None:
    wholes = []
    out = tmp_path / "out"
    for seed in range(4):
        export(out, format_name, seed=seed)
        wholes.append(content(out))
    processes = [python(EXPORTING, out, format_name, seed) for seed in range(4)]
    while any(process.poll() is None for process in processes):
        # a directory is away between two renames
        assert format_name == "hf" or content(out) in wholes
    assert [process.wait() for process in processes] == [0] * 4
    assert content(out) in wholes
    assert names(tmp_path) == {"out"}
    for process in processes:
        process.communicate()


def waits_for_a_lock(process: subprocess.Popen[str]) -> bool:
    lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in lines)


def test_directories_are_replaced_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second export comes when the first has set aside what was there, and has put nothing in its place."""
    out = tmp_path / "out"
    export(out, "hf")
    rename = Path.rename
    second: list[subprocess.Popen[str]] = []

    def paused(path: Path, to: Path) -> Path:
        renamed = rename(path, to)
        if not second:
            second.append(python(EXPORTING, out, "hf", 1))
            while second[0].poll() is None and not waits_for_a_lock(second[0]):
                time.sleep(0.01)
        return renamed

    monkeypatch.setattr(Path, "rename", paused)
    export(out, "hf", seed=2)
    second[0].communicate()
    assert second[0].returncode == 0
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize(("home", "name", "after"), [(Path, "mkdir", True), (fcntl, "flock", False)])
def test_a_workspace_that_is_taken_for_a_stale_one_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Any, name: str, after: bool
) -> None:
    """Another process clears between mkdir and the lock: before the lock's file is opened, and after."""
    target = tmp_path / "out"
    does, calls = getattr(home, name), 0

    def raced(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if after:
            does(*arguments, **options)
        if calls == 1:
            clear_stale(target)
            assert names(tmp_path) == set()
        if not after:
            does(*arguments, **options)

    monkeypatch.setattr(home, name, raced)
    with workspace(target) as room:
        (room / "file").touch()
        clear_stale(target)
        assert names(tmp_path) == {room.name}
        assert (room / "file").exists()
    assert calls > 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF])
@pytest.mark.parametrize("format_name", FORMATS)
def test_without_locks_strays_stay_and_exports_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, format_name: str
) -> None:
    def refusing(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refusing)
    room = stale(tmp_path / "out")
    for seed in range(2):
        export(tmp_path / "out", format_name, seed=seed)
    assert names(tmp_path) == {"out", room.name}
    assert (room / "inner" / "out").read_bytes() == b"half"


@contextlib.contextmanager
def interrupting(event: int) -> Iterator[Callable[[], int]]:
    """Raise KeyboardInterrupt at the given one of the moments at which Python looks for signals in exporter.disk and
    what it calls: when a function begins, and when a call of C returns. Yields a function that counts them."""
    ours = ("atomic", "locks", "publish", "sync", "target", "workspace")
    files = (*(f"/exporter/disk/{name}.py" for name in ours), "/contextlib.py", "/pathlib.py", "/shutil.py")
    seen = 0

    def look(frame: Any, what: str, _argument: Any) -> None:
        nonlocal seen
        if what in ("call", "c_return") and frame.f_code.co_filename.endswith(files):
            seen += 1
            if seen == event:
                raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        yield lambda: seen
    finally:
        sys.setprofile(None)


# an interrupt between opening and keeping leaves the closing to the destructor, which warns
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("format_name", FORMATS)
def test_an_interrupt_at_any_moment_leaves_the_old_or_the_new_and_nothing_else(
    tmp_path: Path, format_name: str
) -> None:
    out = tmp_path / "out"
    # little work beside that of placing it
    sources = [checkpoint(config(n_layers=1), seed) for seed in range(2)]

    def write(seed: int) -> dict[str, bytes]:
        exporter.export(sources[seed], out, format=format_name, overwrite=True)
        return content(out)

    new, old = write(1), write(0)
    for event in itertools.count(1):
        with contextlib.suppress(KeyboardInterrupt), interrupting(event) as seen:
            write(1)
        if seen() < event:
            break
        found = content(out)
        assert found in (old, new), event
        assert names(tmp_path) == {"out"}, event
        if found == new:
            write(0)
    assert event > 50
