"""List the known mistakes that show within one tensor, each with the derivations that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import torch

from verify.diagnosis import conversions as c
from verify.diagnosis import misread_mistakes as r
from verify.diagnosis import misreadings
from verify.diagnosis import mistakes as m
from verify.diagnosis import quantizers as q
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.column_groups import groups_of_columns, int8_transposed, largest_of_group
from verify.diagnosis.derivation import Derivation
from verify.diagnosis.row_orders import (
    half_split,
    heads_regrouped,
    interleaved,
    never_unpermuted,
    of_heads,
    pairs_exchanged,
    permuted_twice,
    rolled,
    shards_joined,
    then,
    transposed,
    whole_heads_permuted,
)
from verify.sources.row_order import is_halved


def _nothing(_compared: BitComparison, _names: Sequence[str]) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class TensorMistake:
    """Combines a mistake with its derivations, any of which may have happened.

    Two are equal if their sentences are, so that tensors with the same mistake are named together. unknown: rows at
    the tensor's edge for which the mistake gives no values. fields: for the sentence; measured: those of one tensor,
    which others need not have. ulps: how far a float may be from its derivation, where the mistake's own arithmetic
    is not known. seen: makes fields for the sentence of all tensors that have the mistake.
    """

    mistake: m.Mistake
    derivations: tuple[Derivation, ...] = field(compare=False)
    unknown: int = 0
    fields: tuple[tuple[str, str], ...] = ()
    ulps: int = 0
    measured: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    seen: Callable[[BitComparison, Sequence[str]], Mapping[str, object]] = field(default=_nothing, compare=False)

    def sentence(self, compared: BitComparison, names: Sequence[str]) -> str:
        """Say what the tensors hold."""
        fields: dict[str, object] = {**dict(self.fields + self.measured), **self.seen(compared, names)}
        return self.mistake.of_file(**asdict(compared.hyper) | fields)

    def explains(self, compared: BitComparison, name: str) -> bool:
        """Return whether the mistake gives every bit of the file's tensor, but for `ulps`."""
        return any(compared.explains(name, derive, self.unknown, self.ulps) for derive in self.derivations)


Q, K, V = "attention.wq", "attention.wk", "attention.wv"
QK_NORMS = ("attention.q_norm", "attention.k_norm")

_PAIRS = (
    TensorMistake(
        m.Q_K_NOT_UNPERMUTED,
        (
            of_heads(Q, lambda n, h: half_split(n, h.n_heads)),
            of_heads(K, lambda n, h: half_split(n, h.n_kv_heads)),
            *(of_heads(kind, never_unpermuted) for kind in (Q, K, *QK_NORMS)),
        ),
    ),
    TensorMistake(
        m.Q_K_WHOLE_HEADS_PERMUTED,
        tuple(of_heads(kind, whole_heads_permuted) for kind in (Q, K, *QK_NORMS)),
    ),
    TensorMistake(
        m.K_PERMUTED_WITH_N_HEADS,
        (
            of_heads(K, lambda n, h: then(half_split(n, h.n_kv_heads), interleaved(n, h.n_heads))),
            of_heads(K, lambda n, h: half_split(n, h.n_heads)),
        ),
    ),
    TensorMistake(
        m.Q_PERMUTED_WITH_N_KV_HEADS,
        (
            of_heads(Q, lambda n, h: then(half_split(n, h.n_heads), interleaved(n, h.n_kv_heads))),
            of_heads(Q, lambda n, h: half_split(n, h.n_kv_heads)),
        ),
    ),
    TensorMistake(
        m.Q_K_PERMUTED_TWICE,
        (
            of_heads(Q, lambda n, h: interleaved(n, h.n_heads)),
            of_heads(K, lambda n, h: interleaved(n, h.n_kv_heads)),
            *(of_heads(kind, permuted_twice) for kind in (Q, K, *QK_NORMS)),
        ),
    ),
    TensorMistake(
        m.Q_K_PERMUTED_BACKWARDS,
        (
            of_heads(Q, lambda n, h: then(half_split(n, h.n_heads), half_split(n, h.n_heads))),
            of_heads(K, lambda n, h: then(half_split(n, h.n_kv_heads), half_split(n, h.n_kv_heads))),
        ),
    ),
)

# The same of a file whose rows stand in halves: beside it, the source that it is compared with has that order.
_HALVES = (
    TensorMistake(m.Q_K_LEFT_IN_PAIRS, tuple(of_heads(kind, permuted_twice) for kind in (Q, K, *QK_NORMS))),
    TensorMistake(m.Q_K_HALVED_TWICE, tuple(of_heads(kind, never_unpermuted) for kind in (Q, K, *QK_NORMS))),
)

