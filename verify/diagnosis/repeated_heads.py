"""Recognise a file that holds each key and value head several times, as if the model shared none."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch

import reader_c
from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.oracle.expected import parts
from verify.sources import Source
from verify.sources.row_order import in_file_order

_KINDS = ("attention.wk.weight", "attention.wv.weight")


def diagnose_repeated_heads(model: reader_c.Model, source: Source) -> Diagnosis | None:
    """Return the order in which the file repeats the source's heads; None unless it gives every bit of a tensor.

    Such a file has more n_kv_heads than the source, so that no other tensor mistake is tried.
    """
    own, found = source.hyperparameters.n_kv_heads, model.config.n_kv_heads
    if found == own or found % own:
        return None
    times, heads = found // own, torch.arange(own)
    orders = {tuple(index.tolist()): index for index in (heads.repeat_interleave(times), heads.repeat(times))}
    compared, present = BitComparison(model, in_file_order(source, model.format)), set(model.names)
    held: dict[tuple[int, ...], list[str]] = defaultdict(list)
    names = [f"layers.{layer}.{kind}" for layer in range(source.hyperparameters.n_layers) for kind in _KINDS]
    for name in (name for name in names if name in present):
        for order, index in orders.items():
            if _holds(compared, name, index):
                held[order].append(name)
    if not held:
        return None
    best = max(held, key=lambda order: len(held[order]))
    shown = ", ".join(map(str, best[: 2 * times])) + (", ..." if len(best) > 2 * times else "")
    what = m.HEADS_REPEATED.of_file(n=own, times=times, order=shown)
    return diagnosis_of_tensors(m.HEADS_REPEATED.name, what, held[best], held[best], len(names))


def _holds(compared: BitComparison, name: str, index: torch.Tensor) -> bool:
    how, size = compared.model.storage(name), compared.hyper.head_dim
    weights = compared.weights(name)
    if how.shape != (len(index) * size, weights.shape[1]):
        return False
    repeated = weights.view(-1, size, weights.shape[1])[index].flatten(0, 1)
    derived = parts(repeated, how.storage, how.group_size)
    found = compared.found(name)
    return all(np.array_equal(bits(part).reshape(found[key].shape), found[key]) for key, part in derived.items())
