"""Judges one config.json by transformers, by the exporter and by the verifier."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import exporter
from helpers.config_draws import CLASSES, Json
from helpers.huggingface import float64_arithmetic
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.sources import Source, open_source
from verify.system.optional_imports import one_line, quiet_transformers

MOST_TOKENS = 12


@dataclass(frozen=True)
class Judged:
    """What each of the three makes of a directory: what it reads, or why it refuses."""

    exporter: Json | str
    verifier: Json | str
    transformers: Any
    logits: tuple[torch.Tensor, torch.Tensor] | None = None  # the oracle's of the verifier's reading, transformers'

    @property
    def disagreement(self) -> str | None:
        """What the law forbids, in one line."""
        exporters, verifiers = self.exporter, self.verifier
        if isinstance(exporters, str) != isinstance(verifiers, str):
            return f"exporter: {exporters}; verifier: {verifiers}; transformers: {_said(self.transformers)}"
        if isinstance(exporters, str) or isinstance(verifiers, str):
            return None
        differing = {key: (value, verifiers[key]) for key, value in exporters.items() if value != verifiers[key]}
        if differing:
            return f"exporter and verifier differ: {differing}"
        if isinstance(self.transformers, str):
            return f"both accept; transformers: {self.transformers}"
        assert self.logits is not None
        found, expected = self.logits
        if not _close(found, expected):
            return f"logits of transformers differ by up to {float((found - expected).abs().max())}"
        return None


def judge(directory: Path, said: Json, asked: int | None = None, seed: int = 0) -> Judged:
    """Write the directory with random weights of the model that transformers builds, and judge it. asked: the user's
    max_seq_len."""
    path = directory / "config.json"
    # null means the same as silence, but transformers fails on this one
    path.write_text(json.dumps({key: value for key, value in said.items() if (key, value) != ("auto_map", None)}))
    with float64_arithmetic():
        model = _built(directory, said)
        state = _plausible(said) if isinstance(model, str) else _own_tensors(model)
        _randomize(state, seed)
        narrow = {name: tensor.to(torch.get_default_dtype()) for name, tensor in state.items()}
    save_file(
        {name: tensor.to(_FLOAT32).contiguous() for name, tensor in narrow.items()}, directory / "model.safetensors"
    )
    of_exporter, (of_verifier, source) = _exporters(directory, asked), _verifiers(directory, asked)
    if isinstance(model, str):
        return Judged(of_exporter, of_verifier, model)
    hyper = source.hyperparameters if source else None
    vocab, longest = state["model.embed_tokens.weight"].shape[0], hyper.max_seq_len if hyper else MOST_TOKENS
    tokens = torch.randint(
        0, max(vocab, 1), (2, min(longest, MOST_TOKENS)), generator=torch.Generator().manual_seed(seed)
    )
    expected = _run(model, tokens)
    if isinstance(expected, str) or source is None:
        return Judged(of_exporter, of_verifier, expected if isinstance(expected, str) else model.config)
    found = llama.logits(source.hyperparameters, source.tensor, tokens)
    return Judged(of_exporter, of_verifier, model.config, (found, expected))


_FLOAT32 = torch.float32  # whatever that name stands for within float64_arithmetic()


def _built(directory: Path, said: Json) -> Any:
    """Return transformers' model, with weights of no meaning, or why there is none."""
    with quiet_transformers() as transformers:
        try:
            config = _family_class(transformers, said).from_pretrained(str(directory), local_files_only=True)
            # which kernel computes attention is no part of what a model is
            model = transformers.AutoModelForCausalLM.from_config(
                config, dtype=torch.float64, attn_implementation="eager"
            )
        except Exception as error:  # its checks have no common class
            return f"refuses: {type(error).__name__}: {one_line(error)}"
    name = type(model).__name__
    return model.eval() if name in CLASSES.values() else f"another model: {name}"


