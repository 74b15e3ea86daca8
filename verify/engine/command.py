"""An engine as a process: what is given to it, what comes back, and how it ended."""

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.engine.confine import NOT_STARTED
from verify.errors import CannotJudgeError

_CONFINE = Path(__file__).with_name("confine.py")
_PLACES = ("{file}", "{tokens}", "{logits}")
# What an engine may write besides its logits, in bytes, to any one file.
_ROOM_TO_TALK = 1 << 26
_LAST_WORDS = 200


class EngineFailedError(Exception):
    """The engine ran and did not give what was asked of it: a verdict, with its reason."""


@dataclass(frozen=True)
class Engine:
    """library: a shared library with llama2.c's functions; command: a program with its arguments, among them {file},
    {tokens} and {logits}. One of both. seconds: the most that a window may take. memory: bytes of address space, or
    None. activations: "q8" where the engine rounds them to int8, as runq.c does."""

    library: Path | None = None
    command: str | None = None
    seconds: float = 600.0
    memory: int | None = None
    activations: reader_c.Activations = "fp32"

    def __post_init__(self) -> None:
        if (self.library is None) == (self.command is None):
            raise CannotJudgeError("engine: expected a library or a command, found both or none")
        if not 0 < self.seconds < math.inf:
            raise CannotJudgeError(f"engine timeout: expected seconds above 0, found {self.seconds:g}")
        if self.memory is not None and self.memory < 1:
            raise CannotJudgeError(f"engine memory: expected bytes above 0, found {self.memory}")
        if self.activations not in ("fp32", "q8"):
            raise CannotJudgeError(f"engine activations: expected fp32 or q8, found {self.activations!r}")

    def check(self) -> None:
        """Before anything is computed: raise CannotJudgeError where there is nothing to run."""
        if self.library is not None:
            if not self.library.is_file():
                raise CannotJudgeError(f"{self.library}: expected an engine's shared library, found no such file")
            return
        words = self._words()
        if shutil.which(words[0]) is None:
            raise CannotJudgeError(f"engine command: expected a program that can be run, found {words[0]!r}")
        for place in _PLACES:
            if not any(place in word for word in words):
                raise CannotJudgeError(f"engine command: expected {place} in it, found {self.command!r}")

    def program(self) -> Path:
        """The file that runs: the library, or the command's first word as the shell would find it."""
        return self.library or Path(shutil.which(self._words()[0]) or self._words()[0])

    def digest(self) -> str:
        """sha256 of it. Raises CannotJudgeError."""
        path = self.program()
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CannotJudgeError(f"{path}: expected an engine that can be read, found: {reason}") from error

    def _words(self) -> list[str]:
        try:
            words = shlex.split(self.command or "")
        except ValueError as error:
            raise CannotJudgeError(f"engine command: expected words as a shell has them, found: {error}") from error
        if not words:
            raise CannotJudgeError("engine command: expected a program and its arguments, found nothing")
        return words

    def logits(self, file: str, tokens: NDArray[np.int64], vocab_size: int) -> NDArray[np.float32]:
        """Logits (len(tokens), vocab_size) of one window; the engine starts anew. Raises EngineFailedError."""
        expected = 4 * len(tokens) * vocab_size
        with tempfile.TemporaryDirectory(prefix="engine-") as directory:
            room = Path(directory)
            asked, answer, said = room / "tokens", room / "logits", room / "said"
            asked.write_bytes(tokens.astype("<i4").tobytes())
            given = dict(zip(_PLACES, (str(Path(file).absolute()), str(asked), str(answer)), strict=True))
            self._run(given, vocab_size, expected + _ROOM_TO_TALK, said)
            try:
                made = answer.stat()
            except OSError as error:
                raise EngineFailedError(f"it wrote no logits{_words_of(said)}") from error
            if not stat.S_ISREG(made.st_mode) or made.st_size != expected:
                found = f"{made.st_size} bytes" if stat.S_ISREG(made.st_mode) else "no file"
                raise EngineFailedError(
                    f"expected {len(tokens)} x {vocab_size} float32 logits ({expected} bytes), found {found}"
                )
            return np.fromfile(answer, "<f4").reshape(len(tokens), vocab_size)

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
                # so that whatever it starts can be ended with it
                start_new_session=True,
            )
            try:
                status = process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
        if status is None:
            raise EngineFailedError(f"it took more than {time.monotonic() - began:.0f} seconds{_words_of(said)}")
        if status == NOT_STARTED:
            raise CannotJudgeError(f"engine: expected one that starts, found{_words_of(said) or ': it does not'}")
        if status < 0:
            raise EngineFailedError(f"it was ended by {_name_of(-status)}{_words_of(said)}")
        if status:
            raise EngineFailedError(f"it ended with status {status}{_words_of(said)}")


def _filled(word: str, given: dict[str, str]) -> str:
    for place, value in given.items():
        word = word.replace(place, value)
    return word


def _end(process: subprocess.Popen[bytes]) -> None:
    """The engine and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _words_of(said: Path) -> str:
    """The last line that an engine said, for a reason's end; nothing where it was silent."""
    with said.open("rb") as words:
        words.seek(0, os.SEEK_END)
        words.seek(max(0, words.tell() - 4096))
        lines = words.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    shown = "".join(letter if letter.isprintable() else "?" for letter in last)
    return f": {shown[-_LAST_WORDS:]}" if shown else ""
