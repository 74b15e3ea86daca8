"""int8 activations in groups that `fast` leaves to mirror's product, with biases that are not float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import huggingface

import exporter
import reader_c

torch = pytest.importorskip("torch")


def test_threads_change_no_bit_where_one_of_them_multiplies(tmp_path: Path) -> None:
    """The others may still add the bias of the product before, from rows that the next product fills."""
    source = huggingface.save(tmp_path / "source", huggingface.model("Qwen2ForCausalLM").to(torch.bfloat16))
    path = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage="q8_0", group_size=2)
    with reader_c.open(path) as file:
        assert {file.storage(name).storage for name in file.names if name.endswith(".bias")} == {"bf16"}
        tokens = np.arange(file.config.max_seq_len) % file.config.vocab_size
        with file.session(len(tokens), threads=1) as session:
            expected = session.forward(tokens, activations="q8").tobytes()
        for _ in range(200):
            with file.session(len(tokens), threads=3) as session:
                assert session.forward(tokens, activations="q8").tobytes() == expected
