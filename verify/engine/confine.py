"""Runs one engine within limits: a program of its own, which imports nothing of this package.

    python -I confine.py MEMORY MOST_BYTES command ARGUMENT...
    python -I confine.py MEMORY MOST_BYTES library LIBRARY FILE TOKENS LOGITS VOCABULARY

MEMORY and MOST_BYTES (of any file that is written): limits in bytes, 0 for none. A library has llama2.c's functions:
build_transformer(Transformer *, char *), forward(Transformer *, int, int) and free_transformer(Transformer *).
TOKENS is a file of int32, LOGITS one of float32, both little-endian. What cannot be started at all exits with
NOT_STARTED; every other end is the engine's own.
"""

from __future__ import annotations

import array
import ctypes
import os
import resource
import sys

NOT_STARTED = 113
# Of a struct whose layout is the engine's own: llama2.c's has some 300 bytes.
TRANSFORMER_BYTES = 1 << 16
FUNCTIONS = ("build_transformer", "forward", "free_transformer")


def _limit(memory: int, most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def _not_started(reason: object) -> None:
    os.write(2, f"{reason}\n".encode())
    # nothing of the engine's runs any more
    os._exit(NOT_STARTED)


def _run_library(library_path: str, file: str, tokens_path: str, logits_path: str, vocab_size: str) -> None:
    try:
        library = ctypes.CDLL(library_path)
        build, forward, free = (getattr(library, name) for name in FUNCTIONS)
    except (OSError, AttributeError) as error:
        _not_started(error)
    forward.restype = ctypes.POINTER(ctypes.c_float)
    tokens = array.array("i")
    with open(tokens_path, "rb") as source:  # noqa: PTH123  # pathlib would take longer to import than all else
        tokens.frombytes(source.read())
    transformer = ctypes.create_string_buffer(TRANSFORMER_BYTES)
    build(transformer, os.fsencode(file))
    with open(logits_path, "wb") as out:  # noqa: PTH123  # as above
        for position, token in enumerate(tokens):
            logits = forward(transformer, token, position)
            if not logits:
                break
            out.write(ctypes.string_at(logits, 4 * int(vocab_size)))
            out.flush()
    free(transformer)


def main() -> None:
    memory, most_bytes, kind, *rest = sys.argv[1:]
    _limit(int(memory), int(most_bytes))
    if kind == "library":
        _run_library(*rest)
        return
    try:
        os.execvp(rest[0], rest)
    except (OSError, ValueError) as error:
        _not_started(error)


if __name__ == "__main__":
    main()
