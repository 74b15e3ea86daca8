"""What a campaign counted, kept beside it for docs/reliability.md."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. what: was done to what; count: how often; result: what came of it, in words; wrong: how
    often it was not what is promised."""

    what: str
    count: int
    result: str
    wrong: int = 0


def options(told: str | None) -> argparse.ArgumentParser:
    """Of a campaign; told: what --help says of it."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", action="store_true", help="save nothing")
    return parser


def finish(
    campaign: str, rows: Sequence[Row], began: float, *, trial: bool = False, partial: bool = False
) -> NoReturn:
    """Print the rows, replace the record of this campaign unless it was a trial, and end with status 1 where anything
    is wrong. began: of time.monotonic(). partial: the other rows of the record stay."""
    for row in rows:
        print(f"{row.what}: {row.count:,}: {row.result}; {row.wrong:,} wrong")
    if not trial:
        save(campaign, rows, began, partial=partial)
    sys.exit(any(row.wrong for row in rows))


def save(campaign: str, rows: Sequence[Row], began: float, *, partial: bool = False, **others: str) -> None:
    """Keep the record of a campaign in place of its last one, with other fields; partial: of these rows alone."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{campaign}.json"
    made, seconds = {row.what: dataclasses.asdict(row) for row in rows}, time.monotonic() - began
    if partial and path.exists():
        last = json.loads(path.read_text(encoding="utf-8"))
        made = {row["what"]: row for row in last["rows"]} | made
        seconds += last["seconds"]
    record = {
        "campaign": campaign,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": round(seconds),
        **others,
        "rows": list(made.values()),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
