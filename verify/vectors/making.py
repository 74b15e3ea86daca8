"""Make golden vectors of a file whose weights are those of its source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.execution import LIMIT_SIGMAS, worst_logit
from verify.errors import CannotJudgeError
from verify.evidence import Evidence, Window
from verify.evidence.seed import choose_seed
from verify.oracle import llama, multiplications
from verify.oracle.logit_margins import Margins
from verify.oracle.logit_sigma import LogitNoise, WindowSigma
from verify.report.findings import Findings
from verify.run.compared_windows import ARITHMETICS
from verify.run.progress import Meter, Progress, no_progress
from verify.run.reference_logits import References
from verify.sources import Source, open_source
from verify.system.digests import sha256_of
from verify.system.numerics import pinned_numerics
from verify.system.pulse import NOISY, WIDE
from verify.vectors.choice import KEPT, edge_window, kept_ids, positions
from verify.vectors.expectations import expect_agreement, expect_the_source
from verify.vectors.golden import AT, GoldenVectors, WindowVectors
from verify.vectors.golden import KEPT as KEPT_RECORD
from verify.vectors.worst import WorstPosition, worst_positions

_WINDOWS, _LENGTH, _LONG = 4, 64, 512
_DRAWS = 8


@dataclass(frozen=True)
class Made:
    """Golden vectors, and what was seen while they were made.

    certified, counted: how many positions of the windows are certified to have their most likely token, and how many
    positions there are. worst: the reader's worst logit of any kept window, in standard deviations. from_report:
    (window, position) of each position that a verdict found worst.
    """

    vectors: GoldenVectors
    certified: int
    counted: int
    worst: float
    from_report: tuple[tuple[int, int], ...] = ()


def make_vectors(
    source: Source | Path | str,
    path: Path | str,
    *,
    evidence: Evidence | None = None,
    kept: int = KEPT,
    report: Findings | None = None,
    judged_on: Evidence | None = None,
    progress: Progress = no_progress,
    **reading: Any,
) -> Made:
    """Make the golden vectors of a .bin file.

    Args:
        source: the checkpoint that the file was made from.
        path: the .bin file.
        evidence: the windows; by default four of 64 random tokens, a long one and fixed ones.
        kept: logits of each position, at least 2.
        report: of a verdict on the file; the positions that its `execution` and `engine` found worst are kept.
        judged_on: the evidence of that verdict; by default `evidence`.
        progress: receives the progress of the work.
        reading: how to read the source, as open_source() takes it.

    Raises:
        CannotJudgeError: the file does not hold the source's model, the reader's own logits are not within the
            limit, the report is of another file or other windows, or an argument is out of range.
    """
    if kept < 2:
        raise CannotJudgeError(f"kept: expected at least 2, to have a most likely token and another, found {kept}")
    opened = source if isinstance(source, Source) else open_source(source, **reading)
    with pinned_numerics(), reader_c.open(path, check_digests=False) as model:
        expect_the_source(model, opened)
        digest = sha256_of(model.content)
        windows = _windows(opened, model, evidence, digest)
        asked = judged_on or evidence or Evidence()
        longest = model.config.max_seq_len
        worst = [] if report is None else worst_positions(report, opened, asked, longest, digest)
        return _Maker(opened, model, kept, digest, progress).make(*_with_worst(windows, worst))


def _windows(source: Source, model: reader_c.Model, evidence: Evidence | None, digest: str) -> list[Window]:
    config = model.config
    asked = evidence or Evidence(windows=_WINDOWS, length=min(_LENGTH, config.max_seq_len))
    seed = choose_seed(asked.seed, digest, None)
    windows = asked.collect(source, config.max_seq_len, seed)
    if evidence is None and config.max_seq_len > _LENGTH:
        rng = np.random.default_rng(seed.number)
        ids = rng.integers(config.vocab_size, size=min(_LONG, config.max_seq_len))
        windows.append(Window(ids, "random"))
    return [*windows, edge_window(config.vocab_size, config.max_seq_len)]


def _with_worst(
    windows: list[Window], worst: list[WorstPosition]
) -> tuple[list[Window], tuple[tuple[int, int], ...]]:
    """Add the windows of the worst positions that are not there yet; return (window, position) of each, too."""
    places = []
    for one in worst:
        number = next((n for n, w in enumerate(windows) if np.array_equal(w.tokens, one.window.tokens)), len(windows))
        if number == len(windows):
            windows = [*windows, one.window]
        places.append((number, one.position))
    return windows, tuple(places)


class _Maker:
    def __init__(self, source: Source, model: reader_c.Model, kept: int, digest: str, progress: Progress) -> None:
        self._source, self._model, self._digest, self._progress = source, model, digest, progress
        self._kept = min(kept, model.config.vocab_size)
        self._hyper = source.hyperparameters
        self._references = References(source, model)
        self._load = self._references.file_weights
        self._certified = self._counted = 0
        self._worst = 0.0

    def make(self, windows: list[Window], worst: tuple[tuple[int, int], ...]) -> Made:
        """Make the vectors. worst: a window and a position of it that is kept, each."""
        work = sum(self._work(len(window.tokens)) for window in windows)
        with Meter(self._progress, "vectors", work).part(work):
            expect_agreement(self._source, self._references, windows[0].tokens)
            made = tuple(
                self._window(number, window.tokens, [position for n, position in worst if n == number])
                for number, window in enumerate(windows)
            )
        listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._source.files.items()))
        vectors = GoldenVectors(
            vocab_size=self._hyper.vocab_size,
            kept=self._kept,
            limit=LIMIT_SIGMAS,
            file_size=len(self._model.content),
            file_sha256=self._digest,
            source_sha256=hashlib.sha256(listed.encode()).hexdigest(),
            windows=made,
        )
        return Made(vectors, self._certified, self._counted, self._worst, worst)

    def _work(self, length: int) -> float:
        one = multiplications.of_head(self._hyper, 1, length)
        one += self._hyper.n_layers * multiplications.of_layer(self._hyper, 1, length)
        return one * (WIDE + _DRAWS * NOISY)

    def _window(self, number: int, ids: NDArray[np.int64], asked: list[int]) -> WindowVectors:
        tokens = torch.from_numpy(ids)[None]
        reference = llama.logits(self._hyper, self._load, tokens).numpy()
        found = Margins(self._hyper, self._load, reference)
        noise = LogitNoise(self._hyper, self._load, tokens, reference, number, seen=found.add)
        noise.draw(_DRAWS)
        sigma = noise.window(0)
        worst = self._worst_position(number, ids, reference[0], sigma)
        margins = found.window(0, noise)
        self._certified += int((margins.sigmas >= LIMIT_SIGMAS).sum())
        self._counted += len(ids)
        rng = np.random.default_rng(number)
        chosen = positions(len(ids), sorted({worst, *asked}), rng)
        at, records = np.zeros(len(chosen), AT), np.zeros((len(chosen), self._kept), KEPT_RECORD)
        at["position"], at["first"] = chosen, margins.first[chosen]
        at["margin"] = margins.sigmas[chosen]
        for row, position in enumerate(chosen.tolist()):
            logits = reference[0, position]
            following = int(ids[position + 1]) if position + 1 < len(ids) else None
            kept = kept_ids(logits, following, self._kept, rng)
            records["id"][row], records["logit"][row] = kept, logits[kept]
            records["sigma"][row] = sigma[position : position + 1][0, kept]
        return WindowVectors(ids, at, records, self._int8(ids, chosen, records["id"]))

    def _worst_position(
        self, number: int, ids: NDArray[np.int64], reference: NDArray[np.float64], sigma: WindowSigma
    ) -> int:
        """Return where the reader is worst, by either arithmetic. Raises CannotJudgeError beyond the limit."""
        found = [
            worst_logit(number, reference, sigma, self._model.forward(ids, arithmetic=arithmetic), LIMIT_SIGMAS)
            for arithmetic in ARITHMETICS
        ]
        worst = max(found, key=lambda one: one.sigmas)
        self._worst = max(self._worst, worst.sigmas)
        if worst.sigmas > LIMIT_SIGMAS:
            raise CannotJudgeError(
                f"{self._model.path}: execution: expected the reader's logits within {LIMIT_SIGMAS:g} standard "
                f"deviations, found {worst.sigmas:.3g} at position {worst.where['position']}; run verify for more"
            )
        return int(worst.where["position"])

    def _int8(
        self, ids: NDArray[np.int64], chosen: NDArray[np.int64], kept: NDArray[Any]
    ) -> NDArray[np.float32] | None:
        """Return runq.c's own logits of the kept tokens, if the file has int8 weights."""
        if not self._model.config.group_size:
            return None
        logits = self._model.forward(ids, activations="q8", arithmetic="mirror")[chosen]
        return np.take_along_axis(logits, kept.astype(np.int64), axis=1)
