"""Run an engine over windows of one length and yield what it records, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.operations.attention import Recorded
from verify.sources.row_order import is_halved, paired

# Queries and keys, whose elements RoPE pairs.
_PAIRED = ("q", "k", "q_normed", "k_normed", "q_rotated", "k_rotated", "q_scaled")


def record(
    model: reader_c.Model,
    windows: list[NDArray[np.int64]],
    activations: reader_c.Activations,
    arithmetic: reader_c.Arithmetic,
) -> Iterator[tuple[int | None, Recorded]]:
    """Yield (layer, point -> tensor (windows, length, ...)), with the embedding first and the classifier last.

    Both of those have layer None. The windows run side by side on as many threads as PyTorch has; memory holds one
    layer of each. Queries and keys are in llama2.c's order, whatever order the file has.
    """
    walks = [iter(model.trace(tokens, activations=activations, arithmetic=arithmetic)) for tokens in windows]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while stages := list(pool.map(lambda walk: next(walk, None), walks)):
            if stages[0] is None:
                return
            at = {
                name: torch.from_numpy(np.stack([stage.at[name] for stage in stages if stage is not None]))
                for name in stages[0].at
            }
            yield stages[0].layer, _in_pairs(at, model) if is_halved(model.format) else at


def _in_pairs(at: Recorded, model: reader_c.Model) -> Recorded:
    """Return what was recorded of a file in halves, with the elements of queries and keys in llama2.c's order."""
    size = model.config.head_dim
    return {name: x[..., paired(x.shape[-1] // size, size)] if name in _PAIRED else x for name, x in at.items()}
