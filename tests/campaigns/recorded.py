"""What the last run of a module's mutants tried, and which lines have changed since."""

from __future__ import annotations

import difflib
import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from deciding import ROOT
from record import RESULTS


@dataclass(frozen=True)
class Since:
    """The lines of a module that are not as they were when every mutant of it was noticed, on that date."""

    date: str
    lines: frozenset[int]


def name_of(module: str) -> str:
    return f"Python mutants of {module.replace('/', '.')}"


def since_last_run(module: str, text: str) -> Since | None:
    """Return None if the last run was a sample or missed a mutant, or if git does not know its text."""
    record = _record(module)
    if record is None or "at random" in record["rows"][0]["result"]:
        return None
    old = _text_with_digest(module, record["sha256"])
    if old is None:
        return None
    matcher = difflib.SequenceMatcher(None, old.splitlines(), text.splitlines(), autojunk=False)
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    return Since(record["date"], frozenset(line + 1 for *_, first, after in changes for line in range(first, after)))


def is_recorded(module: str, text: str) -> bool:
    """Return whether the last run noticed every mutant of this text that it tried."""
    record = _record(module)
    return record is not None and record["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def _record(module: str) -> dict[str, Any] | None:
    """Return the record of a module's last run, None if there is none or a mutant survived."""
    path = RESULTS / f"{name_of(module)}.json"
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return None if record["rows"][0]["wrong"] else record


def _text_with_digest(module: str, sha256: str) -> str | None:
    log = _git("log", "--format=commit %h", "--name-only", "--follow", "--", module).decode()
    for commit, path in (entry.split() for entry in log.split("commit ")[1:]):
        content = _git("show", f"{commit}:{path}")
        if hashlib.sha256(content).hexdigest() == sha256:
            return content.decode("utf-8")
    return None


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
