"""List the known mistakes of a file's header, in the same form as mistakes.py; their sentences stand alone."""

from __future__ import annotations

from verify.diagnosis.mistakes import Mistake

HEADER_FIELD = Mistake(
    "header-field",
    "the header says {field} {found} where the source has {expected}{others}: fix the header, because every engine "
    "follows it",
)
HEADER_TIED = Mistake(
    "header-tied",
    "the header says that the classifier {found}, but the source's {expected}",
)
HEADER_CONTEXT = Mistake(
    "header-context",
    "the header has {found}, the model's longest sequence, as RoPE's original_max_positions, where the source has "
    "{expected}: max_position_embeddings was probably written in place of original_max_position_embeddings",
)
HEADER_SCALING = Mistake(
    "header-scaling",
    "the header omits RoPE's scaling, which is {expected} in the source: rope_scaling was not written",
)
HEADER_WINDOWS = Mistake(
    "header-windows",
    "the header gives the attention window to {found}, but the source has it in {expected}: the types of the layers "
    "were not written",
)
FORMAT_IMPLIES = Mistake(
    "format-implies", "{format} has no field for {field} and implies {found}, but the source has {expected}{others}"
)
