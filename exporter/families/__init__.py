"""The families of models that Hugging Face directories hold. docs/architecture.md says how to add one."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.errors import FormatError
from exporter.families.cwm import CWM
from exporter.families.exaone import EXAONE4
from exporter.families.family import Family
from exporter.families.gemma import GEMMA, GEMMA2, GEMMA3
from exporter.families.granite import GRANITE
from exporter.families.llama import LLAMA
from exporter.families.mistral import MINISTRAL, MINISTRAL3, MISTRAL
from exporter.families.mixtral import MIXTRAL
from exporter.families.neighbours import ERNIE4_5, HELIUM
from exporter.families.olmo import FLEX_OLMO, OLMO2, OLMO3, OLMOE
from exporter.families.phi import PHI3
from exporter.families.qwen import QWEN2, QWEN3, QWEN3_MOE
from exporter.families.seed_oss import SEED_OSS
from exporter.families.smollm import SMOLLM3

__all__ = ["FAMILIES", "Family", "family_that_computes"]

_ALL = (
    *(LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, GRANITE, GEMMA2, GEMMA3, OLMO2, OLMO3, PHI3, MINISTRAL3),
    *(MINISTRAL, GEMMA, EXAONE4, CWM, SEED_OSS, HELIUM, ERNIE4_5, MIXTRAL, QWEN3_MOE, OLMOE, FLEX_OLMO),
)
FAMILIES = {family.model_type: family for family in _ALL}


def family_that_computes(config: ModelConfig, preferred: str | None = None) -> Family:
    """Return the family whose class computes a model: the preferred one if it does, or else the first that does.

    Raises FormatError naming what keeps the nearest family from it.
    """
    order = sorted(_ALL, key=lambda family: family.model_type != preferred)
    misfits = {family.model_type: list(family.why_not(config)) for family in order}
    for family in order:
        if not misfits[family.model_type]:
            return family
    mixed = bool(config.n_experts)  # a family with experts is nearer to a model with experts than any other
    nearest = min(order, key=lambda f: ((f.expert_names is not None) != mixed, len(misfits[f.model_type])))
    field, expected, found = misfits[nearest.model_type][0]
    raise FormatError(
        f"{field}: expected {expected}, as transformers' {nearest.name} has it, the nearest of the families that "
        f"this project knows, found {found}; use v3"
    )
