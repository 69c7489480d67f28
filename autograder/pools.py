"""Where orders are done: worker processes of this machine, or a Dask cluster (see `cluster`), both as executors.

`outcomes` hands out as many orders at once as keep all workers busy, so that memory does not grow with their number.
An order that ends its worker twice is set aside, and the others go on.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from itertools import islice
from multiprocessing import forkserver
from typing import Protocol

import psutil

from autograder import template, worker
from autograder.errors import CourseError

AHEAD = 2  # orders for each worker: one that it does, and one that waits for it
FORKSERVER = "multiprocessing.forkserver"  # in the command line of the process that workers are forked from
PRELOADED = ["autograder.worker", "torch"]  # by the process that worker processes are forked from

Outcome = bytes | Exception


class Poison(Exception):
    """An order that ended every worker that it was given to; the message says so."""


POISON = Poison("It ended every worker that it was given to, and was set aside.")


class Pool(Protocol):
    """Workers that can be had again after they were lost."""

    size: int

    def open(self, size: int | None = None) -> Executor:
        """Returns an executor, of `size` workers where that can be chosen."""
        ...

    def close(self) -> None:
        """Ends all workers, at work or not."""
        ...


class Local:
    """Worker processes of this machine, which share one template."""

    def __init__(self, size: int, warm: bool) -> None:
        """Begins to start them; nothing is waited for."""
        self.size = size
        self._template = template.start() if warm else None
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()

    def open(self, size: int | None = None) -> Executor:
        address = self._template.address if self._template else ""
        return ProcessPoolExecutor(size or self.size, self._context, worker.begin, (address,))

    def problem(self) -> str:
        """Waits for the template, and returns why notebooks are not started from it, "" where they are."""
        try:
            if self._template:
                self._template.wait()
            return ""
        except CourseError as error:
            self._template = None
            return str(error)

    def close(self) -> None:
        """Ends the workers, also in the midst of an order: their sandboxes end with them."""
        for server in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if any(FORKSERVER in word for word in server.cmdline()):
                    for process in server.children():
                        process.kill()
        if self._template:
            self._template.close()


def outcomes(orders: Iterable[tuple[str, Callable[[], bytes]]], pool: Pool) -> Iterator[tuple[str, Outcome]]:
    """Yields the outcome of each order by its key, in the order in which they are done.

    An order is made when a worker is nearly free for it. What a worker raised is an outcome; so is Poison.
    """
    waiting = iter(orders)
    try:
        while lost := (yield from _until_broken(waiting, pool)):
            for key, order in lost.items():
                yield key, _alone(order, pool)
    except BaseException:  # an interrupt, say: nobody waits for what is under way
        pool.close()
        raise


def _until_broken(
    waiting: Iterator[tuple[str, Callable[[], bytes]]], pool: Pool
) -> Generator[tuple[str, Outcome], None, dict[str, bytes]]:
    """Yields outcomes; returns what was under way when a worker was lost, {} at the end of all orders."""
    under_way: dict[Future[bytes], tuple[str, bytes]] = {}
    lost: dict[str, bytes] = {}
    executor = pool.open()
    while not lost:
        for key, make in islice(waiting, max(0, AHEAD * pool.size - len(under_way))):
            order = make()
            try:
                under_way[executor.submit(worker.grade, order)] = (key, order)
            except BrokenExecutor:
                lost[key] = order
                break
        if not under_way:
            break
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            key, order = under_way.pop(future)
            outcome = _outcome(future)
            if isinstance(outcome, BrokenExecutor):
                lost[key] = order
            else:
                yield key, outcome
    for future, (key, order) in under_way.items() if lost else ():
        outcome = _outcome(future)  # it is there already, or fails as the others did
        if isinstance(outcome, BrokenExecutor):
            lost[key] = order
        else:
            yield key, outcome
    executor.shutdown()
    return lost


def _alone(order: bytes, pool: Pool) -> Outcome:
    """Returns the outcome of an order that was under way when a worker was lost, done by a worker of its own."""
    with pool.open(1) as executor:
        outcome = _outcome(executor.submit(worker.grade, order))
    if isinstance(outcome, BrokenExecutor):
        pool.open(1).shutdown()  # raises where it is the pool that was lost
        return POISON
    return outcome


def _outcome(future: Future[bytes]) -> Outcome:
    try:
        return future.result()
    except Exception as error:
        return error
