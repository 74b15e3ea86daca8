"""What an engine most likely did, from the first operation that is not what it should be.

Each known mistake is supposed, and the operation judged again as if it had been meant so: with another epsilon, other
weights, other heads. The mistake that puts it within its bound is the one that was made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from verify.diagnosis.result import Diagnosis
from verify.operations import bounds
from verify.operations.int8 import half_away, quotients
from verify.operations.judged import Judged
from verify.operations.recompute import Recompute, Recorded
from verify.oracle import llama
from verify.sources import RopeScaling


@dataclass(frozen=True, eq=False)
class Stage:
    """What stands still while mistakes are tried: a layer (None: embedding or classifier), what it recorded, and what
    it read: the tokens (windows, length) and the residual stream (windows, length, dim)."""

    layer: int | None
    at: Recorded
    x: torch.Tensor
    tokens: torch.Tensor

    def judge(self, recompute: Recompute) -> Iterator[Judged]:
        if self.layer is not None:
            return recompute.layer(self.layer, self.at, self.x)
        if "embedding" in self.at:
            return recompute.embedding(self.at, self.tokens)
        return recompute.classifier(self.at, self.x)

    def of_window(self, row: int) -> Stage:
        """One window of those along the first axis."""
        part = slice(row, row + 1)
        at = {name: recorded[part] for name, recorded in self.at.items()}
        return Stage(self.layer, at, self.x[part], self.tokens[part])

    def with_recorded(self, **at: torch.Tensor) -> Stage:
        return dataclasses.replace(self, at={**self.at, **at})


@dataclass(frozen=True, eq=False)
class Supposition:
    """A mistake, and the world in which it is none."""

    signature: str
    sentence: str
    stage: Stage
    recompute: Recompute


Suppose = Callable[[Recompute, Stage, str], Iterator[Supposition]]


def diagnose_operation(recompute: Recompute, stage: Stage, operation: str) -> Diagnosis | None:
    """operation: the first of the stage that is beyond its bound. None where no known mistake explains it."""
    for suppose in _SUPPOSITIONS:
        for supposed in suppose(recompute, stage, operation):
            judged = [j for j in supposed.stage.judge(supposed.recompute) if j.operation == operation]
            if judged and all(_within(j) for j in judged):
                where = "" if stage.layer is None else f"layer {stage.layer}, "
                tensor = judged[0].tensor
                return Diagnosis(
                    supposed.signature, f"{where}{operation}: {supposed.sentence}", (tensor,) if tensor else (), 1.0
                )
    return None


# A supposition may put a rounding of its own between what was recorded and what is judged.
_ROOM = 2.0


def _within(judged: Judged) -> bool:
    use = bounds.utilisation((judged.out - judged.exact).abs(), judged.bound)
    return float(use.max()) <= (_ROOM if judged.bound.any() else 0.0)


def _meaning(recompute: Recompute, **changes: Any) -> Recompute:
    """As if the model had other hyper-parameters."""
    return dataclasses.replace(recompute, model=dataclasses.replace(recompute.model, **changes))


# ---- numbers of the model ----


def _epsilons(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if not operation.endswith("norm"):
        return
    said = recompute.model.norm_eps
    for eps in (1e-5, 1e-6, 1e-8, 1e-12, *_fitted_epsilon(recompute, stage, operation)):
        if eps != said:
            text = f"RMSNorm was computed with an epsilon of {eps:g} instead of {said:g}"
            yield Supposition("norm-eps", text, stage, _meaning(recompute, norm_eps=eps))


def _fitted_epsilon(recompute: Recompute, stage: Stage, operation: str) -> Iterator[float]:
    """What the largest output of the quietest position says: there an epsilon weighs most."""
    judged = next(j for j in stage.judge(recompute) if j.operation == operation)
    x = stage.at["attention_residual"] if operation == "ffn_norm" else stage.x
    flat = x.double().flatten(0, 1)
    mean_square = flat.square().mean(-1)
    row = int(mean_square.argmin())
    out = judged.out.flatten(0, 1)[row]
    column = int(out.abs().argmax())
    numerator = float(recompute.weights(judged.tensor)[column]) * float(flat[row, column])
    found = (numerator / float(out[column])) ** 2 - float(mean_square[row]) if out[column] else 0.0
    if found > 0:
        yield float(f"{found:.2g}")


def _thetas(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if operation not in ("cosine", "sine"):
        return
    said = recompute.model.rope_theta
    for theta in (1e4, 1e5, 5e5, 1e6, *_fitted_theta(recompute, stage)):
        if theta != said:
            text = f"RoPE's table was computed with a theta of {theta:g} instead of {said:g}"
            yield Supposition("rope-theta", text, stage, _meaning(recompute, rope_theta=theta))
    scaling = recompute.model.rope_scaling.type
    if scaling != "none":
        text = f"RoPE's {scaling} scaling was left out of the table"
        yield Supposition("rope-scaling-ignored", text, stage, _meaning(recompute, rope_scaling=RopeScaling()))


def _fitted_theta(recompute: Recompute, stage: Stage) -> Iterator[float]:
    """The second position's angles are the frequencies themselves."""
    half = recompute.model.head_dim // 2
    if stage.at["cosine"].shape[1] < 2 or half < 2:
        return
    cosine, sine = (stage.at[name][0, 1, 1:].double() for name in ("cosine", "sine"))
    angle = torch.atan2(sine, cosine)
    if (angle > 0).all():
        exponent = torch.arange(1, half, dtype=torch.float64) / half
        found = float((-angle.log() / exponent).median().exp())
        if 1 < found < 1e12:
            yield float(f"{found:.3g}")


