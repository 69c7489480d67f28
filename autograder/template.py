"""The grader's side of a process that has imported everything and is forked for each submission (see `preloaded`)."""

import atexit
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder import preloaded, wire
from autograder.data import DIRECTORY_VARIABLE
from autograder.errors import CourseError
from autograder.plain import Plain

READY = 120.0  # seconds until everything is imported, on a cold machine
FORKED = 20.0
LINE = 300
MESSAGE = 2**16  # bytes
LOADER = 7  # AT_BASE of getauxval: where the program lies in memory that loaded this one


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
                [*starting(sys.executable), "-s", "-P", "-m", "autograder.preloaded", *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=dict(environment),
                cwd="/",
                pass_fds=fds,
                start_new_session=True,
            )
        self._cleanup.callback(self._end)
        with contextlib.suppress(OSError):  # it has ended: `wait` says why
            wire.send(self._held.fileno(), {"folder": str(folder)})

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


class Connection:
    """A way to a template, to which several processes may each have one."""

    def __init__(self, address: str) -> None:
        """Raises CourseError where nobody listens."""
        self._lock = threading.Lock()
        self._address = address
        self._open()

    def close(self) -> None:
        self._orders.close()

    def _open(self) -> None:
        self._orders = socket.socket(socket.AF_UNIX)
        try:
            self._orders.connect(self._address)
        except OSError as error:
            self.close()
            raise CourseError(f"The process with all packages does not answer ({error}).") from error

    def fork(self, fds: Sequence[int], limits: Mapping[str, float], user: int, work: str) -> int:
        """Forks the template into walls; returns the number of the process inside, or raises CourseError.

        `fds` are those of a process within the walls, of the keeper's and the notebook's sockets, and of the output;
        `user` is whom it becomes where root grades, else 0; `work` is its working folder.
        """
        most: dict[str, Plain] = {name: float(value) for name, value in limits.items()}
        order: Plain = {"limits": most, "user": user, "work": work}
        with self._lock:
            if self._orders.fileno() < 0:
                self._open()
            try:
                socket.send_fds(self._orders, [b"."], list(fds))
                wire.send(self._orders.fileno(), order)
                answer = _answer(self._orders, FORKED)
            except (OSError, EOFError, wire.BadFrame) as error:
                self.close()  # what comes too late must not be taken for the answer to the next order
                raise CourseError(f"The process with all packages does not answer ({error}).") from error
        inside = answer.get("inside")
        if type(inside) is not int:
            raise CourseError(f"The walls of the sandbox cannot be entered ({answer.get('failed')}).")
        return inside


def shared() -> Connection:
    """Returns a way to this process's own template, made where none lives; it ends with this process.

    Raises CourseError where none can be made, which is tried once.
    """
    with _making:
        if _refused:
            raise CourseError(_refused[0])
        if not _own or _own[0][0].process.poll() is not None:
            try:
                made = start().wait()
            except CourseError as error:
                _refused.append(str(error))
                raise
            atexit.register(made.close)
            _own[:] = [(made, Connection(made.address))]
        return _own[0][1]


_own: list[tuple[Template, Connection]] = []
_refused: list[str] = []
_making = threading.Lock()


def start() -> Template:
    """Returns a new template for sandboxes, which is not ready yet."""
    from autograder import sandbox

    inside = {DIRECTORY_VARIABLE: sandbox.DATA, "PWD": sandbox.WORK}  # which bubblewrap sets where it starts a program
    return Template({**sandbox.environment(), **inside}, sandbox.font_lists())


def starting(program: str) -> list[str]:
    """Returns the command that starts a program of which a process is seen inside.

    There, /proc/…/exe is the file that the process was started from, as it is without the walls around it. Where a
    submission could change that file, it is the system's loader that is started, and loads the program.
    """
    file = Path(program).resolve()
    loader = _loader() if preloaded.may_be_changed(file) else ""
    return [loader, "--argv0", program, str(file)] if loader else [program]


def _loader() -> str:
    """Returns what loaded this program into memory, "" where nothing did."""
    auxiliary = ctypes.CDLL(None).getauxval
    auxiliary.argtypes, auxiliary.restype = [ctypes.c_ulong], ctypes.c_ulong
    at = auxiliary(LOADER)
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    files = [words[5] for words in lines if len(words) == 6 and int(words[0].split("-")[0], 16) == at]
    return files[0] if files and os.access(files[0], os.X_OK) else ""


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
