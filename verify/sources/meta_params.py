"""Meta's params.json as the verifier reads it: asked for what no tensor tells, and held against what they do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.sources.source import Hyperparameters, RopeScaling
from verify.system.reading import read_hashed

_MOST_BYTES = 10 * 1000 * 1000
# Of a session in Meta's code, not of the model.
_OF_A_SESSION = {"max_batch_size", "model_parallel_size"}
_UNDERSTOOD = _OF_A_SESSION | {
    *("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "multiple_of", "ffn_dim_multiplier"),
    *("norm_eps", "rope_theta", "use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"),
}


class MetaParams:
    """What params.json says; null is silence. sha256: of the bytes that say so. Raises CannotJudgeError, as all that
    is asked of it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        said, self.sha256 = read_hashed(path, _MOST_BYTES)
        for key in said:
            if key not in _UNDERSTOOD:
                raise self._refuse("keys", "those whose effect on the model is known", key)
        self._said: dict[str, Any] = {key: value for key, value in said.items() if value is not None}

    def at(self, key: str) -> str:
        return f"{self._path}: {key}"

    def count(self, key: str, default: int | None = None) -> int:
        value = self._said.get(key, default)
        if type(value) is not int or value < 1:
            raise self._refuse(key, "a positive integer", value)
        return value

    def positive(self, key: str, default: float) -> float:
        value = self._said.get(key, default)
        # floats hold integers up to some 300 digits
        if type(value) not in (int, float) or value <= 0 or value > 1e300 or math.isnan(value):
            raise self._refuse(key, "a positive finite number", value)
        return float(value)

    def positions(self, asked: int | None) -> int:
        """The caller's number of positions, the file's where it asks for none; never more than the file's."""
        own = self.count("max_seq_len") if "max_seq_len" in self._said else None
        if own is None and asked is None:
            raise CannotJudgeError(
                f"{self.at('max_seq_len')}: expected a number of positions, found none: "
                "say it by --max-seq-len N (max_seq_len= in Python)"
            )
        if asked is None:
            assert own is not None
            return own
        if type(asked) is not int or not 1 <= asked <= (own or asked):
            raise CannotJudgeError(f"max_seq_len: expected 1 to {own or 'any length'}, found {asked}")
        return asked

    def rope_scaling(self) -> RopeScaling:
        scaled = self._said.get("use_scaled_rope", False)
        if type(scaled) is not bool:
            raise self._refuse("use_scaled_rope", "true or false", scaled)
        llama3 = RopeScaling(
            type="llama3",
            factor=self.positive("rope_scaling_factor", 8),
            original_max_positions=8192,
            low_freq_factor=1.0,
            high_freq_factor=self.positive("rope_high_freq_factor", 4),
        )
        if scaled and llama3.high_freq_factor <= llama3.low_freq_factor:
            raise self._refuse("rope_high_freq_factor", "more than 1", llama3.high_freq_factor)
        return llama3 if scaled else RopeScaling()

    def hold_against(self, found: Hyperparameters) -> None:
        """Refuse unless every count here is the one of the tensors."""
        heads = self._said.get("n_kv_heads", self._said.get("n_heads"))
        size = self._said.get("vocab_size", -1)
        for key, said, tensors in (
            ("dim", self._said.get("dim"), found.dim),
            ("n_layers", self._said.get("n_layers"), found.n_layers),
            ("n_kv_heads", heads, found.n_kv_heads),
            # Llama 2 leaves it to the tokenizer
            ("vocab_size", found.vocab_size if type(size) is int and size == -1 else size, found.vocab_size),
        ):
            if type(said) is not int or said != tensors:
                raise self._refuse(key, f"{tensors}, as the tensors say", said)
        multiple = self.count("multiple_of", 256)
        width = 8 * found.dim // 3
        if "ffn_dim_multiplier" in self._said:
            # a rounded product in Meta's code, and so here; the bound is only for int()
            width = int(min(self.positive("ffn_dim_multiplier", 1) * width, 2.0**40))
        width += -width % multiple
        if width != found.hidden_dim:
            by_rule = "multiple_of, ffn_dim_multiplier"
            raise self._refuse(by_rule, f"a hidden width of {found.hidden_dim}, as the tensors say", width)

    def _refuse(self, key: str, expected: object, found: object) -> CannotJudgeError:
        return CannotJudgeError(f"{self.at(key)}: expected {expected}, found {found!r}")
