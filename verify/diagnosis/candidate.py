"""Define Candidate: a mistake that may explain an operation beyond its bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.stage import Stage
from verify.operations.recompute import Recompute


@dataclass(frozen=True, eq=False)
class Candidate:
    """Holds a mistake, what the engine then does, and the stage and recomputation for which that is right.

    If the operation is within its bound there, the mistake explains it.
    """

    mistake: Mistake
    sentence: str
    stage: Stage
    recompute: Recompute


# (recompute, stage, operation) -> the candidates of one family for that operation
Propose = Callable[[Recompute, Stage, str], Iterator[Candidate]]


def with_hyper(recompute: Recompute, **changes: Any) -> Recompute:
    """Recompute as if the model had other hyperparameters."""
    return dataclasses.replace(recompute, hyper=dataclasses.replace(recompute.hyper, **changes))
