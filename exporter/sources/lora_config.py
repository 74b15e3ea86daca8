"""PEFT's adapter_config.json: a plain LoRA, and everything else refused by name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.sources.huggingface_meanings import shown_key
from exporter.strict_json import Json, number, read_object, shown

_UNDERSTOOD = (
    *("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules"),
    *("bias", "init_lora_weights"),
)
# About training, about where the base model came from, or read only beside an option that is refused.
_WITHOUT_EFFECT = (
    *("task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("lora_dropout", "megatron_core", "qalora_group_size"),
)
# Those that do not change the base model's weights when an adapter begins.
_INITIALISATIONS = (None, True, False, "gaussian")
# PEFT takes patterns as regular expressions. Those without repetition, but of digits, end in time.
_PATTERN = re.compile(r"(?:[\w.^|()]|\\\.|\\d\+?)+")
_LONGEST_PATTERN = 500


@dataclass(frozen=True)
class LoraConfig:
    """What a LoRA adapter says of itself. Patterns are in the order in which PEFT tries them."""

    r: int
    alpha: float
    rslora: bool
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    targets: tuple[str, ...] | None

    def rank(self, module: str) -> int:
        return self.rank_pattern.get(_matching(self.rank_pattern, module), self.r)

    def scale(self, module: str) -> float:
        """What B A is multiplied by."""
        alpha = self.alpha_pattern.get(_matching(self.alpha_pattern, module), self.alpha)
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def aims_at(self, module: str) -> bool:
        """Whether PEFT gives this module an adapter. targets None: every linear layer but lm_head."""
        if self.targets is None:
            return module not in ("lm_head", "model.embed_tokens")
        return any(module == target or module.endswith(f".{target}") for target in self.targets)


def read_lora_config(path: Path) -> LoraConfig:
    """Raises CheckpointError for whatever is not plain LoRA, null, false or empty."""
    raw = read_object(path)
    try:
        return _config(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error)[:400]}") from error


def _config(raw: Json) -> LoraConfig:
    if raw.get("peft_type") != "LORA":
        raise CheckpointError(f"peft_type: expected LORA, found {shown(raw.get('peft_type'))}")
    if raw.get("bias", "none") != "none":
        raise CheckpointError(f"bias: expected none, found {shown(raw['bias'])}")
    initialisation = raw.get("init_lora_weights", True)
    if not isinstance(initialisation, (str, bool, type(None))) or initialisation not in _INITIALISATIONS:
        raise CheckpointError(
            f"init_lora_weights: expected one that leaves the base model as it is (true, false, gaussian), "
            f"found {shown(initialisation)}"
        )
    for key, value in raw.items():
        if key not in (*_UNDERSTOOD, *_WITHOUT_EFFECT) and value:
            raise CheckpointError(f"{shown_key(key)}: expected null or false in a plain LoRA, found {shown(value)}")
    rslora = raw.get("use_rslora") or False
    if not isinstance(rslora, bool):
        raise CheckpointError(f"use_rslora: expected true or false, found {shown(rslora)}")
    return LoraConfig(
        r=_rank("r", raw.get("r")),
        alpha=number("lora_alpha", raw.get("lora_alpha")),
        rslora=rslora,
        rank_pattern={key: _rank(f"rank_pattern: {key}", value) for key, value in _patterns(raw, "rank_pattern")},
        alpha_pattern={key: number(f"alpha_pattern: {key}", value) for key, value in _patterns(raw, "alpha_pattern")},
        targets=_targets(raw.get("target_modules")),
    )


def _rank(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise CheckpointError(f"{where}: expected a positive integer, found {shown(value)}")
    return value


def _patterns(raw: Json, key: str) -> list[tuple[str, object]]:
    found = raw.get(key) or {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{key}: expected an object or null, found {shown(found)}")
    for pattern in found:
        if len(pattern) > _LONGEST_PATTERN or not _PATTERN.fullmatch(pattern):
            raise CheckpointError(f"{key}: expected names of modules or simple patterns, found {shown(pattern)}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f"{key}: expected a regular expression, found {shown(pattern)}: {error}") from error
    return list(found.items())


def _matching(patterns: dict[str, int] | dict[str, float], module: str) -> str:
    """The first pattern that the module's name ends with, as peft.utils.other.get_pattern_key has it."""
    return next((pattern for pattern in patterns if re.match(rf"(.*\.)?({pattern})$", module)), module)


def _targets(value: object) -> tuple[str, ...] | None:
    if value == "all-linear":
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise CheckpointError(
            f"target_modules: expected a list of names of modules, or all-linear, found {shown(value)}"
        )
    return tuple(value)
