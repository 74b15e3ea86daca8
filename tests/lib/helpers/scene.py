"""An earlier file or directory, a command line that is to replace it, and what stands there afterwards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.checkpoints import save, state_dict
from helpers.forked import end, import_all, nothing, start

QUICK = ("--depth", "quick", "--windows", "1", "--length", "4")
COMMANDS = {
    "export v2": ("export", "--format", "v2", "--group-size", "8"),
    "export v3": ("export", "--format", "v3"),
    "export hf": ("export", "--format", "hf"),
    "release v2": ("release", "--format", "v2", "--group-size", "8", *QUICK),
    "release v3": ("release", "--format", "v3", *QUICK),
}


class Scene:
    """One command on a tiny model. target: the directory of all that it makes; out: the file or directory itself."""

    def __init__(self, room: Path, name: str, *, over: bool = True) -> None:
        """room: empty; over: an earlier one stands there, of another model."""
        self.room, self.name, self.over = room, name, over
        self.target = room / "target"
        self.out = self.target / "model.bin"
        self.log = room / "log"
        self.sources = [self._source(seed) for seed in range(2)]
        self.target.mkdir()
        import_all(room, *self.arguments())
        self.kept = set(self.target.rglob("*"))
        self._known = {"new": self._standing()}
        shutil.rmtree(self.target)
        self.target.mkdir()
        self.run(source=0)
        self._known["old"] = self._standing()
        self.target.rename(room / "old")
        self.lay(self.target)

    def _source(self, seed: int) -> Path:
        directory = self.room / f"source{seed}"
        directory.mkdir()
        return save(directory, state_dict(seed))

    def arguments(self, source: int = 1, *, overwrite: bool = True, out: Path | None = None) -> tuple[object, ...]:
        """source: 1 makes the new one."""
        command, *options = COMMANDS[self.name]
        asked = ["--overwrite"] if overwrite else []
        return command, self.sources[source], out or self.out, *options, "--quiet", *asked

    def run(
        self,
        before: Callable[[], None] = nothing,
        *,
        source: int = 1,
        overwrite: bool = True,
        out: Path | None = None,
    ) -> tuple[int, str]:
        """(status, what it said)."""
        pid = start(self.log, *self.arguments(source, overwrite=overwrite, out=out), before=before)
        return end(pid), self.log.read_text(encoding="utf-8")

    def lay(self, target: Path) -> None:
        """Before the command: the earlier one, with its report, or nothing."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.room / "old", target) if self.over else target.mkdir()

    def _standing(self, out: Path | None = None) -> dict[str, bytes]:
        out = out or self.out
        files = out.iterdir() if out.is_dir() else [out] if out.exists() else []
        return {file.name: file.read_bytes() for file in files}

    def found(self, out: Path | None = None) -> str:
        """ "old", "new", "nothing" or "neither"."""
        standing = self._standing(out)
        names = [name for name, content in self._known.items() if content == standing]
        return names[0] if names else "neither" if standing else "nothing"

    def strays(self) -> list[str]:
        """All that belongs to neither the file nor its report."""
        return sorted(path.name for path in set(self.target.rglob("*")) - self.kept)

    def is_reported(self) -> bool:
        """The report beside a release is about the file that stands there."""
        report = self.target / f"{self.out.name}.report" / "report.json"
        if not report.exists():
            return self.name.startswith("export")
        digest = hashlib.sha256(self.out.read_bytes()).hexdigest()
        return bool(json.loads(report.read_text(encoding="utf-8"))["file"]["sha256"] == digest)

    def whole(self) -> bool:
        return set(self.target.rglob("*")) >= self.kept


@dataclass
class Tally:
    """What came of all trials of one kind."""

    name: str
    trials: int = 0
    stood: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    strays: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, status: int, found: str, strays: Iterable[str]) -> None:
        self.trials += 1
        self.stood[found] += 1
        self.statuses[status] += 1
        self.strays += bool(list(strays))

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(f"{self.name}, trial {self.trials}: expected {what}")

    def join(self, more: Tally) -> None:
        """more: of other trials of the same kind."""
        self.trials += more.trials
        self.stood += more.stood
        self.statuses += more.statuses
        self.strays += more.strays
        self.wrong += more.wrong

    @property
    def result(self) -> str:
        stood = ", ".join(f"{name} {count:,}" for name, count in sorted(self.stood.items()))
        statuses = ", ".join(f"{count:,} of status {status}" for status, count in sorted(self.statuses.items()))
        return f"{stood}; {statuses}; strays in {self.strays:,}, removed by the next run"
