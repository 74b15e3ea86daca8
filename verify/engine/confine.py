"""Run one engine within limits: a separate program, which imports nothing of this package.

    python -I confine.py MEMORY MOST_BYTES command ARGUMENT...
    python -I confine.py MEMORY MOST_BYTES library LIBRARY FILE TOKENS LOGITS LENGTHS VOCABULARY

MEMORY and MOST_BYTES (of any file that is written) are limits in bytes; 0 means no limit. A library has llama2.c's
functions: build_transformer(Transformer *, char *), forward(Transformer *, int, int) and free_transformer(Transformer
*). TOKENS and LENGTHS are files of int32, LOGITS a file of float32, all little-endian. TOKENS holds sequences one
after another, of so many tokens each; all run in one transformer, and each starts at position 0. An engine that
cannot be started gives the exit status NOT_STARTED; every other exit status is the engine's own.
"""

from __future__ import annotations

import array
import ctypes
import os
import resource
import sys

NOT_STARTED = 113
# Room for a struct whose layout only the engine knows; llama2.c's has about 300 bytes.
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
    # without running any code of the engine
    os._exit(NOT_STARTED)


def _integers(path: str) -> array.array[int]:
    found = array.array("i")
    with open(path, "rb") as source:  # noqa: PTH123  # importing pathlib would take longer than everything else
        found.frombytes(source.read())
    return found


def _run_library(
    library_path: str, file: str, tokens_path: str, logits_path: str, lengths_path: str, vocab_size: str
) -> None:
    try:
        library = ctypes.CDLL(library_path)
        build, forward, free = (getattr(library, name) for name in FUNCTIONS)
    except (OSError, AttributeError) as error:
        _not_started(error)
    forward.restype = ctypes.POINTER(ctypes.c_float)
    positions = [position for length in _integers(lengths_path) for position in range(length)]
    transformer = ctypes.create_string_buffer(TRANSFORMER_BYTES)
    build(transformer, os.fsencode(file))
    with open(logits_path, "wb") as out:  # noqa: PTH123  # as above
        for token, position in zip(_integers(tokens_path), positions, strict=True):
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
