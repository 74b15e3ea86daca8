"""List products that read a wrong operand, matrices of other layers or kinds, and sums with a wrong term.

Everything of the right width that an engine has at hand at that moment is tried in the place of what it should take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

# Of each product: its matrix and what it reads, by the name of its result.
PRODUCTS = {
    "q": ("attention.wq", "attention_norm"),
    "k": ("attention.wk", "attention_norm"),
    "v": ("attention.wv", "attention_norm"),
    "wo": ("attention.wo", "attended"),
    "gate": ("feed_forward.w1", "ffn_norm"),
    "up": ("feed_forward.w3", "ffn_norm"),
    "down": ("feed_forward.w2", "gated"),
}
NAMES = {
    "x": "the stream before the layer",
    "attention_norm": "the normed input of attention",
    "q": "queries before RoPE",
    "k": "keys before RoPE",
    "q_rotated": "queries",
    "k_rotated": "keys",
    "v": "values",
    "attended": "what attention mixed",
    "wo": "the result of attention (wo)",
    "attention_residual": "the stream after attention",
    "ffn_norm": "the normed input of the feed forward",
    "gate": "gate (w1)",
    "up": "up (w3)",
    "gated": "the product of activated gate (w1) and up (w3)",
    "down": "the result of the feed forward (w2)",
}
_SUMS = {"attention_residual": ("x", "wo"), "ffn_residual": ("attention_residual", "down")}
Operand = Callable[[LayerSoFar], torch.Tensor | None]


def of_operands(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes of models whose norms stand before attention and feed forward."""
    if hyper.norm_place != "before" or any(hyper.layer(number).experts for number in range(hyper.n_layers)):
        return
    for result, (matrix, right) in PRODUCTS.items():
        for found, operand in _operands(hyper, result, right):
            sentence = m.WRONG_OPERAND.of_engine(matrix=matrix.split(".")[1], found=found, expected=NAMES[right])
            run = rewired(_reading(result, matrix, operand))
            yield MistakenReference(m.WRONG_OPERAND, sentence, hyper, load, run=run)
        yield from _other_matrices(hyper, load, result)
    for total, (stream, added) in _SUMS.items():
        for found, operand in _operands(hyper, total, stream):
            sentence = m.WRONG_SUM.of_engine(added=NAMES[added], found=found, expected=NAMES[stream])
            run = rewired(_added_to(total, added, operand))
            yield MistakenReference(m.WRONG_SUM, sentence, hyper, load, run=run)
        sentence = m.WRONG_SUM.of_engine(added=NAMES[added], found="twice the stream", expected=NAMES[stream])
        yield MistakenReference(
            m.WRONG_SUM, sentence, hyper, load, run=rewired(_added_to(total, added, _twice(stream)))
        )


def _width(hyper: Hyperparameters, name: str) -> int:
    queries, keys = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
    of = {"q": queries, "q_rotated": queries, "attended": queries, "k": keys, "k_rotated": keys, "v": keys}
    return hyper.hidden_dim if name in ("gate", "up", "gated") else of.get(name, hyper.dim)


def _operands(hyper: Hyperparameters, result: str, right: str) -> Iterator[tuple[str, Operand]]:
    """Yield everything as wide as the right operand that exists before the result, by name."""
    for name, words in NAMES.items():
        if name == result:
            break
        if name != right and _width(hyper, name) == _width(hyper, right):
            yield words, _made(name)
    if right in _NORMED:
        yield from _norms(right)
    yield f"{NAMES[right]} of the layer before", _before(right)
    yield f"{NAMES[right]} of the layer before, and zeros in the first one", _before_or_zeros(right)
    yield f"{NAMES[right]} of the position before", _late(right)


_NORMED = {"attention_norm": "attention", "ffn_norm": "ffn"}


