"""Search the known mistake that explains an engine's logits at every position of a window.

A hint is given only if the logits that the mistake makes are as near to the engine's as a healthy engine's are to the
right ones, at every position, and if no other mistake comes near: otherwise there is none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_fits import fitted_references
from verify.engine.hint_general import Start, general_references, in_one_layer
from verify.engine.hint_int8 import Int8Rounding, mistaken_roundings, of_file
from verify.engine.hint_logits import mistaken_logits
from verify.engine.hint_reference import Load, MistakenReference, logits_of
from verify.engine.hint_scales import of_sums
from verify.engine.hints import mistaken_references
from verify.oracle import llama
from verify.oracle.int8_noise import GroupSize
from verify.sources import Hyperparameters

# Positions on which every mistake is first tried, in float32, whose own rounding makes it look further away.
_TRIED_POSITIONS = 48
# For fewer positions all weights are read again and again.
_ONE_BY_ONE = 8
_SCREENED, _SCREENED_COARSE = 3.0, 8.5
# Wrong positions that are tried, if there are no more than so many before them.
_BEYOND, _MOST_TRIED = 12, 512
# A mistake may be this many limits of `execution` away, because it may make a model more sensitive to rounding.
_NEAR = 3.0
# With int8 activations no reference is as near as that, so this share of the difference may remain.
_LEFT = 0.3
# The share that may remain of a mistake that rounds, where float32 and float64 may round to different sides.
_LEFT_BY_ROUNDING = 0.1
# One rounding that turns in float32 is followed by others. So a mistake that rounds is also near if the engine is no
# further from it than this many times what a slight move makes of its own logits. Then such a share of the difference
# may remain at most.
_AS_ITSELF, _MOST_LEFT = 1.5, 0.85
# By what embeddings are multiplied to move them: a few roundings of float32.
_SLIGHTLY = tuple(1 + step * 2.0**-22 for step in (0, -1, 1, 2))
# So near that no other mistake can be clearly nearer.
_SURE = 0.2
# How many times nearer a mistake must be than another one, and than no mistake at all.
_CLEARLY = 3.0
# An int8 position whose logits are this many times as far off as rounding moves them is wrong by itself.
_FAR = 4.0
# Multiplications of a pass that adds step by step, for mistakes with sums.
_MOST_STEPS = 2e9
# Standard deviations by which all positions together must lie on one mistake's side, one number a position.
_SIDES = 6.0

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Holds a window's logits (length, vocab_size): the engine's, the right ones, and their rounding.

    limit: the policy's, in sigma; None if the engine rounds activations to int8. noise: how far that moves a healthy
    engine's logits from those by float activations, root mean square.
    """

    tokens: NDArray[np.int64]
    engine: NDArray[np.float32]
    reference: Logits
    sigma: Logits
    limit: float | None
    noise: float = 0.0

    @property
    def first(self) -> int:
        """Return the first position whose logits are wrong; 0 if none is wrong by itself."""
        if self.limit is None:
            off = np.sqrt(np.square(self.engine - self.reference).mean(axis=1))
            return int((off > _FAR * self.noise).argmax()) if self.noise else 0
        wrong = (np.abs(self.engine - self.reference) > self.limit * self.sigma).any(axis=1)
        return int(wrong.argmax())

    @property
    def tried(self) -> int:
        """Return on how many positions to try a mistake first: a few from the first wrong one on, because before it
        no mistake comes nearer than none. int8 activations take more, for their noise."""
        beyond = self.first + _BEYOND
        fewest = _BEYOND if self.limit is not None else _TRIED_POSITIONS
        return max(fewest, beyond) if beyond <= _MOST_TRIED else _TRIED_POSITIONS

    def left(self, made: Logits, *, coarse: bool = False, apart: float = 0.0) -> float:
        """Return the engine's distance from logits that a mistake makes of the first positions; up to 1 is near.

        A NaN is far. coarse: the mistake rounds. apart: how far its own logits are apart, root mean square.
        """
        here = slice(0, len(made))
        engine, reference = self.engine[here], self.reference[here]
        error = np.abs(engine - made)
        if self.limit is None or coarse:
            before = float(np.sqrt(np.square(engine - reference).mean()))
            share = _LEFT if self.limit is None else _LEFT_BY_ROUNDING
            after = float(np.sqrt(np.square(error).mean()))
            room = max(share * before, min(_AS_ITSELF * apart, _MOST_LEFT * before))
            far = 0.0 if after == 0 else after / room if room else math.inf
        else:
            far = float((error / self.sigma[here]).max() / (_NEAR * self.limit))
        return math.inf if math.isnan(far) else far


