"""The text part of a multimodal Hugging Face directory: a model of a known family beside a part for images.

transformers computes a text without images by the text part alone, as the class of its own model_type does. So the
tensors for images are left out. Any tensor that belongs to neither part is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.sources.huggingface_mrope import QWEN2_VL, QWEN3_VL, as_qwen2, as_qwen3, flat_text
from exporter.strict_json import Json, shown

_VISION = ("vision_tower", "multi_modal_projector")
_TILES = (*_VISION, "image_newline")
# What stands before the names of the text's own class, as transformers 4 writes it and as version 5 has it.
_LANGUAGE_MODEL = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}
_WHOLE_MODEL = {"model.language_model.": "model.", "model.": "model.", "lm_head.": "lm_head."}
_TEXT_MODEL = {"model.text_model.": "model.", "lm_head.": "lm_head."}
# transformers' defaults of what published files leave out of text_config. A size is also held against the tensors.
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
TEXT_SIZES: dict[str, Json] = {
    name: dict(zip(_SIZES, sizes, strict=True))
    for name, sizes in {
        "llama": (4096, 11008, 32, 32, 32000),
        "mistral": (4096, 14336, 32, 32, 32000),
        "ministral3": (4096, 14336, 34, 32, 131072),
        "qwen2": (4096, 22016, 32, 32, 151936),
        "qwen3": (4096, 22016, 32, 32, 151936),
        "gemma3_text": (2304, 9216, 26, 8, 262208),
    }.items()
}


@dataclass(frozen=True)
class Wrapper:
    """One model_type of multimodal models.

    text: the model_type of a text_config that has none, or of any where it is fixed. reads: makes of a text_config
    one of that model_type. sizes: the defaults of its class, where they are not those of the model_type. tied:
    tie_word_embeddings where config.json has none; text_ties: whether true in text_config counts as well. names: what
    stands before the names of the text's own class, and what it is there. others: modules of the vision part.
    """

    text: str
    fixed: bool = False
    reads: Callable[[Json], Json] = dict
    sizes: Json | None = None
    tied: bool = False
    text_ties: bool = False
    names: tuple[tuple[str, str], ...] = tuple(_LANGUAGE_MODEL.items())
    others: tuple[str, ...] = _VISION


# Published without a text_config: what it would hold stands beside vision_config.
FLAT = ("qwen2_vl", "qwen2_5_vl")
_IDEFICS = Wrapper("llama", names=tuple(_TEXT_MODEL.items()), others=("vision_model", "connector"))
_QWEN2_VL = Wrapper(
    *("qwen2", True, as_qwen2, QWEN2_VL), text_ties=True, names=tuple(_WHOLE_MODEL.items()), others=("visual",)
)
WRAPPERS = {
    "gemma3": Wrapper("gemma3_text", fixed=True, tied=True),
    "mistral3": Wrapper("mistral", tied=True),
    "llava": Wrapper("llama", text_ties=True),
    "llava_next": Wrapper("llama", others=_TILES),
    "llava_next_video": Wrapper("llama", others=_TILES),
    "llava_onevision": Wrapper("qwen2", text_ties=True, others=_TILES),
    "video_llava": Wrapper("llama", others=("image_tower", "video_tower", "multi_modal_projector")),
    "vipllava": Wrapper("llama"),
    "internvl": Wrapper("qwen2", tied=True),
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "lighton_ocr": Wrapper("qwen3", tied=True, others=("vision_encoder", "vision_projection")),
    "qwen2_vl": _QWEN2_VL,
    "qwen2_5_vl": _QWEN2_VL,
    "qwen3_vl": Wrapper("qwen3", True, as_qwen3, QWEN3_VL, others=("visual",)),
}


@dataclass(frozen=True)
class TextPart:
    """kind: the model_type of the whole. config: what a config.json of the text alone would say."""

    kind: str
    config: Json
    notes: tuple[str, ...] = ()

    def leaves_out(self, stored: str) -> bool:
        """Return whether a tensor is of the part for images."""
        return stored.removeprefix("model.").partition(".")[0] in WRAPPERS[self.kind].others

    def named(self, where: str, stored: Iterable[str]) -> dict[str, str]:
        """Return the stored name of each tensor by the name that the text's own class has for it.

        Raises CheckpointError for a tensor that is of no part, and for two of one name.
        """
        wrapper, found = WRAPPERS[self.kind], dict[str, str]()
        for name in stored:
            known = [theirs + name.removeprefix(first) for first, theirs in wrapper.names if name.startswith(first)]
            if not known:
                prefixes = ", ".join(first for first, _ in wrapper.names)
                raise CheckpointError(
                    f"{where}: tensors: expected those of the text part ({prefixes}) and of the vision part "
                    f"({', '.join(wrapper.others)}), found {shown(name)}"
                )
            if known[0] in found:
                raise CheckpointError(
                    f"{where}: {known[0]}: expected once, found {shown(found[known[0]])} and {shown(name)}"
                )
            found[known[0]] = name
        return found

    def described(self, left_out: int) -> str:
        """Return the note of what was taken. left_out: the number of tensors for images."""
        tensors = f"{left_out} vision tensor{'' if left_out == 1 else 's'}"
        return f"text part of {self.kind} ({self.config['model_type']}); {tensors} left out"


def text_part(raw: Json) -> TextPart | None:
    """Return the text part of what a config.json describes; None for a model of text. Raises CheckpointError."""
    kind = raw.get("model_type")
    wrapper = WRAPPERS.get(kind) if isinstance(kind, str) else None
    if wrapper is None or not isinstance(kind, str):
        return None
    said = raw.get("text_config")
    if said is None and kind in FLAT:
        said = flat_text(raw)
    if not isinstance(said, dict):
        raise CheckpointError(f"text_config: expected an object, found {shown(said)}")
    model_type = wrapper.text if wrapper.fixed else said.get("model_type", wrapper.text)
    missing = wrapper.sizes or (TEXT_SIZES.get(model_type, {}) if isinstance(model_type, str) else {})
    taken = {key: value for key, value in missing.items() if key not in said and not _says(said, key)}
    config = {**wrapper.reads({**taken, **said}), **_of_the_whole(raw), "model_type": model_type}
    # what the whole says decides; architectures would name the class of a part that transformers never makes alone
    config |= {"tie_word_embeddings": _tied(raw, said, wrapper), "architectures": None}
    if not taken:
        return TextPart(kind, config)
    listed = ", ".join(f"{key} = {value}" for key, value in taken.items())
    note = f"defaults of transformers' class for the text, where config.json says nothing: {listed}"
    return TextPart(kind, config, (note,))


def text_config(raw: Json) -> Json:
    """Return what config.json says of the text: all of it for a model of text alone. Raises CheckpointError."""
    part = text_part(raw)
    return raw if part is None else part.config


def _says(said: Json, key: str) -> bool:
    """Return whether theta stands among RoPE's parameters."""
    ropes = (said.get(name) for name in ("rope_scaling", "rope_parameters"))
    return key == "rope_theta" and any(isinstance(rope, dict) and key in rope for rope in ropes)


def _of_the_whole(raw: Json) -> Json:
    """Return the tokens that begin and end a text, which stand beside text_config or in it."""
    return {key: raw[key] for key in ("bos_token_id", "eos_token_id") if raw.get(key) is not None}


def _tied(raw: Json, said: Json, wrapper: Wrapper) -> bool:
    tied = raw.get("tie_word_embeddings", wrapper.tied)
    if not isinstance(tied, bool):
        raise CheckpointError(f"tie_word_embeddings: expected true or false, found {shown(tied)}")
    return tied or (wrapper.text_ties and said.get("tie_word_embeddings") is True)
