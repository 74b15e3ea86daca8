"""Engines as users have them: the documentation's own example as a shared library, healthy or with a mistake."""

from __future__ import annotations

import functools
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.compiled import objects
from helpers.defects.engine import Patch
from helpers.pages import DOCS, examples
from reader_c.build import SOURCE_DIR, SOURCES, STRICT_FLAGS

PAGE = DOCS / "your-engine.md"
# slow to run and quick to build: each runs little
_FLAGS = (*(flag for flag in STRICT_FLAGS if flag != "-O3"), "-O1", "-DRC_NO_CLONES")
# a mistake may leave variables unused
WITHOUT_WARNINGS = (*_FLAGS, "-w")
# what the example says of its activations
_FLOAT = "RC_ACTIVATIONS_FP32"

# PyPI's llamac2py, whose functions have other names than llama2.c's today
UPSTREAM = """
import sys
import numpy as np
from helpers.upstream import forward
file, tokens, logits = sys.argv[1:]
from pathlib import Path
forward(Path(file), np.fromfile(tokens, "<i4").tolist()).tofile(logits)
"""


@functools.cache
def example() -> str:
    """The page's C program."""
    (found,) = (example.text for example in examples(PAGE) if example.language == "c")
    return found


def library(
    directory: Path,
    kept: Path,
    patch: Patch | None = None,
    *,
    activations: str = "fp32",
    flags: Sequence[str] = _FLAGS,
) -> Path:
    """The example over the reader, with a patch of its source, in which it is mine.c. kept: a directory for objects
    of what has no patch."""
    sources = directory / "src"
    shutil.copytree(SOURCE_DIR, sources)
    text = example()
    if activations == "q8":
        assert text.count(_FLOAT) == 1
        text = text.replace(_FLOAT, "RC_ACTIVATIONS_Q8")
    (sources / "mine.c").write_text(text, encoding="utf-8")
    command = ["gcc", *flags, "-fPIC"]
    if patch:
        patch.apply(sources)
        command += shlex.split(patch.flags)
    parts = objects([Path("src", name) for name in (*SOURCES, "mine.c")], Path("src"), command, directory, kept)
    made = directory / "libmine.so"
    subprocess.run([*command, "-shared", *parts, "-lm", "-lpthread", "-o", made], check=True, cwd=directory)
    return made


def small(directory: Path, body: str) -> Path:
    """A library with llama2.c's functions, of which forward has this body; `logits` is an array of 4096 floats."""
    source = directory / "small.c"
    source.write_text(
        "#include <math.h>\n#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        "static float logits[4096];\n"
        "void build_transformer(void *t, char *path) { (void)t; (void)path; }\n"
        f"float *forward(void *t, int token, int pos) {{ (void)t; (void)token; (void)pos; {body} return logits; }}\n"
        "void free_transformer(void *t) { (void)t; }\n",
        encoding="utf-8",
    )
    made = directory / "libsmall.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O0", source, "-o", made, "-lm"], check=True)
    return made


def upstream_command(directory: Path) -> str:
    script = directory / "upstream.py"
    script.write_text(UPSTREAM, encoding="utf-8")
    return f"env PYTHONPATH={Path(__file__).parents[1]} {sys.executable} {script} {{file}} {{tokens}} {{logits}}"
