"""Weight files by themselves: which ones count, where a tensor's bytes stand, and what a damaged one is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import exporter
from exporter.sources import huggingface_files
from exporter.sources.huggingface_files import WeightFiles, has_weights

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SHAPES: dict[str, tuple[int, ...]] = {
    **{"a": (3, 4), "b": (2, 3, 5), "c": (7,), "d": (), "e": (3, 1), "f": (2, 0), "g": (1, 2, 2, 3)}
}
BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


def arrays(dtype: Any = np.float32) -> dict[str, np.ndarray]:
    count, made = 0, {}
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        made[name] = np.arange(count, count + size).astype(dtype).reshape(shape)
        count += size
    return made


def written(directory: Path, dtype: Any, *, pickled: bool) -> Path:
    path = directory / (PICKLED if pickled else SINGLE)
    if not pickled:
        save_file(arrays(dtype), path)
        return path
    kinds = {np.float32: torch.float32, np.float16: torch.float16, ml_dtypes.bfloat16: torch.bfloat16}
    made = {name: torch.tensor(array.astype(np.float32)).to(kinds[dtype]) for name, array in arrays(dtype).items()}
    # a parameter of its own, and rows that another tensor has between them
    made["a"] = torch.nn.Parameter(torch.cat([made["a"], made["a"]], 1)[:, :4])
    torch.save(made, path)
    return path


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        call()
    return str(caught.value)


# ---- which files ----


@pytest.mark.parametrize("name", [SINGLE, INDEX, PICKLED, PICKLED_INDEX])
def test_a_directory_has_weights_where_transformers_looks(tmp_path: Path, name: str) -> None:
    for other in ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin", "model-00001-of-00001.safetensors"):
        (tmp_path / other).touch()
    assert not has_weights(tmp_path)
    (tmp_path / name).symlink_to("nowhere")
    assert has_weights(tmp_path)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    assert refused(lambda: WeightFiles.of_directory(tmp_path, follow_links=False)) == (
        f"{tmp_path}: expected one of {SINGLE}, {INDEX}, {PICKLED}, {PICKLED_INDEX} in it, found none"
    )


def test_a_shard_beside_an_index_of_the_one_file_is_told_of_the_index(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / SINGLE)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(SHAPES, SINGLE)}))
    assert WeightFiles.of_directory(tmp_path, follow_links=False).files == (tmp_path / INDEX, tmp_path / SINGLE)
    for name in ("model-2-of-2.safetensors", "model-1-of-2.safetensors"):
        (tmp_path / name).touch()
    assert refused(lambda: WeightFiles.of_directory(tmp_path, follow_links=False)) == (
        f"{tmp_path / 'model-1-of-2.safetensors'}: expected no shard beside those of {INDEX}, found one"
    )


# ---- what they hold ----


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_any_rows_of_a_tensor_are_read(tmp_path: Path, dtype: Any, *, pickled: bool) -> None:
    files = WeightFiles((written(tmp_path, dtype, pickled=pickled),))
    assert {name: stored.shape for name, stored in files.tensors.items()} == SHAPES
    assert files.left_out == 0
    for name, array in arrays(dtype).items():
        found = files.read(name)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        width = array.shape[-1] if array.shape else 1
        rows = array.reshape(array.size // max(1, width), width)
        for start, stop in ((0, len(rows)), (0, 1), (1, 2), (len(rows) - 1, len(rows)), (1, 1)):
            assert np.array_equal(files.rows(name, range(start, stop)), rows[start:stop]), (name, start, stop)
        if array.shape:
            for some in (slice(0, 1), slice(1, 2), slice(1, None), slice(0, 0), slice(-1, None)):
                assert np.array_equal(files.read(name, some), array[some]), (name, some)


@pytest.mark.parametrize("pickled", [False, True])
def test_tensors_that_are_not_wanted_are_counted_and_of_any_type(tmp_path: Path, *, pickled: bool) -> None:
    path = tmp_path / (PICKLED if pickled else SINGLE)
    made: dict[str, Any] = {"x.b": np.arange(3), "a": np.ones(2, np.float32), "x.d": np.arange(2), "e": np.ones(1)}
    if pickled:
        torch.save(
            {**{name: torch.tensor(array) for name, array in made.items()}, "x.c": 7, "d": torch.ones(1)}, path
        )
    else:
        save_file({**made, "x.c": np.arange(2), "d": np.ones(1, np.float32)}, path)
    files = WeightFiles((path,), leave_out=lambda name: name.startswith("x."))
    assert (sorted(files.tensors), files.left_out) == (["a", "d", "e"], 3)
    assert [files.dtype(name) for name in "ade"] == ["fp32"] * 3
    others = WeightFiles((path,), leave_out=lambda name: name.startswith("x.") or name == "a")
    assert (sorted(others.tensors), others.left_out) == (["d", "e"], 4)
    if not pickled:
        found = "one of F32, F16, BF16, F64, found I64"
        assert refused(lambda: WeightFiles((path,))).startswith(f"{path}: x.")
        assert refused(lambda: WeightFiles((path,), leave_out=lambda name: name == "x.b")).endswith(found)


@pytest.mark.parametrize("dtype", BYTES)
def test_a_tensor_begins_where_the_ones_before_it_end(tmp_path: Path, dtype: str) -> None:
    size = 8 * BYTES[dtype]
    header = {
        "x": {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, size]},
        "y": {"dtype": "F32", "shape": [2], "data_offsets": [size, size + 8]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / SINGLE
    numbers = np.asarray([3, 5], "<f4").tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size) + numbers)
    files = WeightFiles((path,), leave_out=lambda name: name == "x")
    assert np.array_equal(files.read("y"), [3, 5])
    assert files.left_out == 1


def test_names_are_printable(tmp_path: Path) -> None:
    save_file({"a\nb": np.ones(1, np.float32)}, tmp_path / SINGLE)
    torch.save({"a\nb": torch.ones(1)}, tmp_path / PICKLED)
    for name in (SINGLE, PICKLED):
        message = f"{tmp_path / name}: expected printable names of tensors, found " + r"'a\nb'"
        assert refused(lambda name=name: WeightFiles((tmp_path / name,))) == message
    torch.save({"a\nb": 7}, tmp_path / PICKLED)
    message = f"{tmp_path / PICKLED}: " + r"'a\nb': expected a dense tensor, found int"
    assert refused(lambda: WeightFiles((tmp_path / PICKLED,))) == message
    torch.save({"ab": 7}, tmp_path / PICKLED)
    assert refused(lambda: WeightFiles((tmp_path / PICKLED,))) == (
        f"{tmp_path / PICKLED}: ab: expected a dense tensor, found int"
    )
    torch.save({"a": torch.ones(1), 3: torch.ones(1)}, tmp_path / PICKLED)
    assert refused(lambda: WeightFiles((tmp_path / PICKLED,))) == (
        f"{tmp_path / PICKLED}: expected names of tensors, found the key 3"
    )
    torch.save([torch.ones(1)], tmp_path / PICKLED)
    assert refused(lambda: WeightFiles((tmp_path / PICKLED,))) == (
        f"{tmp_path / PICKLED}: expected a dict of tensors, found list"
    )


# ---- damaged ones ----


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("\n first \n\n second\n"), "first"),
        (OSError(), "OSError"),
        (OSError("x" * 250), "x" * 200),
    ],
)
def test_an_error_is_told_in_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    path = written(tmp_path, np.float32, pickled=False)
    files = WeightFiles((path,))

    def fails(*_given: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_files.np, "fromfile", fails)
    assert refused(lambda: files.read("a")) == (
        f"{path}: expected safetensors, found a damaged file or one of another kind: {told}"
    )
