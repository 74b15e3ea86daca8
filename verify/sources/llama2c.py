"""A llama2.c checkpoint, read by the verifier's own road.

Deliberately shares nothing with the exporter's loader: a mistake that both sides make is the one that no
verifier finds. Where that one starts from model_args, this one starts from the tensors themselves and
holds the arguments against them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.opened import Opened
from verify.sources.source import Hyperparameters, Source
from verify.sources.torch_files import dtype_name, identical, is_plain, mapped, refusing, sha256, shown

# How the checkpoint's modules are called in the files' own vocabulary.
_LAYER_TENSOR = re.compile(
    r"layers\.(0|[1-9]\d{0,8})\.(attention_norm|ffn_norm|attention\.w[qkvo]|feed_forward\.w[123])\.weight"
)
_TENSORS_A_LAYER = 9
_OUTER_TENSORS = {"tok_embeddings.weight", "norm.weight", "output.weight"}
_HARMLESS_ARGS = {"dropout", "multiple_of"}
_NUMERIC_ARGS = {
    *("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"),
    *("norm_eps", "rope_theta"),
}


# Bytes of a file whose map is kept: to map it anew costs more than to read it.
_SMALL = 64 << 20


class Llama2cSource(Source):
    """One .pt file. Tensors are mapped when asked for and let go with the result, but those of a small file."""

    kind = "llama2c"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = Opened(path)
        self.files = {path.name: sha256(path)}
        self._kept: dict[str, torch.Tensor] = {}
        state, arguments = self._read()
        self.hyperparameters = _derive(path, state, arguments)
        self._dtypes = {name: dtype_name(tensor.dtype) for name, tensor in state.items()}
        if path.stat().st_size <= _SMALL:
            self._kept = state
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return self.path.with_name("tokenizer.model")

    def tensor(self, name: str) -> torch.Tensor:
        self.expect_unchanged()
        state = self._kept or self._read()[0]
        wanted = "tok_embeddings.weight" if name == "output.weight" and self.hyperparameters.tied else name
        source = state[wanted]
        # clone: detached from the map, which may go when this returns
        tensor = source.detach().to(torch.float32).clone()
        if source.dtype == torch.float64 and not torch.equal(tensor.double(), source):
            raise CannotJudgeError(f"{self.path}: {name}: expected values that float32 can hold, found others")
        return tensor

    def dtype(self, name: str) -> str:
        return self._dtypes[name]

    def _read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        with refusing(self.path, "a llama2.c checkpoint"):
            saved = mapped(self.path)
            state, arguments = dict(saved["model"]), dict(saved["model_args"])
        renamed: dict[str, torch.Tensor] = {}
        for key, value in state.items():
            short = key.removeprefix("_orig_mod.") if isinstance(key, str) else key
            if not isinstance(key, str) or short in renamed or not is_plain(value):
                raise CannotJudgeError(
                    f"{self.path}: {shown(short)}: expected one dense float tensor, found otherwise"
                )
            renamed[short] = value
        return renamed, arguments


def _derive(path: Path, state: dict[str, torch.Tensor], arguments: dict[str, Any]) -> Hyperparameters:
    """Hyper-parameters from shapes; only what no shape tells (heads, length, epsilon) from the arguments."""
    n_layers = _count_layers(path, state)
    embedding, first_gate = state["tok_embeddings.weight"], state["layers.0.feed_forward.w1.weight"]
    first_key = state["layers.0.attention.wk.weight"]
    if embedding.dim() != 2 or first_gate.dim() != 2 or first_key.dim() != 2:
        raise _refuse(path, "state dict", "matrices", "a tensor of another rank")
    vocab_size, dim = embedding.shape
    if 0 in (vocab_size, dim, first_gate.shape[0]):
        raise _refuse(path, "state dict", "matrices with rows and columns", "an empty one")
    n_heads, max_seq_len = arguments.get("n_heads"), arguments.get("max_seq_len")
    if not isinstance(n_heads, int) or n_heads < 1 or dim % n_heads or dim // n_heads % 2:
        raise _refuse(path, "model_args: n_heads", f"a divisor of {dim} that leaves an even head size", n_heads)
    if not isinstance(max_seq_len, int) or not 0 < max_seq_len < 2**31:
        raise _refuse(path, "model_args: max_seq_len", "a positive integer below 2^31", max_seq_len)
    n_kv_heads, remainder = divmod(first_key.shape[0], dim // n_heads)
    if remainder or n_kv_heads < 1 or n_heads % n_kv_heads:
        whole = f"rows of whole heads of {dim // n_heads}"
        raise _refuse(path, "layers.0.attention.wk.weight", whole, first_key.shape[0])

    hyperparameters = Hyperparameters(
        dim=dim,
        hidden_dim=first_gate.shape[0],
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=dim // n_heads,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        tied=identical(embedding, state["output.weight"]),
        norm_eps=_positive(path, arguments, "norm_eps", 1e-5),
        rope_theta=_positive(path, arguments, "rope_theta", 10000.0),
    )
    for name, shape in hyperparameters.shapes().items():
        if tuple(state[name].shape) != shape:
            raise _refuse(path, name, shape, str(tuple(state[name].shape)))
    for key, value in arguments.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise _refuse(path, f"model_args: {shown(key)}", "a number", value)
        if key not in _NUMERIC_ARGS | _HARMLESS_ARGS:
            raise _refuse(path, "model_args", "keys whose effect on the model is known", key)
        if key not in _HARMLESS_ARGS and value is not None and value != getattr(hyperparameters, key):
            raise _refuse(path, f"model_args: {key}", f"{getattr(hyperparameters, key)}, as the tensors say", value)
    return hyperparameters


def _count_layers(path: Path, state: dict[str, torch.Tensor]) -> int:
    """Layers 0, 1, ... with all their tensors, and around them the outer ones alone."""
    layers: dict[int, int] = {}
    for name in state:
        match = _LAYER_TENSOR.fullmatch(name)
        if match:
            layers[int(match[1])] = layers.get(int(match[1]), 0) + 1
        elif name not in _OUTER_TENSORS:
            raise _refuse(path, "state dict", "tensors of a Llama alone", name)
    absent = sorted(_OUTER_TENSORS - state.keys())
    if absent:
        raise _refuse(path, "state dict", absent[0], "no such tensor")
    if not layers or sorted(layers) != list(range(len(layers))) or set(layers.values()) != {_TENSORS_A_LAYER}:
        whole = f"{_TENSORS_A_LAYER} tensors in each layer from 0 on"
        raise _refuse(path, "state dict", whole, str(layers) if layers else "no layer")
    return len(layers)


def _refuse(path: Path, what: str, expected: object, found: object) -> CannotJudgeError:
    return CannotJudgeError(f"{path}: {what}: expected {expected}, found {shown(found)}")


def _positive(path: Path, arguments: dict[str, Any], key: str, default: float) -> float:
    value = arguments.get(key)
    if value is None:
        return default
    # the bound also refuses integers that no float holds
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300:
        raise _refuse(path, f"model_args: {key}", "a positive finite number", value)
    return float(value)
