"""Run an engine as a process: give it its input, read its output, and say how it ended."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.engine.confine import NOT_STARTED
from verify.errors import CannotJudgeError

_CONFINE = Path(__file__).with_name("confine.py")
_PLACES = ("{file}", "{tokens}", "{logits}")
# The place of a command that runs several sequences in one process.
_LENGTHS = "{lengths}"
# Bytes that an engine may write to any one file besides its logits.
_MOST_OUTPUT = 1 << 26
# Characters of an engine's last line that a message quotes.
_LAST_LINE = 200


class EngineFailedError(Exception):
    """The engine ran but did not give the requested logits: the reason of a failing verdict."""


@dataclass(frozen=True)
class Engine:
    """Describes an engine of the user's own: either a library or a command.

    Attributes:
        library: a shared library with llama2.c's functions.
        command: a program with its arguments, which include {file}, {tokens} and {logits}, and {lengths} if it runs
            several sequences.
        seconds: the time limit of a process.
        memory: the limit of address space in bytes, or None.
        activations: "q8" if the engine rounds them to int8, as runq.c does.

    Raises:
        CannotJudgeError: both or neither of library and command, or a number or word out of range.
    """

    library: Path | None = None
    command: str | None = None
    seconds: float = 600.0
    memory: int | None = None
    activations: reader_c.Activations = "fp32"

    def __post_init__(self) -> None:
        if self.library is not None:
            # a path may be given as text
            object.__setattr__(self, "library", Path(self.library))
        if (self.library is None) == (self.command is None):
            raise CannotJudgeError("engine: expected either a library or a command, found both or none")
        if not 0 < self.seconds < math.inf:
            raise CannotJudgeError(f"engine timeout: expected seconds above 0, found {self.seconds:g}")
        if self.memory is not None and self.memory < 1:
            raise CannotJudgeError(f"engine memory: expected bytes above 0, found {self.memory}")
        if self.activations not in ("fp32", "q8"):
            raise CannotJudgeError(f"engine activations: expected fp32 or q8, found {self.activations!r}")

    def check(self) -> None:
        """Refuse an engine that cannot start, before anything is computed.

        Raises:
            CannotJudgeError: there is no such library or program, or the command lacks a place.
        """
        if self.library is not None:
            if not self.library.is_file():
                raise CannotJudgeError(f"{self.library}: expected an engine's shared library, found no such file")
            return
        words = self._words()
        if shutil.which(words[0]) is None:
            raise CannotJudgeError(f"engine command: expected an executable program, found {words[0]!r}")
        for place in _PLACES:
            if not any(place in word for word in words):
                raise CannotJudgeError(f"engine command: expected {place} in it, found {self.command!r}")

    def program(self) -> Path:
        """Find the file that runs.

        Returns:
            The library, or the command's first word as the shell would find it.

        Raises:
            CannotJudgeError: the command has no words.
        """
        return self.library or Path(shutil.which(self._words()[0]) or self._words()[0])

    def digest(self) -> str:
        """Hash the file that runs.

        Returns:
            Its sha256, in hexadecimal.

        Raises:
            CannotJudgeError: it cannot be read.
        """
        path = self.program()
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CannotJudgeError(f"{path}: expected a readable engine, found: {reason}") from error

    @property
    def runs_sequences(self) -> bool:
        """Return whether one process runs several sequences: a library does, and a command with {lengths}."""
        return self.command is None or _LENGTHS in self.command

    def _words(self) -> list[str]:
        try:
            words = shlex.split(self.command or "")
        except ValueError as error:
            raise CannotJudgeError(
                f"engine command: expected words that a shell can split, found: {error}"
            ) from error
        if not words:
            raise CannotJudgeError("engine command: expected a program and its arguments, found nothing")
        return words

    def logits(self, file: str, sequences: Sequence[NDArray[np.int64]], vocab_size: int) -> list[NDArray[np.float32]]:
        """Run the engine on sequences of tokens, in one process and each from position 0.

        Args:
            file: the .bin file.
            sequences: token ids; more than one requires runs_sequences.
            vocab_size: of the model.

        Returns:
            The logits of each, float32 (length, vocab_size).

        Raises:
            EngineFailedError: the engine ran but did not give these logits.
        """
        lengths = [len(tokens) for tokens in sequences]
        expected = 4 * sum(lengths) * vocab_size
        with tempfile.TemporaryDirectory(prefix="engine-") as directory:
            room = Path(directory)
            asked, answer, said, parts = (room / name for name in ("tokens", "logits", "output", "lengths"))
            asked.write_bytes(np.concatenate(sequences).astype("<i4").tobytes())
            parts.write_bytes(np.array(lengths, "<i4").tobytes())
            paths = (str(Path(file).absolute()), str(asked), str(answer), str(parts))
            given = dict(zip((*_PLACES, _LENGTHS), paths, strict=True))
            self._run(given, vocab_size, expected + _MOST_OUTPUT, said)
            try:
                made = answer.stat()
            except OSError as error:
                raise EngineFailedError(f"it wrote no logits{_last_line(said)}") from error
            if not stat.S_ISREG(made.st_mode) or made.st_size != expected:
                found = f"{made.st_size} bytes" if stat.S_ISREG(made.st_mode) else "no file"
                raise EngineFailedError(
                    f"expected {sum(lengths)} x {vocab_size} float32 logits ({expected} bytes), found {found}"
                )
            logits = np.fromfile(answer, "<f4").reshape(-1, vocab_size)
            return np.split(logits, np.cumsum(lengths)[:-1])

    def _run(self, given: dict[str, str], vocab_size: int, most_bytes: int, said: Path) -> None:
        if self.library is not None:
            what = ["library", str(self.library.absolute()), *given.values(), str(vocab_size)]
        else:
            what = ["command", *(_filled(word, given) for word in self._words())]
        confined = [sys.executable, "-I", str(_CONFINE), str(self.memory or 0), str(most_bytes), *what]
        began = time.monotonic()
        with said.open("wb") as words:
            process = subprocess.Popen(
                confined,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                # a process group, to end everything that the engine starts
                start_new_session=True,
            )
            try:
                status = process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
        if status is None:
            raise EngineFailedError(f"it took more than {time.monotonic() - began:.0f} seconds{_last_line(said)}")
        if status == NOT_STARTED:
            raise CannotJudgeError(
                f"engine: expected a program that starts, found{_last_line(said) or ': it does not start'}"
            )
        if status < 0:
            raise EngineFailedError(f"it was ended by {_name_of(-status)}{_last_line(said)}")
        if status:
            raise EngineFailedError(f"it ended with status {status}{_last_line(said)}")


def _filled(word: str, given: dict[str, str]) -> str:
    for place, value in given.items():
        word = word.replace(place, value)
    return word


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(said: Path) -> str:
    """Return ": " and the last line of the engine's output; nothing if it printed nothing."""
    with said.open("rb") as words:
        words.seek(0, os.SEEK_END)
        words.seek(max(0, words.tell() - 4096))
        lines = words.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    shown = "".join(letter if letter.isprintable() else "?" for letter in last)
    return f": {shown[-_LAST_LINE:]}" if shown else ""
