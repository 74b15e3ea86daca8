"""Engines as users have them: the documentation's own example as a shared library, healthy or with a mistake."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from helpers.defects.engine import Patch
from helpers.pages import DOCS, examples
from reader_c.build import SOURCE_DIR, SOURCES, STRICT_FLAGS

PAGE = DOCS / "your-engine.md"
# slow to run and quick to build: each runs little
_FLAGS = (*(flag for flag in STRICT_FLAGS if flag != "-O3"), "-O1", "-DRC_NO_CLONES", "-fPIC", f"-I{SOURCE_DIR}")

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


def _compile(source: Path, made: Path, flags: tuple[str, ...] = ()) -> Path:
    subprocess.run(["gcc", *_FLAGS, *flags, "-c", source, "-o", made], check=True)
    return made


def objects(directory: Path) -> Path:
    """The healthy reader's object files, to be linked with what differs."""
    directory.mkdir()
    for name in SOURCES:
        _compile(SOURCE_DIR / name, directory / f"{Path(name).stem}.o")
    return directory


def library(directory: Path, healthy: Path, patch: Patch | None = None) -> Path:
    """The example over the reader, with a patch of its source. healthy: what objects() made."""
    directory.mkdir(exist_ok=True)
    adapter = directory / "mine.c"
    adapter.write_text(example(), encoding="utf-8")
    parts = {path.stem: path for path in healthy.glob("*.o")}
    texts = {name: (SOURCE_DIR / name).read_text(encoding="utf-8") for name in SOURCES}
    for old, new in patch.pieces if patch else ():
        (name,) = (name for name, text in texts.items() if old in text)
        texts[name] = texts[name].replace(old, new)
        changed = directory / name
        changed.write_text(texts[name], encoding="utf-8")
        parts[changed.stem] = _compile(changed, directory / f"{changed.stem}.o")
    made = directory / "libmine.so"
    linked = ["gcc", *_FLAGS, "-shared", adapter, *parts.values(), "-lm", "-lpthread", "-o", made]
    subprocess.run(linked, check=True)
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
