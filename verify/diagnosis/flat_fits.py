"""Propose that a quantized tensor's values were displaced before they were quantized, as by a wrong offset.

In other storages the bytes themselves are displaced, which displaced_bytes.py finds.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.found_numbers import numbers_from
from verify.diagnosis.tensor_mistakes import TensorMistake

# Elements whose correlation at every distance is computed.
_SAMPLE = 1 << 20
# Fewer correlate by chance.
_FEWEST = 64
# Displaced values correlate nearly fully where they overlap.
_ALIKE = 0.4


def displaced_values(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose the distance at which the file's numbers resemble the source's most."""
    weights = compared.weights(name)
    if compared.model.storage(name).storage != "q8_0" or weights.numel() < _FEWEST:
        return
    by = _distance(*numbers_from(compared, name, 0, max(1, _SAMPLE // weights.shape[1])))
    if by and 2 * abs(by) <= weights.numel():
        fields = (("count", f"{abs(by)} places" if abs(by) > 1 else "one place"), ("direction", _direction(by)))
        unknown = -(-abs(by) // weights.shape[1])
        yield TensorMistake(r.VALUES_DISPLACED, (_displaced(by),), unknown=unknown, fields=fields)


def _direction(by: int) -> str:
    return "late" if by > 0 else "early"


def _distance(found: torch.Tensor, expected: torch.Tensor) -> int:
    """Return by how many places the file's numbers are late; 0 if no distance stands out."""
    mine, right = (part.flatten() - part.mean() for part in (found, expected))
    sizes = float(mine.norm() * right.norm())
    if not 0 < sizes < float("inf"):
        return 0
    products = torch.fft.irfft(torch.fft.rfft(mine) * torch.fft.rfft(right).conj(), n=len(mine))
    at = int(products.argmax())
    if float(products[at]) < _ALIKE * sizes:
        return 0
    return at if 2 * at <= len(mine) else at - len(mine)


def _displaced(by: int) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        flat, width = rows.weights.flatten(), rows.weights.shape[1]
        index = (torch.arange(rows.first * width, rows.last * width) - by) % len(flat)
        return rows.stored(flat[index].view(-1, width))

    return derive
