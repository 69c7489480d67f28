"""What runs inside the sandbox: a keeper, the student's notebook process, and snapshots of it that answer questions.

    keeper      the first process: takes the limits on, starts the notebook process, tells of its end, kills
    notebook    runs cells in IPython's shell and sends what they show; at each check it forks a snapshot
    snapshot    the notebook as it was at that check: waits, then answers the cases of one task

A snapshot hears its first question when all that the notebook shows is final, so nothing that a student's code
learns from a question can be shown. Whatever comes out of here is a claim: verdicts are made outside.

Orders and answers are frames of `wire`. The standard streams lead to a pipe that the grader reads as text.
"""

import base64
import builtins
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import selectors
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autograder import wire
from autograder.plain import Array, Plain

ONE_PROCESS = 0.75  # of the memory: one that wants too much fails by itself, before all are ended
CELL_TEXT = 200_000  # characters that one cell prints before the rest is left out
PIECE = 8_000  # characters of a stream that are sent at once
SHOWN_NUMBERS = 1_000  # of the inputs that are sent to be shown
DUMPABLE = 4  # prctl's PR_SET_DUMPABLE
OUT_OF_MEMORY_FIRST = "1000"  # of all processes the kernel ends these first


def main(arguments: list[str]) -> None:
    """Keeps the sandbox: arguments are the two sockets and `name=value` for the limits."""
    keeper, notebook = (socket.socket(fileno=int(number)) for number in arguments[:2])
    limits = {name: float(value) for name, value in (word.split("=") for word in arguments[2:])}
    if "user" in limits:
        become(int(limits["user"]))
    _preload()
    limit(limits)
    keep(keeper, notebook)


def become(user: int) -> None:
    """Gives up the rights of root; the sandbox ends where that fails."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(DUMPABLE, 1, 0, 0, 0)  # so that the process may use its own /proc/self


def limit(limits: Mapping[str, float]) -> None:
    values = {
        "DATA": limits["memory"] * ONE_PROCESS,
        "NPROC": limits["processes"],
        "NOFILE": limits["files"],
        "FSIZE": limits["file_size"],
        "CORE": 0,
        "MSGQUEUE": 0,
    }
    for name, value in values.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            hard = resource.getrlimit(number)[1]
            most = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
            with contextlib.suppress(ValueError, OSError):  # a system without this limit has the watcher
                resource.setrlimit(number, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OUT_OF_MEMORY_FIRST)


def _preload() -> None:
    """Imports what every notebook needs, before the student's process is made."""
    for name in ("IPython.core.interactiveshell", "autograder.running"):
        importlib.import_module(name)


# --- the keeper -------------------------------------------------------------------------------------------------


