"""RopeScaling: how RoPE's frequencies differ from those that theta gives."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields

from exporter.errors import CheckpointError
from exporter.number_checks import check_count, check_positive
from exporter.strict_json import shown

# What each kind of RoPE scaling is made of; the other fields of RopeScaling are zero.
ROPE_SCALING_FIELDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "linear": ("factor",),
    "dynamic": ("factor", "original_max_positions"),
    "llama3": ("factor", "original_max_positions", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "original_max_positions", "beta_fast", "beta_slow", "attention_factor", "truncate"),
    "longrope": ("original_max_positions", "attention_factor", "short_factors"),
}
# More pairs than any head has; a wrong head of a v3 file is refused at once.
MOST_FACTORS = 1 << 15


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies differ from theta^(-2i / head_dim). It validates itself.

    "linear": divided by factor. "dynamic": not at all up to original_max_positions, beyond which no engine with a
    KV cache can follow. "llama3": divided by factor below low_freq_factor turns in original_max_positions, kept above
    high_freq_factor turns, blended between. "yarn": blended over the pairs whose turns lie between beta_slow and
    beta_fast, pair indices rounded outwards where truncate is set, and sines and cosines times attention_factor.
    "longrope": each pair divided by a factor of its own, and sines and cosines times attention_factor; beyond
    original_max_positions a sequence has other factors from its first position on, which no engine with a KV cache
    can follow.

    Attributes:
        type: "none", "linear", "dynamic", "llama3", "yarn" or "longrope".
        factor, original_max_positions, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor,
            truncate: as above; zero where the type does not use them.
        short_factors: of longrope, one float32 number for each pair; empty for the others.
        long_factors: what a Hugging Face source has for sequences beyond original_max_positions; a Hugging Face
            directory receives it, and nothing here computes with it.

    Raises:
        CheckpointError: a field is out of range, or of another type.
    """

    type: str = "none"
    factor: float = 0.0
    original_max_positions: int = 0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    beta_fast: float = 0.0
    beta_slow: float = 0.0
    attention_factor: float = 0.0
    truncate: bool = False
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.type not in ROPE_SCALING_FIELDS:
            raise CheckpointError(
                f"rope_scaling: expected one of {', '.join(ROPE_SCALING_FIELDS)}, found {self.type!r}"
            )
        used = ROPE_SCALING_FIELDS[self.type]
        for each in fields(self):
            value = getattr(self, each.name)
            where = f"rope_scaling: {each.name}"
            if each.name in ("type", "long_factors") or (each.name == "truncate" and each.name in used):
                continue
            if each.name not in used:
                if value:
                    raise CheckpointError(f"{where}: expected none for {self.type}, found {shown(value)}")
            elif each.name == "short_factors":
                _check_factors(where, self.short_factors)
            elif each.type == "int":
                check_count(where, value)
            else:
                check_positive(where, value)
        if self.type == "llama3" and not self.low_freq_factor < self.high_freq_factor:
            raise CheckpointError(
                f"rope_scaling: high_freq_factor: expected more than low_freq_factor = {self.low_freq_factor:g}, "
                f"found {self.high_freq_factor:g}"
            )


def _check_factors(where: str, values: tuple[float, ...]) -> None:
    if not isinstance(values, tuple) or not 1 <= len(values) <= MOST_FACTORS:
        found = len(values) if isinstance(values, tuple) else type(values).__name__
        raise CheckpointError(f"{where}: expected a tuple of 1 to {MOST_FACTORS} numbers, found {found}")
    for number, value in enumerate(values):
        check_positive(f"{where}: {number}", value)
        if struct.unpack("<f", struct.pack("<f", value))[0] != value:
            raise CheckpointError(f"{where}: {number}: expected a float32 number, found {value!r}")