def _positions(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    """A table, or its use, that is a position early or late."""
    names = ("cosine", "sine")
    if operation in names and stage.at["cosine"].shape[1] > 1:
        exact = {j.operation: j.exact.float() for j in stage.judge(recompute) if j.operation in names}
        for by, text in ((1, "the position after"), (-1, "the position before")):
            moved = {}
            for name in names:
                moved[name] = stage.at[name].roll(by, 1)
                edge = 0 if by > 0 else -1
                moved[name][:, edge] = exact[name][:, edge]
            yield Supposition(
                "rope-position",
                f"RoPE's table holds at each position what {text} should have",
                stage.with_recorded(**moved),
                recompute,
            )


# ---- RoPE's pairs ----


def _rotations(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if not operation.endswith("_rotated"):
        return
    name, at = operation[0], stage.at

    def in_pairs(values: torch.Tensor) -> torch.Tensor:
        heads: torch.Tensor = values.unflatten(-1, (-1, 2, recompute.model.head_dim // 2))
        return heads.mT.flatten(-3)

    paired = {key: in_pairs(at[key]) for key in (name, operation)}
    yield Supposition(
        "rope-half-split",
        "the pairs that RoPE turns are (i, i + head_dim / 2) instead of (2i, 2i + 1)",
        stage.with_recorded(**paired),
        recompute,
    )
    yield Supposition("rope-backwards", "RoPE turns the other way", stage.with_recorded(sine=-at["sine"]), recompute)
    still = {"cosine": torch.ones_like(at["cosine"]), "sine": torch.zeros_like(at["sine"])}
    yield Supposition("rope-missing", "RoPE was not applied", stage.with_recorded(**still), recompute)
    for by, text in ((-1, "after"), (1, "before")):
        moved = {key: at[key].roll(by, 1) for key in ("cosine", "sine")}
        yield Supposition(
            "rope-position",
            f"RoPE turns by the angles of the position {text}",
            stage.with_recorded(**moved),
            recompute,
        )


# ---- attention ----


def _heads(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if operation not in ("scores", "attended"):
        return
    model = recompute.model
    kv, queries = model.n_kv_heads, model.n_heads // model.n_kv_heads
    heads = torch.arange(model.n_heads)
    maps = (
        ("head % n_kv_heads", heads % kv),
        ("one too far", (heads // queries + 1) % kv),
        ("one too near", (heads // queries - 1) % kv),
        ("the first for all", heads * 0),
    )
    every = _meaning(recompute, n_kv_heads=model.n_heads)
    name = "k_rotated" if operation == "scores" else "v"
    for text, mapping in maps:
        by_head: torch.Tensor = stage.at[name].unflatten(-1, (kv, -1))
        picked = by_head[:, :, mapping].flatten(2)
        # judged as if each query head had a key and value head of its own
        own: torch.Tensor = stage.at["v" if name == "k_rotated" else "k_rotated"].unflatten(-1, (kv, -1))
        other = own[:, :, heads // queries].flatten(2)
        at = {name: picked, "v" if name == "k_rotated" else "k_rotated": other}
        yield Supposition(
            "kv-heads",
            f"query heads read the wrong kv heads: {text}",
            stage.with_recorded(**at),
            every,
        )


def _scores(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if operation == "scores":
        root = math.sqrt(recompute.model.head_dim)
        for factor, text in ((1 / root, "not divided by sqrt(head_dim)"), (root, "divided by head_dim")):
            at = {"scores": (stage.at["scores"].double() * factor).float()}
            yield Supposition("score-scale", f"scores are {text}", stage.with_recorded(**at), recompute)
        at = {"q_rotated": stage.at["q"], "k_rotated": stage.at["k"]}
        yield Supposition("rope-missing", "scores are of vectors before RoPE", stage.with_recorded(**at), recompute)
    if operation == "attended":
        own = torch.eye(stage.at["shares"].shape[1], dtype=torch.bool)[:, None, :]
        at = {"shares": stage.at["shares"].masked_fill(own, 0.0)}
        yield Supposition("own-position", "a token's own position is left out", stage.with_recorded(**at), recompute)


# ---- products ----


def _weights(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    if operation not in _INPUTS or recompute.activations == "q8":
        return
    plain = recompute.weights
    mine = _tensors(recompute, stage)[operation]

    def supposed(signature: str, sentence: str, weights: torch.Tensor, of: str = mine) -> Supposition:
        def load(name: str) -> torch.Tensor:
            return weights if name == of else plain(name)

        return Supposition(signature, sentence, stage, dataclasses.replace(recompute, weights=load))

    weights = plain(mine)
    for signature, name in _other_tensors(recompute, stage, mine):
        if plain(name).shape == weights.shape:
            yield supposed(signature, f"the product is with {name} instead of {mine}", plain(name))
    if weights.shape[0] == weights.shape[1]:
        yield supposed("transposed", f"{mine} is used transposed", weights.T.contiguous())
    for width in sorted({1, 4, 8, 16, 32, 64, 128, recompute.model.head_dim}):
        if width < weights.shape[1]:
            cut = weights.clone()
            cut[:, -width:] = 0
            text = "input is" if width == 1 else f"{width} inputs are"
            yield supposed("last-inputs-dropped", f"the last {text} left out of each sum", cut)
    for by in (1, -1):
        yield supposed("rows-shifted", f"{mine} is read a row off", weights.roll(by, 0))
    for text, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        yield supposed("narrowed", f"{mine} is used in {text}", weights.to(dtype).float())
    biased = mine.replace(".weight", ".bias")
    if biased in recompute.model.shapes():
        yield supposed("bias-dropped", f"{biased} is not added", torch.zeros_like(plain(biased)), biased)


def _other_tensors(recompute: Recompute, stage: Stage, mine: str) -> Iterator[tuple[str, str]]:
    """(signature, name) of what may be taken for a tensor: others of its layer, the same of other layers."""
    if stage.layer is None:
        if not recompute.model.tied:
            yield "tied-classifier", "tok_embeddings.weight"
        return
    yield from (("other-tensor", name) for name in _tensors(recompute, stage).values() if name != mine)
    prefix = f"layers.{stage.layer}."
    for number in range(recompute.model.n_layers):
        if number != stage.layer:
            yield "other-layer", mine.replace(prefix, f"layers.{number}.", 1)


# Of a layer; the classifier's tensor depends on tying.
_PRODUCTS = {
    "q": "attention.wq",
    "k": "attention.wk",
    "v": "attention.wv",
    "wo": "attention.wo",
    "gate": "feed_forward.w1",
    "up": "feed_forward.w3",
    "down": "feed_forward.w2",
}


def _tensors(recompute: Recompute, stage: Stage) -> dict[str, str]:
    """Product -> its tensor's name, of those in the stage."""
    if stage.layer is None:
        return {"logits": llama.classifier(recompute.model)}
    return {key: f"layers.{stage.layer}.{name}.weight" for key, name in _PRODUCTS.items()}


# ---- int8 activations ----

# What each product reads.
_INPUTS = {
    "q": "attention_norm",
    "k": "attention_norm",
    "v": "attention_norm",
    "wo": "attended",
    "gate": "ffn_norm",
    "up": "ffn_norm",
    "down": "gated",
    "logits": "final_norm",
}
_ROUNDINGS: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("cut off towards zero", torch.trunc),
    ("rounded with halves to even", torch.round),
    ("rounded down", torch.floor),
)


def _int8(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    product, _, part = operation.partition(" ")
    if part != "int8":
        return
    x, groups = stage.at[_INPUTS[product]], stage.at[f"{product} scale"].shape[-1]
    quotient = quotients(x, groups)
    for text, rounding in _ROUNDINGS:
        # the same as half_away, if the recorded ones are what this rounding gives
        steps = stage.at[operation].double() - rounding(quotient) + half_away(quotient)
        at = {operation: steps.clamp(-128, 127).to(torch.int8)}
        yield Supposition("int8-rounding", f"int8 activations are {text}", stage.with_recorded(**at), recompute)


# ---- the rest ----


def _others(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Supposition]:
    at = stage.at
    if operation == "gated":
        for activation in ("silu", "gelu", "gelu_tanh"):
            if activation != recompute.model.activation:
                text = f"the gate's activation is {activation} instead of {recompute.model.activation}"
                yield Supposition("activation", text, stage, _meaning(recompute, activation=activation))
        swapped = stage.with_recorded(gate=at["up"], up=at["gate"])
        yield Supposition("gate-up-swapped", "the gate and what it gates are swapped", swapped, recompute)
    if operation.endswith("_residual"):
        added = "wo" if operation == "attention_residual" else "down"
        nothing = stage.with_recorded(**{added: torch.zeros_like(at[added])})
        yield Supposition("residual", f"{added}'s result is not added to the stream", nothing, recompute)
        before = at["attention_residual"] if added == "down" else stage.x
        alone = {operation: before + at[operation]}
        yield Supposition("residual", "the stream before it is not added", stage.with_recorded(**alone), recompute)
    if operation == "embedding":
        for by in (1, -1):
            tokens = (stage.tokens + by) % recompute.model.vocab_size
            text = f"the embedding's row of the token {'after' if by > 0 else 'before'} is read"
            yield Supposition("rows-shifted", text, dataclasses.replace(stage, tokens=tokens), recompute)


_SUPPOSITIONS: tuple[Suppose, ...] = (
    _epsilons,
    _thetas,
    _positions,
    _rotations,
    _heads,
    _scores,
    _weights,
    _int8,
    _others,
)
