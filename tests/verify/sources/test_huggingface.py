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
    with pytest.raises(CannotJudgeError, match=r"safetensors: model.norm.weight: expected values that float32"):
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


def test_tokenizer_json_goes_before_tokenizer_model(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    assert HuggingFaceSource(directory).tokenizer_path == directory / "tokenizer.json"


def test_a_hub_id_is_looked_up_in_the_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CannotJudgeError,
        match=r"^owner/name: expected .* no such file or directory here, and on the hub: ",
    ) as caught:
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
