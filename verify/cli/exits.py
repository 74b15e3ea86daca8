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

import rich_click as click
from click.exceptions import Exit, NoArgsIsHelpError
from click.shell_completion import shell_complete

from verify.cli.commands import app
from verify.cli.usage import COMPLETION, PROGRAM, reworded
from verify.system.printable import printable
from verify.system.signals import Interrupted, listening

# sysexits' EX_SOFTWARE
INTERNAL_ERROR = 70
# errors that only writing raises
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# commands whose status 0 is a verdict
JUDGING = ("verify", "release", "judge", "demo", "diff")


def _refuse(message: object, status: int = 2) -> NoReturn:
    """Print one line on standard error, whatever the message contains."""
    _settle_output()
    click.echo(f"error: {printable(' '.join(str(message).split()))}", err=True)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """A reader that closed the pipe (head, less) is not an error; a full disk is."""
    error = _settle_output()
    if error and not isinstance(error, BrokenPipeError):
        _refuse(f"standard output: cannot be written: {(error.strerror or '').lower()}")
    sys.exit(status)


def _settle_output() -> OSError | None:
    """Flush standard output while an error can still be reported. Output that cannot be flushed is not tried again at
    exit, where Python would end with a status of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


class _Aside(io.FileIO):
    """Standard error, whose reader may close it: lost lines change no exit status."""

    def write(self, content: Any) -> int:
        with contextlib.suppress(BrokenPipeError):
            return super().write(content)
        return len(content)


def _speak_aside() -> None:
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        raw = io.BufferedWriter(_Aside(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def _complete() -> None:
    """Answer a shell that asks for completions; app.main() would, which handles a broken pipe in its own way."""
    if instruction := os.environ.get(COMPLETION):
        sys.exit(shell_complete(app, {}, PROGRAM, COMPLETION, instruction))


def main() -> NoReturn:
    """Run the command line; turn every foreseen failure into one line and its exit status."""
    # PyTorch's threads sleep while they wait for each other (its OpenMP reads this once, when it is loaded). If they
    # spun instead, they would take the processor from the threads they wait for whenever the machine is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # characters that standard output cannot encode are escaped, as on standard error: file names are any bytes
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    _speak_aside()
    _complete()
    context = None
    try:
        with listening(), app.make_context(PROGRAM, sys.argv[1:]) as context:
            status = app.invoke(context)
    except Exit as stop:
        _leave(stop.exit_code)
    except NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _leave(2)
    except click.ClickException as error:
        _refuse(reworded(error))
    except Interrupted as stop:
        # CI systems end a job with SIGTERM: unwind as for Ctrl-C, but print nothing
        if stop.code == 128 + signal.SIGTERM:
            raise
        _refuse("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        # of standard output. A verdict keeps its status: deliver() continues without a reader
        _leave(2 if context is not None and context.invoked_subcommand in JUDGING else 0)
    except OSError as error:
        _refuse(_told(error))
    except MemoryError as error:
        _refuse(f"out of memory: {error}")
    # anything else is a bug, or a panic in a Rust library: keep its traceback, but not status 1, which means "judged"
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
    # messages of exporter and reader_c already say what and where
    return error


def _speaks_of_input(error: BaseException) -> bool:
    import exporter  # noqa: PLC0415
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    return isinstance(error, (exporter.ExportError, reader_c.ReaderError, CannotJudgeError))
