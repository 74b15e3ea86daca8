"""Any bytes through the C reader, by libFuzzer, under ASan, UBSan and LSan: models are parsed, then run, then walked
through; tokenizers are parsed, then encode and decode a text.

    make fuzz                       10,000,000 executions a format: some forty minutes on two cores
    make fuzz-ci                    fewer, and nothing is saved
    make fuzz-single                the reader in one header instead of its sources

Starts from tests/fuzz/corpus and from models that the exporter makes. A finding stays in .fuzz/ and ends the run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from record import Row, finish, options
from rich.progress import Progress

from reader_c.build import INTERFACE, SOURCE_DIR

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".fuzz"
TARGET = ROOT / "tests" / "fuzz"
# what is done to the files of each format, and the folder of the target that does it
MODELS, TOKENIZERS, BLOCKS = "parse, forward, walk", "parse, encode, decode", "parse, normalize, encode, decode"
FORMATS = {
    "v0": MODELS,
    "v1": MODELS,
    "v2": MODELS,
    "v3": MODELS,
    "ajc1": MODELS,
    "tokenizer": TOKENIZERS,
    "block": BLOCKS,
}
TARGETS = {MODELS: TARGET, TOKENIZERS: TARGET / "tokenizer", BLOCKS: TARGET / "block"}
# bytes of the longest file: a larger vocabulary than some eighty tokens takes longer, but no other way
LONGEST = {MODELS: 8192, TOKENIZERS: 1024, BLOCKS: 2048}

# cmp tracing would guess magic numbers, which the mutator knows, and takes a third of the time
SANITIZE = (
    "-fsanitize=fuzzer,address,undefined,float-cast-overflow,float-divide-by-zero",
    "-fno-sanitize-recover=all",
    "-fno-sanitize-coverage=trace-cmp",
)
FLAGS = ("-std=c11", "-g", "-O2", "-ffp-contract=off", "-fno-fast-math", "-DRC_NO_CLONES")


@dataclass(frozen=True)
class Found:
    format: str
    executions: int
    status: int
    corpus: int


def build(done: str, place: Path, *, single: bool) -> Path:
    program = place / f"fuzz-{TARGETS[done].name}"
    sources = [
        *sorted(TARGETS[done].glob("*.c")),
        *(single_header(place) if single else sorted(SOURCE_DIR.glob("*.c"))),
    ]
    include = place if single else SOURCE_DIR
    command = ["clang", *FLAGS, f"-I{include}", *SANITIZE, *sources, "-o", program, "-lm", "-lpthread"]
    subprocess.run(command, check=True)
    return program


def single_header(place: Path) -> list[Path]:
    """Make the single header, its implementation, and for the targets headers by the names of the sources."""
    script = ROOT / ".ci" / "single_header.py"
    subprocess.run([sys.executable, script, place / "export_and_verify.h"], check=True)
    include = '#include "export_and_verify.h"\n'
    for name in INTERFACE:
        (place / name).write_text(include, encoding="utf-8")
    source = place / "single.c"
    source.write_text(f"#define EXPORT_AND_VERIFY_IMPLEMENTATION\n{include}", encoding="utf-8")
    return [source]


def fuzz(program: Path, format_name: str, runs: int, minutes: int | None, progress: Progress) -> Found:
    place = program.parent
    corpus, log = place / "corpus" / format_name, place / f"{format_name}.log"
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={runs}", f"-max_len={LONGEST[FORMATS[format_name]]}", "-timeout=10", "-rss_limit_mb=2048"]
    options += ["-reduce_inputs=0", "-print_final_stats=1", "-detect_leaks=1"]
    options += [] if minutes is None else [f"-max_total_time={60 * minutes}"]
    options += [f"-artifact_prefix={place / format_name}-"]
    kept_corpus = TARGET / "corpus" / format_name
    places = [corpus, *([kept_corpus] if kept_corpus.is_dir() else []), place / "seeds" / format_name]
    task = progress.add_task(format_name, total=runs)
    executions = 0
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            [program, *options, *places], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            kept.write(line)
            if seen := re.match(r"(?:#|Done |stat::number_of_executed_units: *)(\d+)", line):
                executions = max(executions, int(seen[1]))
                progress.update(task, completed=executions)
    return Found(format_name, executions, process.returncode, len(list(corpus.iterdir())))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions of each format")
    parser.add_argument("--only", choices=FORMATS, help="one format; the record of the others stays")
    parser.add_argument("--minutes", type=int, help="end then, and record the executions until then")
    parser.add_argument("--single-header", action="store_true", help="the reader in one header")
    given = parser.parse_args()
    place = PLACE / "single" if given.single_header else PLACE
    place.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    names = [given.only] if given.only else list(FORMATS)
    kinds = sorted({FORMATS[name] for name in names})
    # side by side, but for the single header, which each build writes to the same place
    with ThreadPoolExecutor(1 if given.single_header else os.cpu_count()) as pool:
        built = pool.map(lambda done: build(done, place, single=given.single_header), kinds)
        programs = dict(zip(kinds, built, strict=True))
    subprocess.run([sys.executable, TARGET / "make_corpus.py", place / "seeds"], check=True)
    with Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(
            pool.map(lambda name: fuzz(programs[FORMATS[name]], name, given.runs, given.minutes, progress), names)
        )
    rows = []
    for one in found:
        wrong = int(one.status != 0 or (given.minutes is None and one.executions < given.runs))
        result = f"{wrong} crashes, hangs, leaks or undefined operations; {one.corpus} ways through the reader"
        rows.append(Row(f"{one.format}: {FORMATS[one.format]} of mutated files", one.executions, result, wrong))
        if wrong:
            print(f"{one.format}: status {one.status}: {place / one.format}.log")
    campaign = "fuzzing of the single header" if given.single_header else "fuzzing"
    finish(campaign, rows, began, trial=given.trial, partial=bool(given.only))


if __name__ == "__main__":
    main()
