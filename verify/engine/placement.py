"""Find the part of an engine that is wrong, whatever its mistake: by files of which parts hold zeros.

A part whose last matrix holds zeros adds nothing to the stream, right or wrong. If an engine is right without a part,
and wrong with that part alone, the mistake is there. Nothing is guessed: each step is an experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from verify.engine.altered_copy import Zeros
from verify.engine.experiments import Experiment, Laboratory, Outcome
from verify.engine.file_parts import FileParts
from verify.oracle import llama

# Layers that are tried one by one; of more, the first, the middle and the last.
_EACH_LAYER = 8
# Heads, experts or blocks of elements that are tried one by one.
_EACH_PART = 16
# The elements of a feed forward are tried in so many blocks.
_BLOCKS = 8
# RoPE turns its slowest pair by next to nothing. If only a turn goes wrong, that pair's error is a smaller share of
# what the pair does than the others' is, by at least this factor.
_SLOWER = 20.0

RIGHT, WRONG = Outcome.RIGHT, Outcome.WRONG


@dataclass(frozen=True)
class Place:
    """Says where an engine is wrong.

    part: a key of PARTS. where: which layers, heads or elements, or nothing if all that were tried are wrong.
    shown: what the experiments showed, a phrase each.
    """

    part: str
    where: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Say it in one phrase."""
        return f"{', '.join((PARTS[self.part], *self.where))} ({', '.join(self.shown)})"


PARTS = {
    "outside-layers": "the embedding, the residual stream, the last norm or the product with the classifier",
    "last-matrices": "the last matrices, wo and w2",
    "classifier": "the product with the classifier, or what is done to logits",
    "before-classifier": "the embedding, the residual stream or the last norm",
    "attention": "attention",
    "attention-values": "attention's norm, the values or wo",
    "attention-positions": "which positions attention reads: its mask, its softmax or the cache of values",
    "attention-scores": "attention's scores: the queries, the keys, RoPE, their scale, the mask or softmax",
    "attention-biases": "the biases of queries and keys",
    "attention-rope": "the rotation of queries and keys by RoPE",
    "feed-forward": "the feed forward or its norm",
    "experts": "the router, its experts or their norm",
    "between-layers": "what attention and feed forward share: the residual stream, or memory that both use",
}


def told(places: Sequence[Place]) -> str:
    """Say where to look, for a verdict's detail."""
    where = "; and ".join(place.words for place in places)
    return f"no known mistake gives its logits, but copies of the file with zeros show where it is wrong: {where}"


def find_places(laboratory: Laboratory) -> tuple[Place, ...]:
    """Return where the engine is wrong; nothing if the experiments do not tell.

    Raises:
        EngineFailedError: the engine gave no logits of an altered file.
        OSError: the altered file could not be written.
    """
    return _Search(laboratory).places()


