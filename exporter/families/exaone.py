"""EXAONE 4: norms after attention and feed forward and in each head of q and k, and windows.

Where there is a window, layers with full attention have no RoPE.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES, HEAD_DIM, WINDOW_TYPES
from exporter.families.layer_kinds import FULL, SLIDING, Windows, by_layer, optional_window
from exporter.strict_json import Json, shown

_NORMS: Json = {"norm_place": "after", "qk_norm": "head"}


def _windows(given: Json) -> Windows:
    """Every fourth layer has full attention, unless layer_types or the pattern says another thing."""
    window, pattern = optional_window(given), given["sliding_window_pattern"]
    if given.get("layer_types") is None:
        if window is None:
            raise CheckpointError(
                "layer_types: expected a list where sliding_window is null, as transformers requires, found none"
            )
        if isinstance(pattern, bool) or not isinstance(pattern, int) or pattern == 0:
            where = "sliding_window_pattern: expected an integer other than 0 without layer_types"
            raise CheckpointError(f"{where}, found {shown(pattern)}")
    return by_layer(given, window, lambda number: (number + 1) % pattern != 0)


def _unrotated(given: Json) -> tuple[int, ...]:
    windows = _windows(given)
    full = tuple(number for number, slides in enumerate(windows.slides) if not slides)
    return full if optional_window(given) is not None else ()


def _hybrid(config: ModelConfig) -> bool:
    """Return whether the model has a window in transformers' words: then some layer has it, or lacks RoPE."""
    return any(layer.rope == "none" or layer.windowed for layer in config.layers)


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    for number in range(config.n_layers):
        kind = config.layer(number)
        if kind.rope == "second" or (kind.rope == "none" and kind.windowed):
            yield "layers", "RoPE in windowed layers alone", f"{kind.rope} in layer {number}"
            return
        if config.window and kind.rope == "first" and not kind.windowed:
            yield "layers", "no RoPE in layers without the window", f"first in layer {number}"
            return


def _writes(config: ModelConfig) -> Json:
    if not _hybrid(config):
        return {"sliding_window": None, "layer_types": [FULL] * config.n_layers}
    types = [FULL if config.layer(n).rope == "none" else SLIDING for n in range(config.n_layers)]
    # a window that hides nothing where RoPE alone tells the layers apart
    return {"sliding_window": config.window or config.max_seq_len, "layer_types": types}


EXAONE4 = Family(
    "exaone4",
    "Exaone4ForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
    types={
        **COMMON_TYPES,
        **WINDOW_TYPES,
        **HEAD_DIM,
        "num_key_value_heads": "int",
        "sliding_window_pattern": "str int null",
    },
    understood="sliding_window_pattern",
    switches=lambda _given, _base: dict(_NORMS),
    windows=_windows,
    unrotated=_unrotated,
    fixed=lambda _config: dict(_NORMS),
    free=("window", "layers"),
    misfits=_misfits,
    writes=_writes,
)
