"""What a defect is, and the toy models that it is put into.

Nothing here imports the C reader, which may be a broken one where engines are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import exporter
from exporter.config import tensor_shapes
from helpers.models import Arrays, arrays, config

Place = Literal["writer", "file", "engine"]
Where = Mapping[str, Any]
# Fields of the config that a model must have, or a function of the model that gives them.
Needs = Mapping[str, Any] | Callable[[exporter.ModelConfig], Mapping[str, Any]]

GROUP_SIZE = 8

# Name -> what export() is asked for.
FORMATS: dict[str, dict[str, Any]] = {
    "v0": {"format": "v0"},
    "v1": {"format": "v1"},
    "v1-fp32": {"format": "v1-fp32"},
    "v2": {"format": "v2"},
    "v3": {"format": "v3", "storage": "fp32"},
    "v3-bf16": {"format": "v3", "storage": "bf16"},
    "v3-q8_0": {"format": "v3", "storage": "q8_0"},
}
PLAIN = ("v0", "v1-fp32", "v3")
QUANTIZED = ("v1", "v2", "v3-q8_0")
V3 = ("v3", "v3-bf16", "v3-q8_0")


@dataclass(frozen=True)
class Defect:
    """seed: by place, a change of a writer's Draft, a change of a file's Bytes, or a Patch of the engine's source.

    caught_by: the checks that are meant to catch it, "opening" for a refusal, each with what its finding must name;
    none where it is no mistake by the verifier's measure, and must pass. diagnosis: the signature that the report
    should give it, if any. needs: fields of the config that a model must have for the defect to be one; applies:
    whether it is one in a model. weights: "halves" where int8 must meet ties. length: tokens in a window.
    """

    name: str
    place: Place
    seed: Any
    caught_by: Mapping[str, Where]
    diagnosis: str | None = None
    formats: tuple[str, ...] = tuple(FORMATS)
    needs: Needs = field(default_factory=dict)
    applies: Callable[[exporter.ModelConfig], bool] = lambda _: True
    weights: Literal["normal", "halves"] = "normal"
    length: int = 16

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Case:
    """A defect in a model in a format."""

    defect: Defect
    model: exporter.ModelConfig
    format: str
    seed: int = 0

    @property
    def window(self) -> int:
        """Tokens in a window; one less than the model has positions, for a writer that takes one away."""
        return min(self.defect.length, self.model.max_seq_len - 1)

    def weights(self) -> Arrays:
        return halves(self.model, self.seed) if self.defect.weights == "halves" else arrays(self.model, self.seed)


def cases(defect: Defect, model: exporter.ModelConfig, seed: int = 0) -> list[Case]:
    """The defect in this model, or one with what it needs, in every format; empty where it is none."""
    needs = defect.needs(model) if callable(defect.needs) else defect.needs
    model = dataclasses.replace(model, **needs)
    return [Case(defect, model, name, seed) for name in defect.formats] if defect.applies(model) else []


def spread(defect: Defect, models: Sequence[exporter.ModelConfig]) -> list[Case]:
    """Every format of the defect once, and at least two models, which take turns."""
    fitting = [found for model in models if (found := cases(defect, model))][:2]
    if len(defect.formats) == 1:
        return [case for found in fitting for case in found]
    return [fitting[number % len(fitting)][number] for number in range(len(defect.formats))]


def halves(model: exporter.ModelConfig, seed: int) -> Arrays:
    """Multiples of half a step of their own group's scale, which is a power of two: many ties to be rounded. Norms
    halve all but the largest of a group, since the embedding's rows come out of Q8_0 as whole steps."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in tensor_shapes(model).items():
        if len(shape) == 1:
            made[name] = np.where(np.arange(shape[0]) % GROUP_SIZE == 0, 1, 0.5).astype(np.float32)
            continue
        steps = rng.integers(-120, 121, shape) / 2
        steps.reshape(-1, GROUP_SIZE)[:, 0] = 127
        made[name] = (steps * 2.0 ** -(6 + np.round(np.log2(shape[1]) / 2))).astype(np.float32)
    return made


# Models for CI: grouped queries whose counts all differ, untied; as many queries a kv head as kv heads, tied; one
# key for all queries, and heads whose size is no power of two, untied.
TOYS = (
    config(),
    config(dim=32, hidden_dim=24, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=17, max_seq_len=20, tied=True),
    config(dim=40, hidden_dim=56, n_heads=4, n_kv_heads=1, vocab_size=13, max_seq_len=16),
)


def random_model(rng: np.random.Generator) -> exporter.ModelConfig:
    """Any heads and ratio, tied or not, whose widths GROUP_SIZE divides."""
    n_kv_heads, queries = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    unit = GROUP_SIZE // int(np.gcd(GROUP_SIZE, n_kv_heads * queries))
    head_dim = max(unit, 2) * int(rng.integers(1, 4))
    return exporter.ModelConfig(
        dim=n_kv_heads * queries * head_dim,
        hidden_dim=GROUP_SIZE * int(rng.integers(2, 9)),
        n_layers=int(rng.integers(2, 4)),
        n_heads=n_kv_heads * queries,
        n_kv_heads=n_kv_heads,
        vocab_size=int(rng.integers(12, 60)),
        max_seq_len=int(rng.integers(16, 40)),
        tied=bool(rng.integers(2)),
    )
