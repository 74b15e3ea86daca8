"""List the known mistakes that only engines make, in the same form as mistakes.py."""

from __future__ import annotations

from verify.diagnosis.mistakes import Mistake

# ---- an engine's hyperparameters ----

NORM_EPS = Mistake(
    "norm-eps",
    by_engine="computes RMSNorm with epsilon {found:g} instead of {expected:g}",
    numbers=(1e-5, 1e-6, 1e-8, 1e-12, 0.0),
)
ROPE_SCALING_IGNORED = Mistake("rope-scaling-ignored", by_engine="omits RoPE's scaling ({scaling})")
ACTIVATION = Mistake(
    "activation", by_engine="computes {found} instead of {expected}", words=("silu", "gelu", "gelu_tanh")
)

# ---- an engine's attention ----

ROPE_HALF_SPLIT = Mistake(
    "rope-half-split", by_engine="rotates the pairs (i, i + head_dim / 2) of each head instead of (2i, 2i + 1)"
)
ROPE_BACKWARDS = Mistake("rope-backwards", by_engine="rotates {what} in the opposite direction")
ROPE_SIGNS = Mistake("rope-signs", by_engine="rotates each pair (x, y) of queries and keys to ({found})")
ROPE_MISSING = Mistake("rope-missing", by_engine="does not apply RoPE to {what}")
ROPE_ON_VALUES = Mistake("rope-on-values", by_engine="applies RoPE to values, too")
ROPE_POSITION = Mistake("rope-position", by_engine="takes RoPE's angles for {what} from the position {side}")
KV_HEADS = Mistake(
    "kv-heads",
    by_engine="reads the wrong kv head for each query head: {found}",
    words=("head % n_kv_heads", "one too high", "one too low", "always the first"),
)
SCORE_SCALE = Mistake(
    "score-scale", by_engine="divides scores by {found} instead of sqrt(head_dim)", words=("1", "head_dim")
)
SCORES_CAPPED = Mistake(
    "scores-capped", by_engine="caps attention scores at {cap:g} by tanh", numbers=(20.0, 30.0, 50.0, 10.0, 5.0)
)
ATTENTION_WINDOW = Mistake(
    "attention-window", by_engine="attends only to the last {count} positions, which shows from position {count} on"
)
STALE_CACHE = Mistake("stale-cache", by_engine="{what}")
CACHE_NARROWED = Mistake("cache-narrowed", by_engine="rounds {what} to {found} in its cache")
SCORES_SCALED = Mistake("scores-scaled", by_engine="multiplies attention scores by {factor:.8g}, beside their scale")
OWN_POSITION = Mistake("own-position", by_engine="omits each position itself from its attention")
FIRST_POSITION = Mistake("first-position", by_engine="omits position 0 from the attention of all later ones")
LATER_POSITIONS = Mistake("later-positions", by_engine="attends to later positions, too: it has no causal mask")
UNFILLED_PLACES = Mistake(
    "unfilled-places",
    by_engine="takes softmax over all {count} places of its cache, with score 0 for unfilled ones",
)
CHUNKS_UNMASKED = Mistake(
    "chunks-unmasked", by_engine="attends to later positions within each chunk of {count}: no causal mask inside it"
)
SOFTMAX_OFF_BY_ONE = Mistake("softmax-off-by-one", by_engine="adds 1 to the denominator of attention's softmax{when}")
SHARED_CACHE = Mistake("shared-cache", by_engine="{what}")
HEADS_LAYOUT = Mistake(
    "heads-layout", by_engine="puts the first elements of all heads side by side before wo, then the second ones"
)
WO_MISSING = Mistake("wo-missing", by_engine="does not multiply what attention mixed by wo")
ROPE_FREQUENCIES = Mistake("rope-frequencies", by_engine="computes RoPE's frequencies {found}")
ROPE_PARTIAL = Mistake("rope-partial", by_engine="rotates only the first half of each head, {found}")

# ---- an engine's products and sums ----

