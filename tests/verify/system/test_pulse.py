"""Pulses reach the listener of their own thread, and nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from verify.system.pulse import heard_by, pulse


def test_the_innermost_listener_hears_until_its_block_ends() -> None:
    outer, inner = list[float](), list[float]()
    pulse(1)
    with heard_by(outer.append):
        pulse(2)
        with heard_by(inner.append):
            pulse(3)
        pulse(4)
    pulse(5)
    assert (outer, inner) == ([2, 4], [3])


def test_another_thread_is_not_heard() -> None:
    heard = list[float]()
    with heard_by(heard.append), ThreadPoolExecutor(1) as pool:
        pool.submit(pulse, 1).result()
    assert heard == []
