"""The handle: zero-copy views and how long they live, closing, threads."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.models import BIN_FORMATS, same_bits, toy_file

import reader_c


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_tensors_are_read_only_and_not_copied(tmp_path: Path, format_name: str) -> None:
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        for name in model.names:
            stored = model.tensor(name)
            parts = [stored.q, stored.scale] if isinstance(stored, reader_c.QuantizedTensor) else [stored]
            again = model.tensor(name)
            copies = [again.q, again.scale] if isinstance(again, reader_c.QuantizedTensor) else [again]
            for array, copy in zip(parts, copies, strict=True):
                assert not array.flags.owndata
                assert array.__array_interface__["data"] == (copy.__array_interface__["data"][0], True)
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = 0


def test_arrays_stay_valid_after_the_model_is_gone(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v2")
    with reader_c.open(path) as model:
        norm, embedding = model.tensor("norm.weight"), model.tensor("tok_embeddings.weight")
    del model
    gc.collect()
    with reader_c.open(path) as fresh:
        assert same_bits(np.array(norm), np.array(fresh.tensor("norm.weight")))
        again = fresh.tensor("tok_embeddings.weight")
    assert isinstance(embedding, reader_c.QuantizedTensor)
    assert isinstance(again, reader_c.QuantizedTensor)
    assert same_bits(embedding.dequantize(), again.dequantize())


def test_scales_at_unaligned_addresses_are_read_right(tmp_path: Path) -> None:
    """An odd number of int8 puts the scales behind them at an odd address."""
    path = toy_file(tmp_path, "v2", dim=6, hidden_dim=9, n_heads=1, n_kv_heads=1, vocab_size=3)
    with reader_c.open(path) as model:
        offsets = {span.offset % 4 for name in model.names for span in model.spans(name) if span.part == "scale"}
        assert offsets != {0}
        assert np.isfinite(model.forward([0, 1, 2])).all()
        assert np.isfinite(model.forward([0, 1, 2], activations="q8", arithmetic="mirror")).all()


def test_who_has_no_standard_input_gets_a_file_by_its_number(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v0")
    kept = os.dup(0)
    os.close(0)
    try:
        reader_c.open(path).close()
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = reader_c.open(toy_file(tmp_path, "v0"))
    session = model.session(4)
    model.close()
    model.close()
    for use in (lambda: model.tensor("norm.weight"), lambda: model.forward([1]), lambda: model.session(1)):
        with pytest.raises(reader_c.ClosedError):
            use()
    # a session holds the map, so it goes on
    assert session.forward([1]).shape == (1, 29)
    session.close()
    session.close()
    with pytest.raises(reader_c.ClosedError):
        session.forward([1])


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_an_unknown_name_is_a_key_error(tmp_path: Path, format_name: str) -> None:
    beyond = ("output.weight", "layers.2.attention_norm.weight", "layers.2.feed_forward.w3.weight")
    with reader_c.open(toy_file(tmp_path, format_name, tied=True)) as model:
        for name in (*beyond, "layers.0.attention.wq.bias", "", "norm"):
            with pytest.raises(KeyError):
                model.tensor(name)


def test_two_models_of_different_group_sizes_side_by_side_in_threads(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = toy_file(tmp_path / "a", "v2", dim=48, hidden_dim=40)
    second = toy_file(tmp_path / "b", "v1", seed=1, dim=60, hidden_dim=20)
    tokens = np.random.default_rng(0).integers(0, 29, 33).tolist()
    with reader_c.open(first) as a, reader_c.open(second) as b:
        assert a.config.group_size != b.config.group_size
        alone = {
            id(m): [m.forward(tokens, arithmetic="mirror", activations=x) for x in ("fp32", "q8")] for m in (a, b)
        }  # type: ignore[arg-type]
        with ThreadPoolExecutor(8) as pool:
            work = [(m, i) for _ in range(25) for m in (a, b) for i in (0, 1)]
            results = pool.map(
                lambda job: job[0].forward(tokens, arithmetic="mirror", activations=("fp32", "q8")[job[1]]), work
            )
            for (model, index), logits in zip(work, results, strict=True):
                assert same_bits(logits, alone[id(model)][index])


def test_content_is_every_byte_and_read_only(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v2")
    with reader_c.open(path) as model:
        content = model.content
    assert content == path.read_bytes()
    assert content.readonly


def test_no_array_over_the_file_can_be_made_writable(tmp_path: Path) -> None:
    """Models are shared between threads: nothing that is handed out may change one."""
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        norm, embedding = model.tensor("norm.weight"), model.tensor("tok_embeddings.weight")
        assert isinstance(norm, np.ndarray)
        assert isinstance(embedding, reader_c.QuantizedTensor)
        for array in (norm, embedding.q, embedding.scale):
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                array.flags.writeable = True
            base = array.base
            while isinstance(base, np.ndarray):
                assert not base.flags.writeable
                base = base.base
            assert memoryview(base).readonly  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_small_file_may_claim_very_many_layers_and_opens_at_once(tmp_path: Path) -> None:
    """Sparse, so small on disk: opening must not build a table of them."""
    path = tmp_path / "deep.bin"
    layers = 10_000_000
    with path.open("wb") as file:
        file.write(struct.pack("<7i", 2, 1, layers, 1, 1, 1, 1))
        file.truncate(28 + 4 * (2 + layers * (2 + 2 + 16 + 6) + 2 + 2))
    with reader_c.open(path) as model:
        assert model.tensor(f"layers.{layers - 1}.attention.wq.weight").shape == (2, 2)
        with pytest.raises(KeyError):
            model.tensor(f"layers.{layers}.attention.wq.weight")


def test_paths_may_be_bytes_and_system_errors_keep_their_number(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(reader_c.InvalidFileError, match="GGUF"):
        reader_c.open(bytes(path))  # type: ignore[arg-type]
    with pytest.raises(reader_c.ReaderSystemError) as caught:
        reader_c.open(tmp_path / "none")
    assert pickle.loads(pickle.dumps(caught.value)).errno == caught.value.errno == errno.ENOENT
