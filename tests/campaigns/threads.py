"""Many threads on one handle of the C reader, under ThreadSanitizer.

    make tsan                       a minute; needs clang

Twelve callers share a model; each has sessions with teams of one to four threads, on every path that there is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz import FLAGS
from helpers.models import BIN_FORMATS, toy_file
from record import Row, finish, options

from reader_c.build import SOURCE_DIR

HERE = Path(__file__).parent


def main() -> None:
    given = options(__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        program = room / "shared"
        sources = [HERE / "shared.c", *sorted(SOURCE_DIR.glob("*.c"))]
        command = [
            "clang",
            *FLAGS,
            f"-I{SOURCE_DIR}",
            "-fsanitize=thread",
            *sources,
            "-o",
            program,
            "-lm",
            "-lpthread",
        ]
        subprocess.run(command, check=True)
        rows = []
        for name in BIN_FORMATS:
            # ThreadSanitizer wants its shadow where address randomization may have put something else
            said = subprocess.run(
                ["setarch", "--addr-no-randomize", program, toy_file(room, name)],
                capture_output=True,
                text=True,
                env={**os.environ, "TSAN_OPTIONS": "halt_on_error=0 exitcode=66"},
                check=False,
            )
            passes, differ = map(int, (said.stdout.split() or ["0", "0"])[:2])
            races = said.stderr.count("WARNING: ThreadSanitizer")
            wrong = races + differ + (said.returncode != 0)
            rows.append(
                Row(f"{name}: passes by 12 callers on one handle", passes, f"{races} races, {differ} differ", wrong)
            )
            if wrong:
                print(said.stderr[-4000:], file=sys.stderr)
    finish("threads", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
