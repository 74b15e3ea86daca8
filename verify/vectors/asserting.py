"""Assert that an engine that Python can call gives the logits of golden vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.vectors.checking import Checked, check_logits, read_vectors
from verify.vectors.golden import GoldenVectors

CalledEngine = Callable[[NDArray[np.int64]], Any]


def assert_vectors(vectors: GoldenVectors | Path | str, engine: CalledEngine, *, int8: bool = False) -> Checked:
    """Run an engine on every window of golden vectors, and fail at the first logit that no correct engine gives.

    vectors: golden vectors, or their file. engine: a function that takes token ids, int64 [length], and returns their
    logits [length, vocab_size], as anything that NumPy takes for floats. int8: the engine rounds activations to int8,
    as runq.c does; then each kept logit must have the same bits.

    Raises:
        AssertionError: a logit is beyond the limit. The message has the window, the position, the token, both logits
            and how far they are apart, in standard deviations of float32 rounding.
        CannotJudgeError: there are no such vectors, or the engine returns no logits of this shape.
    """
    __tracebackhide__ = True
    known = vectors if isinstance(vectors, GoldenVectors) else read_vectors(Path(vectors))
    found = check_logits(known, _logits(known, engine), int8=int8)
    if found.first is not None:
        raise AssertionError(failure(found, known))
    return found


def failure(found: Checked, vectors: GoldenVectors) -> str:
    """Say which logit is beyond the limit, and what the limit is."""
    assert found.first is not None
    limit = "" if found.first.sigmas is None else f", where {vectors.limit:g} are the limit"
    return f"{found.first}{limit}"


def success(found: Checked, vectors: GoldenVectors, *, int8: bool) -> str:
    """Say how many logits were compared and how near the limit the worst of them is."""
    worst = "the same bits" if int8 else f"at most {found.worst:.2f} of {vectors.limit:g} standard deviations"
    return f"{found.logits:,} logits at {found.positions:,} positions, {worst}"


def _logits(vectors: GoldenVectors, engine: CalledEngine) -> Iterator[NDArray[np.float32]]:
    for number, window in enumerate(vectors.windows):
        found = np.asarray(engine(window.tokens))
        if found.dtype.kind != "f":
            raise CannotJudgeError(f"window {number}: expected logits that are floats, found {found.dtype}")
        yield found.astype(np.float32)