def keep(orders: socket.socket, notebook: socket.socket) -> None:
    """Starts the notebook process, then does what it is told; ends when the grader closes the socket."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if not child:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (orders.detach(), reader, writer):
            os.close(fd)
        leave(lambda: Notebook(notebook).serve())
    notebook.close()
    selector = selectors.DefaultSelector()
    selector.register(reader, selectors.EVENT_READ)
    selector.register(orders, selectors.EVENT_READ)
    with contextlib.suppress(EOFError, wire.BadFrame, OSError):
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if reader in ready:
                os.read(reader, 512)
                _tell_of_end(orders, child)
            if orders in ready:
                _obey(orders, wire.receive(orders.fileno()), child)


def _tell_of_end(orders: socket.socket, child: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                wire.send(orders.fileno(), {"ended": os.waitstatus_to_exitcode(found[1])})


def _obey(orders: socket.socket, order: Any, child: int) -> None:
    for name, number in (("interrupt", signal.SIGINT), ("kill", signal.SIGKILL)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if name in order:
                os.kill(child if order[name] is None else int(order[name]), number)
    if "interrupt" in order:
        wire.send(orders.fileno(), {"interrupted": True})


def leave(work: Callable[[], None]) -> None:
    """Ends this process after `work`, without the clean-up that belongs to the one it was forked from."""
    status = 1
    try:
        work()
        status = 0
    except (EOFError, BrokenPipeError, ConnectionError):
        status = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


# --- the notebook -----------------------------------------------------------------------------------------------


class Notebook:
    """Runs a student's cells, one order at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._cell = 0
        self._left = 0
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._streams = {name: _Stream(name, self._print) for name in ("stdout", "stderr")}
        sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]
        builtins.input = _no_input
        self._shell = make_shell(self._show)
        sys.path.append("")  # behind everything that is installed
        gc.freeze()

    def serve(self) -> None:
        """Obeys orders until the grader closes the channel."""
        wire.send(self._channel.fileno(), {"ready": True})
        while True:
            order: Any = wire.receive(self._channel.fileno())
            if "run" in order:
                self._run(int(order["cell"]), _text(order["run"]))
            elif "snapshot" in order:
                self._snapshot()

    def _run(self, cell: int, source: str) -> None:
        self._cell, self._left = cell, CELL_TEXT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._shell.run_cell(source, store_history=True)
        except BaseException as error:  # an interrupt between IPython's own lines
            self._show({"output_type": "error", "ename": type(error).__name__, "evalue": _said(error), "traceback": []})
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in self._streams.values():
            stream.flush()
        wire.send(self._channel.fileno(), {"done": cell})

    def _snapshot(self) -> None:
        _, fds, _, _ = socket.recv_fds(self._channel, 1, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about threads: the snapshot has its own
            child = os.fork()
        if not child:
            self._channel.close()
            leave(lambda: Snapshot(fds[0], self._shell.user_ns).serve())
        os.close(fds[0])
        wire.send(self._channel.fileno(), {"snapshot": child})

    def _print(self, name: str, text: str) -> None:
        kept = text[: self._left]
        self._left -= len(kept)
        if kept:
            self._show({"output_type": "stream", "name": name, "text": kept})
        if len(kept) < len(text) and kept:
            said = f"\n… more than {CELL_TEXT:,} characters: the rest is left out.\n"
            self._show({"output_type": "stream", "name": "stderr", "text": said})

    def _show(self, output: dict[str, Any]) -> None:
        try:
            text = json.dumps(output, default=_encoded)
        except (TypeError, ValueError, RecursionError):
            return
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        with contextlib.suppress(wire.BadFrame):  # larger than anything that a page shows
            wire.send(self._channel.fileno(), {"cell": self._cell, "output": Array(data)})


class _Stream(io.TextIOBase):
    """Standard output or error: pieces go to the notebook as they are written."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, name: str, send: Callable[[str, str], None]) -> None:
        super().__init__()
        self.name = name
        self._send = send
        self._waiting = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self.name == "stdout" else 2

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._waiting += text
        if len(self._waiting) >= PIECE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, ""
        if waiting:
            self._send(self.name, waiting)


def _text(packed: Array) -> str:
    return packed.values.tobytes().decode("utf-8", "surrogatepass")


def _encoded(value: Any) -> str:
    """Returns what JSON has no form for: an image in base64, as notebooks store it, or a description."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)


def _said(error: Any) -> str:
    try:
        return str(error)
    except Exception:  # of the student's own class
        return ""


def _no_input(prompt: object = "") -> str:
    raise EOFError("nobody is here to answer input() while a notebook is graded")


def make_shell(show: Callable[[dict[str, Any]], None]) -> Any:
    """Returns IPython's shell as notebooks have it, with what cells show handed to `show` as nbformat's outputs."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Hook(DisplayHook):
        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            shown = {"data": format_dict, "metadata": md_dict or {}, "execution_count": self.prompt_count}
            flush()
            show({"output_type": "execute_result", **shown})

        def finish_displayhook(self) -> None:
            pass

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, metadata: Any = None, *_: Any, **__: Any) -> None:
            flush()
            show({"output_type": "display_data", "data": data, "metadata": metadata or {}})

        def clear_output(self, wait: bool = False) -> None:
            flush()
            show({"clear": bool(wait)})

    class Shell(InteractiveShell):
        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            flush()
            shown = {"ename": etype.__name__, "evalue": _said(evalue), "traceback": list(stb)}
            show({"output_type": "error", **shown})

        def system(self, cmd: str) -> None:
            import subprocess

            done = subprocess.run(self.var_expand(cmd, depth=1), shell=True, capture_output=True, check=False)
            sys.stdout.write(done.stdout.decode("utf-8", "replace"))
            sys.stderr.write(done.stderr.decode("utf-8", "replace"))
            self.user_ns["_exit_code"] = done.returncode

        def ask_exit(self) -> None:
            print("The notebook goes on: exit() and quit() have no effect while it is graded.")

        def enable_gui(self, gui: Any = None) -> None:
            pass

    def flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    config = Config()
    config.HistoryManager.enabled = False  # its thread would stand in the way of forking
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.autocall = 0
    shell = Shell.instance(config=config, displayhook_class=Hook, display_pub_class=Publisher)
    sys.modules["__main__"] = shell.user_module  # where pickle and multiprocessing look
    return shell


# --- a snapshot -------------------------------------------------------------------------------------------------


class Snapshot:
    """The notebook as it was at one check; answers questions about the objects that it defines."""

    def __init__(self, channel: int, names: dict[str, Any]) -> None:
        from autograder import watching

        watching.keeps_frozen = True
        self._channel = channel
        self._names = names
        self._cases: dict[str, Any] = {"__name__": "cases"}
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # the threads of the process that was forked are not here

    def serve(self) -> None:
        """Answers until the grader closes the channel."""
        while True:
            order: Any = wire.receive(self._channel)
            if "look" in order:
                wire.send(self._channel, {"problem": self._look(order)})
            elif "cases" in order:
                exec(compile(_text(order["cases"]), "<cases>", "exec"), self._cases)
                wire.send(self._channel, {"ready": True})
            elif "ask" in order:
                self._answer(order)

    def _look(self, order: Any) -> str:
        """Returns in words what is missing of the task's objects, "" where nothing is."""
        from autograder.checking import missing
        from autograder.tasks import Task

        found = missing(Task(order["look"], 1.0, tuple(order["objects"])), self._names)
        return found.got if found else ""

    def _answer(self, order: Any) -> None:
        from autograder import running
        from autograder.tasks import Case

        case = Case(order["ask"], "", self._cases[order["ask"]], limit=float(order["limit"]))
        objects = {name: self._names[name] for name in order["objects"] if name in self._names}
        rng = np.random.default_rng(order["key"])
        answer = running.run(case, objects, rng, tuple(order["forbids"]))
        for message in (told(answer), {**told(answer), "calls": []}):  # an input may be what no frame carries
            try:
                wire.send(self._channel, message)
                return
            except wire.BadFrame as error:
                refused = str(error)
        wire.send(self._channel, {"refused": refused})


def told(answer: Any) -> dict[str, Plain]:
    """Returns an answer as the message that carries it."""
    calls: list[Plain] = [[call.function, call.arguments] for call in answer.calls if _small(call.arguments)]
    return {
        "value": answer.value,
        "calls": calls if len(calls) == len(answer.calls) else [],
        "changed": sorted(answer.changed),
        "views": sorted(answer.views),
        "used": sorted(answer.used),
        "printed": bool(answer.printed.strip()),
        "warned": list(answer.warned),
    }


def _small(arguments: dict[str, Plain]) -> bool:
    from autograder.compare import size

    return sum(size(value) for value in arguments.values()) <= SHOWN_NUMBERS


if __name__ == "__main__":
    main(sys.argv[1:])
