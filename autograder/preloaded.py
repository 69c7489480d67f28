"""A process that has imported what notebooks import, and is forked into a sandbox for each submission.

    template     imports, then waits for orders; no student's code ever runs in it
    doorkeeper   a child of it: enters the walls that bubblewrap has built, forks once more, waits for that end
    inside       gives up every right, takes on the filter of system calls and the limits, and goes on as
                 `confined` does where nothing was imported before

What is inside sees of the template only a copy of its memory, which holds Python, packages, and nothing of a course.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import os
import random
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from autograder import confined, seccomp, wire

PACKAGES = (
    *("numpy", "torch", "torch.nn.functional", "torch.utils.data", "torch._dynamo"),
    *("matplotlib.pyplot", "matplotlib_inline.backend_inline", "matplotlib.animation"),
    *("sklearn.datasets", "ipywidgets", "IPython.core.interactiveshell"),
    *("autograder.running", "autograder.checking", "autograder.student", "autograder.figures", "autograder.data"),
)
FONTS = "MPLCONFIGDIR"
DESCRIPTORS = 4  # of an order: the process whose walls to enter, the keeper's socket, the notebook's, the output

DESCRIPTORS_AT_MOST = 2**16

# linux/sched.h, linux/prctl.h, linux/capability.h, linux/seccomp.h, asm-generic/mman-common.h
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    *(0x00020000, 0x02000000, 0x04000000),
    *(0x08000000, 0x10000000, 0x20000000, 0x40000000),
)
SPACES = NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
DROP_BOUNDING, SET_SECCOMP, NO_NEW_RIGHTS, AMBIENT, CLEAR_ALL, FILTER = 24, 22, 38, 47, 4, 2
CAPABILITIES = 64
CAPABILITY_VERSION = 0x20080522
HUGE = 2**21  # bytes of a huge page
COLLAPSE = 25  # MADV_COLLAPSE


def main(arguments: list[str]) -> None:
    """Serves as a template until its owner is gone.

    The arguments are a socket that the owner holds the other end of, a socket to listen at, and a folder to write to.
    """
    owner, listener = (socket.socket(fileno=int(number)) for number in arguments[:2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home = os.environ["HOME"]
    os.environ.update({FONTS: arguments[2], "HOME": arguments[2]})  # packages may write there while they are imported
    prepare()
    del os.environ[FONTS]
    os.environ["HOME"] = home
    gc.collect()
    gc.freeze()
    _use_huge_pages()
    with contextlib.suppress(OSError):
        wire.send(owner.fileno(), {"problem": _problem()})
        _serve(owner, listener)


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


def prepare() -> None:
    """Imports the packages, and does once what is slow the first time: matplotlib reads its fonts when it draws."""
    for name in PACKAGES:
        with contextlib.suppress(ImportError):  # a course may do without
            importlib.import_module(name)

    if pyplot := sys.modules.get("matplotlib.pyplot"):
        figure, ax = pyplot.subplots()
        ax.set_title("$x^2$")
        figure.savefig(io.BytesIO(), format="png")
        figure.savefig(io.BytesIO(), format="svg")
        pyplot.close(figure)


def _use_huge_pages() -> None:
    """Puts the memory into huge pages where the kernel can: to fork takes a third of the time then."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_, file = f"{line} -".split(maxsplit=5)
        if "w" in rights and "p" in rights and file.split()[0] in ("-", "[heap]"):
            begin, end = (int(word, 16) for word in where.split("-"))
            begin, end = -(-begin // HUGE) * HUGE, end // HUGE * HUGE
            if end > begin:  # an older kernel answers with an error, and all stays as it was
                _c().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), COLLAPSE)


def _problem() -> str:
    """Returns why this process cannot be forked, "" where it can."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    return f"a package that it imported started {threads - 1} threads" if threads > 1 else ""


def _obey(orders: socket.socket) -> None:
    """Forks for one order, and answers with the number of the process inside or with what went wrong."""
    mark, fds, _, _ = socket.recv_fds(orders, 1, DESCRIPTORS)
    if not mark:
        raise EOFError
    order: Any = wire.receive(orders.fileno())
    with contextlib.suppress(ChildProcessError):  # doorkeepers that have ended
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    if not os.fork():
        confined.leave(lambda: _doorkeeper(orders, fds, order))
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
    os.waitpid(inside, 0)


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
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 - numbers
        if fd > 2 and fd not in kept:
            with contextlib.suppress(OSError):
                os.close(fd)
    _give_up_rights(int(order["user"]))
    limits = {name: float(value) for name, value in order["limits"].items()}
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


def _begin_anew() -> None:
    """Makes this process what it would be if it had imported everything itself."""
    if matplotlib := sys.modules.get("matplotlib"):
        Path(matplotlib.get_cachedir()).mkdir(parents=True, exist_ok=True)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    random.seed()
    assert threading.active_count() == 1


def _c() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
