"""What became of mutants, kept on disk so that a campaign continues where it was stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


class Fates:
    """What became of a file's mutants: kept as soon as it is known, and forgotten when the file changes."""

    def __init__(self, directory: Path, name: str, text: str, *, again: bool) -> None:
        """again: forget the mutants that nothing noticed."""
        directory.mkdir(exist_ok=True)
        self._path = directory / f"{name.replace('/', '.')}.jsonl"
        self._text = hashlib.sha256(text.encode()).hexdigest()
        self.seconds = 0.0
        self._of: dict[str, str] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ['["", 0]']
        (of, seconds), *kept = (json.loads(line) for line in lines)
        if of == self._text:
            self.seconds = seconds
            self._of = {key: fate for key, fate in kept if fate or not again}
        self.spend(0.0)

    def get(self, key: str) -> str | None:
        return self._of.get(key)

    def put(self, key: str, fate: str) -> None:
        self._of[key] = fate
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, fate]) + "\n")

    def spend(self, seconds: float) -> None:
        """Add to the time that all trials took."""
        self.seconds += seconds
        lines = [[self._text, self.seconds], *self._of.items()]
        self._path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
