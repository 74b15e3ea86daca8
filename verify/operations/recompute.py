"""Recompute the operations of a recorded pass in float64, each from the numbers that it read.

The recorded result of an operation may differ from this only by the operation's own roundings, so errors do not add
up with depth. The weights are derived from the source by the verifier; only the recorded inputs come from the engine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import reader_c
from verify.operations import bounds, expected_points, switch_bounds
from verify.operations.attention import Recorded, judge_attention, judge_query_scale, judge_rotation, judge_tables
from verify.operations.comparison import Comparison, replayed, rows_in_cache, same
from verify.operations.experts import judge_routed, judge_sum, recorded_choice
from verify.operations.int8 import Replay, judge_steps
from verify.oracle import llama
from verify.sources import Hyperparameters
from verify.system.prefetch import ahead
from verify.system.pulse import BOUNDED, pulse

Load = Callable[[str], torch.Tensor]
Quantized = Callable[[str], tuple[torch.Tensor, torch.Tensor] | None]

# Elements of a product that are judged at a time, because those of a classifier are too many to hold in float64.
_BLOCK = 1 << 21
# The same for a product that is added group by group, where the sums should fit into a core's cache.
_REPLAYED_BLOCK = 1 << 17


@dataclass(frozen=True)
class Recompute:
    """Recomputes the operations of an engine.

    weights: float32, by which an engine with float activations multiplies. quantized: (int8, scale) of a matrix that
    the file stores as Q8_0, used if activations are "q8". Recorded tensors are (windows, length, ...).
    """

    hyper: Hyperparameters
    weights: Load
    quantized: Quantized
    activations: reader_c.Activations
    arithmetic: reader_c.Arithmetic

    def embedding(self, at: Recorded, tokens: torch.Tensor) -> Iterator[Comparison]:
        """Compare the embeddings of tokens (windows, length)."""
        rows, scale = self.weights("tok_embeddings.weight")[tokens], self.hyper.embedding_scale
        name = "tok_embeddings.weight"
        if scale == 1:
            yield same("embedding", at["embedding"], rows, tensor=name)
            return
        exact = rows.double() * scale
        bound = switch_bounds.scaled(exact, scale)
        yield Comparison("embedding", at["embedding"].double(), exact, bound, tensor=name)
        yield replayed("embedding", at["embedding"], rows * _single(scale), tensor=name)

    def layer(self, number: int, at: Recorded, x: torch.Tensor) -> Iterator[Comparison]:
        """Compare every operation of a layer. x: the residual stream that the layer read, float32."""
        prefix, hyper, kind = f"layers.{number}.", self.hyper, self.hyper.layer(number)
        at = expected_points.of_layer(hyper, kind, at, x)
        if kind.rope != "none":
            yield from judge_tables(hyper, kind, at)
        h = x if hyper.norm_place == "after" else at["attention_norm"]
        if hyper.norm_place != "after":
            yield self._norm("attention_norm", at, x, f"{prefix}attention_norm.weight")
        for name in "qkv":
            tensor = f"{prefix}attention.w{name}"
            yield from self._product(name, at, h, tensor, biased=hyper.qkv_bias)
        for name in "qk":
            if hyper.qk_norm != "none":
                yield self._head_norm(name, at, f"{prefix}attention.{name}_norm.weight")
        for name in "qk":
            if kind.rope != "none":
                yield judge_rotation(hyper, name, at)
        if hyper.query_scale_beta:
            yield judge_query_scale(hyper, at)
        yield from judge_attention(hyper, kind, at, self.arithmetic)
        yield from self._product("wo", at, at["attended"], f"{prefix}attention.wo", biased=hyper.wo_bias)
        yield from self._added("attention", "wo", at, x, prefix)
        x = at["attention_residual"]
        h = x if hyper.norm_place == "after" else at["ffn_norm"]
        if hyper.norm_place != "after":
            yield self._norm("ffn_norm", at, x, f"{prefix}ffn_norm.weight")
        if kind.experts:
            yield from self._experts(at, h, f"{prefix}feed_forward.")
        else:
            yield from self._feed_forward(at, h, f"{prefix}feed_forward.")
        yield from self._added("ffn", "down", at, x, prefix)

    def _feed_forward(self, at: Recorded, h: torch.Tensor, prefix: str) -> Iterator[Comparison]:
        """Compare a feed forward without experts. h: what it read."""
        for name, tensor in (("gate", "w1"), ("up", "w3")):
            yield from self._product(name, at, h, f"{prefix}{tensor}", biased=self.hyper.mlp_bias)
        yield self._gated(at)
        yield from self._product("down", at, at["gated"], f"{prefix}w2", biased=self.hyper.mlp_bias)

    def _experts(self, at: Recorded, h: torch.Tensor, prefix: str) -> Iterator[Comparison]:
        """Compare a mixture of experts. h: what it read."""
        yield from self._product("router", at, h, f"{prefix}router", biased=False)
        yield judge_routed(self.hyper, at)
        chosen = recorded_choice(self.hyper, at["routed"])
        slots = h.unsqueeze(2).expand(*chosen.shape, -1)
        yield from self._slots("expert_gate", at, slots, chosen, f"{prefix}experts.{{expert}}.w1.weight")
        yield from self._slots("expert_up", at, slots, chosen, f"{prefix}experts.{{expert}}.w3.weight")
        yield self._gated(at, "expert_")
        slots = at["expert_gated"].unflatten(-1, (chosen.shape[-1], -1))
        yield from self._slots("expert_down", at, slots, chosen, f"{prefix}experts.{{expert}}.w2.weight")
        yield judge_sum(at, chosen)

    def classifier(self, at: Recorded, x: torch.Tensor) -> Iterator[Comparison]:
        """Compare the last norm and the logits. x: the residual stream after the last layer."""
        at = expected_points.of_classifier(self.hyper, at)
        yield self._norm("final_norm", at, x, "norm.weight")
        name = llama.classifier(self.hyper).removesuffix(".weight")
        if self.hyper.logit_divisor == 1 and not self.hyper.logit_cap:
            yield from self._product("logits", at, at["final_norm"], name, biased=False)
            return
        yield from self._product("classified", at, at["final_norm"], name, biased=False, int8="logits")
        yield from self._finished(at)

    # ---- one kind of operation each ----

    def _norm(self, operation: str, at: Recorded, x: torch.Tensor, tensor: str) -> Comparison:
        exact, bound = self._normed(x, tensor)
        return Comparison(operation, at[operation].double(), exact, bound, tensor=tensor)

    def _head_norm(self, name: str, at: Recorded, tensor: str) -> Comparison:
        """Compare the norm of each head of "q" or "k", or of all heads together."""
        operation, x = f"{name}_normed", at[name]
        if self.hyper.qk_norm == "head":
            x = x.unflatten(-1, (-1, self.hyper.head_dim))
        exact, bound = (side.flatten(2) for side in self._normed(x, tensor))
        return Comparison(operation, at[operation].double(), exact, bound, tensor=tensor)

    def _normed(self, x: torch.Tensor, tensor: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return RMSNorm of the last axis of x, and its bound."""
        x, factor = x.double(), self.weights(tensor).double() + self.hyper.norm_plus_one
        eps = _single(self.hyper.norm_eps)
        mean_square = x.square().mean(dim=-1, keepdim=True)
        exact = factor * (x * torch.rsqrt(mean_square + eps))
        plus_one = self.hyper.norm_plus_one
        return exact, bounds.rms_norm(exact, factor, mean_square, eps, x.shape[-1], plus_one=plus_one)

    def _added(self, block: str, product: str, at: Recorded, x: torch.Tensor, prefix: str) -> Iterator[Comparison]:
        """Compare the norm after a block and the sum with the stream x before it."""
        scale, operation, y = self.hyper.residual_scale, f"{block}_residual", at[product]
        if self.hyper.norm_place != "before":
            name = f"{block}_post_norm"
            yield self._norm(name, at, y, f"{prefix}{name}.weight")
            y = at[name]
        if scale == 1:
            yield same(operation, at[operation], x + y)
            return
        part = y.double() * scale
        exact = x.double() + part
        bound = bounds.biased(switch_bounds.scaled(part, scale), exact)
        yield Comparison(operation, at[operation].double(), exact, bound)
        yield replayed(operation, at[operation], x + y * _single(scale))

    def _finished(self, at: Recorded) -> Iterator[Comparison]:
        """Compare what a divisor and a cap make of the classifier's product."""
        read, out = at["classified"], at["logits"]
        rows = max(1, _BLOCK // read.shape[:-1].numel())
        for first in range(0, read.shape[-1], rows):
            part = slice(first, first + rows)
            divided = read[..., part].double() / self.hyper.logit_divisor
            exact, bound = divided, switch_bounds.divided(divided, self.hyper.logit_divisor)
            if cap := self.hyper.logit_cap:
                exact = cap * torch.tanh(divided / cap)
                bound = switch_bounds.capped(exact, divided, cap, self.arithmetic, self.hyper.logit_divisor)
            yield Comparison("logits", out[..., part].double(), exact, bound, first)

    def _product(
        self, operation: str, at: Recorded, x: torch.Tensor, name: str, *, biased: bool, int8: str = ""
    ) -> Iterator[Comparison]:
        """Compare a product. int8: under which name its int8 activations are recorded, if not the operation's."""
        tensor = f"{name}.weight"
        bias = self.weights(f"{name}.bias") if biased else None
        stored = self.quantized(tensor) if self.activations == "q8" else None
        flat, out = x.flatten(0, 1), at[operation].flatten(0, 1)
        replay = None
        if stored is not None:
            int8 = int8 or operation
            scale, steps = at[f"{int8} scale"], at[f"{int8} int8"]
            yield from judge_steps(int8, x, steps, scale)
            replay = Replay(steps.flatten(0, 1), scale.flatten(0, 1), stored)
        weights = self.weights(tensor) if stored is None else stored[0]
        wide, magnitude = flat.double(), flat.abs()
        rows = max(1, (_BLOCK if replay is None else _REPLAYED_BLOCK) // len(flat))

        def judge(first: int) -> list[Comparison]:
            part, judged = slice(first, first + rows), []
            if replay is not None:
                bits, exact, bound = replay.judge(part, bias)
                judged.append(replayed(operation, at[operation][..., part], bits, first, tensor))
            else:
                w = weights[part]
                exact = wide @ w.double().T
                bound = _bound_of_product(magnitude @ w.abs().T, w.shape[1], self.arithmetic)
            if bias is not None:
                exact = exact + bias[part].double()
                bound = bounds.biased(bound, exact)
            found, exact, bound = (one.unflatten(0, x.shape[:-1]) for one in (out[:, part], exact, bound))
            return [*judged, Comparison(operation, found, exact, bound, first, inputs=x, tensor=tensor)]

        firsts = range(0, len(weights), rows)
        # one product of doubles already uses all threads; the many small steps of a replay do not
        for judged in ahead(judge, firsts, 1 if replay is None else torch.get_num_threads()):
            yield from judged
            pulse(BOUNDED * flat.numel() * len(weights) / len(firsts))

    def _slots(
        self, operation: str, at: Recorded, x: torch.Tensor, chosen: torch.Tensor, tensor: str
    ) -> Iterator[Comparison]:
        """Compare products with the matrices of chosen experts. x: (windows, length, slots, in_features). tensor:
        their name, with a field for the expert."""
        first = tensor.format(expert=0)
        as_int8 = self.activations == "q8" and self.quantized(first) is not None
        if as_int8:
            scale, steps = at[f"{operation} scale"], at[f"{operation} int8"]
            # of another number of experts, the operation itself is NaN
            as_int8 = steps.shape[-1] == x.shape[2:].numel()
        if as_int8:
            yield from judge_steps(operation, x.flatten(2), steps, scale)
        shape = (*chosen.shape, at[operation].shape[-1] // chosen.shape[-1])
        exact, bound, bits = (
            torch.zeros(shape, dtype=dtype) for dtype in (torch.float64, torch.float64, torch.float32)
        )
        for expert in chosen.unique().tolist():
            name, mine = tensor.format(expert=expert), chosen == expert
            if as_int8:
                stored = self.quantized(name)
                assert stored is not None  # as all experts of a layer are
                read, scales = (side.unflatten(-1, (chosen.shape[-1], -1))[mine] for side in (steps, scale))
                bits[mine], exact[mine], bound[mine] = Replay(read, scales, stored).judge(slice(None), None)
                continue
            weights, read = self.weights(name), x[mine]
            exact[mine] = read.double() @ weights.double().T
            magnitudes = read.abs() @ weights.abs().T
            bound[mine] = _bound_of_product(magnitudes, weights.shape[1], self.arithmetic)
        pulse(BOUNDED * x.numel() * shape[-1])
        if as_int8:
            yield dataclasses.replace(
                replayed(operation, at[operation], bits.flatten(2), tensor=tensor), slots=chosen
            )
        found = at[operation].double()
        yield Comparison(operation, found, exact.flatten(2), bound.flatten(2), inputs=x, tensor=tensor, slots=chosen)

    def _gated(self, at: Recorded, of: str = "") -> Comparison:
        """Compare gates times activations. of: "expert_" for those of experts."""
        gate, up = at[f"{of}gate"].double(), at[f"{of}up"].double()
        exact = _activated(gate, self.hyper.activation) * up
        bound = bounds.gated(exact, gate, up, self.hyper.activation)
        return Comparison(f"{of}gated", at[f"{of}gated"].double(), exact, bound)


def _single(number: float) -> float:
    """Return a number as engines hold it, in float32."""
    return torch.tensor(number, dtype=torch.float32).item()


def _bound_of_product(magnitudes: torch.Tensor, terms: int, arithmetic: reader_c.Arithmetic) -> torch.Tensor:
    """Bound a product of so many terms. magnitudes: of each (tokens, rows), from a float32 product."""
    # the terms are positive, so the relative error of a float32 product is a gamma
    above = 1 + 2 * bounds.gamma(terms)
    bound = torch.empty(magnitudes.shape, dtype=torch.float64)
    for rows in rows_in_cache(magnitudes):
        bound[rows] = bounds.product(magnitudes[rows].double().mul_(above), terms, arithmetic)
    return bound


def _activated(gate: torch.Tensor, activation: str) -> torch.Tensor:
    """Compute silu, gelu or gelu_tanh without cancellation near 0, which 1 + erf and 1 + tanh would have."""
    if activation == "gelu":
        return gate / 2 * torch.erfc(-gate * math.sqrt(0.5))
    inner = gate
    if activation == "gelu_tanh":
        inner = 2 * math.sqrt(2 / math.pi) * (gate + 0.044715 * gate * gate * gate)
    return gate * torch.sigmoid(inner)
