"""Certify greedy text: say at which positions every correct float32 engine chooses the same token.

A position is certified if the first logit is above the second one by at least 10 standard deviations of the rounding
of their difference. With int8 activations logits have exact bits, so a token is certain unless the two are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from verify.checks.digits import counted, percentage
from verify.checks.execution import LIMIT_SIGMAS
from verify.checks.logit_blocks import Logits
from verify.oracle.logit_margins import WindowMargins

# Characters of a prompt that a sentence shows.
_SHOWN = 60


@dataclass(frozen=True)
class MarginAt:
    """Describes the margin at one position. tokens: the likeliest and the second. sigmas: their difference, in
    standard deviations of its float32 rounding."""

    window: int
    position: int
    tokens: tuple[int, int]
    sigmas: float


@dataclass(frozen=True)
class Certificates:
    """Holds what is certain of greedy text, in one window or in all.

    certified: positions with a margin of at least `limit`. first_uncertain: the first that is not certified.
    smallest: the smallest margin. int8_certain: positions where the logits by int8 activations have one largest;
    None for files without such activations.
    """

    positions: int
    certified: int
    limit: float
    first_uncertain: MarginAt | None
    smallest: MarginAt
    int8_certain: int | None

    def sentence(self) -> str:
        """Say what is certain, for people."""
        said = (
            f"every correct float32 engine chooses the same token at {self.certified:,} of {self.positions:,} "
            f"positions ({percentage(self.certified / self.positions, 2)}, statistical)"
        )
        if at := self.first_uncertain:
            said += f"; the first that is not certain: window {at.window}, position {at.position}"
        at = self.smallest
        said += (
            f"; smallest margin {at.sigmas:.3g} standard deviations where {self.limit:g} certify, tokens "
            f"{at.tokens[0]} and {at.tokens[1]} in window {at.window}, position {at.position}"
        )
        if self.int8_certain is not None:
            share = percentage(self.int8_certain / self.positions, 2)
            said += f"; with int8 activations at {self.int8_certain:,} ({share}, exact)"
        return said


@dataclass(frozen=True)
class Tie:
    """Describes two tokens between which rounding decides.

    tokens: the likeliest and the second. sigmas: how far their logits are apart, in standard deviations of the
    rounding of their difference.
    """

    position: int
    tokens: tuple[int, int]
    sigmas: float


@dataclass(frozen=True)
class GreedyText:
    """Says how long greedy text from a prompt is certain.

    prompt: its text; None for a prompt of token ids. activations: fp32 or q8. tokens: how many the C reader chose.
    certain: how many of them every correct engine chooses before the first that is not certain. tie: at the position
    that decides that one; None if all are certain. smallest_margin: of all the tokens, in standard deviations.
    """

    prompt: str | None
    activations: Literal["fp32", "q8"]
    tokens: int
    certain: int
    tie: Tie | None
    smallest_margin: float

    def sentence(self, spelled: Callable[[int], str] = str) -> str:
        """Say how long the text is certain, for people. spelled: returns a token as people read it."""
        what = "greedy text" if self.prompt is None else f"greedy text from {_shortened(self.prompt)}"
        if self.activations == "q8":
            what += " with int8 activations"
        if self.tie is None:
            finite = math.isfinite(self.smallest_margin)
            least = f"smallest margin {self.smallest_margin:.3g} standard deviations" if finite else "to the bit"
            return f"{what} is certain for all {counted(self.tokens, 'token')}; {least}"
        first, second = (spelled(token) for token in self.tie.tokens)
        return (
            f"{what} is certain for {counted(self.certain, 'token')}; then, at position {self.tie.position}, {first} "
            f"and {second} are a tie within rounding: {self.tie.sigmas:.3g} standard deviations apart"
        )


def greedy_text_of(
    prompt: str | None, activations: Literal["fp32", "q8"], first: int, found: Certificates
) -> GreedyText:
    """Say how long greedy text is certain. first: the position of the first token that was chosen. found: of the
    positions from there on."""
    at = found.first_uncertain
    return GreedyText(
        prompt=prompt,
        activations=activations,
        tokens=found.positions,
        certain=found.positions if at is None else at.position - first,
        tie=None if at is None else Tie(at.position, at.tokens, at.sigmas),
        smallest_margin=found.smallest.sigmas,
    )


def _shortened(prompt: str) -> str:
    return repr(prompt) if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN]!r}..."


def certificates_of(
    number: int, margins: WindowMargins, int8_certain: int | None, first_position: int = 0
) -> Certificates:
    """Certify the positions of one window. number: of the window. first_position: that of the first margin."""

    def at(row: int) -> MarginAt:
        tokens = int(margins.first[row]), int(margins.second[row])
        return MarginAt(number, first_position + row, tokens, float(margins.sigmas[row]))

    certified = margins.sigmas >= LIMIT_SIGMAS
    return Certificates(
        positions=len(certified),
        certified=int(certified.sum()),
        limit=LIMIT_SIGMAS,
        first_uncertain=None if certified.all() else at(int(certified.argmin())),
        smallest=at(int(margins.sigmas.argmin())),
        int8_certain=int8_certain,
    )


def all_certificates(of_windows: Sequence[Certificates | None]) -> Certificates | None:
    """Merge the windows' certificates, in the windows' order; None if a window has none."""
    found = [one for one in of_windows if one is not None]
    if not found or len(found) < len(of_windows):
        return None
    exact = [one.int8_certain for one in found if one.int8_certain is not None]
    return Certificates(
        positions=sum(one.positions for one in found),
        certified=sum(one.certified for one in found),
        limit=LIMIT_SIGMAS,
        first_uncertain=next((one.first_uncertain for one in found if one.first_uncertain), None),
        smallest=min((one.smallest for one in found), key=lambda at: at.sigmas),
        int8_certain=sum(exact) if exact else None,
    )


def one_largest(logits: Logits) -> int:
    """Return at how many positions exactly one logit is the largest. logits: (length, vocab_size)."""
    if logits.shape[1] == 1:
        return len(logits)
    top = torch.from_numpy(logits).topk(2, dim=1).values
    return int((top[:, 0] > top[:, 1]).sum())
