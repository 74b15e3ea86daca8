"""The fields of transformers' config classes: what each family has where config.json is silent, and of which type a
value must be. transformers 5 validates the types of these fields alone, strictly: 1 is no float there, and true no
integer."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.families import FAMILIES
from exporter.families.fields import REQUIRED
from exporter.strict_json import Json, shown

__all__ = ["DEFAULTS", "REQUIRED", "check_types"]

DEFAULTS: dict[str, Json] = {name: dict(family.defaults) for name, family in FAMILIES.items()}

_WORDS = {
    "int": "an integer",
    "float": "a float",
    "bool": "true or false",
    "str": "a string",
    "null": "null",
    "object": "an object",
    "ints": "a list of integers",
    "strings": "a list of strings",
}
_LISTS = {"ints": "int", "strings": "str"}


def check_types(raw: Json, family: str) -> None:
    """Raise CheckpointError for the first value that the family's config class refuses."""
    for key, value in raw.items():
        types = FAMILIES[family].types.get(key, "").split()
        if types and not any(_is(value, name) for name in types):
            expected = " or ".join(_WORDS[name] for name in types)
            raise CheckpointError(f"{key}: expected {expected}, found {shown(value)}")
    if family == "llama" and not 0 <= raw.get("initializer_range", 0) <= 1:
        raise CheckpointError(f"initializer_range: expected 0 to 1, found {shown(raw['initializer_range'])}")


def _is(value: object, name: str) -> bool:
    if name in _LISTS:
        return isinstance(value, list) and all(_is(each, _LISTS[name]) for each in value)
    if name == "null":
        return value is None
    if isinstance(value, bool):
        return name == "bool"
    return isinstance(value, {"int": int, "float": float, "str": str, "object": dict, "bool": bool}[name])
