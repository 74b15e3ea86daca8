"""Hugging Face directories as the verifier reads them: every layout, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface
from safetensors.torch import load_file, save_file

from verify.errors import CannotJudgeError
from verify.sources import RopeScaling, open_source
from verify.sources.hub import snapshot
from verify.sources.huggingface import HuggingFaceSource


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return huggingface.save(tmp_path_factory.mktemp("model"), huggingface.model())


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def store(directory: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def pickled(directory: Path, *, shards: int = 1) -> None:
    """The same weights as transformers wrote them once."""
    state = weights(directory)
    (directory / "model.safetensors").unlink()
    if shards == 1:
        torch.save(state, directory / "pytorch_model.bin")
        return
    names = [f"pytorch_model-{n + 1:05}-of-{shards:05}.bin" for n in range(shards)]
    weight_map = {name: names[number % shards] for number, name in enumerate(state)}
    for shard in names:
        torch.save({name: tensor for name, tensor in state.items() if weight_map[name] == shard}, directory / shard)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def same(a: HuggingFaceSource, b: HuggingFaceSource) -> bool:
    assert a.hyperparameters == b.hyperparameters
    return all(torch.equal(a.tensor(name), b.tensor(name)) for name in a.hyperparameters.shapes())


def test_what_a_source_says_of_itself(saved: Path) -> None:
    source = open_source(saved)
    assert source.kind == "huggingface"
    assert sorted(source.files) == ["config.json", "model.safetensors"]
    for name, digest in source.files.items():
        assert digest == hashlib.sha256((saved / name).read_bytes()).hexdigest()
    hyper = source.hyperparameters
    counted = (hyper.dim, hyper.hidden_dim, hyper.n_layers, hyper.n_heads, hyper.n_kv_heads, hyper.head_dim)
    assert counted == (48, 40, 2, 6, 3, 10)
    assert (hyper.vocab_size, hyper.max_seq_len, hyper.tied, hyper.rope_theta) == (29, 33, False, 10000.0)
    assert (hyper.rope_scaling, hyper.norm_eps, hyper.activation) == (RopeScaling(), 1e-6, "silu")
    for name, shape in hyper.shapes().items():
        tensor = source.tensor(name)
        assert tuple(tensor.shape) == shape
        assert tensor.dtype == torch.float32
        assert source.dtype(name) == "fp32"
    assert source.tokenizer_path == saved / "tokenizer.model"


def test_pairs_of_each_head_come_together(saved: Path) -> None:
    own, source = weights(saved), open_source(saved)
    for name, projection, heads in (("wq", "q_proj", 6), ("wk", "k_proj", 3)):
        theirs = own[f"model.layers.1.self_attn.{projection}.weight"]
        ours = source.tensor(f"layers.1.attention.{name}.weight")
        for head in range(heads):
            for i in range(5):
                assert torch.equal(ours[head * 10 + 2 * i], theirs[head * 10 + i])
                assert torch.equal(ours[head * 10 + 2 * i + 1], theirs[head * 10 + i + 5])
    for name, module in (("wv", "v_proj"), ("wo", "o_proj")):
        theirs = own[f"model.layers.1.self_attn.{module}.weight"]
        assert torch.equal(source.tensor(f"layers.1.attention.{name}.weight"), theirs)


@pytest.mark.parametrize("layout", ["sharded", "pickled", "pickled shards", "linked"])
def test_every_layout_holds_the_same_model(saved: Path, directory: Path, layout: str) -> None:
    match layout:
        case "sharded":
            (directory / "model.safetensors").unlink()
            huggingface.save(directory, huggingface.model(), max_shard_size="20KB")
            assert len(list(directory.glob("model-*.safetensors"))) > 2
        case "pickled":
            pickled(directory)
        case "pickled shards":
            pickled(directory, shards=3)
        case "linked":  # as the hub's cache has it
            cache = directory.parent / "models--org--name"
            (cache / "blobs").mkdir(parents=True)
            (cache / "snapshots").mkdir()
            directory = directory.rename(cache / "snapshots" / "revision")
            for file in list(directory.iterdir()):
                blob = cache / "blobs" / hashlib.sha256(file.name.encode()).hexdigest()
                file.rename(blob)
                file.symlink_to(os.path.relpath(blob, directory))
    source = HuggingFaceSource(directory)
    assert same(source, HuggingFaceSource(saved))
    read = {f.name for f in directory.iterdir()} - {"generation_config.json"}
    assert set(source.files) == read


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
@pytest.mark.parametrize("pickle_them", [False, True])
def test_half_precision_is_widened_exactly(tmp_path: Path, dtype: torch.dtype, name: str, pickle_them: bool) -> None:
    made = huggingface.model()
    directory = huggingface.save(tmp_path, made.to(dtype))
    if pickle_them:
        pickled(directory)
    source = HuggingFaceSource(directory)
    assert source.dtype("layers.0.attention.wq.weight") == name
    expected = made.state_dict()["model.embed_tokens.weight"].to(torch.float32)
    assert torch.equal(source.tensor("tok_embeddings.weight"), expected)


def test_biases_follow_their_rows(tmp_path: Path) -> None:
    for architecture, changes in (
        ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
        ("Qwen2ForCausalLM", {}),
    ):
        directory = huggingface.save(tmp_path / architecture, huggingface.model(architecture, **changes))
        source, own = HuggingFaceSource(directory), weights(directory)
        hyper, llama = source.hyperparameters, architecture == "LlamaForCausalLM"
        assert (hyper.qkv_bias, hyper.wo_bias, hyper.mlp_bias) == (True, llama, llama)
        key = source.tensor("layers.0.attention.wk.bias")
        theirs = own["model.layers.0.self_attn.k_proj.bias"]
        assert key[12:14].tolist() == [theirs[11], theirs[16]]
        assert torch.equal(source.tensor("layers.0.attention.wv.bias"), own["model.layers.0.self_attn.v_proj.bias"])


def test_tied_with_and_without_a_second_copy(directory: Path) -> None:
    state = weights(directory)
    del state["lm_head.weight"]
    store(directory, state)
    huggingface.rewrite(directory, tie_word_embeddings=True)
    for second in ({}, {"lm_head.weight": state["model.embed_tokens.weight"].clone()}):
        store(directory, {**state, **second})
        source = HuggingFaceSource(directory)
        assert source.hyperparameters.tied
        assert "output.weight" not in source.hyperparameters.shapes()
        assert torch.equal(source.tensor("output.weight"), state["model.embed_tokens.weight"])


def test_old_buffers_are_passed_over(directory: Path) -> None:
    store(directory, {**weights(directory), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(5)})
    assert HuggingFaceSource(directory).hyperparameters.n_layers == 2


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_theta": 5e5}, RopeScaling()),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}, RopeScaling("linear", 4.0)),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, RopeScaling("dynamic", 2.0, 33)),
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                },
            },
            RopeScaling("llama3", 8.0, 16, 1.0, 4.0),
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5}},
            RopeScaling("yarn", 4.0, 33, 0.0, 0.0, 32.0, 1.0, 0.1 * 1.3862943611198906 + 1, True),
        ),
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 8,
                    "attention_factor": 1.5,
                    "beta_fast": 20,
                    "beta_slow": 2,
                    "truncate": False,
                },
            },
            RopeScaling("yarn", 4.0, 8, 0.0, 0.0, 20.0, 2.0, 1.5, False),
        ),
    ],
)
def test_rope_in_the_old_spelling_and_the_new(directory: Path, rope: dict[str, Any], expected: RopeScaling) -> None:
    huggingface.rewrite(directory, **{"rope_parameters": None, **rope})
    hyper = HuggingFaceSource(directory).hyperparameters
    assert hyper.rope_theta == 5e5
    assert hyper.rope_scaling == expected


def test_keys_without_effect_are_passed_over(saved: Path, directory: Path) -> None:
    huggingface.rewrite(directory, torch_dtype="bfloat16", rope_interleaved=False, temperature=0.6, pretraining_tp=2)
    assert same(HuggingFaceSource(directory), HuggingFaceSource(saved))


def test_defaults_are_the_class_s_own(directory: Path) -> None:
    huggingface.rewrite(directory, rope_parameters=None, rms_norm_eps=None, hidden_act=None, num_key_value_heads=None)
    with pytest.raises(CannotJudgeError, match="num_key_value_heads: expected 3, as the tensors say, found 6"):
        HuggingFaceSource(directory)
    huggingface.rewrite(directory, num_key_value_heads=3)
    hyper = HuggingFaceSource(directory).hyperparameters
    assert (hyper.norm_eps, hyper.rope_theta, hyper.activation) == (1e-6, 10000.0, "silu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, r"architectures: expected one of Llama.*found \['Gemma"),
        ({"architectures": None}, "architectures: expected one of .* found None"),
        ({"model_type": "mistral"}, "model_type: expected llama, as of its architecture, found mistral"),
        ({"architectures": [["LlamaForCausalLM"]]}, "architectures: expected one of"),
        ({"architectures": ["LlamaForCausalLM", "LlamaModel"]}, "architectures: expected one of"),
        ({"layer_types": [["full_attention"]]}, "found layer_types"),
        ({"rope_parameters": {"rope_type": ["yarn"], "factor": 2.0}}, "found"),
        ({"rope_parameters": [1]}, "rope_scaling: expected an object, found list"),
        ({"num_key_value_heads": True}, "found"),
        ({"head_dim": 10.0}, "found"),
        ({"quantization_config": {"bits": 4}}, "keys whose effect on the model is known, found quantization_config"),
        ({"auto_map": {"AutoModel": "m.M"}}, "found auto_map"),
        ({"rope_interleaved": True}, "rope_interleaved: expected False, found True"),
        ({"is_causal": False}, "found is_causal"),
        ({"original_max_position_embeddings": 8}, "found original_max_position_embeddings"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1"),
        ({"layer_types": ["sliding_attention"] * 2}, "found layer_types"),
        ({"sliding_window": 8}, "found sliding_window"),
        ({"hidden_size": 54}, "hidden_size: expected 48, as the tensors say, found 54"),
        ({"num_hidden_layers": 3}, "num_hidden_layers: expected 2, as the tensors say, found 3"),
        ({"vocab_size": 30}, "vocab_size: expected 29"),
        ({"intermediate_size": 41}, "intermediate_size: expected 40"),
        ({"head_dim": 8}, "head_dim: expected 10"),
        ({"num_attention_heads": 4}, "wq.weight: expected rows of 4 heads of even size, found 60"),
        ({"num_attention_heads": 0}, "found"),
        ({"num_attention_heads": "six"}, "expected a config that transformers accepts"),
        ({"hidden_act": "relu"}, "hidden_act: expected one of silu.* found relu"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps: expected a positive finite number, found 0.0"),
        ({"rms_norm_eps": float("nan")}, "expected a JSON object, found: NaN, which is not a JSON number"),
        ({"attention_bias": True}, r"layers.0.attention.wk.bias: expected \(30,\), found no such tensor"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "one of rope_scaling and rope_parameters, found both"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "found"),
        ({"rope_parameters": {"rope_type": "mrope", "factor": 2.0}}, "rope_type: expected one of default"),
        ({"rope_parameters": {"rope_type": "linear", "factor": -2.0}}, "factor: expected a positive"),
        ({"rope_parameters": {"rope_type": "linear"}}, "config that transformers accepts, found: .*factor"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}}, "rope_theta: expected a positive"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_theta": 1e5},
            "one type and one theta, found 10000.0 and 100000.0",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "keys whose effect on the model is known, found partial_rotary_factor",
        ),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16}},
            "original_max_position_embeddings: expected max_position_embeddings = 33.*found 16",
        ),
        (
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e4,
                    "factor": 2.0,
                    "low_freq_factor": 4.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                }
            },
            "high_freq_factor: expected more than low_freq_factor = 4, found 4.0",
        ),
    ],
)
def test_configs_that_say_another_model_are_refused(
    directory: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    huggingface.rewrite(directory, **changes)
    with pytest.raises(CannotJudgeError, match=message) as caught:
        HuggingFaceSource(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_hidden_layers", 10_000_000, "num_hidden_layers: expected at most 21, .*, found 10000000"),
        ("num_labels", 2_000_000, "num_labels: expected at most 10000, .*, found 2000000"),
    ],
)
def test_what_transformers_makes_lists_of_is_bounded_before_it_is_asked(
    directory: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: int, message: str
) -> None:
    def asked(path: Path) -> None:
        raise AssertionError(f"transformers was asked about {path}")

    monkeypatch.setattr("verify.sources.huggingface._resolve", asked)
    with pytest.raises(CannotJudgeError, match=message):
        open_source(huggingface.rewrite(directory, **{key: value}))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_config_that_is_none(directory: Path, content: bytes) -> None:
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CannotJudgeError, match=r"config.json: expected (a )?JSON"):
        HuggingFaceSource(directory)


def test_windows_that_are_shorter_than_the_model_are_refused(tmp_path: Path) -> None:
    mistral = huggingface.save(tmp_path / "mistral", huggingface.model("MistralForCausalLM"))
    # dropped, it is the class's own 4096
    assert HuggingFaceSource(mistral).hyperparameters.max_seq_len == 33
    huggingface.rewrite(mistral, sliding_window=32)
    with pytest.raises(CannotJudgeError, match=r"sliding_window: expected none, or at least max_pos.* found 32"):
        HuggingFaceSource(mistral)
    huggingface.rewrite(mistral, sliding_window=None, max_position_embeddings=5000)
    with pytest.raises(CannotJudgeError, match="found 4096"):
        HuggingFaceSource(mistral)
    content = json.loads((mistral / "config.json").read_text())
    (mistral / "config.json").write_text(json.dumps({**content, "sliding_window": None}))
    assert HuggingFaceSource(mistral).hyperparameters.max_seq_len == 5000
    qwen = huggingface.save(tmp_path / "qwen", huggingface.model("Qwen2ForCausalLM"))
    huggingface.rewrite(qwen, use_sliding_window=True, layer_types=None)
    with pytest.raises(CannotJudgeError, match="use_sliding_window: expected false, found True"):
        HuggingFaceSource(qwen)


Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({Q: None}, r"layers.1.attention.wq.weight: expected \(60, 48\), found no such tensor"),
        ({Q: torch.zeros(60, 47)}, r"wq.weight: expected \(60, 48\), found \(60, 47\)"),
        (
            {"model.layers.1.mlp.extra.weight": torch.zeros(2)},
            "tensors: expected those of a Llama alone, found model",
        ),
        ({"model.layers.1.mlp.up_proj.bias": torch.zeros(40)}, r"w3.bias: expected no such tensor, found \(40,\)"),
        ({"model.layers.5.mlp.up_proj.weight": torch.zeros(40, 48)}, "num_hidden_layers: expected 3"),
        ({Q: torch.zeros(60, 48, dtype=torch.int8)}, "q_proj.weight: expected a tensor of F64.* found I8"),
        ({"model.embed_tokens.weight": None}, "tok_embeddings.weight: expected a matrix, found no such tensor"),
        ({"lm_head.weight": None}, r"output.weight: expected \(29, 48\), found no such tensor"),
        ({"model.embed_tokens.weight": torch.zeros(29)}, "tok_embeddings.weight: expected a matrix"),
    ],
)
def test_tensors_of_another_model_are_refused(
    directory: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    state = {**weights(directory), **changes}
    store(directory, {name: tensor for name, tensor in state.items() if tensor is not None})
    with pytest.raises(CannotJudgeError, match=message):
        HuggingFaceSource(directory)


def test_a_tied_classifier_of_its_own_is_refused(directory: Path) -> None:
    huggingface.rewrite(directory, tie_word_embeddings=True)
    message = (
        "tie_word_embeddings is true: lm_head.weight: expected the bits of model.embed_tokens.weight, found others"
    )
    with pytest.raises(CannotJudgeError, match=message):
        HuggingFaceSource(directory)


def test_a_tied_classifier_without_an_embedding_is_refused(directory: Path) -> None:
    huggingface.rewrite(directory, tie_word_embeddings=True)
    state = weights(directory)
    del state["model.embed_tokens.weight"]
    store(directory, state)
    with pytest.raises(CannotJudgeError, match=r"tok_embeddings.weight: expected a matrix, found no such tensor"):
        HuggingFaceSource(directory)


def test_float64_that_float32_cannot_hold_is_refused(directory: Path) -> None:
    state = weights(directory)
    store(directory, {**state, Q: state[Q].double(), "model.norm.weight": torch.full((48,), 0.1).double() + 1e-12})
    source = HuggingFaceSource(directory)
    assert source.dtype("layers.1.attention.wq.weight") == "fp32"
    assert source.tensor("layers.1.attention.wq.weight").dtype == torch.float32
    with pytest.raises(CannotJudgeError, match=r"model.norm.weight: expected values that float32 can hold"):
        source.tensor("norm.weight")


def test_a_change_while_reading_is_noticed(directory: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        source = HuggingFaceSource(directory)
        os.utime(directory / name, ns=(1, 1))
        with pytest.raises(CannotJudgeError, match=f"{name}: changed while it was being read"):
            source.tensor("norm.weight")


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("../model.safetensors", "weight_map: .*: expected the name of a .safetensors file beside the index"),
        ("/etc/model.safetensors", "expected the name of a"),
        ("pytorch_model.bin", "expected the name of a"),
        (7, "expected the name of a"),
        ("absent.safetensors", "absent.safetensors: no such file"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(directory: Path, shard: object, message: str) -> None:
    state = weights(directory)
    (directory / "model.safetensors").rename(directory / "shard.safetensors")
    shutil.copy(directory / "shard.safetensors", directory.parent / "model.safetensors")
    index = {"weight_map": dict.fromkeys(state, "shard.safetensors")}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(HuggingFaceSource(directory).files) == {
        *("config.json", "model.safetensors.index.json", "shard.safetensors")
    }
    index["weight_map"][Q] = shard  # type: ignore[assignment]
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CannotJudgeError, match=message):
        HuggingFaceSource(directory)


def test_an_index_and_its_shards_must_list_the_same(directory: Path) -> None:
    names = list(weights(directory))
    (directory / "model.safetensors").rename(directory / "shard.safetensors")
    for listed in (names[1:], [*names, "model.layers.9.mlp.up_proj.weight"]):
        index = {"weight_map": dict.fromkeys(listed, "shard.safetensors")}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(
            CannotJudgeError, match=r"shard.safetensors: .*weight: expected in (its index|the shard) as"
        ):
            HuggingFaceSource(directory)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("echo never",)


def test_weights_that_are_none(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CannotJudgeError, match="expected safetensors, found: "):
        HuggingFaceSource(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(CannotJudgeError, match=r"expected one of model.safetensors, .*, found none"):
        HuggingFaceSource(directory)
    torch.save({"a": Evil()}, directory / "pytorch_model.bin")
    with pytest.raises(CannotJudgeError, match="expected plain tensors, found a pickle that asks for more"):
        HuggingFaceSource(directory)
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(CannotJudgeError, match=r"pytorch_model.bin: expected"):
        HuggingFaceSource(directory)
    torch.save([1, 2], directory / "pytorch_model.bin")
    with pytest.raises(CannotJudgeError, match="expected a PyTorch state dict, found list"):
        HuggingFaceSource(directory)


def test_an_adapter_is_no_model(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(CannotJudgeError, match=r"expected a whole model, found adapter_config.json"):
        HuggingFaceSource(directory)


def test_tokenizer_json_goes_before_tokenizer_model(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    assert HuggingFaceSource(directory).tokenizer_path == directory / "tokenizer.json"


def test_a_hub_id_is_looked_up_in_the_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CannotJudgeError, match=r"^owner/name: expected .* hub, found: .*") as caught:
        snapshot("owner/name")
    assert "\n" not in str(caught.value)
    commit = "0" * 40
    cached = tmp_path / "models--owner--name" / "snapshots" / commit
    shutil.copytree(saved, cached)
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text(commit)
    assert snapshot("owner/name") == cached
    assert open_source("owner/name").path == cached
    assert capfd.readouterr() == ("", "")


def test_pickled_weights_are_asked_for_only_where_there_are_no_others(
    saved: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    pickled(directory)
    for found, expected in ((saved, 1), (directory, 2)):
        asked: list[list[str]] = []

        def download(_name: str, *, allow_patterns: list[str], at: Path = found, seen: Any = asked) -> str:
            seen.append(allow_patterns)
            return str(at)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        assert snapshot("owner/name") == found
        assert len(asked) == expected
        assert not any(pattern.endswith(".bin") for pattern in asked[0])
