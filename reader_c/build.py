"""Build reader_c._reader, the cffi binding, in API mode: the C compiler checks every declaration.

setup.py uses this module. The declarations are the marked blocks of three headers, so that there is one interface.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import cffi

SOURCE_DIR = Path(__file__).parent / "src"
INTERFACE = ("points.h", "reader.h", "tokenizer.h", "sample.h")
# From the bottom up: reader.h says what each file holds.
SOURCES = (
    "shape.c",
    "layout.c",
    "ajc1.c",
    "v3_fields.c",
    "v3_config.c",
    "v3_architecture.c",
    "v3_name.c",
    "v3_table.c",
    "v3_metadata.c",
    "v3_head.c",
    "parse.c",
    "in_memory.c",
    "file.c",
    "blake3.c",
    "digests.c",
    "lanes.c",
    "matrix.c",
    "quantize.c",
    "rope.c",
    "mirror_products.c",
    "mirror_rows.c",
    "fast_rope.c",
    "fast_scalar.c",
    "fast_avx2.c",
    "fast_avx512.c",
    "fast_neon.c",
    "fast_path.c",
    "team.c",
    "trace.c",
    "session.c",
    "cache.c",
    "mirror_attention.c",
    "fast_products.c",
    "fast_attention.c",
    "project.c",
    "norm.c",
    "heads.c",
    "experts.c",
    "layer.c",
    "forward.c",
    "pieces.c",
    "merges.c",
    "encode.c",
    "decode.c",
    "unicode.c",
    "normalize.c",
    "piece_table.c",
    "merge_run.c",
    "words.c",
    "scanner.c",
    "matcher.c",
    "block_encode.c",
    "block_decode.c",
    "block_head.c",
    "score_ranks.c",
    "block_parse.c",
    "tokenizer.c",
    "sample.c",
)

# The reader promises strict floating point: each rounding happens where the source says.
STRICT_FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-fast-math")
# The same code runs a tenth slower where the linker happens to put a hot loop across a cache line.
SPEED_FLAGS = ("-falign-functions=64",)


def declarations() -> str:
    """Return the blocks of the interface's headers that cffi reads."""
    blocks = []
    for name in INTERFACE:
        header = (SOURCE_DIR / name).read_text(encoding="utf-8")
        _, _, rest = header.partition("/* --- cffi begins here --- */")
        block, marker, _ = rest.partition("/* --- cffi ends here --- */")
        if not marker:
            raise RuntimeError(f"{name}: the block for cffi is not marked")
        blocks.append(block)
    return "".join(blocks)


ffibuilder = cffi.FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "reader_c._reader",
    "\n".join(f'#include "{name}"' for name in INTERFACE),
    # setuptools wants paths relative to the project, whose root is the working directory of a build
    sources=[os.path.relpath(SOURCE_DIR / name) for name in SOURCES],
    include_dirs=[os.path.relpath(SOURCE_DIR)],
    # RC_EXTRA_CFLAGS holds the flags of a sanitizer build, none of which may loosen floating point.
    extra_compile_args=[*STRICT_FLAGS, *SPEED_FLAGS, *shlex.split(os.environ.get("RC_EXTRA_CFLAGS", ""))],
    extra_link_args=shlex.split(os.environ.get("RC_EXTRA_LDFLAGS", "")),
    libraries=["m", "pthread"],
)
