"""A LoRA adapter of PEFT's over a Hugging Face model: W + s B A, with s = alpha / r, or alpha / sqrt(r) for rslora.

In float64, rounded once to float32. B A is summed over the ranks in their order, each product exact, so that every
implementation of these words has the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exporter.checkpoint import Dtype, Weights
from exporter.errors import CheckpointError
from exporter.file_identity import Identity, identity
from exporter.sources.huggingface_files import WeightFiles
from exporter.sources.huggingface_tensors import EMBEDDING, Tensors
from exporter.sources.lora_config import LoraConfig, read_lora_config
from exporter.sources.options import SourceOptions
from exporter.sources.recognise import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from exporter.sources.source_files import check_file

_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
# Elements of a matrix merged at a time: what the sums run over stays near the processor.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class Adapter:
    """What an adapter changes; without one, nothing. parts: module -> the adapter's names of its A and its B."""

    opened: dict[Path, Identity] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    files: WeightFiles | None = None

    def dtype(self, name: str, stored: Dtype) -> Dtype:
        """What a merged tensor is, or what it was."""
        return "fp32" if name.removesuffix(".weight") in self.parts else stored

    def merged(self, name: str, weights: Weights, first: int = 0) -> Weights:
        """weights, by transformers' name and in its order of rows, with what the adapter adds: in the same memory.

        first: the row of the named matrix with which weights begin.
        """
        module = name.removesuffix(".weight")
        if self.files is None or module not in self.parts:
            return weights
        a, b = (self.files.read(part).astype(np.float64) for part in self.parts[module])
        made = weights if weights.flags.writeable else weights.copy()
        step = max(1, _BLOCK // weights.shape[1])
        for start in range(0, len(weights), step):
            rows = slice(start, min(start + step, len(weights)))
            total = np.zeros((rows.stop - start, weights.shape[1]))
            term = np.empty_like(total)
            for rank in range(len(a)):
                np.multiply(b[first + rows.start : first + rows.stop, rank, None], a[rank], out=term)
                total += term
            total *= self.scales[module]
            total += made[rows]
            made[rows] = total
        return made


def open_adapter(options: SourceOptions, base: Tensors) -> Adapter:
    """The adapter that the user gave, if any, held against the base model. Raises CheckpointError."""
    directory = options.adapter
    if directory is None:
        return Adapter()
    config_path = directory / ADAPTER_CONFIG
    check_file(config_path, follow_links=options.follow_links)
    opened = identity(config_path)
    config = read_lora_config(config_path)
    files = WeightFiles((_weights(directory, options),))
    parts = _parts(directory, files, base)
    _check_shapes(directory, files, base, parts, config)
    scales = {module: config.scale(module) for module in parts}
    notes = (f"{directory}: a LoRA adapter of {len(parts)} matrices was merged",)
    return Adapter({config_path: opened, **files.opened}, notes, parts, scales, files)


def _weights(directory: Path, options: SourceOptions) -> Path:
    """The adapter's file, safetensors first, as PEFT takes them."""
    for name in ADAPTER_WEIGHTS:
        path = directory / name
        if path.exists() or path.is_symlink():
            check_file(path, follow_links=options.follow_links)
            return path
    raise CheckpointError(f"{directory}: expected one of {', '.join(ADAPTER_WEIGHTS)} in it, found none")


def _parts(directory: Path, files: WeightFiles, base: Tensors) -> dict[str, tuple[str, str]]:
    """Each module's A and B: both, and nothing that is neither."""
    found: dict[str, dict[str, str]] = {}
    for stored in files.tensors:
        name = stored.removeprefix(_PREFIX)
        match = _PART.fullmatch(name)
        if name == stored:
            raise CheckpointError(f"{directory}: {stored}: expected a name that begins with {_PREFIX}, found another")
        if match:
            found.setdefault(match["module"], {})[match["part"]] = stored
        else:
            _check_copy(directory, files, base, stored, name.replace(".base_layer.", "."))
    for module, pair in found.items():
        if module + ".weight" not in base.shapes or module + ".weight" == EMBEDDING:
            raise CheckpointError(
                f"{directory}: {module}: expected an adapter of the base model's projections or of its own lm_head, "
                "found another module"
            )
        if len(pair) != 2:
            missing = "lora_A" if "B" in pair else "lora_B"
            raise CheckpointError(f"{directory}: {module}: missing {missing}, which its other half needs")
    if not found:
        raise CheckpointError(f"{directory}: expected tensors called lora_A and lora_B, found none")
    return {module: (pair["A"], pair["B"]) for module, pair in found.items()}


def _check_copy(directory: Path, files: WeightFiles, base: Tensors, stored: str, name: str) -> None:
    """PEFT saves embeddings and classifier again beside an adapter of one of them: those of the base model alone."""
    if name not in base.shapes:
        raise CheckpointError(
            f"{directory}: {stored}: expected lora_A and lora_B of projections alone, found another"
        )
    same = files.tensors[stored].shape == base.shapes[name]
    if not same or not np.array_equal(files.read(stored).astype(np.float32), base.float32(name)):
        raise CheckpointError(f"{directory}: {stored}: expected the base model's {name} again, found another")


def _check_shapes(
    directory: Path,
    files: WeightFiles,
    base: Tensors,
    parts: Mapping[str, tuple[str, str]],
    config: LoraConfig,
) -> None:
    """Ranks and sizes are those that the config and the base model have, and the modules those that it aims at."""
    matrices = [name for name, shape in base.shapes.items() if len(shape) == 2 and name != EMBEDDING]
    for module in (EMBEDDING.removesuffix(".weight"), "lm_head"):
        if config.aims_at(module) and module + ".weight" not in matrices:
            raise CheckpointError(
                f"{directory}: target_modules: expected projections, or an lm_head that is not tied, found {module}"
            )
    for module in (name.removesuffix(".weight") for name in matrices):
        if config.aims_at(module) != (module in parts):
            expected, found = ("an adapter", "none") if config.aims_at(module) else ("none", "an adapter")
            raise CheckpointError(
                f"{directory}: {module}: expected {expected}, as target_modules says, found {found}"
            )
    for module, (a, b) in parts.items():
        rank, (rows, width) = config.rank(module), base.shapes[module + ".weight"]
        for name, shape in ((a, (rank, width)), (b, (rows, rank))):
            found_shape = files.tensors[name].shape
            if found_shape != shape:
                raise CheckpointError(f"{directory}: {name}: expected shape {shape}, found {found_shape}")
