"""Put the recorded campaigns into docs/reliability.md, between its two marks. Exits 1 if anything was wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from record import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- campaigns: begin -->", "<!-- campaigns: end -->"


def table() -> tuple[str, int]:
    """The table in Markdown, and how much was wrong."""
    lines = ["| campaign | what | count | result | wrong |", "|---|---|---|---|---|"]
    told, wrong = [], 0
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["rows"]:
            wrong += row["wrong"]
            cells = (record["campaign"], row["what"], f"{row['count']:,}", row["result"], str(row["wrong"]))
            lines.append(f"| {' | '.join(cells)} |")
        minutes = record["seconds"] / 60
        told.append(f"{record['campaign']} on {record['date']} ({record['machine']}, {minutes:.0f} minutes)")
    return "\n".join(lines) + f"\n\nRecorded: {'; '.join(told)}.", wrong


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    made, wrong = table()
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
