"""Every rule of the hyper-parameters in v3's head, one broken head each, and each limit from both sides.

test_v3_switches.py has those of the architecture block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from helpers.models import config
from helpers.v3_files import SCALINGS
from helpers.v3_heads import MIXED, Change, broken, encoded, planned, refusal

import exporter
from exporter.formats.v3_parse import Parser

COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
SMALLEST, LARGEST = 2.0**-126, 2.0**127 * (2 - 2.0**-23)
REAL = "expected a positive finite number, normal as float32, found"
REALS = {"factor": 72, "low_freq_factor": 80, "high_freq_factor": 88}
REALS |= {"beta_fast": 96, "beta_slow": 104, "attention_factor": 112}
USED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "beta_fast", "beta_slow", "attention_factor"),
    "longrope": ("attention_factor",),
}
OUTSIDE = (0.0, -1.0, math.inf, math.nan, math.nextafter(SMALLEST, 0), math.nextafter(LARGEST, math.inf))
ORIGINAL = "rope_scaling original_max_positions at 68: expected"
CASES: list[tuple[str, Sequence[Change], str]] = [
    *(
        ("none", [(8 + 4 * i, "<i", value)], f"{field} at {8 + 4 * i}: expected at least 1, found {value}")
        for i, field in enumerate(COUNTS)
        for value in (0, -5)
    ),
    ("none", [(24, "<i", 4)], "n_kv_heads at 24: expected a divisor of 6, found 4"),
    ("none", [(36, "<I", 0)], "head_dim at 36: expected 1 to 357913941, found 0"),
    ("none", [(36, "<I", 1)], "head_dim at 36: expected a multiple of 2, found 1"),
    ("none", [(36, "<I", 357913941)], "head_dim at 36: expected a multiple of 2, found 357913941"),
    ("none", [(36, "<I", 357913942)], "head_dim at 36: expected 1 to 357913941, found 357913942"),
    # 3 divides 2^31 + 1, and 2 divides 2^31
    ("none", [(20, "<2i", 3, 3), (36, "<I", 2**30)], "head_dim at 36: expected 1 to 715827882, found 1073741824"),
    ("none", [(20, "<2i", 2, 2), (36, "<I", 2**30)], "head_dim at 36: expected 1 to 1073741823, found 1073741824"),
    (
        "none",
        [(20, "<2i", 1, 1), (36, "<I", 2**31 - 1)],
        "head_dim at 36: expected a multiple of 2, found 2147483647",
    ),
    ("none", [(40, "<I", 16)], "flags at 40: expected 0 to 15, found 16"),
    ("none", [(44, "<I", 3)], "activation at 44: expected 0 to 2, found 3"),
    *(
        ("none", [(at, "<d", value)], f"{field} at {at}: {REAL} {value}")
        for field, at in (("norm_eps", 48), ("rope_theta", 56))
        for value in OUTSIDE
    ),
    ("none", [(64, "<I", 6)], "rope_scaling type at 64: expected 0 to 5, found 6"),
    ("none", [(68, "<I", 1)], f"{ORIGINAL} 0 to 0, found 1"),
    ("linear", [(68, "<I", 1)], f"{ORIGINAL} 0 to 0, found 1"),
    *(
        (scaling, [(68, "<I", value)], f"{ORIGINAL} 1 to 2147483647, found {value}")
        for scaling in ("dynamic", "llama3", "yarn", "longrope")
        for value in (0, 2**31)
    ),
    *(
        (scaling, [(at, "<d", 0.0)], f"rope_scaling {field} at {at}: {REAL} 0.0")
        for scaling, used in USED.items()
        for field, at in REALS.items()
        if field in used
    ),
    *(
        (scaling, [(at, "<Q", 1 << 63)], f"rope_scaling {field} at {at}: expected 0, found {1 << 63}")
        for scaling, used in {"none": (), **USED}.items()
        for field, at in REALS.items()
        if field not in used
    ),
    ("none", [(120, "<I", 1)], "rope_scaling truncate at 120: expected 0 to 0, found 1"),
    ("yarn", [(120, "<I", 2)], "rope_scaling truncate at 120: expected 0 to 1, found 2"),
    (
        "yarn",
        [(56, "<d", 1.0)],
        "rope_theta at 56: expected other than 1, whose logarithm yarn divides by, found 1.0",
    ),
    *(
        (
            "llama3",
            [(88, "<d", value)],
            f"rope_scaling high_freq_factor at 88: expected more than low_freq_factor, found {value}",
        )
        for value in (1.0, 0.5)
    ),
    *(
        (scaling, [(68, "<I", 32)], "max_seq_len at 32: expected at most original_max_positions = 32, found 33")
        for scaling in ("dynamic", "longrope")
    ),
    *(
        (
            "longrope",
            [(576 + 4 * i, "<f", value)],
            f"RoPE factor at {576 + 4 * i}: expected a positive finite normal number, found {value}",
        )
        for i, value in enumerate((0.0, -1.0, math.inf, math.nan, 2.0**-127))
    ),
    ("none", [(268, "<I", 12)], "rotary_dim at 268: expected 2 to 10, found 12"),
]


@pytest.mark.parametrize(("scaling", "changes", "message"), CASES)
def test_a_broken_rule_is_named_at_its_place(scaling: str, changes: Sequence[Change], message: str) -> None:
    plan = planned(scaling)
    assert refusal(broken(plan, *changes), plan.size) == message


def read(model: exporter.ModelConfig) -> exporter.ModelConfig:
    plan = planned(**{field: getattr(model, field) for field in model.__dataclass_fields__})
    return Parser("a file", encoded(plan), plan.size).parse().plan.config


@pytest.mark.parametrize(
    "changes",
    [
        # at the limits of the numbers
        {"head_dim": 2},
        {"n_heads": 1, "n_kv_heads": 1, "head_dim": 2**31 - 2},
        {"norm_eps": SMALLEST, "rope_theta": LARGEST},
        {"rope_theta": 1.0},
        {"rope_theta": 2.0, "rope_scaling": SCALINGS["yarn"]},
        {"rope_scaling": exporter.RopeScaling("llama3", 8.0, 2**31 - 1, 1.0, math.nextafter(1, 2))},
        {"max_seq_len": 2**31 - 1, "rope_scaling": exporter.RopeScaling("dynamic", 2.0, 2**31 - 1)},
        {
            "head_dim": 4,
            "rope_scaling": exporter.RopeScaling(
                "longrope", original_max_positions=33, attention_factor=1.0, short_factors=(SMALLEST, LARGEST)
            ),
        },
    ],
)
def test_each_limit_is_legal(changes: dict[str, object]) -> None:
    model = config(**{"n_layers": 1, **changes})
    assert read(model) == model


def test_longrope_rotates_no_more_pairs_than_there_may_be_factors() -> None:
    """Of a head of 65,538 elements, 65,536."""
    factors = (1.0,) * 2**15
    scaling = exporter.RopeScaling("longrope", original_max_positions=33, attention_factor=1.0, short_factors=factors)
    model = config(n_layers=1, head_dim=2**16 + 2, rotary_dim=2**16, rope_scaling=scaling)
    assert read(model) == model
    plan = planned(**{field: getattr(model, field) for field in model.__dataclass_fields__})
    said = "rotary_dim at 268: expected 2 to 65536, found 65538"
    assert refusal(broken(plan, (268, "<I", 2**16 + 2)), plan.size) == said
    # without factors it may rotate all
    assert read(config(n_layers=1, head_dim=2**17)).rotated == 2**17


def test_a_layer_table_ends_within_the_file_and_within_the_head() -> None:
    plan = planned(**MIXED)  # type: ignore[arg-type]
    head = encoded(plan)
    assert refusal(head[:575], 575) == "file size: expected at least 576, found 575"
    assert refusal(head[:576], 576) == f"file size: expected exactly {plan.size}, found 576"
    claimed = 2**56 + 5
    said = f"head size at 136: expected at least 576, found {claimed}"
    assert refusal(broken(plan, (136, "<Q", claimed))[:575], plan.size) == said
    said = "metadata count at 148: expected 0 to 256, found 257"
    assert refusal(broken(plan, (148, "<I", 257))[:576], plan.size) == said


def test_experts_have_no_biases() -> None:
    plan = planned(**MIXED)  # type: ignore[arg-type]
    for flags in (8, 15):
        said = f"flags at 40: expected no bit 3, for experts have no biases, found {flags}"
        assert refusal(broken(plan, (40, "<I", flags)), plan.size) == said
