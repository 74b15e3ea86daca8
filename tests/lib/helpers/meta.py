"""Directories as Meta publishes them, made of whole arrays."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

import exporter
from helpers.models import Arrays, arrays
from helpers.models import config as model_config
from verify.testing import configs

State = dict[str, Any]

# What each kind of matrix is split along; embeddings either way.
_AXES = {"wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w2": 1, "w3": 0, "output": 0}


def params(config: exporter.ModelConfig, **changes: object) -> dict[str, Any]:
    """params.json's content. Any hidden_dim can be said: what is at least 1 goes up to a multiple of it."""
    c = config
    found: dict[str, Any] = {
        **{key: getattr(c, key) for key in ("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")},
        "multiple_of": c.hidden_dim,
        "ffn_dim_multiplier": 1.5 / int(2 * 4 * c.dim / 3),
        "norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta,
    }
    return {**found, **changes}


def shards(
    whole: Arrays, count: int = 1, *, embedding_axis: int = 1, dtype: torch.dtype = torch.float32
) -> list[State]:
    """The state dict of each shard, all tensors of one type. It has a classifier even where that is the embedding,
    because Meta's code loads nothing else."""
    states: list[State] = [{} for _ in range(count)]
    for name, array in {"output.weight": whole["tok_embeddings.weight"], **whole}.items():
        tensor = torch.from_numpy(array).to(dtype)
        axis = embedding_axis if name.startswith("tok_") else _AXES.get(name.split(".")[-2])
        parts = [tensor] * count if axis is None else torch.chunk(tensor, count, dim=axis)
        for state, part in zip(states, parts, strict=True):
            state[name] = part.contiguous().clone()
    return states


def save(directory: Path, states: list[State], said: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    for number, state in enumerate(states):
        torch.save(state, directory / f"consolidated.{number:02}.pth")
    (directory / "params.json").write_text(json.dumps(said), encoding="utf-8")
    return directory


def write(
    directory: Path,
    whole: Arrays,
    config: exporter.ModelConfig,
    count: int = 1,
    *,
    embedding_axis: int = 1,
    dtype: torch.dtype = torch.float32,
    **changes: object,
) -> Path:
    """A directory of count shards. changes: to params.json."""
    return save(
        directory,
        shards(whole, count, embedding_axis=embedding_axis, dtype=dtype),
        params(config, **changes),
    )


@st.composite
def sharded(draw: st.DrawFn) -> tuple[exporter.ModelConfig, int, int]:
    """(a config, a number of shards that divides its matrices, the axis of its embedding)."""
    config, count = draw(configs()), draw(st.sampled_from([1, 2, 4]))
    config = dataclasses.replace(
        config,
        dim=config.dim * count,
        head_dim=0,
        hidden_dim=config.hidden_dim * count,
        vocab_size=config.vocab_size * count,
        norm_eps=draw(st.sampled_from([1e-5, 1e-6, 0.125])),
        rope_theta=draw(st.sampled_from([10000.0, 5e5, 7.25])),
    )
    return config, count, draw(st.sampled_from([0, 1]))


# All of its sizes can be halved twice.
MODEL = model_config(vocab_size=32)


def write_large(directory: Path) -> int:
    """Four shards, 110 MB in all, so that what stays in memory shows. Returns the largest tensor's bytes."""
    config = model_config(
        dim=512, hidden_dim=1408, n_layers=6, n_heads=8, n_kv_heads=8, vocab_size=8192, max_seq_len=64
    )
    write(directory, arrays(config), config, 4)
    return 4 * config.vocab_size * config.dim


def peak_growth(setup: str, work: str) -> int:
    """By how many bytes a process's largest resident set grows from setup to work. Mapped pages count."""
    code = f"""
from pathlib import Path
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
{setup}
before = peak()
{work}
print(peak() - before)
"""
    # said, glibc's threshold stays where it is: what is freed goes back at once, and not by chance
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
