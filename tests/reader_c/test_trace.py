"""A traced pass is the pass: the same bits, every operation's inputs what its producers wrote, nothing left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import checkpoint, config, same_bits, toy_file
from hypothesis import given
from hypothesis import strategies as st
from reader_c._reader import ffi, lib

import exporter
import reader_c
from verify.testing import configs

ARITHMETICS = ("mirror", "fast")


def stages(
    model: reader_c.Model, tokens: np.ndarray, **options: str
) -> list[tuple[int | None, dict[str, np.ndarray]]]:
    """Copies, because the next stage writes into the same arrays."""
    walk = model.trace(tokens, **options)  # type: ignore[arg-type]
    return [(stage.layer, {name: array.copy() for name, array in stage.at.items()}) for stage in walk]


def tokens_of(model: reader_c.Model, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, count)


@given(st.data())
def test_traced_logits_are_forwards_bits_on_any_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("trace") / "model.bin"
    model = data.draw(configs(head_sizes=True, biases=True, activations=True))
    exporter.export(checkpoint(model), path, format="v3", storage=data.draw(st.sampled_from(("fp32", "q8_0"))))
    with reader_c.open(path) as opened:
        tokens = tokens_of(opened, data.draw(st.integers(1, model.max_seq_len)))
        kinds = ("fp32", "q8") if opened.config.group_size else ("fp32",)
        activations = data.draw(st.sampled_from(kinds))
        arithmetic = data.draw(st.sampled_from(ARITHMETICS))
        found = stages(opened, tokens, activations=activations, arithmetic=arithmetic)
        assert [layer for layer, _ in found] == [None, *range(model.n_layers), None]
        expected = opened.forward(tokens, activations=activations, arithmetic=arithmetic)
        assert same_bits(found[-1][1]["logits"], expected)


@pytest.mark.parametrize("count", [1, 33, 64, 65, 150])
@pytest.mark.parametrize("activations", ["fp32", "q8"])
def test_operations_that_round_once_are_replayed_across_batches(tmp_path: Path, count: int, activations: str) -> None:
    """Embedding, residuals and what is copied: the recorded outputs follow from the recorded inputs, bit by bit."""
    path = tmp_path / "q8.bin"
    exporter.export(checkpoint(config(max_seq_len=150)), path, format="v3", storage="q8_0", group_size=8)
    with reader_c.open(path) as model:
        tokens = tokens_of(model, count)
        (_, first), *layers, (_, last) = stages(model, tokens, activations=activations, arithmetic="mirror")
        embedding = model.tensor("tok_embeddings.weight")
        assert isinstance(embedding, reader_c.QuantizedTensor)
        x = first["embedding"]
        assert same_bits(x, embedding.dequantize()[tokens])
        c = model.config
        for _, at in layers:
            assert same_bits(at["attention_residual"], x + at["wo"])
            assert same_bits(at["ffn_residual"], at["attention_residual"] + at["down"])
            x = at["ffn_residual"]
            causal = np.tril(np.ones((count, count), bool))[:, None, :]
            for name in ("scores", "shares"):
                assert at[name].shape == (count, c.n_heads, count)
                assert not at[name][np.broadcast_to(~causal, at[name].shape)].any()
            assert np.allclose(at["shares"].sum(axis=2), 1, atol=1e-5)
            q = at["q_rotated"].reshape(count, c.n_heads, c.head_dim)
            k = at["k_rotated"].reshape(count, c.n_kv_heads, c.head_dim).repeat(c.n_heads // c.n_kv_heads, axis=1)
            scores = np.einsum("thd,shd->ths", q, k) / np.sqrt(c.head_dim)
            assert np.allclose(np.where(causal, scores, 0), at["scores"], atol=1e-5)
            int8 = {name for name in at if name.endswith((" int8", " scale"))}
            assert len(int8) == (14 if activations == "q8" else 0)
            if activations == "q8":
                # what w1 and w3 were given is one and the same
                assert same_bits(at["gate int8"], at["up int8"])
                back = at["down int8"] * at["down scale"].repeat(8, axis=1)
                assert np.abs(back - at["gated"]).max() <= at["down scale"].max() * 0.51
        assert last["final_norm"].shape == (count, c.dim)


def test_tracing_can_be_left_half_way_and_is_refused_what_forward_is(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        walk = iter(model.trace([1, 2, 3]))
        next(walk)
        walk.close()  # type: ignore[attr-defined]
        assert same_bits(model.forward([1, 2, 3]), stages(model, np.array([1, 2, 3]))[-1][1]["logits"])
        with pytest.raises(reader_c.ArgumentError, match="token at 1"):
            model.trace([1, 29])
        with pytest.raises(reader_c.ArgumentError, match="group_size"):
            list(model.trace([1], activations="q8"))
        with pytest.raises(reader_c.ArgumentError, match="arithmetic"):
            model.trace([1], arithmetic="exact")  # type: ignore[arg-type]
        with pytest.raises(reader_c.ArgumentError, match="positions: expected 1 to max_seq_len = 33, found 34"):
            list(model.trace([1] * 34))
        assert same_bits(
            stages(model, np.array([1, 2]), rope="file")[-1][1]["logits"], model.forward([1, 2], rope="file")
        )


def test_a_closed_model_cannot_be_traced(tmp_path: Path) -> None:
    model = reader_c.open(toy_file(tmp_path, "v0"))
    walk = model.trace([1, 2])
    model.close()
    with pytest.raises(reader_c.ClosedError):
        list(walk)


def test_c_refuses_to_go_on_with_layers_that_have_seen_different_positions(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, model.session() as session:
        x = np.zeros((2, model.config.dim), np.float32)
        stream, options = ffi.from_buffer("float[]", x, require_writable=True), ffi.new("rc_options *")
        trace, status = ffi.new("void *[]", lib.RC_POINTS), ffi.new("rc_status *")

        def walk(layer: int) -> int:
            with session._alone() as handle:
                return int(lib.rc_walk_layer(handle, layer, 2, options, trace, stream, status))

        assert walk(0) == lib.RC_OK
        with pytest.raises(reader_c.ArgumentError, match="a walk is not finished"):
            session.forward([1])
        assert walk(1) == lib.RC_OK
        assert session.forward([1]).shape == (1, 29)
        for layer in (-1, 2):
            assert walk(layer) == lib.RC_ARGUMENT
            assert ffi.string(status.field) == b"layer"
