"""Check hyper-parameters that are numbers."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.strict_json import shown

# Of real hyper-parameters: what float32 holds as a normal number, since engines compute with that.
SMALLEST, LARGEST = 2.0**-126, 2.0**127 * (2 - 2.0**-23)


def check_count(where: str, value: object) -> None:
    """Raise CheckpointError unless value is a positive int32."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(f"{where}: expected an integer, found {shown(value)}")
    if not 1 <= value < 2**31:
        raise CheckpointError(f"{where}: expected 1 to {2**31 - 1}, found {shown(value)}")


def check_positive(where: str, value: object) -> None:
    """Raise CheckpointError unless value is a positive number that is normal as float32."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckpointError(f"{where}: expected a number, found {shown(value)}")
    if not 0 < value < float("inf"):
        raise CheckpointError(f"{where}: expected a positive finite number, found {shown(value)}")
    if not SMALLEST <= value <= LARGEST:
        raise CheckpointError(
            f"{where}: expected {SMALLEST:.3g} to {LARGEST:.3g}, as float32 has it, found {shown(value)}"
        )
