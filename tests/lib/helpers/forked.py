"""Command lines in processes of their own, forked from one that has imported everything: a tenth of a second each."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from verify.cli import main as command_line


def nothing() -> None:
    """What most processes do before the command line."""


def start(log: Path, *arguments: object, before: Callable[[], None] = nothing, modules: Path | None = None) -> int:
    """The id of a process that runs the command line. log: what it says; before: called there when all is ready;
    modules: where to list what it imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    status = 70
    # a job in the background ignores it, and so would what it forks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        torch.set_num_threads(1)
        sys.argv = ["export-and-verify", *map(str, arguments)]
        before()
        command_line()
    except SystemExit as stop:
        status = int(stop.code or 0)
        if modules:
            modules.write_text("\n".join(sys.modules), encoding="utf-8")
    except KeyboardInterrupt:
        # before or after main(): the interpreter's own status
        status = 128 + signal.SIGINT
    finally:
        os._exit(status)


def end(pid: int) -> int:
    """The status that a shell would see."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - code if code < 0 else code


def import_all(room: Path, *arguments: object) -> None:
    """Run a command line that must pass, and import here what it imported."""
    log, modules = room / "log", room / "modules"
    if status := end(start(log, *arguments, modules=modules)):
        raise SystemExit(f"{arguments}: expected status 0, found {status}: {log.read_text(encoding='utf-8')}")
    for name in modules.read_text(encoding="utf-8").splitlines():
        with suppress(ImportError):
            importlib.import_module(name)
