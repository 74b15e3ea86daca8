"""What a verdict on SmolLM2-135M costs, and how near each of its operations comes to its bound.

    make bench-verify

8 random windows of 256 tokens, the fixed ones and the long one, at standard depth, beside transformers' own forward
pass over windows of the same lengths in the same process. Each file is judged in a process of its own, for its peak
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# threads that wait must not take the time that other threads need: both PyTorch's and the engine's are at work
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from measure import machine, save

import exporter
import verify
from verify.evidence import Evidence
from verify.oracle.transformers import TransformersOracle
from verify.sources.huggingface import HuggingFaceSource

WINDOWS, LENGTH = 8, 256
FILES = {"v3 fp32": "source", "v3 q8_0": "q8_0"}


def measure(source: Path, path: Path) -> dict[str, object]:
    """Seconds of verify(), of transformers over windows as long (the better of two), and the peak in MB."""
    start = time.perf_counter()
    report = verify.verify(source, path, evidence=Evidence(windows=WINDOWS, length=LENGTH))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    oracle = TransformersOracle(HuggingFaceSource(source))
    rng = np.random.default_rng(0)
    lengths = [len(window.kl) for window in report.windows if window.activations == "fp32"]
    tokens = [torch.from_numpy(rng.integers(0, 49152, (1, length))) for length in lengths]
    passes = []
    for _ in range(2):
        start = time.perf_counter()
        for window in tokens:
            oracle.logits(window)
        passes.append(time.perf_counter() - start)
    highest: dict[str, float] = {}
    for layer in report.layers:
        name = f"{layer.operation}, int8" if layer.activations == "q8" else layer.operation
        highest[name] = max(highest.get(name, 0.0), layer.max_error_over_bound)
    return {
        "seconds": seconds,
        "transformers": min(passes),
        "peak": peak,
        "tokens": sum(lengths),
        "verdict": report.verdict,
        "checks": {check.name: check.observed for check in report.checks},
        "highest": highest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the model's Hugging Face directory")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(measure(arguments.source, arguments.file)))
        return
    results = {}
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as directory:
        for name, storage in FILES.items():
            path = Path(directory) / "model.bin"
            exporter.export(
                exporter.open_checkpoint(arguments.source), path, format="v3", storage=storage, overwrite=True
            )
            command = [sys.executable, __file__, str(arguments.source), "--file", str(path)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            results[name] = {key: found[key] for key in ("seconds", "transformers", "peak", "tokens")}
            seconds, theirs = found["seconds"], found["transformers"]
            print(
                f"\n{name}: {found['verdict']}, {seconds:.1f} s, {seconds / theirs:.1f} times transformers' "
                f"{theirs:.1f} s over {found['tokens']:,} tokens; peak {found['peak']:.0f} MB"
            )
            print(", ".join(f"{check} {observed:.4g}" for check, observed in found["checks"].items()))
            for operation, share in found["highest"].items():
                print(f"  {operation:24} {share:.3f}")
    save("verify", {"machine": machine(), "seconds": results})


if __name__ == "__main__":
    main()