_ORDERS = (
    TensorMistake(m.PAIRS_EXCHANGED, tuple(of_heads(kind, pairs_exchanged) for kind in (Q, K, *QK_NORMS))),
    TensorMistake(
        m.V_PERMUTED,
        (
            of_heads(V, lambda n, h: interleaved(n, h.n_kv_heads)),
            of_heads(V, lambda n, h: half_split(n, h.n_kv_heads)),
        ),
    ),
    TensorMistake(m.QUERY_HEADS_REGROUPED, (of_heads(Q, heads_regrouped),)),
    TensorMistake(m.TRANSPOSED, (transposed,)),
    TensorMistake(m.ROWS_ROLLED, (rolled(1),), unknown=1, fields=(("direction", "down"),)),
    TensorMistake(m.ROWS_ROLLED, (rolled(-1),), unknown=1, fields=(("direction", "up"),)),
    *(
        TensorMistake(
            m.SHARDS_JOINED,
            (shards_joined(count, of_columns=of_columns),),
            fields=(("count", str(count)), ("split", split), ("joined", joined)),
        )
        for count in (2, 4, 8)
        for of_columns, split, joined in ((True, "columns", "rows"), (False, "rows", "columns"))
    ),
)

_ZEROS = (
    TensorMistake(
        m.ZEROS,
        (
            c.changed("fp32", "fp16", "bf16", "int8", "scale", change=torch.zeros_like),
            c.changed("int8", change=torch.zeros_like),
        ),
    ),
    TensorMistake(m.SCALES_ZERO, (c.changed("scale", change=torch.zeros_like),)),
)

_PARTS = (
    TensorMistake(m.BIG_ENDIAN, (c.changed("fp32", "fp16", "bf16", "scale", change=c.byte_swapped),)),
    TensorMistake(m.HALVES_MIXED_UP, (c.other_half,)),
    TensorMistake(m.INT8_NEGATED, (c.changed("int8", change=torch.neg),)),
    TensorMistake(m.INT8_UNSIGNED, (c.changed("int8", change=lambda part: part ^ -128),)),
    *(
        TensorMistake(
            m.INT8_DISPLACED,
            (q.int8_moved(by), q.int8_moved_in_rows(by)),
            unknown=1,
            fields=(("direction", direction),),
        )
        for by, direction in ((1, "late"), (-1, "early"))
    ),
    TensorMistake(m.INT8_TRANSPOSED, (int8_transposed,)),
    TensorMistake(
        m.SCALES_SHIFTED_BY_A_GROUP, (c.scales_moved(by_groups=1), c.scales_moved(by_groups=-1)), unknown=1
    ),
    TensorMistake(m.SCALES_SHIFTED_BY_A_ROW, (c.scales_moved(by_rows=1), c.scales_moved(by_rows=-1)), unknown=1),
)

_RECIPES = (
    TensorMistake(
        m.SCALES_ROUNDED_TO_FP16,
        (
            c.requantized(store=lambda scale: scale.half()),
            c.requantized(divide_by=lambda scale: scale.half().float(), store=lambda scale: scale.half()),
        ),
    ),
    TensorMistake(
        m.SCALES_ROUNDED_TO_BF16,
        (
            c.requantized(store=lambda scale: scale.bfloat16()),
            c.requantized(divide_by=lambda scale: scale.bfloat16().float(), store=lambda scale: scale.bfloat16()),
        ),
    ),
    TensorMistake(
        m.HALVES_ROUNDED_AWAY_FROM_ZERO, (c.requantized(steps=c.away_from_zero), c.requantized(steps=c.half_added))
    ),
    TensorMistake(
        m.HALVES_ROUNDED_UP, (c.requantized(steps=c.upwards), c.requantized(steps=c.half_added_then_floor))
    ),
    TensorMistake(m.ROUNDED_DOWN, tuple(c.requantized(steps=c.downwards, least=least) for least in (-128, -127))),
    TensorMistake(m.ROUNDED_UP, (c.requantized(steps=lambda weights, scale: (weights / scale).ceil()),)),
    TensorMistake(m.ROUNDED_TOWARDS_ZERO, (c.requantized(steps=c.towards_zero),)),
    TensorMistake(
        m.DIVIDED_BY_128, tuple(c.requantized(lambda peak: peak / 128, least=least) for least in (-127, -128))
    ),
    TensorMistake(
        m.MULTIPLIED_BY_RECIPROCAL, (c.requantized(steps=c.by_reciprocal), c.requantized(steps=c.by_reciprocal_away))
    ),
    TensorMistake(
        m.HALF_ADDED_THEN_TRUNCATED,
        tuple(c.requantized(steps=steps) for steps in (c.half_added_then_truncated, c.nearest_above_zero)),
    ),
    TensorMistake(m.ZERO_POINT_DROPPED, q.ZERO_POINTS),
    *(
        TensorMistake(m.SIGNED_SCALES, (q.signed_scales(divisor),), fields=(("divisor", str(divisor)),))
        for divisor in (-128, -127, 127)
    ),
    TensorMistake(
        m.SIGNED_MAXIMUM, tuple(c.requantized(peak_of=largest_of_group, least=least) for least in (-127, -128))
    ),
    TensorMistake(
        m.GROUPS_OF_COLUMNS, tuple(groups_of_columns(scales_transposed=turned) for turned in (False, True))
    ),
    TensorMistake(m.QUANTIZED_IN_DOUBLE, (c.in_double,)),
    TensorMistake(m.ONE_SCALE_A_ROW, (c.requantized(peak_of=c.of_row),)),
    TensorMistake(m.ONE_SCALE, (c.requantized(peak_of=c.of_tensor),)),
    TensorMistake(m.SCALES_NOT_DIVIDED, (c.requantized(c.same, divide_by=c.by_127),)),
    TensorMistake(m.SCALES_INVERTED, (c.requantized(store=torch.reciprocal),)),
    TensorMistake(m.SCALES_SQUARED, (c.requantized(store=torch.square),)),
)


