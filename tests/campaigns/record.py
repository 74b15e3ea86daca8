"""What a campaign counted, kept beside it for docs/reliability.md."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

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


def save(campaign: str, rows: Sequence[Row], began: float) -> None:
    """Replace the record of this campaign. began: of time.monotonic()."""
    RESULTS.mkdir(exist_ok=True)
    record = {
        "campaign": campaign,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": round(time.monotonic() - began),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    (RESULTS / f"{campaign}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
