"""Round at random as honest storage would, and compute the logits: what a file of this storage costs this very model.

Honest rounding moves a weight to the nearest number of its storage. In which direction that lies says nothing about
the weight. So each draw keeps the size of every error and throws a coin for its direction. What the storage holds
exactly (the peak of a group, zeros, the steps of a coarser source) stays exact, and no distribution of the weights is
assumed. Weights that round to the same number, its sign aside, share a coin: where weights are nearly equal (rows of
tokens that training never saw, a source with few different numbers), so are their errors, and equal errors add up.

int8 activations are rounded at every product with a Q8_0 matrix. One coin for each of the matrix's inputs keeps or
reverses the rounding errors of that input, at all positions alike: equal activations keep equal errors, as they do in
an engine.

The errors are derived by code of their own: neither the exporter's rounding nor that of `expected` is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from verify.oracle import llama, multiplications, rope
from verify.oracle.expected import HALVES
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters
from verify.system.pulse import COMPARED, DERIVED, READ, pulse


class Stored(Protocol):
    """Says how a file stores a tensor, as reader_c's Model.storage() does."""

    @property
    def storage(self) -> str: ...

    @property
    def group_size(self) -> int: ...


StorageOf = Callable[[str], Stored]

_LARGEST_STEP = 127
# The mantissa of a float32, of whose 23 bits float16 keeps 10, more than bfloat16.
_MANTISSA, _DROPPED = (1 << 23) - 1, 13
_MOST_CODES = 1 << 10
# Weights whose coins are looked up at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Drawn:
    """Holds one window's logits (length, vocab_size) in one draw. int8: with int8 activations. window: its row in
    tokens."""

    draw: int
    int8: bool
    window: int
    logits: torch.Tensor


@torch.no_grad()
def drawn_logits(
    hyper: Hyperparameters,
    load: llama.Load,
    storage_of: StorageOf,
    tokens: torch.Tensor,
    *,
    int8: bool,
    draws: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Drawn]:
    """Yield the logits of tokens (windows, length) for each draw.

    load: the source's tensors by name, float32. int8: with int8 activations too. The draws share one walk through the
    layers, so that each tensor is loaded once (a tied embedding twice). Memory holds one layer of the source, its
    rounding errors, one rounded matrix, and each draw's stream. A draw is the same for every batch of windows.
    """
    weights = _Layer(load, storage_of)
    coins = [Coins(seed, draw) for draw in range(draws)]
    rotations = rope.rotations(hyper, tokens.shape[1], dtype, Noise())
    # of the embedding, only the rows of these tokens are rounded
    rows, places = tokens.unique(return_inverse=True)
    embedding = _Layer(lambda name: load(name)[rows], storage_of)
    copies = places.repeat(1 + int8, 1)
    streams = [llama.embed(hyper, embedding.rounded(coin), copies, dtype, Noise()) for coin in coins]
    embedding.forget()
    for number in range(hyper.n_layers):
        weights.forget()
        for draw, coin in enumerate(coins):
            inputs = _Int8(storage_of, coin, len(tokens))
            streams[draw] = llama.layer(
                hyper, weights.rounded(coin), number, streams[draw], rotations, Noise(), inputs=inputs
            )
    weights.forget()
    name = llama.classifier(hyper)
    for draw, coin in enumerate(coins):
        h = llama.final_norm(hyper, weights.rounded(coin), streams[draw], Noise())
        h = _Int8(storage_of, coin, len(tokens))(h, name)
        matrix = weights.rounded(coin)(name).to(dtype).T
        for row, stream in enumerate(h):
            made = llama.finished(hyper, stream @ matrix, Noise())
            yield Drawn(draw, row >= len(tokens), row % len(tokens), made)
            pulse(multiplications.of_head(hyper, 1, len(stream)) + COMPARED * len(stream) * hyper.vocab_size)