OTHER_TENSOR = Mistake("other-tensor", by_engine="multiplies by {found} instead of {expected}")
OTHER_LAYER = Mistake("other-layer", by_engine="multiplies by {found} instead of {expected}")
TIED_CLASSIFIER = Mistake(
    "tied-classifier",
    by_engine="multiplies by tok_embeddings.weight instead of output.weight, as if the classifier were tied",
)
GATE_UP_SWAPPED = Mistake("gate-up-swapped", by_engine="swaps gate (w1) and up (w3)")
NORM_WEIGHTS = Mistake("norm-weights", by_engine="does not multiply by the weights of {what}")
NORM_MEAN = Mistake("norm-mean", by_engine="divides the sum of squares in its norms by dim - 1 instead of dim")
BIASES_SWAPPED = Mistake("biases-swapped", by_engine="swaps the biases of keys and values")
BIAS_DROPPED = Mistake("bias-dropped", by_engine="does not add {what}")
LAST_GROUP = Mistake("last-group", by_engine="omits the last group of {count} inputs of each row")
LAST_INPUTS_DROPPED = Mistake(
    "last-inputs-dropped", by_engine="omits {which} of each row", numbers=(1, 4, 8, 16, 32, 64, 128)
)
ROWS_SHIFTED = Mistake("rows-shifted", by_engine="reads {tensor} one row off: the row {side}")
NARROWED = Mistake("narrowed", by_engine="rounds {tensor} to {found} before the product")
HALVES_SWAPPED = Mistake("halves-swapped", by_engine="runs the feed-forward of each layer before its attention")
MATRICES_REVERSED = Mistake(
    "matrices-reversed", by_engine="takes the matrices of layer n - 1 - i in layer i, but the norms of layer i"
)
ACTIVATION_SCALED = Mistake("activation-scaled", by_engine="multiplies {found} by {factor:.8g}")
HALF_MISSING = Mistake("half-missing", by_engine="omits {what} of {where}")
PARALLEL = Mistake(
    "parallel-feed-forward",
    by_engine="runs the feed forward on the stream before attention instead of after it, through {norm}",
)
NORMED_RESIDUAL = Mistake(
    "normed-residual", by_engine="adds what each half computes to its normed input instead of the residual stream"
)
GATE_AND_UP = Mistake("gate-and-up", by_engine="{what}")
RESIDUAL_SCALED = Mistake(
    "residual-scaled", by_engine="multiplies by {factor:.8g} what each half adds to the residual stream"
)
RESIDUAL = Mistake("residual", by_engine="omits {what} from the residual sum")
INT8_ROUNDING = Mistake("int8-rounding", by_engine="rounds int8 activations {found}")
WEIGHT_SCALES_MOVED = Mistake(
    "weight-scales-moved", by_engine="multiplies each group of weights by the scale of the {side} group"
)
INT8_SCALES = Mistake("int8-scales", by_engine="{what}")
INT8_LAST_PRODUCT = Mistake("int8-last-product", by_engine="omits the last product of each group")
INT8_MISSING_BEFORE = Mistake(
    "int8-missing-before", by_engine="multiplies by float activations in {what}, but by int8 elsewhere"
)
INT8_MISSING = Mistake("int8-missing", by_engine="multiplies by float activations instead of rounding them to int8")
EMBEDDING_SCALED = Mistake("embedding-scaled", by_engine="multiplies the embeddings by {factor}")
TOKEN_BEFORE = Mistake("token-before", by_engine="puts token {token} before the sequence, as if it added a BOS token")
TOKENS_LATE = Mistake("tokens-late", by_engine="embeds at each position the token before")
ONE_EMBEDDING = Mistake("one-embedding", by_engine="computes token {token} with {found}")
NORM_PLUS_ONE = Mistake("norm-plus-one", by_engine="multiplies by 1 + the weights of {what} instead of the weights")
NORM_MISSING = Mistake("norm-missing", by_engine="does not apply the final norm")
NORM_BEFORE_MISSING = Mistake("norm-before-missing", by_engine="does not apply the norm before {what} of each layer")
NORM_FORMULA = Mistake(
    "norm-formula", by_engine="divides by {found} in its norms instead of sqrt(mean of squares + epsilon)"
)
NORM_WHOLE = Mistake("norm-whole", by_engine="{found} in every norm")
NORM_TWICE = Mistake("norm-twice", by_engine="applies the final norm twice")
NORM_CENTRED = Mistake(
    "norm-centred", by_engine="subtracts the mean in its norms, as LayerNorm does, which RMSNorm does not"
)
LAYERS_ORDER = Mistake("layers-order", by_engine="runs {found}")
LAYER_MISSING = Mistake("layer-missing", by_engine="omits layer {layer}")
LOGITS_SCALED = Mistake("logits-scaled", by_engine="{how} the logits by {factor}")
LOGITS_OFFSET = Mistake("logits-offset", by_engine="adds {offset} to every logit")
LOGITS_CAPPED = Mistake(
    "logits-capped", by_engine="caps the logits at {cap:g} by tanh", numbers=(30.0, 50.0, 20.0, 15.0)
)
LOGITS_NORMALISED = Mistake("logits-normalised", by_engine="gives {what} instead of logits")
LOGITS_NARROWED = Mistake("logits-narrowed", by_engine="rounds the logits to {found}")
REPETITION_PENALTY = Mistake(
    "repetition-penalty",
    by_engine="divides positive and multiplies negative logits of {which} by {factor:.8g}: a repetition penalty",
)
LOGITS_EXCHANGED = Mistake("logits-exchanged", by_engine="exchanges the logits of tokens {one} and {other}")
LOGITS_LATE = Mistake("logits-late", by_engine="gives each position the logits of the position before")

