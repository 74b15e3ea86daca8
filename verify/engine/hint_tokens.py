"""List engines that read other tokens than they were given, or rotate by other positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rope import at_positions, rotating
from verify.sources import Hyperparameters

Read = Callable[[torch.Tensor], torch.Tensor]
_POWERS = (128, 256, 1 << 15, 1 << 16)


def of_tokens(hyper: Hyperparameters, load: Load, tokens: torch.Tensor, first: int) -> Iterator[MistakenReference]:
    """Yield the mistakes. tokens: of the window; first: the first position with wrong logits."""
    for found, (read, whole) in _orders(first).items():
        yield _reading(hyper, load, found, read, whole=whole)
    for found, read in _rules(hyper.vocab_size).items():
        if len(tokens) and not torch.equal(read(tokens), tokens):
            yield _reading(hyper, load, found, read)


def _reading(hyper: Hyperparameters, load: Load, found: str, read: Read, *, whole: bool = False) -> MistakenReference:
    sentence = m.TOKENS_READ.of_engine(found=found)

    def within(tokens: torch.Tensor) -> torch.Tensor:
        return read(tokens) % hyper.vocab_size

    return MistakenReference(m.TOKENS_READ, sentence, hyper, load, tokens=within, whole=whole)


def _orders(first: int) -> dict[str, tuple[Read, bool]]:
    """Return other tokens by their place, and whether all of a window decide on the first ones."""
    orders: dict[str, tuple[Read, bool]] = {
        "the token before, and token 0 at position 0": (lambda tokens: _late(tokens, 0), False),
        "the token before, and token 1 at position 0": (lambda tokens: _late(tokens, 1), False),
        "the next token at each position": (lambda tokens: torch.cat((tokens[1:], tokens[-1:])), True),
        "the tokens backwards": (lambda tokens: tokens.flip(0), True),
        "the first token at every position": (lambda tokens: tokens[:1].expand_as(tokens), False),
        "its position instead of the token": (lambda tokens: torch.arange(len(tokens)), False),
        "token 0 at every position": (torch.zeros_like, False),
        "each second token twice": (lambda tokens: tokens[torch.arange(len(tokens)) // 2 * 2], False),
    }
    for token in (0, 1, 2):
        orders[f"token {token} at position 0"] = (lambda tokens, token=token: _at_start(tokens, token), False)  # type: ignore[misc]
    if first > 0:
        orders[f"from position {first} on the token before"] = (lambda tokens: _late_from(tokens, first), False)
        orders[f"from position {first} on the tokens from the first one, again"] = (
            lambda tokens: tokens[torch.arange(len(tokens)) % first],
            False,
        )
        orders[f"from position {first} on the token at position {first - 1}"] = (
            lambda tokens: tokens[torch.arange(len(tokens)).clamp(max=first - 1)],
            False,
        )
    return orders


def _rules(count: int) -> dict[str, Read]:
    """Return tokens that follow from the right ones. count: of the vocabulary."""
    rules: dict[str, Read] = {
        "each token's number less 1 (0 stays)": lambda tokens: (tokens - 1).clamp(min=0),
        "each token's number plus 1 (the last stays)": lambda tokens: (tokens + 1).clamp(max=count - 1),
        "vocab_size - 1 - token": lambda tokens: count - 1 - tokens,
        "each token's number without its last bit": lambda tokens: tokens // 2 * 2,
        "half of each token's number": lambda tokens: tokens // 2,
    }
    for power in _POWERS:
        rules[f"each token's number modulo {power}"] = lambda tokens, power=power: tokens % power  # type: ignore[misc]
        rules[f"token {power - 1} for every token above it"] = lambda tokens, power=power: tokens.clamp(max=power - 1)  # type: ignore[misc]
    rules["each token's number modulo half of the vocabulary"] = lambda tokens: tokens % (count // 2 or 1)
    return rules


def _late(tokens: torch.Tensor, start: int) -> torch.Tensor:
    return torch.cat((torch.full_like(tokens[:1], start), tokens[:-1]))


def _at_start(tokens: torch.Tensor, start: int) -> torch.Tensor:
    return torch.cat((torch.full_like(tokens[:1], start), tokens[1:]))


def _late_from(tokens: torch.Tensor, first: int) -> torch.Tensor:
    return torch.cat((tokens[:first], tokens[first - 1 : -1]))


def of_positions(hyper: Hyperparameters, load: Load, first: int) -> Iterator[MistakenReference]:
    """Yield rotations by other positions. first: the first position with wrong logits."""
    if all(hyper.layer(number).rope == "none" for number in range(hyper.n_layers)):
        return
    for found, of in _positions(hyper, first).items():
        for names, words in ((("q", "k"), "queries and keys"), (("q",), "queries"), (("k",), "keys")):
            sentence = m.POSITIONS.of_engine(what=words, found=found)
            rotate = rotating(at_positions(of), *names)
            yield MistakenReference(m.POSITIONS, sentence, hyper, load, rotate)


def _positions(hyper: Hyperparameters, first: int) -> dict[str, Read]:
    positions: dict[str, Read] = {
        "0 and 1 by turns": lambda places: places % 2,
        "half of it": lambda places: places // 2,
        "itself less 1, and 0 at position 0": lambda places: (places - 1).clamp(min=0),
        "its square root": lambda places: places.double().sqrt(),
        "its logarithm": lambda places: (places.double() + 1).log(),
        "itself times the number of heads": lambda places: places * hyper.n_heads,
        "itself times the number of kv heads": lambda places: places * hyper.n_kv_heads,
        "itself in fp16": lambda places: places.half().double(),
        "itself in bf16": lambda places: places.bfloat16().double(),
    }
    for count in (2, 4, 8, 16, 32, 64, 128, 256):
        positions[f"itself modulo {count}"] = lambda places, count=count: places % count  # type: ignore[misc]
        positions[f"itself less that of its block of {count}"] = lambda places, count=count: places // count * count  # type: ignore[misc]
    if first > 0:
        positions[f"one less from position {first} on"] = lambda places: places - (places >= first).long()
        positions[f"one more from position {first} on"] = lambda places: places + (places >= first).long()
        positions[f"0 from position {first} on"] = lambda places: places * (places < first)
        for count in (first, first + 1, first - 1):
            positions[f"at most {count}"] = lambda places, count=count: places.clamp(max=count)  # type: ignore[misc]
    return positions
