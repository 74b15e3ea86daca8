"""Programs in processes of their own that have imported PyTorch and the verifier already.

One process imports them; each program is a fork of it. That takes a tenth of a second instead of three. What an
import does, and what the interpreter does at its start, only a process of its own shows.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

_PATHS = [str(Path(__file__).parents[3]), str(Path(__file__).parents[1])]


@functools.cache
def _process() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.prepared"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # it ends where its input does
    atexit.register(process.communicate)
    return process


def run_prepared(program: Literal["verify", "pytest"], *arguments: object, out: Path | str, err: Path | str) -> int:
    """Run a program in this process's directory and environment; return its status as a shell would see it. out, err:
    a file or a terminal for what it writes."""
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    request = {
        "program": program,
        "arguments": list(map(str, arguments)),
        "out": str(out),
        "err": str(err),
        "directory": str(Path.cwd()),
        "environment": dict(os.environ),
    }
    print(json.dumps(request), file=process.stdin, flush=True)
    return int(process.stdout.readline())


# ---- the process that forks ----


def _main() -> None:
    import filelock  # noqa: F401
    import hypothesis.extra.numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch.fx.experimental.symbolic_shapes  # a gradient imports it, and sympy with it

    import verify.cli
    import verify.verdict  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                status = _begin(**json.loads(line))
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{128 - code if code < 0 else code}\n")
        sys.stdout.flush()


def _begin(
    program: str, arguments: list[str], out: str, err: str, directory: str, environment: dict[str, str]
) -> int:
    """Run a program in this process, with nothing to read. Return its status."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name, path in ((1, "stdout", out), (2, "stderr", err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    try:
        return _pytest(arguments) if program == "pytest" else _command_line(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _pytest(arguments: list[str]) -> int:
    import pytest

    sys.path.insert(0, str(Path.cwd()))
    # what is imported already cannot be rewritten, and pytest warns of it
    return int(pytest.main([*arguments, "-W", "ignore::pytest.PytestAssertRewriteWarning"]))


def _command_line(arguments: list[str]) -> int:
    from verify.cli import main

    sys.argv = ["export-and-verify", *arguments]
    main()
    return 0


if __name__ == "__main__":
    _main()
