"""Which layers of a model slide over the last positions, as config.json says it and as it is written there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown

FULL, SLIDING = "full_attention", "sliding_attention"
# transformers has renamed the first.
_ALL_FULL = ("attention", FULL)
# No format holds a model of more, and a config.json that says more must not take memory for each.
MOST_LAYERS = 1 << 16


@dataclass(frozen=True)
class Windows:
    """window: positions that sliding layers see, None where no layer slides. slides: whether each layer does."""

    window: int | None
    slides: tuple[bool, ...] = ()


def no_window(_given: Json) -> Windows:
    """Return the windows of a family that has none."""
    return Windows(None)


def all_slide(given: Json) -> Windows:
    """Read the windows of a family whose layers all slide, or none."""
    window = optional_window(given)
    return Windows(None) if window is None else Windows(window, (True,) * counted(given))


def by_layer(given: Json, window: int | None, slides: Callable[[int], bool], *, required: bool = False) -> Windows:
    """Read layer_types; without it, slides says which layers do. required: the model fails without a window."""
    types = given.get("layer_types")
    if types is None:
        # without a window no layer slides, in any pattern
        known = () if window is None and not required else tuple(map(slides, range(counted(given))))
    else:
        known = _listed(types, given["num_hidden_layers"])
    if window is None and (required or any(known)):
        where = (
            "sliding_window: expected an integer"
            if required
            else ("layer_types: expected a sliding_window for sliding_attention")
        )
        raise CheckpointError(f"{where}, found {'null' if required else 'none in use'}")
    return Windows(window, known) if any(known) else Windows(None, known)


def counted(given: Json) -> int:
    """Return the number of layers, before as many of anything are made. Raises CheckpointError."""
    layers: int = given["num_hidden_layers"]
    if layers > MOST_LAYERS:
        raise CheckpointError(f"num_hidden_layers: expected at most {MOST_LAYERS}, found {layers}")
    return layers


def optional_window(given: Json) -> int | None:
    """Return sliding_window, None for null. Raises CheckpointError."""
    window = given.get("sliding_window")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise CheckpointError(f"sliding_window: expected an integer or null, found {shown(window)}")
    return window


def _listed(types: object, n_layers: int) -> tuple[bool, ...]:
    # their number first: what num_hidden_layers says is not yet held against any tensor
    known = (*_ALL_FULL, SLIDING)
    if not isinstance(types, list) or len(types) != n_layers or any(kind not in known for kind in types):
        raise CheckpointError(
            f"layer_types: expected full_attention or sliding_attention for each of {n_layers} layers, "
            f"found {shown(types)}"
        )
    return tuple(kind == SLIDING for kind in types)


def sliding_layers(config: ModelConfig) -> tuple[bool, ...]:
    """Return which layers config.json calls sliding: those with a window or with the RoPE of windowed layers."""
    kinds = [config.layer(number) for number in range(config.n_layers)]
    return tuple(kind.windowed or kind.rope == "second" for kind in kinds)


def written_types(config: ModelConfig) -> Json:
    """Return layer_types and sliding_window. Layers that slide without a window get one that hides nothing."""
    types = [SLIDING if slides else FULL for slides in sliding_layers(config)]
    return {"layer_types": types, "sliding_window": config.window or config.max_seq_len}


def plain_ropes(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield a misfit for the first layer that does not use the first RoPE."""
    for number in range(config.n_layers):
        if config.layer(number).rope != "first":
            yield "layers", "the first RoPE in every layer", f"{config.layer(number).rope} in layer {number}"
            return


def all_or_none(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield a misfit unless all layers have the window, or none."""
    yield from plain_ropes(config)
    windowed = [config.layer(number).windowed for number in range(config.n_layers)]
    if any(windowed) and not all(windowed):
        yield "layers", "a window in every layer or in none", f"none in layer {windowed.index(False)}"


def local_ropes(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield a misfit unless layers with the second RoPE, and no others, have the window, if there is one."""
    for number in range(config.n_layers):
        kind = config.layer(number)
        expected = kind.rope == "second" and bool(config.window)
        if kind.rope == "none" or kind.windowed != expected:
            found = f"RoPE {kind.rope}{' and a window' if kind.windowed else ''}"
            yield "layers", "windows in the layers with the second RoPE alone", f"{found} in layer {number}"
            return