def _family_class(transformers: Any, said: Json) -> Any:
    """AutoConfig needs model_type; without it, this project goes by the only architecture that is named."""
    names = said.get("architectures")
    if said.get("model_type") is None and isinstance(names, list) and len(names) == 1:
        for name in CLASSES.values():
            if str(names[0]).lower() == name.lower():
                return getattr(transformers, name.replace("ForCausalLM", "Config"))
    return transformers.AutoConfig


def _own_tensors(model: Any) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    return dict(state)


def _plausible(said: Json) -> dict[str, torch.Tensor]:
    """Tensors as the sizes say, for configs that transformers makes no model of."""

    def size(key: str, default: int) -> int:
        value = said.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 100 else default

    dim, hidden, vocab = size("hidden_size", 4), size("intermediate_size", 4), size("vocab_size", 5)
    heads = size("num_attention_heads", 2)
    head_dim = size("head_dim", max(dim // heads, 1))
    q, kv = heads * head_dim, size("num_key_value_heads", heads) * head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, dim), "model.norm.weight": (dim,)}
    if said.get("tie_word_embeddings") is not True:
        shapes["lm_head.weight"] = (vocab, dim)
    for number in range(size("num_hidden_layers", 1)):
        for name, rows, columns, biased in (
            ("self_attn.q_proj", q, dim, "attention_bias"),
            ("self_attn.k_proj", kv, dim, "attention_bias"),
            ("self_attn.v_proj", kv, dim, "attention_bias"),
            ("self_attn.o_proj", dim, q, "attention_bias"),
            ("mlp.gate_proj", hidden, dim, "mlp_bias"),
            ("mlp.up_proj", hidden, dim, "mlp_bias"),
            ("mlp.down_proj", dim, hidden, "mlp_bias"),
        ):
            prefix = f"model.layers.{number}.{name}"
            shapes[f"{prefix}.weight"] = (rows, columns)
            of_qwen2 = said.get("model_type") == "qwen2" and name in _QKV
            if of_qwen2 or (said.get("model_type") == "llama" and said.get(biased) is True):
                shapes[f"{prefix}.bias"] = (rows,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{number}.{norm}.weight"] = (dim,)
    return {name: torch.empty(shape) for name, shape in shapes.items()}


_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def _randomize(state: dict[str, torch.Tensor], seed: int) -> None:
    """In place, with values of float32 that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in state.values():
            values = torch.randn(tensor.shape, generator=generator, dtype=_FLOAT32)
            scaled = values / math.sqrt(tensor.shape[-1]) if tensor.dim() == 2 else 1 + 0.1 * values
            tensor.copy_(scaled.to(_FLOAT32))


def _exporters(directory: Path, asked: int | None) -> Json | str:
    try:
        return dataclasses.asdict(exporter.open_checkpoint(directory, max_seq_len=asked).config)
    except exporter.CheckpointError as error:
        return _message(directory, error)


def _verifiers(directory: Path, asked: int | None) -> tuple[Json | str, Source | None]:
    try:
        source = open_source(directory, max_seq_len=asked)
    except CannotJudgeError as error:
        return _message(directory, error), None
    return dataclasses.asdict(source.hyperparameters), source


def _message(directory: Path, error: Exception) -> str:
    message = str(error)
    assert "\n" not in message
    return message.replace(str(directory), "").lstrip("/").removeprefix(": ")


def _run(model: Any, tokens: torch.Tensor) -> torch.Tensor | str:
    with float64_arithmetic(), quiet_transformers(), torch.no_grad():
        try:
            logits: torch.Tensor = model(input_ids=tokens, use_cache=False, return_dict=True).logits
        except Exception as error:
            return f"does not run: {type(error).__name__}: {one_line(error)}"
    return logits


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """transformers computes in float64 here; float32 has rounded the weights of both, and epsilon."""
    return torch.allclose(found, expected, rtol=1e-6, atol=1e-6, equal_nan=True)


def _said(of_transformers: Any) -> str:
    return of_transformers if isinstance(of_transformers, str) else "builds and runs it"
