"""A directory's bytes, written out by hand: the order of rows, blocks, digests, progress, without transformers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from helpers.models import arrays, config

import exporter
from exporter.companions import Companions
from exporter.config import tensor_shapes
from exporter.file_identity import identity
from exporter.formats import huggingface
from exporter.formats.huggingface import export_huggingface
from exporter.huggingface_names import hugging_face_name
from exporter.summary import TensorSummary

MODEL = config(qkv_bias=True)
TYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
HOLDS = "expected a weight that"
NAMES = list(tensor_shapes(MODEL))


def source(mine: dict[str, Any], dtype: Any = "fp32", companions: Any = Companions) -> exporter.Checkpoint:
    return exporter.Checkpoint(
        MODEL,
        tensor_shapes(MODEL),
        mine.__getitem__,
        where="here",
        kind="memory",
        dtypes=dict.fromkeys(NAMES, dtype),
        companions=companions,
    )


def exact(dtype: Any) -> dict[str, Any]:
    """Weights that the type holds, with a few zeros of both signs."""
    mine = {name: array.astype(TYPES[dtype]).astype(np.float32) for name, array in arrays(MODEL).items()}
    mine["norm.weight"][:2] = 0.0, -0.0
    return mine


def half_split(name: str, array: np.ndarray) -> np.ndarray:
    """Row 2i of a head becomes its row i, and row 2i + 1 its row i + 4."""
    if ".wq." not in name and ".wk." not in name:
        return array
    order = [head * 8 + 2 * pair + part for head in range(len(array) // 8) for part in (0, 1) for pair in range(4)]
    return array[order]


@pytest.mark.parametrize("block", [1, 48, 7 * 48, 8 * 48, 1 << 20])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_tensor_stands_in_transformers_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, block: int
) -> None:
    monkeypatch.setattr(huggingface, "_BLOCK", block)
    mine = exact(dtype)
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    summary = export_huggingface(
        source(mine, dtype), MODEL, out, overwrite=False, progress=lambda *both: seen.append(both)
    )
    content = (out / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name, array in mine.items():
        first, last = header[hugging_face_name(name)]["data_offsets"]
        expected = half_split(name, array).astype(TYPES[dtype]).tobytes()
        assert content[8 + length + first : 8 + length + last] == expected, name
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert summary.bytes == sum(sizes.values())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}
    assert summary.digests == digests
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    assert summary.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    width = np.dtype(TYPES[dtype]).itemsize
    assert summary.tensors == tuple(
        TensorSummary(name, array.shape, dtype, array.size * width, 0.0, 0.0) for name, array in mine.items()
    )
    done = np.cumsum([array.size * width for array in mine.values()]) + sizes["config.json"] + 8 + length
    assert seen == [(int(each), summary.bytes) for each in done]


def test_companions_are_copied_counted_and_digested(tmp_path: Path) -> None:
    beside = tmp_path / "tokenizer.json"
    beside.write_bytes(b"tokens")
    companions = Companions(files={beside: identity(beside)}, token_ids={"bos_token_id": 1})
    for progress in (True, False):
        seen: list[tuple[int, int]] = []
        out = tmp_path / f"out {progress}"
        summary = export_huggingface(
            source(exact("fp32"), companions=lambda: companions),
            MODEL,
            out,
            overwrite=False,
            progress=(lambda *both, seen=seen: seen.append(both)) if progress else None,
        )
        assert (out / "tokenizer.json").read_bytes() == b"tokens"
        assert summary.digests["tokenizer.json"] == hashlib.sha256(b"tokens").hexdigest()
        assert summary.bytes == sum(path.stat().st_size for path in out.iterdir())
        assert json.loads((out / "config.json").read_text())["bos_token_id"] == 1
        if progress:
            assert seen[-2:] == [(summary.bytes - 6, summary.bytes), (summary.bytes, summary.bytes)]


def test_a_shard_has_five_gigabytes_unless_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plan = huggingface.plan_files

    def noted(checkpoint: Any, model: Any, shard_bytes: int, token_ids: Any) -> Any:
        asked.append(shard_bytes)
        return plan(checkpoint, model, shard_bytes, token_ids)

    monkeypatch.setattr(huggingface, "plan_files", noted)
    mine = source(exact("fp32"))
    export_huggingface(mine, MODEL, tmp_path / "a", overwrite=False, progress=None)
    export_huggingface(mine, MODEL, tmp_path / "b", overwrite=False, progress=None, shard_bytes=9000)
    assert asked == [5_000_000_000, 9000]


@pytest.mark.parametrize("block", [1, 48, 1 << 20])
@pytest.mark.parametrize("name", ["norm.weight", "layers.1.attention.wk.weight", "layers.1.attention.wk.bias"])
@pytest.mark.parametrize(
    ("dtype", "bad", "message"),
    [
        ("fp32", np.nan, "expected a finite weight, found nan"),
        ("fp16", np.inf, "expected a finite weight, found inf"),
        (
            "fp16",
            1 + 2.0**-11,
            f"{HOLDS} float16, the source's type, holds exactly, found 1.00048828125",
        ),
        ("bf16", 1 + 2.0**-8, f"{HOLDS} bfloat16, the source's type, holds exactly, found 1.00390625"),
        ("fp16", 65536.0, f"{HOLDS} float16, the source's type, holds exactly, found 65536.0"),
    ],
)
def test_a_weight_that_cannot_be_written_is_told_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: Any, bad: float, message: str, block: int
) -> None:
    monkeypatch.setattr(huggingface, "_BLOCK", block)
    mine = exact(dtype)
    index = (23,) if mine[name].ndim == 1 else (5, 47)
    mine[name][index] = bad
    with pytest.raises(exporter.WeightError) as caught:
        export_huggingface(source(mine, dtype), MODEL, tmp_path / "out", overwrite=False, progress=None)
    assert caught.value.index == index
    assert str(caught.value) == f"here: {name}: {list(index)}: {message}"
    assert not list(tmp_path.iterdir())
