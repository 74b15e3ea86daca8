"""Reads a llama2.c checkpoint by the verifier's own road.

It deliberately shares nothing with the exporter's loader: a mistake that both sides make is the one that no
verifier finds. Where that one starts from model_args, this one starts from the tensors themselves and
holds the arguments against them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.directory import expect_no_pointer
from verify.sources.finite import expect_finite
from verify.sources.name_prefixes import note_of_removed, shared_unknown_prefix, unwrapped
from verify.sources.old_buffers import check_mask, check_rotations
from verify.sources.options import NO_OPTIONS, SourceOptions
from verify.sources.source import Hyperparameters, Source
from verify.sources.tokenizer_place import tokenizer_beside
from verify.sources.torch_files import dtype_name, identical, is_plain, mapped, refusing, sha256, shown
from verify.sources.unchanged_files import UnchangedFiles

# How the checkpoint's modules are called in the files' own vocabulary.
_LAYER_TENSOR = re.compile(
    r"layers\.(0|[1-9]\d{0,8})\.(attention_norm|ffn_norm|attention\.w[qkvo]|feed_forward\.w[123])\.weight"
)
_TENSORS_A_LAYER = 9
_INPUT, _OUTPUT = "tok_embeddings.weight", "output.weight"
_OUTER_TENSORS = {_INPUT, "norm.weight", _OUTPUT}
# Buffers of old versions of llama2.c's model.py.
_MASK = re.compile(r"(.+\.)?(attention|attn)\.mask")
_ROTATIONS = re.compile(r"(.+\.)?freqs_(cos|sin|cis)")
# model.py has a default for each of these too, which is Llama 7B's and nobody's who saves a .pt.
_INDISPENSABLE_ARGS = ("dim", "n_layers", "n_heads", "vocab_size", "max_seq_len")
# model.py derives these two where they are None, and stops at any other None.
_DERIVED_ARGS = ("n_kv_heads", "hidden_dim")
_COUNTS = (*_INDISPENSABLE_ARGS, *_DERIVED_ARGS)
_HARMLESS_ARGS = ("dropout", "multiple_of")
_KNOWN_ARGS = {*_COUNTS, "norm_eps", "rope_theta", *_HARMLESS_ARGS}

# Bytes of a file whose map is kept: to map it anew costs more than to read it.
_SMALL = 64 << 20


class Llama2cSource(Source):
    """One .pt file. Tensors are mapped on request and released with the result, except those of a small file."""

    kind = "llama2c"

    def __init__(self, path: Path, options: SourceOptions = NO_OPTIONS) -> None:
        self.path = path
        self._opened = UnchangedFiles(path)
        expect_no_pointer(path)
        self.files = {path.name: sha256(path)}
        self._kept: Mapping[str, torch.Tensor] = {}
        saved, arguments = self._read()
        short = unwrapped(path, saved, _is_known)
        buffers = [own for own, bare in short.items() if _is_buffer(bare)]
        self._own = {bare: own for own, bare in short.items() if own not in buffers}
        self.hyperparameters = _derive(path, {bare: saved[own] for bare, own in self._own.items()}, arguments)
        decided = self._decide_on_ties(options.tied)
        self._dtypes = {bare: dtype_name(saved[own].dtype) for bare, own in self._own.items()}
        prefixes = {own.removesuffix(bare) for own, bare in short.items()}
        # torch.compile's own prefix, which llama2.c's exporter removes without a word
        self.notes = (*note_of_removed(prefixes - {"_orig_mod."}), *decided)
        for own in buffers:
            check = check_mask if _MASK.fullmatch(short[own]) else check_rotations
            check(path, own, saved[own], *([] if check is check_mask else [self.hyperparameters]))
        if buffers:
            self.notes += (f"{_listed(buffers)}: stored buffers hold what the model computes; they were dropped",)
        if path.stat().st_size <= _SMALL:
            self._kept = saved
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return tokenizer_beside(self.path.parent)

    def tensor(self, name: str) -> torch.Tensor:
        self.expect_unchanged()
        saved = self._kept or self._read()[0]
        own = self._own[_INPUT if name == _OUTPUT and self.hyperparameters.tied else name]
        source = saved[own].detach()
        expect_finite(self.path, own, source)
        # clone: detached from the map, which may go when this returns
        tensor = source.to(torch.float32).clone()
        if source.dtype == torch.float64 and not torch.equal(tensor.double(), source):
            raise CannotJudgeError(f"{self.path}: {name}: expected values that float32 can hold, found others")
        return tensor

    def dtype(self, name: str) -> str:
        return self._dtypes[name]

    def _read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors by their stored names, and model_args."""
        with refusing(self.path, "a llama2.c checkpoint"):
            saved = mapped(self.path)
            _expect_checkpoint(self.path, saved)
            state, arguments = dict(saved["model"]), dict(saved["model_args"])
        for name, value in state.items():
            buffer = isinstance(value, torch.Tensor) and isinstance(name, str) and _is_buffer(name)
            if not isinstance(name, str) or not (is_plain(value) or buffer):
                raise CannotJudgeError(
                    f"{self.path}: {shown(name)}: expected one dense float tensor, found otherwise"
                )
        return state, arguments

    def _decide_on_ties(self, asked: bool | None) -> list[str]:
        """Refuse two matrices that differ unless the caller says what they mean; return a note of the decision.

        model.py ties them when it is built. load_state_dict then fills one parameter twice, output.weight last,
        whatever the order in the file. A model of another program may have two.
        """
        if self.hyperparameters.tied:
            if asked is False:
                raise _refuse(self.path, "--untied", f"{_INPUT} and {_OUTPUT} to differ", "two equal ones")
            return []
        if asked is None:
            raise CannotJudgeError(
                f"{self.path}: {_INPUT}, {_OUTPUT}: expected equal matrices, because model.py of llama2.c ties them, "
                f"found two that differ: say --tied (tied=True in Python) to read {_OUTPUT} in both places, as "
                "model.py does, or --untied (tied=False) to read both"
            )
        if not asked:
            return [f"--untied: {_INPUT} and {_OUTPUT} differ, and both were read"]
        self.hyperparameters = replace(self.hyperparameters, tied=True)
        self._own[_INPUT] = self._own[_OUTPUT]
        return [f"--tied: {_INPUT} and {_OUTPUT} differ; {_OUTPUT} was read in both places, as model.py does"]


