"""Models of v3 by name, each with one switch, and at random with any of them together."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from helpers.arch_files import Arch, Scaling

LLAMA = Arch()
ALTERNATE = ((True, "first"), (False, "first"), (True, "first"))
YARN = Scaling("yarn", 16, 4.0, beta_fast=32.0, beta_slow=1.0, attention_factor=1.1386, truncate=True)
LONGROPE = Scaling("longrope", 400, attention_factor=1.25, short_factors=(1.0, 2.5))

# Everything at once; and the other choice of what excludes each other, with heads of whole vectors.
TOGETHER = Arch(
    head_dim=10,
    tied=True,
    qkv_bias=True,
    wo_bias=True,
    mlp_bias=True,
    norm_place="both",
    norm_plus_one=True,
    qk_norm="head",
    rotary_dim=6,
    window=5,
    query_scale_positions=7,
    embedding_scale=3.0,
    score_scale=0.4,
    residual_scale=0.5,
    logit_divisor=2.0,
    score_cap=2.0,
    logit_cap=3.0,
    query_scale_beta=0.125,
    local_theta=100.0,
    layers=((True, "second"), (False, "first"), (True, "none")),
)
EXPERTS = Arch(hidden_dim=20, n_experts=5, n_active_experts=2, expert_hidden_dim=20)
MODELS = {
    "llama": LLAMA,
    "1 + w": Arch(norm_plus_one=True),
    "norms after": Arch(norm_place="after"),
    "norms on both sides": Arch(norm_place="both"),
    "a norm for each head": Arch(qk_norm="head"),
    "a norm over all heads": Arch(qk_norm="whole"),
    "half a head rotated": Arch(rotary_dim=4),
    "half a head rotated by yarn": Arch(rotary_dim=4, scaling=YARN),
    "two thirds of a head rotated by yarn": Arch(
        head_dim=24, rotary_dim=16, scaling=replace(YARN, original_max_positions=4096)
    ),
    "two thirds of a head rotated by yarn, beyond the last index": Arch(
        head_dim=24,
        rotary_dim=16,
        scaling=replace(YARN, original_max_positions=10**9, beta_fast=1e7, truncate=False),
    ),
    "half a head rotated by longrope": Arch(rotary_dim=4, scaling=LONGROPE),
    "no RoPE": Arch(layers=((False, "none"),) * 3),
    "a second RoPE": Arch(local_theta=50.0, layers=((False, "second"), (False, "first"), (False, "none"))),
    "a second RoPE beside yarn": Arch(
        local_theta=50.0, scaling=YARN, layers=((False, "second"), (False, "first"), (False, "second"))
    ),
    "a query scale": Arch(query_scale_beta=0.3, query_scale_positions=7),
    "a window": Arch(window=5, layers=ALTERNATE),
    "a window of one": Arch(window=1, layers=ALTERNATE),
    "a window longer than the sequence": Arch(window=399, layers=ALTERNATE),
    "an embedding scale": Arch(embedding_scale=3.3),
    "a score scale": Arch(score_scale=0.7),
    "a residual scale": Arch(residual_scale=0.3),
    "a logit divisor": Arch(logit_divisor=3.0),
    "a score cap": Arch(score_cap=1.5),
    "a logit cap": Arch(logit_cap=2.0),
    "experts": EXPERTS,
    "experts whose shares sum to 1": replace(EXPERTS, experts_normalized=True),
    "every expert": replace(EXPERTS, n_active_experts=5),
    "one expert of two, beside plain layers": Arch(
        n_experts=2, n_active_experts=1, expert_hidden_dim=20, plain=(0, 2)
    ),
    "all together": TOGETHER,
    "all together, otherwise": replace(
        TOGETHER, head_dim=16, rotary_dim=16, qk_norm="whole", norm_place="after", gate="gelu_tanh", tied=False
    ),
    "all together, with experts": replace(
        TOGETHER,
        mlp_bias=False,
        n_experts=7,
        n_active_experts=3,
        expert_hidden_dim=20,
        experts_normalized=True,
        plain=(1,),
    ),
}


def _or(none: float, *others: float) -> st.SearchStrategy[float]:
    return st.sampled_from((none, none, *others))


def _longropes(pairs: int) -> st.SearchStrategy[Scaling]:
    factors = st.tuples(*[st.sampled_from((1.0, 1.25, 3.5, 40.0))] * pairs)
    return factors.map(lambda drawn: replace(LONGROPE, short_factors=drawn))


@st.composite
def architectures(draw: st.DrawFn, *, gates: tuple[str, ...] = ("silu", "gelu", "gelu_tanh")) -> Arch:
    """Small models with any switches."""
    n_layers = draw(st.integers(1, 3))
    n_kv_heads = draw(st.integers(1, 2))
    head_dim = draw(st.sampled_from((2, 6, 8, 16, 18)))
    kinds = st.tuples(st.booleans(), st.sampled_from(("first", "second", "none")))
    layers = tuple(draw(kinds) for _ in range(n_layers))
    beta = draw(_or(0.0, 0.1, 1.0))
    plain = tuple(layer for layer in range(n_layers) if draw(st.booleans()))
    n_experts = draw(st.sampled_from((0, 2, 5, 17))) if len(plain) < n_layers else 0
    expert_hidden_dim = draw(st.integers(1, 20)) if n_experts else 0
    hidden_dim = expert_hidden_dim if n_experts and not plain else draw(st.integers(1, 20))
    rotary_dim = 2 * draw(st.integers(1, head_dim // 2))
    return Arch(
        dim=draw(st.sampled_from((4, 12, 20, 32))),
        hidden_dim=hidden_dim,
        n_layers=n_layers,
        n_heads=n_kv_heads * draw(st.integers(1, 3)),
        n_kv_heads=n_kv_heads,
        vocab_size=draw(st.integers(2, 40)),
        head_dim=head_dim,
        tied=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        wo_bias=draw(st.booleans()),
        mlp_bias=not n_experts and draw(st.booleans()),
        gate=draw(st.sampled_from(gates)),
        norm_eps=draw(st.sampled_from((1e-5, 1e-6, 0.01))),
        rope_theta=draw(st.sampled_from((10000.0, 500000.0))),
        norm_place=draw(st.sampled_from(("before", "after", "both"))),
        norm_plus_one=draw(st.booleans()),
        qk_norm=draw(st.sampled_from(("none", "head", "whole"))),
        scaling=draw(st.just(Scaling()) | _longropes(rotary_dim // 2)),
        rotary_dim=rotary_dim,
        window=draw(st.integers(1, 24)) if any(windowed for windowed, _ in layers) else 0,
        query_scale_positions=draw(st.integers(1, 9)) if beta else 0,
        embedding_scale=draw(_or(1.0, 4.0, 33.94)),
        score_scale=draw(_or(0.0, 0.5, 0.0883)),
        residual_scale=draw(_or(1.0, 0.22, 2.0)),
        logit_divisor=draw(_or(1.0, 8.0, 0.7)),
        score_cap=draw(_or(0.0, 1.0, 50.0)),
        logit_cap=draw(_or(0.0, 2.0, 30.0)),
        query_scale_beta=beta,
        local_theta=draw(st.sampled_from((10.0, 10000.0))) if any(rope == "second" for _, rope in layers) else 0.0,
        n_experts=n_experts,
        n_active_experts=draw(st.integers(1, n_experts)) if n_experts else 0,
        expert_hidden_dim=expert_hidden_dim,
        experts_normalized=bool(n_experts) and draw(st.booleans()),
        layers=layers,
        plain=plain if n_experts else (),
    )
