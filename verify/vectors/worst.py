"""Find the positions that a verdict found worst, and their windows again, of which a report has only the digests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from verify.checks.metrics import digest_of
from verify.errors import CannotJudgeError
from verify.evidence import Evidence, Window
from verify.evidence.generated import fixed_windows, random_windows
from verify.evidence.seed import Seed
from verify.report.findings import Findings
from verify.sources import Source

# The checks that compare an engine's logits at each position.
_CHECKS = ("execution", "engine")


@dataclass(frozen=True)
class WorstPosition:
    """Describes the position where the logits of an engine were furthest from the reference. check: that found it."""

    check: str
    window: Window
    position: int


def worst_positions(
    report: Findings, source: Source, evidence: Evidence, max_seq_len: int, sha256: str
) -> list[WorstPosition]:
    """Return the position that `execution` found worst and, if an engine was judged, that of `engine`.

    evidence: what the verdict was given; its text and its tokens are read again. sha256: of the file, which must be
    the report's. Raises CannotJudgeError, too, if a window cannot be made again.
    """
    if report.file["sha256"] != sha256:
        raise CannotJudgeError(f"report: sha256: expected {sha256}, that of the file, found {report.file['sha256']}")
    digests = {window.window: window.tokens_sha256 for window in report.windows}
    found = []
    for check in report.checks:
        number, position = check.where.get("window"), check.where.get("position")
        if check.name not in _CHECKS or not isinstance(number, int) or not isinstance(position, int):
            continue
        digest = digests.get(number)
        windows = _made_again(report, source, evidence, max_seq_len)
        window = next((one for one in windows if digest_of(one.tokens) == digest), None)
        if window is None or not 0 <= position < len(window.tokens) <= max_seq_len:
            raise CannotJudgeError(
                f"report: window {number}: expected token ids with sha256 {digest}, found none: give the --text, "
                "--tokenizer and --tokens of the verdict"
            )
        found.append(WorstPosition(check.name, window, position))
    return found


def _made_again(report: Findings, source: Source, evidence: Evidence, max_seq_len: int) -> Iterator[Window]:
    """Yield the windows of a verdict, and perhaps others."""
    vocab_size, seed = source.hyperparameters.vocab_size, Seed(int(report.evidence["seed"]), "given")
    lengths: dict[str, list[int]] = {"random": [], "fixed": []}
    for window in report.windows:
        if window.activations == "fp32" and window.origin in lengths:
            lengths[window.origin].append(len(window.kl))
    yield from random_windows(vocab_size, lengths["random"], seed.number)
    for length in sorted(set(lengths["fixed"])):
        yield from fixed_windows(vocab_size, length)
    given = dataclasses.replace(evidence, depth=str(report.evidence["depth"]))
    if given.text is not None or given.tokens is not None:
        yield from given.collect(source, max_seq_len, seed)
        # the verdict had no memory for a long window
        yield from given.collect(source, max_seq_len, seed, lambda _length: False)