# ---- any operation of an engine ----

WRONG_OPERAND = Mistake("wrong-operand", by_engine="multiplies {matrix} by {found} instead of {expected}")
WRONG_SUM = Mistake("wrong-sum", by_engine="adds {added} to {found} instead of {expected}")
NEGATED = Mistake("negated", by_engine="negates {what}")
STAGE_MISSING = Mistake("stage-missing", by_engine="has {found} for {what}")
ELEMENTS_ORDER = Mistake("elements-order", by_engine="takes the elements of {what} in another order: {found}")
STAGE_FUNCTION = Mistake("stage-function", by_engine="applies {found} to {what}")
STAGE_CLIPPED = Mistake(
    "stage-clipped",
    by_engine="clips {what} to +-{found}",
    numbers=(1.0, 3.0, 6.0, 10.0, 50.0, 100.0),
)
STAGE_LATE = Mistake("stage-late", by_engine="takes {what} from {found}")
ATTENDING = Mistake("attending", by_engine="attends {found}")
TOKENS_READ = Mistake("tokens-read", by_engine="reads {found}")
POSITIONS = Mistake("positions", by_engine="rotates {what} by another position: {found}")
PART_MISSING = Mistake("part-missing", by_engine="has zeros for {found} of {what}")
PART_LEFT = Mistake("part-left", by_engine="leaves {found} of {what} as they were: {before}")
HEAD_NORM = Mistake("head-norm", by_engine="{found}, which this model does not")
LOGITS_CONSTANT = Mistake("logits-constant", by_engine="gives {value} as the logit of {which}")
LOGITS_PARTLY_OFFSET = Mistake("logits-partly-offset", by_engine="adds {value} to the logit of {which}")
LOGITS_PARTLY_SCALED = Mistake(
    "logits-partly-scaled", by_engine="multiplies the logits of tokens {which} by {factor:g}, but not those of others"
)
LOGITS_OF_OTHERS = Mistake("logits-of-others", by_engine="gives tokens {which} the logits of {others}")
LOGITS_OF_POSITIONS = Mistake("logits-of-positions", by_engine="gives positions {which} the logits of {others}")
ROPE_OF_HEADS = Mistake("rope-of-heads", by_engine="rotates {what} {found}")
ROPE_NARROWED = Mistake("rope-narrowed", by_engine="rounds the {what} of RoPE to {found}")
QK_NORM_OF_HEADS = Mistake("qk-norm-of-heads", by_engine="normalises {what} {found}")
SCORES_OF_HEADS = Mistake("scores-of-heads", by_engine="scales attention scores {found}")
STEPS_ORDER = Mistake("steps-order", by_engine="computes {what} by {found} instead of {expected}")
CAP_BEFORE_SCALE = Mistake(
    "cap-before-scale", by_engine="caps attention scores before it scales them instead of after"
)
IN_PLACE = Mistake(
    "in-place", by_engine="writes each row's product with {matrix} over {read}, which later rows still read"
)
SCALE_PLACE = Mistake("scale-place", by_engine="multiplies each group of weights of {what} by the scale of {found}")
WEIGHTS_READ = Mistake("weights-read", by_engine="reads the int8 weights of {what} {found}")
INT8_SUMS = Mistake("int8-sums", by_engine="holds sums of int8 products in {found}")
STAGE_SCALED = Mistake("stage-scaled", by_engine="multiplies {what} by {factor:.8g}")
STAGE_NARROWED = Mistake("stage-narrowed", by_engine="rounds {what} to {found}")

