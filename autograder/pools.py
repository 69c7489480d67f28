"""Where orders are done: worker processes of this machine, or a Dask cluster. Both are `concurrent.futures` executors.

`outcomes` hands out as many orders at once as keep all workers busy, so that memory does not grow with their number.
An order that ends its worker twice is set aside, and the others go on.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Protocol

import psutil

from autograder import template, worker
from autograder.errors import CourseError

AHEAD = 2  # orders for each worker: one that it does, and one that waits for it
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
        self.size = size
        self.cold_because = ""
        self._template = None
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        if warm:
            try:
                self._template = template.start()
            except CourseError as error:
                self.cold_because = str(error)

    def open(self, size: int | None = None) -> Executor:
        address = self._template.address if self._template else ""
        return ProcessPoolExecutor(size or self.size, self._context, worker.begin, (address,))

    def close(self) -> None:
        """Ends the workers, also in the midst of an order: their sandboxes end with them."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("multiprocessing" in word for word in process.cmdline()):
                    process.kill()
        if self._template:
            self._template.close()


class Cluster:
    """The workers of a Dask cluster, reached through its scheduler with TLS."""

    cold_because = ""

    def __init__(self, address: str, ca_file: str, cert: str, key: str) -> None:
        """Raises CourseError where the scheduler cannot be reached, or not safely."""
        try:
            from distributed import Client
            from distributed.security import Security
        except ModuleNotFoundError as error:
            raise CourseError("Dask is not installed: pip install 'autograder[cluster]'.") from error
        if not address.startswith("tls://"):
            raise CourseError(f"{address} is not encrypted: start the scheduler with TLS, and name it as tls://….")
        if not (ca_file and cert and key):
            raise CourseError("A cluster is reached with --tls-ca-file, --tls-cert and --tls-key, as its workers have.")
        try:
            security = Security(tls_ca_file=ca_file, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
            self._client = Client(address, security=security, timeout=30)
        except (OSError, TimeoutError, ValueError) as error:
            raise CourseError(f"The scheduler {address} cannot be reached ({error}).") from error
        self.size = max(1, sum(self._client.nthreads().values()))

    def open(self, size: int | None = None) -> Executor:
        return self._client.get_executor(pure=False)

    def close(self) -> None:
        self._client.close()


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
        for key, make in islice(waiting, AHEAD * pool.size - len(under_way)):
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
    return POISON if isinstance(outcome, BrokenExecutor) else outcome


def _outcome(future: Future[bytes]) -> Outcome:
    try:
        return future.result()
    except Exception as error:
        return POISON if type(error).__name__ == "KilledWorker" else error  # Dask's, after several attempts
