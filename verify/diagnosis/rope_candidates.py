"""Propose mistakes with RoPE: with its table of cosines and sines, its positions, its pairs."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.candidate import Candidate, with_hyper
from verify.diagnosis.mistakes import ROPE_THETA
from verify.diagnosis.stage import Stage
from verify.operations.recompute import Recompute
from verify.sources import RopeScaling

_TABLES = ("cosine", "sine")


def _has_tables(recompute: Recompute, stage: Stage) -> bool:
    """Return whether the stage recorded tables of as many pairs as the model rotates."""
    return all(name in stage.at and stage.at[name].shape[-1] == recompute.hyper.rotated // 2 for name in _TABLES)


def of_tables(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other values of theta, and a missing scaling."""
    if operation not in _TABLES or not _has_tables(recompute, stage):
        return
    second = stage.layer is not None and recompute.hyper.layer(stage.layer).rope == "second"
    field = "local_theta" if second else "rope_theta"
    expected = getattr(recompute.hyper, field)
    for theta in (*ROPE_THETA.numbers, *_fitted_theta(recompute, stage)):
        if theta != expected:
            sentence = ROPE_THETA.of_engine(found=theta, expected=expected)
            yield Candidate(ROPE_THETA, sentence, stage, with_hyper(recompute, **{field: theta}))
    scaling = recompute.hyper.rope_scaling.type
    if scaling != "none" and not second:
        sentence = m.ROPE_SCALING_IGNORED.of_engine(scaling=scaling)
        yield Candidate(m.ROPE_SCALING_IGNORED, sentence, stage, with_hyper(recompute, rope_scaling=RopeScaling()))


def _fitted_theta(recompute: Recompute, stage: Stage) -> Iterator[float]:
    """Compute theta from the angles of the second position, which are the frequencies themselves."""
    half = recompute.hyper.rotated // 2
    if stage.at["cosine"].shape[1] < 2 or half < 2:
        return
    cosine, sine = (stage.at[name][0, 1, 1:].double() for name in _TABLES)
    angle = torch.atan2(sine, cosine)
    if (angle > 0).all():
        exponent = torch.arange(1, half, dtype=torch.float64) / half
        found = float((-angle.log() / exponent).median().exp())
        if 1 < found < 1e12:
            yield float(f"{found:.3g}")


def of_positions(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose a table that is one position early or late."""
    if operation not in _TABLES or not _has_tables(recompute, stage) or stage.at["cosine"].shape[1] < 2:
        return
    exact = {found.operation: found.exact.float() for found in stage.judge(recompute) if found.operation in _TABLES}
    for by, side in ((1, "after"), (-1, "before")):
        moved = {}
        for name in _TABLES:
            moved[name] = stage.at[name].roll(by, 1)
            edge = 0 if by > 0 else -1
            moved[name][:, edge] = exact[name][:, edge]
        sentence = m.ROPE_POSITION.of_engine(what="each row of its table", side=side)
        yield Candidate(m.ROPE_POSITION, sentence, stage.with_recorded(**moved), recompute)


def of_rotations(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other pairs, the opposite direction, no rotation, and the angles of another position."""
    if not operation.endswith("_rotated") or not _has_tables(recompute, stage) or operation not in stage.at:
        return
    name, at = operation[0], stage.at

    def in_pairs(values: torch.Tensor) -> torch.Tensor:
        heads = values.unflatten(-1, (-1, recompute.hyper.head_dim))
        moving, staying = heads[..., : recompute.hyper.rotated], heads[..., recompute.hyper.rotated :]
        turned = moving.unflatten(-1, (2, -1)).mT.flatten(-2)
        return torch.cat((turned, staying), dim=-1).flatten(-2)

    read = f"{name}_normed" if f"{name}_normed" in at else name
    paired = {key: in_pairs(at[key]) for key in (read, operation)}
    yield Candidate(m.ROPE_HALF_SPLIT, m.ROPE_HALF_SPLIT.of_engine(), stage.with_recorded(**paired), recompute)
    backwards = stage.with_recorded(sine=-at["sine"])
    yield Candidate(m.ROPE_BACKWARDS, m.ROPE_BACKWARDS.of_engine(what="them"), backwards, recompute)
    still = stage.with_recorded(cosine=torch.ones_like(at["cosine"]), sine=torch.zeros_like(at["sine"]))
    yield Candidate(m.ROPE_MISSING, m.ROPE_MISSING.of_engine(what=name), still, recompute)
    for by, side in ((-1, "after"), (1, "before")):
        moved = {key: at[key].roll(by, 1) for key in _TABLES}
        sentence = m.ROPE_POSITION.of_engine(what=name, side=side)
        yield Candidate(m.ROPE_POSITION, sentence, stage.with_recorded(**moved), recompute)
