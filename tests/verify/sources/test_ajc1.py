"""Files of qwen3.c's as a source of the verifier: what is read, and what is refused."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
import torch
from helpers.qwen3c import qwen3c_config, qwen3c_configs, qwen3c_file
from hypothesis import given

import exporter
from verify.errors import CannotJudgeError
from verify.oracle.expected import numbers
from verify.sources import open_source
from verify.sources.ajc1 import MAGIC, layout_ajc1
from verify.testing import random_arrays

MODEL = qwen3c_config()


@given(qwen3c_configs())
def test_any_model_comes_out_as_it_was(tmp_path_factory: pytest.TempPathFactory, model: exporter.ModelConfig) -> None:
    mine = random_arrays(model, 5)
    source = open_source(qwen3c_file(tmp_path_factory.getbasetemp() / "any.bin", model, mine))
    assert source.kind == "bin"
    assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(model)
    (note,) = source.notes
    group = int(note.removesuffix(")").rpartition(" ")[2])
    for name, array in mine.items():
        storage = "q8_0" if array.ndim == 2 else "fp32"
        assert torch.equal(source.tensor(name), numbers(torch.from_numpy(array), storage, group)), name
    if model.tied:
        assert torch.equal(source.tensor("output.weight"), source.tensor("tok_embeddings.weight"))


FIELDS = ("magic", "version", "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
FIELDS += ("head_dim", "shared_classifier", "group_size")
REFUSED = [
    ({"version": 3}, "version: expected 1, found 3"),
    ({"shared_classifier": 2}, "shared_classifier: expected 0 or 1, found 2"),
    ({"dim": -1}, "header: expected the counts of a Qwen 3"),
    ({"head_dim": 13}, "header: expected the counts of a Qwen 3"),
    ({"head_dim": 6}, "header: expected the counts of a Qwen 3"),
    ({"n_kv_heads": 4}, "header: expected the counts of a Qwen 3"),
    ({"head_dim": 2**30}, "header: expected the counts of a Qwen 3"),
    ({"group_size": 0}, "group_size: expected a divisor of 48, 72 and 40, found 0"),
    ({"group_size": 16}, "group_size: expected a divisor of 48, 72 and 40, found 16"),
    ({"group_size": 4}, "size: expected 71488 bytes, by its header, found"),
    ({"shared_classifier": 1}, "size: expected "),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_a_damaged_header_is_refused(tmp_path: Path, fields: dict[str, int], message: str) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    content = bytearray(path.read_bytes())
    for field, value in fields.items():
        struct.pack_into("<i", content, 4 * FIELDS.index(field), value)
    path.write_bytes(content)
    with pytest.raises(CannotJudgeError) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_cut_header_and_other_bytes_behind_its_fields_are_refused(tmp_path: Path) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    content = path.read_bytes()
    path.write_bytes(content[:255])
    with pytest.raises(CannotJudgeError, match="header: expected 256 bytes, found 255"):
        open_source(path)
    path.write_bytes(content[:48] + b"\1" + content[49:])
    with pytest.raises(CannotJudgeError, match="header: expected zeros behind its fields, found other bytes"):
        open_source(path)


def test_the_kind_that_a_user_may_name(tmp_path: Path) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    assert open_source(path, kind="bin").kind == "bin"
    for kind in ("v3", "llama2c"):
        with pytest.raises(CannotJudgeError, match=f"for --source-kind {kind}, found a .bin file of qwen3.c: omit"):
            open_source(path, kind=kind)


def header(**changes: int) -> bytes:
    """Of a smallest model: a head of two elements."""
    counts = dict.fromkeys(FIELDS[2:9], 1) | {"dim": 2, "hidden_dim": 2, "head_dim": 2}
    fields = {"version": 1, **counts, "shared_classifier": 1, "group_size": 2, **changes}
    return struct.pack("<Ii10i", MAGIC, *(fields[name] for name in FIELDS[1:])).ljust(256, b"\0")


def refused(size: int, **changes: int) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        layout_ajc1(Path("model.bin"), header(**changes), size)
    return str(caught.value)


def test_the_smallest_model_and_counts_of_zero() -> None:
    # an embedding of 2, four matrices of 4 and three of 4, a scale for every two; norms of 2 * (2 + 2) + 2
    size = 256 + 4 * 10 + 30 + 4 * 15
    assert layout_ajc1(Path("model.bin"), header(), size).size == size
    for field in FIELDS[2:10]:
        found = refused(size, **{field: 0})
        assert found.startswith("model.bin: header: expected the counts of a Qwen 3 (dim, hidden_dim, n_layers, ")


def test_all_heads_together_are_an_integer_of_32_bits() -> None:
    """The counts pass up to 2^31 - 1 and the size is refused: no test has such a file."""
    most = {"n_heads": 2**30 - 1, "n_kv_heads": 1}
    assert refused(7, **most).startswith("model.bin: size: expected ")
    assert "header: expected the counts" in refused(7, **{**most, "n_heads": 2**30})
