"""The process behind broken_engines.Judge: a line of JSON in, an engine and its jobs; a line out, the outcomes or an
error.

Each engine is judged in a fork, the first to import reader_c and what depends on it. Nothing that is imported before
the fork may do so.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy  # noqa: F401
import numpy as np  # noqa: F401
import pytest  # noqa: F401
import scipy.stats  # noqa: F401
import torch.fx.experimental.symbolic_shapes  # noqa: F401  # a gradient imports it, and sympy with it

import exporter


def answer(engine: str, jobs: list[tuple[str, str, int]]) -> dict[str, Any]:
    sys.path.insert(0, engine)
    import reader_c
    import verify
    from helpers.defects.judging import judge

    root = Path(__file__).parents[3]
    for module, home in ((reader_c, engine), (reader_c._reader, engine), (exporter, root), (verify, root)):
        if not Path(module.__file__).is_relative_to(home):
            return {"error": f"{module.__name__}: expected under {home}, found {module.__file__}"}
    return {"outcomes": [judge(Path(source), Path(path), length).to_dict() for source, path, length in jobs]}


def tell(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def main() -> None:
    if "reader_c" in sys.modules:
        raise RuntimeError("reader_c was imported before there was an engine")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                found = answer(request["engine"], request["jobs"])
            except Exception as error:  # told to who asked
                found = {"error": f"{type(error).__name__}: {error}"}
            tell(found)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            tell({"error": f"the engine ended its process: status {status}"})


if __name__ == "__main__":
    main()
