"""Name what is wrong in a file's header, so that no engine that follows it is blamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import reader_c
from verify.checks.config import SHAPING, differing_fields, is_in_header
from verify.diagnosis import header_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis
from verify.sources import Hyperparameters

Fields = Mapping[str, tuple[object, object]]
_CONTEXT, _TYPE, _WINDOWED = "rope_scaling_original_max_positions", "rope_scaling_type", "windowed_layers"


def diagnose_header(model: reader_c.Model, hyper: Hyperparameters, max_seq_len: int) -> Diagnosis | None:
    """Return what the header gets wrong; None if it agrees with the source, or belongs to another shape of model.

    It explains no tensor, so `explained` is 0.
    """
    wrong = differing_fields(model, hyper, max_seq_len)
    # a length is chosen, and another shape is another model's
    wrong.pop("max_seq_len", None)
    if not wrong or wrong.keys() & (SHAPING - {"tied"}):
        return None
    mistake, sentence = _named(model, hyper, wrong)
    return Diagnosis(mistake.name, sentence, (), 0.0)


def _named(model: reader_c.Model, hyper: Hyperparameters, wrong: Fields) -> tuple[Mistake, str]:
    field, (expected, found) = next(iter(wrong.items()))
    fields = {"field": field, "expected": expected, "found": found, "others": _others(list(wrong)[1:])}
    if not is_in_header(model, field):
        return m.FORMAT_IMPLIES, m.FORMAT_IMPLIES.of_file(**fields, format=model.format)
    if wrong.get(_TYPE, ("none", ""))[1] == "none" and all(name.startswith("rope_scaling") for name in wrong):
        return m.HEADER_SCALING, m.HEADER_SCALING.of_file(expected=wrong[_TYPE][0])
    of_one = {"tied": _tied, _CONTEXT: _context, _WINDOWED: _windowed}.get(field) if len(wrong) == 1 else None
    named = of_one(model, hyper, expected, found) if of_one else None
    return named or (m.HEADER_FIELD, m.HEADER_FIELD.of_file(**fields))


def _others(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f", and {names[0]} differs, too"
    return f", and {len(names)} other fields differ" if names else ""


Named = tuple[Mistake, str] | None


def _tied(_model: reader_c.Model, _hyper: Hyperparameters, _expected: object, found: object) -> Named:
    said = ("is the embedding", "is a matrix of its own")
    said = said if found else said[::-1]
    return m.HEADER_TIED, m.HEADER_TIED.of_file(found=said[0], expected=said[1])


def _context(model: reader_c.Model, hyper: Hyperparameters, expected: object, found: object) -> Named:
    if found not in (model.config.max_seq_len, hyper.max_seq_len):
        return None
    return m.HEADER_CONTEXT, m.HEADER_CONTEXT.of_file(expected=expected, found=found)


def _windowed(_model: reader_c.Model, hyper: Hyperparameters, expected: object, found: object) -> Named:
    if found != ", ".join(map(str, range(hyper.n_layers))):
        return None
    layers = "no layer" if expected == "none" else f"layers {expected}"
    return m.HEADER_WINDOWS, m.HEADER_WINDOWS.of_file(found="every layer", expected=layers)
