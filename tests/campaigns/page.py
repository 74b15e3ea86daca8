"""Put the recorded campaigns into docs/reliability.md, between its two marks. Exits 1 if anything was wrong."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from record import RESULTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
UNSEEN = Path(__file__).with_name("python_unseen.toml")
BEGIN, END = "<!-- campaigns: begin -->", "<!-- campaigns: end -->"

# What each campaign asks. The mutants of each file have a record of their own.
QUESTIONS = {
    "attacks on the verdict": "Does `verify` detect changed files, even with digests that are right again?",
    "coverage": "How many branches of the reader do tests and fuzzing reach?",
    "determinism": "Does one export give the same bytes in 20 different environments?",
    "faults": "Is the target whole after kill -9, Ctrl-C, concurrent runs and full disks?",
    "functions": "Do `fast`'s own functions stay within their error for every float32?",
    "families": "Do random models of each family pass, and come back unchanged?",
    "fuzzing": "Does the reader survive mutated files?",
    "fuzzing of the single header": "Does the reader in one header survive them?",
    "mutants": "Does a test fail when a check of the parser is removed or changed?",
    "mutants of Python": "Does a test fail when the Python code that decides is changed?",
    "refusals": "Is every damaged or hostile input refused?",
    "same bits": "Does `fast` give the same bits on every path, thread count and batch?",
    "system calls": "Is the target whole when a system call fails?",
    "threads": "Can many threads share one handle of the reader?",
    "tokens": "Are token ids by a tokenizer block those of its source's library?",
    "words": "Are token ids and generated text those of llama2.c's own programs?",
}

Record = dict[str, Any]


def records() -> list[Record]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def kind(record: Record) -> str:
    """The campaign that a record belongs to."""
    name: str = record["campaign"]
    for many, one in (("mutants of ", "mutants"), ("Python mutants of ", "mutants of Python")):
        if name.startswith(many):
            return one
    return name


def wrong(kept: list[Record]) -> int:
    return sum(row["wrong"] for record in kept for row in record["rows"])


def tried(kept: list[Record]) -> int:
    """How often one campaign tried. The last row of coverage already includes the others."""
    return sum(row["count"] for record in kept for row in record["rows"][-1 if kind(record) == "coverage" else 0 :])


def summary(kept: list[Record]) -> list[str]:
    """One line for each campaign."""
    lines = ["| campaign | question | tried | wrong | last run | minutes |", "|---|---|---|---|---|---|"]
    for name, question in QUESTIONS.items():
        own = [record for record in kept if kind(record) == name]
        if own:
            date, minutes = max(record["date"] for record in own), sum(record["seconds"] for record in own) / 60
            lines.append(f"| {name} | {question} | {tried(own):,} | {wrong(own)} | {date} | {minutes:.0f} |")
    return lines


def details(kept: list[Record]) -> list[str]:
    """One line for each row of each record."""
    lines = ["| campaign | what | count | result | wrong |", "|---|---|---|---|---|"]
    for record in kept:
        later = "; the module has changed since" if has_changed(record) else ""
        for row in record["rows"]:
            result = row["result"] + later
            cells = (record["campaign"], row["what"], f"{row['count']:,}", result, str(row["wrong"]))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def has_changed(record: Record) -> bool:
    """Return whether a record is of a file of code that was another one then."""
    name: str = record["campaign"]
    of_c = kind(record) == "mutants"
    module = (
        ROOT / "reader_c" / "src" / name.removeprefix("mutants of ") if of_c else ROOT / record["rows"][0]["what"]
    )
    if "sha256" not in record:
        return of_c and not module.exists()
    return not module.exists() or hashlib.sha256(module.read_bytes()).hexdigest() != record["sha256"]


def without_difference() -> list[str]:
    """One line for each line of Python whose mutants no test can notice."""
    lines = ["| module | line | mutants | reason |", "|---|---|---|---|"]
    for one in tomllib.loads(UNSEEN.read_text(encoding="utf-8"))["unseen"]:
        line = f"`{one['line']}`".replace("|", "\\|")
        module = "any" if one["module"] == "*" else f"`{one['module']}`"
        lines.append(f"| {module} | {line} | {len(one['becomes'])} | {one['why']} |")
    return lines


def tables(kept: list[Record]) -> str:
    """What stands between the marks, in Markdown."""
    machines = "; ".join(sorted({record["machine"] for record in kept}))
    summaries = ["## By campaign", "", *summary(kept), "", f"Machine: {machines}."]
    counts = ["## Every count", "", *details(kept)]
    unseen = ["## Python mutants that make no difference", "", *without_difference()]
    return "\n".join([*summaries, "", *counts, "", *unseen])


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    kept = records()
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(kept)}\n\n{END}{after}", encoding="utf-8")
    sys.exit(wrong(kept) > 0)


if __name__ == "__main__":
    main()