def _rounded_again(compared: BitComparison, names: Sequence[str]) -> dict[str, str]:
    """Say which of the tensors their storage rounded to bf16 afterwards."""
    again = [compared.model.storage(name).storage == "bf16" for name in names]
    if not any(again):
        return {"again": ""}
    return {"again": ", then to bf16" if all(again) else ", those stored in bf16 then to bf16"}


_FP8 = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
_ON_THE_WAY = (
    TensorMistake(m.ROUNDED_TO_BF16, (c.on_the_way(torch.Tensor.bfloat16),)),
    TensorMistake(m.ROUNDED_TO_FP16, (c.on_the_way(torch.Tensor.half),), seen=_rounded_again),
    TensorMistake(m.SUBNORMALS_FLUSHED, tuple(map(c.flushed, (2.0**-14, 2.0**-126)))),
    TensorMistake(m.CUT_TO_BF16, (c.on_the_way(c.cut_to_bf16),)),
    TensorMistake(m.CUT_TO_FP16, (c.on_the_way(c.cut_to_fp16),)),
    *(
        TensorMistake(
            m.ROUNDED_TO_FP8, (c.on_the_way(partial(torch.Tensor.to, dtype=dtype)),), fields=(("which", which),)
        )
        for which, dtype in _FP8.items()
    ),
    *(
        TensorMistake(
            m.FP8_WITH_SCALES, (misreadings.fp8(dtype, peak),), fields=(("which", which), ("one", one)), ulps=1
        )
        for which, dtype in _FP8.items()
        for one, peak in misreadings.PEAKS.items()
    ),
    *(
        TensorMistake(
            r.FP8_UNSCALED,
            (misreadings.fp8(dtype, peak, applied),),
            fields=(("which", which), ("one", one), ("done", done)),
            ulps=1,
        )
        for which, dtype in _FP8.items()
        for one, peak in misreadings.PEAKS.items()
        for done, applied in misreadings.DONE.items()
    ),
    TensorMistake(m.QUANTIZED_ON_THE_WAY, tuple(map(c.through_q8, (32, 64, 128)))),
    *(
        TensorMistake(mistake, (derive,), fields=(("bits", bits), ("one", one)), ulps=1)
        for bits, one, scaled, unscaled in misreadings.levels()
        for mistake, derive in ((r.ROUNDED_TO_LEVELS, scaled), (r.LEVELS_UNSCALED, unscaled))
    ),
    *(
        TensorMistake(r.BITS_MISREAD, derivations, fields=(("right", right), ("wrong", wrong)))
        for right, wrong, derivations in misreadings.MISREADINGS
    ),
)

_OF_ANY_ORDER = (*_ORDERS, *_PARTS, *_RECIPES, *_ON_THE_WAY)
TENSOR_MISTAKES = (*_ZEROS, *_PAIRS, *_OF_ANY_ORDER)
_IN_HALVES = (*_ZEROS, *_HALVES, *_OF_ANY_ORDER)


def tensor_mistakes(file_format: str) -> tuple[TensorMistake, ...]:
    """Return the mistakes in the order in which they are tried.

    Of two that give the same bits, the likelier one comes first.
    """
    return _IN_HALVES if is_halved(file_format) else TENSOR_MISTAKES
