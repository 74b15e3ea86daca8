"""Files of qwen3.c's: read strictly, and computed by `mirror` with qwen3.c's bits."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.models import same_bits
from helpers.qwen3c import qwen3c_config, qwen3c_configs, qwen3c_file, replay
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.testing import random_arrays

FIELDS = (
    *("magic", "version", "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"),
    *("head_dim", "shared_classifier", "group_size"),
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ajc1") / "model.bin"
    return qwen3c_file(path, qwen3c_config(), group_size=8).read_bytes()


def opened(tmp_path: Path, content: bytes) -> reader_c.Model:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return reader_c.open(path)


def changed(content: bytes, **fields: int) -> bytes:
    made = bytearray(content)
    for field, value in fields.items():
        struct.pack_into("<i", made, 4 * FIELDS.index(field), value)
    return bytes(made)


@pytest.mark.slow
@given(
    qwen3c_configs(), st.booleans(), st.integers(1, 12), st.integers(0, 99), st.sampled_from([1.0, 0.3, 4.0, 30.0])
)
def test_mirror_has_the_bits_of_qwen3_c(
    model: exporter.ModelConfig, q8: bool, length: int, seed: int, loudness: float
) -> None:
    """Loud norms of queries make scores that softmax's 0 matters for."""
    arrays = random_arrays(model, seed)
    loud = {name: array * np.float32(loudness) if "q_norm" in name else array for name, array in arrays.items()}
    rng = np.random.default_rng(seed)
    tokens = [int(token) for token in rng.integers(0, model.vocab_size, min(length, model.max_seq_len))]
    with tempfile.TemporaryDirectory() as directory:
        path = qwen3c_file(Path(directory) / "model.bin", model, loud)
        with reader_c.open(path) as found:
            logits = found.forward(tokens, arithmetic="mirror", activations="q8" if q8 else "fp32")
            with np.errstate(all="ignore"):
                assert same_bits(logits, replay(found, tokens, q8=q8))


def test_scores_so_low_that_all_powers_vanish_give_no_number_as_in_qwen3_c(tmp_path: Path) -> None:
    model = qwen3c_config(n_layers=1, n_heads=1, n_kv_heads=1, head_dim=48)
    arrays = random_arrays(model, 0)
    arrays["layers.0.attention.wk.weight"] = -arrays["layers.0.attention.wq.weight"]
    for name in ("q_norm", "k_norm"):
        arrays[f"layers.0.attention.{name}.weight"] = np.full(48, 30, np.float32)
    with reader_c.open(qwen3c_file(tmp_path / "model.bin", model, arrays)) as found:
        assert np.isnan(found.forward([1], arithmetic="mirror")).all()
        assert np.isfinite(found.forward([1])).all()


def test_every_field_and_what_the_format_implies(tmp_path: Path, healthy: bytes) -> None:
    with opened(tmp_path, healthy) as model:
        assert (model.format, model.head_size, model.alignment, model.metadata) == ("ajc1", 256, 0, {})
        c = model.config
        assert (c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads) == (48, 40, 2, 6, 3)
        assert (c.vocab_size, c.max_seq_len, c.head_dim, c.rotary_dim, c.group_size) == (29, 33, 12, 12, 8)
        assert (c.norm_eps, c.rope_theta, c.rope_scaling.type) == (1e-6, 1e6, "none")
        assert (c.qk_norm, c.norm_place, c.norm_plus_one, c.activation) == ("head", "before", False, "silu")
        assert (c.shared_classifier, c.qkv_bias, c.wo_bias, c.mlp_bias) == (False, False, False, False)
        assert c.layers == (reader_c.Layer(windowed=False, rope="first"),) * 2
        with pytest.raises(reader_c.ArgumentError, match="RoPE tables in the file"):
            model.forward([1], rope="file")


def test_tensors_stand_by_kind_norms_first(tmp_path: Path, healthy: bytes) -> None:
    with opened(tmp_path, healthy) as model:
        spans = sorted((span for name in model.names for span in model.spans(name)), key=lambda span: span.offset)
        at = 256
        for span in spans:
            assert span.offset == at
            at += span.nbytes
        assert at == len(healthy)
        kinds = [
            f"{span.name.split('.', 2)[2] if 'layers' in span.name else span.name} {span.part}" for span in spans
        ]
    q8 = ("int8", "scale")
    matrices = [f"{name}.weight" for name in ("attention.wq", "attention.wk", "attention.wv", "attention.wo")]
    matrices += [f"feed_forward.{name}.weight" for name in ("w1", "w2", "w3")]
    assert kinds == [
        *["attention_norm.weight fp32"] * 2,
        *["ffn_norm.weight fp32"] * 2,
        "norm.weight fp32",
        *["attention.q_norm.weight fp32"] * 2,
        *["attention.k_norm.weight fp32"] * 2,
        *[f"tok_embeddings.weight {part}" for part in q8],
        *[f"{name} {part}" for name in matrices for _ in range(2) for part in q8],
        *[f"output.weight {part}" for part in q8],
    ]


