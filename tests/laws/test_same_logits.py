"""What a model computes does not depend on the format that holds the same numbers: bit for bit, in every mode."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from helpers.models import arrays, same_bits
from helpers.replay import replay
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from exporter.bin_file import write_v3
from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.formats.v3_storage import choose_storage
from exporter.payload import PayloadWriter
from verify.testing import configs

MODES: list[tuple[reader_c.Arithmetic, reader_c.Activations]] = [
    ("mirror", "fp32"),
    ("fast", "fp32"),
    ("mirror", "q8"),
]


@given(configs(), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_v3_computes_what_v2_and_v1_do(config: exporter.ModelConfig, group_size: int, seed: int) -> None:
    """So v3 inherits what upstream's engines and the literal replay say of those."""
    source = exporter.Checkpoint.from_arrays(config, arrays(config, seed))
    tokens = [i % config.vocab_size for i in range(min(9, config.max_seq_len))]
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory) / name for name in ("v1-fp32", "v2", "v3-fp32", "v3-q8_0")}
        used = exporter.export(source, files["v2"], format="v2", group_size=group_size).group_size
        exporter.export(source, files["v1-fp32"], format="v1-fp32")
        exporter.export(source, files["v3-fp32"], format="v3")
        exporter.export(source, files["v3-q8_0"], format="v3", storage="q8_0", group_size=used)
        for arithmetic, activations in MODES:
            for old, new in (("v1-fp32", "v3-fp32"), ("v2", "v3-q8_0")):
                if activations == "q8" and old == "v1-fp32":
                    continue
                with reader_c.open(files[old]) as a, reader_c.open(files[new]) as b:
                    first, second = (
                        model.forward(tokens, arithmetic=arithmetic, activations=activations) for model in (a, b)
                    )
                assert same_bits(first, second), (old, arithmetic, activations)


@given(
    configs(biases=True, head_sizes=True, numbers=True),
    st.sampled_from([4, 8]),
    st.sampled_from(["fp32", "fp16", "bf16"]),
    st.integers(0, 99),
)
def test_mixed_storages_and_group_sizes_compute_what_a_literal_replay_does(
    config: exporter.ModelConfig, group_size: int, narrow: str, seed: int
) -> None:
    """Groups of several sizes and halves beside each other: each matrix takes activations of its own."""
    halves = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}[narrow]
    mine = {name: array.astype(halves).astype(np.float32) for name, array in arrays(config, seed).items()}
    source = exporter.Checkpoint(
        config,
        tensor_shapes(config),
        mine.__getitem__,
        where="memory",
        kind="memory",
        dtypes=dict.fromkeys(mine, narrow),
    )
    stored = choose_storage(source, {"*": "q8_0", "*.wv.*": "source", "*.w2.*": "bf16"}, group_size, exact=False)
    stored |= {n: v3.Stored("q8_0", 2) for n in mine if n.endswith("wk.weight")}
    tokens = [i % config.vocab_size for i in range(min(5, config.max_seq_len))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "out.bin"
        with path.open("wb+") as file:
            write_v3(file, PayloadWriter(source), v3.plan(config, stored, {}), dict)
        with reader_c.open(path, check_digests=True) as model:
            assert model.config.group_size == min(how.group_size for how in stored.values() if how.group_size)
            for q8 in (False, True):
                found = model.forward(tokens, arithmetic="mirror", activations="q8" if q8 else "fp32")
                assert same_bits(found, replay(model, tokens, q8=q8))


def test_every_half_widens_exactly(tmp_path: Path) -> None:
    """All 65,536 of each type, subnormals, infinities and NaN too, through the embedding and a norm-free look."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 64)
    for storage, dtype in (("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)):
        wide = bits.view(dtype).astype(np.float32)
        config = exporter.ModelConfig(
            dim=64, hidden_dim=2, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=len(bits), max_seq_len=2, tied=True
        )
        mine = {**arrays(config), "tok_embeddings.weight": np.zeros_like(wide)}
        stored = {n: v3.Stored(storage if n == "tok_embeddings.weight" else "fp32") for n in mine}
        plan = v3.plan(config, stored, {})
        path = tmp_path / storage
        payload = PayloadWriter(exporter.Checkpoint.from_arrays(config, mine))
        with path.open("wb+") as file:
            write_v3(file, payload, plan, dict)
            # the exporter refuses infinities, so by hand
            file.seek(plan.head_size)
            file.write(bits.tobytes())
        with reader_c.open(path) as model:
            # one row at a time as the classifier, against the same rows as float32
            assert np.array_equal(np.array(model.tensor("tok_embeddings.weight")), wide, equal_nan=True)
            logits = model.forward([5], arithmetic="mirror")[0]
        same = {**arrays(config), "tok_embeddings.weight": np.nan_to_num(wide, nan=0, posinf=0, neginf=0)}
        exporter.export(exporter.Checkpoint.from_arrays(config, same), path, format="v3", overwrite=True)
        with reader_c.open(path) as model:
            expected = model.forward([5], arithmetic="mirror")[0]
        finite = np.isfinite(wide).all(axis=1)
        assert logits[finite].tobytes() == expected[finite].tobytes()
        assert not np.isfinite(logits[~finite]).any()


@given(configs(biases=True, activations=True, head_sizes=True, scalings=True, numbers=True), st.integers(0, 99))
def test_tokens_in_several_calls_give_the_bits_of_one(config: exporter.ModelConfig, seed: int) -> None:
    source = exporter.Checkpoint.from_arrays(config, arrays(config, seed))
    tokens = [i % config.vocab_size for i in range(min(7, config.max_seq_len))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "out.bin"
        exporter.export(source, path, format="v3", storage={"*.w2.*": "q8_0", "*.wo.*": "bf16"}, group_size=4)
        with reader_c.open(path) as model:
            whole = model.forward(tokens, activations="q8")
            with model.session(len(tokens)) as session:
                pieces = [session.forward(tokens[i : i + 3], activations="q8") for i in range(0, len(tokens), 3)]
    assert b"".join(piece.tobytes() for piece in pieces) == whole.tobytes()
