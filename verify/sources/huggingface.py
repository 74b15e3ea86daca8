"""Reads a Hugging Face directory by the verifier's own road.

The exporter reads config.json by itself; this asks transformers' own configuration class what the file says, defaults
and all, and holds the answer against the tensors.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.adapter import WEIGHT_NAMES, Adapter
from verify.sources.directory import SourceDirectory
from verify.sources.finite import expect_finite
from verify.sources.huggingface_config import derived, resolved
from verify.sources.huggingface_experts import Part, expert_parts
from verify.sources.huggingface_families import FAMILIES, Family
from verify.sources.huggingface_fused import part_rows
from verify.sources.huggingface_names import canonical_names, transformers_name
from verify.sources.huggingface_settings import ARCHITECTURES, expect_unquantized, judged_settings
from verify.sources.huggingface_text_part import is_tied, text_part
from verify.sources.old_buffers import check_frequencies
from verify.sources.options import NO_OPTIONS, SourceOptions
from verify.sources.refusal import refusal
from verify.sources.shards import WHOLE_NAMES, Shards
from verify.sources.source import Merge, Source
from verify.sources.torch_files import identical

_DTYPE_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
_EMBEDDING, _OUTPUT = "tok_embeddings.weight", "output.weight"


class HuggingFaceSource(Source):
    """A directory with config.json and the weights of a model of one of FAMILIES. Tensors are read when asked for,
    one at a time. Raises CannotJudgeError for every other model, and where the files contradict each other."""

    kind = "huggingface"

    def __init__(self, path: Path, options: SourceOptions = NO_OPTIONS) -> None:
        self.path = path
        self._directory = SourceDirectory(path, follow_links=options.follow_links)
        notes = _judge_adapter_files(self._directory, options)
        stored_names = self._opened(notes)
        _check_layers(self._where, self._settings.said, len(self._shards.headers))
        config = resolved(self._where, self._settings)
        names = canonical_names(path, list(stored_names), self._settings.family)
        stored = {own: header.shape for own, header in self._shards.headers.items()}
        own_names = {own: stored_names[name] for own, name in names.own.items()}
        self._own, experts = expert_parts(path, own_names, stored)
        if config.tie_word_embeddings and {_EMBEDDING, _OUTPUT} <= self._own.keys():
            self._check_tie(self._own[_EMBEDDING], self._own.pop(_OUTPUT))
        rows = part_rows(path, self._own, stored) if self._family.fused else {}
        self._parts: dict[str, slice | Part] = {**rows, **experts}
        shapes = {name: self._shape(name, stored[own]) for name, own in self._own.items()}
        self.hyperparameters, of_config = derived(self._where, self._settings, config, shapes, options.max_seq_len)
        for own in map(stored_names.__getitem__, names.frequencies):
            check_frequencies(self._shards.place(own), own, self._shards.read(own), self.hyperparameters)
        if names.frequencies:
            notes.append("rotary_emb.inv_freq: stored buffers hold what config.json says; they were dropped")
        self._adapter = self._opened_adapter(options)
        self.has_adapter = self._adapter is not None
        of_adapter = self._adapter.files if self._adapter else {}
        self.files = dict(sorted({**self._directory.digests, **of_adapter}.items()))
        self.notes = (*self._settings.notes, *of_config, *names.notes, *notes)
        self.notes += self._adapter.notes if self._adapter else ()
        # transformers' own loader can take it as it stands
        adapted = self._adapter is not None or self._directory.has("adapter_config.json")
        # transformers prefers a distributed checkpoint's shards, which are no part of this source
        distributed = any(path.glob("shard-*.safetensors"))
        standard = names.standard and self._text is None and self._shards.is_standard
        self.is_plain = standard and not adapted and not distributed
        self.expect_unchanged()

    def _opened(self, notes: list[str]) -> dict[str, str]:
        """Judge config.json and find the tensors. Return the name that transformers' class for text has for each, or
        as wrappers of training left it, with the stored one."""
        self._where, said = self.path / "config.json", self._directory.read_json("config.json")
        self._text = text = text_part(self._where, said)
        if text is None:
            self._settings = judged_settings(self._where, said)
            self._shards = Shards(self._directory)
            return {name: name for name in self._shards.headers}
        expect_unquantized(self._where, said.get("quantization_config"))
        if "text_config" in said:
            # for messages: no file has that name, and its parent is the directory
            self._where = self.path / "config.json: text_config"
        self._settings = judged_settings(self._where, text.said)
        self._shards = Shards(self._directory, is_unwanted=text.is_vision)
        names = text.names(self.path, list(self._shards.headers))
        notes.append(text.note(self._shards.unwanted))
        if text.said["tie_word_embeddings"] and not is_tied(names, self._shards):
            notes.append("lm_head is not the embedding: it is not tied, as transformers decides here")
            self._settings = replace(self._settings, said={**text.said, "tie_word_embeddings": False})
        return names

    def expect_unchanged(self) -> None:
        self._directory.expect_unchanged()
        if self._adapter is not None:
            self._adapter.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return self._directory.tokenizer()

    def tensor(self, name: str) -> torch.Tensor:
        return self._paired(name, self._widened(name))

    def merge(self, name: str) -> Merge | None:
        if self._adapter is None or not self._adapter.changes(name):
            return None
        a, b, alpha, scale = self._adapter.parts(name)
        return Merge(self._paired(name, self._of_base(name)), a, self._paired(name, b), b, alpha, scale)

    def _paired(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return rows in llama2.c's order."""
        hyper = self.hyperparameters
        heads = {"q": hyper.n_heads, "k": hyper.n_kv_heads}
        part = name.rsplit(".", 2)[-2]
        if self._family.interleaved:
            return tensor
        if part in ("wq", "wk"):
            return _interleaved(tensor, heads[part[1]], hyper.rotated)
        if part in ("q_norm", "k_norm"):
            return _interleaved(tensor, heads[part[0]] if hyper.qk_norm == "whole" else 1, hyper.rotated)
        return tensor

    def dtype(self, name: str) -> str:
        if self._adapter is not None and self._adapter.changes(name):
            return "fp32"
        return _DTYPE_NAMES.get(self._shards.headers[self._stored_name(name)].dtype, "fp32")

    @property
    def _family(self) -> Family:
        return FAMILIES[self._settings.family]

    def _shape(self, name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a tensor, which may be a part of a stored one."""
        part = self._parts.get(name)
        if part is None:
            return stored
        rows = part if isinstance(part, slice) else part[1]
        return (rows.stop - rows.start, *stored[-1:])

    @property
    def architecture(self) -> str:
        """The name of transformers' model class."""
        return ARCHITECTURES[self._settings.family]

    def transformers_config(self) -> Any:
        """Return a new config object of transformers for this model, which asks for logits alone."""
        config = resolved(self._where, self._settings)
        config.return_dict, config.output_attentions, config.output_hidden_states = True, False, False
        if self._family.experts is not None:
            config.output_router_logits = False
            # one expert after the other, for matrices of any width
            config._experts_implementation = "eager"
        return config

    def transformers_tensors(self) -> dict[str, tuple[str, ...]]:
        """Return llama2.c's name of each tensor by the name that transformers' model has for it: of a fused matrix
        those of its parts, in order, of fused experts one expert after the other. A tied classifier is left out."""
        theirs = {name: transformers_name(name, self._settings.family) for name in self.hyperparameters.shapes()}
        found: dict[str, list[str]] = {}
        # queries, keys, values; then gate and up, w1 and w3: shapes() has them in the order of a fused matrix
        for name, stored in theirs.items():
            found.setdefault(stored, []).append(name)
        return {name: tuple(parts) for name, parts in found.items()}

    def transformers_tensor(self, name: str) -> torch.Tensor:
        """Return one tensor, named as in llama2.c, float32, its rows in transformers' order."""
        return self._widened(name)

    def _widened(self, name: str) -> torch.Tensor:
        tensor = self._of_base(name)
        if self._adapter is not None and self._adapter.changes(name):
            return self._adapter.merged(name, tensor)
        return tensor

    def _of_base(self, name: str) -> torch.Tensor:
        own = self._stored_name(name)
        stored = self._shards.read(own)
        expect_finite(self._shards.place(own), own, stored)
        stored = stored[self._parts[name]] if name in self._parts else stored
        tensor = stored.to(torch.float32)
        if stored.dtype == torch.float64 and not torch.equal(tensor.double(), stored):
            raise refusal(self._shards.place(own), own, "values that float32 can hold", "others")
        return tensor

    def _stored_name(self, name: str) -> str:
        return self._own[_EMBEDDING if name == _OUTPUT and self.hyperparameters.tied else name]

    def _opened_adapter(self, options: SourceOptions) -> Adapter | None:
        """Open the adapter that the user gave. A classifier that was saved with it must be the base's own."""
        if options.adapter is None:
            return None
        if self._family.fused:
            raise refusal(options.adapter, "adapter", "a base without fused matrices", self._settings.family)
        adapter = Adapter(Path(options.adapter), self.hyperparameters, follow_links=options.follow_links)
        copy = adapter.classifier_copy()
        if copy is not None:
            own = self._shards.read(self._own[_OUTPUT])
            if copy.shape != own.shape or not torch.equal(copy.double(), own.double()):
                raise refusal(options.adapter, "lm_head", "the classifier of the base", "another one")
        return adapter

    def _check_tie(self, embedding: str, classifier: str) -> None:
        """A tied model may hold its classifier a second time, but no other one."""
        if not identical(self._shards.read(embedding), self._shards.read(classifier)):
            what = f"tie_word_embeddings is true: {classifier}"
            raise refusal(self.path, what, f"the bits of {embedding}", "others")


def _judge_adapter_files(directory: SourceDirectory, options: SourceOptions) -> list[str]:
    """Return a note where an adapter's config stands beside a whole model. Raises CannotJudgeError where its weights
    do, or where there is nothing else."""
    if not directory.has("adapter_config.json"):
        return []
    whole = any(directory.has(name) for name in WHOLE_NAMES)
    if not whole:
        raise CannotJudgeError(
            f"{directory.path}: expected a whole model, found an adapter: give the base model as SOURCE and this "
            "directory as --adapter, or merge it"
        )
    given = options.adapter is not None and directory.path.resolve() == Path(options.adapter).resolve()
    if given:
        return []
    if any(directory.has(name) for name in WEIGHT_NAMES):
        raise CannotJudgeError(
            f"{directory.path}: expected a model or an adapter, found both: move the adapter away, or give it as "
            "--adapter DIR"
        )
    return ["adapter_config.json has no weights beside it and was not used"]


def _interleaved(rows: torch.Tensor, heads: int, rotated: int) -> torch.Tensor:
    """Return rows (or elements) that make q or k, from Hugging Face's order to llama2.c's.

    Both turn complex numbers, the first `rotated` rows of each head. Hugging Face keeps a head's real parts together,
    then its imaginary ones; llama2.c keeps each number together, real part first.
    """
    by_head = rows.view(heads, -1, *rows.shape[1:])
    real, imaginary = by_head[:, :rotated].unflatten(1, (2, -1)).unbind(1)
    numbers = torch.view_as_real(torch.complex(real.contiguous(), imaginary.contiguous()))
    turned = numbers.movedim(-1, 2).flatten(1, 2)
    return torch.cat((turned, by_head[:, rotated:]), dim=1).reshape(rows.shape).contiguous()


def _check_layers(where: Path, said: dict[str, Any], tensors: int) -> None:
    """Check the count that transformers makes lists of, before it is asked."""
    layers = said.get("num_hidden_layers")
    if isinstance(layers, int) and layers > tensors:
        raise refusal(where, "num_hidden_layers", f"at most {tensors}, the tensors that there are", layers)
