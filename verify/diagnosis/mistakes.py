"""List the known mistakes: their names, what a report says about them, and the values that programs often use.

This module has the mistakes of files, and those that files and engines share; engine_mistakes.py has the others.
Three modules apply the tables: tensors.py to the tensors of a file, operations.py to the operations that an engine
recorded, and verify/engine/hints.py to the logits of an engine that can only be seen from outside.

Saved reports hold the names, so a name is never given to another mistake. Reports of earlier versions may also hold
"rope-scaling", which is "rope-scaling-ignored" today.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """Describes one known mistake, which has a short and stable name.

    in_file: what the tensors hold, after "<tensors> hold"; by_engine: what the engine does, after "the engine". One
    of the two is empty if only files or only engines can have the mistake. Both may have fields in braces. numbers,
    words: the values that are tried in its place.
    """

    name: str
    in_file: str = ""
    by_engine: str = ""
    numbers: tuple[float, ...] = ()
    words: tuple[str, ...] = ()

    def of_file(self, **fields: object) -> str:
        """Complete the sentence about a file's tensors."""
        return self.in_file.format(**fields)

    def of_engine(self, **fields: object) -> str:
        """Complete the sentence about an engine."""
        return self.by_engine.format(**fields)


# ---- zeros ----

ZEROS = Mistake("zeros", "only zeros")
SCALES_ZERO = Mistake("scales-zero", "the right int8, but scales of zero")

# ---- the order of values within a tensor ----

Q_K_NOT_UNPERMUTED = Mistake(
    "q-k-not-unpermuted", "the source's rows in Hugging Face's half-split order: they were never unpermuted"
)
K_PERMUTED_WITH_N_HEADS = Mistake(
    "k-permuted-with-n-heads",
    "the source's rows permuted with n_heads = {n_heads} instead of n_kv_heads = {n_kv_heads}",
)
Q_PERMUTED_WITH_N_KV_HEADS = Mistake(
    "q-permuted-with-n-kv-heads",
    "the source's rows permuted with n_kv_heads = {n_kv_heads} instead of n_heads = {n_heads}",
)
Q_K_PERMUTED_TWICE = Mistake(
    "q-k-permuted-twice",
    "the source's rows unpermuted from Hugging Face's order although they already had llama2.c's order",
)
Q_K_WHOLE_HEADS_PERMUTED = Mistake(
    "q-k-whole-heads-permuted",
    "the source's rows unpermuted over whole heads, although RoPE rotates only the first {rotary_dim} rows of each",
)
Q_K_PERMUTED_BACKWARDS = Mistake(
    "q-k-permuted-backwards",
    "the source's rows permuted to Hugging Face's half-split order instead of from it",
)
Q_K_LEFT_IN_PAIRS = Mistake(
    "q-k-left-in-pairs",
    "the source's rows in llama2.c's order, each pair side by side, where ajc1 has Hugging Face's half-split order",
)
Q_K_HALVED_TWICE = Mistake(
    "q-k-halved-twice", "the source's rows permuted to Hugging Face's half-split order although they already had it"
)
V_PERMUTED = Mistake("v-permuted", "the source's rows permuted within heads, which is right only for q and k")
PERMUTED_WITH_OTHER_HEADS = Mistake(
    "permuted-with-other-heads", "the source's rows permuted as heads of {size} rows instead of {head_dim}"
)
PAIRS_EXCHANGED = Mistake("pairs-exchanged", "the source's rows with each pair exchanged, which turns RoPE backwards")
QUERY_HEADS_REGROUPED = Mistake(
    "query-heads-regrouped",
    "the source's heads in another order: heads that share a key are n_kv_heads = {n_kv_heads} apart",
)
TRANSPOSED = Mistake("transposed", "the source's matrix transposed", "multiplies by {tensor} transposed")
ROWS_ROLLED = Mistake("rows-rolled", "the source's rows (or elements) one place too far {direction}")

