"""Meta's own checkpoints: a directory of params.json and consolidated.00.pth, 01, ..., one shard for each of the
GPUs that the model ran on. Names and RoPE are those of llama2.c, which took them from here."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import torch

from exporter.checkpoint import Checkpoint, Weights, check_names_and_shapes
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError
from exporter.file_identity import identity, refuse_changed
from exporter.sources.buffers import check_buffer, is_buffer, note_of
from exporter.sources.meta_params import params_config, read_params, says_vocab, theta
from exporter.sources.options import SourceOptions
from exporter.sources.source_files import check_file
from exporter.sources.tokenizers import checked_tokenizer_in
from exporter.sources.torch_files import (
    DTYPES,
    buffer_rows,
    checked_tensor,
    load_mapped,
    same_bits,
    to_float32,
)
from exporter.strict_json import shown

_SHARD_NAME = re.compile(r"consolidated\.[0-9]{2}\.pth")
# Split by columns: the matrices whose inputs are what the shards computed. The other ones are split by rows.
_BY_COLUMNS = (".attention.wo.weight", ".feed_forward.w2.weight")
_EMBEDDING, _CLASSIFIER = "tok_embeddings.weight", "output.weight"


@dataclasses.dataclass(frozen=True)
class _Header:
    """What is known of a shard's tensor without reading it."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class _Shard:
    """One file, mapped anew for each tensor: pages that one long-lived map had touched would stay in memory until
    the whole model is."""

    def __init__(self, path: Path, *, follow_links: bool) -> None:
        check_file(path, follow_links=follow_links)
        self.path, self.opened = path, identity(path)
        self.headers = {name: _Header(tuple(tensor.shape), tensor.dtype) for name, tensor in self.tensors().items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors()[name]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {
            name: checked_tensor(f"{self.path}: {name}", tensor)
            for name, tensor in self._contents().items()
            if not is_buffer(name)
        }

    def check_buffers(self, config: ModelConfig) -> list[str]:
        """Raise CheckpointError for one that holds other than what follows from the config; return their names."""
        buffers = {name: value for name, value in self._contents().items() if is_buffer(name)}
        for name, value in buffers.items():
            where = f"{self.path}: {name}"
            shape, rows = buffer_rows(where, value)
            check_buffer(where, name, shape, rows, config)
        return list(buffers)

    def _contents(self) -> dict[str, object]:
        refuse_changed(self.path, self.opened)
        contents = load_mapped(self.path)
        if not isinstance(contents, dict):
            raise CheckpointError(f"{self.path}: expected a dict of tensors, found {type(contents).__name__}")
        for name in contents:
            if not isinstance(name, str):
                raise CheckpointError(f"{self.path}: expected names of tensors, found the key {shown(name)}")
        return contents


def open_meta(path: Path, options: SourceOptions) -> Checkpoint:
    """Open a directory of Meta's without reading a weight, but for norms and what tells whether it is tied.

    options: max_seq_len is how many positions, where params.json does not say; fewer, where it does.
    Raises CheckpointError.
    """
    params_path = path / "params.json"
    check_file(params_path, follow_links=options.follow_links)
    opened = identity(params_path)
    params = read_params(params_path)
    config = params_config(params_path, params, options)
    shards = [_Shard(shard, follow_links=options.follow_links) for shard in _shard_paths(path)]
    if config.n_layers > len(shards[0].headers):  # before as many names are made up
        found = f"{len(shards[0].headers)} tensors"
        raise CheckpointError(
            f"{shards[0].path}: expected {config.n_layers} layers, as params.json says, found {found}"
        )
    _check_count(path, shards, config.dim)
    embedding_axis, vocab_size = _embedding(shards, config.dim)
    if says_vocab(params) and config.vocab_size != vocab_size:
        raise CheckpointError(
            f"{params_path}: vocab_size: expected {vocab_size}, as {_EMBEDDING} has, found {config.vocab_size}"
        )
    rope_theta, notes = theta(params_path, params, options.rope_theta, vocab_size)
    absent = _CLASSIFIER not in shards[0].headers
    if absent and not options.tied:
        raise CheckpointError(
            f"{shards[0].path}: missing {_CLASSIFIER}, without which Meta's code computes nothing: --tied (tied=True "
            f"in Python) reads {_EMBEDDING} in both places"
        )
    config = dataclasses.replace(config, vocab_size=vocab_size, tied=absent, rope_theta=rope_theta)
    _check_hidden_dim(params_path, shards, config)
    axes = {name: _axis(name, shape, embedding_axis) for name, shape in tensor_shapes(config).items()}
    _check_shards(path, shards, config, axes)
    config = dataclasses.replace(config, tied=absent or _is_tied(shards, embedding_axis))
    if options.tied not in (None, config.tied):
        option, found = ("tied", "others") if options.tied else ("untied", "the same")
        raise CheckpointError(
            f"{path}: {_CLASSIFIER}: expected {'the' if options.tied else 'other'} numbers than {_EMBEDDING}'s for "
            f"--{option}, found {found}"
        )
    if absent:
        notes.append(f"{_CLASSIFIER} is missing: --tied reads {_EMBEDDING} in both places")
    notes += note_of([name for shard in shards for name in shard.check_buffers(config)])
    tokenizer = checked_tokenizer_in(path, follow_links=options.follow_links)
    shapes = tensor_shapes(config)
    return Checkpoint(
        config,
        shapes,
        lambda name: _join(path, shards, name, shapes[name], axes[name]),
        where=str(path),
        kind="meta",
        files=(params_path, *(shard.path for shard in shards)),
        opened={params_path: opened, **{shard.path: shard.opened for shard in shards}},
        dtypes={name: DTYPES[shards[0].headers[name].dtype] for name in shapes},
        tokenizer=tokenizer,
        follow_links=options.follow_links,
        notes=tuple(notes),
        locate=lambda name, index: _locate(shards, name, shapes[name], axes[name], index),
    )


def _locate(
    shards: list[_Shard], name: str, shape: tuple[int, ...], axis: int | None, index: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """The shard that has an element, and where in its part."""
    if axis is None:
        return f"{shards[0].path}: {name}", index
    number, within = divmod(index[axis], shape[axis] // len(shards))
    return f"{shards[number].path}: {name}", (*index[:axis], within, *index[axis + 1 :])


def _shard_paths(path: Path) -> list[Path]:
    """The shards in their order; every file that is called like one has to be one."""
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    found = [entry for entry in entries if entry.name.startswith("consolidated") and entry.suffix == ".pth"]
    for entry in found:
        if not _SHARD_NAME.fullmatch(entry.name):
            raise CheckpointError(f"{entry}: expected shards called consolidated.NN.pth, found another name")
    for number in range(max(1, len(found))):
        name = f"consolidated.{number:02}.pth"
        if number >= len(found) or found[number].name != name:
            raise CheckpointError(f"{path}: missing {name}")
    return found


# ---- what the shards hold ----


def _check_count(path: Path, shards: list[_Shard], dim: int) -> None:
    """Told for itself, because a last shard that is missing leaves no gap."""
    name = "layers.0.attention.wo.weight"
    header = shards[0].headers.get(name)
    if header and len(header.shape) == 2 and header.shape[0] == dim and header.shape[1]:
        count, remainder = divmod(dim, header.shape[1])
        if not remainder and count != len(shards):
            raise CheckpointError(f"{path}: expected {count} shards, as {name} is split, found {len(shards)}")


def _embedding(shards: list[_Shard], dim: int) -> tuple[int, int]:
    """(axis, vocab_size): Llama 1 and 2 split each token's vector, Llama 3 the vocabulary. Where there is more than
    one shard, a width cannot be both dim and a part of it."""
    header = shards[0].headers.get(_EMBEDDING)
    if header is None:
        raise CheckpointError(f"{shards[0].path}: missing {_EMBEDDING}")
    where = f"{shards[0].path}: {_EMBEDDING}"
    rows, width = header.shape if len(header.shape) == 2 else (0, 0)
    if rows and width == dim:
        return 0, rows * len(shards)
    if rows and width * len(shards) == dim:
        return 1, rows
    parts = f", or of {dim} over {len(shards)}" if len(shards) > 1 else ""
    raise CheckpointError(f"{where}: expected rows of {dim}{parts}, found shape {header.shape}")


def _check_hidden_dim(params_path: Path, shards: list[_Shard], config: ModelConfig) -> None:
    """Told for itself, because params.json does not hold the number but what Meta's rule makes it of."""
    header = shards[0].headers.get("layers.0.feed_forward.w1.weight")
    if header is None or header.shape[1:] != (config.dim,):
        return  # told with all other shapes
    found = header.shape[0] * len(shards)
    if found != config.hidden_dim:
        raise CheckpointError(
            f"{params_path}: multiple_of, ffn_dim_multiplier: expected to give a hidden_dim of {found}, as "
            f"layers.0.feed_forward.w1.weight has, found {config.hidden_dim}"
        )


def _axis(name: str, shape: tuple[int, ...], embedding_axis: int) -> int | None:
    """Along which axis the shards split a tensor; None where each holds all of it."""
    if len(shape) == 1:
        return None
    return embedding_axis if name == _EMBEDDING else int(name.endswith(_BY_COLUMNS))


def _check_shards(path: Path, shards: list[_Shard], config: ModelConfig, axes: dict[str, int | None]) -> None:
    """Every shard has its part of every tensor and nothing else, as the same type; norms are all the same."""
    parts: dict[str, tuple[int, ...]] = {}
    for name, shape in tensor_shapes(config).items():
        axis = axes[name]
        if axis is not None and shape[axis] % len(shards):
            found = f"{shape[axis]} {('rows', 'columns')[axis]}"
            raise CheckpointError(f"{path}: {name}: expected what {len(shards)} shards divide, found {found}")
        parts[name] = tuple(n // len(shards) if i == axis else n for i, n in enumerate(shape))
    first = shards[0]
    for shard in shards:
        where = f"{shard.path} (of {len(shards)} shards)" if len(shards) > 1 else str(shard.path)
        check_names_and_shapes(where, parts, {name: header.shape for name, header in shard.headers.items()})
        for name in parts:
            usual, own = first.headers[name].dtype, shard.headers[name].dtype
            if own != usual:
                raise CheckpointError(f"{shard.path}: {name}: expected {usual}, as in {first.path.name}, found {own}")
    norms = {name: tensor.clone() for name, tensor in first.tensors().items() if axes[name] is None}
    for shard in shards[1:]:
        tensors = shard.tensors()
        for name, norm in norms.items():
            if not same_bits(norm, tensors[name]):
                raise CheckpointError(
                    f"{path}: {name}: expected the same in every shard, "
                    f"found {first.path.name} and {shard.path.name} to differ"
                )
        del tensors  # and their map, before the next shard's


def _is_tied(shards: list[_Shard], embedding_axis: int) -> bool:
    """Whether embedding and classifier are the same bits, from one part of each at a time."""
    if shards[0].headers[_EMBEDDING].dtype != shards[0].headers[_CLASSIFIER].dtype:
        return False
    rows = shards[0].headers[_CLASSIFIER].shape[0]
    width = shards[0].headers[_EMBEDDING].shape[1]
    for i, shard in enumerate(shards):
        # a shard's rows of the classifier are one shard's embedding, or a stripe of every one's
        for j, other in enumerate(shards) if embedding_axis else [(0, shard)]:
            embedding = other.tensor(_EMBEDDING)
            stripe = embedding[i * rows : (i + 1) * rows] if embedding_axis else embedding
            if not same_bits(stripe, shard.tensor(_CLASSIFIER)[:, j * width : (j + 1) * width]):
                return False
    return True


def _join(path: Path, shards: list[_Shard], name: str, shape: tuple[int, ...], axis: int | None) -> Weights:
    """One tensor, made of its parts one after the other."""
    where = f"{path}: {name}"
    if axis is None or len(shards) == 1:
        return to_float32(where, shards[0].tensor(name))
    whole = np.empty(shape, np.float32)
    size = shape[axis] // len(shards)
    for number, shard in enumerate(shards):
        start = number * size
        rows_or_columns = (slice(None),) * axis + (slice(start, start + size),)
        whole[rows_or_columns] = to_float32(where, shard.tensor(name), (0,) * axis + (start,) + (0,) * (1 - axis))
    return whole
