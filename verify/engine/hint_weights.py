"""List mistakes with weights: other tensors, other embeddings, and inputs that a product omits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_reference import Load, MistakenReference
from verify.oracle import llama
from verify.sources import Hyperparameters

# Inputs that a loop over a row may take at a time, so that it omits the rest.
_LANES = (4, 8, 16, 32, 64)
_EMBEDDING = "tok_embeddings.weight"
Change = Callable[[torch.Tensor], torch.Tensor]
# (places of rows or columns, their number) -> which are missing
Missing = Callable[[torch.Tensor, int], torch.Tensor]


def of_weights(hyper: Hyperparameters, load: Load, tokens: torch.Tensor, first: int) -> Iterator[MistakenReference]:
    """Yield other weights. tokens: of the window; first: the first position with wrong logits."""
    swapped = {"w1": "w3", "w3": "w1"}

    def exchanged(name: str) -> torch.Tensor:
        if ".feed_forward." not in name:
            return load(name)
        # of a feed forward, or of one expert
        module, matrix, kind = name.rsplit(".", 2)
        return load(f"{module}.{swapped.get(matrix, matrix)}.{kind}")

    yield MistakenReference(m.GATE_UP_SWAPPED, m.GATE_UP_SWAPPED.of_engine(), hyper, exchanged)

    yield from _of_embeddings(hyper, load, tokens, first)
    if hyper.qkv_bias:
        yield MistakenReference(m.BIASES_SWAPPED, m.BIASES_SWAPPED.of_engine(), hyper, _biases_swapped(load))
    yield from _narrowed(hyper, load)


def _narrowed(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield half precision for all matrices, with the embedding and without it."""
    for found, narrow in (
        ("bf16", _to(torch.bfloat16)),
        ("fp16", _to(torch.float16)),
        ("bf16 towards 0", _truncated),
    ):
        sentence = m.NARROWED.of_engine(tensor="every matrix", found=found)
        yield MistakenReference(m.NARROWED, sentence, hyper, _matrices(load, narrow))
        sentence = m.NARROWED.of_engine(tensor="every matrix but the embedding", found=found)
        looked_up = _with_embedding(_matrices(load, narrow), load, llama.classifier(hyper))
        yield MistakenReference(m.NARROWED, sentence, _untied(hyper), looked_up)


def _of_embeddings(
    hyper: Hyperparameters, load: Load, tokens: torch.Tensor, first: int
) -> Iterator[MistakenReference]:
    """tokens: of the window; first: the first position with wrong logits."""
    root = math.sqrt(hyper.dim)
    for factor, text in ((root, "sqrt(dim)"), (1 / root, "1 / sqrt(dim)")):
        sentence = m.EMBEDDING_SCALED.of_engine(factor=text)
        yield MistakenReference(m.EMBEDDING_SCALED, sentence, hyper, load, embedding=factor)
    for by, side in ((1, "after"), (-1, "before")):
        sentence = m.ROWS_SHIFTED.of_engine(tensor=_EMBEDDING, side=side)
        yield MistakenReference(m.ROWS_SHIFTED, sentence, _untied(hyper), _with_rows(hyper, load, _rolled(by)))
    if not len(tokens):
        return
    token = int(tokens[first])
    others = dict.fromkeys((token - 1, token + 1, 0, hyper.vocab_size - 1))
    for other in others:
        if other != token and 0 <= other < hyper.vocab_size:
            sentence = m.ONE_EMBEDDING.of_engine(token=token, found=f"the embedding of token {other}")
            replaced = _with_rows(hyper, load, _row_replaced(token, other))
            yield MistakenReference(m.ONE_EMBEDDING, sentence, _untied(hyper), replaced)
    sentence = m.ONE_EMBEDDING.of_engine(token=token, found="an embedding of zeros")
    yield MistakenReference(m.ONE_EMBEDDING, sentence, _untied(hyper), _with_rows(hyper, load, _row_zero(token)))


def _untied(hyper: Hyperparameters) -> Hyperparameters:
    """Read the classifier apart from the embedding, which alone is changed."""
    return replace(hyper, tied=False)


def _with_rows(hyper: Hyperparameters, load: Load, change: Change) -> Load:
    """Load another embedding, and the right classifier."""
    right = llama.classifier(hyper)
    return lambda name: change(load(name)) if name == _EMBEDDING else load(right if name == "output.weight" else name)


def _rolled(by: int) -> Change:
    return lambda rows: rows.roll(-by, dims=0)


def _row_replaced(token: int, other: int) -> Change:
    return lambda rows: rows.index_copy(0, torch.tensor([token]), rows[other : other + 1])


def _row_zero(token: int) -> Change:
    return lambda rows: rows.index_fill(0, torch.tensor([token]), 0.0)


def _to(dtype: torch.dtype) -> Change:
    return lambda weights: weights.to(dtype).float()


def _with_embedding(load: Load, right: Load, classifier: str) -> Load:
    """Load the right embedding, and everything else otherwise, the classifier too if the two are tied."""
    return lambda name: right(name) if name == _EMBEDDING else load(classifier if name == "output.weight" else name)


def _truncated(weights: torch.Tensor) -> torch.Tensor:
    """Drop the 16 bits that bfloat16 does not have."""
    return (weights.float().view(torch.int32) & ~0xFFFF).view(torch.float32)


def _matrices(load: Load, narrow: Change) -> Load:
    """Load every matrix in another precision."""
    return lambda name: narrow(load(name)) if load(name).ndim == 2 else load(name)


