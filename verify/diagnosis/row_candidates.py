"""Propose mistakes with whole rows: with norms, gates, residual sums, embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.candidate import Candidate, with_hyper
from verify.diagnosis.stage import Stage
from verify.operations.recompute import Recompute


def of_norms(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose 1 added to the weights, and other epsilons of RMSNorm."""
    if not operation.endswith(("norm", "_normed")):
        return
    mistake, plain = m.NORM_ONE_TWICE if recompute.hyper.norm_plus_one else m.NORM_PLUS_ONE, recompute.weights
    added = dataclasses.replace(recompute, weights=lambda name: plain(name) + name.endswith("norm.weight"))
    yield Candidate(mistake, mistake.of_engine(what=operation), stage, added)
    expected = recompute.hyper.norm_eps
    for eps in (*m.NORM_EPS.numbers, *_fitted_epsilon(recompute, stage, operation)):
        if eps != expected:
            sentence = m.NORM_EPS.of_engine(found=eps, expected=expected)
            yield Candidate(m.NORM_EPS, sentence, stage, with_hyper(recompute, norm_eps=eps))


def _fitted_epsilon(recompute: Recompute, stage: Stage, operation: str) -> Iterator[float]:
    """Compute epsilon from the largest output of the quietest position, where it matters most."""
    if operation.endswith("_normed") or recompute.hyper.norm_plus_one:
        return
    judged = next(found for found in stage.judge(recompute) if found.operation == operation)
    reads = {"ffn_norm": "attention_residual", "attention_post_norm": "wo", "ffn_post_norm": "down"}
    x = stage.at[reads[operation]] if operation in reads else stage.x
    flat = x.double().flatten(0, 1)
    mean_square = flat.square().mean(-1)
    row = int(mean_square.argmin())
    out = judged.out.flatten(0, 1)[row]
    column = int(out.abs().argmax())
    numerator = float(recompute.weights(judged.tensor)[column]) * float(flat[row, column])
    found = (numerator / float(out[column])) ** 2 - float(mean_square[row]) if out[column] else 0.0
    if found > 0:
        yield float(f"{found:.2g}")


def of_gates(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other activations, and gate and up swapped."""
    if operation not in ("gated", "expert_gated"):
        return
    expected = recompute.hyper.activation
    for activation in m.ACTIVATION.words:
        if activation != expected:
            sentence = m.ACTIVATION.of_engine(found=activation, expected=expected)
            yield Candidate(m.ACTIVATION, sentence, stage, with_hyper(recompute, activation=activation))
    gate, up = (operation.replace("gated", name) for name in ("gate", "up"))
    swapped = stage.with_recorded(**{gate: stage.at[up], up: stage.at[gate]})
    yield Candidate(m.GATE_UP_SWAPPED, m.GATE_UP_SWAPPED.of_engine(), swapped, recompute)


def of_sums(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose residual sums without one of their two terms."""
    if not operation.endswith("_residual"):
        return
    at = stage.at
    block, added, before = "attention", "wo", stage.x
    if operation == "ffn_residual":
        block, added, before = "ffn", "down", at["attention_residual"]
    added = f"{block}_post_norm" if f"{block}_post_norm" in at else added
    nothing = stage.with_recorded(**{added: torch.zeros_like(at[added])})
    yield Candidate(m.RESIDUAL, m.RESIDUAL.of_engine(what=f"{added}'s result"), nothing, recompute)
    alone = stage.with_recorded(**{operation: before + at[operation]})
    yield Candidate(m.RESIDUAL, m.RESIDUAL.of_engine(what="the stream before it"), alone, recompute)


def of_embeddings(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose the embedding of the next or the previous token."""
    if operation != "embedding":
        return
    for by, side in ((1, "after"), (-1, "before")):
        tokens = (stage.tokens + by) % recompute.hyper.vocab_size
        sentence = m.ROWS_SHIFTED.of_engine(tensor="tok_embeddings.weight", side=side)
        yield Candidate(m.ROWS_SHIFTED, sentence, dataclasses.replace(stage, tokens=tokens), recompute)
