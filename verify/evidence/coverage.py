"""Say what a verdict covered: how much of the model's positions and vocabulary its windows fed, and how they ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.evidence.window import Window

# Arithmetics whose bits are the same on every instruction set, so that the sentence names none.
_WITHOUT_PATHS = ("mirror", "transformers")


@dataclass(frozen=True)
class Coverage:
    """Holds what the checks that run the model covered.

    windows, tokens: how many were fed. positions: of the longest window, of max_seq_len that there are. token_ids:
    different ones, of vocab_size. The windows say this much; replaced() adds what only the run knows.

    arithmetics: that were judged, as "mirror" and "fast". paths: instruction sets of `fast`. threads: how many the
    engine used in a pass. calls: how it was given the tokens, as "whole", "token by token", "uneven pieces".
    engine_sequences: how many one process of the user's engine ran. traced_windows, traced_positions: how many had
    their operations recorded. undecided_positions: how many no check on logits judged, because rounding decides which
    experts compute them. router_margin: the smallest distance of a choice of experts from another one, in standard
    deviations of rounding; None for a model without such choices.
    """

    windows: int
    tokens: int
    positions: int
    max_seq_len: int
    token_ids: int
    vocab_size: int
    arithmetics: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    calls: tuple[str, ...] = ()
    engine_sequences: int = 0
    traced_windows: int = 0
    traced_positions: int = 0
    undecided_positions: int = 0
    router_margin: float | None = None

    @classmethod
    def of(cls, windows: Sequence[Window], vocab_size: int, max_seq_len: int) -> Coverage:
        """Count what these windows feed; without any, nothing was covered."""
        lengths = [len(window.tokens) for window in windows]
        ids = np.concatenate([window.tokens for window in windows]) if windows else np.empty(0, np.int64)
        return cls(
            windows=len(windows),
            tokens=sum(lengths),
            positions=max(lengths, default=0),
            max_seq_len=max_seq_len,
            token_ids=len(np.unique(ids)),
            vocab_size=vocab_size,
        )

    def replaced(self, **run: Any) -> Coverage:
        """Return the coverage with fields that only the run knows: arithmetics, paths, threads, calls,
        engine_sequences, traced_windows, traced_positions, undecided_positions, router_margin."""
        return dataclasses.replace(self, **run)

    @property
    def position_share(self) -> float:
        """Return the share of the model's positions that a window reached."""
        return self.positions / self.max_seq_len

    @property
    def token_id_share(self) -> float:
        """Return the share of the vocabulary that was fed."""
        return self.token_ids / self.vocab_size

    def sentence(self) -> str:
        """Say in one line what was covered."""
        if not self.windows:
            return "covered: no window, because the model was not run"
        parts = [
            f"{self.windows} window{'' if self.windows == 1 else 's'}",
            f"positions 0-{self.positions - 1} of {self.max_seq_len}",
            f"{self.token_ids:,} of {self.vocab_size:,} token ids ({_percent(self.token_ids, self.vocab_size)})",
        ]
        if self.arithmetics:
            parts.append(" and ".join(map(self._with_paths, self.arithmetics)))
        if self.traced_windows:
            parts.append(f"operations in {self.traced_windows} window{'' if self.traced_windows == 1 else 's'}")
        if self.undecided_positions:
            parts.append(f"without {_counted(self.undecided_positions)} whose experts rounding decides")
        return f"covered: {', '.join(parts)}"

    def _with_paths(self, arithmetic: str) -> str:
        if arithmetic in _WITHOUT_PATHS or not self.paths:
            return arithmetic
        return f"{arithmetic} ({', '.join(self.paths)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data that a report's `evidence` holds."""
        fields = dataclasses.asdict(self)
        if self.router_margin is None:
            del fields["undecided_positions"], fields["router_margin"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def of_report(cls, evidence: Mapping[str, Any]) -> Coverage | None:
        """Return the coverage in the `evidence` of a report; None if the report was made before it was recorded."""
        found: dict[str, Any] | None = evidence.get("coverage")
        if found is None:
            return None
        fields: dict[str, Any] = {
            field.name: tuple(held) if isinstance(held := found[field.name], list) else held
            for field in dataclasses.fields(cls)
            if field.name in found
        }
        return cls(**fields)


def _counted(positions: int) -> str:
    """Write a number of positions."""
    return f"{positions} position{'' if positions == 1 else 's'}"


def _percent(part: int, whole: int) -> str:
    """Write a share, rounded down so that only all of the whole is 100 %."""
    tenths = 1000 * part // whole
    return f"{tenths // 10}.{tenths % 10} %"
