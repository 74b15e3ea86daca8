"""Find the wrong part of an engine whose logits no known mistake explains, on altered copies of its file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.engine.altered_copy import AlteredCopy
from verify.engine.command import Engine, EngineFailedError
from verify.engine.experiments import Laboratory
from verify.engine.hint_search import Seen
from verify.engine.placement import Place, find_places
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.sources import Hyperparameters

# Positions of an experiment: a few beyond the first wrong one. Later ones would take too long.
_BEYOND, _MOST_POSITIONS = 12, 512


def places_of(
    engine: Engine, model: reader_c.Model, hyper: Hyperparameters, load: llama.Load, seen: Seen
) -> tuple[Place, ...]:
    """Return where the engine is wrong; nothing if experiments do not tell, or cannot run.

    seen: the window with the largest error.
    """
    count = seen.first + _BEYOND
    if count > _MOST_POSITIONS:
        return ()
    tokens = seen.tokens[:count]

    def run(file: str) -> NDArray[np.float32]:
        (found,) = engine.logits(file, (tokens,), hyper.vocab_size)
        return found

    with tempfile.TemporaryDirectory(prefix="altered-") as directory:
        try:
            copy = AlteredCopy(model, hyper, Path(directory, "altered.bin"))
            quantized = model.config.group_size > 0
            return find_places(Laboratory(run, copy, hyper, load, tokens, seen.limit, quantized))
        except (EngineFailedError, CannotJudgeError, OSError):
            # the verdict stands without it
            return ()
