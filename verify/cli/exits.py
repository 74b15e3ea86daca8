"""main(): the command line, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from verify.cli.commands import app
from verify.system.printable import printable
from verify.system.signals import Interrupted, listening

# sysexits' EX_SOFTWARE
INTERNAL_ERROR = 70
# what only writing fails by
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# whose status 0 is a verdict
JUDGING = ("verify", "release", "judge", "demo")


def _refuse(message: object, status: int = 2) -> NoReturn:
    """One line on standard error, whatever the message held."""
    _settle_output()
    click.echo(f"error: {printable(' '.join(str(message).split()))}", err=True)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """A reader that went away (head, less) is no error of ours; a full disk is."""
    error = _settle_output()
    if error and not isinstance(error, BrokenPipeError):
        _refuse(f"standard output: cannot be written: {(error.strerror or '').lower()}")
    sys.exit(status)


def _settle_output() -> OSError | None:
    """Flush standard output while an error can still be told; what cannot be flushed is not tried again at exit,
    where Python would answer with a status of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


class _Aside(io.FileIO):
    """Standard error, whose reader may go away: what is said there is missed by nobody, and changes no status."""

    def write(self, content: Any) -> int:
        with contextlib.suppress(BrokenPipeError):
            return super().write(content)
        return len(content)


def _speak_aside() -> None:
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        raw = io.BufferedWriter(_Aside(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def main() -> NoReturn:
    """Run the command line and turn every foreseen failure into one line and its status."""
    # PyTorch's threads sleep while they wait for each other (its OpenMP asks once, when it is loaded): awake, they
    # would keep the processor from those they wait for as soon as anything else runs on the machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # what standard output has no letters for is spelled, as on standard error: names of files are any bytes
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    _speak_aside()
    context = None
    try:
        # not app.main(): it has its own answers to a broken pipe and to Ctrl-C
        with listening(), app.make_context("export-and-verify", sys.argv[1:]) as context:
            status = app.invoke(context)
    except click.exceptions.Exit as stop:
        _leave(stop.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _leave(2)
    except click.ClickException as error:
        _refuse(error.format_message())
    except Interrupted as stop:
        # SIGTERM is what CI systems end a job with: unwound like Ctrl-C, but nobody is there to be told
        if stop.code == 128 + signal.SIGTERM:
            raise
        _refuse("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        # of standard output. A verdict that was reached has its status already: deliver() goes on without a reader
        _leave(2 if context is not None and context.invoked_subcommand in JUDGING else 0)
    except OSError as error:
        _refuse(_told(error))
    except MemoryError as error:
        _refuse(f"out of memory: {error}")
    # any other is a bug, or a panic of a library in Rust: it keeps its traceback, but status 1 would say "judged"
    except BaseException as error:
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise
        if not _speaks_of_input(error):
            traceback.print_exc()
            sys.exit(INTERNAL_ERROR)
        _refuse(error)
    _leave(status)


def _told(error: OSError) -> object:
    reason = (error.strerror or "").lower()
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno in FULL and not _speaks_of_input(error):
        return f"standard output: cannot be written: {reason}"
    # exporter's and reader_c's own messages already say what and where
    return error


def _speaks_of_input(error: BaseException) -> bool:
    import exporter  # noqa: PLC0415
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    return isinstance(error, (exporter.ExportError, reader_c.ReaderError, CannotJudgeError))