HEADS_REORDERED = Mistake("heads-reordered", "the source's {what} with the heads in the order {order}")
HEADS_REPEATED = Mistake(
    "heads-repeated", "each of the source's {n} heads {times} times, in the order {order}: n_kv_heads should be {n}"
)
ROWS_REORDERED = Mistake(
    "rows-reordered",
    "the source's {what}s in another order: {what} {here}, for example, holds its {what} {of}",
)
GATE_UP_INTERLEAVED = Mistake(
    "gate-up-interleaved", "each other's rows: a fused matrix of gate and up was split {found} instead of {expected}"
)
VALUES_REORDERED = Mistake("values-reordered", "the source's values in another order, which no known mistake makes")
FUSED_ROWS = Mistake(
    "fused-rows",
    "rows of one another, as if a fused matrix were split wrongly: row {row} of {tensor}, for example, holds row "
    "{of} of {other}",
)
SHARDS_JOINED = Mistake(
    "shards-joined", "the source's {count} shards of {split} joined as shards of {joined} and written flat"
)

# ---- factors, offsets and signs ----

SCALED = Mistake("scaled", "the source's values multiplied by {factor}")
OFFSET = Mistake("offset", "the source's values {side} {by}")
SCALED_AND_OFFSET = Mistake("scaled-and-offset", "the source's values multiplied by {factor}, then {side} {by}")
SCALED_BY_NORM = Mistake(
    "scaled-by-norm", "the source's columns multiplied by the weights of {norms}, as if {folded} folded into them"
)
ROWS_SCALED = Mistake("rows-scaled", "the source's {what}, each multiplied by a factor of its own, {factors}")
ROWS_NEGATED = Mistake("rows-negated", "the source's values with the opposite sign in {which}")
ROWS_NORMALIZED = Mistake("rows-normalized", "the source's {what}, each scaled to a length of 1")
SIGNS_DIFFER = Mistake("signs-differ", "the right magnitudes, {share} of them with the opposite sign")

# ---- changes of single values ----

CONSTANT = Mistake("constant", "{value} everywhere, as if the values were never loaded")
RECIPROCALS = Mistake("reciprocals", "the reciprocals of the source's values")
SQUARES = Mistake("squares", "the squares of the source's values")
SQUARE_ROOTS = Mistake("square-roots", "the square roots of the source's values")
MAGNITUDES = Mistake("magnitudes", "the magnitudes of the source's values, without their signs")
CLIPPED = Mistake("clipped", "the source's values, but none beyond a limit: larger ones are cut to it")
PRUNED = Mistake("pruned", "the source's large values, and zeros instead of all small ones")

# ---- how parts are stored ----

BIG_ENDIAN = Mistake("big-endian", "the right numbers in big-endian byte order")
HALVES_MIXED_UP = Mistake("halves-mixed-up", "the bits of the other half precision: fp16 and bf16 are mixed up")
INT8_NEGATED = Mistake("int8-negated", "the right scales, but int8 with the opposite sign")
INT8_UNSIGNED = Mistake("int8-unsigned", "the right scales, but int8 stored as unsigned, with 128 added")
INT8_OFFSET = Mistake("int8-offset", "the right scales, but int8 that are {by} too {direction}")
INT8_DISPLACED = Mistake("int8-displaced", "the right scales, but int8 that are one place too {direction}")
INT8_TRANSPOSED = Mistake("int8-transposed", "the right scales, but the int8 of the matrix transposed")
INT8_REORDERED = Mistake("int8-reordered", "the right scales, and the right int8 of each tensor in another order")
SCALES_REORDERED = Mistake("scales-reordered", "the right int8, and the right scales of each tensor in another order")
SCALES_SHIFTED_BY_A_GROUP = Mistake(
    "scales-shifted-by-a-group", "the right int8, but scales that are off by one group"
)
SCALES_SHIFTED_BY_A_ROW = Mistake("scales-shifted-by-a-row", "the right int8, but scales that are off by one row")

# ---- other recipes for Q8_0 ----