# ---- what models do beyond Llama ----

QK_NORM_MISSING = Mistake("qk-norm-missing", by_engine="does not normalise queries and keys")
QK_NORM_WIDTH = Mistake("qk-norm-width", by_engine="normalises queries and keys over {found} instead of {expected}")
NORM_ONE_MISSING = Mistake(
    "norm-one-missing", by_engine="multiplies by the weights of the norms instead of 1 + the weights"
)
NORM_ONE_TWICE = Mistake("norm-one-twice", by_engine="adds 1 to the weights of {what} twice")
NORM_PLACE = Mistake("norm-place", by_engine="applies the norms of layers {what}")
ROPE_WHOLE_HEAD = Mistake(
    "rope-whole-head", by_engine="rotates all {head_dim} elements of each head instead of the first {expected}"
)
ROPE_ADDED = Mistake("rope-added", by_engine="applies RoPE in layers that have none")
ROPE_OF_LAYERS = Mistake("rope-of-layers", by_engine="computes RoPE with {found} in {which}")
ROPE_FACTORS = Mistake("rope-factors", by_engine="divides RoPE's frequencies by {found} instead of the short factors")
ATTENTION_FACTOR_MISSING = Mistake(
    "attention-factor-missing", by_engine="does not multiply sines and cosines by {expected}"
)
QUERY_SCALE_MISSING = Mistake("query-scale-missing", by_engine="does not scale queries by their position")
WINDOW_OFF = Mistake("window-off", by_engine="attends to {found} positions in windowed layers instead of {expected}")
WINDOW_IGNORED = Mistake("window-ignored", by_engine="ignores the window of {count} positions")
WINDOW_EVERYWHERE = Mistake("window-everywhere", by_engine="applies the window of {count} positions in every layer")
WINDOW_LAYERS = Mistake("window-layers", by_engine="applies the window of {count} positions in {found}")
WINDOW_BLOCKS = Mistake(
    "window-blocks", by_engine="attends in windowed layers only within each block of {count} positions"
)
CAP_FORMULA = Mistake("cap-formula", by_engine="computes {found} instead of {cap} * tanh(score / {cap})")
EMBEDDING_SCALE = Mistake("embedding-scale", by_engine="multiplies embeddings by {found} instead of {expected}")
SCORE_SCALE_IGNORED = Mistake(
    "score-scale-ignored", by_engine="divides scores by sqrt(head_dim) instead of multiplying them by {expected}"
)
RESIDUAL_SCALE_MISSING = Mistake(
    "residual-scale-missing", by_engine="does not multiply by {expected} what a layer adds to the residual stream"
)
LOGIT_DIVISOR = Mistake("logit-divisor", by_engine="{found} the divisor of the logits, {divisor}")
EXPERTS_NORMALIZED = Mistake(
    "experts-normalized", by_engine="{found} the shares of the chosen experts by their sum{more}"
)
EXPERTS_CHOSEN = Mistake("experts-chosen", by_engine="chooses {found} experts at each position instead of {expected}")
EXPERTS_ORDER = Mistake("experts-order", by_engine="multiplies by the matrices of {found} instead of the chosen ones")
EXPERTS_ROUTED = Mistake("experts-routed", by_engine="routes each position {found}")
EXPERTS_SHARES = Mistake(
    "experts-shares", by_engine="multiplies what the chosen experts give by {found} instead of their shares"
)
EXPERTS_INPUTS = Mistake(
    "experts-inputs", by_engine="multiplies what experts read by their shares, instead of what they give"
)
CAP_MISSING = Mistake("cap-missing", by_engine="does not cap the {what} at {cap}")


def last_inputs(count: int) -> str:
    """Name the inputs that LAST_INPUTS_DROPPED omits, by their number."""
    return "the last input" if count == 1 else f"the last {count} inputs"
