"""Export of SmolLM2-135M (538 MB of float32 safetensors) to v3: wall time of the whole command, and peak memory.

    make bench-smollm2

Beside it, in the same run and on the same disk: a plain copy of the source, synced; and what llama2.c's export.py
spends most of its time on, every weight of every tensor through Python's struct.pack. Runs are interleaved. Peak
memory is that of the process, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import copy, peak_memory

import exporter

STORAGES = ("fp32", "q8_0")


def one_export(source: Path, out: Path, storage: str) -> None:
    """Run in a process of its own, which prints its peak memory."""
    exporter.export(exporter.open_checkpoint(source), out, format="v3", storage=storage, overwrite=True)
    print(json.dumps({"peak": peak_memory()}))


def pack_every_weight(source: Path, out: Path) -> None:
    """One float32 after the other through struct.pack, as llama2.c's serialize functions do."""
    checkpoint = exporter.open_checkpoint(source)
    with out.open("wb") as file:
        for name in checkpoint.names:
            values = checkpoint.load(name).ravel()
            file.write(struct.pack(f"{len(values)}f", *values))
        file.flush()
        os.fsync(file.fileno())
    print(json.dumps({"peak": peak_memory()}))


def timed(*arguments: object) -> dict[str, float]:
    start = time.monotonic()
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"seconds": time.monotonic() - start, **said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="the Hugging Face directory")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        source, out, what = arguments.one
        if what == "pack":
            pack_every_weight(Path(source), Path(out))
        else:
            one_export(Path(source), Path(out), what)
        return

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.bin"
        weights = arguments.source / "model.safetensors"
        size = weights.stat().st_size
        copies: list[float] = []
        packed: list[dict[str, float]] = []
        runs: dict[str, list[dict[str, float]]] = {storage: [] for storage in STORAGES}
        for _ in range(arguments.repeat):
            copies.append(copy(weights, out, size))
            packed.append(timed(arguments.source, out, "pack"))
            for storage, results in runs.items():
                results.append(timed(arguments.source, out, storage))
        plain = statistics.median(copies)
        slow = statistics.median(r["seconds"] for r in packed)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print(f"plain copy of {size / 1e6:.0f} MB, synced: {plain:.2f} s")
        peak = max(r["peak"] for r in packed) / 1e6
        print(f"every weight through struct.pack: {slow:.1f} s, peak {peak:.0f} MB")
        print("v3 as  seconds  times a copy  struct.pack's time over it  peak MB")
        for storage, results in runs.items():
            seconds = statistics.median(r["seconds"] for r in results)
            peak = max(r["peak"] for r in results) / 1e6
            print(f"{storage:<6} {seconds:7.2f}  {seconds / plain:12.1f}  {slow / seconds:26.1f}  {peak:7.0f}")


if __name__ == "__main__":
    main()