@dataclass(frozen=True)
class Hint:
    """Names the mistake that explains an engine's logits. sentence: what such an engine does."""

    mistake: Mistake
    sentence: str


@dataclass(frozen=True)
class _Explanation:
    hint: Hint
    left: float
    made: Logits


def find_hint(
    seen: Seen, hyper: Hyperparameters, load: Load, group_size: int, size_of: GroupSize | None = None
) -> Hint | None:
    """Return the mistake that explains the window; None if none does, or if several do.

    group_size: of Q8_0 tensors, 0 if there are none. size_of: that of each matrix, if they differ.
    """
    if seen.engine.min() == seen.engine.max():
        return None  # whatever makes every product zero would explain it
    rounding = Int8Rounding(of_file(hyper, size_of or (lambda _matrix: group_size)))
    inputs = rounding if seen.limit is None else llama.unrounded
    explaining: list[_Explanation] = []
    known = _explanations(seen, hyper, load, group_size, inputs)
    tokens = torch.from_numpy(seen.tokens)
    most = Start(hyper, load, tokens[: seen.tried], inputs).passes()
    combined = itertools.islice(general_references(hyper, load, tokens, seen.first, group_size), most)
    general = _near(seen, combined, tokens, inputs)
    alone = _in_one_layer(seen, hyper, load, group_size, inputs)
    for explanations in (known, general, _fitted(seen, hyper, load, inputs), alone):
        for found in explanations:
            explaining.append(found)
            if found.left <= _SURE:
                break
        # a number that is read off may imitate a known mistake, as a factor imitates a missing root
        if explaining:
            break
    return _clear(explaining, seen)


def _explanations(
    seen: Seen, hyper: Hyperparameters, load: Load, group_size: int, inputs: llama.Inputs
) -> Iterator[_Explanation]:
    """Yield every mistake that explains the whole window, the simplest first."""
    for mistake, sentence, made in mistaken_logits(seen.reference, seen.engine.astype(np.float64), seen.tokens):
        left = seen.left(made)
        if left <= 1:
            yield _Explanation(Hint(mistake, sentence), left, made)
    tokens = torch.from_numpy(seen.tokens)
    if isinstance(inputs, Int8Rounding):
        yield from _near(seen, mistaken_roundings(hyper, load, inputs), tokens, inputs)
        if group_size and Start(hyper, load, tokens[: seen.tried], inputs).passes(_MOST_STEPS):
            yield from _near(seen, of_sums(hyper, load, group_size), tokens, inputs)
    yield from _near(seen, mistaken_references(hyper, load, group_size, tokens, seen.first), tokens, inputs)


def _fitted(seen: Seen, hyper: Hyperparameters, load: Load, inputs: llama.Inputs) -> Iterator[_Explanation]:
    """Yield every number that explains the whole window.

    Logits with int8 activations are no smooth function of a number. What the mistake adds to them is also added to
    logits with float activations, from which the number follows, as nearly as rounding to int8 tells it.
    """
    tokens, engine = torch.from_numpy(seen.tokens), seen.engine.astype(np.float64)
    reference, sigma = seen.reference, seen.sigma
    if seen.limit is None:
        if not seen.noise:
            return
        reference = llama.logits(hyper, load, tokens.unsqueeze(0)).numpy()[0]
        engine, sigma = engine - seen.reference + reference, np.full_like(reference, seen.noise)
    fitted = fitted_references(hyper, load, tokens, engine, reference, sigma)
    yield from _near(seen, fitted, tokens, inputs)


