"""Recognise a part of the file that was never written: one run of zeros, across tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import healthy
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors

# Shorter runs are elements that are zero.
_FEWEST_BYTES = 64


def diagnose_zero_run(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return one run of zero bytes in which every difference lies; None if there is none."""
    first = last = -1
    for name in differing:
        spans = {span.part: span for span in compared.model.spans(name)}
        for block in compared.differences(name, healthy):
            if block is None:
                return None
            rows, _, found, differ = block
            for part, wrong in differ.items():
                if not wrong.any():
                    continue
                if found[part][wrong].any():
                    return None
                span, places = spans[part], np.flatnonzero(wrong)
                size = span.nbytes // int(np.prod(span.shape))
                start = span.offset + rows.first * (span.nbytes // span.shape[0])
                begin, end = (start + int(places[at]) * size for at in (0, -1))
                first = begin if first < 0 else min(first, begin)
                last = max(last, end + size)
    content = compared.model.content
    if first < 0 or last - first < _FEWEST_BYTES or any(content[first:last]):
        return None
    # the source's own zeros at both ends belong to it
    while first > 0 and content[first - 1] == 0:
        first -= 1
    while last < len(content) and content[last] == 0:
        last += 1
    what = r.ZERO_RUN.of_file(count=last - first, first=first)
    return diagnosis_of_tensors(r.ZERO_RUN.name, what, differing, differing, len(differing))