def _biases_swapped(load: Load) -> Load:
    """Load the biases of keys for those of values, and the other way round."""
    swapped = {"attention.wk.bias": "attention.wv.bias", "attention.wv.bias": "attention.wk.bias"}

    def other(name: str) -> torch.Tensor:
        layer, dot, last = name.rpartition("attention.")
        return load(f"{layer}{swapped.get(dot + last, dot + last)}")

    return other


def of_omitted_inputs(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield products that omit the last inputs of each row. group_size: of Q8_0 tensors, 0 if there are none."""
    # a tied classifier omits inputs like any other matrix, but embeddings are looked up whole
    untied = replace(hyper, tied=False)
    widths = (hyper.dim, hyper.hidden_dim, hyper.n_heads * hyper.head_dim, hyper.expert_hidden_dim or hyper.dim)

    def omitting(mistake: Mistake, sentence: str, until: Callable[[int], int]) -> MistakenReference:
        return MistakenReference(mistake, sentence, untied, _cut(load, llama.classifier(hyper), until))

    if group_size:
        sentence = m.LAST_GROUP.of_engine(count=group_size)
        yield omitting(m.LAST_GROUP, sentence, partial(_fewer, group_size))
        for by, side in ((-1, "next"), (1, "previous")):
            sentence = m.WEIGHT_SCALES_MOVED.of_engine(side=side)
            moved = _with_embedding(
                _matrices(load, partial(_scales_moved, group_size, by)), load, llama.classifier(hyper)
            )
            yield MistakenReference(m.WEIGHT_SCALES_MOVED, sentence, untied, moved)
    for lanes in _LANES:
        if lanes < min(widths) and any(columns % lanes for columns in widths):
            sentence = m.LAST_INPUTS_DROPPED.of_engine(which=f"the inputs after the last multiple of {lanes}")
            yield omitting(m.LAST_INPUTS_DROPPED, sentence, partial(_whole, lanes))
    for count in map(int, m.LAST_INPUTS_DROPPED.numbers):
        if count < min(widths):
            sentence = m.LAST_INPUTS_DROPPED.of_engine(which=m.last_inputs(count))
            yield omitting(m.LAST_INPUTS_DROPPED, sentence, partial(_fewer, count))


def of_omitted_rows(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield products of which all omit a lane of each row, or some rows, as one function for them all does."""
    untied, classifier = replace(hyper, tied=False), llama.classifier(hyper)
    for lanes in (2, 4, 8, 16, 32):
        for lane in (lanes - 1, 0):
            which = f"every {'second' if lanes == 2 else f'{lanes}th'} input, from input {lane} on,"
            sentence = m.LAST_INPUTS_DROPPED.of_engine(which=which)
            masked = _masked(load, classifier, 1, partial(_of_lane, lanes, lane))
            yield MistakenReference(m.LAST_INPUTS_DROPPED, sentence, untied, masked, shared=True)
    rows: dict[str, Missing] = {
        "the last row": lambda place, count: place == count - 1,
        "the first row": lambda place, _count: place == 0,
        "the second half of the rows": lambda place, count: place >= count // 2,
        "the last quarter of the rows": lambda place, count: place >= count - count // 4,
        "every second row": lambda place, _count: place % 2 == 1,
        "the last eighth of the rows": lambda place, count: place >= count - count // 8,
    }
    for threads in (3, 4, 6, 8, 12):
        rows[f"the rows after the last multiple of {threads}"] = (
            lambda place, count, threads=threads: place >= count // threads * threads  # type: ignore[misc]
        )
    for what, missing in rows.items():
        sentence = m.PART_MISSING.of_engine(found=what, what="every product")
        yield MistakenReference(m.PART_MISSING, sentence, untied, _masked(load, classifier, 0, missing), shared=True)


def _of_lane(lanes: int, lane: int, place: torch.Tensor, _count: int) -> torch.Tensor:
    return place % lanes == lane


def _masked(load: Load, classifier: str, dim: int, missing: Missing) -> Load:
    """Load matrices of which some rows (dim 0) or columns (dim 1) are zero. classifier: the name of the right one."""

    def masked(name: str) -> torch.Tensor:
        tensor: torch.Tensor = load(classifier if name == "output.weight" else name)
        if name.startswith("tok_") or tensor.ndim != 2:
            return tensor
        count = tensor.shape[dim]
        gone = missing(torch.arange(count), count)
        return torch.where(gone.unsqueeze(1 - dim), 0.0, tensor)

    return masked


def _scales_moved(group_size: int, by: int, weights: torch.Tensor) -> torch.Tensor:
    """Multiply each group by another one's scale. Its largest int8 is 127, so its largest number tells the scale."""
    if weights.numel() % group_size:
        return weights
    grouped = weights.reshape(-1, group_size)
    peak = grouped.abs().amax(dim=1, keepdim=True)
    ratio = torch.where(peak > 0, peak.roll(by, dims=0) / peak, 0.0)
    return (grouped * ratio).view(weights.shape)


def _whole(lanes: int, columns: int) -> int:
    return columns // lanes * lanes


def _fewer(dropped: int, columns: int) -> int:
    return columns - dropped


def _cut(load: Load, classifier: str, until: Callable[[int], int]) -> Load:
    """Load matrices whose columns from until(columns) on are zero."""

    def cut(name: str) -> torch.Tensor:
        if name.startswith("tok_"):
            return load(name)
        tensor = load(classifier if name == "output.weight" else name)
        if tensor.ndim != 2:
            return tensor
        kept = tensor.clone()
        kept[:, max(0, until(tensor.shape[1])) :] = 0
        return kept

    return cut
