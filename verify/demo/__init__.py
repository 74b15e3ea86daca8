"""The bundled checkpoint: a small trained Llama with its tokenizer and a text that it never saw.

Made by verify/demo/train.py from the King James Bible, which is in the public domain.
"""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint.pt"
HELD_OUT_TEXT = Path(__file__).parent / "heldout.txt"
