"""Part of the check `execution`: the reader's logits have the same bits whichever way a user calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SameBits:
    """Describes what was compared in some windows. Evidence of later windows merges into it.

    ways: of calling the reader, each compared with the recorded pass over a whole window. difference: of the first
    logit with other bits, in one sentence; empty if all are alike. where: its place.
    """

    ways: tuple[str, ...] = ()
    difference: str = ""
    where: dict[str, Any] | None = None

    def merged(self, later: SameBits) -> SameBits:
        """Return the evidence of both; the first difference is kept."""
        first = self if self.difference else later
        return SameBits(tuple(dict.fromkeys((*self.ways, *later.ways))), first.difference, first.where)


NOTHING_COMPARED = SameBits()


def compare_bits(
    way: str, pass_: str, window: int, whole: NDArray[np.float32], found: NDArray[np.float32]
) -> SameBits:
    """Compare logits (length, vocab_size) bit by bit; a NaN may be any NaN.

    pass_: names the arithmetic and the activations, for the sentence.
    """
    same = (whole.view("u4") == found.view("u4")) | (np.isnan(whole) & np.isnan(found))
    if same.all():
        return SameBits((way,))
    position, index = (int(i) for i in np.argwhere(~same)[0])
    expected, other = (float(one[position, index]) for one in (whole, found))
    sentence = (
        f"{pass_}, {way}: expected the bits of the whole window, found others from window {window}, position "
        f"{position}, index {index} on: {other:.9g} instead of {expected:.9g}"
    )
    place = {"window": window, "position": position, "index": index, "expected": expected, "found": other}
    return SameBits((way,), sentence, place)
