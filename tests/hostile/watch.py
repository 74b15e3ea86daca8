"""Opens sources on both roads, in a process that writes down all they do: run by test_sources.py.

    python watch.py LIST REPORT HEALTHY ...     LIST: a JSON array of sources; REPORT: what came of each

HEALTHY ones are opened first, unwatched, so that all that is imported late is there.
"""

from __future__ import annotations

import json
import os
import site
import sys
import time
from collections.abc import Callable
from pathlib import Path

import exporter
from verify.errors import CannotJudgeError
from verify.sources import open_source

# What no source may have a process do; arguments decide about the others below.
FORBIDDEN = (
    *(
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "os.startfile",
        "subprocess.Popen",
    ),
    *("pty.spawn", "socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("shutil.rmtree", "shutil.copyfile", "tempfile.mkstemp", "pickle.find_class"),
)
HOMES = tuple(os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, *site.getsitepackages(), "/usr/lib"))
OURS = tuple(str(Path(module.__file__ or "").resolve().parent) for module in (exporter, sys.modules["verify"]))
# what these may be asked for when a pickle is read without running any of it
HARMLESS = ("torch", "collections", "numpy")

seen: list[str] = []
watched: list[Path] = []


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if not watched:
        return
    if event == "open":
        path, mode = arguments[0], arguments[1]
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        inside = real.startswith(str(watched[0]))
        known = real.startswith((*HOMES, *OURS, "/proc/", "/sys/"))
        if writes or not (inside or known):
            seen.append(f"open {real} {mode}")
    elif event == "pickle.find_class" and str(arguments[0]).split(".")[0] in HARMLESS:
        return
    elif event in FORBIDDEN:
        seen.append(f"{event} {arguments!r}")


def outcome(road: Callable[[], object], *errors: type[Exception]) -> str:
    """ "" where it was healthy; else the error's one line."""
    try:
        road()
    except errors as error:
        return str(error)
    except BaseException as error:
        return f"BUG {type(error).__name__}: {error}"
    return ""


def of_exporter(path: Path) -> None:
    opened = exporter.open_checkpoint(path)
    for name in opened.names:
        opened.load(name)


def of_verifier(path: Path) -> None:
    source = open_source(path)
    for name in source.hyperparameters.shapes():
        source.tensor(name)


def peak_memory() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    for healthy in map(Path, sys.argv[3:]):
        of_exporter(healthy)
        of_verifier(healthy)
    sys.addaudithook(hook)
    before = peak_memory()
    found = {}
    for name in json.loads(Path(sys.argv[1]).read_text()):
        path = Path(name)
        seen.clear()
        watched[:] = [path.resolve() if path.is_dir() else path.resolve().parent]
        began = time.monotonic()
        theirs = outcome(lambda: of_exporter(path), exporter.ExportError)  # noqa: B023
        between = time.monotonic()
        ours = outcome(lambda: of_verifier(path), CannotJudgeError)  # noqa: B023
        seconds = between - began, time.monotonic() - between
        watched.clear()
        found[name] = {"exporter": theirs, "verify": ours, "did": list(seen), "seconds": seconds}
    Path(sys.argv[2]).write_text(json.dumps({"found": found, "memory": peak_memory() - before}))


if __name__ == "__main__":
    main()
