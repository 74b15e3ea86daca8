"""Recompute the operations of a recorded pass in float64, each from the numbers that it read.

The recorded result of an operation may differ from this only by the operation's own roundings, so errors do not add
up with depth. The weights are derived from the source by the verifier; only the recorded inputs come from the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import reader_c
from verify.operations import bounds
from verify.operations.comparison import Comparison, replayed, rows_in_cache, same
from verify.operations.int8 import Replay, judge_steps
from verify.operations.rope_tables import rope_tables
from verify.oracle import llama
from verify.sources import Hyperparameters
from verify.system.prefetch import ahead
from verify.system.pulse import BOUNDED, pulse

Recorded = dict[str, torch.Tensor]
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
        exact = self.weights("tok_embeddings.weight")[tokens]
        yield same("embedding", at["embedding"], exact, tensor="tok_embeddings.weight")

    def layer(self, number: int, at: Recorded, x: torch.Tensor) -> Iterator[Comparison]:
        """Compare every operation of a layer. x: the residual stream that the layer read, float32."""
        prefix, hyper = f"layers.{number}.", self.hyper
        yield from self._rope(at)
        yield self._norm("attention_norm", at, x, f"{prefix}attention_norm.weight")
        for name in "qkv":
            tensor = f"{prefix}attention.w{name}"
            yield from self._product(name, at, at["attention_norm"], tensor, biased=hyper.qkv_bias)
        yield self._rotated("q", at)
        yield self._rotated("k", at)
        yield from self._attention(at)
        yield from self._product("wo", at, at["attended"], f"{prefix}attention.wo", biased=hyper.wo_bias)
        yield same("attention_residual", at["attention_residual"], x + at["wo"])
        yield self._norm("ffn_norm", at, at["attention_residual"], f"{prefix}ffn_norm.weight")
        for name, tensor in (("gate", f"{prefix}feed_forward.w1"), ("up", f"{prefix}feed_forward.w3")):
            yield from self._product(name, at, at["ffn_norm"], tensor, biased=hyper.mlp_bias)
        yield self._gated(at)
        yield from self._product("down", at, at["gated"], f"{prefix}feed_forward.w2", biased=hyper.mlp_bias)
        yield same("ffn_residual", at["ffn_residual"], at["attention_residual"] + at["down"])

    def classifier(self, at: Recorded, x: torch.Tensor) -> Iterator[Comparison]:
        """Compare the last norm and the logits. x: the residual stream after the last layer."""
        yield self._norm("final_norm", at, x, "norm.weight")
        name = llama.classifier(self.hyper).removesuffix(".weight")
        yield from self._product("logits", at, at["final_norm"], name, biased=False)

    # ---- one kind of operation each ----

    def _norm(self, operation: str, at: Recorded, x: torch.Tensor, tensor: str) -> Comparison:
        x, weight = x.double(), self.weights(tensor).double()
        eps = torch.tensor(self.hyper.norm_eps, dtype=torch.float32).item()
        mean_square = x.square().mean(dim=-1, keepdim=True)
        exact = weight * (x * torch.rsqrt(mean_square + eps))
        bound = bounds.rms_norm(exact, weight, mean_square, eps, self.hyper.dim)
        return Comparison(operation, at[operation].double(), exact, bound, tensor=tensor)

    def _product(
        self, operation: str, at: Recorded, x: torch.Tensor, name: str, *, biased: bool
    ) -> Iterator[Comparison]:
        tensor = f"{name}.weight"
        bias = self.weights(f"{name}.bias") if biased else None
        stored = self.quantized(tensor) if self.activations == "q8" else None
        flat, out = x.flatten(0, 1), at[operation].flatten(0, 1)
        replay = None
        if stored is not None:
            scale, steps = at[f"{operation} scale"], at[f"{operation} int8"]
            yield from judge_steps(operation, x, steps, scale)
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

    def _rope(self, at: Recorded) -> Iterator[Comparison]:
        for name, table in zip(("cosine", "sine"), rope_tables(self.hyper, at["cosine"].shape[1]), strict=True):
            out = at[name].double()
            yield Comparison(name, out, table.exact.expand_as(out), table.bound.expand_as(out))

    def _rotated(self, name: str, at: Recorded) -> Comparison:
        """Compare a rotation by the recorded table; errors of the table itself are judged with the table."""
        pairs = at[name].double().unflatten(-1, (-1, self.hyper.head_dim // 2, 2))
        even, odd = pairs.unbind(-1)
        cosine, sine = (at[table].double().unsqueeze(2) for table in ("cosine", "sine"))
        exact = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
        sizes = torch.stack(
            ((even * cosine).abs() + (odd * sine).abs(), (even * sine).abs() + (odd * cosine).abs()), -1
        )
        operation = f"{name}_rotated"
        bound = bounds.rotation(sizes).flatten(2)
        return Comparison(operation, at[operation].double(), exact.flatten(2), bound)

    def _attention(self, at: Recorded) -> Iterator[Comparison]:
        """Compare attention one window at a time, because scores have length^2 elements for each head."""
        names = ("scores", "shares", "attended")
        exact, bound = ({name: torch.empty(at[name].shape, dtype=torch.float64) for name in names} for _ in range(2))
        for window in range(len(at["q"])):
            # (heads, length, head_dim)
            q, k, v = (
                at[name][window].double().unflatten(-1, (-1, self.hyper.head_dim)).transpose(0, 1)
                for name in ("q_rotated", "k_rotated", "v")
            )
            k, v = (part.repeat_interleave(self.hyper.n_heads // self.hyper.n_kv_heads, dim=0) for part in (k, v))
            of_window = [{name: side[name][window] for name in names} for side in (at, exact, bound)]
            self._attend(of_window, q, k, v)
        for name in names:
            yield Comparison(name, at[name], exact[name], bound[name])

    def _attend(self, sides: list[Recorded], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Compute what one window's attention should have, and its bounds.

        sides: what was recorded, then what is computed: exact, bound. q, k, v: (heads, length, head_dim).
        """
        at, exact, bound = sides
        length, root = q.shape[1], math.sqrt(self.hyper.head_dim)
        counts = torch.arange(1, length + 1)[:, None, None]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)[:, None, :]
        products, sizes = q @ k.mT, q.abs() @ k.abs().mT
        shares = at["shares"].double().transpose(0, 1)
        mixed, mixed_sizes = shares @ v, shares @ v.abs()
        for rows in rows_in_cache(at["scores"]):
            later, seen = future[rows], counts[rows]
            exact["scores"][rows] = (products[:, rows].transpose(0, 1) / root).masked_fill_(later, 0)
            magnitudes = sizes[:, rows].transpose(0, 1) / root
            bound["scores"][rows] = bounds.score(magnitudes, self.hyper.head_dim).masked_fill_(later, 0)
            scores = at["scores"][rows].double()
            exact["shares"][rows] = torch.softmax(scores.masked_fill(later, -torch.inf), dim=-1)
            bound["shares"][rows] = bounds.softmax(exact["shares"][rows], scores, seen).masked_fill_(later, 0)
            exact["attended"][rows] = mixed[:, rows].transpose(0, 1).flatten(1)
            bound["attended"][rows] = bounds.mixture(mixed_sizes[:, rows].transpose(0, 1), seen).flatten(1)

    def _gated(self, at: Recorded) -> Comparison:
        gate, up = at["gate"].double(), at["up"].double()
        exact = _activated(gate, self.hyper.activation) * up
        bound = bounds.gated(exact, gate, up, self.hyper.activation)
        return Comparison("gated", at["gated"].double(), exact, bound)


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
