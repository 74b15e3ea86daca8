"""List the known mistakes of merging a LoRA adapter, in the same form as mistakes.py."""

from __future__ import annotations

from verify.diagnosis.mistakes import Mistake

ADAPTER_MISSING = Mistake("adapter-missing", "the base's values: the adapter was not merged into them")
ADAPTER_FACTOR = Mistake(
    "adapter-factor", "the base with the adapter merged with factor {found} instead of {expected}"
)
ADAPTER_AGAIN = Mistake("adapter-again", "the base with the adapter merged {times} times")
ADAPTER_SUBTRACTED = Mistake("adapter-subtracted", "the base with the adapter subtracted instead of added")
ADAPTER_TURNED = Mistake("adapter-turned", "the base with the adapter merged with {what}{factor}")
ADAPTER_ROWS = Mistake(
    "adapter-rows",
    "the base, its rows in the file's order, with the adapter merged in Hugging Face's half-split order{factor}",
)
ADAPTER_ELSEWHERE = Mistake(
    "adapter-elsewhere",
    "the base with the adapter of another module: {tensor}, for example, has that of {of}{factor}",
)
ADAPTER_NARROWED = Mistake("adapter-narrowed", "the base with the adapter merged in {dtype}")
