"""This program runs the whole defect matrix and writes docs/defects.md.

It seeds every known defect into several models in every format, beside healthy models that no check may blame.

    make defects                    toy models: some minutes
    make defects SMOLLM2=DIR        and some defects in SmolLM2-135M, from its Hugging Face directory: an hour

Beside the checks it shows two comparisons that others use: most likely tokens, and logits with an absolute tolerance.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from helpers.broken_engines import Judge, build
from helpers.defects import BY_NAME, EXPERT_DEFECTS, LLAMA_DEFECTS, SWITCH_DEFECTS, Defect, tokenizers
from helpers.defects import healthy as healthy_models
from helpers.defects.drafts import Draft
from helpers.defects.judging import judge, judged, seeded, write
from helpers.defects.kinds import FORMATS, TOYS, Case, cases, random_model
from helpers.defects.outcome import Outcome
from helpers.defects.page import Result, counts, misses, sections
from helpers.models import LEGACY_FORMATS

import exporter

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "defects.md"

# (defect, format) judged on SmolLM2: grouped queries 9 to 3, tied, 30 layers.
ON_SMOLLM2 = (
    ("q left in half-split order", "v3"),
    ("k left in half-split order", "v3"),
    ("w1 and w3 swapped", "v3"),
    ("one weight an ulp off", "v3"),
    ("scales shifted by a group", "v3-q8_0"),
    ("bit 0 of one int8 flipped", "v3-q8_0"),
    ("eps 1e-6 for 1e-5", "v3"),
    ("half-split rotation", "v3"),
    ("RoPE position + 1", "v3"),
    ("kv head = head % n_kv_heads", "v3"),
    ("softmax without the last position", "v3"),
    ("int8 activations truncated", "v3-q8_0"),
)


@cache
def healthy(model: exporter.ModelConfig, format_name: str, weights: str, seed: int, window: int) -> Outcome:
    """Of the same model and format without a defect; weights: as Defect has it. Where the format cannot hold
    the model, of one with the numbers that it implies."""
    none = Defect("none", "writer", lambda _: None, {}, weights=weights, length=window)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as directory:
        if format_name in LEGACY_FORMATS:
            model = dataclasses.replace(model, rope_theta=10000.0, norm_eps=1e-5)
        return judged(Case(none, model, format_name, seed), Path(directory))


def of_case(name: str, model: exporter.ModelConfig, format_name: str, seed: int) -> tuple[Outcome | None, Outcome]:
    """In a process of its own: what came of a defect of writer or file (None for an engine's), and without it."""
    case = Case(BY_NAME[name], model, format_name, seed)
    beside = healthy(model, format_name, case.defect.weights, seed, case.window)
    if case.defect.place == "engine":
        return None, beside
    with tempfile.TemporaryDirectory() as directory:
        return judged(case, Path(directory)), beside


def by_engine(defect: Defect, chosen: list[Case], kept: Path) -> list[Outcome]:
    """kept: for objects of what has no mistake."""
    with tempfile.TemporaryDirectory() as directory, Judge() as process:
        engine = build(defect.seed, Path(directory) / "engine", kept)
        jobs = []
        for number, case in enumerate(chosen):
            own = Path(directory) / str(number)
            own.mkdir()
            jobs.append((*seeded(case, own), case.window))
        return process.judge(engine, jobs)


def matrix(defects: Sequence[Defect], models: list[exporter.ModelConfig], pool: ProcessPoolExecutor) -> list[Result]:
    chosen = [case for defect in defects for model in models for case in cases(defect, model)]
    futures = [pool.submit(of_case, c.defect.name, c.model, c.format, c.seed) for c in chosen]
    engines = {
        defect.name: [c for c in chosen if c.defect is defect] for defect in defects if defect.place == "engine"
    }
    broken: dict[int, Outcome] = {}
    with ThreadPoolExecutor(2) as threads, tempfile.TemporaryDirectory() as kept:
        outcomes = threads.map(lambda name: by_engine(BY_NAME[name], engines[name], Path(kept)), engines)
        for of_engine, found in zip(engines.values(), outcomes, strict=True):
            broken |= {id(case): outcome for case, outcome in zip(of_engine, found, strict=True)}
    results = []
    for case, future in zip(chosen, futures, strict=True):
        found, beside = future.result()
        results.append(Result(case, broken[id(case)] if found is None else found, beside))
    return results


def of_healthy(seed: int) -> tuple[Outcome, bool]:
    """A random model in a random format and storage, and whether that may cost what a policy limits."""
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    options = [*FORMATS.values(), *({"format": "v3", "storage": storage} for storage in healthy_models.STORAGES)]
    chosen = options[int(rng.integers(len(options)))]
    lossy = chosen["format"] in ("v1", "v2") or chosen.get("storage") not in (None, "source", "fp32")
    with tempfile.TemporaryDirectory() as directory:
        return healthy_models.judged(model, chosen, seed, Path(directory)), lossy


def alarms(count: int, pool: ProcessPoolExecutor) -> str:
    results = list(pool.map(of_healthy, range(count)))
    by_policy = sum(lossy and found.status("quantization") == "fail" for found, lossy in results)
    false = sum(
        any(f.status != "pass" for name, f in found.checks.items() if name != "quantization" or not lossy)
        for found, lossy in results
    )
    return (
        f"{count} healthy random models, each in a random format and storage: {false} false alarms.\n"
        f"  `quantization` also fails {by_policy} of the {sum(lossy for _, lossy in results)} models in lossy "
        f"storage, because its default policy is made for trained models.\n"
    )


def on_smollm2(source: Path) -> Iterator[Result]:
    """One after the other: each takes minutes, and half a gigabyte."""
    checkpoint = exporter.open_checkpoint(source)
    model = checkpoint.config
    beside: dict[str, tuple[Path, Outcome]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, format_name in ON_SMOLLM2:
            case = Case(BY_NAME[name], model, format_name)
            length = 64
            if format_name not in beside:
                path = write(_draft(checkpoint), Path(directory) / f"{format_name}.bin", format_name)
                beside[format_name] = path, judge(source, path, length)
            path, without = beside[format_name]
            if case.defect.place == "engine":
                engine = build(
                    case.defect.seed, Path(directory) / name.replace(" ", "-"), Path(directory), quick=False
                )
                with Judge() as process:
                    (found,) = process.judge(engine, [(source, path, length)])
            else:
                draft = _draft(checkpoint)
                case.defect.seed(draft)
                wrong = write(draft, Path(directory) / "wrong.bin", format_name)
                del draft
                found = judge(source, wrong, length)
            print(
                f"SmolLM2, {name}: {found.caught(case.defect)}, elsewhere {found.misplaced(case.defect)}", flush=True
            )
            yield Result(case, found, without)


def _draft(checkpoint: exporter.Checkpoint) -> Draft:
    return Draft(checkpoint.config, {name: np.array(checkpoint.load(name)) for name in checkpoint.names})


def section(title: str, models: list[exporter.ModelConfig], pool: ProcessPoolExecutor) -> str:
    """Write a section that has counts of its own. title: one of SECTIONS."""
    defects, introduction = SECTIONS[title]
    results = matrix(defects, models, pool)
    numbers = f"## {title}\n\n{introduction}\n\n{counts(results)}"
    return f"{numbers}\nMissed:\n\n{misses(results)}\n{sections(defects, results, '###')}"


def replace_section(title: str, made: str) -> None:
    """Put a section into the page, in place of the one that is there, or else before that of tokenizers."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")
    kept = [part for part in parts if not part.startswith(f"{title}\n")]
    before = next(n for n, part in enumerate(kept) if part.startswith("Mistakes with tokenizers\n"))
    kept.insert(before, made.removeprefix("## "))
    PAGE.write_text("\n## ".join(kept), encoding="utf-8")


def of_tokenizers() -> str:
    """Judge every defect of a tokenizer, and every healthy one."""
    with tempfile.TemporaryDirectory() as directory:
        return tokenizers.page(tokenizers.rows(Path(directory)), tokenizers.healthy_outcomes(Path(directory)))


INTRODUCTION = """# The defect matrix

*You get: what each check catches, and misses, of every mistake that exporters, files and engines are known to make.*

`make defects` seeds each of these defects into toy models, runs the checks, and writes this page.
The catalogue is `tests/lib/helpers/defects/`.
An exporter's mistake is in a file with right digests; an engine's mistake is in a compiled copy of the C reader.

In the tables,

- *caught* means that the check failed in every model and format;
- *blind* means that the check failed in none of them;
- *not reached* means that an earlier check, or a refusal to open the file, left nothing to judge;
- **bold** marks the checks that are meant to catch the defect: one of them is enough to fail a file.

The last two columns show what other comparisons of the file's float32 logits with the source's would notice.
One compares the most likely token of each position, the other compares logits with an absolute tolerance of 1e-2.
These columns omit every model and format whose healthy file fails the comparison too.
*No use* means that no model and format is left.
"""

SWITCHES, EXPERTS = "What models do beyond Llama", "Mixtures of experts"
SECTIONS = {
    SWITCHES: (
        SWITCH_DEFECTS,
        "Each switch of today's models is forgotten, or wrong by its usual mistake, "
        "in a head, in tensors, or in an engine.",
    ),
    EXPERTS: (
        EXPERT_DEFECTS,
        "Every layer of these models has five experts, of which a token goes through two.\n"
        "The mistakes are in a head, in the tensors of routers and experts, or in an engine.",
    ),
}

MISSED = """This list has each defect that a check missed although it is meant to catch it.
If another check caught the defect, the file failed all the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=2, help="random ones, beside the three of CI")
    parser.add_argument("--healthy", type=int, default=200)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=("switches", "experts"), help="one section alone, on the page as it is")
    parser.add_argument("--smollm2", type=Path, help="its Hugging Face directory")
    arguments = parser.parse_args()
    # each process computes on one thread, and so do those that it starts
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = np.random.default_rng(0)
    models = [*TOYS, *(random_model(rng) for _ in range(arguments.models))]
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        if arguments.only:
            title = {"switches": SWITCHES, "experts": EXPERTS}[arguments.only]
            replace_section(title, section(title, models, pool))
            return
        beyond_llama = [section(title, models, pool) for title in SECTIONS]
        results = matrix(LLAMA_DEFECTS, models, pool)
        of_healthy_models = alarms(arguments.healthy, pool)
    page = [
        INTRODUCTION,
        f"## Counts\n\n{counts(results)}- {of_healthy_models}",
        f"## Missed\n\n{MISSED}\n\n{misses(results)}",
        sections(LLAMA_DEFECTS, results),
        *beyond_llama,
        of_tokenizers(),
    ]
    if arguments.smollm2:
        real = list(on_smollm2(arguments.smollm2))
        chosen = [BY_NAME[name] for name, _ in ON_SMOLLM2]
        page.append(
            "## SmolLM2-135M\n\n"
            "This run seeded some of the defects into a real model: v3, float32 or Q8_0 in groups of 8, "
            "windows of 64 tokens.\n\n"
            f"{counts(real)}\nMissed by a check that is meant to catch it:\n\n{misses(real)}\n"
            f"{sections(chosen, real, '###')}"
        )
    PAGE.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