class _Search:
    def __init__(self, laboratory: Laboratory) -> None:
        self._lab, self._parts = laboratory, FileParts(laboratory.hyper)
        self._all = range(laboratory.hyper.n_layers)

    def places(self) -> tuple[Place, ...]:
        outside = self._try(self._parts.attention(self._all), self._parts.feed_forward(self._all))
        if outside.outcome is WRONG:
            place = self._of_outside(outside)
            also = ("unless Q8_0 is read or multiplied in a wrong way everywhere",) if self._lab.quantized else ()
            return (replace(place, where=(*place.where, *also)),)
        if outside.outcome is not RIGHT:
            return ()
        attention = self._try(self._parts.feed_forward(self._all))
        feed_forward = self._try(self._parts.attention(self._all))
        outcomes = attention.outcome, feed_forward.outcome
        if outcomes == (RIGHT, RIGHT):
            right = "right with attention alone and with the feed forward alone"
            return (Place("between-layers", shown=(right,)),)
        if Outcome.UNSURE in outcomes:
            return ()
        found = []
        if outcomes[0] is WRONG:
            found.append(self._of_attention("right" if outcomes[1] is RIGHT else "wrong, too,"))
        if outcomes[1] is WRONG:
            found.append(self._of_feed_forward("right" if outcomes[0] is RIGHT else "wrong, too,"))
        return tuple(found)

    def _try(self, *zeros: Zeros) -> Experiment:
        together: dict[str, set[int]] = {}
        for one in zeros:
            for name, rows in one.items():
                together.setdefault(name, set()).update(rows)
        return self._lab.try_with({name: sorted(rows) for name, rows in together.items()})

    # ---- outside of the layers ----

    def _of_outside(self, outside: Experiment) -> Place:
        shown = ("wrong without attention and feed forward",)
        hyper, parts = self._lab.hyper, self._parts
        silent = parts.attention(self._all), parts.feed_forward(self._all)
        if self._try(*silent, parts.inner(self._all)).outcome is RIGHT:
            return Place("last-matrices", (), (*shown, "right if their values and w3 are zeros, too"))
        linear = self._lab.limit is not None and not hyper.logit_cap and hyper.vocab_size > 2 * hyper.dim
        if not linear or not np.isfinite(outside.engine).all():
            return Place("outside-layers", self._tokens_of(outside), shown)
        weights = self._lab.load(llama.classifier(hyper)).double()
        error = torch.from_numpy(outside.engine - outside.reference)
        explained = weights @ torch.linalg.lstsq(weights, error.T).solution
        left = outside.engine - explained.T.numpy()
        rest = Experiment(left.astype(np.float32), outside.reference, outside.sigma, outside.limit)
        if rest.outcome is RIGHT:
            so = (*shown, "its error there is a product of the classifier with something")
            return Place("before-classifier", self._tokens_of(outside), so)
        if rest.outcome is WRONG:
            so = (*shown, "its error there is no product of the classifier with anything")
            return Place("classifier", _columns(outside), so)
        return Place("outside-layers", self._tokens_of(outside), shown)

    def _tokens_of(self, outside: Experiment) -> tuple[str, ...]:
        """Name the tokens with wrong logits, if those of others are right."""
        tokens = self._lab.tokens
        wrong = {int(t) for n, t in enumerate(tokens) if outside.within(slice(n, n + 1)) is WRONG}
        right = {int(t) for n, t in enumerate(tokens) if outside.within(slice(n, n + 1)) is RIGHT}
        return (f"for token ids {_listed(wrong)}",) if right and not right & wrong else ()

    # ---- attention ----

    def _of_attention(self, without: str) -> Place:
        parts = self._parts
        shown = [f"{without} without attention", "wrong with attention alone"]
        layers, where = self._layers(parts.attention, parts.feed_forward(self._all))
        silent = (parts.feed_forward(self._all), parts.attention(self._but(layers)))
        even = self._try(*silent, parts.queries(layers))
        if even.outcome is RIGHT:
            shown.append("right with queries of zeros")
            return self._of_scores(even, silent, layers, where, shown)
        if even.outcome is not WRONG:
            return Place("attention", where, tuple(shown))
        shown.append("wrong with queries of zeros, too")
        first, later = even.within(slice(0, 1)), even.within(slice(1, None))
        if first is RIGHT and later is WRONG:
            return Place("attention-positions", where, (*shown, "right at position 0, which reads itself alone"))
        if first is not WRONG:
            return Place("attention", where, tuple(shown))
        shown.append("wrong at position 0, which reads itself alone")
        count = self._lab.hyper.n_kv_heads
        heads = self._wrong_ones("kv head", count, lambda head: parts.value_heads_but(head, layers), silent)
        return Place("attention-values", (*where, *heads), tuple(shown))

    def _of_scores(
        self,
        even: Experiment,
        silent: Sequence[Zeros],
        layers: Sequence[int],
        where: tuple[str, ...],
        shown: list[str],
    ) -> Place:
        parts, hyper = self._parts, self._lab.hyper
        biases = parts.biases_of_scores(layers)
        if biases and self._try(*silent, biases).outcome is RIGHT:
            return Place("attention-biases", where, (*shown, "right with biases of zeros in queries and keys"))
        heads = self._wrong_ones("head", hyper.n_heads, lambda head: parts.query_heads_but(head, layers), silent)
        where = (*where, *heads)
        slowest = hyper.rotated // 2 - 1
        if slowest < 1 or hyper.layer(layers[0]).rope == "none":
            return Place("attention-scores", where, tuple(shown))
        tried = sorted({0, slowest // 3, 2 * slowest // 3, slowest})
        *others, slow = (self._try(*silent, parts.pairs_but(pair, layers)) for pair in tried)
        if max((one.share(even) for one in others if one.outcome is WRONG), default=0.0) > _SLOWER * slow.share(even):
            so = "right, or nearly so, with queries that have only the pair that RoPE turns least"
            return Place("attention-rope", where, (*shown, so))
        return Place("attention-scores", where, tuple(shown))

    # ---- feed forward ----

    def _of_feed_forward(self, without: str) -> Place:
        parts, hyper = self._parts, self._lab.hyper
        shown = [f"{without} without feed forward", "wrong with the feed forward alone"]
        layers, where = self._layers(parts.feed_forward, parts.attention(self._all))
        silent = (parts.attention(self._all), parts.feed_forward(self._but(layers)))
        if hyper.layer(layers[0]).experts:
            alone = self._wrong_ones("expert", hyper.n_experts, lambda one: parts.experts_but(one, layers), silent)
            return Place("experts", (*where, *alone), tuple(shown))
        size = -(-hyper.hidden_dim // _BLOCKS)
        blocks = [range(at, min(at + size, hyper.hidden_dim)) for at in range(0, hyper.hidden_dim, size)]
        wrong = [block for block in blocks if self._try(*silent, parts.hidden_but(block, layers)).outcome is WRONG]
        if wrong and len(wrong) < len(blocks):
            where = (*where, f"hidden elements {_ranges(wrong)}")
        return Place("feed-forward", where, tuple(shown))

    # ---- which ones ----

    def _but(self, layers: Sequence[int]) -> list[int]:
        return [other for other in self._all if other not in layers]

    def _layers(
        self, silence: Callable[[Sequence[int]], Zeros], others: Zeros
    ) -> tuple[Sequence[int], tuple[str, ...]]:
        """Return layers that are wrong by themselves, or all if none is, and the words for them."""
        count = len(self._all)
        tried = self._all if count <= _EACH_LAYER else (0, count // 2, count - 1)
        wrong = [layer for layer in tried if self._try(others, silence(self._but([layer]))).outcome is WRONG]
        if not wrong:
            return self._all, ("where several layers work together",) if count > 1 else ()
        if len(wrong) < len(tried):
            return wrong[:1], (f"in {'layer' if len(wrong) == 1 else 'layers'} {_listed(wrong)}",)
        return wrong[:1], ("in every layer" if len(tried) == count else f"in layers {_listed(wrong)}, if not in all",)

    def _wrong_ones(
        self, name: str, count: int, alone: Callable[[int], Zeros], silent: Sequence[Zeros]
    ) -> tuple[str, ...]:
        """Name the heads or experts that are wrong by themselves, if others are right."""
        if not 1 < count <= _EACH_PART:
            return ()
        outcomes = [self._try(*silent, alone(one)).outcome for one in range(count)]
        wrong = [one for one, outcome in enumerate(outcomes) if outcome is WRONG]
        if not wrong or RIGHT not in outcomes:
            return ()
        return (f"{name}{'s' if len(wrong) > 1 else ''} {_listed(wrong)}",)


def _columns(outside: Experiment) -> tuple[str, ...]:
    """Name the token ids whose logits are wrong, if those of most others are right."""
    error = np.abs(outside.engine - outside.reference) / outside.sigma
    wrong = np.flatnonzero((error > (outside.limit or 0.0)).any(axis=0))
    return (f"for the logits of token ids {_listed(wrong.tolist())}",) if 2 * len(wrong) < error.shape[1] else ()


def _listed(numbers: Iterable[int]) -> str:
    """Write at most four numbers, and how many there are beyond."""
    found = sorted(numbers)
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(map(str, found[:4])) + more


def _ranges(blocks: Sequence[range]) -> str:
    return ", ".join(f"{block.start}-{block.stop - 1}" for block in blocks[:4])
