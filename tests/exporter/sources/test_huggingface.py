"""Hugging Face directories: the bits that come out, judged by what transformers wrote; every refusal, by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from helpers import hf_directories
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import exporter


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(hf_directories.CLASSES)))
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    made = {
        "kind": kind,
        "num_key_value_heads": kv_heads,
        "num_attention_heads": heads,
        "hidden_size": heads * 2 * draw(st.integers(1, 4)),
        "intermediate_size": draw(st.integers(1, 20)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "vocab_size": draw(st.integers(3, 20)),
        "tie_word_embeddings": draw(st.booleans()),
        "dtype": draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])),
        "shard": draw(st.sampled_from(["5GB", "1KB"])),
        "pickled": draw(st.booleans()),
    }
    if kind != "qwen2":
        made["head_dim"] = draw(st.sampled_from([None, 2, 6]))
    if kind == "llama":
        made |= {"attention_bias": draw(st.booleans()), "mlp_bias": draw(st.booleans())}
    return made


@given(options())
@example({"head_dim": 6, "attention_bias": True, "mlp_bias": True, "shard": "1KB"})
@example({"kind": "qwen2", "tie_word_embeddings": True, "dtype": torch.bfloat16})
def test_what_transformers_saves_comes_out_by_bits(chosen: dict[str, Any]) -> None:
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        state = hf_directories.save(directory, **chosen)
        opened = hf_directories.check(directory, state)
        dtype = {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(chosen.get("dtype"), "fp32")
        assert {opened.dtype(name) for name in opened.names} == {dtype}
        read = {path.name for path in directory.iterdir() if path.name != "generation_config.json"}
        assert {path.name for path in opened.files} == read
        assert opened.kind == "huggingface"


def test_pairs_turn_as_halves_do() -> None:
    """Scores of queries and keys under transformers' RoPE, and under llama2.c's, whose pairs are neighbours."""
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        state = hf_directories.save(directory)
        opened = exporter.open_checkpoint(directory)
        weights = {name: torch.tensor(opened.load(f"layers.0.attention.{name}.weight")) for name in ("wq", "wk")}
    c = opened.config
    x = torch.randn(5, c.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    angle = torch.arange(5.0)[:, None] * 10000.0 ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
    q, k = (
        (x @ state[f"model.layers.0.self_attn.{n}_proj.weight"].double().T).view(1, 5, -1, c.head_dim).transpose(1, 2)
        for n in "qk"
    )
    halves = torch.cat((angle, angle), dim=-1)[None]
    q, k = apply_rotary_pos_emb(q, k, halves.cos(), halves.sin())
    scores = q @ k.repeat_interleave(c.n_heads // c.n_kv_heads, 1).transpose(2, 3)

    def turned(name: str) -> torch.Tensor:
        pairs = torch.view_as_complex((x @ weights[name].double().T).view(5, -1, c.head_dim // 2, 2))
        return (
            torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)[:, None]).flatten(2).transpose(0, 1)
        )

    ours = turned("wq") @ turned("wk").repeat_interleave(c.n_heads // c.n_kv_heads, 0).transpose(1, 2)
    assert torch.allclose(scores[0], ours, atol=1e-4)


FREQUENCIES = 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8)
MASK = torch.full((1, 1, 9, 9), -torch.inf).triu(1)


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize(
    ("name", "right", "message"),
    [
        (
            "model.layers.1.self_attn.rotary_emb.inv_freq",
            FREQUENCIES,
            "expected RoPE's frequencies for theta = 10000",
        ),
        ("model.layers.1.self_attn.rotary_emb.inv_freq", FREQUENCIES.half(), "expected RoPE's frequencies"),
        ("model.rotary_emb.inv_freq", FREQUENCIES.bfloat16(), "expected RoPE's frequencies"),
        ("rotary_emb.inv_freq", FREQUENCIES.double(), "expected RoPE's frequencies"),
        ("rope.freqs", FREQUENCIES, "expected RoPE's frequencies"),
        ("model.layers.0.attention.mask", MASK, r"expected a causal mask, 0 at \[3, 3\], found "),
        ("attn.mask", MASK[0, 0].half(), r"expected a causal mask, 0 at \[3, 3\], found "),
        ("freqs_cos", torch.outer(torch.arange(40.0), FREQUENCIES).cos(), "expected RoPE's table for theta = 10000"),
        ("x.freqs_sin", torch.outer(torch.arange(40.0), FREQUENCIES).sin().bfloat16(), "expected RoPE's table"),
    ],
)
def test_old_buffers_are_left_out_where_they_are_right(
    tmp_path: Path, *, pickled: bool, name: str, right: torch.Tensor, message: str
) -> None:
    state = hf_directories.save(tmp_path, pickled=pickled)

    def write(buffer: torch.Tensor) -> None:
        if pickled:
            torch.save({**state, name: buffer}, tmp_path / "pytorch_model.bin")
        else:
            hf_directories.rewrite(tmp_path, {**state, name: buffer})

    write(right)
    opened = hf_directories.check(tmp_path, state)
    kind = ".".join(name.split(".")[-2:])
    assert opened.notes == (f"left out, since they hold what follows from the config: 1 buffers ({kind})",)
    for wrong in (right.clone().fill_(torch.nan), right[..., :-1], torch.stack([right, right])):
        write(wrong)
        hf_directories.refused(tmp_path, f"{name}: expected ")
    wrong = right.clone()
    wrong[(..., 3, 3) if right.dim() > 1 else 3] += 0.5
    wrong[wrong.isnan()] = 0.5
    write(wrong)
    hf_directories.refused(tmp_path, f"{name}: {message}")


def test_linear_scalings_old_buffers_are_scaled_or_not(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4})
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    for factor in (1, 4):
        hf_directories.rewrite(tmp_path, {**state, name: FREQUENCIES / factor})
        hf_directories.check(tmp_path, state)
    hf_directories.rewrite(tmp_path, {**state, name: FREQUENCIES / 2})
    hf_directories.refused(tmp_path, "inv_freq: expected RoPE's frequencies")


def test_tensors_of_no_model_are_refused(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    for name in ("score.weight", "model.layers.0.self_attn.inv_freq"):
        hf_directories.rewrite(tmp_path, {**state, name: torch.zeros(4)})
        hf_directories.refused(tmp_path, f"no such tensor in this model: {name}")


Rename = Callable[[str], str]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("rename", "notes"),
    [
        (lambda name: f"module.{name}", ['weights are named with the prefix "module."; it was removed']),
        (lambda name: f"_orig_mod.{name}", ['weights are named with the prefix "_orig_mod."; it was removed']),
        (
            lambda name: f"_orig_mod.module.{name}",
            [
                'weights are named with the prefix "_orig_mod."; it was removed',
                'weights are named with the prefix "module."; it was removed',
            ],
        ),
        (lambda name: f"model.{name}", ['weights are named with the prefix "model."; it was removed']),
        (lambda name: f"net.model.{name}", ['weights are named with the prefix "net.model."; it was removed']),
        (
            lambda name: name.removeprefix("model."),
            ['weights are named without the prefix "model."; it was added'],
        ),
        (
            lambda name: name.replace("layers.1.", "layers.1._fsdp_wrapped_module."),
            ['weights are named with the prefix "_fsdp_wrapped_module."; it was removed'],
        ),
        (
            lambda name: f"net.{name.removeprefix('model.')}",
            [
                'weights are named without the prefix "model."; it was added',
                'weights are named with the prefix "net."; it was removed',
            ],
        ),
    ],
)
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, rename: Rename, notes: list[str], *, tied: bool) -> None:
    state = hf_directories.save(tmp_path, tie_word_embeddings=tied)
    if tied:
        del state["lm_head.weight"]
    hf_directories.rewrite(tmp_path, {rename(name): tensor for name, tensor in state.items()})
    assert list(hf_directories.check(tmp_path, state).notes) == notes


def test_prefixes_that_do_not_give_each_tensor_once_are_refused(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    hf_directories.rewrite(tmp_path, {**state, "module.model.norm.weight": torch.zeros(48)})
    hf_directories.refused(tmp_path, "model.norm.weight: expected once, found 'model.* and 'mod")
    hf_directories.rewrite(tmp_path, {f"student.{name}": tensor for name, tensor in state.items()})
    hf_directories.refused(
        tmp_path,
        "expected names like lm_head.weight, found all tensors under the unknown prefix 'student.': save the model",
    )
    hf_directories.rewrite(tmp_path, {f"module.{n}": t for n, t in state.items() if "norm.weight" not in n})
    hf_directories.refused(tmp_path, "missing model.layers.0.input_layernorm.weight")


def test_a_vocabulary_of_another_size_is_told_as_that(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    hf_directories.rewrite(tmp_path, state, vocab_size=32)
    hf_directories.refused(
        tmp_path, "json: vocab_size: expected 29, the rows of model.embed_tokens.weight, found 32$"
    )


@pytest.mark.parametrize(
    ("name", "at"),
    [("self_attn.q_proj", (12, 3)), ("self_attn.k_proj", (23, 40)), ("mlp.down_proj", (7, 39))],
)
def test_a_weight_that_is_not_finite_is_told_where_it_is_in_the_file(
    tmp_path: Path, name: str, at: tuple[int, int]
) -> None:
    state = hf_directories.save(tmp_path / "source")
    state[f"model.layers.1.{name}.weight"][at] = torch.inf
    hf_directories.rewrite(tmp_path / "source", state)
    where = rf"source/model\.safetensors: model\.layers\.1\.{name}\.weight: \[{at[0]}, {at[1]}\]: expected a"
    for target in ("v3", "hf"):
        with pytest.raises(exporter.WeightError, match=where) as caught:
            exporter.export(exporter.open_checkpoint(tmp_path / "source"), tmp_path / "out", format=target)
        assert caught.value.index == at


def test_what_is_left_of_training_may_stand_beside_a_whole_model(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert hf_directories.check(tmp_path, state).notes == (
        "adapter_config.json is ignored: it has no adapter's weights beside it, and the model is whole",
    )
    (tmp_path / "adapter_model.safetensors").touch()
    hf_directories.refused(
        tmp_path,
        "expected a model or an adapter, found both: move the adapter away, or give it as --adapter DIR$",
    )
    (tmp_path / "model.safetensors").unlink()
    hf_directories.refused(
        tmp_path,
        "expected a model, found an adapter: give the base model as SOURCE and this directory as --adapter, or merge",
    )


def test_a_window_is_cut_to_what_the_user_says(tmp_path: Path) -> None:
    hf_directories.save(tmp_path, kind="mistral", sliding_window=16)
    windowed = exporter.open_checkpoint(tmp_path).config
    assert (windowed.window, windowed.layers) == (16, (exporter.LayerKind(windowed=True),) * 2)
    opened = exporter.open_checkpoint(tmp_path, max_seq_len=16)
    assert (opened.config.max_seq_len, opened.config.window, opened.config.layers) == (16, 0, ())
    assert opened.notes == ("config.json: sliding_window = 16 is exact at max_seq_len = 16",)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    hf_directories.check(tmp_path, state)


def _shard_pickled(directory: Path, state: hf_directories.State) -> None:
    names = sorted(state)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_sharded_pickles_are_read(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path, dtype=torch.bfloat16)
    (tmp_path / "model.safetensors").unlink()
    _shard_pickled(tmp_path, state)
    assert len(hf_directories.check(tmp_path, state).files) == 4


@pytest.mark.parametrize("pickled", [False, True])
def test_float64_is_taken_where_it_is_exact_and_refused_where_not(tmp_path: Path, pickled: bool) -> None:
    state = {name: t.double() for name, t in hf_directories.save(tmp_path).items()}

    def write() -> None:
        if pickled:
            (tmp_path / "model.safetensors").unlink(missing_ok=True)
            torch.save(state, tmp_path / "pytorch_model.bin")
        else:
            hf_directories.rewrite(tmp_path, state)

    write()
    assert exporter.open_checkpoint(tmp_path).dtype("norm.weight") == "fp32"
    hf_directories.check(tmp_path, state)
    for value in (0.1, 1e300):
        state["model.norm.weight"][5] = value
        write()
        with pytest.raises(exporter.WeightError, match=r"norm\.weight\[5\]: expected a value that float32") as caught:
            exporter.open_checkpoint(tmp_path).load("norm.weight")
        assert caught.value.index == (5,)


def test_a_refused_weight_is_named_where_it_lies_in_the_file(tmp_path: Path) -> None:
    state = {name: t.double() for name, t in hf_directories.save(tmp_path).items()}
    state["model.layers.1.self_attn.q_proj.weight"][12, 3] = 0.1  # row 9 of ours
    hf_directories.rewrite(tmp_path, state)
    with pytest.raises(exporter.WeightError, match=r"1\.self_attn\.q_proj\.weight\[12, 3\]: expected a value"):
        exporter.open_checkpoint(tmp_path).load("layers.1.attention.wq.weight")


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.zeros(48, dtype=torch.int8), "I8"),
        (torch.zeros(48, dtype=torch.float8_e4m3fn), "F8_E4M3"),
        (torch.zeros(48, dtype=torch.bool), "BOOL"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path: Path, tensor: torch.Tensor, found: str) -> None:
    state = hf_directories.save(tmp_path)
    hf_directories.rewrite(tmp_path, {**state, "model.norm.weight": tensor})
    with pytest.raises(exporter.CheckpointError, match=f"norm.weight: expected one of F32, .*, found {found}$"):
        exporter.open_checkpoint(tmp_path)


State = hf_directories.State


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.layers.1.mlp.up_proj.weight"), "missing model.layers.1.mlp.up_proj.weight"),
        (lambda s: s.pop("model.norm.weight"), "missing model.norm.weight"),
        (
            lambda s: s.pop("lm_head.weight"),
            "missing lm_head.weight, which config.json's tie_word_embeddings = false",
        ),
        (
            lambda s: s.update({"model.layers.0.self_attn.k_proj.weight": torch.zeros(48, 48)}),
            r"k_proj.weight: expected shape \(24, 48\), found \(48, 48\)",
        ),
        (
            lambda s: s.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(48)}),
            "no such tensor in this model: model.layers.0.self_attn.q_proj.bias",
        ),
        (lambda s: s.update({"a\nb": torch.zeros(1)}), r"expected printable names of tensors, found 'a\\nb'"),
    ],
)
def test_names_and_shapes_are_checked(tmp_path: Path, change: Callable[[State], None], message: str) -> None:
    state = hf_directories.save(tmp_path)
    change(state)
    hf_directories.rewrite(tmp_path, state)
    hf_directories.refused(tmp_path, message)


def test_tied_is_what_the_config_says(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    embedding = state["model.embed_tokens.weight"]
    state["lm_head.weight"] = embedding.clone()
    hf_directories.rewrite(tmp_path, state)
    assert not hf_directories.check(tmp_path, state).config.tied  # equal bits tie nothing here
    hf_directories.rewrite(tmp_path, state, tie_word_embeddings=True)
    opened = hf_directories.check(tmp_path, state)
    assert opened.config.tied
    assert "output.weight" not in opened.names
    del state["lm_head.weight"]
    hf_directories.rewrite(tmp_path, state)
    assert hf_directories.check(tmp_path, state).config.tied


@pytest.mark.parametrize("row", [0, 17, 28])
def test_a_tied_classifier_of_other_bits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr("exporter.sources.huggingface_tensors._CHUNK_BYTES", 8 * 48 * 10)  # ten rows at a time
    state = hf_directories.save(tmp_path)
    embedding = state["model.embed_tokens.weight"]
    embedding[row, 47] = 0.0
    state["lm_head.weight"] = embedding.clone()
    state["lm_head.weight"][row, 47] = -0.0  # equal as a number
    hf_directories.rewrite(tmp_path, state, tie_word_embeddings=True)
    hf_directories.refused(
        tmp_path, f"lm_head.weight: expected model.embed_tokens.weight again.*found other bits, in row {row} first"
    )
    state["lm_head.weight"] = embedding.half()
    hf_directories.rewrite(tmp_path, state)
    hf_directories.refused(tmp_path, r"as config.json's .*, \(29, 48\) in F32, found \(29, 48\) in F16")


def test_no_weights_are_refused(tmp_path: Path) -> None:
    hf_directories.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    hf_directories.refused(
        tmp_path, "expected one of model.safetensors, model.safetensors.index.json, pytorch_model.bin, .* none$"
    )
    (tmp_path / "model.safetensors").symlink_to("nowhere")
    hf_directories.refused(tmp_path, "model.safetensors: expected a file, found no regular file")


@pytest.mark.parametrize("pickled", [False, True])
def test_truncated_weights_are_refused(tmp_path: Path, pickled: bool) -> None:
    hf_directories.save(tmp_path, pickled=pickled)
    path = tmp_path / ("pytorch_model.bin" if pickled else "model.safetensors")
    content = path.read_bytes()
    for size in [*range(12), *range(12, len(content), 4999)]:
        path.write_bytes(content[:size])
        hf_directories.refused(tmp_path, "damaged|cut|empty file|another kind|end is missing")


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([1], "expected a dict of tensors, found list"),
        ({3: torch.zeros(1)}, "expected names of tensors, found the key 3"),
        ({"model.norm.weight": 1.0}, "model.norm.weight: expected a dense tensor, found float"),
        ({"model.norm.weight": torch.zeros(2).to_sparse()}, "expected a dense tensor"),
        (
            {"model.norm.weight": torch.zeros(48, dtype=torch.int64)},
            "expected a floating-point tensor, found torch.int64",
        ),
        (_Payload(Path("ran")), "refused: expected tensors and plain data alone"),
    ],
)
def test_other_pickles_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    hf_directories.save(tmp_path, pickled=True)
    torch.save(contents, tmp_path / "pytorch_model.bin")
    hf_directories.refused(tmp_path, message)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pickled", [False, True])
def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path, pickled: bool) -> None:
    hf_directories.save(tmp_path, pickled=pickled)
    opened = exporter.open_checkpoint(tmp_path)
    (tmp_path / "config.json").touch()  # read already
    hf_directories.save(tmp_path, pickled=pickled, seed=1)
    with pytest.raises(exporter.CheckpointError, match="changed while it was being read"):
        opened.load("norm.weight")


def test_more_layers_than_tensors_are_refused_before_they_are_counted_out(tmp_path: Path) -> None:
    hf_directories.save(tmp_path)
    hf_directories.change_json(tmp_path / "config.json", num_hidden_layers=2**31 - 1)
    hf_directories.refused(
        tmp_path, "num_hidden_layers: expected at most as many as there are tensors, 21, found 2147483647"
    )


@pytest.mark.parametrize("names", [[], ["tokenizer.model"], ["tokenizer.json", "tokenizer.model"]])
def test_the_tokenizer_beside_it_is_found(tmp_path: Path, names: list[str]) -> None:
    hf_directories.save(tmp_path)
    for name in names:
        (tmp_path / name).touch()
    assert exporter.open_checkpoint(tmp_path).tokenizer == (tmp_path / names[0] if names else None)


def test_safetensors_need_no_torch(tmp_path: Path) -> None:
    hf_directories.save(tmp_path, dtype=torch.bfloat16, tie_word_embeddings=True)
    code = (
        "import exporter, sys; c = exporter.open_checkpoint(sys.argv[1]); [c.load(n) for n in c.names];"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