def _expect_checkpoint(path: Path, saved: object) -> None:
    """Raise CannotJudgeError for what torch.save writes when somebody saves only a part of a checkpoint."""
    if not isinstance(saved, dict):
        raise _refuse(path, "checkpoint", "a dict with the keys model and model_args", f"a {type(saved).__name__}")
    absent = [key for key in ("model", "model_args") if key not in saved]
    if not absent:
        return
    bare = bool(saved) and all(isinstance(value, torch.Tensor) for value in saved.values())
    found = "a bare state dict" if bare else f"no {absent[0]}"
    advice = "save both, as llama2.c's train.py does"
    if bare and (path.parent / "params.json").is_file():
        found, advice = "the weights of Meta's params.json", f"give its directory, {path.parent}"
    elif bare and any(isinstance(name, str) and name.startswith("model.") for name in saved):
        found, advice = "the weights of a Hugging Face model", "give the directory that has its config.json"
    raise CannotJudgeError(
        f"{path}: expected the keys model and model_args (dim, n_layers, n_heads, n_kv_heads, vocab_size, "
        f"multiple_of, max_seq_len), found {found}: {advice}"
    )


def _is_buffer(name: str) -> bool:
    return bool(_MASK.fullmatch(name) or _ROTATIONS.fullmatch(name))


def _is_known(name: str) -> bool:
    return name in _OUTER_TENSORS or bool(_LAYER_TENSOR.fullmatch(name)) or _is_buffer(name)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _derive(path: Path, state: dict[str, torch.Tensor], arguments: dict[str, Any]) -> Hyperparameters:
    """Return hyper-parameters from shapes; only heads, length and epsilon, which no shape has, from the arguments."""
    n_layers = _count_layers(path, state)
    _check_arguments(path, arguments)
    embedding, first_gate = state[_INPUT], state["layers.0.feed_forward.w1.weight"]
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
        tied=identical(embedding, state[_OUTPUT]),
        norm_eps=_positive(path, arguments, "norm_eps", 1e-5),
        rope_theta=_positive(path, arguments, "rope_theta", 10000.0),
    )
    for name, shape in hyperparameters.shapes().items():
        if tuple(state[name].shape) != shape:
            raise _refuse(path, name, shape, str(tuple(state[name].shape)))
    for key in _COUNTS:
        value, of_tensors = arguments.get(key), getattr(hyperparameters, key)
        if value is None:
            value = _by_model_py(key, arguments, dim, of_tensors)
        if value != of_tensors:
            raise _refuse(path, f"model_args: {key}", f"{of_tensors}, as the tensors say", value)
    return hyperparameters


def _check_arguments(path: Path, arguments: dict[str, Any]) -> None:
    """Refuse arguments that are absent, unknown, or of a type that model.py stops at."""
    for key in _INDISPENSABLE_ARGS:
        if key not in arguments:
            raise _refuse(path, f"model_args: {key}", "a number", "none")
    for key, value in arguments.items():
        if key not in _KNOWN_ARGS:
            raise _refuse(path, "model_args", "keys whose effect on the model is known", key)
        if value is None and key in _DERIVED_ARGS:
            continue
        whole = key in _COUNTS or key == "multiple_of"
        if type(value) is not int and (whole or type(value) is not float):
            raise _refuse(path, f"model_args: {key}", "an integer" if whole else "a number", value)
        if key == "multiple_of" and value < 1:
            raise _refuse(path, "model_args: multiple_of", "a positive integer", value)


def _by_model_py(key: str, arguments: dict[str, Any], dim: int, of_tensors: int) -> int:
    """Return what model.py makes of an argument that is absent or None; of hidden_dim only with multiple_of."""
    if key == "n_kv_heads":
        return int(arguments["n_heads"])
    if "multiple_of" not in arguments:
        return of_tensors
    multiple = int(arguments["multiple_of"])
    return (8 * dim // 3 + multiple - 1) // multiple * multiple


def _count_layers(path: Path, state: dict[str, torch.Tensor]) -> int:
    """Layers 0, 1, ... with all their tensors, and around them the outer ones alone."""
    layers: dict[int, int] = {}
    for name in state:
        match = _LAYER_TENSOR.fullmatch(name)
        if match:
            layers[int(match[1])] = layers.get(int(match[1]), 0) + 1
        elif name not in _OUTER_TENSORS:
            prefix = shared_unknown_prefix(state, _is_known)
            found = f"all of them under the prefix {prefix!r}: save the model's own state dict" if prefix else name
            raise _refuse(path, "state dict", "tensors of a Llama alone", found)
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
    value = arguments.get(key, default)
    # _check_arguments() lets numbers alone pass; the bound also refuses integers that no float holds
    if not 0 < value < 1e300:
        raise _refuse(path, f"model_args: {key}", "a positive finite number", value)
    return float(value)
