"""Check `config`: every hyper-parameter that the logits depend on is in the header, or is what the format implies."""

from __future__ import annotations

from typing import Any

import numpy as np

import reader_c
from verify.checks.result import CheckResult, exact
from verify.sources import Hyperparameters

# run.c, runq.c and every other reader of v0 to v2 compute with these; the header cannot say otherwise.
IMPLIED = {"rope_theta": 10000.0, "norm_eps": 1e-5}
_IN_HEADER = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size")


def check_config(model: reader_c.Model, source: Hyperparameters, max_seq_len: int) -> CheckResult:
    """max_seq_len: what the file was meant to say, which may be shorter than the source's."""
    expected = _expected(source, max_seq_len)
    wrong = {
        field: (value, getattr(model.config, field))
        for field, value in expected.items()
        if getattr(model.config, field) != value
    }
    for field, implied in IMPLIED.items():
        value = getattr(source, field)
        if np.float32(value) != np.float32(implied):
            wrong[field] = (value, f"{implied:g}, which {model.format} implies")
    if wrong:
        field, (value, found) = next(iter(wrong.items()))
        detail = "; ".join(f"{name}: expected {e}, found {f}" for name, (e, f) in wrong.items())
        return exact("config", len(wrong), detail, {"field": field, "expected": value, "found": str(found)})
    return exact(
        "config", 0, f"{len(expected)} header fields and {len(IMPLIED)} implied values agree with the source"
    )


def same_shapes(model: reader_c.Model, source: Hyperparameters) -> bool:
    """Whether the file's tensors can be held against the source's at all."""
    expected = _expected(source, model.config.max_seq_len)
    return all(getattr(model.config, field) == value for field, value in expected.items())


def _expected(source: Hyperparameters, max_seq_len: int) -> dict[str, Any]:
    """Header field -> what the source makes it."""
    fields = {field: getattr(source, field) for field in _IN_HEADER}
    return {**fields, "max_seq_len": max_seq_len, "shared_classifier": source.tied}
