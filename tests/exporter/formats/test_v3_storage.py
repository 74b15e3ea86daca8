"""Which storage a tensor gets in v3."""

from __future__ import annotations

import pytest
from helpers.models import arrays, config

import exporter
from exporter.config import tensor_shapes
from exporter.formats.v3_storage import choose_storage

MODEL = config(qkv_bias=True, dim=48, hidden_dim=40, head_dim=10)


EXPERTS = config(
    hidden_dim=40,
    n_experts=3,
    n_active_experts=1,
    expert_hidden_dim=40,
    layers=(exporter.LayerKind(experts=True),) * 2,
)


def chosen(
    storage: object, dtype: str = "bf16", group_size: int = 8, model: exporter.ModelConfig = MODEL
) -> dict[str, tuple[str, int]]:
    source = exporter.Checkpoint(
        model,
        tensor_shapes(model),
        arrays(model).__getitem__,
        where="memory",
        kind="memory",
        dtypes=dict.fromkeys(tensor_shapes(model), dtype),  # type: ignore[arg-type]
    )
    found = choose_storage(source, storage, group_size, exact=False)  # type: ignore[arg-type]
    return {name: (how.storage, how.group_size) for name, how in found.items()}


@pytest.mark.parametrize("storage", ["fp16", "bf16", "q8_0", "source"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_vectors_keep_the_sources_type(storage: str, dtype: str) -> None:
    found = chosen(storage, dtype)
    for name, shape in tensor_shapes(MODEL).items():
        expected = dtype if len(shape) == 1 or storage == "source" else storage
        assert found[name][0] == expected
    assert {how for how, _ in chosen("fp32", dtype).values()} == {"fp32"}


def test_the_last_pattern_that_matches_counts() -> None:
    found = chosen({"*": "q8_0", "layers.1.*": "fp32", "*.wq.*": "fp16"})
    assert found["layers.0.attention.wk.weight"] == ("q8_0", 8)
    assert found["layers.1.attention.wk.weight"] == ("fp32", 0)
    assert found["layers.1.attention.wq.weight"] == ("fp16", 0)


def test_each_tensor_backs_off_by_its_own_width() -> None:
    found = chosen("q8_0", group_size=64)
    assert found["layers.0.attention.wq.weight"] == ("q8_0", 48)
    assert found["layers.0.feed_forward.w2.weight"] == ("q8_0", 40)
    assert found["layers.0.attention.wo.weight"] == ("q8_0", 60)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("fp8", "expected one of source, fp32, .* found 'fp8'"),
        ({"*": "fp8"}, "found 'fp8'"),
        (
            {"wq": "fp16"},
            "expected a pattern that matches a tensor's name, found 'wq': give '\\*\\.wq\\.\\*', or ",
        ),
        ({"layers.0.attention.wqq.weight": "fp16"}, r": did you mean '\*.wq.\*'\?$"),
        ({"attentoin.wqq": "fp16"}, r": did you mean '\*.attention.\*'\?$"),
        ({"zzz": "fp16"}, r": `inspect` lists the names, such as [^,]+, [^,]+$"),
        ({"*.bias": "fp16"}, "never narrowed, found \\*.bias=fp16"),
        ({"norm.weight": "q8_0"}, "never narrowed"),
    ],
)
def test_what_cannot_be_is_refused(storage: object, message: str) -> None:
    with pytest.raises(exporter.FormatError, match=message):
        chosen(storage)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_a_router_is_never_quantized(dtype: str) -> None:
    found = chosen("q8_0", dtype, model=EXPERTS)
    for name, shape in tensor_shapes(EXPERTS).items():
        assert found[name][0] == (dtype if len(shape) == 1 or "router" in name else "q8_0")
    assert chosen({"*router*": "fp16"}, "fp32", model=EXPERTS)["layers.1.feed_forward.router.weight"] == ("fp16", 0)
    with pytest.raises(exporter.FormatError) as caught:
        chosen({"*": "fp16", "*.router.*": "q8_0"}, model=EXPERTS)
    assert str(caught.value) == (
        "storage: expected other than q8_0 for routers, which are never quantized, found *.router.*=q8_0"
    )


def test_experts_of_a_layer_are_stored_alike() -> None:
    found = chosen({"*.w2.*": "q8_0", "layers.0.*.w1.*": "fp32"}, model=EXPERTS)
    for expert in range(3):
        assert found[f"layers.0.feed_forward.experts.{expert}.w2.weight"] == ("q8_0", 8)
        assert found[f"layers.0.feed_forward.experts.{expert}.w1.weight"] == ("fp32", 0)
        assert found[f"layers.1.feed_forward.experts.{expert}.w1.weight"] == ("bf16", 0)
    with pytest.raises(exporter.FormatError) as caught:
        chosen({"layers.1.feed_forward.experts.2.w3.*": "fp16"}, model=EXPERTS)
    assert str(caught.value) == (
        "storage: expected bf16 for layers.1.feed_forward.experts.2.w3.weight, as for "
        "layers.1.feed_forward.experts.0.w3.weight, found fp16: v3 stores a matrix of all experts of a layer alike; "
        "give a pattern that matches all of them"
    )
