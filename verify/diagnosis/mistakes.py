"""List the known mistakes: their names, what a report says about them, and the values that programs often use.

Three modules apply the table: tensors.py to the tensors of a file, operations.py to the operations that an engine
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
Q_K_PERMUTED_BACKWARDS = Mistake(
    "q-k-permuted-backwards",
    "the source's rows permuted to Hugging Face's half-split order instead of from it",
)
V_PERMUTED = Mistake("v-permuted", "the source's rows permuted within heads, which is right only for q and k")
QUERY_HEADS_REGROUPED = Mistake(
    "query-heads-regrouped",
    "the source's heads in another order: heads that share a key are n_kv_heads = {n_kv_heads} apart",
)
TRANSPOSED = Mistake("transposed", "the source's matrix transposed", "multiplies by {tensor} transposed")
ROWS_ROLLED = Mistake("rows-rolled", "the source's rows (or elements) one place too far {direction}")

# ---- how parts are stored ----

BIG_ENDIAN = Mistake("big-endian", "the right numbers in big-endian byte order")
HALVES_MIXED_UP = Mistake("halves-mixed-up", "the bits of the other half precision: fp16 and bf16 are mixed up")
INT8_NEGATED = Mistake("int8-negated", "the right scales, but int8 with the opposite sign")
INT8_UNSIGNED = Mistake("int8-unsigned", "the right scales, but int8 stored as unsigned, with 128 added")
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
ROUNDED_TOWARDS_ZERO = Mistake("rounded-towards-zero", "int8 truncated towards zero instead of rounded to nearest")
DIVIDED_BY_128 = Mistake("divided-by-128", "scales that are the largest magnitude divided by 128 instead of 127")
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

# ---- roundings before the tensor was stored ----

ROUNDED_TO_BF16 = Mistake("rounded-to-bf16", "the source's values rounded to bf16")
ROUNDED_TO_FP16 = Mistake("rounded-to-fp16", "the source's values rounded to fp16")
CUT_TO_BF16 = Mistake("cut-to-bf16", "the source's values truncated to bf16 instead of rounded")
CUT_TO_FP16 = Mistake("cut-to-fp16", "the source's values truncated to fp16 instead of rounded")
QUANTIZED_ON_THE_WAY = Mistake("quantized-on-the-way", "the source's values after a quantization to Q8_0")

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

# ---- bytes in the wrong place ----

V1_V2_MIXED_UP = Mistake("v1-v2-mixed-up", "the right bytes in the order of {found} instead of {expected}")
BYTES_DISPLACED = Mistake("bytes-displaced", "the right bytes at other places in the file, by different distances")
BYTES_SHIFTED = Mistake("bytes-shifted", "the right bytes {count} too {direction}{reason}")

# ---- damage, and what no mistake explains ----

ROW_TAILS_ZERO = Mistake("row-tails-zero", "zeros in the last {count} of each row")
CUT_SHORT = Mistake("cut-short", "the source's values up to one element, and zeros from there to the end")
FEW_ELEMENTS = Mistake("few-elements", "the right values except {which}")
BIT_FLIPPED = Mistake("bit-flipped", "the right values except one bit: bit {bit} of {where} is flipped")
NOT_COMPARABLE = Mistake(
    "not-comparable", "numbers that cannot be compared with the source's: they are constant or not finite"
)
UNRELATED_NUMBERS = Mistake(
    "unrelated-numbers",
    "numbers unrelated to the source's (correlation {correlation:.3f}), like a tensor that was initialised but never "
    "loaded",
)
NO_KNOWN_MISTAKE = Mistake(
    "no-known-mistake",
    "numbers that no known mistake makes from the source's (their correlation is {correlation:.6f})",
)

# ---- an engine's hyperparameters ----

NORM_EPS = Mistake(
    "norm-eps",
    by_engine="computes RMSNorm with epsilon {found:g} instead of {expected:g}",
    numbers=(1e-5, 1e-6, 1e-8, 1e-12, 0.0),
)
ROPE_THETA = Mistake(
    "rope-theta",
    by_engine="computes RoPE with theta {found:g} instead of {expected:g}",
    numbers=(1e4, 1e5, 5e5, 1e6),
)
ROPE_SCALING_IGNORED = Mistake("rope-scaling-ignored", by_engine="omits RoPE's scaling ({scaling})")
ACTIVATION = Mistake(
    "activation", by_engine="computes {found} instead of {expected}", words=("silu", "gelu", "gelu_tanh")
)

# ---- an engine's attention ----

ROPE_HALF_SPLIT = Mistake(
    "rope-half-split", by_engine="rotates the pairs (i, i + head_dim / 2) of each head instead of (2i, 2i + 1)"
)
ROPE_BACKWARDS = Mistake("rope-backwards", by_engine="rotates in the opposite direction")
ROPE_MISSING = Mistake("rope-missing", by_engine="does not apply RoPE to {what}")
ROPE_POSITION = Mistake("rope-position", by_engine="takes RoPE's angles for {what} from the position {side}")
KV_HEADS = Mistake(
    "kv-heads",
    by_engine="reads the wrong kv head for each query head: {found}",
    words=("head % n_kv_heads", "one too high", "one too low", "always the first"),
)
SCORE_SCALE = Mistake(
    "score-scale", by_engine="divides scores by {found} instead of sqrt(head_dim)", words=("1", "head_dim")
)
OWN_POSITION = Mistake("own-position", by_engine="omits each position itself from its attention")

# ---- an engine's products and sums ----

OTHER_TENSOR = Mistake("other-tensor", by_engine="multiplies by {found} instead of {expected}")
OTHER_LAYER = Mistake("other-layer", by_engine="multiplies by {found} instead of {expected}")
TIED_CLASSIFIER = Mistake(
    "tied-classifier",
    by_engine="multiplies by tok_embeddings.weight instead of output.weight, as if the classifier were tied",
)
GATE_UP_SWAPPED = Mistake("gate-up-swapped", by_engine="swaps gate (w1) and up (w3)")
NORM_WEIGHTS = Mistake("norm-weights", by_engine="does not multiply by the weights of the norms")
BIAS_DROPPED = Mistake("bias-dropped", by_engine="does not add {what}")
LAST_GROUP = Mistake("last-group", by_engine="omits the last group of {count} inputs of each row")
LAST_INPUTS_DROPPED = Mistake(
    "last-inputs-dropped", by_engine="omits {which} of each row", numbers=(1, 4, 8, 16, 32, 64, 128)
)
ROWS_SHIFTED = Mistake("rows-shifted", by_engine="reads {tensor} one row off: the row {side}")
NARROWED = Mistake("narrowed", by_engine="rounds {tensor} to {found} before the product")
RESIDUAL = Mistake("residual", by_engine="omits {what} from the residual sum")
INT8_ROUNDING = Mistake("int8-rounding", by_engine="rounds int8 activations {found}")
LOGITS_LATE = Mistake("logits-late", by_engine="gives each position the logits of the position before")


def last_inputs(count: int) -> str:
    """Name the inputs that LAST_INPUTS_DROPPED omits, by their number."""
    return "the last input" if count == 1 else f"the last {count} inputs"
