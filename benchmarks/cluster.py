"""One verdict by one process and by Ray's workers on this machine: how long each takes, and whether they agree.

    make bench-cluster

SmolLM2-135M as Q8_0, one thread for each process. Reports must be equal but for their digests. The last turn has one
of two workers killed while it is at work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import machine, save

import exporter

# (workers, whether one is killed); 0 is this process alone
TURNS = ((0, False), (1, False), (2, False), (4, False), (2, True))
# Of the time that one process takes.
_KILLED_AFTER = 0.4


def judge(
    source: Path, file: Path, workers: int, depth: str, kill_after: float | None = None
) -> tuple[float, dict[str, Any]]:
    """(seconds, report). kill_after: seconds until a worker is killed."""
    command = [sys.executable, "-m", "verify", "verify", source, file, "--depth", depth, "--threads", "1", "--json"]
    command += ["--cluster", "local", "--workers", str(workers)] if workers else []
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(_a_worker(), signal.SIGKILL)
        said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"expected a report of {workers} workers, found status {process.returncode}")
    report = json.loads(said)
    del report["digest"]
    return time.perf_counter() - began, report


def _a_worker() -> int:
    """The process of one of ours that Ray has at work: the last that began."""
    found = subprocess.run(
        ["pgrep", "--newest", "--full", "ray::_Worker"], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the model's Hugging Face directory")
    parser.add_argument("--depth", default="standard")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "model.bin"
        exporter.export(exporter.open_checkpoint(given.source), file, format="v3", storage="q8_0")
        plain, expected = 0.0, {}
        for workers, killed in TURNS:
            seconds, report = judge(
                given.source, file, workers, given.depth, _KILLED_AFTER * plain if killed else None
            )
            if not workers:
                plain, expected = seconds, report
            same = report == expected
            rows.append(
                {
                    "workers": workers,
                    "killed": killed,
                    "seconds": seconds,
                    "of one process": seconds / plain,
                    "same": same,
                }
            )
            print(rows[-1], flush=True)
    save("cluster", {"machine": machine(), "depth": given.depth, "rows": rows})
    sys.exit(not all(row["same"] for row in rows))


if __name__ == "__main__":
    main()
