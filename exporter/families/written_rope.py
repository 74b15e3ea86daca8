"""RoPE's keys of config.json, as they are written."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.families.layer_kinds import FULL, SLIDING
from exporter.strict_json import Json


def flat_rope(config: ModelConfig, scaling: Json | None) -> Json:
    """Return the keys of one RoPE for all layers, as transformers 4 and 5 read them."""
    return {"rope_theta": float(config.rope_theta), "rope_scaling": scaling}


def nested_rope(config: ModelConfig, scaling: Json | None) -> Json:
    """Return the keys of two RoPEs, as transformers 5 reads them."""
    full: Json = {"rope_type": "default", **(scaling or {}), "rope_theta": float(config.rope_theta)}
    sliding: Json = {"rope_type": "default", "rope_theta": float(config.local_theta)}
    return {"rope_parameters": {FULL: full, SLIDING: sliding}}


def truncated_yarn(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield a misfit for yarn without truncation, which transformers does not read within one kind of layer."""
    if config.rope_scaling.type == "yarn" and not config.rope_scaling.truncate:
        yield "rope_scaling", "truncate", "yarn without it"
