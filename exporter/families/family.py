"""What a family of models is: how its config.json is read and written, and which models its class computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.config import SWITCH_DEFAULTS, ModelConfig
from exporter.families.layer_kinds import Windows, no_window
from exporter.families.mixtures import Mixture, no_mixture
from exporter.families.written_rope import flat_rope
from exporter.huggingface_names import ExpertNames
from exporter.strict_json import Json
from exporter.switches import described

_BIASES = ("qkv_bias", "wo_bias", "mlp_bias")
# A field of ModelConfig, what the family needs there, and what a model has.
Misfit = tuple[str, str, str]


def _none(_given: Json, _base: ModelConfig) -> Json:
    return {}


def _nothing(_config: ModelConfig) -> Json:
    return {}


def _no_layer(_given: Json) -> tuple[int, ...]:
    return ()


def _fits(_config: ModelConfig) -> Iterator[Misfit]:
    return iter(())


@dataclass(frozen=True)
class Family:
    """One model_type of Hugging Face.

    Attributes:
        model_type, architecture: its names in config.json.
        defaults: what the fields of its config class are where config.json is silent.
        types: of the fields whose type the class checks, in the words of huggingface_fields.
        understood, without_effect: keys that only this family reads: those that a ModelConfig follows from, and those
            that change no logit.
        switches: fields of ModelConfig besides sizes, RoPE and windows. Receives config.json with its defaults, and
            the model without switches.
        windows: which layers slide, and how far they see. Receives config.json with its defaults.
        mixture: the layers with a mixture of experts, None without one. Receives config.json with its defaults.
        expert_names: what tensors of a mixture are called; None without one.
        theta: RoPE's default.
        local_theta, local_key: the default of the RoPE that sliding layers have of their own, and its old key; 0
            without one.
        rope_defaults: RoPE's parameters where config.json has none.
        rope_kinds: the types of scaling that the class computes.
        original_positions: the default of original_max_position_embeddings, which decides over the one within RoPE's
            parameters; 0 for a class without one.
        partial_rope: whether a part of each head may be rotated.
        query_scale: whether RoPE's parameters include a scale of late queries.
        unrotated: which layers have no RoPE. Receives config.json with its defaults.
        divides: whether transformers requires that the heads divide hidden_size.
        activation: the key of the gate's activation.
        fused: whether q, k and v, and gate and up, are one matrix each.
        neighbours: whether RoPE turns neighbours, as llama2.c does, so that no row of q and k moves.
        fixed: what the class computes with, by fields of ModelConfig; others are as in Llama.
        free: fields that config.json can say.
        misfits: what else keeps a model from being of this family.
        writes: keys of config.json beyond those of every family. Receives a model of this family.
        writes_rope: the keys of RoPE, in the words of transformers 4 where they say the same. Receives the model, and
            the scaling of its first RoPE as rope_scaling has it, None without one.
    """

    model_type: str
    architecture: str
    defaults: Json
    types: Mapping[str, str]
    understood: str = ""
    without_effect: str = ""
    switches: Callable[[Json, ModelConfig], Json] = _none
    windows: Callable[[Json], Windows] = no_window
    mixture: Callable[[Json], Mixture | None] = no_mixture
    expert_names: ExpertNames | None = None
    theta: float = 10000.0
    local_theta: float = 0.0
    local_key: str = ""
    rope_defaults: Json = field(default_factory=dict)
    rope_kinds: tuple[str, ...] = ("default", "linear", "dynamic", "llama3", "yarn")
    original_positions: int = 0
    partial_rope: bool = False
    query_scale: bool = False
    unrotated: Callable[[Json], tuple[int, ...]] = _no_layer
    divides: bool = False
    activation: str = "hidden_act"
    fused: bool = False
    neighbours: bool = False
    fixed: Callable[[ModelConfig], Json] = _nothing
    free: tuple[str, ...] = ()
    misfits: Callable[[ModelConfig], Iterator[Misfit]] = _fits
    writes: Callable[[ModelConfig], Json] = _nothing
    writes_rope: Callable[[ModelConfig, Json | None], Json] = flat_rope

    @property
    def longrope(self) -> bool:
        """Return whether the class computes longrope, for which Phi 3's knows several names."""
        return "longrope" in self.rope_kinds

    @property
    def name(self) -> str:
        """Return its name in transformers' classes, as messages have it."""
        return self.architecture.removesuffix("ForCausalLM")

    def why_not(self, config: ModelConfig) -> Iterator[Misfit]:
        """Yield what keeps this family's class from computing a model: nothing where it does."""
        needed = {**dict.fromkeys(_BIASES, False), **SWITCH_DEFAULTS, **self.fixed(config)}
        for name, value in needed.items():
            if name not in self.free and getattr(config, name) != value:
                yield name, described(value), described(getattr(config, name))
        if self.divides and config.dim % config.n_heads:
            yield "n_heads", f"a divisor of dim = {config.dim}", str(config.n_heads)
        scaling = config.rope_scaling.type
        if scaling != "none" and scaling not in self.rope_kinds:
            yield "rope_scaling", " or ".join(self.rope_kinds).replace("default", "none"), scaling
        yield from self.misfits(config)
