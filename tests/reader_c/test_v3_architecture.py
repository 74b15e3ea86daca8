"""v3's architecture block, layer table and tokenizer block: read as written, and one broken file for each rule."""

from __future__ import annotations

import math
import struct
from dataclasses import fields, replace
from pathlib import Path

import pytest
from helpers.arch_files import Arch, Scaling, patched, random_weights, shapes, signed, write
from reader_c._reader import ffi, lib

import reader_c

U32, U64, F64 = "<I", "<Q", "<d"
# windowed and not, both RoPEs and none: of three layers, the table ends at byte 524
MANY = Arch(
    norm_place="both",
    norm_plus_one=True,
    qk_norm="head",
    rotary_dim=6,
    window=5,
    query_scale_positions=7,
    embedding_scale=3.0,
    score_scale=0.25,
    residual_scale=0.5,
    logit_divisor=2.0,
    score_cap=20.0,
    logit_cap=30.0,
    query_scale_beta=0.125,
    local_theta=100.0,
    layers=((True, "second"), (False, "first"), (True, "none")),
)
LLAMA = Arch()
LAYERS_END = 512 + 4 * 3
REALS = {
    "embedding_scale": 280,
    "score_scale": 288,
    "residual_scale": 296,
    "logit_divisor": 304,
    "score_cap": 312,
    "logit_cap": 320,
    "query_scale_beta": 328,
    "local_theta": 336,
}
# experts in every layer, and beside a plain one
EXPERTS = Arch(hidden_dim=20, n_experts=5, n_active_experts=2, expert_hidden_dim=20)
BESIDE = replace(EXPERTS, hidden_dim=36, plain=(1,))
FACTORS = ("embedding_scale", "residual_scale", "logit_divisor")
POSITIVE = "a positive finite number, normal as float32"

