"""Merges a LoRA adapter into the matrices of a Hugging Face base.

W + s B A, in float64: a product of two float32 is exact there, the products are added up from the first rank to the
last, the sum is multiplied by s and added to W, and that is rounded once to float32. The order is fixed because two
orders differ in the last bit of some elements.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from verify.sources.adapter_config import AdapterConfig
from verify.sources.directory import SourceDirectory
from verify.sources.finite import expect_finite
from verify.sources.huggingface_names import transformers_name
from verify.sources.refusal import refusal
from verify.sources.shards import Shards
from verify.sources.source import Hyperparameters

WEIGHT_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
_TENSOR = re.compile(r"base_model\.model\.(.+)\.(lora_A|lora_B)\.weight")
# PEFT writes the classifier that an adapter belongs to beside its matrices.
_CLASSIFIER_COPY = re.compile(r"base_model\.model\.lm_head\.(base_layer\.)?weight")
_PROJECTIONS = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")
# Elements that are merged at a time: what fits into a core's cache.
_BLOCK = 1 << 16


class Adapter:
    """A directory with adapter_config.json and A and B of each changed matrix. Raises CannotJudgeError unless they
    fit the base exactly."""

    def __init__(self, path: Path, base: Hyperparameters, *, follow_links: bool) -> None:
        self._directory = SourceDirectory(path, follow_links=follow_links)
        self._config = AdapterConfig(path / "adapter_config.json", self._directory.read_json("adapter_config.json"))
        self._shards = Shards(self._directory, WEIGHT_NAMES)
        self._path, shapes = path, base.shapes()
        # transformers' name of each module that may have an adapter -> llama2.c's name of its matrix
        modules = {
            transformers_name(name).removesuffix(".weight"): name
            for name in shapes
            if name.endswith(tuple(f".{each}.weight" for each in _PROJECTIONS)) or name == "output.weight"
        }
        found = self._modules(modules, tied=base.tied)
        for module in modules:
            if module not in found and self._config.selects(module):
                raise refusal(path, f"base_model.model.{module}.lora_A.weight", "a matrix", "no such tensor")
        self._modules_by_name = {modules[module]: module for module in found}
        for module in found:
            self._check(module, shapes[modules[module]])
        self.notes = (f"a LoRA adapter was merged into {len(found)} matrices",)

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of each of its files, by "adapter/" and its name."""
        return {f"adapter/{name}": digest for name, digest in self._directory.digests.items()}

    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError where a file of the adapter has changed."""
        self._directory.expect_unchanged()

    def changes(self, name: str) -> bool:
        """Whether a tensor of llama2.c's name is merged."""
        return name in self._modules_by_name

    def classifier_copy(self) -> torch.Tensor | None:
        """Return the classifier that was saved with the adapter, if there is one."""
        own = next((own for own in self._shards.headers if _CLASSIFIER_COPY.fullmatch(own)), None)
        return None if own is None else self._shards.read(own)

    def merged(self, name: str, weights: torch.Tensor) -> torch.Tensor:
        """Return a matrix of the base, float32 or float64 in Hugging Face's order, with what the adapter adds."""
        module = self._modules_by_name[name]
        a, b = (self._read(module, which) for which in ("lora_A", "lora_B"))
        scale = self._config.scale_of(module)
        made = torch.empty(weights.shape, dtype=torch.float32)
        step = max(1, _BLOCK // weights.shape[1])
        for first in range(0, len(weights), step):
            rows = slice(first, first + step)
            total = b[rows, :1] * a[0]
            for rank in range(1, len(a)):
                total += b[rows, rank : rank + 1] * a[rank]
            made[rows] = (total.mul_(scale) + weights[rows].double()).float()
        expect_finite(self._path, f"{module}, merged", made)
        return made

    def parts(self, name: str) -> tuple[torch.Tensor, torch.Tensor, float, float]:
        """Return A and B of a matrix, float64, its lora_alpha, and what B A is multiplied by."""
        module = self._modules_by_name[name]
        a, b = (self._read(module, which) for which in ("lora_A", "lora_B"))
        return a, b, self._config.alpha_of(module), self._config.scale_of(module)

    def _read(self, module: str, which: str) -> torch.Tensor:
        own = f"base_model.model.{module}.{which}.weight"
        tensor = self._shards.read(own)
        expect_finite(self._shards.place(own), own, tensor)
        return tensor.double()

    def _modules(self, modules: dict[str, str], *, tied: bool) -> list[str]:
        """The modules that have an A or a B; refuses every other tensor."""
        found: dict[str, None] = {}
        for own in self._shards.headers:
            match = _TENSOR.fullmatch(own)
            if match and match[1] in modules and self._config.selects(match[1]) is not False:
                found[match[1]] = None
            elif own.startswith("base_model.model.lm_head.") and tied:
                raise refusal(self._path, own, "no adapter of a classifier that is the embedding", "one")
            elif match and match[1] in modules:
                raise refusal(self._path, own, "a module that adapter_config.json selects", "another one")
            elif not _CLASSIFIER_COPY.fullmatch(own):
                raise refusal(self._path, own, "A or B of a projection or the classifier", "another tensor")
        if not found:
            raise refusal(self._path, "tensors", "lora_A and lora_B of some module", "none")
        return list(found)

    def _check(self, module: str, shape: tuple[int, ...]) -> None:
        rank = self._config.rank_of(module)
        for which, expected in (("lora_A", (rank, shape[1])), ("lora_B", (shape[0], rank))):
            own = f"base_model.model.{module}.{which}.weight"
            header = self._shards.headers.get(own)
            if header is None or header.shape != expected:
                raise refusal(self._path, own, expected, header.shape if header else "no such tensor")
