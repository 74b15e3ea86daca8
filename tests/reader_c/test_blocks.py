"""mirror works on blocks: 16 tokens, positions or elements of a head by 6 rows or queries. No bit may show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, config, same_bits, toy_file
from helpers.replay import replay

import exporter
import reader_c


def _one_at_a_time(model: reader_c.Model, tokens: np.ndarray, activations: reader_c.Activations) -> np.ndarray:
    """One token takes other loops than many do: no lanes, and integers that are integers."""
    with model.session(len(tokens)) as session:
        pieces = [session.forward([t], arithmetic="mirror", activations=activations) for t in tokens]
    return np.concatenate(pieces)


# heads of 24 elements, a block and a half
@pytest.mark.parametrize(("dim", "n_heads", "n_kv_heads"), [(48, 6, 3), (144, 6, 6), (14, 7, 1)])
@pytest.mark.parametrize(("format_name", "activations"), [("v1-fp32", "fp32"), ("v2", "fp32"), ("v2", "q8")])
def test_any_number_of_tokens_gives_the_bits_of_one_at_a_time(
    tmp_path: Path, dim: int, n_heads: int, n_kv_heads: int, format_name: str, activations: reader_c.Activations
) -> None:
    shape = {"dim": dim, "n_heads": n_heads, "n_kv_heads": n_kv_heads, "max_seq_len": 80, "n_layers": 1}
    tokens = np.random.default_rng(0).integers(0, 29, 80)
    with reader_c.open(toy_file(tmp_path, format_name, **shape)) as model:
        expected = _one_at_a_time(model, tokens, activations)
        for n in range(1, 71):
            for before in (0, n % 10):
                with model.session(80) as session:
                    if before:
                        session.forward(tokens[:before], arithmetic="mirror", activations=activations)
                    found = session.forward(tokens[before : before + n], arithmetic="mirror", activations=activations)
                assert same_bits(found, expected[before : before + n]), (n, before)


@pytest.mark.parametrize("storage", ["fp32", "bf16", "q8_0"])
def test_the_sums_of_a_row_do_not_depend_on_the_rows_around_it(tmp_path: Path, storage: str) -> None:
    """A vocabulary of 1 to 20 rows, the first ones of 20."""
    mine = arrays(config(vocab_size=20))
    for activations in ("fp32", "q8") if storage == "q8_0" else ("fp32",):
        for count in range(20, 0, -1):
            cut = {n: a[:count] if n in ("tok_embeddings.weight", "output.weight") else a for n, a in mine.items()}
            path = tmp_path / "out.bin"
            source = exporter.Checkpoint.from_arrays(config(vocab_size=count), cut)
            how = {"output.weight": storage}
            exporter.export(source, path, format="v3", storage=how, group_size=8, overwrite=True)
            with reader_c.open(path) as model:
                logits = model.forward([0] * 18, arithmetic="mirror", activations=activations)  # type: ignore[arg-type]
            if count == 20:
                expected = logits
            assert same_bits(logits, np.ascontiguousarray(expected[:, :count])), (activations, count)


@pytest.mark.parametrize("group_size", [512, 1024, 2048])
def test_the_largest_integer_sums_are_exact(tmp_path: Path, group_size: int) -> None:
    """int8 of -127 and -128, which no exporter writes, under activations of 127: in a group of 1024 the sum stays
    just within 2^24, to which floats hold every integer, and in one of 2048 it does not."""
    wide = config(dim=2048, hidden_dim=2, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=7)
    mine = arrays(wide)
    for name in mine:
        # the stream is the embedding, and all of its elements are alike
        if name.endswith(("wo.weight", "w2.weight")):
            mine[name][:] = 0
        if name in ("tok_embeddings.weight", "norm.weight"):
            mine[name][:] = 1
    path = tmp_path / "out.bin"
    source = exporter.Checkpoint.from_arrays(wide, mine)
    exporter.export(source, path, format="v3", storage={"output.weight": "q8_0"}, group_size=group_size)
    with reader_c.open(path) as model:
        integers = next(span for span in model.spans("output.weight") if span.part == "int8")
    worst = np.random.default_rng(0).choice(np.array([-128, -127], np.int8), integers.shape)
    with path.open("rb+") as file:
        file.seek(integers.offset)
        file.write(worst.tobytes())
    with reader_c.open(path) as model:
        found = model.forward([1] * 16, arithmetic="mirror", activations="q8")
        expected = _one_at_a_time(model, np.ones(16, np.int64), "q8")
    assert same_bits(found, expected)
    sums = 127 * worst.reshape(7, -1, group_size).astype(np.int64).sum(axis=-1)
    assert (np.abs(sums).max() > 2**24) == (group_size > 1024)


def test_attention_over_several_blocks_of_positions_is_the_replay_s(tmp_path: Path) -> None:
    """Three kv heads of 22 elements, two queries each, over 40 positions."""
    shape = {"dim": 132, "n_heads": 6, "n_kv_heads": 3, "max_seq_len": 40, "n_layers": 1}
    tokens = np.random.default_rng(0).integers(0, 29, 40).tolist()
    with reader_c.open(toy_file(tmp_path, "v1-fp32", **shape)) as model:
        assert same_bits(model.forward(tokens, arithmetic="mirror"), replay(model, tokens, q8=False))
