"""List every known mistake of an engine that its logits can tell, each as the reference that has it.

hint_search.py computes each reference and compares its logits with the engine's; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import ROPE_THETA
from verify.engine.hint_attention import of_cache, of_heads, of_scores
from verify.engine.hint_blocks import of_blocks
from verify.engine.hint_cache import of_shared_caches, of_unwritten, of_wrapped
from verify.engine.hint_experts import of_experts
from verify.engine.hint_frequencies import of_frequencies
from verify.engine.hint_gates import of_gates
from verify.engine.hint_layers import of_layers
from verify.engine.hint_norms import of_norms
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_renamed import of_renamed
from verify.engine.hint_rope import of_rope
from verify.engine.hint_softmax import of_softmax
from verify.engine.hint_switches import of_switches
from verify.engine.hint_weights import of_omitted_inputs, of_weights
from verify.sources import Hyperparameters, RopeScaling

# Ids of BOS tokens: of SentencePiece models, GPT-2, Llama 3 and Qwen.
_BEGINNINGS = (1, 0, 2, 50256, 128000, 151643)
NO_TOKENS = torch.empty(0, dtype=torch.int64)


def mistaken_references(
    hyper: Hyperparameters,
    load: Load,
    group_size: int,
    tokens: torch.Tensor = NO_TOKENS,
    first: int = 0,
) -> Iterator[MistakenReference]:
    """Yield every known mistake that shows in this model.

    group_size: of its Q8_0 tensors, 0 if it has none. tokens: of the window; first: the first position whose logits
    are wrong.
    """
    yield from of_switches(hyper, load)
    yield from of_experts(hyper, load)
    yield from _of_hyperparameters(hyper, load)
    yield from of_gates(hyper, load)
    yield from of_rope(hyper, load, first)
    yield from of_heads(hyper, load)
    yield from of_scores(hyper, load)
    # one missing position is a softmax over too few, before a cache is blamed
    yield from of_softmax(hyper, load, len(tokens))
    yield from of_cache(hyper, load, first)
    yield from of_wrapped(hyper, load, first)
    yield from of_norms(hyper, load)
    yield from of_weights(hyper, load, tokens, first)
    for token in _BEGINNINGS:
        if token < hyper.vocab_size:
            sentence = m.TOKEN_BEFORE.of_engine(token=token)
            yield MistakenReference(m.TOKEN_BEFORE, sentence, hyper, load, before=token)
    yield from of_omitted_inputs(hyper, load, group_size)
    yield from of_layers(hyper, load)
    yield from of_blocks(hyper, load)
    yield from of_renamed(hyper, load)
    yield from of_frequencies(hyper, load)
    yield from of_unwritten(hyper, load)
    yield from of_shared_caches(hyper, load, first)


def _of_hyperparameters(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    for theta in ROPE_THETA.numbers:
        if theta != hyper.rope_theta:
            sentence = ROPE_THETA.of_engine(found=theta, expected=hyper.rope_theta)
            yield MistakenReference(ROPE_THETA, sentence, replace(hyper, rope_theta=theta), load)
    if hyper.rope_scaling.type != "none":
        sentence = m.ROPE_SCALING_IGNORED.of_engine(scaling=hyper.rope_scaling.type)
        yield MistakenReference(m.ROPE_SCALING_IGNORED, sentence, replace(hyper, rope_scaling=RopeScaling()), load)
    for eps in m.NORM_EPS.numbers:
        if eps != hyper.norm_eps:
            sentence = m.NORM_EPS.of_engine(found=eps, expected=hyper.norm_eps)
            yield MistakenReference(m.NORM_EPS, sentence, replace(hyper, norm_eps=eps), load)
    unbiased = replace(hyper, qkv_bias=False, wo_bias=False, mlp_bias=False)
    if unbiased != hyper:
        yield MistakenReference(m.BIAS_DROPPED, m.BIAS_DROPPED.of_engine(what="the biases"), unbiased, load)
    if not hyper.tied:
        tied = replace(hyper, tied=True)
        yield MistakenReference(m.TIED_CLASSIFIER, m.TIED_CLASSIFIER.of_engine(), tied, load)
