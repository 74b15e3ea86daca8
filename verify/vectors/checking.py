"""Compare an engine's logits with golden vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.engine.command import Engine
from verify.errors import CannotJudgeError
from verify.system.digests import sha256_of, sha256_of_file
from verify.vectors.golden import GoldenVectors, WindowVectors, decode


@dataclass(frozen=True)
class Deviation:
    """Describes one logit that an engine computes otherwise.

    sigmas: how far, in standard deviations; None for int8 activations, where every bit must be equal.
    """

    window: int
    position: int
    token: int
    expected: float
    found: float
    sigmas: float | None

    def __str__(self) -> str:
        far = "expected the same bits" if self.sigmas is None else f"{self.sigmas:.3g} standard deviations"
        return (
            f"window {self.window}, position {self.position}, token {self.token}: expected {self.expected:.9g}, "
            f"found {self.found:.9g}: {far}"
        )


@dataclass(frozen=True)
class Checked:
    """Holds the result: the first logit beyond the limit, or None, and the worst of all that were compared."""

    first: Deviation | None
    worst: float
    logits: int
    positions: int

    @property
    def passed(self) -> bool:
        """Return whether every logit is within the limit."""
        return self.first is None


def read_vectors(path: Path) -> GoldenVectors:
    """Read golden vectors. Raises CannotJudgeError for a file that is none."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def check_logits(vectors: GoldenVectors, logits: Iterable[NDArray[np.float32]], *, int8: bool = False) -> Checked:
    """Compare the logits (length, vocab_size) of every window.

    int8: the engine rounds activations to int8, as runq.c does; then each kept logit must have the same bits.
    Raises CannotJudgeError for logits of another shape, or without vectors for int8.
    """
    _expect_int8(vectors, int8=int8)
    first, worst, count = None, 0.0, 0
    for number, (window, found) in enumerate(zip(vectors.windows, logits, strict=True)):
        shape = (len(window.tokens), vectors.vocab_size)
        if found.shape != shape:
            raise CannotJudgeError(f"window {number}: expected logits of shape {shape}, found {found.shape}")
        kept = np.take_along_axis(found[window.at["position"]], window.kept["id"].astype(np.int64), axis=1)
        far = _different(window, kept) if int8 else _sigmas(window, kept)
        beyond = far > (0 if int8 else vectors.limit)
        if first is None and beyond.any():
            row, column = (int(i) for i in np.unravel_index(int(beyond.argmax()), beyond.shape))
            expected = window.int8 if int8 and window.int8 is not None else window.kept["logit"]
            first = Deviation(
                number,
                int(window.at["position"][row]),
                int(window.kept["id"][row, column]),
                float(expected[row, column]),
                float(kept[row, column]),
                None if int8 else float(far[row, column]),
            )
        worst, count = max(worst, float(far.max())), count + far.size
    return Checked(first, worst, count, vectors.positions)


def check_engine(vectors: GoldenVectors, engine: Engine, file: Path) -> Checked:
    """Run an engine on every window and compare its logits.

    Raises:
        CannotJudgeError: the engine cannot start.
        EngineFailedError: it ran, but did not give the requested logits.
    """
    engine.check()
    try:
        digest = sha256_of_file(file)
    except OSError as error:
        raise CannotJudgeError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    _expect_file(vectors, digest, file)
    int8 = engine.activations == "q8"
    _expect_int8(vectors, int8=int8)
    # one window at a time: together they may not fit into memory
    logits = (engine.logits(str(file), [window.tokens], vectors.vocab_size)[0] for window in vectors.windows)
    return check_logits(vectors, logits, int8=int8)


def check_reader(vectors: GoldenVectors, file: Path) -> Checked:
    """Compare the C reader's own logits. Raises CannotJudgeError if the file is not the one of the vectors."""
    with reader_c.open(file, check_digests=False) as model:
        _expect_file(vectors, sha256_of(model.content), file)
        return check_logits(vectors, (model.forward(window.tokens) for window in vectors.windows))


def _expect_file(vectors: GoldenVectors, found: str, file: Path) -> None:
    """Raise CannotJudgeError unless the file that the vectors are of has this digest."""
    if found != vectors.file_sha256:
        raise CannotJudgeError(
            f"{file}: sha256: expected {vectors.file_sha256}, of which the vectors are, found {found}"
        )


def _expect_int8(vectors: GoldenVectors, *, int8: bool) -> None:
    if int8 and not vectors.int8:
        raise CannotJudgeError("expected vectors of a Q8_0 file, which have int8 logits, found none")


def saved_logits(vectors: GoldenVectors, path: Path) -> list[NDArray[np.float32]]:
    """Read logits that an engine wrote: float32 (all tokens, vocab_size), window after window. Raises
    CannotJudgeError."""
    lengths = [len(window.tokens) for window in vectors.windows]
    expected = 4 * sum(lengths) * vectors.vocab_size
    try:
        size = path.stat().st_size
        if size != expected:
            raise CannotJudgeError(
                f"{path}: expected {sum(lengths)} x {vectors.vocab_size} float32 logits ({expected} bytes), "
                f"found {size}"
            )
        whole: NDArray[np.float32] = np.memmap(path, "<f4", "r").reshape(-1, vectors.vocab_size)
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    rows: list[NDArray[np.float32]] = np.split(whole, np.cumsum(lengths)[:-1])
    return rows


def _sigmas(window: WindowVectors, found: NDArray[np.float32]) -> NDArray[np.float64]:
    error = np.abs(found.astype(np.float64) - window.kept["logit"])
    sigmas: NDArray[np.float64] = np.nan_to_num(error / window.kept["sigma"], nan=np.inf, posinf=np.inf)
    return sigmas


def _different(window: WindowVectors, found: NDArray[np.float32]) -> NDArray[np.float64]:
    assert window.int8 is not None
    different: NDArray[np.float64] = (found.view("<u4") != window.int8.view("<u4")).astype(np.float64)
    return different
