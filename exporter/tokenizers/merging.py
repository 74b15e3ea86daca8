"""Byte pair encoding in the plain way, to find which merges of a tokenizer can happen at all.

Of all pairs whose pieces join to the piece p, at most one ever merges. Where a pair that joins to p merges in some
text, no merge before has crossed p's border, and each merge within it was the best of those within it. So p's own
symbols, encoded alone, go through the same merges, and the pair is the one that p alone ends with. Merges with which
no piece ends never happen, and to leave them out changes no token of any text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

# (left, right) -> (rank, id of both together), None where they do not merge
Find = Callable[[int, int], tuple[int, int] | None]
Pair = tuple[int, int]


def merged(symbols: Iterable[int], find: Find) -> tuple[list[int], Pair | None]:
    """Merge the pair of the lowest rank, of equal ones the leftmost, until no two neighbours merge.

    Return the tokens, and the pair that merged last.
    """
    tokens = list(symbols)
    last = None
    while True:
        best = None
        for at in range(len(tokens) - 1):
            found = find(tokens[at], tokens[at + 1])
            if found is not None and (best is None or found[0] < best[0][0]):
                best = found, at
        if best is None:
            return tokens, last
        (_, product), at = best
        last = tokens[at], tokens[at + 1]
        tokens[at : at + 2] = [product]


def merges_of_ranks(pieces: Sequence[bytes]) -> list[Pair]:
    """Return the merges of a tokenizer that merges the pair whose joined piece comes first in the list.

    tiktoken does so. A piece that its own bytes do not merge to is only found whole.
    """
    of_piece = {piece: token for token, piece in enumerate(pieces)}

    def find(left: int, right: int) -> tuple[int, int] | None:
        product = of_piece.get(pieces[left] + pieces[right])
        return None if product is None else (product, product)

    merges = []
    for token, piece in enumerate(pieces):
        tokens, last = merged((of_piece[piece[at : at + 1]] for at in range(len(piece))), find)
        if last is not None and tokens == [token]:
            merges.append(last)
    return merges


def live_merges(
    merges: Sequence[Pair], products: Sequence[int], symbols: Mapping[int, Sequence[int]]
) -> dict[int, int]:
    """Return product -> rank of the merges that can happen; products: by rank; symbols: what each product begins as.

    No two of them have the same product, so that their order can be stated as one score for each piece.
    """
    known = {pair: (rank, product) for rank, (pair, product) in enumerate(zip(merges, products, strict=True))}

    def find(left: int, right: int) -> tuple[int, int] | None:
        return known.get((left, right))

    live = {}
    for product in dict.fromkeys(products):
        tokens, last = merged(symbols[product], find)
        if last is not None and tokens == [product]:
            live[product] = known[last][0]
    return live
