"""Reads PEFT's adapter_config.json: which matrices a LoRA adapter changes, and by how much.

Everything that would change the model in another way is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verify.sources.checked_numbers import count, positive
from verify.sources.refusal import refusal

# Read by the methods below.
_UNDERSTOOD = {
    *("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules"),
    *("layers_to_transform", "bias", "init_lora_weights"),
}
# Where the adapter came from, how it was trained, and parameters of what is switched off.
_NO_EFFECT = {
    *("base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version"),
    *("lora_dropout", "eva_config", "megatron_core", "qalora_group_size"),
}
# Besides true and false, those that leave the base as it is; others, such as pissa, subtract something from it.
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
# A pattern comes with the adapter, and Python's re has no limit: one that repeats a group may take forever.
_MOST_REPEATS, _LONGEST_PATTERN = 2, 200


class AdapterConfig:
    """Holds what adapter_config.json says. Raises CannotJudgeError for anything but plain LoRA."""

    def __init__(self, where: Path, said: Mapping[str, Any]) -> None:
        self._where, self._said = where, said
        if said.get("peft_type") != "LORA":
            raise refusal(where, "peft_type", "LORA", said.get("peft_type"))
        for key, value in said.items():
            if value and key not in _UNDERSTOOD | _NO_EFFECT:
                raise refusal(where, key, "nothing (this project does not support it)", value)
        if said.get("bias", "none") != "none":
            raise refusal(where, "bias", "none", said["bias"])
        start = said.get("init_lora_weights")
        if start is not None and not isinstance(start, bool) and start not in _PLAIN_STARTS:
            raise refusal(where, "init_lora_weights", "one that leaves the base as it is", start)
        rslora = said.get("use_rslora", False)
        if rslora is not None and not isinstance(rslora, bool):
            raise refusal(where, "use_rslora", "true or false", rslora)
        self._rslora = bool(rslora)
        self.rank = count(where, "r", said.get("r"))
        self._alpha = positive(where, "lora_alpha", said.get("lora_alpha"))
        self._ranks, self._alphas = self._patterns("rank_pattern"), self._patterns("alpha_pattern")

    def rank_of(self, module: str) -> int:
        """Return the rank of a module, named as in transformers' model."""
        found = self._matching(self._ranks, module)
        return self.rank if found is None else count(self._where, "rank_pattern", found)

    def alpha_of(self, module: str) -> float:
        """Return lora_alpha of a module, named as in transformers' model."""
        found = self._matching(self._alphas, module)
        return self._alpha if found is None else positive(self._where, "alpha_pattern", found)

    def scale_of(self, module: str) -> float:
        """Return what B A is multiplied by: alpha / r, or alpha / sqrt(r) for rank-stabilized LoRA."""
        alpha, rank = self.alpha_of(module), self.rank_of(module)
        return alpha / math.sqrt(rank) if self._rslora else alpha / rank

    def selects(self, module: str) -> bool | None:
        """Whether PEFT puts an adapter on a module; None where target_modules is an expression of its own."""
        targets, layers = self._said.get("target_modules"), self._said.get("layers_to_transform")
        if layers is not None:
            listed = layers if isinstance(layers, list) else [layers]
            if not all(type(number) is int for number in listed):
                raise refusal(self._where, "layers_to_transform", "numbers of layers", layers)
            match = re.match(r"model\.layers\.(\d+)\.", module)
            if match is None or int(match[1]) not in listed:
                return False
        if targets == "all-linear":
            return module != "lm_head"
        if isinstance(targets, str):
            return None
        if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
            raise refusal(self._where, "target_modules", "names of modules", targets)
        return any(module == name or module.endswith(f".{name}") for name in targets)

    def _patterns(self, key: str) -> dict[str, object]:
        said = self._said.get(key) or {}
        if not isinstance(said, dict):
            raise refusal(self._where, key, "an object", type(said).__name__)
        for pattern in said:
            repeats = len(re.findall(r"(?<!\\)[*+{]", pattern))
            grouped = re.search(r"\)[*+?{]|\(\?|\\[1-9]", pattern)
            if grouped or repeats > _MOST_REPEATS or len(pattern) > _LONGEST_PATTERN or not pattern.isprintable():
                raise refusal(self._where, key, f"patterns of at most {_MOST_REPEATS} simple repeats", pattern)
            try:
                re.compile(pattern)
            except re.error as error:
                raise refusal(self._where, key, "regular expressions", pattern) from error
        return said

    @staticmethod
    def _matching(patterns: dict[str, object], module: str) -> object:
        """The value of the first pattern that matches a module's name or its end, as PEFT looks for it."""
        for pattern, value in patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return None
