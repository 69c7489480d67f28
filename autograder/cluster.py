"""A Dask cluster as the place where orders are done, reached through its scheduler with TLS: bytes in, bytes out."""

import asyncio
import contextlib
import json
import logging
import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from importlib import import_module
from operator import methodcaller
from pkgutil import resolve_name
from typing import Any

from autograder import jobs, sandbox
from autograder.errors import CourseError
from autograder.pools import Outcome

CONNECTION = 10.0  # seconds that a scheduler may take to answer
PATIENCE = 30.0  # seconds without any worker: where one has died, Dask starts it again in a few
GLANCE = 1.0
GONE = "does not answer any more: what was done is kept; run again"
RESULT, FAILED, REFUSED = b"+", b"-", b"!"  # an answer begins with one of them; REFUSED: this worker grades nobody
DASKS_LOGGERS = ("distributed", "distributed.client", "tornado.application", "asyncio")  # a sentence says it instead


class Cluster(Executor):
    """The workers of a Dask cluster, reached through its scheduler with TLS. Orders and answers are bytes.

    What a worker leaves undone when it dies, Dask has another one do. When the cluster itself is lost, or a worker
    can grade nobody, all that is under way fails as with a broken executor, and `open` says why.
    """

    def __init__(self, address: str, ca_file: str, cert: str, key: str) -> None:
        """Raises CourseError where the scheduler cannot be reached, or not safely, or has no workers."""
        self._address = address
        self._client = _client(address, ca_file, cert, key)
        self._problem = ""
        self._under_way: set[Future[bytes]] = set()  # used by the client's thread alone
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise CourseError(f"The scheduler {address} has no workers: start some, then run again.") from error
            raise
        self.size = max(1, self._client.scheduler_info()["total_threads"])
        self._client.loop.add_callback(self._watch)

    def open(self, size: int | None = None) -> Executor:
        """Returns itself; `shutdown` has nothing to do. Raises CourseError where the cluster was lost."""
        if self._problem:
            raise CourseError(self._problem)
        return self

    def close(self) -> None:
        """Has Dask drop what waits. What a worker is doing ends by its own limits, and nobody takes its result."""
        with contextlib.suppress(TimeoutError):  # of a scheduler that is gone
            self._client.close()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Returns the future result of an order. Raises CourseError for one that wants no sandbox."""
        from distributed.client import ClosedClientError
        from toolz import compose

        (order,) = args
        if jobs.unpacked(order.partition(b"\n")[2]).kit.unsafe:
            raise CourseError("The workers of a cluster grade in sandboxes only: leave out --unsafe.")
        name = f"{fn.__module__}:{fn.__qualname__}"
        # names and bytes alone, which any worker can read: Dask ends one that cannot read what it is sent
        call = compose(methodcaller(_answer.__name__, name, order), import_module)
        future: Future[bytes] = Future()
        try:
            task = self._client.submit(call, __name__, pure=False)
            self._client.loop.add_callback(self._follow, task, future)
        except ClosedClientError:
            _settle(future, self._lost(GONE))
        return future

    async def _follow(self, task: Any, future: Future[bytes]) -> None:
        """Passes the outcome of Dask's task on, and has the cluster forget it."""
        self._under_way.add(future)
        try:
            _settle(future, await self._outcome(task))
        finally:
            self._under_way.discard(future)
            task.release()

    async def _outcome(self, task: Any) -> Outcome:
        from distributed.scheduler import KilledWorker

        try:
            answer = await task
        except KilledWorker as error:
            return BrokenExecutor(str(error))
        except CancelledError:
            return self._lost(GONE)
        except Exception as error:
            return self._lost(f"cannot do what it is asked ({_reason(error)}): install the same packages there as here")
        kind, said = answer[:1], answer[1:]
        if kind == REFUSED:
            self._problem = self._problem or said.decode()
            return BrokenExecutor(said.decode())
        return bytes(said) if kind == RESULT else CourseError(said.decode())

    async def _watch(self) -> None:
        """Counts the workers' threads, and gives up when there were none for a while: Dask would wait for ever."""
        seen = time.monotonic()
        while True:
            if threads := self._client.scheduler_info().get("total_threads"):
                self.size, seen = threads, time.monotonic()
            elif time.monotonic() - seen > PATIENCE:
                self._lost("has no workers any more: what was done is kept; start some, then run again")
            for future in self._under_way if self._problem else ():
                _settle(future, BrokenExecutor(self._problem))
            await asyncio.sleep(GLANCE)

    def _lost(self, reason: str) -> BrokenExecutor:
        self._problem = self._problem or f"The cluster {self._address} {reason}."
        return BrokenExecutor(self._problem)


def _client(address: str, ca_file: str, cert: str, key: str) -> Any:
    """Returns Dask's client, which prints nothing. Raises CourseError where there can be none."""
    try:
        import dask
        from distributed import Client
        from distributed.security import Security
    except ModuleNotFoundError as error:
        raise CourseError("Dask is not installed: pip install 'autograder[cluster]'.") from error
    _must_be_safe(address, ca_file, cert, key)
    for name in DASKS_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})  # a submission may be large
    security = Security(tls_ca_file=ca_file, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
    try:
        security.get_connection_args("client")
    except OSError as error:
        raise CourseError(
            f"{ca_file}, {cert} and {key} are no certificates and key for a cluster ({_reason(error)})."
        ) from error
    # without `deserializers`, results may be pickles
    options = {"timeout": CONNECTION, "deserializers": ["msgpack"], "direct_to_workers": False, "set_as_default": False}
    try:
        return Client(address, security=security, **options)
    except (OSError, ImportError) as error:
        raise CourseError(
            f"The scheduler {address} cannot be reached with these certificates ({_reason(error)})."
        ) from error


def _must_be_safe(address: str, ca_file: str, cert: str, key: str) -> None:
    """Raises CourseError unless a scheduler with TLS is named, and files that can be read."""
    if not address.startswith("tls://"):
        raise CourseError(f"{address} is not encrypted: start the scheduler with TLS, and name it as tls://….")
    if not re.fullmatch(r"tls://[^/]+:[0-9]+", address):
        raise CourseError(f"{address} is no scheduler's address: name it as tls://HOST:PORT.")
    if not (ca_file and cert and key):
        raise CourseError("A cluster is reached with --tls-ca-file, --tls-cert and --tls-key, as its workers have.")
    for file in (ca_file, cert, key):
        if not os.access(file, os.R_OK):
            raise CourseError(f"{file} cannot be read: name the file that the cluster was set up with.")


def _reason(error: BaseException) -> str:
    """Returns the first line of the last cause of an error that says something."""
    said = type(error).__name__
    cause: BaseException | None = error
    while cause:
        said = getattr(cause, "strerror", None) or str(cause) or said
        cause = cause.__cause__ or cause.__context__
    return said.splitlines()[0].rstrip(".")


def _settle(future: Future[bytes], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _answer(name: str, order: bytes) -> bytes:
    """Returns, on a worker, what the function `name` returns for an order, or a sentence that says why it does not."""
    try:
        return bytes(RESULT + resolve_name(name)(order))
    except Exception as error:
        sentence = str(error) or type(error).__name__
        wanted = json.loads(order.partition(b"\n")[0])["engine"]
        if wanted == jobs.engine() and not sandbox.problem():
            return FAILED + sentence.encode()
        return REFUSED + f"{platform.node()}, a worker of the cluster: {sentence}".encode()