HUGE = {"n_layers": 2**31 - 1, "hidden_dim": 2**31 - 8}
REFUSED = [
    ({"version": 0}, "version at 4: expected exactly 1, found 0"),
    ({"version": 2}, "version at 4: expected exactly 1, found 2"),
    ({"dim": 0}, "dim at 8: expected at least 1, found 0"),
    ({"max_seq_len": -1}, "max_seq_len at 32: expected at least 1, found -1"),
    ({"n_kv_heads": 4}, "n_kv_heads at 24: expected a divisor of 6, found 4"),
    ({"head_dim": 0}, "head_dim at 36: expected at least 1, found 0"),
    ({"head_dim": 2**28 + 2**27}, f"head_dim at 36: expected at most {(2**31 - 1) // 6}, found {3 * 2**27}"),
    ({"head_dim": 13}, "head_dim at 36: expected a multiple of 2, found 13"),
    ({"head_dim": 6}, "n_heads * head_dim at 36: expected at least dim = 48, found 36"),
    ({"shared_classifier": -1}, "shared_classifier at 40: expected at least 0, found -1"),
    ({"shared_classifier": 2}, "shared_classifier at 40: expected at most 1, found 2"),
    ({"shared_classifier": 256}, "shared_classifier at 40: expected at most 1, found 256"),
    ({"group_size": 0}, "group_size at 44: expected at least 1, found 0"),
    ({"group_size": 132105}, "group_size at 44: expected at most 132104, found 132105"),
    ({"group_size": 32}, "group_size at 44: expected a divisor of dim = 48, found 32"),
    ({"group_size": 16, "head_dim": 10}, "group_size at 44: expected a divisor of n_heads * head_dim = 60"),
    ({"group_size": 16, "head_dim": 16}, "group_size at 44: expected a divisor of hidden_dim = 40, found 16"),
    ({"group_size": 4}, "file size: expected exactly"),
    ({"shared_classifier": 1}, "file size: expected exactly"),
    ({"n_layers": 2**24, "dim": 8, "hidden_dim": 8}, "file size: expected exactly"),
    (
        {**HUGE, "dim": 2**30, "n_heads": 2**28, "n_kv_heads": 1, "head_dim": 4},
        f"file size: expected at least {2**63 - 1}",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_a_header_that_no_file_can_have(tmp_path: Path, healthy: bytes, fields: dict[str, int], message: str) -> None:
    with pytest.raises(reader_c.InvalidFileError) as caught:
        opened(tmp_path, changed(healthy, **fields))
    assert message in str(caught.value)


@pytest.mark.parametrize("at", [48, 100, 255])
def test_header_padding_is_zero(tmp_path: Path, healthy: bytes, at: int) -> None:
    content = bytearray(healthy)
    content[at] = 7
    with pytest.raises(reader_c.InvalidFileError, match=f"header padding at {at}: expected exactly 0, found 7"):
        opened(tmp_path, bytes(content))


@pytest.mark.parametrize("size", [28, 255, 256, 257, 20000, -1, 1])
def test_a_file_of_another_size_is_refused(tmp_path: Path, healthy: bytes, size: int) -> None:
    content = healthy + b"\0" if size == 1 else healthy[:size]
    expected = f"at least 256, found {size}" if 0 < size < 256 and size != 1 else f"exactly {len(healthy)}, found"
    with pytest.raises(reader_c.InvalidFileError, match=f"file size: expected {expected}"):
        opened(tmp_path, content)


@pytest.mark.parametrize("q8", [False, True])
def test_fast_computes_the_same_model_on_every_path_and_in_any_batches(
    tmp_path: Path, healthy: bytes, *, q8: bool
) -> None:
    tokens, activations = list(range(20)), "q8" if q8 else "fp32"
    with opened(tmp_path, healthy) as model:
        mirror = model.forward(tokens, arithmetic="mirror", activations=activations)
        fast = model.forward(tokens, activations=activations)
        # int8 activations may turn a step, float ones round
        assert np.abs(fast - mirror).max() < (0.5 if q8 else 1e-4)
        for path in reader_c.paths():
            assert same_bits(model.forward(tokens, activations=activations, path=path, threads=2), fast)
        for arithmetic, whole in (("mirror", mirror), ("fast", fast)):
            with model.session() as session:
                parts = [
                    session.forward(tokens[at : at + 3], activations=activations, arithmetic=arithmetic)
                    for at in range(0, 20, 3)
                ]
            assert same_bits(np.concatenate(parts), whole)
