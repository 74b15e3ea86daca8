"""Hugging Face directories of a few written tensors: what transformers takes as it stands, ties, adapters, texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import adapters
from safetensors.torch import save_file

from verify.errors import CannotJudgeError
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.options import SourceOptions

State = dict[str, torch.Tensor]
CONFIG: dict[str, Any] = {
    **{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False},
    **{"vocab_size": 29, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "rms_norm_eps": 1e-5},
    **{"num_attention_heads": 6, "num_key_value_heads": 3, "max_position_embeddings": 33, "head_dim": 8},
}
MIXTRAL = {
    **{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 2},
    **{"num_experts_per_tok": 1, "output_router_logits": True, "sliding_window": None},
}
PHI = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "pad_token_id": None, "sliding_window": None}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tensors(kind: str = "llama") -> State:
    made: State = {EMBEDDING: torch.full((29, 48), 0.5), "model.norm.weight": torch.ones(48)}
    made[HEAD] = torch.full((29, 48), 0.25)
    shapes = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (48,)) | adapters.PROJECTIONS
    if kind == "mixtral":
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("mlp.")}
        shapes["block_sparse_moe.gate"] = (2, 48)
        for expert in (0, 1):
            matrices = {"w1": (40, 48), "w2": (48, 40), "w3": (40, 48)}
            shapes |= {f"block_sparse_moe.experts.{expert}.{name}": shape for name, shape in matrices.items()}
    if kind == "phi3":
        fused = {"self_attn.qkv_proj": (96, 48), "mlp.gate_up_proj": (80, 48)}
        kept = ("self_attn.o_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm")
        shapes = {name: shapes[name] for name in kept} | fused
    for number in (0, 1):
        made |= {f"model.layers.{number}.{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    return made


def write(path: Path, state: State, name: str = "model.safetensors", **config: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file({key: tensor.clone() for key, tensor in state.items()}, path / name, {"format": "pt"})
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        HuggingFaceSource(path, SourceOptions(**options))
    return str(caught.value)


def test_what_transformers_loads_as_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "model", tensors())
    adapter = adapters.save(tmp_path / "adapter", adapters.state(["q_proj"]), target_modules=["q_proj"])
    assert HuggingFaceSource(path).is_plain
    assert not HuggingFaceSource(path, SourceOptions(adapter=adapter)).is_plain
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors().items()}
    assert not HuggingFaceSource(write(tmp_path / "bare", bare)).is_plain
    (path / "shard-0.safetensors").touch()
    assert not HuggingFaceSource(path).is_plain
    (path / "shard-0.safetensors").unlink()
    # transformers would ask for the base that it names
    (path / "adapter_config.json").write_text("{}")
    beside = HuggingFaceSource(path)
    assert not beside.is_plain
    assert beside.notes == ("adapter_config.json has no weights beside it and was not used",)
    (path / "adapter_config.json").unlink()
    index = {"weight_map": dict.fromkeys(tensors(), "model.safetensors")}
    for more, is_plain in (({}, False), ({"metadata": {}}, True)):
        (path / "model.safetensors.index.json").write_text(json.dumps({**index, **more}))
        assert HuggingFaceSource(path).is_plain == is_plain


def test_what_an_adapter_merges_is_told_for_its_own_matrices_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "model", tensors())
    adapter = adapters.save(tmp_path / "adapter", adapters.state(["v_proj"]), target_modules=["v_proj"])
    base, source = HuggingFaceSource(path), HuggingFaceSource(path, SourceOptions(adapter=adapter))
    name = "layers.1.attention.wv.weight"
    assert (base.has_adapter, source.has_adapter) == (False, True)
    assert base.merge(name) is None
    assert source.merge("layers.1.attention.wk.weight") is None
    merge = source.merge(name)
    assert merge is not None
    assert torch.equal(merge.base, base.tensor(name))
    made = merge.base.double() + merge.scale * (merge.b @ merge.a)
    torch.testing.assert_close(made.float(), source.tensor(name))


def test_an_adapter_and_a_model_in_one_directory(tmp_path: Path) -> None:
    path = adapters.save(tmp_path / "both", adapters.state(["q_proj"]), target_modules=["q_proj"])
    alone = (
        f"{path}: expected a whole model, found an adapter: give the base model as SOURCE and this directory as "
        "--adapter, or merge it"
    )
    assert refused(path) == refused(path, adapter=path) == alone
    write(path, tensors())
    both = f"{path}: expected a model or an adapter, found both: move the adapter away, or give it as --adapter DIR"
    other = adapters.save(tmp_path / "other", adapters.state(["q_proj"]), target_modules=["q_proj"])
    assert refused(path) == refused(path, adapter=other) == both
    merged = HuggingFaceSource(path, SourceOptions(adapter=path / ".." / "both"))
    assert merged.notes == ("a LoRA adapter was merged into 2 matrices",)


def test_a_classifier_beside_an_adapter_is_that_of_the_base(tmp_path: Path) -> None:
    path, copy = write(tmp_path / "model", tensors()), "base_model.model.lm_head.weight"
    for classifier, same in (
        (tensors()[HEAD], True),
        (tensors()[HEAD].bfloat16(), True),
        (tensors()[HEAD] + 1, False),
        (tensors()[HEAD][:28].clone(), False),
    ):
        state = {**adapters.state(["q_proj"]), copy: classifier}
        adapter = adapters.save(tmp_path / "adapter", state, target_modules=["q_proj"])
        if same:
            assert HuggingFaceSource(path, SourceOptions(adapter=adapter)).notes
        else:
            assert refused(path, adapter=adapter) == (
                f"{adapter}: lm_head: expected the classifier of the base, found another one"
            )


def test_fused_matrices_take_no_adapter(tmp_path: Path) -> None:
    path = write(tmp_path / "model", tensors("phi3"), **PHI)
    assert HuggingFaceSource(path).is_plain
    adapter = adapters.save(tmp_path / "adapter", adapters.state(["q_proj"]), target_modules=["q_proj"])
    assert refused(path, adapter=adapter) == f"{adapter}: adapter: expected a base without fused matrices, found phi3"


def test_a_tied_model_with_two_matrices_alone_is_judged_by_them_first(tmp_path: Path) -> None:
    """As many layers as tensors are not too many to ask transformers for."""
    outer = {name: tensors()[name] for name in (EMBEDDING, HEAD)}
    path = write(tmp_path / "model", outer, tie_word_embeddings=True)
    assert refused(path) == (
        f"{path}: tie_word_embeddings is true: lm_head.weight: expected the bits of {EMBEDDING}, found others"
    )
    assert refused(write(path, outer, num_hidden_layers=3)) == (
        f"{path / 'config.json'}: num_hidden_layers: expected at most 2, the tensors that there are, found 3"
    )


def test_stored_frequencies_are_those_that_the_model_computes(tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    frequencies = 10000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    source = HuggingFaceSource(write(tmp_path / "model", {**tensors(), name: frequencies.float()}))
    assert source.notes == ("rotary_emb.inv_freq: stored buffers hold what config.json says; they were dropped",)
    path = write(tmp_path / "model", {**tensors(), name: 2 * frequencies.float()})
    assert refused(path).startswith(f"{path / 'model.safetensors'}: {name}: expected ")


def test_transformers_config_asks_for_logits_alone(tmp_path: Path) -> None:
    asks = {"output_attentions": True, "output_hidden_states": True}
    found = HuggingFaceSource(write(tmp_path / "llama", tensors(), **asks)).transformers_config()
    assert (found.return_dict, found.output_attentions, found.output_hidden_states) == (True, False, False)
    assert not hasattr(found, "output_router_logits")
    mixture = HuggingFaceSource(write(tmp_path / "mixtral", tensors("mixtral"), **MIXTRAL)).transformers_config()
    assert mixture.output_router_logits is False
    assert mixture._experts_implementation == "eager"


def of_images(path: Path, kind: str, state: State, *, flat: bool = False, **text: Any) -> Path:
    said = {key: value for key, value in CONFIG.items() if key != "tie_word_embeddings"}
    state = {**state, "vision_tower.x": torch.ones(1)} if not flat else {**state, "visual.x": torch.ones(1)}
    write(path, state)
    inner = {**said, "model_type": "llama", **text}
    whole = {**inner, "model_type": kind} if flat else {"model_type": kind, "text_config": inner}
    (path / "config.json").write_text(json.dumps(whole))
    return path


def in_text_part(state: State) -> State:
    return {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("kind", "head", "tied", "noted"),
    [("mistral3", 0.25, False, True), ("mistral3", 0.5, True, False), ("llava_next", 0.25, False, False)],
)
def test_a_text_part_is_tied_where_its_matrices_are_equal(
    tmp_path: Path, kind: str, head: float, tied: bool, noted: bool
) -> None:
    """Mistral 3's whole says that it ties, LLaVA NeXT's does not."""
    state = {**tensors(), HEAD: torch.full((29, 48), head)}
    source = HuggingFaceSource(of_images(tmp_path / kind, kind, in_text_part(state)))
    assert source.hyperparameters.tied == tied
    assert not source.is_plain
    note = "lm_head is not the embedding: it is not tied, as transformers decides here"
    assert source.notes == (f"text part of {kind} (llama); 1 vision tensor left out", *([note] if noted else []))


def test_a_message_says_in_which_config_a_key_stands(tmp_path: Path) -> None:
    inner = of_images(tmp_path / "inner", "llava_next", in_text_part(tensors()), hidden_act="relu")
    assert refused(inner).startswith(f"{inner / 'config.json'}: text_config: hidden_act: expected one of ")
    flat = of_images(tmp_path / "flat", "qwen2_vl", tensors(), flat=True, hidden_act="relu")
    assert refused(flat).startswith(f"{flat / 'config.json'}: hidden_act: expected one of ")
    odd = of_images(tmp_path / "odd", "llava_next", in_text_part(tensors()), model_type=["llama"])
    assert refused(odd).startswith(f"{odd / 'config.json'}: text_config: model_type: expected one of ")
