"""A process that has imported what notebooks import, and is forked into a sandbox for each submission.

    template     imports, then waits for orders; no student's code ever runs in it
    doorkeeper   a child of it: enters the walls that bubblewrap has built, forks once more, waits for that end
    inside       gives up every right, takes on the filter of system calls and the limits, and goes on as
                 `confined` does where nothing was imported before

What is inside sees of the template only a copy of its memory, which holds Python, packages, and nothing of a course.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import io
import multiprocessing
import os
import platform
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autograder import confined, seccomp, wire

# none that does something beside: autograder.figures silences a logger, the notebooks' backend looks for the shell
PACKAGES = (
    *("IPython.core.interactiveshell", "autograder.running"),
    *("numpy", "torch", "torch.nn.functional", "torch.utils.data", "torch._dynamo"),
    *("matplotlib.pyplot", "matplotlib.animation", "IPython.core.pylabtools"),
    *("sklearn.datasets", "ipywidgets"),
    *("autograder.checking", "autograder.student", "autograder.data"),
)
AGAIN = ("matplotlib.pyplot", "matplotlib.animation")  # which matplotlib has not until somebody imports them
FONTS = "MPLCONFIGDIR"
CACHED = type(functools.cache(len))
FILES = Path("/proc/self/fd")
PROGRAM = Path("/proc/self/exe")
MEMORY = Path("/proc/self/statm")
DATA = 5  # the place of the pages of data among its numbers
DESCRIPTORS = 4  # of an order: the process whose walls to enter, the keeper's socket, the notebook's, the output

DESCRIPTORS_AT_MOST = 2**16

# linux/sched.h, linux/prctl.h, linux/capability.h, linux/seccomp.h, asm-generic/mman-common.h
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    *(0x00020000, 0x02000000, 0x04000000),
    *(0x08000000, 0x10000000, 0x20000000, 0x40000000),
)
SPACES = NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
DROP_BOUNDING, SET_SECCOMP, NO_NEW_RIGHTS, AMBIENT, CLEAR_ALL, FILTER = 24, 22, 38, 47, 4, 2
SET_NAME = 15
KEY = 32  # bytes, as multiprocessing has it
CAPABILITIES = 64
CAPABILITY_VERSION = 0x20080522
HUGE = 2**21  # bytes of a huge page
COLLAPSE = 25  # MADV_COLLAPSE


def main(arguments: list[str]) -> None:
    """Serves as a template until its owner is gone.

    The arguments are a socket that the owner holds the other end of, and a socket to listen at. The owner then says
    which folder can be written to: arguments can be read inside.
    """
    owner, listener = (socket.socket(fileno=int(number)) for number in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _c().prctl(SET_NAME, Path(sys.executable).name.encode(), 0, 0, 0)
    said: Any = wire.receive(owner.fileno())
    with _writing_to(said["folder"]), _later_streams():
        prepare()
    _forget()
    gc.collect()
    gc.freeze()
    _use_huge_pages()
    with contextlib.suppress(OSError):
        wire.send(owner.fileno(), {"problem": _problem({owner.fileno(), listener.fileno()})})
        _serve(owner, listener)
    shutil.rmtree(said["folder"], ignore_errors=True)  # an owner that was killed did not


def _serve(owner: socket.socket, listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    selector.register(owner, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            end: Any = key.fileobj
            if end is owner:
                return
            if end is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                _obey(end)
            except (EOFError, OSError, wire.BadFrame):
                selector.unregister(end)
                end.close()


@contextlib.contextmanager
def _writing_to(folder: str) -> Iterator[None]:
    """Has packages write to `folder` while they are imported; in the end the environment is what it was."""
    before = dict(os.environ)
    os.environ.update({FONTS: folder, "HOME": folder})
    yield
    os.environ.clear()
    os.environ.update(before)


@contextlib.contextmanager
def _later_streams() -> Iterator[None]:
    """Has packages that keep a standard stream, as loggers do, write to the notebook's as soon as there is one."""
    streams: Any = _Later("stdout"), _Later("stderr")
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        yield


class _Later:
    """A standard stream as it is when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._first = getattr(sys, name)

    def __getattr__(self, name: str) -> Any:
        stream = getattr(sys, self._name)
        return getattr(self._first if stream is self else stream, name)


def prepare() -> None:
    """Imports the packages, and does once what is slow the first time: matplotlib reads its fonts when it draws.

    Without pyplot, which would choose its backend here, where there is no shell.
    """
    for name in PACKAGES:
        with contextlib.suppress(ImportError):  # a course may do without
            importlib.import_module(name)

    if matplotlib := sys.modules.get("matplotlib.figure"):
        figure = matplotlib.Figure()
        figure.subplots().set_title("$x^2$")
        figure.savefig(io.BytesIO(), format="png")
        figure.savefig(io.BytesIO(), format="svg")


def _forget() -> None:
    """Forgets what is not so inside: the machine's name, its folders, matplotlib's fonts, which are open files."""
    vars(platform).update(_uname_cache=None, _platform_cache={})
    for name in AGAIN:
        if sys.modules.pop(name, None):
            delattr(sys.modules["matplotlib"], name.rpartition(".")[2])
    for kept in [thing for thing in gc.get_objects() if isinstance(thing, CACHED)]:
        if str(kept.__module__).startswith("matplotlib."):
            kept.cache_clear()
    if matplotlib := sys.modules.get("matplotlib"):
        for name in ("get_cachedir", "get_configdir"):
            setattr(matplotlib, name, functools.cache(getattr(matplotlib, name).__wrapped__))


def _use_huge_pages() -> None:
    """Puts the memory into huge pages where the kernel can: to fork takes a third of the time then."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_, file = f"{line} -".split(maxsplit=5)
        if "w" in rights and "p" in rights and file.split()[0] in ("-", "[heap]"):
            begin, end = (int(word, 16) for word in where.split("-"))
            begin, end = -(-begin // HUGE) * HUGE, end // HUGE * HUGE
            if end > begin:  # an older kernel answers with an error, and all stays as it was
                _c().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), COLLAPSE)


