"""Golden vectors keep the positions that a verdict found worst, in windows made again from its report."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from verify.checks.metrics import digest_of
from verify.errors import CannotJudgeError
from verify.evidence import Evidence, Window
from verify.evidence.generated import fixed_windows, random_windows
from verify.vectors.choice import positions
from verify.vectors.worst import worst_positions

VOCAB, LONGEST, SEED = 29, 16, 7
SOURCE: Any = SimpleNamespace(hyperparameters=SimpleNamespace(vocab_size=VOCAB, n_heads=1), tokenizer_path=None)
GIVEN = [np.arange(5)]
WINDOWS = [
    Window(GIVEN[0], "tokens"),
    *random_windows(VOCAB, [8, 8, 13], SEED),
    *fixed_windows(VOCAB, 8),
]


def report(*where: dict[str, Any], names: Sequence[str] = ("execution", "engine", "tensors")) -> Any:
    """A report on these windows; each check says where it found something."""
    return SimpleNamespace(
        file={"sha256": "ab"},
        evidence={"seed": SEED, "depth": "quick"},
        checks=[SimpleNamespace(name=name, where=one) for name, one in zip(names, where, strict=False)],
        windows=[
            SimpleNamespace(
                window=number,
                activations=activations,
                origin=window.origin,
                tokens_sha256=digest_of(window.tokens),
                kl=(0.0,) * len(window.tokens),
            )
            for activations in ("fp32", "q8")
            for number, window in enumerate(WINDOWS)
        ],
    )


def found(made: Any, evidence: Evidence | None = None, longest: int = LONGEST) -> list[tuple[str, list[int], int]]:
    worst = worst_positions(made, SOURCE, evidence or Evidence(), longest, "ab")
    return [(one.check, one.window.tokens.tolist(), one.position) for one in worst]


def test_windows_are_made_again_from_the_report() -> None:
    of_other_checks = {"window": 0, "position": 0}
    for number in range(1, len(WINDOWS)):
        where = {"window": number, "position": 2}
        made = report(where, {"window": 3, "position": 12}, of_other_checks)
        assert found(made) == [
            ("execution", WINDOWS[number].tokens.tolist(), 2),
            ("engine", WINDOWS[3].tokens.tolist(), 12),
        ]
    assert found(report({}, {"window": 1})) == []
    given = Evidence(tokens=GIVEN, windows=3, length=8)
    assert found(report({"window": 0, "position": 4}), given) == [("execution", GIVEN[0].tolist(), 4)]


def test_what_cannot_be_made_again_is_refused() -> None:
    for where, longest in (
        ({"window": 0, "position": 4}, LONGEST),
        ({"window": 9, "position": 4}, LONGEST),
        ({"window": 1, "position": 8}, LONGEST),
        ({"window": 1, "position": -1}, LONGEST),
        ({"window": 3, "position": 1}, 12),
    ):
        with pytest.raises(
            CannotJudgeError, match=f"^report: window {where['window']}: expected token ids with sha256 "
        ):
            found(report(where), longest=longest)
    with pytest.raises(CannotJudgeError, match=r"^report: sha256: expected cd, that of the file, found ab$"):
        worst_positions(report(), SOURCE, Evidence(), LONGEST, "cd")


def test_worst_positions_of_long_windows_are_kept() -> None:
    chosen = positions(500, [100, 300, 499], np.random.default_rng(0))
    assert {100, 300, 499} <= set(chosen.tolist())
    assert len(chosen) == 95
    assert len(positions(500, [100], np.random.default_rng(0))) == 96
