"""Meta's directories: what is taken, exactly, and what is refused, by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import checkpoints, meta
from helpers.meta_defects import PARAMS_DEFECTS, TENSOR_DEFECTS, shard
from helpers.models import arrays, config, same_bits
from hypothesis import given

import exporter

ALL_DEFECTS = {**TENSOR_DEFECTS, **PARAMS_DEFECTS}


@pytest.mark.slow
@given(meta.sharded())
def test_shards_give_the_tensors_that_they_were_made_of(
    tmp_path_factory: pytest.TempPathFactory, model: tuple[exporter.ModelConfig, int, int]
) -> None:
    expected, count, axis = model
    whole = arrays(expected)
    directory = meta.write(tmp_path_factory.getbasetemp() / "shards", whole, expected, count, embedding_axis=axis)
    opened = exporter.open_checkpoint(directory)
    assert opened.config == expected
    assert set(opened.names) == set(whole)
    for name, array in whole.items():
        assert same_bits(opened.load(name), array)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("file_format", ["v1-fp32", "v2"])
def test_a_file_is_the_same_from_any_number_of_shards(tmp_path: Path, file_format: str, *, tied: bool) -> None:
    model = config(vocab_size=32, tied=tied)
    whole = arrays(model)
    state = {name: torch.from_numpy(array) for name, array in whole.items()}
    state.setdefault("output.weight", state["tok_embeddings.weight"])
    sources = [checkpoints.save(tmp_path, state, {**checkpoints.ARGS, "vocab_size": 32})]
    sources += [
        meta.write(tmp_path / f"{count}-{axis}", whole, model, count, embedding_axis=axis)
        for count in (1, 2, 4)
        for axis in (0, 1)
    ]
    files = set()
    for source in sources:
        said = {"tied": False} if source.suffix == ".pt" and not tied else {}
        checkpoint = exporter.open_checkpoint(source, **said)
        exporter.export(checkpoint, tmp_path / "out.bin", format=file_format, group_size=8, overwrite=True)
        files.add((tmp_path / "out.bin").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_narrow_types_widen_exactly(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    whole = arrays(meta.MODEL)
    opened = exporter.open_checkpoint(meta.write(tmp_path, whole, meta.MODEL, 2, dtype=dtype))
    for tensor, array in whole.items():
        assert opened.dtype(tensor) == name
        assert same_bits(opened.load(tensor), torch.from_numpy(array).to(dtype).float().numpy())


def test_float64_is_taken_where_it_is_exact_and_refused_where_not(tmp_path: Path) -> None:
    states = meta.shards(arrays(meta.MODEL), 2, dtype=torch.float64)
    said = meta.params(meta.MODEL)
    opened = exporter.open_checkpoint(meta.save(tmp_path, states, said))
    assert same_bits(opened.load("norm.weight"), arrays(meta.MODEL)["norm.weight"])
    states[1]["layers.0.attention.wo.weight"][5, 7] = 0.1
    opened = exporter.open_checkpoint(meta.save(tmp_path, states, said))
    # the second shard's eighth column is the whole's 32nd
    with pytest.raises(exporter.WeightError, match=r"wo\.weight\[5, 31\]: expected a value that") as caught:
        opened.load("layers.0.attention.wo.weight")
    assert caught.value.index == (5, 31)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_a_classifier_of_the_embeddings_bits_is_tied(tmp_path: Path, count: int, axis: int) -> None:
    whole = arrays(meta.MODEL)
    whole["output.weight"] = whole["tok_embeddings.weight"].copy()
    opened = exporter.open_checkpoint(meta.write(tmp_path, whole, meta.MODEL, count, embedding_axis=axis))
    assert opened.config.tied
    assert "output.weight" not in opened.names
    # equal as numbers, not as bits, in the last shard's last part
    whole["tok_embeddings.weight"][-1, -1], whole["output.weight"][-1, -1] = 0.0, -0.0
    opened = exporter.open_checkpoint(meta.write(tmp_path, whole, meta.MODEL, count, embedding_axis=axis))
    assert not opened.config.tied


def test_a_classifier_of_another_type_is_untied(tmp_path: Path) -> None:
    states = meta.shards({**arrays(meta.MODEL), "output.weight": arrays(meta.MODEL)["tok_embeddings.weight"]}, 2)
    for state in states:
        state["output.weight"] = state["output.weight"].double()
    assert not exporter.open_checkpoint(meta.save(tmp_path, states, meta.params(meta.MODEL))).config.tied


def test_what_stands_in_the_directory_is_named(tmp_path: Path) -> None:
    meta.write(tmp_path, arrays(meta.MODEL), meta.MODEL, 2)
    assert exporter.open_checkpoint(tmp_path).tokenizer is None
    (tmp_path / "tokenizer.model").write_bytes(b"")
    (tmp_path / "checklist.chk").write_bytes(b"")
    opened = exporter.open_checkpoint(tmp_path)
    assert opened.kind == "meta"
    assert opened.tokenizer == tmp_path / "tokenizer.model"
    assert [file.name for file in opened.files] == ["params.json", "consolidated.00.pth", "consolidated.01.pth"]


def test_buffers_of_old_checkpoints_are_left_out_where_they_are_right(tmp_path: Path) -> None:
    states = meta.shards(arrays(meta.MODEL), 2)
    states[0]["rope.freqs"] = frequencies = 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8)
    states[1]["layers.1.attention.inner_attention.rope.freqs"] = frequencies.bfloat16()
    states[1]["freqs_cis"] = torch.polar(torch.ones(66, 4), torch.outer(torch.arange(66.0), frequencies))
    opened = exporter.open_checkpoint(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    assert len(opened.names) == 21
    assert opened.notes == (
        "left out, since they hold what follows from the config: 3 buffers (freqs_cis, rope.freqs)",
    )
    states[1]["freqs_cis"][65, 1] *= -1
    with pytest.raises(exporter.CheckpointError, match=r"01\.pth: freqs_cis: expected RoPE.* at \[65, 1\]"):
        exporter.open_checkpoint(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    states[1]["freqs_cis"] = torch.polar(torch.ones(2, 4), torch.zeros(2, 4)).conj()
    with pytest.raises(exporter.CheckpointError, match="freqs_cis: expected a floating-point tensor, found"):
        exporter.open_checkpoint(meta.save(tmp_path, states, meta.params(meta.MODEL)))


@pytest.mark.parametrize("number", [0, 1])
def test_a_shard_that_changes_under_the_reader_is_refused(tmp_path: Path, number: int) -> None:
    opened = exporter.open_checkpoint(meta.write(tmp_path, arrays(meta.MODEL), meta.MODEL, 2))
    torch.save(meta.shards(arrays(meta.MODEL, seed=1), 2)[number], shard(tmp_path, number))
    with pytest.raises(exporter.CheckpointError, match=rf"\.0{number}\.pth: changed while it was being read"):
        opened.load("tok_embeddings.weight")


@pytest.mark.slow
def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    largest = meta.write_large(tmp_path)
    grown = meta.peak_growth(
        "import exporter, exporter.sources.meta",
        f"opened = exporter.open_checkpoint({str(tmp_path)!r})\nfor name in opened.names: opened.load(name)",
    )
    # with every map kept it is 6.6 times the largest
    assert grown < 3 * largest


@pytest.mark.parametrize("count", [1, 2])
def test_a_weight_that_is_not_finite_is_told_where_it_is_in_its_shard(tmp_path: Path, count: int) -> None:
    whole = arrays(meta.MODEL)
    whole["layers.1.attention.wo.weight"][3, 47] = np.nan
    source = meta.write(tmp_path / "source", whole, meta.MODEL, count)
    where = rf"d\.0{count - 1}\.pth: layers\.1\.attention\.wo\.weight: \[3, {48 // count - 1}\]: expected a finite"
    with pytest.raises(exporter.WeightError, match=where):
        exporter.export(exporter.open_checkpoint(source), tmp_path / "out.bin", format="v3")


@pytest.mark.parametrize("name", ["params.json", "consolidated.01.pth", "tokenizer.model"])
def test_links_out_of_the_directory_are_followed_only_where_the_user_says_so(tmp_path: Path, name: str) -> None:
    source = meta.write(tmp_path / "source", arrays(meta.MODEL), meta.MODEL, 2)
    (source / "tokenizer.model").write_bytes(b"")
    (source / name).rename(tmp_path / "elsewhere")
    (source / name).symlink_to("../elsewhere")
    with pytest.raises(exporter.CheckpointError, match=rf"{name}: expected a file in this directory, found a link"):
        exporter.open_checkpoint(source, "meta")
    assert exporter.open_checkpoint(source, "meta", follow_links=True).tokenizer == source / "tokenizer.model"


# ---- refusals ----

MESSAGES = {
    "tensor missing in one": "consolidated.01.pth (of 2 shards): missing layers.1.attention.wk.weight",
    "tensor missing in all": "consolidated.00.pth (of 2 shards): missing layers.1.attention.wk.weight",
    "embedding missing": "consolidated.00.pth: missing tok_embeddings.weight",
    "no layers": "consolidated.00.pth (of 2 shards): missing layers.0.attention_norm.weight,",
    "tensor too much in one": "consolidated.01.pth (of 2 shards): no such tensor in this model:",
    "tensor too much in all": "consolidated.00.pth (of 2 shards): no such tensor in this model:",
    "another shape in one": "consolidated.01.pth (of 2 shards): layers.1.attention.wk.weight: expected shape",
    "another shape in all": "consolidated.00.pth (of 2 shards): layers.1.attention.wk.weight: expected shape",
    "half a head": "consolidated.00.pth (of 2 shards): layers.0.attention.wk.weight: expected shape (12,",
    "no row": "consolidated.00.pth (of 2 shards): layers.1.attention.wk.weight: expected shape (12, 48),",
    "a vector for a matrix": "consolidated.00.pth (of 2 shards): layers.0.feed_forward.w1.weight: expected",
    "wo cut by rows": "consolidated.00.pth (of 2 shards): layers.0.attention.wo.weight: expected shape (48,",
    "w1 cut by columns": "consolidated.00.pth (of 2 shards): layers.0.feed_forward.w1.weight: expected shape",
    "norm cut": "consolidated.00.pth (of 2 shards): layers.0.ffn_norm.weight: expected shape (48,), found",
    "embedding of another width": "consolidated.00.pth: tok_embeddings.weight: expected rows of 48, or of 48",
    "embedding cut otherwise in one": "consolidated.01.pth (of 2 shards): tok_embeddings.weight: expected",
    "another type in one": "consolidated.01.pth: layers.1.attention.wk.weight: expected torch.float32, as in",
    "norms that differ": ": layers.0.ffn_norm.weight: expected the same in every shard, found",
    "norms that differ in a sign of zero": ": norm.weight: expected the same in every shard, found",
    "integers": "consolidated.00.pth: layers.1.attention.wk.weight: expected a floating-point tensor, found",
    "a list": "consolidated.00.pth: layers.1.attention.wk.weight: expected a dense tensor, found list",
    "no numbers": "consolidated.00.pth: layers.1.attention.wk.weight: expected a tensor with its numbers,",
    "a sparse tensor": "consolidated.00.pth: layers.1.attention.wk.weight: expected a dense tensor, found",
    "a key that is no name": "consolidated.00.pth: expected names of tensors, found the key 3",
    "no dict": "consolidated.01.pth: expected a dict of tensors, found list",
    "a pickle that runs code": "consolidated.01.pth: refused: expected tensors and plain data alone,",
    "a truncated shard": "consolidated.01.pth: expected a checkpoint in torch.save's zip format, found one",
    "an empty shard": "consolidated.01.pth: expected a checkpoint in torch.save's zip format, found an empty",
    "a directory for a shard": "consolidated.01.pth: expected a file, found a directory",
    "no shards": ": missing consolidated.00.pth",
    "first missing": ": missing consolidated.00.pth",
    "gap": ": missing consolidated.01.pth",
    "last missing": ": expected 2 shards, as layers.0.attention.wo.weight is split, found 1",
    "three digits": "consolidated.001.pth: expected shards called consolidated.NN.pth, found another name",
    "another name": "consolidated.pth: expected shards called consolidated.NN.pth, found another name",
    "no dim": "params.json: missing dim",
    "no n_heads": "params.json: missing n_heads",
    "dim": "consolidated.00.pth: tok_embeddings.weight: expected rows of 96, or of 96 over 2, found shape",
    "dim as text": "params.json: dim: expected an integer from 1 to 2147483647, found '48'",
    "n_layers": "consolidated.00.pth (of 2 shards): no such tensor in this model:",
    "more n_layers than can be": "consolidated.00.pth: expected 2147483647 layers, as params.json says,",
    "n_layers as a float": "params.json: n_layers: expected an integer, found",
    "n_heads that do not divide": "params.json: n_heads: expected a divisor of dim = 48, found 5",
    "odd heads": "params.json: dim / n_heads: expected an even number, found 3",
    "n_heads too large": "params.json: n_heads: expected 1 to 2147483647, found 1099511627776",
    "n_kv_heads": "consolidated.00.pth (of 2 shards): layers.0.attention.wk.weight: expected shape (24, 48),",
    "no n_kv_heads": "consolidated.00.pth (of 2 shards): layers.0.attention.wk.weight: expected shape (24,",
    "n_kv_heads that do not divide": "params.json: n_kv_heads: expected a divisor of n_heads = 6, found 4",
    "vocab_size": "params.json: vocab_size: expected 32, as tok_embeddings.weight has, found 31",
    "vocab_size true": "params.json: vocab_size: expected an integer, found True",
    "vocab_size -2": "params.json: vocab_size: expected 1 to 2147483647, found -2",
    "multiple_of": "params.json: multiple_of, ffn_dim_multiplier: expected to give a hidden_dim of 40, as",
    "multiple_of 0": "params.json: multiple_of: expected an integer from 1 to 2147483647, found 0",
    "no multiple_of": "params.json: multiple_of, ffn_dim_multiplier: expected to give a hidden_dim of 40, as",
    "no ffn_dim_multiplier": "params.json: multiple_of, ffn_dim_multiplier: expected to give a hidden_dim of",
    "ffn_dim_multiplier too large": "params.json: ffn_dim_multiplier: expected less than 1.67772e+07, found",
    "ffn_dim_multiplier negative": "params.json: ffn_dim_multiplier: expected a positive finite number,",
    "norm_eps 0": "params.json: norm_eps: expected a positive finite number, found 0",
    "norm_eps as text": "params.json: norm_eps: expected a positive finite number, found '1e-5'",
    "rope_theta of many digits": "params.json: rope_theta: expected a positive finite number, found",
    "use_scaled_rope": "params.json: use_scaled_rope: expected true or false, found 1",
    "rope_scaling_factor": "params.json: rope_scaling_factor: expected a positive finite number, found True",
    "rope_high_freq_factor": "params.json: rope_scaling: high_freq_factor: expected more than",
    "max_seq_len": "params.json: max_seq_len: expected an integer from 1 to 2147483647, found 0",
    "unknown key": "params.json: no known meaning, and it may change the model: 'moe_args'",
    "a key twice": "params.json: expected each key once, found 'dim' twice",
    "NaN": "params.json: expected numbers that JSON has, found NaN",
    "a number too large": "params.json: norm_eps: expected a positive finite number, found inf",
    "an array": "params.json: expected a JSON object, found list",
    "no JSON": "params.json: expected JSON, found otherwise:",
    "no UTF-8": "params.json: expected JSON, found otherwise: 'utf-8' codec can't decode byte 0xff",
    "too many digits": "params.json: expected JSON, found otherwise: Exceeds the limit (4300 digits)",
    "too deep": "params.json: expected JSON of a few levels, found too many",
    "too long": "params.json: expected at most 10000000 bytes, found more",
    "no params.json": "params.json: no such file or directory",
}


@pytest.mark.parametrize("defect", ALL_DEFECTS)
def test_defects_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    monkeypatch.chdir(tmp_path)
    meta.write(tmp_path / "source", arrays(meta.MODEL), meta.MODEL, 2)
    ALL_DEFECTS[defect](tmp_path / "source")
    with pytest.raises(exporter.CheckpointError, match=re.escape(MESSAGES[defect])) as caught:
        exporter.open_checkpoint(tmp_path / "source", "meta")
    assert str(caught.value).startswith(str(tmp_path / "source"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_vocabulary_that_shards_do_not_divide_is_refused(tmp_path: Path) -> None:
    model = config(vocab_size=31)
    states = meta.shards({name: array for name, array in arrays(model).items() if name != "output.weight"}, 2)
    for state, rows in zip(states, (15, 16), strict=True):
        state["output.weight"] = torch.zeros(rows, 48)
    meta.save(tmp_path, states, meta.params(model))
    with pytest.raises(
        exporter.CheckpointError, match=r"output.weight: expected what 2 shards divide, found 31 rows"
    ):
        exporter.open_checkpoint(tmp_path)


def test_a_shard_is_never_overwritten_by_its_own_export(tmp_path: Path) -> None:
    opened = exporter.open_checkpoint(meta.write(tmp_path, arrays(meta.MODEL), meta.MODEL, 2))
    for name in ("params.json", "consolidated.01.pth"):
        with pytest.raises(exporter.WriteError, match="found the source itself"):
            exporter.export(opened, tmp_path / name, format="v1-fp32", overwrite=True)


def test_what_was_loaded_outlives_the_maps(tmp_path: Path) -> None:
    for count in (1, 2):
        opened = exporter.open_checkpoint(meta.write(tmp_path, arrays(meta.MODEL), meta.MODEL, count))
        first = opened.load("tok_embeddings.weight")
        kept = np.copy(first)
        for name in opened.names:
            opened.load(name)
        assert not first.flags.writeable
        assert same_bits(first, kept)
