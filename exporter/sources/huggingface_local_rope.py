"""RoPE of its own for sliding layers: rope_parameters by kind of layer, and the older keys for the same.

transformers takes what stands within each kind before the keys outside, merges rope_scaling into the RoPE of full
attention, and reads yarn's truncate within neither.
"""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.families.family import Family
from exporter.families.layer_kinds import FULL, SLIDING
from exporter.sources.huggingface_rope import Rope, read_rope
from exporter.strict_json import Json, number, shown

_WHERE = "rope_parameters"
_KEYS = (FULL, SLIDING)


def read_ropes(raw: Json, positions: int, family: Family) -> tuple[Rope, float, list[str]]:
    """Return the RoPE of full attention, theta of the sliding layers', and what there is to note.

    positions: max_position_embeddings. Raises CheckpointError.
    """
    full, sliding = _by_kind(raw)
    notes = []
    if "truncate" in full:
        del full["truncate"]
        notes.append(f"{_WHERE}: {FULL}: truncate is ignored, as transformers ignores it for kinds of layers")
    theta = raw.get("rope_theta", family.theta)
    rope = read_rope({_WHERE: {"rope_theta": theta, **full}}, positions)
    return rope, _local_theta(raw, sliding, family), [*notes, *rope.notes]


def _by_kind(raw: Json) -> tuple[Json, Json]:
    """Return the parameters of both kinds of layers, rope_scaling merged into those of full attention."""
    said, scaling = raw.get(_WHERE), raw.get("rope_scaling")
    kinds = {} if said is None else said
    unknown = [key for key in kinds if key not in _KEYS]
    if unknown:
        raise CheckpointError(
            f"{_WHERE}: expected {FULL} and {SLIDING}, one RoPE for each, found {shown(unknown[0])}"
        )
    for key in _KEYS:
        if not isinstance(kinds.get(key), (dict, type(None))):
            raise CheckpointError(f"{_WHERE}: {key}: expected an object or null, found {shown(kinds[key])}")
    full = kinds.get(FULL) or {"rope_type": "default"}
    if scaling is not None:
        if not isinstance(scaling, dict):
            raise CheckpointError(f"rope_scaling: expected an object or null, found {shown(scaling)}")
        if said is not None and kinds.get(FULL) is None:
            raise CheckpointError(
                f"{_WHERE}: expected {FULL}, into which transformers merges rope_scaling, found none"
            )
        full = {**full, **scaling}
    return dict(full), dict(kinds.get(SLIDING) or {"rope_type": "default"})


def _local_theta(raw: Json, sliding: Json, family: Family) -> float:
    kind = sliding.get("rope_type", sliding.get("type", "default"))
    if kind != "default":
        raise CheckpointError(
            f"{_WHERE}: {SLIDING}: rope_type: expected default, since no format scales a second "
            f"RoPE, found {shown(kind)}"
        )
    if "rope_theta" in sliding:
        where, theta = f"{_WHERE}: {SLIDING}: rope_theta", sliding["rope_theta"]
    elif family.local_key:
        where, theta = family.local_key, raw.get(family.local_key, family.local_theta)
    else:  # transformers has used up rope_theta for full attention
        where, theta = f"{_WHERE}: {SLIDING}", family.local_theta
    found = number(where, theta)
    if not found > 0:
        raise CheckpointError(f"{where}: expected a positive number, found {found:g}")
    return found