class Coins:
    """Throws the coins of one draw, which are the same whenever a name is thrown for."""

    def __init__(self, seed: int, draw: int) -> None:
        self._key = f"{seed} {draw}"

    def throw(self, name: str, count: int) -> torch.Tensor:
        """Return 1 or -1, float32, count times."""
        digest = hashlib.sha256(f"{self._key} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.randint(0, 2, (count,), generator=generator).mul_(2).sub_(1).float()


@dataclass(frozen=True)
class Rounding:
    """Holds how honest rounding to a storage moves each weight of a tensor.

    errors: float32, of the tensor's shape. codes: uint8 or int16, of the same shape, equal for weights that are
    rounded to the same number, its sign and, for a float, its exponent aside.
    """

    errors: torch.Tensor
    codes: torch.Tensor

    @classmethod
    def of(cls, weights: torch.Tensor, storage: str, group_size: int) -> Rounding | None:
        """Return the rounding of float32 weights; None if the storage holds every float32."""
        if storage == "q8_0":
            steps, errors = _to_int8(weights, group_size)
            return cls(errors, steps.abs_().to(torch.uint8))
        if storage not in HALVES:
            return None
        narrow = weights.to(HALVES[storage]).float()
        # infinity stands for a weight beyond the largest number, which no exporter writes
        errors = (narrow - weights).nan_to_num_(posinf=0.0, neginf=0.0)
        return cls(errors, (narrow.view(torch.int32) & _MANTISSA).bitwise_right_shift_(_DROPPED).to(torch.int16))

    def reversed_by(self, coins: torch.Tensor) -> torch.Tensor:
        """Return the errors, each reversed or not by the coin of its code."""
        made = torch.empty_like(self.errors)
        step = max(1, _BLOCK * len(made) // made.numel())
        for first in range(0, len(made), step):
            rows = slice(first, first + step)
            torch.index_select(coins, 0, self.codes[rows].flatten().int(), out=made[rows].view(-1))
        return made.mul_(self.errors)


def _to_int8(x: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to int8 in groups along the last axis: return the integers and by how much each number moves."""
    grouped = x.unflatten(-1, (-1, group_size))
    step = grouped.abs().amax(-1, keepdim=True) / _LARGEST_STEP
    quotients = grouped / step.clamp(min=torch.finfo(x.dtype).tiny)
    steps = quotients.round()
    return steps.flatten(-2), (steps - quotients).mul_(step).flatten(-2)


class _Layer:
    """Holds the tensors of one layer with their rounding errors, which all draws use."""

    def __init__(self, load: llama.Load, storage_of: StorageOf) -> None:
        self._load, self._storage_of = load, storage_of
        self._held: dict[str, tuple[torch.Tensor, Rounding | None]] = {}

    def forget(self) -> None:
        self._held.clear()

    def rounded(self, coins: Coins) -> llama.Load:
        """Return a function that loads tensors as one draw rounds them."""

        def load(name: str) -> torch.Tensor:
            if name not in self._held:
                weights, how = self._load(name), self._storage_of(name)
                self._held[name] = weights, Rounding.of(weights, how.storage, how.group_size)
                pulse(DERIVED * weights.numel())
            weights, rounding = self._held[name]
            pulse(READ * weights.numel())
            if rounding is None:
                return weights
            return rounding.reversed_by(coins.throw(name, _MOST_CODES)).add_(weights)

        return load


class _Int8:
    """Rounds the inputs of Q8_0 matrices to int8 in all windows but the first `plain`."""

    def __init__(self, storage_of: StorageOf, coins: Coins, plain: int) -> None:
        self._storage_of, self._coins, self._plain = storage_of, coins, plain
        self._before: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor, name: str) -> torch.Tensor:
        how = self._storage_of(name)
        if len(x) == self._plain or how.storage != "q8_0":
            return x
        # wq, wk and wv multiply the same int8 activations, and so do w1 and w3
        before = self._before
        if before is None or before[0] is not x or before[1] != how.group_size:
            _steps, errors = _to_int8(x[self._plain :], how.group_size)
            errors *= self._coins.throw(f"inputs of {name}", x.shape[-1])
            before = self._before = x, how.group_size, torch.cat((x[: self._plain], x[self._plain :] + errors))
        return before[2]
