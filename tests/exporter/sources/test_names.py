"""Names without what wrappers put before them."""

from __future__ import annotations

import pytest

import exporter
from exporter.sources.names import Renamed, without_prefixes

WANTED = ["model.norm.weight", "model.layers.0.up.weight", "lm_head.weight"]
PLAIN = ["norm.weight", "layers.0.up.weight", "output.weight"]


def note(prefix: str) -> str:
    return f'weights are named with the prefix "{prefix}"; it was removed'


ADDED = 'weights are named without the prefix "model."; it was added'


@pytest.mark.parametrize(
    ("found", "stored", "notes"),
    [
        (WANTED, WANTED, []),
        ([f"module.{name}" for name in WANTED], WANTED, [note("module.")]),
        ([f"_orig_mod.module.{name}" for name in WANTED], WANTED, [note("_orig_mod."), note("module.")]),
        (
            ["model.norm.weight", "model.layers.0._fsdp_wrapped_module.up.weight"],
            WANTED[:2],
            [note("_fsdp_wrapped_module.")],
        ),
        (["model._checkpoint_wrapped_module.norm.weight"], WANTED[:1], [note("_checkpoint_wrapped_module.")]),
        ([f"model.{name}" for name in WANTED], WANTED, [note("model.")]),
        ([f"net.{name}" for name in WANTED], WANTED, [note("net.")]),
        ([f"net.model.{name}" for name in WANTED], WANTED, [note("net.model.")]),
        (["norm.weight", "layers.0.up.weight"], WANTED[:2], [ADDED]),
        (["norm.weight", "lm_head.weight"], [WANTED[0], WANTED[2]], [ADDED]),
        (["net.norm.weight", "net.layers.0.up.weight"], WANTED[:2], [ADDED, note("net.")]),
    ],
)
def test_what_wraps_a_model_is_removed(found: list[str], stored: list[str], notes: list[str]) -> None:
    expected = dict(zip(stored, found, strict=True))
    assert without_prefixes("here", found, WANTED, "model.") == Renamed(expected, tuple(notes))


def test_a_model_without_a_body_has_no_prefix_to_add() -> None:
    assert without_prefixes("here", PLAIN, PLAIN) == Renamed(dict(zip(PLAIN, PLAIN, strict=True)), ())
    found = [f"model.{name}" for name in PLAIN]
    assert without_prefixes("here", found, PLAIN) == Renamed(dict(zip(PLAIN, found, strict=True)), (note("model."),))


def test_the_names_that_fit_most_are_taken() -> None:
    """A tensor of another name stays, to be refused by its own name."""
    found = [*WANTED, "model.other.weight"]
    assert without_prefixes("here", found, WANTED, "model.") == Renamed(dict(zip(found, found, strict=True)), ())
    # half of the names fit either way: the first way is taken
    both = ["model.norm.weight", "model.model.norm.weight"]
    assert without_prefixes("here", both, WANTED, "model.").stored == dict(zip(both, both, strict=True))


def test_two_names_of_one_tensor_are_refused() -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        without_prefixes("here", ["module.norm.weight", "norm.weight"], PLAIN)
    assert str(caught.value) == ("here: norm.weight: expected once, found 'module.norm.weight' and 'norm.weight'")


@pytest.mark.parametrize("prefix", ["student.", "a.b."])
def test_a_prefix_that_nobody_knows_is_told(prefix: str) -> None:
    for wanted, body, found in (
        (PLAIN, "", PLAIN),
        (WANTED, "model.", WANTED),
        (WANTED, "model.", ["norm.weight", "layers.0.up.weight"]),
    ):
        with pytest.raises(exporter.CheckpointError) as caught:
            without_prefixes("here", [prefix + name for name in found], wanted, body)
        assert str(caught.value) == (
            f"here: expected names like {min(wanted)}, found all tensors under the unknown prefix '{prefix}': save "
            "the model without it"
        )


@pytest.mark.parametrize("found", [["a.x", "a.y"], ["a.norm.weight", "b.norm.weight"], [], ["x"]])
def test_names_of_no_model_stay(found: list[str]) -> None:
    assert without_prefixes("here", found, PLAIN) == Renamed(dict(zip(found, found, strict=True)), ())


def test_nothing_is_added_where_one_name_has_it_already() -> None:
    found = ["norm.weight", "layers.0.up.weight", "model.other.weight"]
    assert without_prefixes("here", found, WANTED, "model.") == Renamed(dict(zip(found, found, strict=True)), ())
