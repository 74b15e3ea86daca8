"""Reads Meta's params.json: what no tensor says comes from it, and what tensors say must agree with it.

What the file leaves out comes from the code that Meta published with its models where that code fixes it, else from
the user. Nothing is guessed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.sources.options import SourceOptions
from verify.sources.source import Hyperparameters, RopeScaling

# Of a session in Meta's code, not of the model.
_OF_A_SESSION = {"max_batch_size", "model_parallel_size"}
_UNDERSTOOD = _OF_A_SESSION | {
    *("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "multiple_of", "ffn_dim_multiplier"),
    *("norm_eps", "rope_theta", "use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"),
}


# What each generation of Meta's code computes with: its tokenizer's tokens, and theta where params.json is silent.
# Llama 1 and 2 have theta as a constant, Llama 3 and 4 as a default.
_FIRST_VOCABULARY, _FIRST_THETA = 32000, 10000.0
_THIRD_VOCABULARY, _THIRD_THETA = 128256, 500000.0
# Keys that a dataclass of the first generations raises TypeError for.
_SINCE_THIRD = {"use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"}


class MetaParams:
    """Holds what params.json says; null is silence. notes: which values its silence has by Meta's own code. Raises
    CannotJudgeError, and so does every method."""

    def __init__(self, path: Path, said: dict[str, Any], options: SourceOptions) -> None:
        self._path, self._options = path, options
        self.notes: list[str] = []
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

    def positions(self) -> int:
        """Return the caller's number of positions, the file's where it asks for none; never more than the file's."""
        asked = self._options.max_seq_len
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

    def rope_theta(self, vocab_size: int) -> float:
        """Return the file's theta, the caller's, or what Meta's code has for such a model."""
        asked = self._option("rope_theta", self._options.rope_theta)
        if "rope_theta" in self._said:
            said = self.positive("rope_theta", 0)
            if asked not in (None, said):
                raise self._refuse("rope_theta", f"{asked:g}, as --rope-theta says", said)
            return said
        if asked is not None:
            return asked
        newer = sorted(_SINCE_THIRD & self._said.keys(), reverse=True)
        if newer or vocab_size == _THIRD_VOCABULARY:
            reason = f"the key {newer[0]}" if newer else f"a vocabulary of {_THIRD_VOCABULARY}"
            self.notes.append(f"params.json: no rope_theta; the code of Llama 3 has 500000 ({reason})")
            return _THIRD_THETA
        if vocab_size == _FIRST_VOCABULARY:
            self.notes.append(
                "params.json: no rope_theta; the code of Llama 1 and 2 has 10000 (a vocabulary of 32000)"
            )
            return _FIRST_THETA
        raise CannotJudgeError(
            f"{self.at('rope_theta')}: expected a number, found none: say it by --rope-theta X (rope_theta= in "
            "Python); the code of Llama 1 and 2 has 10000, that of Llama 3 has 500000"
        )

    def rope_scaling(self) -> RopeScaling:
        """Return Llama 3's scaling where it is switched on, with the file's factor or the caller's."""
        asked = self._option("rope_scaling_factor", self._options.rope_scaling_factor)
        said = self.positive("rope_scaling_factor", 0) if "rope_scaling_factor" in self._said else None
        high_freq_factor = self.positive("rope_high_freq_factor", 4)
        if not self._is_scaled():
            if asked is not None:
                found = self._said.get("use_scaled_rope")
                raise self._refuse("use_scaled_rope", "true, for --rope-scaling-factor", found)
            return RopeScaling()
        if high_freq_factor <= 1:
            raise self._refuse("rope_high_freq_factor", "more than 1", high_freq_factor)
        if said is not None and asked not in (None, said):
            raise self._refuse("rope_scaling_factor", f"{asked:g}, as --rope-scaling-factor says", said)
        factor = asked if said is None else said
        if factor is None:
            raise CannotJudgeError(
                f"{self.at('rope_scaling_factor')}: expected a number beside use_scaled_rope, found none: say it by "
                "--rope-scaling-factor X (rope_scaling_factor= in Python): 8 for Llama 3.1 and 3.3, 32 for Llama 3.2"
            )
        if said is not None and "rope_high_freq_factor" not in self._said:
            raise CannotJudgeError(
                f"{self.at('rope_high_freq_factor')}: expected a number beside rope_scaling_factor, found none: only "
                "the code of Llama 4 reads rope_scaling_factor, and has 1 here; that of Llama 3 has 4: write it into "
                "params.json"
            )
        return RopeScaling("llama3", factor, 8192, low_freq_factor=1.0, high_freq_factor=high_freq_factor)

    def _is_scaled(self) -> bool:
        scaled = self._said.get("use_scaled_rope", False)
        if type(scaled) is not bool:
            raise self._refuse("use_scaled_rope", "true or false", scaled)
        return scaled

    def _option(self, name: str, value: float | None) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e300:
            raise CannotJudgeError(f"--{name.replace('_', '-')}: expected a positive finite number, found {value}")
        return float(value)

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