SCALES_ROUNDED_TO_FP16 = Mistake("scales-rounded-to-fp16", "scales rounded to fp16")
SCALES_ROUNDED_TO_BF16 = Mistake("scales-rounded-to-bf16", "scales rounded to bf16")
HALVES_ROUNDED_AWAY_FROM_ZERO = Mistake(
    "halves-rounded-away-from-zero", "int8 with halves rounded away from zero instead of to even"
)
HALVES_ROUNDED_UP = Mistake("halves-rounded-up", "int8 with halves rounded up instead of to even")
ROUNDED_DOWN = Mistake("rounded-down", "int8 rounded down (floor) instead of to nearest")
ROUNDED_UP = Mistake("rounded-up", "int8 rounded up (ceil) instead of to nearest")
ROUNDED_TOWARDS_ZERO = Mistake("rounded-towards-zero", "int8 truncated towards zero instead of rounded to nearest")
HALF_ADDED_THEN_TRUNCATED = Mistake(
    "half-added-then-truncated",
    "int8 rounded to nearest for positive numbers, but towards zero for negative ones: a half was added, and the sum "
    "truncated",
)
ZERO_POINT_DROPPED = Mistake(
    "zero-point-dropped",
    "int8 from the least to the largest value of each group; their zero point is missing",
)
SIGNED_SCALES = Mistake(
    "signed-scales", "scales that are the value of largest magnitude, with its sign, divided by {divisor}"
)
GROUPS_OF_ANOTHER_SIZE = Mistake(
    "groups-of-another-size", "scales of groups of {size} instead of {group_size}, each written {times} times"
)
DIVIDED_BY_128 = Mistake("divided-by-128", "scales that are the largest magnitude divided by 128 instead of 127")
DIVIDED_BY_ANOTHER = Mistake(
    "divided-by-another", "scales that are the largest magnitude divided by {divisor} instead of 127"
)
SIGNED_MAXIMUM = Mistake(
    "signed-maximum", "scales from the largest value of each group instead of its largest magnitude"
)
GROUPS_OF_COLUMNS = Mistake("groups-of-columns", "int8 and scales of groups that run down columns instead of rows")
MULTIPLIED_BY_RECIPROCAL = Mistake(
    "multiplied-by-reciprocal",
    "int8 from weights multiplied by the scale's reciprocal instead of divided by the scale",
)
QUANTIZED_IN_DOUBLE = Mistake("quantized-in-double", "int8 and scales computed in float64 instead of float32")
ONE_SCALE_A_ROW = Mistake("one-scale-a-row", "one scale for each row instead of each group")
ONE_SCALE = Mistake("one-scale", "one scale for the whole tensor")
SCALES_NOT_DIVIDED = Mistake(
    "scales-not-divided", "the right int8, but the largest magnitude of each group as its scale"
)
SCALES_INVERTED = Mistake("scales-inverted", "the right int8, but the reciprocal of each scale")
SCALES_SQUARED = Mistake("scales-squared", "the right int8, but the square of each scale")

# ---- roundings before the tensor was stored ----

ROUNDED_TO_BF16 = Mistake("rounded-to-bf16", "the source's values rounded to bf16")
ROUNDED_TO_FP16 = Mistake("rounded-to-fp16", "the source's values rounded to fp16{again}")
ROUNDED_TO_FP8 = Mistake("rounded-to-fp8", "the source's values rounded to fp8 ({which})")
FP8_WITH_SCALES = Mistake("fp8-with-scales", "the source's values after fp8 ({which}) with one scale for {one}")
CUT_TO_BF16 = Mistake("cut-to-bf16", "the source's values truncated to bf16 instead of rounded")
CUT_TO_FP16 = Mistake("cut-to-fp16", "the source's values truncated to fp16 instead of rounded")
SUBNORMALS_FLUSHED = Mistake("subnormals-flushed", "zeros instead of the source's subnormal values")
QUANTIZED_ON_THE_WAY = Mistake("quantized-on-the-way", "the source's values after a quantization to Q8_0")

# ---- changes of the checkpoint before its export ----

LOW_RANK_ADDED = Mistake(
    "low-rank-added", "the source's values plus a matrix of rank {rank}: a LoRA of that rank was probably merged"
)
DIRECTION_REMOVED = Mistake(
    "direction-removed", "the source's values without one direction of their outputs, as abliteration removes it"
)
FEW_LEVELS = Mistake(
    "few-levels",
    "numbers near the source's, few different ones in each run of {run}, as after a quantization to {bits} bits",
)
VALUES_ZEROED = Mistake("values-zeroed", "the source's values{times}, but zeros for {share}, as after pruning")
ROTATED = Mistake(
    "rotated",
    "the source's rows turned by an orthogonal matrix, which keeps lengths and angles, as QuaRot and SpinQuant do",
)
WEIGHTED_AVERAGE = Mistake(
    "weighted-average",
    "{share} of the source's values plus a rest of numbers that are unrelated to them, as in a merge with another "
    "checkpoint",
)

