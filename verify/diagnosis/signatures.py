"""The table of known mistakes that show within a tensor."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from verify.diagnosis import recipes as r
from verify.diagnosis.case import Case, Derivation
from verify.diagnosis.rows import half_split, heads_regrouped, interleaved, of_heads, rolled, then, transposed
from verify.sources import Hyperparameters


@dataclass(frozen=True)
class Signature:
    """name: short and stable. what: the sentence's end, after "<tensors> hold"; fields of Hyperparameters in braces.
    derivations: variants of one mistake. unknown: rows at a tensor's edge that the mistake leaves open."""

    name: str
    what: str
    derivations: tuple[Derivation, ...]
    unknown: int = 0

    def text(self, model: Hyperparameters) -> str:
        return self.what.format(**{field.name: getattr(model, field.name) for field in fields(model)})

    def explains(self, case: Case, name: str) -> bool:
        return any(case.explains(name, derive, self.unknown) for derive in self.derivations)


Q, K, V = "attention.wq", "attention.wk", "attention.wv"

_ORDERS = (
    Signature(
        "q-k-not-unpermuted",
        "the source's rows in Hugging Face's half-split order: they were never unpermuted",
        (of_heads(Q, lambda n, m: half_split(n, m.n_heads)), of_heads(K, lambda n, m: half_split(n, m.n_kv_heads))),
    ),
    Signature(
        "k-permuted-with-n-heads",
        "the source's rows permuted with n_heads = {n_heads} instead of n_kv_heads = {n_kv_heads}",
        (
            of_heads(K, lambda n, m: then(half_split(n, m.n_kv_heads), interleaved(n, m.n_heads))),
            of_heads(K, lambda n, m: half_split(n, m.n_heads)),
        ),
    ),
    Signature(
        "q-permuted-with-n-kv-heads",
        "the source's rows permuted with n_kv_heads = {n_kv_heads} instead of n_heads = {n_heads}",
        (
            of_heads(Q, lambda n, m: then(half_split(n, m.n_heads), interleaved(n, m.n_kv_heads))),
            of_heads(Q, lambda n, m: half_split(n, m.n_kv_heads)),
        ),
    ),
    Signature(
        "q-k-permuted-twice",
        "the source's rows unpermuted from Hugging Face's order although they were in llama2.c's already",
        (
            of_heads(Q, lambda n, m: interleaved(n, m.n_heads)),
            of_heads(K, lambda n, m: interleaved(n, m.n_kv_heads)),
        ),
    ),
    Signature(
        "q-k-permuted-backwards",
        "the source's rows permuted towards Hugging Face's half-split order instead of away from it",
        (
            of_heads(Q, lambda n, m: then(half_split(n, m.n_heads), half_split(n, m.n_heads))),
            of_heads(K, lambda n, m: then(half_split(n, m.n_kv_heads), half_split(n, m.n_kv_heads))),
        ),
    ),
    Signature(
        "v-permuted",
        "the source's rows permuted within heads as only q and k are",
        (
            of_heads(V, lambda n, m: interleaved(n, m.n_kv_heads)),
            of_heads(V, lambda n, m: half_split(n, m.n_kv_heads)),
        ),
    ),
    Signature(
        "query-heads-regrouped",
        "the source's heads in another order: those that share a key n_kv_heads = {n_kv_heads} apart",
        (of_heads(Q, heads_regrouped),),
    ),
    Signature("transposed", "the source's matrix transposed", (transposed,)),
    Signature("rows-rolled", "the source's rows (or elements) one place too far down", (rolled(1),), unknown=1),
    Signature("rows-rolled", "the source's rows (or elements) one place too far up", (rolled(-1),), unknown=1),
)

_ZEROS = (
    Signature(
        "zeros",
        "nothing but zeros",
        (
            r.changed("fp32", "fp16", "bf16", "int8", "scale", change=torch.zeros_like),
            r.changed("int8", change=torch.zeros_like),
        ),
    ),
    Signature("scales-zero", "the right int8, but scales of zero", (r.changed("scale", change=torch.zeros_like),)),
)

