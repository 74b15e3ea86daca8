"""Find rows of gate (w1) and up (w3) that a writer took from one fused matrix in the wrong way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.oracle.expected import parts

# of a feed forward, and of each expert
_GATE, _UP = ".w1.weight", ".w3.weight"
_BY_PARITY, _IN_HALVES = "by even and odd rows", "in halves"


def diagnose_fused(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return how gate and up were split, by the layers in which it explains both; None if it explains none."""
    explained: dict[tuple[str, str], list[str]] = defaultdict(list)
    for gate in (name for name in differing if name.endswith(_GATE)):
        up = gate.replace(_GATE, _UP)
        split = _split(compared, gate, up) if up in differing else None
        if split is not None:
            explained[split] += [gate, up]
    if not explained:
        return None
    split = max(explained, key=lambda key: len(explained[key]))
    names = explained[split]
    what = m.GATE_UP_INTERLEAVED.of_file(found=split[0], expected=split[1])
    return diagnosis_of_tensors(m.GATE_UP_INTERLEAVED.name, what, names, names, len(differing))


def _split(compared: BitComparison, gate: str, up: str) -> tuple[str, str] | None:
    """Return (the file's way to split, the right way)."""
    first, second = compared.weights(gate).clone(), compared.weights(up)
    stacked = torch.cat((first, second))
    if _hold(compared, (gate, up), (stacked[::2], stacked[1::2])):
        return _BY_PARITY, _IN_HALVES
    mixed = torch.stack((first, second), dim=1).flatten(0, 1)
    if _hold(compared, (gate, up), (mixed[: len(first)], mixed[len(first) :])):
        return _IN_HALVES, _BY_PARITY
    return None


def _hold(compared: BitComparison, names: Sequence[str], weights: Sequence[torch.Tensor]) -> bool:
    for name, tensor in zip(names, weights, strict=True):
        how, found = compared.model.storage(name), compared.found(name)
        derived = parts(tensor.contiguous(), how.storage, how.group_size)
        if any((bits(part) != found[key]).any() for key, part in derived.items()):
            return False
    return True
