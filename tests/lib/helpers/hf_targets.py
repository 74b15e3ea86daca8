"""Hugging Face directories as targets: healthy ones of each kind of source, and ways to break them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import exporter
import verify
from exporter.formats.huggingface import export_huggingface
from helpers import huggingface, meta
from helpers.checkpoints import save, state_dict
from helpers.models import arrays, toy_file
from verify.report.model import Report

# Two tensors, and the checks of a directory in their order.
DOWN = "model.layers.1.mlp.down_proj.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
ORDER = ["config", "file", "tensors", "execution", "storage", "quantization"]

# kind of source -> (source, directory)
Healthy = dict[str, tuple[Path, Path]]

# Beside the weights of a Hugging Face source; what they hold does not count, only that every byte arrives.
COMPANIONS = {
    "tokenizer.json": '{"a": 1}',
    "tokenizer_config.json": '{"b": 2}',
    "special_tokens_map.json": "{}",
    "chat_template.jinja": "{{ messages }}\n",
    "merges.txt": "#version: 0.2\n",
}


def _llama2c(room: Path) -> Path:
    return save(room, state_dict())


def _meta(room: Path) -> Path:
    return meta.write(room / "meta", arrays(meta.MODEL), meta.MODEL, 2)


def _huggingface(room: Path) -> Path:
    made = huggingface.model(bos_token_id=3, eos_token_id=[4, 5])
    directory = huggingface.save(room / "source", made)
    for name, content in COMPANIONS.items():
        (directory / name).write_text(content)
    return directory


def _v3(room: Path) -> Path:
    return toy_file(room, "v3")


SOURCES: dict[str, Callable[[Path], Path]] = {
    "llama2c": _llama2c,
    "meta": _meta,
    "huggingface": _huggingface,
    "v3": _v3,
}


def make(room: Path, kind: str, *, sharded: bool = False) -> tuple[Path, Path]:
    """Return a source of this kind and a healthy directory made of it."""
    source, out = SOURCES[kind](room), room / "out"
    checkpoint = exporter.open_checkpoint(source)
    size = 20_000 if sharded else 10**9
    export_huggingface(checkpoint, checkpoint.config, out, overwrite=False, progress=None, shard_bytes=size)
    return source, out


def copy(directory: Path, room: Path) -> Path:
    return Path(shutil.copytree(directory, room / "copy"))


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = directory / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})


def change_json(path: Path, **changes: Any) -> None:
    """None removes a key."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def verdict(source: Path, directory: Path, **options: Any) -> Report:
    return verify.verify(source, directory, windows=1, depth="quick", **options)


def statuses(report: Report) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}
