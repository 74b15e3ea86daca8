"""Parts of a verdict on many processes, on one machine or many, by Ray.

A worker opens the job once, from storage that all machines share. One that dies is started again, by Ray, and the
part that it was at is done again: parts are pure, and each is merged once, by its place.
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

from verify.errors import CannotJudgeError
from verify.run.traced_windows import Proven
from verify.run.worker import ComparedWindow, Job, Parts, Task
from verify.system.optional_imports import one_line
from verify.system.stderr import silent

LOCAL = "local"
# To be answered by a machine at all.
_SECONDS = 5


def check(address: str) -> None:
    """Before anything is computed: raise CannotJudgeError where Ray is not installed, or nobody listens at the
    address. Ray itself would wait for minutes."""
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


class _Worker:
    """In a process of its own, on whatever machine."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @cached_property
    def _parts(self) -> Parts:
        """Opened by the first part: what Ray tells of a part that fails names the reason, of a worker it does not."""
        return self._job.open()

    def compare(self, numbers: list[int]) -> tuple[ComparedWindow, ...]:
        (found,) = self._parts.compare([numbers])
        return found

    def prove(self, *task: Any) -> Proven:
        self._parts.done_with_source()
        (found,) = self._parts.prove([task])
        return found


class Cluster:
    """address: "local" to start Ray here, or that of one that runs. A context manager. Raises CannotJudgeError where
    there is no Ray, or none at the address."""

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
        worker = self._ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Worker)
        self._workers = [worker.remote(job) for _ in range(count)]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # what Ray's core thinks of a run that was interrupted would stand beside our own one line, or none
        with silent() if kind else nullcontext():
            self._ray.shutdown()

    def compare(self, batches: Sequence[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """As Parts does it, in the batches' order."""
        yield from self._map([("compare", (batch,)) for batch in batches])

    def prove(self, tasks: Iterable[Task]) -> Iterator[Proven]:
        """Likewise, in the tasks' order."""
        yield from self._map([("prove", task) for task in tasks])

    def done_with_source(self) -> None:
        """Each worker knows by itself."""

    def _map(self, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[Any]:
        """Each call by the next worker that has nothing to do."""
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
            raise CannotJudgeError(f"cluster: expected a part's evidence, found: {one_line(error)}") from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """What SIGTERM did before the block it does after it: Ray would end the process with status 1, which says that a
    file was judged."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _ray(address: str) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # nobody else has a way to it
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise CannotJudgeError(
            "ray: wanted for --cluster, found none that imports: pip install export-and-verify[cluster]"
        ) from error
