"""Export of SmolLM2-135M (538 MB of float32 safetensors) to v3: wall time of the whole command, and peak memory.

    make bench-smollm2

Beside it, in the same run and on the same disk: reading the source and writing as many bytes, synced, and no more;
and what llama2.c's export.py spends most of its time on, every weight of every tensor through Python's struct.pack.
With the source in memory, and, as root, from the disk. Runs are interleaved. Peak memory is that of the process,
imports included. Writes results/export.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import forget_files, machine, peak_memory, read_and_write, save

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
        save("export", compare(arguments.source, Path(directory) / "out.bin", arguments.repeat))


def compare(source: Path, out: Path, repeat: int) -> dict[str, object]:
    """Medians of so many runs, by storage: with the source in memory, and where that can be had, from the disk."""
    weights = source / "model.safetensors"
    figures: dict[str, dict[str, float]] = {}
    packed = timed(source, out, "pack")
    print(f"{machine()}; every weight through struct.pack: {packed['seconds']:.1f} s, {packed['peak'] / 1e6:.0f} MB")
    print("v3 as          seconds  plain  times it  struct.pack's over it  peak MB")
    for storage in STORAGES:
        timed(source, out, storage)
        size = out.stat().st_size
        for cold in (False, True) if forget_files() else (False,):
            runs, plain = [], []
            for _ in range(repeat):
                prepare(weights, cold=cold)
                runs.append(timed(source, out, storage))
                prepare(weights, cold=cold)
                plain.append(read_and_write(weights, out.with_name("plain"), size))
            name = f"{storage}, {'from the disk' if cold else 'in memory'}"
            figures[name] = {
                "seconds": statistics.median(run["seconds"] for run in runs),
                "plain": statistics.median(plain),
                "peak": max(run["peak"] for run in runs),
            }
            seconds, least, peak = figures[name].values()
            print(
                f"{name:22} {seconds:6.2f}  {least:5.2f}  {seconds / least:8.1f}  {packed['seconds'] / seconds:21.1f}"
                f"  {peak / 1e6:7.0f}"
            )
    return {"machine": machine(), "struct.pack": packed["seconds"], "exports": figures}


def prepare(weights: Path, *, cold: bool) -> None:
    """Have the source in memory, or not; the program itself is, in both."""
    if cold:
        forget_files()
        subprocess.run([sys.executable, "-c", "import exporter.sources.huggingface"], check=True)
    else:
        weights.read_bytes()


if __name__ == "__main__":
    main()
