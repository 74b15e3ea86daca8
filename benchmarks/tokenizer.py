"""How fast the reader encodes by a tokenizer block, beside one thread of Hugging Face's tokenizers, in one run.

    python benchmarks/tokenizer.py SMOLLM2      the directory of SmolLM2, for its tokenizer.json

The text is the bundled held-out one, as a whole and in documents of 2,000 characters. Both encode the same texts, and
the ids are compared. Each figure is the best of five.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import tokenizers
from helpers.tokenizer_blocks import from_tokenizer

import reader_c
from verify.demo import HELD_OUT_TEXT

REPEATED, DOCUMENT = 16, 2000


def rate(call: Callable[[], object], size: int) -> float:
    """Megabytes a second of this thread."""
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()
        call()
        best = min(best, time.thread_time() - began)
    return round(size / best / 1e6, 2)


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    library = tokenizers.Tokenizer.from_file(str(Path(sys.argv[1]) / "tokenizer.json"))
    block = from_tokenizer(library)
    content = block.content()
    made = time.thread_time()
    ours = reader_c.Tokenizer.from_block(content, len(block.pieces))
    opened = time.thread_time()
    text = HELD_OUT_TEXT.read_text(encoding="utf-8") * REPEATED
    documents = [text[at : at + DOCUMENT] for at in range(0, len(text), DOCUMENT)]
    size = len(text.encode())
    same = all(ours.encode(document) == library.encode(document).ids for document in (*documents, text))
    ids = ours.encode(text)
    result: dict[str, Any] = {
        "machine": measure.machine(),
        "tokenizers": tokenizers.__version__,
        "bytes": size,
        "same_ids": same,
        "seconds_to_open": round(opened - made, 3),
        "block_bytes": len(content),
        "documents": {
            "reader": rate(lambda: [ours.encode(document) for document in documents], size),
            "tokenizers": rate(lambda: [library.encode(document) for document in documents], size),
        },
        "whole": {
            "reader": rate(lambda: ours.encode(text), size),
            "tokenizers": rate(lambda: library.encode(text), size),
        },
        "decode": {
            "reader": rate(lambda: ours.decode(ids), size),
            "tokenizers": rate(lambda: library.decode(ids), size),
        },
    }
    measure.save("tokenizer", result)
    for name in ("documents", "whole", "decode"):
        both = result[name]
        print(f"{name}: {both}, {both['reader'] / both['tokenizers']:.1f} times")
    print(f"same ids: {same}; opened in {result['seconds_to_open']} s")


if __name__ == "__main__":
    main()
