"""What a model computes does not depend on the format that holds the same numbers: bit for bit, in every mode."""

from __future__ import annotations

import tempfile
from pathlib import Path

from helpers.models import arrays, same_bits
from helpers.strategies import configs
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c

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
