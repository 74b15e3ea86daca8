"""List the known mistakes of reading a checkpoint's numbers before the export, in the same form as mistakes.py."""

from __future__ import annotations

from verify.diagnosis.mistakes import Mistake

BITS_MISREAD = Mistake("bits-misread", "the source's values in {right}, whose bits were read as {wrong}")
FP8_UNSCALED = Mistake("fp8-unscaled", "the source's values in fp8 ({which}), whose scale for {one} was {done}")
ROUNDED_TO_LEVELS = Mistake("rounded-to-levels", "the source's values rounded to {bits} with one scale for {one}")
LEVELS_UNSCALED = Mistake(
    "levels-unscaled", "the source's values rounded to {bits}, whose scale for {one} was not applied"
)
