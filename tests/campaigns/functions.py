"""Every float32 through the functions of `fast`: e^x and tanh on every path, sine and cosine up to 2^31.

make functions                  some twenty minutes
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from helpers.fast_functions import F, powers, tangents, wrong_powers, wrong_tangents
from record import Row, finish, options
from rich.progress import track

from reader_c import paths
from reader_c.build import SOURCE_DIR, STRICT_FLAGS

Function = Callable[[str], Callable[[np.ndarray], np.ndarray]]
Wrong = Callable[[np.ndarray, np.ndarray], int]

_CHUNK = 1 << 22
# of the largest angle: no position is above 2^31, and no frequency above 1
_ANGLES = (127 + 31) << 23


def every_value(name: str, bound: str, function: Function, wrong_ones: Wrong, step: int) -> list[Row]:
    """function: of a path. step: 1 for all floats."""
    others = [path for path in paths() if path != "scalar"]
    wrong = differing = count = 0
    for start in track(range(0, 1 << 32, _CHUNK * step), description=name):
        x = np.arange(start, min(start + _CHUNK * step, 1 << 32), step, dtype=np.int64).astype(np.uint32).view(F)
        found = function("scalar")(x)
        wrong += wrong_ones(x, found)
        count += len(x)
        known = ~np.isnan(found)
        differing += sum(int((function(path)(x).view("u4") != found.view("u4"))[known].sum()) for path in others)
    return [
        Row(f"{name} of float32, within {bound} ulp", count, f"{wrong} are not", wrong),
        Row(f"the same on {', '.join(others)} as in plain C", count * len(others), f"{differing} differ", differing),
    ]


def every_turn(step: int) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "turns"
        source = Path(__file__).with_name("turns.c")
        own = [f"-I{SOURCE_DIR}", source, SOURCE_DIR / "fast_rope.c", "-o", program, "-lm"]
        subprocess.run(["gcc", *STRICT_FLAGS, *own], check=True)

        def run(start: int) -> list[str]:
            to = min(start + _CHUNK, _ANGLES)
            command = [program, str(start), str(to)]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

        starts = range(0, _ANGLES, _CHUNK * step)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            said = list(track(pool.map(run, starts), description="sin, cos", total=len(starts)))
    count, wrong = (sum(int(line[i]) for line in said) for i in (0, 1))
    largest = max(float(line[2]) for line in said)
    return Row("sine and cosine of angles up to 2^31, within 0.5001 ulp", count, f"largest {largest:.6f}", wrong)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--step", type=int, default=1, help="every so many floats, as a trial")
    given = parser.parse_args()
    began = time.monotonic()
    rows = [
        *every_value("e^x", "0.94", powers, wrong_powers, given.step),
        *every_value("tanh", "2.5", tangents, wrong_tangents, given.step),
        every_turn(given.step),
    ]
    finish("functions", rows, began, trial=given.trial or given.step > 1)


if __name__ == "__main__":
    main()
