"""Mistakes of an engine in numpy, which shares no code with the reference, get their own names or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import toy_general as general
from helpers import toy_mistakes as toys
from helpers.models import arrays, config, hyperparameters
from helpers.toy_engine import Healthy

import exporter
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma

pytestmark = pytest.mark.usefixtures("remembered_references")

# heads of 12, of which all together are as wide as dim, and an epsilon that counts
MODEL = config(
    dim=48, hidden_dim=40, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=37, max_seq_len=40, norm_eps=1e-2
)
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
TOKENS = np.random.default_rng(5).integers(0, MODEL.vocab_size, 24)


@dataclass(frozen=True)
class Scene:
    """A file for engines, with the right logits and their sigma."""

    file: Path
    right: np.ndarray
    sigma: np.ndarray

    def hint(self, engine: type[Healthy]) -> Hint | None:
        found = engine(self.file).logits(TOKENS)
        return find_hint(Seen(TOKENS, found, self.right, self.sigma, 10.0), HYPER, WEIGHTS.__getitem__, 0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    file = tmp_path_factory.mktemp("toys") / "file.bin"
    exporter.export(exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL)), file, format="v3")
    tokens = torch.from_numpy(TOKENS)[None]
    right = llama.logits(HYPER, WEIGHTS.__getitem__, tokens).numpy()[0]
    return Scene(file, right, logit_sigma(HYPER, WEIGHTS.__getitem__, tokens, seed=0).numpy()[0])


@pytest.mark.parametrize(
    ("engine", "name", "text"),
    [
        (toys.KeysBackwards, "rope-backwards", "rotates keys in the opposite direction"),
        (toys.CosineAndSineExchanged, "rope-backwards", "queries and keys in the opposite direction, or exchanges"),
        (toys.TurnedTwice, "rope-frequencies", "2 times as large, as if RoPE were applied twice"),
        (toys.OverAllHeads, "rope-frequencies", "from the element's place among all heads over dim"),
        (toys.OverDim, "rope-frequencies", "with 2i / dim in the exponent"),
        (toys.APairFurther, "rope-frequencies", "one pair too far"),
        (toys.EvenlySpaced, "rope-frequencies", "evenly spaced"),
        (toys.HalfTheHead, "rope-partial", "with the frequencies of the whole head"),
        (toys.OneCache, "shared-cache", "has one cache of keys and values for all layers"),
        (toys.OneCacheOfValues, "shared-cache", "has one cache of values for all layers"),
        (toys.TwoLayersShare, "shared-cache", "one cache of keys and values for each two layers"),
        (toys.W2Transposed, "transposed", "multiplies by feed_forward.w2.weight transposed"),
        (toys.SigmoidOfMinus, "activation", "computes x * sigmoid(-x) instead of silu"),
        (toys.FirstLayersCache, "shared-cache", "the keys and values of layer 0"),
        (toys.FirstPositionMissing, "first-position", "omits position 0"),
        (toys.Unfilled, "unfilled-places", "all 40 places"),
        (toys.ElementsFirst, "heads-layout", "the first elements of all heads"),
        (toys.WithoutWo, "wo-missing", "does not multiply"),
        (toys.EpsilonOutside, "norm-formula", "divides by sqrt(mean of squares) + epsilon"),
        (toys.SumOfSquares, "norm-formula", "the root of the sum of squares"),
        (toys.MeanNorm, "norm-formula", "divides by the mean of magnitudes"),
        (toys.OfLastFfnNorm, "other-tensor", "layers.2.ffn_norm.weight instead of norm.weight"),
        (toys.FirstLayersNorm, "other-layer", "attention_norm.weight of layer 0 instead of each layer's own"),
        (toys.NormsSwapped, "other-tensor", "the weights of ffn_norm and attention_norm instead of those of"),
        (toys.PreviousToken, "tokens-late", "the token before"),
        (toys.Parallel, "parallel-feed-forward", "through its own norm"),
        (toys.ParallelOfOneNorm, "parallel-feed-forward", "through attention's norm"),
        (toys.ParallelInOneLayer, "parallel-feed-forward", "through its own norm, in layer 1 alone"),
        (toys.NormedResidual, "normed-residual", "to its normed input"),
        (toys.AttentionAlone, "residual", "omits the stream before attention of every layer"),
        (toys.LastFeedForwardMissing, "half-missing", "omits the feed forward of layer 2"),
        (toys.NoUp, "gate-and-up", "does not multiply the activation by up"),
        (toys.OffByOne, "softmax-off-by-one", "adds 1 to the denominator of attention's softmax"),
        (toys.OffByOneOfLargest, "softmax-off-by-one", "after it subtracted the largest score"),
        (toys.SecondSign, "rope-signs", "to (x cos - y sin, x sin - y cos)"),
        (toys.ExponentDoubled, "rope-frequencies", "with 4i / head_dim in the exponent"),
        (toys.Int8Cache, "cache-narrowed", "rounds keys and values to int8 with a scale for each head"),
        (toys.HardSwish, "activation", "computes hard-swish instead of silu"),
        (toys.BosBefore, "token-before", "puts token 1 before the sequence"),
        (toys.Penalised, "repetition-penalty", "logits of tokens that have been by 1.3"),
        (toys.BranchesHalved, "residual-scaled", "multiplies by 0.5 what each half adds"),
        (toys.NoNormBeforeFfn, "norm-before-missing", "the norm before the feed forward"),
        (general.WeightsBeforeTheNorm, "norm-whole", "before the root mean square is taken"),
        (general.SecondSumFromTheStart, "wrong-sum", "to the stream before the layer instead of the stream after"),
        (general.LastHeadMissing, "part-missing", "zeros for head 3 of what attention mixed"),
        (general.QueriesNormed, "head-norm", "divides each head of queries by its root mean square, which"),
        (general.Base2, "attending", "with base 2 instead of e"),
        (general.NeverRescaled, "attending", "in blocks of 1 keys, without rescaling earlier mixes"),
        (
            general.HeadsBackwardsInLayer1,
            "elements-order",
            "what attention mixed in another order: the heads backwards",
        ),
        (general.TokensModuloHalf, "tokens-read", "each token's number modulo half of the vocabulary"),
        (general.LogitsCut, "logits-constant", "gives 0 as the logit of tokens 30-36"),
        (
            general.FeedForwardOfLayer2Scaled,
            "stage-scaled",
            "feed forward (w2) by 0.7, in layer 2 alone",
        ),
        (general.StreamInBfloat16, "stage-narrowed", "rounds the residual stream to bf16"),
    ],
)
def test_a_mistake_gets_its_name(scene: Scene, engine: type[Healthy], name: str, text: str) -> None:
    found = scene.hint(engine)
    assert found is not None
    assert (found.mistake.name, text in found.sentence) == (name, True), found


@pytest.mark.parametrize(
    "engine",
    [
        Healthy,
        toys.HalfATurnMore,
        general.HalfNormed,
        general.TwoHeadsSwappedAndScaled,
        toys.HalfTheEpsilonOutside,
        toys.MixedNorm,
        toys.OffByHalf,
        toys.TwoBefore,
    ],
)
def test_a_healthy_engine_and_neighbours_of_mistakes_get_no_name(scene: Scene, engine: type[Healthy]) -> None:
    assert scene.hint(engine) is None
