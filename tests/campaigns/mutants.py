"""Would the tests notice a mistake in the parsers of the C reader, or in its tokenizers? Each check is taken out in
turn, each number moved by one, each comparison turned; a test has to fail.

    make mutants                    every file: an hour of one core; continues where it was stopped
    make mutants OF="pieces.c"      one of them

Each mutant is one object file, linked with the others, and a fork that has already imported pytest tries it
(c_workshop.py). unseen.py lists the mutants that change nothing that a test can see, each with its reason. They are
not tried. What became of the others is kept in .mutants/ while the file stays the same. Once a test was added, give
--again to try those that nothing noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from c_mutations import mutants
from c_workshop import SAME_CODE, Tests, compile_objects, open_workshop, tried
from fates import Fates
from record import RESULTS, Row, options, save

from reader_c.build import SOURCE_DIR

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".mutants"


def _tests(*names: str) -> tuple[Tests, ...]:
    return tuple(map(Tests, names))


_V3 = _tests("v3_parse", "v3_metadata", "boundaries", "model", "limits", "forward", "refused_calls")
_BLOCK = (
    *_tests("tokenizer_block", "piece_table", "tokenizer_calls", "tokenizer_families", "model_tokenizer"),
    Tests("refused_calls", "allocation_of_a_block"),
)
_UNICODE = Tests("unicode", "composed or at_most")
_BIN = Tests("refused_calls", "allocation_of_a_tokenizer")
# by the file that is changed: those first that notice most in the shortest time
TESTS = {
    "shape.c": _tests("parse", "boundaries", "v3_parse", "model", "forward"),
    "ajc1.c": _tests("ajc1"),
    "layout.c": _tests("parse", "boundaries", "v3_parse", "model", "forward", "refused_calls"),
    "v3_fields.c": _V3,
    "v3_config.c": _V3,
    "v3_architecture.c": (*_tests("v3_architecture"), *_V3),
    "v3_name.c": (*_tests("v3_architecture"), *_V3),
    "v3_table.c": (*_tests("v3_architecture"), *_V3),
    "v3_metadata.c": _V3,
    "v3_head.c": _V3,
    "parse.c": _tests("parse", "boundaries", "v3_parse", "model", "limits", "forward", "refused_calls"),
    "file.c": _tests("parse", "refused_calls", "changing_files", "v3_parse", "model", "limits"),
    "pieces.c": (*_tests("tokenizer"), _BIN),
    "merges.c": (*_tests("tokenizer"), _BIN, *_tests("tokenizer_families")),
    "encode.c": (*_tests("tokenizer", "tokenizer_calls"), _BIN),
    "decode.c": _tests("tokenizer", "tokenizer_calls"),
    "unicode.c": (*_tests("tokenizer_block", "tokenizer_families"), _UNICODE),
    "normalize.c": (*_tests("tokenizer_block", "tokenizer_families"), _UNICODE, _BLOCK[-1]),
    "piece_table.c": _BLOCK,
    "merge_run.c": _BLOCK,
    "words.c": _BLOCK,
    "scanner.c": _tests("tokenizer_block", "tokenizer_families"),
    "matcher.c": _BLOCK,
    "block_encode.c": _BLOCK,
    "block_decode.c": (*_tests("tokenizer_block", "tokenizer_calls"), _BLOCK[-1], *_BLOCK[3:-1]),
    "block_head.c": _BLOCK,
    "score_ranks.c": _BLOCK,
    "block_parse.c": _BLOCK,
    "tokenizer.c": (*_tests("tokenizer_calls"), _BIN, _BLOCK[-1], *_BLOCK[:-1], *_tests("tokenizer")),
    "sample.c": _tests("sampler"),
}


@contextmanager
def workshops(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Open so many copies of the reader, which try mutants side by side."""
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        given = (room, compile_objects(KEPT / "objects"))
        with ProcessPoolExecutor(jobs, get_context("fork"), open_workshop, given) as pool:
            yield pool


def judge(file: str, pool: ProcessPoolExecutor, given: argparse.Namespace) -> int:
    """Try the mutants of a file that were not tried before. Return how many survived; record what was tried."""
    began = time.monotonic()
    text = (SOURCE_DIR / file).read_text(encoding="utf-8")
    every = [mutant for mutant in mutants(file, text) if not given.kind or mutant.kind in given.kind]
    listed = {mutant for mutant in every if mutant.makes_no_difference(text)}
    fates = Fates(KEPT, file, text, again=given.again)
    left = [mutant for mutant in every if mutant not in listed and fates.get(mutant.key) is None]
    running = {pool.submit(tried, mutant, text, TESTS[file]): mutant for mutant in left}
    for done in as_completed(running):
        fates.put(running[done].key, done.result())
        if not done.result():
            print(f"survived: {running[done].told(text)}", flush=True)
    fates.spend(time.monotonic() - began)
    rows = []
    for kind in dict.fromkeys(mutant.kind for mutant in every):
        own = [mutant for mutant in every if mutant.kind == kind]
        same = sum(mutant in listed or fates.get(mutant.key) == SAME_CODE for mutant in own)
        survived = sum(mutant not in listed and fates.get(mutant.key) == "" for mutant in own)
        told = f"{len(own) - same - survived} noticed, {same} make no difference, {survived} others"
        rows.append(Row(kind, len(own), told, survived))
        print(f"{file}: {kind}: {len(own)}: {told}", flush=True)
    if not given.trial:
        # a record that is completed adds up the time itself
        start = began if given.kind else time.monotonic() - fates.seconds
        record(file, text, rows, start, partial=bool(given.kind))
    return sum(row.wrong for row in rows)


def record(file: str, text: str, rows: list[Row], began: float, *, partial: bool) -> None:
    """Replace the record of a file. partial: keep its rows of other kinds, unless they are of another text."""
    campaign, digest = f"mutants of {file}", hashlib.sha256(text.encode()).hexdigest()
    last = RESULTS / f"{campaign}.json"
    if partial and last.exists() and json.loads(last.read_text(encoding="utf-8")).get("sha256") != digest:
        last.unlink()
    save(campaign, rows, began, partial=partial, sha256=digest)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="of reader_c/src  [default: each of TESTS]")
    parser.add_argument("--again", action="store_true", help="try again what nothing noticed the last time")
    parser.add_argument("--kind", action="append", help="only this kind; may be given often; records this kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many mutants are tried at a time")
    given = parser.parse_args()
    if unknown := [file for file in given.files if file not in TESTS]:
        parser.error(f"FILE: expected one of {', '.join(TESTS)}, found {unknown[0]}")
    with workshops(given.jobs) as pool:
        survived = [judge(file, pool, given) for file in given.files or TESTS]
    sys.exit(any(survived))


if __name__ == "__main__":
    main()