# ---- the values or scales of another tensor ----

TENSORS_SWAPPED = Mistake("tensors-swapped", "each other's values")
CLASSIFIER_IS_EMBEDDING = Mistake(
    "classifier-is-embedding", "the embedding's values, as if the classifier were tied to the embedding"
)
EMBEDDING_IS_CLASSIFIER = Mistake("embedding-is-classifier", "the classifier's values")
VALUES_OF_THE_LAYER = Mistake("values-of-another-tensor", "the values of {kind} of the same layer")
VALUES_OF_OTHERS = Mistake(
    "values-of-another-tensor", "the values of other tensors: {tensor}, for example, holds those of {of}"
)
SCALES_OF_OTHERS = Mistake(
    "scales-of-another-tensor",
    "the right int8, but scales of other tensors: {tensor}, for example, has those of {of}",
)
LAYERS_SWAPPED = Mistake("layers-swapped", "each other's values: layers {first} and {second} are swapped")
LAYERS_IN_ORDER_OF_TEXT = Mistake(
    "layers-in-order-of-text", "the values of layers that were sorted as text: 1, 10, 11, 2"
)
LAYERS_SHIFTED = Mistake("layers-shifted", "the values of the layer {side}")
LAYERS_REVERSED = Mistake(
    "layers-reversed", "the values of the layers in reverse order", "runs the layers in reverse order"
)
LAYERS_IN_ANOTHER_ORDER = Mistake(
    "layers-in-another-order", "the values of other layers: layer {layer}, for example, holds those of layer {of}"
)

EXPERTS_IN_ANOTHER_ORDER = Mistake(
    "experts-in-another-order",
    "the values of other experts: expert {expert}, for example, holds those of expert {of}",
)

# ---- bytes in the wrong place ----

V1_V2_MIXED_UP = Mistake("v1-v2-mixed-up", "the right bytes in the order of {found} instead of {expected}")
BYTES_DISPLACED = Mistake("bytes-displaced", "the right bytes at other places in the file, by different distances")
BYTES_SHIFTED = Mistake("bytes-shifted", "the right {what} {count} too {direction}{reason}")

# ---- damage, and what no mistake explains ----

ROW_TAILS_ZERO = Mistake("row-tails-zero", "zeros in the last {count} of each row")
CUT_SHORT = Mistake("cut-short", "the source's values up to one element, and zeros from there to the end")
FEW_ELEMENTS = Mistake("few-elements", "the right values except {which}")
FEW_ROWS = Mistake("few-rows", "the right values except in {which}")
BIT_FLIPPED = Mistake("bit-flipped", "the right values except one bit: bit {bit} of {where} is flipped")
NOT_COMPARABLE = Mistake(
    "not-comparable", "numbers that cannot be compared with the source's: they are constant or not finite"
)
UNRELATED_NUMBERS = Mistake("unrelated-numbers", "numbers unrelated to the source's ({facts})")
ANOTHER_CHECKPOINT = Mistake(
    "another-checkpoint",
    "numbers of the source's size but unrelated to them ({facts}), as in another checkpoint of this shape",
)
ANOTHER_VERSION = Mistake(
    "another-version",
    "numbers near the source's everywhere ({facts}), as in a fine-tune or another version of the same model",
)
NO_KNOWN_MISTAKE = Mistake("no-known-mistake", "numbers that no known mistake makes from the source's ({facts})")

# ---- RoPE's tables, in a v0 file or computed by an engine ----

ROPE_THETA = Mistake(
    "rope-theta",
    in_file="RoPE's tables for theta {found:g} instead of {expected:g}",
    by_engine="computes RoPE with theta {found:g} instead of {expected:g}",
    numbers=(1e4, 1e5, 5e5, 1e6),
)
TABLES_SCALED = Mistake("tables-scaled", "RoPE's tables with every position multiplied by {factor:g}")
TABLES_SWAPPED = Mistake("tables-swapped", "each other's values: the cosines and the sines are swapped")
TABLES_SHIFTED = Mistake("tables-shifted", "RoPE's tables with each row that of the position {side}")
TABLES_UNKNOWN = Mistake("no-known-mistake", "numbers that no known mistake makes of RoPE's tables")
