"""Batches of a verdict on many processes, on one machine or many, by Ray.

A worker opens the job once, from storage that all machines share. Ray restarts a worker that dies, and its batch is
judged again: batches are pure, and each is merged once, in its place.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from types import ModuleType
from typing import Any

from verify.checks.storage import HonestCost
from verify.errors import CannotJudgeError
from verify.run.compared_windows import ComparedWindow
from verify.run.traced_windows import Traced
from verify.run.worker import Job, Task, Worker
from verify.system.optional_imports import one_line
from verify.system.stderr import silent

LOCAL = "local"
# Within which a machine answers if it is there at all.
_SECONDS = 5


def check(address: str) -> None:
    """Raise CannotJudgeError if Ray is not installed or nobody listens at the address. Ray itself would wait for
    minutes."""
    _ray(address)
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise CannotJudgeError(f"cluster {address}: expected Ray there, found no HOST:PORT, local or auto")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise CannotJudgeError(f"cluster {address}: expected Ray there, found: {one_line(error)}") from error


class _Actor:
    """A Worker in a process of its own, on any machine."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @cached_property
    def _worker(self) -> Worker:
        """Opened by the first batch: Ray reports why a batch failed, but not why a worker could not start."""
        return self._job.open()

    def compare(self, numbers: list[int]) -> tuple[ComparedWindow, ...]:
        (found,) = self._worker.compare([numbers])
        return found

    def trace(self, *task: Any) -> Traced:
        self._worker.done_with_logits()
        (found,) = self._worker.trace([task])
        return found

    def price(self, numbers: list[int]) -> HonestCost:
        self._worker.done_with_logits()
        (found,) = self._worker.price([numbers])
        return found


class Cluster:
    """The workers of a Ray cluster, as a context manager.

    address: "local" starts Ray here; otherwise the address of a running cluster. Raises CannotJudgeError if Ray is
    not installed or does not answer at the address.
    """

    def __init__(self, address: str, workers: int | None, job: Job) -> None:
        self._ray = _ray(address)
        count = workers or (len(os.sched_getaffinity(0)) if address == LOCAL else None)
        try:
            with _own_sigterm():
                self._ray.init(
                    address=None if address == LOCAL else address,
                    num_cpus=count if address == LOCAL else None,
                    include_dashboard=False if address == LOCAL else None,
                    log_to_driver=False,
                    configure_logging=False,
                )
            count = count or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise CannotJudgeError(f"cluster {address}: expected Ray there, found: {one_line(error)}") from error
        # a worker that dies comes back, and so does its task
        worker = self._ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Actor)
        self._workers = [worker.remote(job) for _ in range(count)]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Ray's log lines about an interrupted run would appear beside our own one line
        with silent() if kind else nullcontext():
            self._ray.shutdown()

    def compare(self, batches: Sequence[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """Compare windows as Worker does, in the batches' order."""
        yield from self._map([("compare", (batch,)) for batch in batches])

    def trace(self, tasks: Iterable[Task]) -> Iterator[Traced]:
        """Trace windows as Worker does, in the tasks' order."""
        yield from self._map([("trace", task) for task in tasks])

    def price(self, batches: Iterable[list[int]]) -> Iterator[HonestCost]:
        """Compute what storage costs as Worker does, in the batches' order."""
        yield from self._map([("price", (batch,)) for batch in batches])

    def done_with_logits(self) -> None:
        """Nothing to do: each worker knows by itself."""

    def _map(self, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[Any]:
        """Give each call to the next idle worker; yield the results in the calls' order."""
        waiting = list(enumerate(calls))
        idle = list(self._workers)
        busy: dict[Any, tuple[int, Any]] = {}
        done: dict[int, Any] = {}
        expected = 0
        while waiting or busy:
            while waiting and idle:
                number, (method, arguments) = waiting.pop(0)
                worker = idle.pop(0)
                busy[getattr(worker, method).remote(*arguments)] = (number, worker)
            (ready, *_), _rest = self._ray.wait(list(busy), num_returns=1)
            number, worker = busy.pop(ready)
            done[number] = self._result(ready)
            idle.append(worker)
            while expected in done:
                yield done.pop(expected)
                expected += 1

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, CannotJudgeError):
                raise cause from error
            raise CannotJudgeError(f"cluster: expected a batch's evidence, found: {one_line(error)}") from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM after the block: Ray's own ends the process with status 1, which means that a
    file was judged and failed."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _ray(address: str) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # no other machine can reach it
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise CannotJudgeError(
            "ray: required for --cluster and could not be imported: pip install 'export-and-verify[cluster]'"
        ) from error
