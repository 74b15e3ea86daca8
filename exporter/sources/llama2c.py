"""llama2.c's own training checkpoints: a .pt holding {"model": state dict, "model_args": {...}, ...}."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from exporter.checkpoint import Checkpoint, Weights, check_names_and_shapes
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError
from exporter.file_identity import identity, refuse_changed
from exporter.sources.buffers import check_buffer, is_buffer, note_of
from exporter.sources.known_files import give_directory
from exporter.sources.names import without_prefixes
from exporter.sources.options import SourceOptions
from exporter.sources.source_files import check_named_file
from exporter.sources.tokenizers import tokenizer_in
from exporter.sources.torch_files import (
    DTYPES,
    buffer_rows,
    checked_tensor,
    load_mapped,
    same_bits,
    to_float32,
)
from exporter.strict_json import shown

_COMPILED = "_orig_mod."
_REQUIRED_ARGS = ("dim", "n_layers", "n_heads", "vocab_size", "max_seq_len")
_OPTIONAL_ARGS = ("n_kv_heads", "hidden_dim", "multiple_of", "norm_eps", "rope_theta", "dropout")
# What model.py takes None for; None for anything else stops it.
_MAY_BE_NONE = ("n_kv_heads", "hidden_dim")
_EMBEDDING, _CLASSIFIER = "tok_embeddings.weight", "output.weight"

# The names of a model with one layer, which every model has: they tell a prefix from a name.
_NAMES = tuple(tensor_shapes(ModelConfig(2, 1, 1, 1, 1, 1, 1, tied=False)))


def open_llama2c(path: Path, options: SourceOptions) -> Checkpoint:
    """Open a .pt without reading a weight, except to compare embedding and classifier. Raises CheckpointError."""
    check_named_file(path)
    opened = identity(path)
    contents = _load(path)
    config, state, notes = _model(path, contents, options.tied)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.tensors.items()}
    dtypes = {name: DTYPES[tensor.dtype] for name, tensor in state.tensors.items()}
    stored = state.stored
    del contents, state

    def load(name: str) -> Weights:
        # Mapped anew for each tensor, and unmapped with it: pages that one long-lived map had touched would
        # stay in memory until the whole model is.
        refuse_changed(path, opened)
        where = f"{path}: {stored[name]}"
        return to_float32(where, checked_tensor(where, _load(path)["model"][stored[name]]))

    return Checkpoint(
        config,
        shapes,
        load,
        where=str(path),
        kind="llama2c",
        files=(path,),
        opened={path: opened},
        dtypes=dtypes,
        tokenizer=tokenizer_in(path.parent),
        notes=notes,
        locate=lambda name, index: (f"{path}: {stored[name]}", index),
    )


@dataclass(frozen=True)
class _State:
    """Tensors by their names in the model, and what those are in the file."""

    tensors: dict[str, torch.Tensor]
    stored: dict[str, str]


def _load(path: Path) -> dict[str, Any]:
    """The checkpoint with its tensors mapped, not read."""
    contents = load_mapped(path)
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: expected a dict with model and model_args, found {type(contents).__name__}")
    bare = contents and all(isinstance(value, torch.Tensor) for value in contents.values())
    for key in ("model", "model_args"):
        if not isinstance(contents.get(key), dict):
            found = type(contents[key]).__name__ if key in contents else "none"
            if bare:
                found = _bare(path, contents)
            raise CheckpointError(f"{path}: {key}: expected a dict, found {found}")
    return contents


def _bare(path: Path, state: dict[str, Any]) -> str:
    """Say what a state dict without model_args is, and what to do."""
    if any(str(name).startswith(("model.layers.", "model.embed_tokens")) for name in state):
        return f"the weights of a Hugging Face model: {give_directory(path, 'config.json')}"
    if (path.parent / "params.json").is_file():
        return f"the weights of Meta's params.json: {give_directory(path, 'params.json')}"
    args = ", ".join(_REQUIRED_ARGS)
    return f"a bare state dict: save it as {{'model': state_dict, 'model_args': {{{args}}}}}"


def _model(path: Path, contents: dict[str, Any], tied: bool | None) -> tuple[ModelConfig, _State, tuple[str, ...]]:
    """What the checkpoint holds; its buffers are checked and left out."""
    for key in contents["model"]:
        if not isinstance(key, str):
            raise CheckpointError(f"{path}: model: expected names of tensors, found the key {shown(key)}")
    buffers = [name for name in contents["model"] if is_buffer(name)]
    values = {name: value for name, value in contents["model"].items() if name not in buffers}
    tensors = {name: checked_tensor(f"{path}: {name}", value) for name, value in values.items()}
    renamed = without_prefixes(str(path), tensors, _NAMES)
    state = _State({name: tensors[stored] for name, stored in renamed.stored.items()}, renamed.stored)
    config = _config(path, contents, state.tensors)
    state, said = _with_one_classifier(path, state, tied)
    config = replace(config, tied=_CLASSIFIER not in state.tensors)
    for name in buffers:
        where = f"{path}: {name}"
        shape, rows = buffer_rows(where, contents["model"][name])
        check_buffer(where, name, shape, rows, config)
    # torch.compile adds this prefix, and llama2.c's own exporter removes it in silence
    notes = [note for note in renamed.notes if f'"{_COMPILED}"' not in note] + [*note_of(buffers)]
    return config, state, (*notes, *said)


def _with_one_classifier(path: Path, state: _State, tied: bool | None) -> tuple[_State, list[str]]:
    """The state without its classifier where that is the embedding, and a note where the user decided so.

    A llama2.c checkpoint holds the classifier even where it is tied, so only its bits can tell. model.py makes one
    parameter of both matrices and loads output.weight last, so that this one is in both places; a training program
    that does not tie them means two.
    """
    if same_bits(state.tensors[_EMBEDDING], state.tensors[_CLASSIFIER]):
        if tied is False:
            raise CheckpointError(
                f"{path}: {_CLASSIFIER}: expected other numbers than {_EMBEDDING}'s for --untied, found the same"
            )
        return _without_classifier(state, _EMBEDDING), []
    if tied is None:
        raise CheckpointError(
            f"{path}: {_CLASSIFIER}: expected the numbers of {_EMBEDDING}, which model.py of llama2.c ties to it, "
            f"found others: --tied (tied=True in Python) reads {_CLASSIFIER} in both places, as model.py does; "
            "--untied (tied=False) reads two matrices"
        )
    if tied:
        note = f"{_EMBEDDING} differs from {_CLASSIFIER}, which --tied reads in both places, as model.py does"
        return _without_classifier(state, _CLASSIFIER), [note]
    return state, [f"{_EMBEDDING} and {_CLASSIFIER} differ, and --untied reads both"]


def _without_classifier(state: _State, embedding: str) -> _State:
    """The tensor called `embedding` for the only one."""

    def one(found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**found, _EMBEDDING: found[embedding]}.items() if name != _CLASSIFIER}

    return _State(one(state.tensors), one(state.stored))


def _config(path: Path, contents: dict[str, Any], state: dict[str, torch.Tensor]) -> ModelConfig:
    args = contents["model_args"]
    for key in _REQUIRED_ARGS:
        if key not in args:
            raise CheckpointError(f"{path}: model_args: missing {key}")
    unknown = [key for key in args if key not in _REQUIRED_ARGS + _OPTIONAL_ARGS]
    if unknown:
        raise CheckpointError(
            f"{path}: model_args: no known meaning, and it may change the model: {shown(unknown[0])}"
        )
    _check_unread(path, args)
    given = {key: value for key, value in args.items() if value is not None}
    try:
        untied = ModelConfig(
            dim=given["dim"],
            hidden_dim=_hidden_dim(path, given, state),
            n_layers=given["n_layers"],
            n_heads=given["n_heads"],
            n_kv_heads=given.get("n_kv_heads", given["n_heads"]),
            vocab_size=given["vocab_size"],
            max_seq_len=given["max_seq_len"],
            tied=False,
            norm_eps=given.get("norm_eps", 1e-5),
            rope_theta=given.get("rope_theta", 10000.0),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: model_args: {error}") from error
    if untied.n_layers > len(state):  # before as many names are made
        raise CheckpointError(
            f"{path}: model_args: n_layers: expected at most as many as there are tensors, {len(state)}, "
            f"found {untied.n_layers}"
        )
    embedding = state.get(_EMBEDDING)
    if embedding is not None and embedding.dim() == 2 and embedding.shape[0] != untied.vocab_size:
        raise CheckpointError(
            f"{path}: model_args: vocab_size: expected {embedding.shape[0]}, the rows of tok_embeddings.weight, "
            f"found {untied.vocab_size}"
        )
    check_names_and_shapes(str(path), tensor_shapes(untied), {name: tuple(t.shape) for name, t in state.items()})
    return untied


def _check_unread(path: Path, args: dict[str, Any]) -> None:
    """Raise CheckpointError for what stops model.py though no field of a config is made of it."""
    nothing = [key for key, value in args.items() if value is None and key not in _MAY_BE_NONE]
    if nothing:
        raise CheckpointError(f"{path}: model_args: {nothing[0]}: expected a number, found None")
    dropout, multiple = args.get("dropout", 0.0), args.get("multiple_of", 256)
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)):
        raise CheckpointError(f"{path}: model_args: dropout: expected a number, found {shown(dropout)}")
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        raise CheckpointError(
            f"{path}: model_args: multiple_of: expected a positive integer, found {shown(multiple)}"
        )


def _hidden_dim(path: Path, args: dict[str, Any], state: dict[str, torch.Tensor]) -> int:
    """Given, or by llama2.c's rule (two thirds of 4 * dim, up to a multiple of multiple_of), or as the first
    w1 has it where the arguments say neither."""
    if "hidden_dim" in args:
        return args["hidden_dim"]  # type: ignore[no-any-return]  # ModelConfig checks it
    if "multiple_of" in args and isinstance(args["dim"], int):
        two_thirds = 2 * (4 * args["dim"]) // 3
        return -(-two_thirds // args["multiple_of"]) * args["multiple_of"]  # type: ignore[no-any-return]
    first = state.get("layers.0.feed_forward.w1.weight")
    if first is None or first.dim() != 2:
        raise CheckpointError(f"{path}: missing layers.0.feed_forward.w1.weight")
    return first.shape[0]
