"""The table of known mistakes: every name is kept, and every sentence can be said."""

from __future__ import annotations

import re
from string import Formatter

from verify.diagnosis import engine_mistakes, mistakes
from verify.diagnosis.engine_mistakes import last_inputs
from verify.diagnosis.mistakes import Mistake

TABLE = {
    name: value
    for module in (mistakes, engine_mistakes)
    for name, value in vars(module).items()
    if isinstance(value, Mistake)
}

# Names that saved reports hold: in `diagnosis.signature` and `engine.hint_name`.
KEPT = [
    "activation",
    "activation-scaled",
    "another-checkpoint",
    "another-version",
    "attention-factor-missing",
    "attention-window",
    "bias-dropped",
    "biases-swapped",
    "big-endian",
    "bit-flipped",
    "bytes-displaced",
    "bytes-shifted",
    "cache-narrowed",
    "cap-missing",
    "classifier-is-embedding",
    "clipped",
    "constant",
    "cut-short",
    "cut-to-bf16",
    "cut-to-fp16",
    "direction-removed",
    "divided-by-128",
    "divided-by-another",
    "embedding-is-classifier",
    "embedding-scale",
    "embedding-scaled",
    "experts-chosen",
    "experts-in-another-order",
    "experts-normalized",
    "experts-order",
    "few-elements",
    "few-levels",
    "few-rows",
    "first-position",
    "fused-rows",
    "gate-and-up",
    "gate-up-interleaved",
    "gate-up-swapped",
    "groups-of-another-size",
    "groups-of-columns",
    "half-added-then-truncated",
    "half-missing",
    "halves-mixed-up",
    "halves-rounded-away-from-zero",
    "halves-rounded-up",
    "halves-swapped",
    "heads-layout",
    "heads-reordered",
    "int8-displaced",
    "int8-missing",
    "int8-negated",
    "int8-offset",
    "int8-rounding",
    "int8-transposed",
    "int8-unsigned",
    "k-permuted-with-n-heads",
    "kv-heads",
    "last-group",
    "last-inputs-dropped",
    "later-positions",
    "layer-missing",
    "layers-in-another-order",
    "layers-in-order-of-text",
    "layers-reversed",
    "layers-shifted",
    "layers-swapped",
    "logit-divisor",
    "logits-capped",
    "logits-exchanged",
    "logits-late",
    "logits-narrowed",
    "logits-normalised",
    "logits-offset",
    "logits-scaled",
    "low-rank-added",
    "magnitudes",
    "matrices-reversed",
    "multiplied-by-reciprocal",
    "narrowed",
    "no-known-mistake",
    "norm-before-missing",
    "norm-centred",
    "norm-eps",
    "norm-formula",
    "norm-mean",
    "norm-missing",
    "norm-one-missing",
    "norm-one-twice",
    "norm-place",
    "norm-plus-one",
    "norm-twice",
    "norm-weights",
    "normed-residual",
    "not-comparable",
    "offset",
    "one-embedding",
    "one-scale",
    "one-scale-a-row",
    "other-layer",
    "other-tensor",
    "own-position",
    "pairs-exchanged",
    "parallel-feed-forward",
    "permuted-with-other-heads",
    "pruned",
    "q-k-halved-twice",
    "q-k-left-in-pairs",
    "q-k-not-unpermuted",
    "q-k-permuted-backwards",
    "q-k-permuted-twice",
    "q-k-whole-heads-permuted",
    "q-permuted-with-n-kv-heads",
    "qk-norm-missing",
    "qk-norm-width",
    "quantized-in-double",
    "quantized-on-the-way",
    "query-heads-regrouped",
    "query-scale-missing",
    "reciprocals",
    "residual",
    "residual-scale-missing",
    "rope-added",
    "rope-backwards",
    "rope-factors",
    "rope-frequencies",
    "rope-half-split",
    "rope-missing",
    "rope-of-layers",
    "rope-on-values",
    "rope-partial",
    "rope-position",
    "rope-scaling-ignored",
    "rope-theta",
    "rope-whole-head",
    "rotated",
    "rounded-down",
    "rounded-to-bf16",
    "rounded-to-fp16",
    "rounded-to-fp8",
    "rounded-towards-zero",
    "rounded-up",
    "row-tails-zero",
    "rows-negated",
    "rows-normalized",
    "rows-reordered",
    "rows-rolled",
    "rows-scaled",
    "rows-shifted",
    "scaled",
    "scaled-and-offset",
    "scaled-by-norm",
    "scales-inverted",
    "scales-not-divided",
    "scales-of-another-tensor",
    "scales-rounded-to-bf16",
    "scales-rounded-to-fp16",
    "scales-shifted-by-a-group",
    "scales-shifted-by-a-row",
    "scales-squared",
    "scales-zero",
    "score-scale",
    "score-scale-ignored",
    "scores-capped",
    "scores-scaled",
    "shards-joined",
    "shared-cache",
    "signed-maximum",
    "signed-scales",
    "signs-differ",
    "square-roots",
    "squares",
    "stale-cache",
    "subnormals-flushed",
    "tables-scaled",
    "tables-shifted",
    "tables-swapped",
    "tensors-swapped",
    "tied-classifier",
    "tokens-late",
    "transposed",
    "unfilled-places",
    "unrelated-numbers",
    "v-permuted",
    "v1-v2-mixed-up",
    "values-of-another-tensor",
    "values-reordered",
    "values-zeroed",
    "weighted-average",
    "window-everywhere",
    "window-ignored",
    "window-off",
    "wo-missing",
    "zero-point-dropped",
    "zeros",
]


def test_every_name_is_kept() -> None:
    assert sorted({mistake.name for mistake in TABLE.values()}) == sorted(KEPT)


def test_a_name_is_one_mistake() -> None:
    twice = [mistake.name for mistake in TABLE.values()]
    # two sentences about the same mistake: one tensor of the layer, or any tensors; weights, or RoPE's tables
    twice.remove("values-of-another-tensor")
    twice.remove("no-known-mistake")
    assert len(twice) == len(set(twice))


def test_every_sentence_can_be_said() -> None:
    for mistake in TABLE.values():
        assert mistake.in_file or mistake.by_engine, mistake
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mistake.name)
        for template, said in ((mistake.in_file, mistake.of_file), (mistake.by_engine, mistake.of_engine)):
            fields = {field: 1.5 for _, field, _, _ in Formatter().parse(template) if field}
            text = said(**fields)
            assert "{" not in text
            assert not text.endswith(".")


def test_the_number_of_omitted_inputs_is_said_in_singular_and_plural() -> None:
    assert (last_inputs(1), last_inputs(8)) == ("the last input", "the last 8 inputs")
