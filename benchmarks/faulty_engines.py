"""Which depth sees which faulty engine? Compiles every engine of the tables and writes docs/engines.md.

    make engines

Each engine is the documentation's example over the C reader's source with one change. All windows of a depth are
judged, as a verdict judges them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from helpers.engine_trials import MODEL, Bench
from helpers.engines import WITHOUT_WARNINGS, library
from helpers.faulty_engines import FLOAT_FAULTS, INT8_FAULTS
from helpers.healthy_engines import HEALTHY

from verify.engine.command import Engine

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"
DEPTHS = ("quick", "standard", "full")

INTRODUCTION = f"""# Faulty engines

*You get: which depth of `verify --engine` detects which faulty engine.*

`make engines` compiles each engine, judges it at each depth, and writes this page.
Each engine is the example of [your engine](your-engine.md) over the C reader's source, with one change.
The tables are `tests/lib/helpers/faulty_engines.py` and `healthy_engines.py`.

The model has {MODEL.n_layers} layers of {MODEL.dim}, random weights, and {MODEL.max_seq_len} positions.
The windows are the random and fixed ones of each depth: 64 positions at quick, all {MODEL.max_seq_len} beyond.
*sees* means that the check `engine` failed; the number is the first window that made it fail.
In a large model int8 activations hide more: \
[a table for SmolLM2](your-engine.md#int8-activations) has what was measured there.
Two faults are below the noise of honest rounding in an engine that adds up as coarsely as -Ofast does: \
keys in half precision, where 28 of 28 short sequences differ and so do 80 of 84 draws, \
and a fast exponential, 20 of 20 and 59 of 60.
"""

# Written by hand: these runs take minutes, and `make engines` does not repeat them.
WHOLE_VERDICTS = """## Whole verdicts on SmolLM2-135M

Each run is a whole `verify --engine LIBRARY`: \
the example of [your engine](your-engine.md), compiled with -O3, on a v3 file.
The verifier had one thread on two cores that many other programs shared (a load of 14 to 17), \
so seconds of the processor say more than minutes.

| file, activations | depth | verdict | `engine` | processor seconds: verifier, engine | minutes |
|---|---|---|---|---|---|
| float32, float | quick | pass | 5.6 of 10 standard deviations | 30, 25 | 4.6 |
| Q8_0, int8 | quick | pass | equal bits | 72, 7 | 7.0 |
"""


def outcome(bench: Bench, engine: Engine, depth: str) -> tuple[bool, str]:
    trial = bench.judge(engine, bench.windows(depth))
    failed = trial.verdict().status == "fail"
    return failed, f"sees (window {max(1, trial.report.windows)})" if failed else "does not"


def table(bench: Bench, title: str, engines: dict[str, Path]) -> tuple[str, dict[str, int]]:
    lines = [f"## {title}\n", f"| engine | {' | '.join(DEPTHS)} |", f"|---|{'---|' * len(DEPTHS)}"]
    seen = dict.fromkeys(DEPTHS, 0)
    for name, built in engines.items():
        found = {depth: outcome(bench, Engine(built, activations=bench.activations), depth) for depth in DEPTHS}
        for depth, (failed, _) in found.items():
            seen[depth] += failed
        lines.append(f"| {name} | {' | '.join(said for _, said in found.values())} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n", seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    parts, counts = [], []
    with tempfile.TemporaryDirectory() as directory:
        room, kept = Path(directory), Path(directory, "objects")
        kept.mkdir()
        for storage, faults, title in (
            ("fp32", FLOAT_FAULTS, "Faulty, with float activations"),
            ("q8_0", INT8_FAULTS, "Faulty, with int8 activations"),
            ("q8_0", HEALTHY, "Healthy, with int8 activations and other roundings"),
        ):
            bench = Bench(room, storage)
            engines = {
                name: library(
                    room / f"{title} {number}", kept, patch, activations=bench.activations, flags=WITHOUT_WARNINGS
                )
                for number, (name, patch) in enumerate(faults.items())
            }
            part, seen = table(bench, title, engines)
            parts.append(part)
            counts.append(
                f"- {title}: {', '.join(f'{depth} sees {seen[depth]}' for depth in DEPTHS)} of {len(engines)}."
            )
    PAGE.write_text("\n".join([INTRODUCTION, "\n".join(counts) + "\n", *parts, WHOLE_VERDICTS]), encoding="utf-8")


if __name__ == "__main__":
    main()