def _norms(right: str) -> Iterator[tuple[str, Operand]]:
    """Yield what a norm makes of another stream, or with the weights of the other norm."""
    own = _NORMED[right]
    other = "ffn" if own == "attention" else "attention"

    def stream(seen: LayerSoFar) -> torch.Tensor:
        return seen.x if own == "attention" else seen.middle

    yield f"its input normed with the weights of {other}_norm", lambda seen: seen.normed(stream(seen), other)
    yield f"{NAMES[right]}, normed twice", lambda seen: seen.normed(seen.made[right], own)
    yield "the normed stream without the norm's weights", lambda seen: _unweighted(seen.made[right], seen, own)
    if own == "ffn":
        yield "the normed stream before the layer", lambda seen: seen.normed(seen.x, "ffn")
        yield "the normed result of attention without the stream", lambda seen: seen.normed(seen.made["wo"], "ffn")


def _unweighted(normed: torch.Tensor, seen: LayerSoFar, block: str) -> torch.Tensor:
    weight = seen.norm_weight(block) + (1 if seen.hyper.norm_plus_one else 0)
    return torch.where(weight != 0, normed / weight, 0.0)


def _made(name: str) -> Operand:
    return lambda seen: seen.x if name == "x" else seen.made.get(name)


def _twice(name: str) -> Operand:
    return lambda seen: 2 * (seen.x if name == "x" else seen.made[name])


def _before(name: str) -> Operand:
    return lambda seen: seen.before.get("x" if name == "x" else name)


def _before_or_zeros(name: str) -> Operand:
    def before(seen: LayerSoFar) -> torch.Tensor | None:
        own = seen.x if name == "x" else seen.made.get(name)
        taken = seen.before.get(name)
        return torch.zeros_like(own) if taken is None and own is not None else taken

    return before


def _late(name: str) -> Operand:
    def late(seen: LayerSoFar) -> torch.Tensor:
        own = seen.x if name == "x" else seen.made[name]
        return torch.cat((own[:, :1], own[:, :-1]), dim=1)

    return late


def _reading(result: str, matrix: str, operand: Operand) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        read = operand(seen) if operation == result else None
        return y if read is None else seen.product(read, matrix)

    return change


def _added_to(total: str, added: str, operand: Operand) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        stream = operand(seen) if operation == total else None
        return y if stream is None else stream + seen.made[added] * seen.hyper.residual_scale

    return change


def _other_matrices(hyper: Hyperparameters, load: Load, result: str) -> Iterator[MistakenReference]:
    """Yield the product with the matrix of a neighbouring layer, of the last one, or of another kind of its shape."""
    matrix, right = PRODUCTS[result]
    shapes = hyper.shapes()
    for found, of in _other_layers(hyper.n_layers).items():
        sentence = m.OTHER_LAYER.of_engine(found=f"{matrix} of {found}", expected="each layer's own")
        run = rewired(_with_matrix(result, right, matrix, of))
        yield MistakenReference(m.OTHER_LAYER, sentence, hyper, load, run=run)
    for other, _ in PRODUCTS.values():
        if other != matrix and shapes[f"layers.0.{other}.weight"] == shapes[f"layers.0.{matrix}.weight"]:
            sentence = m.OTHER_TENSOR.of_engine(found=other.split(".")[1], expected=matrix.split(".")[1])
            run = rewired(_with_matrix(result, right, other, lambda number: number))
            yield MistakenReference(m.OTHER_TENSOR, sentence, hyper, load, run=run)


def _other_layers(count: int) -> dict[str, Callable[[int], int]]:
    if count < 2:
        return {}
    return {
        "the next layer": lambda number: (number + 1) % count,
        "the layer before": lambda number: (number - 1) % count,
        "the layer before (the first its own)": lambda number: max(0, number - 1),
        "the next layer (the last its own)": lambda number: min(count - 1, number + 1),
        "the last layer": lambda _number: count - 1,
        "layer 0": lambda _number: 0,
        "layer n - 1 - i": lambda number: count - 1 - number,
    }


def _with_matrix(result: str, right: str, matrix: str, of: Callable[[int], int]) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        return seen.product(seen.made[right], matrix, of(seen.number)) if operation == result else y

    return change
