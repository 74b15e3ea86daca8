"""Check `config`: every hyperparameter that affects the logits is in the header, or is what the format implies."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

import reader_c
from verify.checks.digits import counted
from verify.checks.result import CheckResult, exact
from verify.sources import Hyperparameters, ajc1

_IN_EVERY_HEADER = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "tied")
_IN_AJC1_HEADER = (*_IN_EVERY_HEADER, "head_dim")
# The fields that determine the tensors and their shapes.
SHAPING = frozenset(
    (
        *("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "tied"),
        *("qkv_bias", "wo_bias", "mlp_bias", "norm_place", "qk_norm"),
        *("n_experts", "expert_hidden_dim", "layers_with_experts"),
    )
)


def check_config(
    model: reader_c.Model,
    hyper: Hyperparameters,
    max_seq_len: int,
    unlike: Mapping[str, tuple[object, object]] | None = None,
) -> CheckResult:
    """Compare the header with the source.

    max_seq_len: what the file should have, which may be shorter than the source's. unlike: other requested fields
    that differ, as (expected, found).
    """
    found = effective(model)
    in_header = _in_header(model.format, found)
    wrong = {**(unlike or {}), **differing_fields(model, hyper, max_seq_len)}
    if wrong:

        def says(field: str) -> str:
            if unlike and field in unlike:
                return " instead of what was requested"
            return "" if field in in_header else f", which {model.format} implies"

        field, (value, other) = next(iter(wrong.items()))
        detail = "; ".join(f"{name}: expected {e}, found {f}{says(name)}" for name, (e, f) in wrong.items())
        return exact("config", len(wrong), detail, {"field": field, "expected": value, "found": str(other)})
    implied = len(found) - len(in_header)
    and_implied = f" and {counted(implied, 'implied value')} agree" if implied else " agree"
    return exact("config", 0, f"{len(in_header)} header fields{and_implied} with the source")


def differing_fields(
    model: reader_c.Model, hyper: Hyperparameters, max_seq_len: int
) -> dict[str, tuple[object, object]]:
    """Return {field: (expected, found)} for each field in which the file differs from the source."""
    expected, found = flat(dataclasses.replace(hyper, max_seq_len=max_seq_len)), effective(model)
    return {field: (value, found[field]) for field, value in expected.items() if not _same(value, found[field])}


def is_in_header(model: reader_c.Model, field: str) -> bool:
    """Return whether files of this format state a field; if not, the format implies it."""
    return field in _in_header(model.format, effective(model))


def _in_header(file_format: str, found: Mapping[str, object]) -> Collection[str]:
    if file_format == "v3":
        return found.keys()
    return _IN_AJC1_HEADER if file_format == "ajc1" else _IN_EVERY_HEADER


def same_shapes(model: reader_c.Model, hyper: Hyperparameters) -> bool:
    """Return whether the file's tensors can be compared with the source's at all."""
    expected, found = flat(hyper), effective(model)
    return all(expected[field] == found[field] for field in SHAPING)


def flat(hyper: Hyperparameters) -> dict[str, Any]:
    """Return hyperparameters by name; those of the scaling have a prefix, and layers are listed by their kind."""
    return _flat(dataclasses.asdict(hyper))


def factors_listed(factors: Iterable[float]) -> str:
    """Return longrope's factors as text, in as many digits as float32 has."""
    return ", ".join(f"{np.float32(factor):.9g}" for factor in factors) or "none"


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    scaling, layers = fields.pop("rope_scaling"), fields.pop("layers")
    scaling.pop("long_factors", None)  # of sources alone
    scaling["short_factors"] = factors_listed(scaling["short_factors"])
    if fields["rotary_dim"] == fields["head_dim"]:
        fields["rotary_dim"] = 0  # as Hyperparameters has it: all of a head
    kinds = {
        "windowed_layers": [number for number, layer in enumerate(layers) if layer["windowed"]],
        "layers_without_rope": [number for number, layer in enumerate(layers) if layer["rope"] == "none"],
        "layers_with_local_rope": [number for number, layer in enumerate(layers) if layer["rope"] == "second"],
        "layers_with_experts": [number for number, layer in enumerate(layers) if layer["experts"]],
    }
    listed = {name: ", ".join(map(str, numbers)) or "none" for name, numbers in kinds.items()}
    return fields | listed | {f"rope_scaling_{name}": value for name, value in scaling.items()}


def effective(model: reader_c.Model) -> dict[str, Any]:
    """Return the hyperparameters with which an engine runs this file, under the names of `flat`."""
    fields = _flat(dataclasses.asdict(model.config))
    fields["tied"] = fields.pop("shared_classifier")
    del fields["group_size"]
    if model.format == "ajc1":
        # the constants of qwen3.c, not the values that our reader fills in
        fields = flat(ajc1.implied(**{field: fields[field] for field in _IN_AJC1_HEADER}))
    elif model.format != "v3":
        # the constants of run.c and runq.c, not the values that our reader fills in
        implied = Hyperparameters(
            **{field: fields[field] for field in _IN_EVERY_HEADER},
            head_dim=model.config.dim // model.config.n_heads,
            norm_eps=1e-5,
            rope_theta=10000.0,
        )
        fields = flat(implied)
    return fields


def _same(expected: Any, found: Any) -> bool:
    """Compare values; real numbers as float32, which engines use."""
    if isinstance(expected, float) and isinstance(found, float):
        return bool(np.float32(expected) == np.float32(found))
    return bool(expected == found)
