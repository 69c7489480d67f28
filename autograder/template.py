"""The grader's side of a process that has imported everything and is forked for each submission (see `preloaded`)."""

import atexit
import contextlib
import functools
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder import wire
from autograder.errors import CourseError
from autograder.plain import Plain

READY = 120.0  # seconds until everything is imported, on a cold machine
FORKED = 20.0
LINE = 300
MESSAGE = 2**16  # bytes


class Template:
    """One such process, and the address at which workers of this machine reach it.

    It ends with `close`, or when the process that made it is gone; what was forked from it goes on.
    """

    def __init__(self, environment: Mapping[str, str], fonts: Sequence[Path]) -> None:
        """Starts it, and does not wait: `wait` does."""
        self._cleanup = contextlib.ExitStack()
        try:
            self._start(environment, fonts)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Template":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> "Template":
        """Waits until it can be forked, and returns it. Raises CourseError, and ends it, where it cannot."""
        try:
            problem = _answer(self._held, READY).get("problem")
        except (OSError, EOFError, wire.BadFrame) as error:
            self._said.seek(0)
            lines = self._said.read().decode("utf-8", "replace").splitlines() or [str(error)]
            problem = lines[-1][:LINE]
        if problem:
            self.close()
            raise CourseError(f"No process with all packages can be kept ready ({problem}).")
        return self

    def close(self) -> None:
        """Ends it."""
        self._cleanup.close()

    def _start(self, environment: Mapping[str, str], fonts: Sequence[Path]) -> None:
        # the same name inside, where /tmp is another one: matplotlib remembers its folder
        folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="packages-", dir="/tmp")))
        for path in fonts:
            shutil.copyfile(path, folder / path.name)
        self.address = str(folder / "orders")
        self._held, theirs = socket.socketpair()
        self._cleanup.callback(self._held.close)
        said = self._said = self._cleanup.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            fds = [theirs.fileno(), listener.fileno()]
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "autograder.preloaded", *map(str, fds), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=dict(environment),
                cwd="/",
                pass_fds=fds,
                start_new_session=True,
            )
        self._cleanup.callback(self._end)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


class Connection:
    """A way to a template, to which several processes may each have one."""

    def __init__(self, address: str) -> None:
        """Raises CourseError where nobody listens."""
        self._lock = threading.Lock()
        self._orders = socket.socket(socket.AF_UNIX)
        try:
            self._orders.connect(address)
        except OSError as error:
            self._orders.close()
            raise CourseError(f"The process with all packages does not answer ({error}).") from error

    def close(self) -> None:
        self._orders.close()

    def fork(self, fds: Sequence[int], limits: Mapping[str, float], user: int, work: str) -> int:
        """Forks the template into walls; returns the number of the process inside, or raises CourseError.

        `fds` are those of a process within the walls, of the keeper's and the notebook's sockets, and of the output;
        `user` is whom it becomes where root grades, else 0; `work` is its working folder.
        """
        most: dict[str, Plain] = {name: float(value) for name, value in limits.items()}
        order: Plain = {"limits": most, "user": user, "work": work}
        with self._lock:
            try:
                socket.send_fds(self._orders, [b"."], list(fds))
                wire.send(self._orders.fileno(), order)
                answer = _answer(self._orders, FORKED)
            except (OSError, EOFError, wire.BadFrame) as error:
                raise CourseError(f"The process with all packages does not answer ({error}).") from error
        inside = answer.get("inside")
        if type(inside) is not int:
            raise CourseError(f"The walls of the sandbox cannot be entered ({answer.get('failed')}).")
        return inside


@functools.cache
def shared() -> Connection:
    """Returns a way to this process's own template, made the first time; it ends with this process."""
    made = start().wait()
    atexit.register(made.close)
    return Connection(made.address)


def start() -> Template:
    """Returns a new template for sandboxes, which is not ready yet."""
    from autograder import sandbox

    return Template(sandbox.environment(), sandbox.font_lists())


def _answer(end: socket.socket, seconds: float) -> Mapping[str, Any]:
    end.settimeout(seconds)
    try:
        (length,) = wire.SIZE.unpack(_exactly(end, wire.SIZE.size))
        said = wire.message(_exactly(end, min(length, MESSAGE)))
    finally:
        end.settimeout(None)
    return said if isinstance(said, dict) else {}


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            raise EOFError("it has ended")
        data += piece
    return data