# (rule, file, field, offset, expected, found, changes)
Case = tuple[str, Arch, str, int, str, str, list[tuple[int, str, float]]]
CASES: list[Case] = [
    ("norm_place is known", MANY, "norm_place", 256, "at most 2", "3", [(256, U32, 3)]),
    ("norm_plus_one is 0 or 1", MANY, "norm_plus_one", 260, "at most 1", "2", [(260, U32, 2)]),
    ("qk_norm is known", MANY, "qk_norm", 264, "at most 2", "3", [(264, U32, 3)]),
    ("something is rotated", MANY, "rotary_dim", 268, "at least 2", "0", [(268, U32, 0)]),
    ("pairs are rotated", MANY, "rotary_dim", 268, "a multiple of 2", "5", [(268, U32, 5)]),
    ("no more than a head is rotated", MANY, "rotary_dim", 268, "at most 8", "10", [(268, U32, 10)]),
    ("a window is below 2^31", MANY, "window", 272, "at most 2147483647", "2147483648", [(272, U32, 2**31)]),
    ("windowed layers have a window", MANY, "window", 272, "more than 0", "0", [(272, U32, 0)]),
    ("no windowed layers, no window", LLAMA, "window", 272, "exactly 0", "9", [(272, U32, 9)]),
    ("no beta, no positions", LLAMA, "query_scale_positions", 276, "at most 0", "1", [(276, U32, 1)]),
    ("beta has positions", MANY, "query_scale_positions", 276, "at least 1", "0", [(276, U32, 0)]),
    (
        "positions are below 2^31",
        MANY,
        "query_scale_positions",
        276,
        "at most 2147483647",
        "2147483648",
        [(276, U32, 2**31)],
    ),
    *(
        (f"{field} is {what}", MANY, field, at, POSITIVE, repr(value), [(at, F64, value)])
        for field, at in REALS.items()
        for what, value in (
            ("positive", -1.0),
            ("not -0", -0.0),
            ("finite", math.inf),
            ("a number", math.nan),
            ("not below a normal float", 2.0**-127),
            ("not beyond float32", 3.5e38),
        )
    ),
    *(
        (f"{field} is not zero", MANY, field, REALS[field], POSITIVE, "0.0", [(REALS[field], F64, 0)])
        for field in FACTORS
    ),
    ("a second RoPE has its theta", MANY, "local_theta", 336, "more than 0", "0.0", [(336, F64, 0)]),
    ("no second RoPE, no theta of it", LLAMA, "local_theta", 336, "exactly 0", "9.0", [(336, F64, 9)]),
    *(
        (f"byte {at} is kept", MANY, "architecture padding", at, "exactly 0", "1", [(at, "B", 1)])
        for at in (360, 511)
    ),
    ("one expert is no mixture", EXPERTS, "n_experts", 344, "0 or at least 2", "1", [(344, U32, 1)]),
    ("experts are bounded", EXPERTS, "n_experts", 344, "at most 65535", "65536", [(344, U32, 65536)]),
    ("experts have tensors", EXPERTS, "tensor count", 152, "exactly 78", "69", [(344, U32, 6)]),
    ("some experts are active", EXPERTS, "n_active_experts", 348, "at least 1", "0", [(348, U32, 0)]),
    ("no more are active than there are", EXPERTS, "n_active_experts", 348, "at most 5", "6", [(348, U32, 6)]),
    ("none is active without experts", MANY, "n_active_experts", 348, "at most 0", "1", [(348, U32, 1)]),
    ("experts have a width", EXPERTS, "expert_hidden_dim", 352, "at least 1", "0", [(352, U32, 0)]),
    (
        "the width of experts is below 2^31",
        *(EXPERTS, "expert_hidden_dim", 352, "at most 2147483647", "2147483648", [(352, U32, 2**31)]),
    ),
    ("no width without experts", MANY, "expert_hidden_dim", 352, "at most 0", "1", [(352, U32, 1)]),
    ("experts_normalized is 0 or 1", EXPERTS, "experts_normalized", 356, "at most 1", "2", [(356, U32, 2)]),
    ("nothing is normalized without experts", MANY, "experts_normalized", 356, "at most 0", "1", [(356, U32, 1)]),
    (
        "experts have no biases",
        *(EXPERTS, "flags", 40, "no bit 3 (experts have no biases), at most 7", "8", [(40, U32, 8)]),
    ),
    ("experts in every layer have its width", EXPERTS, "hidden_dim", 12, "exactly 20", "36", [(12, U32, 36)]),
    ("a layer with experts has a known RoPE", EXPERTS, "layer", 512, "at most 13", "14", [(512, U32, 14)]),
    ("a layer beside experts has a known RoPE", BESIDE, "RoPE of a layer", 516, "at most 2", "3", [(516, U32, 6)]),
    ("no more bits beside experts", EXPERTS, "layer", 512, "at most 13", "26", [(512, U32, 26)]),
    ("a layer with experts has their tensors", BESIDE, "tensor count", 152, "exactly 69", "56", [(516, U32, 10)]),
    *(
        (f"layer {i} is known", MANY, "layer", 512 + 4 * i, "at most 5", "6", [(512 + 4 * i, U32, 6)])
        for i in range(3)
    ),
    ("a layer has no more bits", MANY, "layer", 516, "at most 5", str(2**31 + 1), [(516, U32, 2**31 + 1)]),
    *(
        (f"byte {at} behind the layers is kept", MANY, "layer table padding", at, "exactly 0", "1", [(at, "B", 1)])
        for at in (LAYERS_END, 575)
    ),
    (
        "a tokenizer is bounded",
        MANY,
        "tokenizer size",
        192,
        f"at most {2**26}",
        str(2**26 + 64),
        [(192, U64, 2**26 + 64)],
    ),
    (
        "a tokenizer is below 2^63",
        MANY,
        "tokenizer size",
        192,
        f"at most {2**26}",
        str(-64),
        [(192, U64, 2**64 - 64)],
    ),
    ("a tokenizer fills blocks", MANY, "tokenizer size", 192, "a multiple of 64", "32", [(192, U64, 32)]),
    ("a tokenizer is part of the head", MANY, "head size", 136, "exactly 8768", "8704", [(192, U64, 64)]),
    *((f"byte {at} is kept", MANY, "header padding", at, "exactly 0", "1", [(at, "B", 1)]) for at in (200, 255)),
]


def healthy(path: Path, model: Arch, tokenizer: bytes = b"") -> bytes:
    write(path, model, random_weights(model), tokenizer=tokenizer)
    return path.read_bytes()


