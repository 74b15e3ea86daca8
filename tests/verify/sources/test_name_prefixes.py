"""What wrappers put before names, and what is left without it."""

from __future__ import annotations

import pytest

from verify.errors import CannotJudgeError
from verify.sources.name_prefixes import note_of_removed, shared_unknown_prefix, unwrapped

KNOWN = {"norm.weight", "layers.0.wq.weight", "model.norm.weight"}


def known(name: str) -> bool:
    return name in KNOWN


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("norm.weight", "norm.weight"),
        ("model.norm.weight", "model.norm.weight"),
        ("module.norm.weight", "norm.weight"),
        ("net.norm.weight", "norm.weight"),
        ("_orig_mod.norm.weight", "norm.weight"),
        ("_fsdp_wrapped_module.norm.weight", "norm.weight"),
        ("_checkpoint_wrapped_module.norm.weight", "norm.weight"),
        ("module._orig_mod.net.norm.weight", "norm.weight"),
        ("module.model.norm.weight", "model.norm.weight"),
        ("model.layers.0._fsdp_wrapped_module.wq.weight", "layers.0.wq.weight"),
        # only those at the front are an attribute's name
        ("layers.0.module.wq.weight", "layers.0.module.wq.weight"),
        ("other.norm.weight", "other.norm.weight"),
        ("module.other.weight", "module.other.weight"),
        ("module", "module"),
        ("module.net", "module.net"),
    ],
)
def test_a_name_without_its_wrappers(name: str, short: str) -> None:
    assert unwrapped("a file", [name], known) == {name: short}


def test_two_names_of_one_tensor_are_refused() -> None:
    names = ["norm.weight", "layers.0.wq.weight", "net.norm.weight"]
    with pytest.raises(CannotJudgeError) as caught:
        unwrapped("a file", names, known)
    assert str(caught.value) == (
        "a file: norm.weight: expected one such tensor, found norm.weight and net.norm.weight"
    )


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["a.norm.weight", "a.layers.0.wq.weight"], "a."),
        (["a.b.norm.weight", "a.b.layers.0.wq.weight"], "a.b."),
        (["a.norm.weight", "b.layers.0.wq.weight"], ""),
        (["a.norm.weight", "a.other"], ""),
        (["norm.weight"], ""),
        (["norm"], ""),
        ([], ""),
    ],
)
def test_a_prefix_of_all_names(names: list[str], prefix: str) -> None:
    assert shared_unknown_prefix(names, known) == prefix


def test_the_note_lists_three_prefixes() -> None:
    assert note_of_removed([]) == note_of_removed([""]) == []
    assert note_of_removed(["b.", "", "b."]) == ['weights are named with the prefix "b."; it was removed']
    assert note_of_removed(["b.", "a."]) == ['weights are named with the prefixes "a.", "b."; they were removed']
    three = 'weights are named with the prefixes "a.", "b.", "c."'
    assert note_of_removed(["c.", "b.", "a."]) == [f"{three}; they were removed"]
    assert note_of_removed(["d.", "c.", "b.", "a."]) == [f"{three} and others; they were removed"]
