"""A signal ends what listened to it, and nothing after that."""

from __future__ import annotations

import signal

import pytest

from verify.system.signals import Interrupted, heed, listening, postponed


def test_a_signal_is_heard_once() -> None:
    with pytest.raises(Interrupted) as stopped, listening():
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 128 + signal.SIGTERM
    with listening(), postponed():
        heed()


def test_one_that_got_lost_is_raised_at_the_end() -> None:
    done = []
    with pytest.raises(Interrupted), listening():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted:
            done.append("what a destructor would drop")
    assert done
    heed()


def test_steps_that_belong_together_are_all_done() -> None:
    done = []
    with pytest.raises(Interrupted), listening(), postponed():
        signal.raise_signal(signal.SIGTERM)
        done.append("the step after it")
    assert done