def _in_one_layer(
    seen: Seen, hyper: Hyperparameters, load: Load, group_size: int, inputs: llama.Inputs
) -> Iterator[_Explanation]:
    """Yield every mistake in one layer that explains the whole window."""
    if hyper.n_layers == 1:
        return
    tokens = torch.from_numpy(seen.tokens)

    def known() -> Iterator[MistakenReference]:
        yield from mistaken_references(hyper, load, group_size, tokens, seen.first)
        yield from general_references(hyper, load, tokens, seen.first, group_size)

    def near(few: torch.Tensor) -> bool:
        return seen.left(few.double().numpy()) <= _SCREENED

    start = Start(hyper, load, tokens[: seen.tried], inputs)
    yield from _near(seen, in_one_layer(start, known, near), tokens, inputs)


def _near(
    seen: Seen,
    references: Iterator[MistakenReference],
    tokens: torch.Tensor,
    inputs: llama.Inputs = llama.unrounded,
) -> Iterator[_Explanation]:
    """Yield the references whose logits are the engine's. inputs: what the engine's products should read."""
    for known in references:
        count = len(tokens) if known.whole else _ONE_BY_ONE if known.one_by_one else seen.tried
        # whole chunks
        count = -(-count // known.chunk) * known.chunk
        few = logits_of(known, tokens[:count], torch.float32, inputs).double().numpy()
        if seen.left(few, coarse=known.coarse) > (_SCREENED_COARSE if known.coarse else _SCREENED):
            continue
        # int8 activations turn where float32 rounds, so float64 would be no nearer
        dtype = torch.float32 if seen.limit is None else torch.float64
        made = logits_of(known, tokens, dtype, inputs).double().numpy()
        left = seen.left(made, coarse=known.coarse)
        if left > 1 and known.coarse and seen.limit is not None:
            left = seen.left(made, coarse=True, apart=_apart(known, tokens, made, inputs))
        if left <= 1:
            yield _Explanation(Hint(known.mistake, known.sentence), left, made)


def _apart(known: MistakenReference, tokens: torch.Tensor, made: Logits, inputs: llama.Inputs) -> float:
    """Return how far slight moves carry the logits of a mistake that rounds, root mean square."""
    moved = (replace(known, embedding=known.embedding * factor) for factor in _SLIGHTLY)
    return max(
        float(np.sqrt(np.square(logits_of(one, tokens, torch.float32, inputs).double().numpy() - made).mean()))
        for one in moved
    )


def _clear(explaining: list[_Explanation], seen: Seen) -> Hint | None:
    """Return the nearest explanation if it is clearly nearer than every other one, and than no mistake."""
    if not explaining:
        return None
    best = min(explaining, key=lambda one: one.left)
    # of several with the same logits the first one, which is the simplest
    best = next(one for one in explaining if one is best or _same(one, best, seen))
    for other in explaining:
        if other is not best and not _same(other, best, seen) and not _farther(other, best, seen):
            return None
    # logits of nearly zero are explained by all mistakes that make them small
    nothing = min(seen.left(seen.reference), seen.left(np.zeros_like(seen.reference)))
    return best.hint if nothing >= _CLEARLY * best.left else None


def _farther(other: _Explanation, best: _Explanation, seen: Seen) -> bool:
    """Return whether the engine's logits are clearly nearer to the best explanation's than to another's."""
    if seen.limit is not None or other.left >= _CLEARLY * best.left:
        return other.left >= _CLEARLY * best.left
    # where rounding is as large as the mistakes are apart, all positions together still tell on which side it lies
    apart, noise = float(np.square(other.made - best.made).mean()), float(np.square(seen.engine - best.made).mean())
    further = float(np.square(seen.engine - other.made).mean()) - noise
    return further >= apart / 2 and apart * len(seen.tokens) >= (2 * _SIDES) ** 2 * noise


def _same(one: _Explanation, other: _Explanation, seen: Seen) -> bool:
    """Return whether no engine could tell the logits of two mistakes apart."""
    apart = np.abs(one.made - other.made)
    if seen.limit is None:
        off = np.abs(seen.engine - other.made)
        return bool(np.square(apart).mean() <= 0.01 * np.square(off).mean())
    return bool((apart <= _SURE * _NEAR * seen.limit * seen.sigma).all())
