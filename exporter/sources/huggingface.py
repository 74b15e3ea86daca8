"""Hugging Face directories of the known families: config.json beside safetensors, or torch.save's .bin.

Weights stand in one file or in shards. Two things differ from llama2.c besides the names. RoPE turns the first
half of a head against the second, where llama2.c turns neighbours, so the rows of wq and wk are put back in pairs.
And config.json leaves out what transformers has a default for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exporter.checkpoint import Checkpoint, Weights, check_names_and_shapes
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError
from exporter.file_identity import Identity, identity
from exporter.huggingface_names import Place, holds_joined_experts, places
from exporter.rope_pairs import in_pairs, index_in_halves
from exporter.sources.huggingface_companions import find_companions
from exporter.sources.huggingface_config import Description, read_description
from exporter.sources.huggingface_files import WeightFiles, has_weights
from exporter.sources.huggingface_tensors import CLASSIFIER, EMBEDDING, Tensors, first_different_row
from exporter.sources.huggingface_text_part import TextPart
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
    opened, described = _read_config(config_path, options)
    text, family = described.text, described.family
    notes = [*described.notes, *_adapter_beside(path)]
    if text is None:
        files, config = WeightFiles.of_directory(path, follow_links=options.follow_links), described.config
    else:
        files = WeightFiles.of_directory(path, follow_links=options.follow_links, leave_out=text.leaves_out)
        config, of_tie = _untied_where_it_differs(path, text, files, described.config)
        notes += [text.described(files.left_out), *of_tie]
    if config.n_layers > len(files.tensors):  # before as many names are made
        raise CheckpointError(
            f"{config_path}: num_hidden_layers: expected at most as many as there are tensors, "
            f"{len(files.tensors)}, found {config.n_layers}"
        )
    _check_experts(config_path, files, config)
    shapes = tensor_shapes(config)
    joined = holds_joined_experts(files.tensors)
    there = places(config, fused=family.fused, experts=family.expert_names, joined=joined)
    tensors = Tensors(path, files, config, list(dict.fromkeys(place.name for place in there.values())), text)
    _check(path, tensors, config, _stored_shapes(there, shapes))
    adapter = open_adapter(options, tensors)
    tokenizer = checked_tokenizer_in(path, follow_links=options.follow_links)

    def load(canonical: str) -> Weights:
        name, first, expert = there[canonical].name, there[canonical].first, there[canonical].expert
        rows = slice(first, first + shapes[canonical][0])
        if expert is not None:
            return tensors.expert(name, expert, rows)
        merged = adapter.merged(name, tensors.float32(name, rows), first)
        return merged if family.neighbours else in_pairs(canonical, merged, config)

    def locate(canonical: str, index: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        place = there[canonical]
        row, *rest = index if family.neighbours else index_in_halves(canonical, index, config)
        before = () if place.expert is None else (place.expert,)
        return tensors.where(place.name), (*before, place.first + row, *rest)

    return Checkpoint(
        config,
        shapes,
        load,
        where=str(path),
        kind="huggingface",
        files=(config_path, *files.files, *adapter.opened),
        opened={config_path: opened, **files.opened, **adapter.opened},
        dtypes={name: adapter.dtype(place.name, tensors.dtype(place.name)) for name, place in there.items()},
        tokenizer=tokenizer,
        follow_links=options.follow_links,
        companions=lambda: find_companions(path, follow_links=options.follow_links),
        notes=(*notes, *tensors.notes, *adapter.notes),
        locate=locate,
        family=family.model_type,
    )


def _check_experts(path: Path, files: WeightFiles, config: ModelConfig) -> None:
    """Raise CheckpointError for more experts than the files can hold, before as many names are made."""
    mixed = sum(layer.experts for layer in config.layers)
    if not mixed:
        return
    if holds_joined_experts(files.tensors):
        stacks = (stored.shape[0] for stored in files.tensors.values() if len(stored.shape) == 3)
        most = max(stacks, default=0)
    else:
        most = len(files.tensors) // (3 * mixed)
    if config.n_experts > most:
        raise CheckpointError(
            f"{path}: num_experts: expected at most {most}, as many as there are tensors of experts, "
            f"found {config.n_experts}"
        )


def _stored_shapes(there: Mapping[str, Place], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each stored tensor: that of a fused one has the rows of all its parts."""
    stored: dict[str, tuple[int, ...]] = {}
    for name, place in there.items():
        rows, *rest = shapes[name]
        experts = () if place.expert is None else (place.expert + 1,)
        stored[place.name] = (*experts, place.first + rows, *rest)
    return stored


def _read_config(path: Path, options: SourceOptions) -> tuple[Identity, Description]:
    check_file(path, follow_links=options.follow_links)
    return identity(path), read_description(path, options.max_seq_len)


def _untied_where_it_differs(
    path: Path, text: TextPart, files: WeightFiles, config: ModelConfig
) -> tuple[ModelConfig, list[str]]:
    """Untie a classifier that is stored with other bits than the embedding, as transformers does, with a note.

    Version 5 writes and assumes tie_word_embeddings = true for multimodal models that were never tied.
    """
    names = text.named(str(path), files.tensors)
    if not config.tied or not {EMBEDDING, CLASSIFIER} <= names.keys():
        return config, []
    embedding, classifier = (files.tensors[names[name]] for name in (EMBEDDING, CLASSIFIER))
    same = (embedding.shape, embedding.dtype) == (classifier.shape, classifier.dtype) and len(embedding.shape) == 2
    if same and first_different_row(files, names[EMBEDDING], names[CLASSIFIER]) is None:
        return config, []
    note = f"{names[CLASSIFIER]} differs from the embedding: it is not tied, as transformers decides here"
    return ModelConfig(**{**vars(config), "tied": False}), [note]


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
