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

from autograder import wire
from autograder.errors import CourseError
from autograder.plain import Plain

READY = 120.0  # seconds until everything is imported, on a cold machine
FORKED = 20.0
LINE = 300


class Template:
    """One such process. It ends with `close`, or when the process that made it is gone."""

    def __init__(self, environment: Mapping[str, str], fonts: Sequence[Path]) -> None:
        """Starts it and waits until it can be forked. Raises CourseError where it cannot."""
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()
        try:
            self._start(environment, fonts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends it; what was forked from it goes on."""
        self._cleanup.close()

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def fork(self, fds: Sequence[int], limits: Mapping[str, float], user: int, work: str) -> int:
        """Forks it into walls; returns the number of the process inside, or raises CourseError.

        `fds` are those of a process within the walls, of the keeper's and the notebook's sockets, and of the output;
        `user` is whom it becomes where root grades, else 0; `work` is its working folder.
        """
        most: dict[str, Plain] = {name: float(value) for name, value in limits.items()}
        order: Plain = {"limits": most, "user": user, "work": work}
        with self._lock:
            try:
                socket.send_fds(self._orders, [b"."], list(fds))
                wire.send(self._orders.fileno(), order)
                answer = self._answer(FORKED)
            except (OSError, EOFError, wire.BadFrame) as error:
                raise CourseError(f"The process with all packages does not answer ({error}).") from error
        inside = answer.get("inside")
        if type(inside) is not int:
            raise CourseError(f"The walls of the sandbox cannot be entered ({answer.get('failed')}).")
        return inside

    def _start(self, environment: Mapping[str, str], fonts: Sequence[Path]) -> None:
        # the same name inside, where /tmp is another one: matplotlib remembers its folder
        folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="packages-", dir="/tmp")))
        for path in fonts:
            shutil.copyfile(path, folder / path.name)
        self._orders, theirs = socket.socketpair()
        self._cleanup.callback(self._orders.close)
        said = self._cleanup.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        with theirs:
            program = [sys.executable, "-s", "-P", "-m", "autograder.preloaded", str(theirs.fileno()), str(folder)]
            self._process = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=dict(environment),
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._cleanup.callback(self._end)
        try:
            problem = self._answer(READY).get("problem")
        except (OSError, EOFError, wire.BadFrame) as error:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").splitlines() or [str(error)]
            problem = lines[-1][:LINE]
        if problem:
            raise CourseError(f"No process with all packages can be kept ready: {problem}.")

    def _answer(self, seconds: float) -> Mapping[str, object]:
        self._orders.settimeout(seconds)
        try:
            size = _exactly(self._orders, wire.SIZE.size)
            (length,) = wire.SIZE.unpack(size)
            said = wire.message(_exactly(self._orders, min(length, 2**16)))
        finally:
            self._orders.settimeout(None)
        return said if isinstance(said, dict) else {}

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            raise EOFError("it has ended")
        data += piece
    return data


@functools.cache
def shared() -> Template:
    """Returns this process's template, made the first time; it ends with this process."""
    from autograder import sandbox

    made = Template(sandbox.environment(), sandbox.font_lists())
    atexit.register(made.close)
    return made
