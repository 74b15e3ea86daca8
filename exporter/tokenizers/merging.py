"""Byte pair encoding in the plain way, to find which merges of a tokenizer can happen at all.

Call the merges before rank r "earlier". Of all pairs whose pieces join to the piece p, at most one can stand side by
side after all earlier merges: in any text, p's own symbols merge as if they stood alone, since a merge across p's
border would have destroyed the pair. So the pair is what the earlier merges make of p alone, and no other pair that
joins to p ever merges at this rank. Both functions below rest on that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

# (left, right) -> (rank, id of both together)
Merges = Mapping[tuple[int, int], tuple[int, int]]


def merged(symbols: Iterable[int], merges: Merges) -> list[int]:
    """Merge the pair of the lowest rank, of equal ones the leftmost, until no two neighbours merge."""
    tokens = list(symbols)
    while True:
        found = [(*merges[pair], at) for at, pair in enumerate(pairwise(tokens)) if pair in merges]
        if not found:
            return tokens
        _, product, at = min(found, key=lambda candidate: (candidate[0], candidate[2]))
        tokens[at : at + 2] = [product]


def merges_of_ranks(pieces: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the merges of a tokenizer that merges the pair whose joined piece comes first in the list.

    tiktoken does so. A piece that the earlier merges do not reduce to two is never merged to, only found whole.
    """
    of_byte = {piece[0]: token for token, piece in enumerate(pieces) if len(piece) == 1}
    known: dict[tuple[int, int], tuple[int, int]] = {}
    for token, piece in enumerate(pieces):
        parts = merged((of_byte[byte] for byte in piece), known)
        if len(parts) == 2:
            known[parts[0], parts[1]] = (token, token)
    return list(known)


def live_merges(
    merges: Sequence[tuple[int, int]], products: Sequence[int], symbols: Mapping[int, Sequence[int]]
) -> dict[int, int]:
    """Return product -> rank of the merges that can happen; products: by rank; symbols: what each product begins as.

    No two of them have the same product, so that their order can be stated as one score for each piece.
    """
    known: dict[tuple[int, int], tuple[int, int]] = {}
    live: dict[int, int] = {}
    for rank, (pair, product) in enumerate(zip(merges, products, strict=True)):
        if merged(symbols[product], known) == list(pair):
            known[pair] = (rank, product)
            live[product] = rank
    return live
