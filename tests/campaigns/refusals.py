"""What has to be refused, as often as the tests of each change try it: hostile sources, heads of files at the edges
of what they may say, requests that the system denies, targets that are none, reports that were edited.

    make refusals                   some five minutes

The tests themselves are run, and tell how often they tried what.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.counted import told
from junitparser import JUnitXml, Properties
from record import Row, finish, options

TESTS = Path(__file__).parents[1]
FILES = (
    "hostile/test_sources.py",
    "reader_c/test_parse.py",
    "reader_c/test_boundaries.py",
    "reader_c/test_v3_parse.py",
    "reader_c/test_v3_metadata.py",
    "reader_c/test_limits.py",
    "reader_c/test_refused_calls.py",
    "reader_c/test_changing_files.py",
    "test_odd_targets.py",
    "verify/test_saved_reports.py",
)


def main() -> None:
    given = options(__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-n", "auto", "-q", f"--basetemp={directory}/tests"]
        subprocess.run([*command, f"--junitxml={report}", *(TESTS / name for name in FILES)], check=False)
        suites = JUnitXml.fromfile(str(report))
    cases = [case for suite in suites for case in suite]
    counts: dict[tuple[str, str], int] = {}
    for case in cases:
        own = [each for properties in case.iterchildren(Properties) for each in properties]
        for what, count, result in filter(None, (told(each.name, each.value) for each in own)):
            counts[what, result] = counts.get((what, result), 0) + count
    rows = [Row(what, count, result) for (what, result), count in counts.items()]
    failed = sum(not case.is_passed for case in cases)
    rows.append(Row("tests that try all of this and more", len(cases), f"{len(cases) - failed} pass", failed))
    finish("refusals", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