_PARTS = (
    Signature(
        "big-endian",
        "the right numbers in big-endian order of bytes",
        (r.changed("fp32", "fp16", "bf16", "scale", change=r.byte_swapped),),
    ),
    Signature("halves-mixed-up", "the bits of the other half precision than the file says", (r.other_half,)),
    Signature("int8-negated", "the right scales, but int8 of the other sign", (r.changed("int8", change=torch.neg),)),
    Signature(
        "int8-unsigned",
        "the right scales, but int8 stored as unsigned, 128 added",
        (r.changed("int8", change=lambda part: part ^ -128),),
    ),
    Signature(
        "scales-shifted-by-a-group",
        "the right int8, but scales one group off",
        (r.scales_moved(by_groups=1), r.scales_moved(by_groups=-1)),
        unknown=1,
    ),
    Signature(
        "scales-shifted-by-a-row",
        "the right int8, but scales one row of groups off",
        (r.scales_moved(by_rows=1), r.scales_moved(by_rows=-1)),
        unknown=1,
    ),
)

_RECIPES = (
    Signature(
        "scales-rounded-to-fp16",
        "scales rounded to fp16",
        (
            r.requantized(store=lambda scale: scale.half()),
            r.requantized(divide_by=lambda scale: scale.half().float(), store=lambda scale: scale.half()),
        ),
    ),
    Signature(
        "scales-rounded-to-bf16",
        "scales rounded to bf16",
        (
            r.requantized(store=lambda scale: scale.bfloat16()),
            r.requantized(divide_by=lambda scale: scale.bfloat16().float(), store=lambda scale: scale.bfloat16()),
        ),
    ),
    Signature(
        "halves-rounded-away-from-zero",
        "int8 whose halves are rounded away from zero instead of to even",
        (r.requantized(steps=r.away_from_zero), r.requantized(steps=r.half_added)),
    ),
    Signature(
        "halves-rounded-up",
        "int8 whose halves are rounded up instead of to even",
        (r.requantized(steps=r.upwards), r.requantized(steps=r.half_added_then_floor)),
    ),
    Signature(
        "rounded-down",
        "int8 rounded down (floor) instead of to the nearest",
        (r.requantized(steps=r.downwards, least=-128),),
    ),
    Signature(
        "rounded-towards-zero",
        "int8 cut off towards zero instead of rounded to the nearest",
        (r.requantized(steps=r.towards_zero),),
    ),
    Signature(
        "divided-by-128",
        "scales of the largest magnitude over 128 instead of 127",
        tuple(r.requantized(lambda peak: peak / 128, least=least) for least in (-127, -128)),
    ),
    Signature(
        "multiplied-by-reciprocal",
        "int8 multiplied by the scale's reciprocal instead of divided by the scale",
        (
            r.requantized(steps=r.by_reciprocal),
            r.requantized(steps=r.by_reciprocal_away),
        ),
    ),
    Signature("quantized-in-double", "int8 and scales computed in float64 instead of float32", (r.in_double,)),
    Signature("one-scale-a-row", "scales of a whole row instead of a group", (r.requantized(peak_of=r.of_row),)),
    Signature("one-scale", "one scale for the whole tensor", (r.requantized(peak_of=r.of_tensor),)),
    Signature(
        "scales-not-divided",
        "the right int8, but the largest magnitude of each group for a scale",
        (r.requantized(r.same, divide_by=r.by_127),),
    ),
    Signature(
        "scales-inverted", "the right int8, but each scale's reciprocal", (r.requantized(store=torch.reciprocal),)
    ),
)

_ON_THE_WAY = (
    Signature("rounded-to-bf16", "the source's values rounded to bf16", (r.on_the_way(torch.Tensor.bfloat16),)),
    Signature("rounded-to-fp16", "the source's values rounded to fp16", (r.on_the_way(torch.Tensor.half),)),
    Signature("cut-to-bf16", "the source's values cut off to bf16, not rounded", (r.on_the_way(r.cut_to_bf16),)),
    Signature("cut-to-fp16", "the source's values cut off to fp16, not rounded", (r.on_the_way(r.cut_to_fp16),)),
    Signature(
        "quantized-on-the-way",
        "the source's values after a quantization to Q8_0",
        tuple(map(r.through_q8, (32, 64, 128))),
    ),
)

# In the order in which they are tried: where two give the same bits, the first is the likelier one.
SIGNATURES = (*_ZEROS, *_ORDERS, *_PARTS, *_RECIPES, *_ON_THE_WAY)
