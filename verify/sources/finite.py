"""Finds a NaN or an infinity in a source, at its own place there."""

from __future__ import annotations

import torch

from verify.errors import NotFiniteError


def expect_finite(where: object, name: str, stored: torch.Tensor) -> None:
    """Raise NotFiniteError for a number that is not finite: with its row and column, counted from 0, in the tensor
    as it is stored, before any other order of rows."""
    # sums are quick, and finite wherever the numbers are, unless those are huge
    if torch.isfinite(stored.sum(dtype=torch.float32)) or bool(torch.isfinite(stored).all()):
        return
    place = (~torch.isfinite(stored)).nonzero()[0].tolist()
    shown = f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"element {place[0]}"
    raise NotFiniteError(f"{where}: {name}: expected finite numbers, found {stored[tuple(place)].item()} at {shown}")
