"""List mistakes of files whose numbers are read off the file itself, in the same form as mistakes.py."""

from __future__ import annotations

from verify.diagnosis.mistakes import Mistake

TABLES_FREQUENCIES = Mistake("tables-frequencies", "RoPE's tables with frequencies {found}")
TABLES_OTHER = Mistake(
    "tables-other-frequencies",
    "cosines and sines of other frequencies than RoPE's: pair {pair} turns by {found:.6g} a position instead of "
    "{expected:.6g}",
)
TABLES_NARROWED = Mistake("tables-narrowed", "RoPE's tables rounded to {found}")
TABLES_NEGATED = Mistake("tables-negated", "RoPE's tables with the {what} negated")
TABLES_COLUMNS = Mistake("tables-columns", "RoPE's tables with their pairs in the order {order}")
ROWS_DISPLACED = Mistake(
    "rows-displaced", "the source's rows, but from row {here} on {places} too far {direction}, so that {end}"
)
BLOCKS_REORDERED = Mistake(
    "blocks-reordered",
    "the source's {count} equal blocks of {what} in the order {order}, as if shards were joined in another order",
)
VALUES_DISPLACED = Mistake(
    "values-displaced", "the source's values {count} too {direction}, as if read from a wrong offset"
)
SCALES_CHOSEN = Mistake(
    "scales-chosen",
    "int8 that are rounded rightly by the file's own scales, which are {low:.3g} to {high:.3g} times the largest "
    "magnitude of each group over 127{clipped}",
)
CHANGED_VALUES_OF = Mistake("changed-values-of-another-tensor", "another tensor's values, those of {of}{what}")
FACTORS_OF_TENSORS = Mistake(
    "tensors-scaled", "the source's values, each tensor multiplied by a factor of its own: {factors}"
)
NEVER_LOADED = Mistake(
    "never-loaded", "ones in norms and {matrices} in matrices, as if the weights were never loaded"
)
TEXT_MODE = Mistake("text-mode", "the right bytes with {what}, as if the file were written or copied as text")
ZERO_RUN = Mistake(
    "zero-run",
    "zeros in one run of {count} bytes, from byte {first} of the file on, as if that part was never written",
)
SMOOTHED = Mistake(
    "smoothed",
    "factors of columns that were taken out of {norm}: they are in {done}, but not in {missed}",
)
CENTRED = Mistake("centred", "the source's values minus the mean of each {what}")
SCALES_DIFFER = Mistake("scales-differ", "the right int8, but scales that are {what}")
INT8_ROUNDED = Mistake(
    "int8-rounded-otherwise", "the right scales, but {share} of the int8 one off, as after another rounding"
)
INT8_CLIPPED = Mistake("int8-clipped", "the right scales, but int8 cut to {least} to {most}")
INT8_SIGN_AND_MAGNITUDE = Mistake(
    "int8-sign-and-magnitude", "the right scales, but int8 as sign and magnitude instead of two's complement"
)
