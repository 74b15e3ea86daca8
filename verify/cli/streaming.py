"""Text as it comes, and how many tokens of it come a second."""

from __future__ import annotations

import codecs
import sys
import time

import rich_click as click

from verify.system.printable import printable


class Text:
    """Standard output for bytes as they come: unchanged into a file or a pipe, and safe on a terminal."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, content: bytes) -> None:
        if hasattr(sys.stdout, "buffer") and not sys.stdout.isatty():
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        text = self._decoder.decode(content)
        sys.stdout.write("".join(c if c in "\n\t" else printable(c) for c in text))
        sys.stdout.flush()


class Rate:
    """Counts tokens, and the time of those that follow another one: the first of a text waits for the prompt."""

    def __init__(self) -> None:
        self._tokens, self._timed, self._seconds = 0, 0, 0.0
        self._before: float | None = None

    def count_token(self) -> None:
        now = time.perf_counter()
        if self._before is not None:
            self._timed += 1
            self._seconds += now - self._before
        self._tokens, self._before = self._tokens + 1, now

    def pause(self) -> None:
        """Leave out the time until the next token: a person types, or the prompt is computed."""
        self._before = None

    def show(self, seed: int) -> None:
        rate = f", {self._timed / max(self._seconds, 1e-9):.1f} tokens a second" if self._timed else ""
        click.echo(f"{self._tokens} tokens{rate}, seed {seed}", err=True)
