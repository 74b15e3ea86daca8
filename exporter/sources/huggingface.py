"""Hugging Face directories of Llama's family: config.json beside safetensors, or torch.save's .bin, in shards or one.

Two things differ from llama2.c besides the names. RoPE turns the first half of a head against the second, where
llama2.c turns neighbours, so the rows of wq and wk are put back in pairs. And config.json leaves out what
transformers has a default for.
"""

from __future__ import annotations

from pathlib import Path

from exporter.checkpoint import Checkpoint, Weights, check_names_and_shapes
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError
from exporter.file_identity import Identity, identity
from exporter.huggingface_names import hugging_face_name
from exporter.sources.huggingface_companions import find_companions
from exporter.sources.huggingface_config import read_config
from exporter.sources.huggingface_files import WeightFiles, has_weights
from exporter.sources.huggingface_tensors import CLASSIFIER, EMBEDDING, Tensors
from exporter.sources.lora import open_adapter
from exporter.sources.options import SourceOptions
from exporter.sources.recognise import ADAPTER_ALONE, ADAPTER_CONFIG, ADAPTER_WEIGHTS
from exporter.sources.source_files import check_file
from exporter.sources.tokenizers import checked_tokenizer_in


def open_huggingface(path: Path, options: SourceOptions) -> Checkpoint:
    """Open a directory with config.json without reading a weight, except where a tied classifier must be compared.

    Raises CheckpointError.
    """
    try:
        return _open(path, options)
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: {(error.strerror or str(error)).lower()}") from error


def _open(path: Path, options: SourceOptions) -> Checkpoint:
    config_path = path / "config.json"
    opened, config, notes = _read_config(config_path, options)
    notes += _adapter_beside(path)
    files = WeightFiles.of_directory(path, follow_links=options.follow_links)
    if config.n_layers > len(files.tensors):  # before as many names are made
        raise CheckpointError(
            f"{config_path}: num_hidden_layers: expected at most as many as there are tensors, "
            f"{len(files.tensors)}, found {config.n_layers}"
        )
    shapes = tensor_shapes(config)
    names = {canonical: hugging_face_name(canonical) for canonical in shapes}
    tensors = Tensors(path, files, config, list(names.values()))
    _check(path, tensors, config, {names[canonical]: shape for canonical, shape in shapes.items()})
    adapter = open_adapter(options, tensors)
    tokenizer = checked_tokenizer_in(path, follow_links=options.follow_links)

    def load(canonical: str) -> Weights:
        name = names[canonical]
        return _in_pairs(canonical, adapter.merged(name, tensors.float32(name)), config)

    return Checkpoint(
        config,
        shapes,
        load,
        where=str(path),
        kind="huggingface",
        files=(config_path, *files.files, *adapter.opened),
        opened={config_path: opened, **files.opened, **adapter.opened},
        dtypes={canonical: adapter.dtype(name, tensors.dtype(name)) for canonical, name in names.items()},
        tokenizer=tokenizer,
        follow_links=options.follow_links,
        companions=lambda: find_companions(path, follow_links=options.follow_links),
        notes=(*notes, *tensors.notes, *adapter.notes),
        locate=lambda canonical, index: (
            tensors.where(names[canonical]),
            _index_there(canonical, index, config),
        ),
    )


def _in_pairs(canonical: str, array: Weights, config: ModelConfig) -> Weights:
    """wq and wk, weight and bias: in each head row 2i is row i of the first half, row 2i + 1 of the second."""
    heads = _heads(canonical, config)
    if not heads:
        return array
    return array.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)


def _index_there(canonical: str, index: tuple[int, ...], config: ModelConfig) -> tuple[int, ...]:
    """Where an element of _in_pairs' result stands before."""
    if not _heads(canonical, config):
        return index
    head, row = divmod(index[0], config.head_dim)
    return (head * config.head_dim + row % 2 * (config.head_dim // 2) + row // 2, *index[1:])


def _heads(canonical: str, config: ModelConfig) -> int:
    """Of a matrix or bias whose rows RoPE turns; 0 of others."""
    heads = {"attention.wq": config.n_heads, "attention.wk": config.n_kv_heads}
    return next((count for module, count in heads.items() if f".{module}." in canonical), 0)


def _read_config(path: Path, options: SourceOptions) -> tuple[Identity, ModelConfig, list[str]]:
    check_file(path, follow_links=options.follow_links)
    opened = identity(path)
    config, notes = read_config(path, options.max_seq_len)
    return opened, config, list(notes)


def _adapter_beside(path: Path) -> list[str]:
    """A directory has a model or an adapter; what is left of training may stand beside a whole model."""
    if not (path / ADAPTER_CONFIG).exists():
        return []
    weights = [name for name in ADAPTER_WEIGHTS if (path / name).exists()]
    if not has_weights(path):
        raise CheckpointError(f"{path}: expected a model, found {ADAPTER_ALONE}")
    if weights:
        raise CheckpointError(
            f"{path}: expected a model or an adapter, found both: move the adapter away, or give it as --adapter DIR"
        )
    return [f"{ADAPTER_CONFIG} is ignored: it has no adapter's weights beside it, and the model is whole"]


def _check(path: Path, tensors: Tensors, config: ModelConfig, expected: dict[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError unless the tensors are the config's. Specific reasons come first."""
    if config.tied:
        tensors.take_out_tied_classifier()
    elif CLASSIFIER not in tensors.shapes:
        raise CheckpointError(
            f"{path}: missing {CLASSIFIER}, which config.json's tie_word_embeddings = false expects"
        )
    rows = tensors.shapes.get(EMBEDDING, (config.vocab_size,))[:1]
    if rows != (config.vocab_size,):
        raise CheckpointError(
            f"{path / 'config.json'}: vocab_size: expected {rows[0] if rows else 'some'}, the rows of {EMBEDDING}, "
            f"found {config.vocab_size}"
        )
    check_names_and_shapes(str(path), expected, tensors.shapes)
