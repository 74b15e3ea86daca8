"""What the tests on models that people use have in common: the command in a process of its own, room, comparisons."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import reader_c
from verify.system.optional_imports import quiet_transformers


def run_alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def emptied(directory: Path) -> Iterator[Path]:
    """A directory for files of up to a gigabyte each, so away with them."""
    yield directory
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def greedy_text(file: Path, source: Path, prompt: str, count: int) -> str:
    """The text that the reader and transformers both choose greedily; no end is wanted before count tokens."""
    with quiet_transformers() as transformers:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = model.generate(ids, do_sample=False, max_new_tokens=count, min_new_tokens=count)
    tokens = ids[0].tolist()
    with reader_c.open(file) as read, read.session(len(tokens) + count) as session:
        logits = session.forward(tokens, arithmetic="mirror")
        for _ in range(count):
            # as generate() does where no end is wanted yet
            logits[-1, model.generation_config.eos_token_id] = -np.inf
            tokens.append(int(logits[-1].argmax()))
            logits = session.forward(tokens[-1:], arithmetic="mirror")
    assert tokens == made[0].tolist()
    text: str = tokenizer.decode(tokens)
    return text


def assert_same_tensors(before: Path, after: Path) -> None:
    """Two safetensors files hold the same names and bits."""
    from safetensors import safe_open

    with safe_open(before, framework="np") as one, safe_open(after, framework="np") as other:
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118  # it is no mapping
            assert one.get_tensor(name).tobytes() == other.get_tensor(name).tobytes(), name
