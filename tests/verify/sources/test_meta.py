"""Meta's directories as the verifier reads them: the tensors exactly, and what is refused, by name."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
import torch
from helpers import meta
from helpers.meta_defects import PARAMS_DEFECTS, TENSOR_DEFECTS, shard
from helpers.models import arrays, same_bits
from hypothesis import given

import exporter
from verify.errors import CannotJudgeError
from verify.sources import Hyperparameters, Source, open_source

ALL_DEFECTS = {**TENSOR_DEFECTS, **PARAMS_DEFECTS}


def _opened(directory: Path, asked: int | None = None, /, **changes: object) -> Source:
    meta.write(directory, arrays(meta.MODEL), meta.MODEL, 2, **changes)
    return open_source(directory, max_seq_len=asked)


def _as_numbers(model: exporter.ModelConfig | Hyperparameters) -> dict[str, object]:
    return dataclasses.asdict(model)


@pytest.mark.slow
@given(meta.sharded())
def test_shards_give_the_tensors_that_they_were_made_of(
    tmp_path_factory: pytest.TempPathFactory, model: tuple[exporter.ModelConfig, int, int]
) -> None:
    expected, count, axis = model
    whole = arrays(expected)
    directory = meta.write(tmp_path_factory.getbasetemp() / "shards", whole, expected, count, embedding_axis=axis)
    source = open_source(directory)
    assert _as_numbers(source.hyperparameters) == _as_numbers(expected)
    assert set(source.hyperparameters.shapes()) == set(whole)
    for name, array in whole.items():
        assert same_bits(source.tensor(name).numpy(), array)
    if expected.tied:
        assert same_bits(source.tensor("output.weight").numpy(), whole["tok_embeddings.weight"])


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_narrow_types_widen_exactly(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    source = _opened(tmp_path, dtype=dtype)
    for tensor, array in arrays(meta.MODEL).items():
        assert source.dtype(tensor) == name
        assert same_bits(source.tensor(tensor).numpy(), torch.from_numpy(array).to(dtype).float().numpy())


def test_float64_is_taken_where_it_is_exact_and_refused_where_not(tmp_path: Path) -> None:
    states = meta.shards(arrays(meta.MODEL), 2, dtype=torch.float64)
    states[1]["layers.0.attention.wo.weight"][5, 7] = 0.1
    source = open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    assert source.dtype("norm.weight") == "fp32"
    assert same_bits(source.tensor("norm.weight").numpy(), arrays(meta.MODEL)["norm.weight"])
    with pytest.raises(CannotJudgeError, match=r"01\.pth: layers\.0\.attention\.wo\.weight: expected values that"):
        source.tensor("layers.0.attention.wo.weight")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_a_classifier_of_the_embeddings_bits_is_tied(tmp_path: Path, count: int, axis: int) -> None:
    whole = arrays(meta.MODEL)
    whole["output.weight"] = whole["tok_embeddings.weight"].copy()
    source = open_source(meta.write(tmp_path, whole, meta.MODEL, count, embedding_axis=axis))
    assert source.hyperparameters.tied
    assert source.dtype("output.weight") == "fp32"
    # equal as numbers, not as bits, in the last shard's last part
    whole["tok_embeddings.weight"][-1, -1], whole["output.weight"][-1, -1] = 0.0, -0.0
    source = open_source(meta.write(tmp_path, whole, meta.MODEL, count, embedding_axis=axis))
    assert not source.hyperparameters.tied


def test_a_classifier_of_another_type_is_untied(tmp_path: Path) -> None:
    states = meta.shards({**arrays(meta.MODEL), "output.weight": arrays(meta.MODEL)["tok_embeddings.weight"]}, 2)
    for state in states:
        state["output.weight"] = state["output.weight"].double()
    assert not open_source(meta.save(tmp_path, states, meta.params(meta.MODEL))).hyperparameters.tied


def test_every_file_that_was_read_is_named_by_its_sum(tmp_path: Path) -> None:
    source = _opened(tmp_path)
    names = ("params.json", "consolidated.00.pth", "consolidated.01.pth")
    assert source.files == {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names}
    assert source.kind == "meta"
    assert source.tokenizer_path == tmp_path / "tokenizer.model"


FREQUENCIES = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
ANGLES = torch.outer(torch.arange(66.0), FREQUENCIES)
BUFFERS = {
    "rope.freqs": FREQUENCIES.bfloat16(),
    "layers.1.attention.inner_attention.rope.freqs": FREQUENCIES,
    "freqs_cis": torch.polar(torch.ones_like(ANGLES), ANGLES),
    "layers.0.attention.mask": torch.full((1, 1, 9, 9), -torch.inf).triu(1),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_that_hold_what_the_model_computes_are_dropped(tmp_path: Path, name: str) -> None:
    states = meta.shards(arrays(meta.MODEL), 2)
    states[1][name] = BUFFERS[name]
    source = open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    assert source.hyperparameters.n_layers == 2
    assert source.notes == (f"{name}: stored buffers hold what the model computes; they were dropped",)
    wrong = BUFFERS[name].clone()
    wrong.view(-1)[1] = 0.5
    for value, found in ((wrong, "other"), (torch.zeros(7), ""), (BUFFERS[name].flatten()[:1].expand(2**40), "")):
        states[1][name] = value
        meta.save(tmp_path, states, meta.params(meta.MODEL))
        with pytest.raises(CannotJudgeError, match=rf"01.pth: {name}: expected .* found .*{found}"):
            open_source(tmp_path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.module."])
def test_names_with_the_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    whole = arrays(meta.MODEL)
    states = [{f"{prefix}{n}": t for n, t in state.items()} for state in meta.shards(whole, 2)]
    source = open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    assert source.notes == (f'weights are named with the prefix "{prefix}"; it was removed',)
    assert all(same_bits(source.tensor(name).numpy(), array) for name, array in whole.items())
    states = [{f"student.{n}": t for n, t in state.items()} for state in meta.shards(whole, 2)]
    with pytest.raises(CannotJudgeError, match=r"all of them under the prefix 'student\.': save the model's own"):
        open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))


def test_a_nan_is_told_by_its_own_place(tmp_path: Path) -> None:
    states = meta.shards(arrays(meta.MODEL), 2)
    states[1]["layers.1.attention.wo.weight"][3, 7] = torch.nan
    source = open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    with pytest.raises(CannotJudgeError, match=r"01\.pth: layers\.1\.att.*wo\.weight: .* nan at row 3, column 7$"):
        source.tensor("layers.1.attention.wo.weight")


@pytest.mark.parametrize("number", [0, 1])
def test_a_shard_that_changes_under_the_reader_is_refused(tmp_path: Path, number: int) -> None:
    source = _opened(tmp_path)
    torch.save(meta.shards(arrays(meta.MODEL, seed=1), 2)[number], shard(tmp_path, number))
    with pytest.raises(CannotJudgeError, match=rf"\.0{number}\.pth: changed while it was being read"):
        source.tensor("tok_embeddings.weight")


@pytest.mark.slow
def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    largest = meta.write_large(tmp_path)
    grown = meta.peak_growth(
        "from verify.sources.meta import MetaSource; from verify.sources.options import NO_OPTIONS",
        f"source = MetaSource(Path({str(tmp_path)!r}), NO_OPTIONS)\n"
        "for name in source.hyperparameters.shapes(): source.tensor(name)",
    )
    # with every map kept it is 6.6 times the largest
    assert grown < 3 * largest


def test_a_length_is_said_by_one_of_two_and_never_lengthened(tmp_path: Path) -> None:
    assert _opened(tmp_path).hyperparameters.max_seq_len == 33
    assert [_opened(tmp_path, asked).hyperparameters.max_seq_len for asked in (32, 33)] == [32, 33]
    assert _opened(tmp_path, 4096, max_seq_len=None).hyperparameters.max_seq_len == 4096
    for asked, said, message in (
        (
            None,
            None,
            r"params\.json: max_seq_len: .*found none: say it by --max-seq-len N \(max_seq_len= in Python\)$",
        ),
        (34, 33, "max_seq_len: expected 1 to 33, found 34"),
        (0, None, "max_seq_len: expected 1 to any length, found 0"),
    ):
        with pytest.raises(CannotJudgeError, match=message):
            _opened(tmp_path, asked, max_seq_len=said)


# ---- refusals ----

MESSAGES = {
    "tensor missing in one": "consolidated.01.pth: layers.1.attention.wk.weight: expected the tensors of",
    "tensor missing in all": "consolidated.00.pth: layers.1.attention.wk.weight: expected the tensors of a",
    "embedding missing": "consolidated.00.pth: tok_embeddings.weight: expected the tensors of a Llama of 2",
    "no layers": "consolidated.00.pth: expected layers, found none",
    "tensor too much in one": "consolidated.01.pth: layers.1.attention.wq.bias: expected the tensors of",
    "tensor too much in all": "consolidated.00.pth: layers.2.attention.wq.weight: expected the tensors of a",
    "another shape in one": "consolidated.01.pth: layers.1.attention.wk.weight: expected (12, 48)",
    "another shape in all": ": layers.1.attention.wk.weight: expected (24, 48), in 2 pieces as Meta cuts it,",
    "half a head": "consolidated.00.pth: layers.0.attention.wk.weight: expected rows of whole heads of 8",
    "no row": "consolidated.00.pth: layers.1.attention.wk.weight: expected one dense float tensor, found",
    "a vector for a matrix": "consolidated.00.pth: layers.0.feed_forward.w1.weight: expected 2 axes, found",
    "wo cut by rows": ": layers.0.attention.wo.weight: expected (48, 48), in 2 pieces as Meta cuts it, found",
    "w1 cut by columns": ": layers.0.feed_forward.w1.weight: expected (80, 48), in 2 pieces as Meta cuts it,",
    "norm cut": ": layers.0.ffn_norm.weight: expected (48,), in 2 pieces as Meta cuts it, found (24,) in",
    "embedding of another width": ": tok_embeddings.weight: expected (32, 48), in 2 pieces as Meta cuts it,",
    "embedding cut otherwise in one": "consolidated.01.pth: tok_embeddings.weight: expected (32, 24)",
    "another type in one": "consolidated.01.pth: layers.1.attention.wk.weight: expected (12, 48)",
    "norms that differ": "consolidated.01.pth: layers.0.ffn_norm.weight: expected the same numbers as in",
    "norms that differ in a sign of zero": "consolidated.01.pth: norm.weight: expected the same numbers as",
    "integers": "consolidated.00.pth: layers.1.attention.wk.weight: expected one dense float tensor, found",
    "a list": "consolidated.00.pth: layers.1.attention.wk.weight: expected one dense float tensor, found",
    "no numbers": "consolidated.00.pth: layers.1.attention.wk.weight: expected one dense float tensor, found",
    "a sparse tensor": "consolidated.00.pth: layers.1.attention.wk.weight: expected one dense float tensor,",
    "a key that is no name": "consolidated.00.pth: 3: expected one dense float tensor, found otherwise",
    "no dict": "consolidated.01.pth: expected a dict of tensors as torch.save writes it, found: a list",
    "a pickle that runs code": "consolidated.01.pth: expected plain tensors, found a pickle that asks for",
    "a truncated shard": "consolidated.01.pth: expected a dict of tensors as torch.save writes it, found:",
    "an empty shard": "consolidated.01.pth: expected a dict of tensors as torch.save writes it, found:",
    "a directory for a shard": "consolidated.01.pth: expected a file, found none",
    "no shards": ": expected consolidated.00.pth, found no shard",
    "first missing": ": expected consolidated.00.pth, found 'consolidated.01.pth' alone",
    "gap": ": expected consolidated.01.pth, found 'consolidated.02.pth' alone",
    "last missing": ": expected shards with 48 columns of wo together, found 1 with 24 each",
    "three digits": ": expected consolidated.01.pth, found 'consolidated.001.pth' alone",
    "another name": ": expected consolidated.02.pth, found 'consolidated.pth' alone",
    "no dim": "params.json: dim: expected 48, as the tensors say, found None",
    "no n_heads": "params.json: n_heads: expected a positive integer, found None",
    "dim": "params.json: dim: expected 48, as the tensors say, found 96",
    "dim as text": "params.json: dim: expected 48, as the tensors say, found '48'",
    "n_layers": "params.json: n_layers: expected 2, as the tensors say, found 1",
    "more n_layers than can be": "params.json: n_layers: expected 2, as the tensors say, found 2147483647",
    "n_layers as a float": "params.json: n_layers: expected 2, as the tensors say, found",
    "n_heads that do not divide": "params.json: n_heads: expected a divisor of 48 that leaves an even head",
    "odd heads": "params.json: n_heads: expected a divisor of 48 that leaves an even head size, found 16",
    "n_heads too large": "params.json: n_heads: expected a divisor of 48 that leaves an even head size,",
    "n_kv_heads": "params.json: n_kv_heads: expected 3, as the tensors say, found 6",
    "no n_kv_heads": "params.json: n_kv_heads: expected 3, as the tensors say, found 6",
    "n_kv_heads that do not divide": "params.json: n_kv_heads: expected 3, as the tensors say, found 4",
    "vocab_size": "params.json: vocab_size: expected 32, as the tensors say, found 31",
    "vocab_size true": "params.json: vocab_size: expected 32, as the tensors say, found True",
    "vocab_size -2": "params.json: vocab_size: expected 32, as the tensors say, found -2",
    "multiple_of": "params.json: multiple_of, ffn_dim_multiplier: expected a hidden width of 40, as the",
    "multiple_of 0": "params.json: multiple_of: expected a positive integer, found 0",
    "no multiple_of": "params.json: multiple_of, ffn_dim_multiplier: expected a hidden width of 40, as the",
    "no ffn_dim_multiplier": "params.json: multiple_of, ffn_dim_multiplier: expected a hidden width of 40,",
    "ffn_dim_multiplier too large": "params.json: multiple_of, ffn_dim_multiplier: expected a hidden width",
    "ffn_dim_multiplier negative": "params.json: ffn_dim_multiplier: expected a positive finite number,",
    "norm_eps 0": "params.json: norm_eps: expected a positive finite number, found 0",
    "norm_eps as text": "params.json: norm_eps: expected a positive finite number, found '1e-5'",
    "rope_theta of many digits": "params.json: rope_theta: expected a positive finite number, found",
    "use_scaled_rope": "params.json: use_scaled_rope: expected true or false, found 1",
    "rope_scaling_factor": "params.json: rope_scaling_factor: expected a positive finite number, found True",
    "rope_high_freq_factor": "params.json: rope_high_freq_factor: expected more than 1, found",
    "max_seq_len": "params.json: max_seq_len: expected a positive integer, found 0",
    "unknown key": "params.json: keys: expected those whose effect on the model is known, found 'moe_args'",
    "a key twice": "params.json: expected a JSON object, found: 'dim' 2 times",
    "NaN": "params.json: expected a JSON object, found: NaN, which is not a JSON number",
    "a number too large": "params.json: norm_eps: expected a positive finite number, found inf",
    "an array": "params.json: expected a JSON object, found: a list",
    "no JSON": "params.json: expected a JSON object, found:",
    "no UTF-8": "params.json: expected a JSON object, found: no JSON: byte 0 is not UTF-8",
    "too many digits": "params.json: expected a JSON object, found: Exceeds the limit (4300 digits)",
    "too deep": "params.json: expected a JSON object, found:",
    "too long": "params.json: expected a JSON object, found: more than 10000000 bytes",
    "no params.json": "params.json: no such file or directory",
}


@pytest.mark.parametrize("defect", ALL_DEFECTS)
def test_defects_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    monkeypatch.chdir(tmp_path)
    meta.write(tmp_path / "source", arrays(meta.MODEL), meta.MODEL, 2)
    ALL_DEFECTS[defect](tmp_path / "source")
    with pytest.raises(CannotJudgeError, match=re.escape(MESSAGES[defect])) as caught:
        open_source(tmp_path / "source", "meta")
    assert str(caught.value).startswith(str(tmp_path / "source"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
