"""Export of a 500 MB random checkpoint: peak memory above the imports, and time beside a plain copy.

    make bench

Each format is exported in a process of its own, whose peak resident memory the kernel tells; mapped file
pages count. The copy and the exports run interleaved, on the same disk, each synced.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import copy, peak_memory

import exporter

SHAPE = {"dim": 1024, "n_layers": 8, "n_heads": 16, "n_kv_heads": 8, "vocab_size": 24000, "max_seq_len": 1024}
HIDDEN_DIM = 2816
FORMATS = tuple(name for name in exporter.FORMATS if name != "hf")


def make_checkpoint(path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    config = exporter.ModelConfig(**SHAPE, hidden_dim=HIDDEN_DIM, tied=False)
    state = {
        name: torch.randn(shape, generator=generator) / 32
        for name, shape in exporter.config.tensor_shapes(config).items()
    }
    torch.save({"model": state, "model_args": {**SHAPE, "hidden_dim": HIDDEN_DIM}}, path)


def export_in_this_process(source: Path, out: Path, format_name: str) -> None:
    """Print peak memory before and after as JSON."""
    import exporter.sources.llama2c  # noqa: PLC0415  # the import that --help does without

    before = peak_memory()
    start = time.monotonic()
    checkpoint = exporter.open_checkpoint(source, tied=False)
    exporter.export(checkpoint, out, format=format_name, overwrite=True)
    seconds = time.monotonic() - start
    after = peak_memory()
    largest = max(4 * torch.Size(checkpoint.shape(name)).numel() for name in checkpoint.names)
    print(json.dumps({"seconds": seconds, "peak": after - before, "largest": largest}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "OUT", "FORMAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        export_in_this_process(Path(arguments.one[0]), Path(arguments.one[1]), arguments.one[2])
        return

    with tempfile.TemporaryDirectory() as directory:
        source, out = Path(directory) / "source.pt", Path(directory) / "out.bin"
        make_checkpoint(source)
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        print(f"{machine}, Python {platform.python_version()}, torch {torch.__version__}")
        largest = 4 * SHAPE["vocab_size"] * SHAPE["dim"] / 1e6
        print(f"source: {source.stat().st_size / 1e6:.0f} MB of float32, largest tensor {largest:.0f} MB")
        copies: list[float] = []
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in FORMATS}
        for _ in range(arguments.repeat):
            copies.append(copy(source, out, source.stat().st_size))
            for name, results in runs.items():
                command = [sys.executable, __file__, "--one", str(source), str(out), name]
                results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        plain = statistics.median(copies)
        print(f"plain copy of the source, synced: {plain:.2f} s")
        print("format   seconds  times a copy  peak MB  times the largest tensor")
        for name, results in runs.items():
            seconds = statistics.median(r["seconds"] for r in results)
            peak = max(r["peak"] for r in results)
            times = peak / results[0]["largest"]
            print(f"{name:<8} {seconds:7.2f}  {seconds / plain:12.1f}  {peak / 1e6:7.0f}  {times:24.2f}")


if __name__ == "__main__":
    main()
