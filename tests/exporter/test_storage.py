"""Which storage a tensor gets in v3, and what writing it keeps in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, checkpoint, config

import exporter
import reader_c
from exporter.config import tensor_shapes
from exporter.storage import choose_storage

MODEL = config(qkv_bias=True, dim=48, hidden_dim=40, head_dim=10)


def chosen(storage: object, dtype: str = "bf16", group_size: int = 8) -> dict[str, tuple[str, int]]:
    source = exporter.Checkpoint(
        MODEL,
        tensor_shapes(MODEL),
        arrays(MODEL).__getitem__,
        where="memory",
        kind="memory",
        dtypes=dict.fromkeys(tensor_shapes(MODEL), dtype),  # type: ignore[arg-type]
    )
    found = choose_storage(source, storage, group_size, exact=False)  # type: ignore[arg-type]
    return {name: (how.storage, how.group_size) for name, how in found.items()}


@pytest.mark.parametrize("storage", ["fp16", "bf16", "q8_0", "source"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_vectors_keep_the_sources_type(storage: str, dtype: str) -> None:
    found = chosen(storage, dtype)
    for name, shape in tensor_shapes(MODEL).items():
        expected = dtype if len(shape) == 1 or storage == "source" else storage
        assert found[name][0] == expected
    assert {how for how, _ in chosen("fp32", dtype).values()} == {"fp32"}


def test_the_last_pattern_that_matches_counts() -> None:
    found = chosen({"*": "q8_0", "layers.1.*": "fp32", "*.wq.*": "fp16"})
    assert found["layers.0.attention.wk.weight"] == ("q8_0", 8)
    assert found["layers.1.attention.wk.weight"] == ("fp32", 0)
    assert found["layers.1.attention.wq.weight"] == ("fp16", 0)


def test_each_tensor_backs_off_by_its_own_width() -> None:
    found = chosen("q8_0", group_size=64)
    assert found["layers.0.attention.wq.weight"] == ("q8_0", 48)
    assert found["layers.0.feed_forward.w2.weight"] == ("q8_0", 40)
    assert found["layers.0.attention.wo.weight"] == ("q8_0", 60)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("fp8", "expected one of source, fp32, .* found 'fp8'"),
        ({"*": "fp8"}, "found 'fp8'"),
        ({"wq": "fp16"}, "a pattern that some tensor's name matches, found 'wq'"),
        ({"*.bias": "fp16"}, "never narrowed, found \\*.bias=fp16"),
        ({"norm.weight": "q8_0"}, "never narrowed"),
    ],
)
def test_what_cannot_be_is_refused(storage: object, message: str) -> None:
    with pytest.raises(exporter.FormatError, match=message):
        chosen(storage)


@pytest.mark.parametrize(
    ("format_name", "storage", "most"),
    [
        ("v1-fp32", "source", 1.5),
        ("v2", "source", 2.2),
        ("v3", "source", 1.5),
        ("v3", "fp16", 2.2),
        ("v3", "bf16", 2.2),
        ("v3", "q8_0", 2.2),
    ],
)
def test_writing_keeps_one_large_tensor_in_memory(
    tmp_path: Path, format_name: str, storage: str, most: float
) -> None:
    """One large one, with half of it again. As a multiple of the largest tensor, which every layer has three of."""
    model = config(dim=512, hidden_dim=8192, n_layers=2, n_heads=8, n_kv_heads=8, vocab_size=8, tied=True)
    shapes = tensor_shapes(model)

    def load(name: str) -> np.ndarray:
        return np.full(shapes[name], 0.5, np.float32)

    source = exporter.Checkpoint(model, shapes, load, where="memory", kind="memory")
    tracemalloc.start()
    exporter.export(source, tmp_path / "out.bin", format=format_name, storage=storage, provenance=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most * 4 * 512 * 8192


def test_a_v3_source_is_read_a_tensor_at_a_time_and_noticed_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "source.bin"
    exporter.export(checkpoint(), path, format="v3", storage="bf16")
    opened = exporter.open_checkpoint(path)
    content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError, match="changed while it was being read"):
        opened.load("norm.weight")
    damaged = bytearray(content)
    with reader_c.open(path) as model:
        damaged[model.spans("output.weight")[0].offset] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(exporter.CheckpointError, match=r"output\.weight: digest"):
        exporter.open_checkpoint(path).load("output.weight")
    from verify.errors import CannotJudgeError
    from verify.sources import open_source

    with pytest.raises(CannotJudgeError, match=r"output\.weight: digest"):
        open_source(path)
    reader_c.open(path).close()


def test_a_name_that_provenance_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a\nname.bin"
    exporter.export(checkpoint(), path, format="v3")
    opened = exporter.open_checkpoint(path)
    with pytest.raises(exporter.CheckpointError, match="printable name"):
        exporter.export(opened, tmp_path / "out.bin", format="v3")
    exporter.export(opened, tmp_path / "out.bin", format="v3", provenance=False)
