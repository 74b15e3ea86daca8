"""The tables of the families: defaults and types are those of transformers' config classes, field by field."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest

from exporter.families import FAMILIES
from exporter.families.mixtures import EXPERT_TYPES
from verify.system.optional_imports import quiet_transformers

# What a table says otherwise than its class. Null stands for a number that the class fills in. A window that is not
# in use, and a direction, mean the same by null. A pattern and is_causal are no fields of the class.
_OTHERWISE = {
    "num_key_value_heads": (None,),
    "no_rope_layers": (None,),
    "mlp_only_layers": (None,),
    "sliding_window": (4096,),
    "use_bidirectional_attention": (False,),
    "is_causal": (True,),
    "sliding_window_pattern": (6,),
}


def config_class(family: str) -> Any:
    with quiet_transformers() as transformers:
        return transformers.CONFIG_MAPPING[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_are_those_of_the_class(family: str) -> None:
    known = config_class(family)()
    table = FAMILIES[family].defaults
    theirs = {key: getattr(known, key, "no field") for key in table}
    differ = {key: said for key, said in table.items() if (said, type(said)) != (theirs[key], type(theirs[key]))}
    assert all(differ[key] in _OTHERWISE.get(key, ()) for key in differ), differ
    if family not in ("qwen2", "qwen3", "qwen3_moe"):  # which drop a window that is not in use
        assert "sliding_window" not in differ


@pytest.mark.parametrize("family", FAMILIES)
def test_the_base_of_rope_is_that_of_the_class(family: str) -> None:
    said, theirs = FAMILIES[family], config_class(family).default_theta
    if family == "gemma3_text":
        assert {"global": said.theta, "local": said.local_theta} == theirs
    else:
        assert said.theta == theirs
        assert said.local_theta == (theirs if family == "olmo3" else 0)


@pytest.mark.parametrize("family", ["cwm", "ministral3"])
def test_a_rope_that_no_config_json_says_is_that_of_the_class(family: str) -> None:
    theirs = config_class(family)().rope_parameters
    said = dict(FAMILIES[family].rope_defaults)
    assert said.pop("type", said.get("rope_type")) == theirs["rope_type"]
    assert all(theirs[key] == value for key, value in said.items())


def _words(hint: Any) -> set[str]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return set().union(*map(_words, typing.get_args(hint)))
    if typing.get_origin(hint) is list:
        return {f"{typing.get_args(hint)[0].__name__}s".replace("strs", "strings")}
    if hint is type(None):
        return {"null"}
    return {"object" if hint is dict or "Rope" in hint.__name__ else hint.__name__}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_types_are_those_of_the_class(family: str) -> None:
    known = {field.name: field.type for field in dataclasses.fields(config_class(family))}
    own = {key: words for key, words in FAMILIES[family].types.items() if not isinstance(known.get(key, ""), str)}
    assert len(own) > 15
    assert {key: set(words.split()) for key, words in own.items()} == {key: _words(known[key]) for key in own}


def test_the_types_of_experts_are_for_families_with_experts() -> None:
    for family in FAMILIES.values():
        mixed = family.expert_names is not None
        assert (EXPERT_TYPES.items() <= family.types.items()) == mixed