def test_there_is_a_file_for_every_rule() -> None:
    assert len({rule for rule, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("model", "field", "offset", "expected", "found", "changes"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_each_broken_rule_is_refused_for_its_field(
    tmp_path: Path,
    model: Arch,
    field: str,
    offset: int,
    expected: str,
    found: str,
    changes: list[tuple[int, str, float]],
) -> None:
    path = tmp_path / "broken.bin"
    content = healthy(path, model)
    reader_c.open(path).close()
    path.write_bytes(patched(content, *changes))
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.open(path)
    assert (refused.value.field, refused.value.offset) == (field, offset)
    assert (refused.value.expected, refused.value.found) == (expected, found)


@pytest.mark.parametrize("model", [MANY, replace(BESIDE, rotary_dim=6, experts_normalized=True)])
def test_every_field_is_read_as_it_was_written(tmp_path: Path, model: Arch) -> None:
    path = tmp_path / "model.bin"
    healthy(path, model)
    with reader_c.open(path) as opened:
        read = opened.config
    own = {f.name for f in fields(model)} - {"layers", "plain", "tied", "gate", "scaling"}
    assert {name: getattr(read, name) for name in own} == {name: getattr(model, name) for name in own}
    assert read.layers == tuple(
        reader_c.Layer(windowed, rope, model.mixed(layer)) for layer, (windowed, rope) in enumerate(model.kinds)
    )


@pytest.mark.parametrize(("value", "place"), list(enumerate(("before", "after", "both"))))
@pytest.mark.parametrize(("number", "norm"), list(enumerate(("none", "head", "whole"))))
@pytest.mark.parametrize("biases", [False, True])
def test_the_tensors_follow_from_the_switches(
    tmp_path: Path, value: int, place: str, number: int, norm: str, biases: bool
) -> None:
    own = Arch(norm_place=place, qk_norm=norm, qkv_bias=biases, wo_bias=biases, mlp_bias=biases, head_dim=10)
    path = tmp_path / "model.bin"
    stored = write(path, own, random_weights(own))
    assert struct.unpack_from("<IxxxxI", path.read_bytes(), 256) == (value, number)
    with reader_c.open(path, check_digests=True) as model:
        assert (model.config.norm_place, model.config.qk_norm) == (place, norm)
        assert model.names == tuple(shapes(own))
        for name, values in stored.items():
            assert model.tensor(name).shape == shapes(own)[name]
            assert model.tensor(name).tobytes() == values.tobytes()
        for missing in ("attention_norm.weight", "attention_post_norm.weight", "attention.q_norm.weight"):
            assert (f"layers.0.{missing}" in model) == (f"layers.0.{missing}" in shapes(own))


def test_layers_are_asked_by_number(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    healthy(path, MANY)
    kind = ffi.new("rc_layer *")
    with reader_c.open(path) as model:
        pointer = model._open_pointer()
        assert [lib.rc_model_layer(pointer, layer, kind) for layer in (-1, 0, 2, 3)] == [0, 1, 1, 0]
        assert lib.rc_model_layer(pointer, 0, kind)
        assert (kind.windowed, kind.rope) == (1, lib.RC_SECOND_ROPE)


@pytest.mark.parametrize("layers", [1, 15, 16, 17])
def test_the_layer_table_ends_at_a_multiple_of_64(tmp_path: Path, layers: int) -> None:
    kinds = tuple((layer % 2 == 0, ("first", "none", "second")[layer % 3]) for layer in range(layers))
    local = 50.0 if layers > 2 else 0.0
    own = replace(LLAMA, n_layers=layers, window=3, local_theta=local, layers=kinds)
    path = tmp_path / "model.bin"
    content = healthy(path, own)
    at = 512 + -(-layers // 16) * 64
    assert content[at : at + 14] == b"tok_embeddings"
    with reader_c.open(path, check_digests=True) as model:
        assert tuple((layer.windowed, layer.rope) for layer in model.config.layers) == kinds


@pytest.mark.parametrize("size", [0, 64, 64 * 33])
def test_a_tokenizer_block_lies_behind_the_metadata(tmp_path: Path, size: int) -> None:
    block = bytes(range(256)) * 10
    path = tmp_path / "model.bin"
    write(path, LLAMA, random_weights(LLAMA), tokenizer=block[:size], metadata={"a": "b"})
    with reader_c.open(path, check_digests=True) as model:
        raw = lib.rc_model_config(model._open_pointer())
        assert (raw.tokenizer_at, raw.tokenizer_size) == (raw.metadata_at + raw.metadata_size, size)
        assert bytes(model.content[raw.tokenizer_at : raw.tokenizer_at + size]) == block[:size]
        assert model.metadata == {"a": "b"}


def test_the_models_digest_covers_the_switches_and_not_the_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    one, other = healthy(path, MANY), healthy(path, MANY, tokenizer=bytes(64))
    assert one[160:192] == other[160:192]
    assert healthy(path, replace(MANY, window=6))[160:192] != one[160:192]
    swapped = bytearray(one)
    swapped[160:192] = healthy(path, LLAMA)[160:192]
    path.write_bytes(resigned_head(bytes(swapped)))
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.open(path)
    assert (refused.value.field, refused.value.offset) == ("model digest", 160)


def resigned_head(content: bytes) -> bytes:
    """Only the head's digest made to fit."""
    digest = content[160:192]
    fitting = bytearray(signed(content))
    fitting[160:192] = digest
    from blake3 import blake3

    (size,) = struct.unpack_from(U64, content, 136)
    fitting[size - 32 : size] = blake3(bytes(fitting[: size - 32])).digest()
    return bytes(fitting)


@pytest.mark.parametrize("size", [256, 300, 511, 512, 513, 575, 576])
def test_a_file_cut_within_its_tables_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.bin"
    content = healthy(path, MANY)
    path.write_bytes(content[:size])
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.open(path)
    assert (refused.value.field, refused.value.expected) == ("file size", f"exactly {len(content)}")
    # and where the header says that it is so short
    path.write_bytes(content[:128] + struct.pack("<QQ", size, size) + content[144:size])
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.open(path)
    assert refused.value.field == ("file size" if size < 512 else "head size")
    if size < 512:
        assert (refused.value.expected, refused.value.found) == ("at least 512", str(size))


def test_v0_to_v2_are_llamas(tmp_path: Path) -> None:
    from helpers.models import toy_file

    path = tmp_path / "llama.bin"
    healthy(path, replace(LLAMA, rotary_dim=8, scaling=Scaling()))
    with reader_c.open(path) as model:
        llama = model.config
    for format_name in ("v0", "v1", "v1-fp32", "v2"):
        with reader_c.open(toy_file(tmp_path, format_name)) as model:
            read = model.config
        assert read.layers == (reader_c.Layer(windowed=False, rope="first"),) * read.n_layers
        assert read.rotary_dim == read.head_dim
        alike = ("norm_place", "norm_plus_one", "qk_norm", "window", *REALS)
        assert {name: getattr(read, name) for name in alike} == {name: getattr(llama, name) for name in alike}


def refused(path: Path) -> tuple[str, int | None, str, str]:
    with pytest.raises(reader_c.InvalidFileError) as caught:
        reader_c.open(path)
    return caught.value.field, caught.value.offset, caught.value.expected, caught.value.found


def test_a_model_has_experts_where_a_layer_has_them(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    healthy(path, replace(EXPERTS, plain=(0, 1, 2)))
    assert refused(path) == ("n_experts", 344, "exactly 0", "5")


def test_a_file_that_claims_more_layers_than_it_has_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = bytearray(healthy(path, EXPERTS))
    head, table = struct.unpack_from(U64, content, 136)[0], 512 + 4 * 2**20
    struct.pack_into("<i", content, 16, 2**20)
    path.write_bytes(content)
    assert refused(path) == ("file size", None, f"at least {table}", str(len(content)))
    longer = content + bytes(table)
    struct.pack_into(U64, longer, 128, len(longer))
    path.write_bytes(longer)
    assert refused(path) == ("head size", 136, f"at least {table}", str(head))


def test_a_router_is_not_quantized(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = healthy(path, EXPERTS)
    at = EXPERTS.table_at + 192 * list(shapes(EXPERTS)).index("layers.1.feed_forward.router.weight")
    path.write_bytes(patched(content, (at + 68, U32, 8), (at + 104, U32, 4)))
    assert refused(path) == ("storage of a router", at + 68, "at most 3", "8")


@pytest.mark.parametrize("matrix", ["w1", "w2", "w3"])
def test_experts_of_a_layer_are_stored_alike(tmp_path: Path, matrix: str) -> None:
    path = tmp_path / "model.bin"
    name = f"layers.2.feed_forward.experts.3.{matrix}.weight"
    at = EXPERTS.table_at + 192 * list(shapes(EXPERTS)).index(name)
    weights = random_weights(EXPERTS)
    write(path, EXPERTS, weights, lambda own: ("bf16" if own == name else "fp16", 0))
    assert refused(path) == ("storage of an expert", at + 68, "as expert 0 has, 2", "3")
    write(path, EXPERTS, weights, lambda own: ("q8_0", 2 if own == name else 4))
    assert refused(path) == ("group_size of an expert", at + 104, "as expert 0 has, 4", "2")
    alike = {"w1": ("q8_0", 4), "w2": ("bf16", 0), "w3": ("q8_0", 2)}
    write(path, EXPERTS, weights, lambda own: alike.get(own.split(".")[-2], ("fp32", 0)))
    reader_c.open(path).close()


@pytest.mark.parametrize("model", [EXPERTS, BESIDE, replace(EXPERTS, plain=(0, 2), hidden_dim=36, n_experts=12)])
def test_every_tensor_of_every_expert_is_found(tmp_path: Path, model: Arch) -> None:
    path = tmp_path / "model.bin"
    stored = write(path, model, random_weights(model))
    with reader_c.open(path, check_digests=True) as opened:
        assert opened.names == tuple(shapes(model))
        for name, values in stored.items():
            assert opened.tensor(name).tobytes() == values.tobytes()
        for missing in (
            f"layers.1.feed_forward.experts.{model.n_experts}.w1.weight",
            "layers.3.feed_forward.experts.0.w1.weight",
            "layers.1.feed_forward.experts.00.w1.weight",
            "layers.1.feed_forward.experts.0.w1.bias",
            "layers.1.feed_forward.experts.0.router.weight",
        ):
            assert missing not in opened
        assert ("layers.1.feed_forward.w1.weight" in opened) == (1 in model.plain)
        with pytest.raises(reader_c.UnknownTensorError, match=r"layers.2.feed_forward.(experts.1.)?w2.weight"):
            opened.tensor("layers.2.feed_forward.experts.1.w2.wait")
