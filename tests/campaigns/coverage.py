"""Branches of the C reader that the fuzzer's corpus, the reader's tests and refused system calls reach together.

make coverage                   some two minutes; needs clang and llvm
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz import FLAGS, FORMATS, MODELS, PLACE, ROOT, TARGET
from helpers.models import BIN_FORMATS, toy_file
from helpers.refused import build
from mutants import PARSER
from record import Row, finish, options

from reader_c.build import SOURCE_DIR

INSTRUMENT = ("-fprofile-instr-generate", "-fcoverage-mapping")


def main() -> None:
    given = options(__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        # named as the build of the tests names them, so that both count the same functions
        sources = [path.relative_to(ROOT) for path in (*sorted(TARGET.glob("*.c")), *sorted(SOURCE_DIR.glob("*.c")))]
        program = room / "fuzz"
        command = [
            "clang",
            *FLAGS,
            f"-I{SOURCE_DIR}",
            "-fsanitize=fuzzer",
            *INSTRUMENT,
            *sources,
            "-o",
            program,
            "-lm",
            "-lpthread",
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        for name in (name for name, done in FORMATS.items() if done == MODELS):
            places = [place / name for place in (TARGET / "corpus", PLACE / "corpus") if (place / name).is_dir()]
            environment = {**os.environ, "LLVM_PROFILE_FILE": str(room / f"{name}.profraw")}
            subprocess.run([program, "-runs=0", *places], check=True, capture_output=True, env=environment)
        refused = refusing_calls(room)
        library = of_the_tests(room)
        profile = room / "all.profdata"
        subprocess.run(["llvm-profdata", "merge", *room.glob("*.profraw"), "-o", profile], check=True)
        objects = [f"-instr-profile={profile}", program, f"-object={library}", f"-object={refused}"]
        command = ["llvm-cov", "export", "-summary-only", *objects]
        told = subprocess.run([*command, *SOURCE_DIR.glob("*.c")], check=True, capture_output=True, text=True).stdout
        show = ["llvm-cov", "show", *objects, "-show-branches=count"]
        for name in PARSER:
            text = subprocess.run([*show, SOURCE_DIR / name], check=True, capture_output=True, text=True).stdout
            print("\n".join(line for line in text.splitlines() if "Branch" in line and ": 0" in line), end="")
    rows = []
    for file in json.loads(told)["data"][0]["files"]:
        branches, name = file["summary"]["branches"], Path(file["filename"]).name
        if name in PARSER:
            rows.append(row(name, branches))
    rows.append(row("the whole reader", json.loads(told)["data"][0]["totals"]["branches"]))
    finish("coverage", rows, began, trial=given.trial)


def row(name: str, branches: dict[str, float]) -> Row:
    covered, count = int(branches["covered"]), int(branches["count"])
    return Row(f"branches of {name}", count, f"{covered} reached, {100 * covered / count:.1f} %")


def refusing_calls(room: Path) -> Path:
    """Run the reader while each call of it is refused in turn; the program that does."""
    program = room / "refused"
    build(program, "clang", *INSTRUMENT)
    files = [toy_file(room, name) for name in BIN_FORMATS]
    # large enough for huge pages, of RoPE tables that cost nothing to compute with
    (room / "large").mkdir()
    files.append(toy_file(room / "large", "v0", max_seq_len=140_000))
    environment = {"LLVM_PROFILE_FILE": str(room / "refused.profraw")}
    subprocess.run([program, *files], check=True, capture_output=True, env=environment)
    return program


def of_the_tests(room: Path) -> Path:
    """Run the reader's tests on an instrumented build; the library that it is."""
    environment = {
        **os.environ,
        "CC": "clang",
        "LDSHARED": "clang -shared",
        "RC_EXTRA_CFLAGS": " ".join((*INSTRUMENT, "-DRC_NO_CLONES")),
        "RC_EXTRA_LDFLAGS": INSTRUMENT[0],
        "LLVM_PROFILE_FILE": str(room / "tests-%p.profraw"),
    }
    build = ["setup.py", "-q", "build", "--build-base", room / "build", "--build-lib", room / "lib"]
    subprocess.run([sys.executable, *build], check=True, cwd=ROOT, env=environment)
    environment["PYTHONPATH"] = str(room / "lib")
    # not "python -m pytest", which would look here first and find another build
    tests = [Path(sys.executable).with_name("pytest"), "-q", "-n", "2", "tests/reader_c"]
    subprocess.run(tests, check=True, cwd=ROOT, env=environment, capture_output=True)
    return next((room / "lib" / "reader_c").glob("_reader*.so"))


if __name__ == "__main__":
    main()
