"""What a worker does, on this machine or another: an order in bytes comes in, a result in bytes goes out.

The same order may be done twice, by the same worker or by two: both results are right.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autograder import graded, jobs, sandbox, template
from autograder.errors import CourseError
from autograder.jobs import Job
from autograder.template import Connection

_template: list[str] = []  # the address of the template that all workers of this machine share


def order(job: Job, seed: int, hidden: Sequence[Path], warm: bool) -> bytes:
    """Returns the order to grade `job` on draws of `seed`, with no sight of `hidden`, from a template if `warm`."""
    how = {"seed": seed, "hidden": [str(path) for path in hidden], "warm": warm, "engine": jobs.engine()}
    return json.dumps(how).encode() + b"\n" + jobs.packed(job)


def grade(order: bytes) -> bytes:
    """Returns the packed result of an order. Raises CourseError where this worker can grade nobody."""
    said, _, rest = order.partition(b"\n")
    how = json.loads(said)
    if how["engine"] != jobs.engine():
        raise CourseError(
            "This worker has other versions than the grader (autograder, Python, NumPy, or torch): install the same."
        )
    job = jobs.unpacked(rest)
    refusal = None if job.kit.unsafe else sandbox.refusal()
    if refusal:
        raise CourseError(refusal)
    forked, why = _forked() if how["warm"] and not job.kit.unsafe else (None, "")
    result = graded.run(job, how["seed"], [Path(path) for path in how["hidden"]], forked)
    return replace(result, cold_because=why or result.cold_because).packed()


def begin(address: str) -> None:
    """Makes a process of a pool a worker that forks the template at `address`, "" for one of its own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader stops its workers
    _template[:] = [address] if address else []
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_after, args=(parent.join,), daemon=True).start()


def _end_after(wait: Callable[[], object]) -> None:
    wait()
    os._exit(1)  # nobody waits for this work any more; the sandbox ends with its worker


def _forked() -> tuple[Connection | None, str]:
    """Returns the way to a template, or None and the reason why there is none."""
    try:
        return _connection(), ""
    except CourseError as error:
        return None, str(error)


def _connection() -> Connection:
    if not _template:
        return template.shared()
    if not _connections:
        _connections.append(Connection(_template[0]))
    return _connections[0]


_connections: list[Connection] = []