def _problem(known: set[int]) -> str:
    """Returns why this process cannot be forked, "" where it can; `known` are the descriptors that may be open."""
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return "a package that it imported started a thread"
    for path in FILES.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            if int(path.name) > 2 and int(path.name) not in known:  # it would be closed inside, or be seen there
                return f"a package that it imported keeps {path.readlink()} open"
    if may_be_changed(PROGRAM):  # of all files, the walls do not protect this one
        return f"a submission could change {PROGRAM.readlink()}, which belongs to you"
    return ""


def may_be_changed(path: Path) -> bool:
    """Returns whether a student's process may change a file: it has the rights of who grades, unless that is root."""
    return os.geteuid() != 0 and (path.stat().st_uid == os.geteuid() or os.access(path, os.W_OK))


def _obey(orders: socket.socket) -> None:
    """Forks for one order, and answers with the number of the process inside or with what went wrong."""
    mark, fds, _, _ = socket.recv_fds(orders, 1, DESCRIPTORS)
    try:
        if not mark:
            raise EOFError
        order: Any = wire.receive(orders.fileno())
        with contextlib.suppress(ChildProcessError):  # doorkeepers that have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not os.fork():
            confined.leave(lambda: _doorkeeper(orders, fds, order))
    finally:
        for fd in fds:
            os.close(fd)


def _doorkeeper(orders: socket.socket, fds: list[int], order: Any) -> None:
    try:
        _enter(fds[0], SPACES | (0 if order["user"] else NEW_USER))
        inside = os.fork()
        if not inside:
            confined.leave(lambda: _inside(fds, order))
    except OSError as error:
        wire.send(orders.fileno(), {"failed": str(error)})
        return
    wire.send(orders.fileno(), {"inside": inside})
    os.closerange(0, DESCRIPTORS_AT_MOST)  # the sockets end with the last process that holds them
    with contextlib.suppress(ChildProcessError):  # also of others: the namespace ends when the last has been waited for
        while True:
            os.wait()


def _enter(walls: int, spaces: int) -> None:
    """Enters the namespaces of the process `walls`; that of processes holds for children only."""
    _checked(_c().setns(walls, spaces))


def _inside(fds: list[int], order: Any) -> None:
    _, keeper, notebook, output = fds
    os.setsid()
    os.chdir(order["work"])
    for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(fd, number)
    kept = {keeper, notebook}
    for fd in [int(path.name) for path in FILES.iterdir()]:
        if fd > 2 and fd not in kept:
            with contextlib.suppress(OSError):
                os.close(fd)
    _give_up_rights(int(order["user"]))
    limits = {name: float(value) for name, value in order["limits"].items()}
    limits["memory"] += _own_data() / confined.ONE_PROCESS  # what is imported already takes no student's room
    confined.limit(limits)
    _begin_anew()
    confined.keep(socket.socket(fileno=keeper), socket.socket(fileno=notebook))


def _give_up_rights(user: int) -> None:
    """Gives up what bubblewrap takes from the programs that it starts; raises OSError where that fails."""
    c = _c()
    for capability in range(CAPABILITIES):
        if c.prctl(DROP_BOUNDING, capability, 0, 0, 0):
            break  # the kernel has no more of them
    c.prctl(AMBIENT, CLEAR_ALL, 0, 0, 0)
    if user:
        confined.become(user)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _checked(c.capset(header, (ctypes.c_uint32 * 6)()))
    _checked(c.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0))
    filtered = seccomp.program()
    if filtered is not None:
        _checked(c.prctl(SET_SECCOMP, FILTER, ctypes.byref(_Program.of(filtered)), 0, 0))


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))

    @classmethod
    def of(cls, program: bytes) -> "_Program":
        return cls(len(program) // seccomp.INSTRUCTION.size, program)


def _own_data() -> int:
    """Returns how many bytes of data this process has, as its limit counts them."""
    return int(MEMORY.read_text().split()[DATA]) * os.sysconf("SC_PAGE_SIZE")


def _begin_anew() -> None:
    """Makes this process what it would be if it had imported everything itself."""
    sys.argv = [str(confined.__file__)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for package in ("random", "numpy.random", "torch.random"):
        if module := sys.modules.get(package):
            module.seed()
    multiprocessing.current_process().authkey = os.urandom(KEY)
    assert threading.active_count() == 1


def _c() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
