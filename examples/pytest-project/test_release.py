"""What we export is what we have: our own checkpoint, and any other."""

from hypothesis import given, settings

from verify.demo import CHECKPOINT
from verify.testing import assert_roundtrip, checkpoints


def test_our_checkpoint_survives_quantization() -> None:
    assert assert_roundtrip(CHECKPOINT, format="v2", group_size=32).metrics.kl_mean < 0.01


@settings(deadline=None)
@given(checkpoints())
def test_any_model_survives_export(checkpoint) -> None:
    assert_roundtrip(checkpoint, format="v3")
