"""Walls around a process that runs a student's code: bubblewrap's namespaces, and limits that the kernel keeps.

Inside there is no network, no course folder, no gradebook, no other submission, no environment of the grader's;
the Python environment is read-only, and what is written goes to small file systems in memory that vanish with the
last process. `Sandbox` starts the program `autograder.confined` there and holds the two sockets that lead to it:
one to the keeper, which starts and kills, and one to the student's process.

A grader who runs as root (in a container, say) gets processes of an unprivileged user; an ordinary user gets them
in a user namespace of their own. Where neither works, `problem` says why, and nothing is run.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from autograder import data, seccomp
from autograder.data import DIRECTORY_VARIABLE
from autograder.errors import CourseError
from autograder.template import Connection, starting

MB = 2**20
HOME = "/home/student"
WORK = f"{HOME}/work"
DATA = "/data"
PACKAGE = Path(__file__).parent
# what programs of the system need, beside /usr; the rest of /etc stays outside
ETC = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types")
LINKED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
EXCHANGE = "/usr/local/share/nbgrader"  # where nbgrader's exchange may lie, full of submissions
USERS = "root:x:0:0:root:/:/bin/sh\nstudent:x:{uid}:{uid}:student:{home}:/bin/sh\n"
FIRST_USER, USER_IDS = 20_000, 40_000  # an unprivileged user of its own for each sandbox that root starts
POLL = 0.005
GONE = 2.0  # seconds that bubblewrap may take to notice
END = 10.0  # seconds that killed processes may take to be gone
REPAIR = (
    "install bubblewrap 0.8 or newer (Debian and Ubuntu: apt-get install bubblewrap) where namespaces are allowed, "
    "or, only for work that you trust as your own, grade without a sandbox: autograder grade --unsafe"
)


@dataclass(frozen=True)
class Limits:
    """What one submission may use; sizes in bytes, times in seconds."""

    memory: int = 4096 * MB  # of all processes together; three quarters of it for the data of one
    processes: int = 128  # threads count, too
    files: int = 512  # open in one process
    file_size: int = 256 * MB
    disk: int = 256 * MB  # of each of the file systems in memory
    output: int = 4 * MB  # that a notebook shows; what exceeds ten times this ends it
    cell: float = 30.0
    submission: float = 600.0


class Sandbox:
    """One running sandbox. Use it as a context manager: at its end no process of it is left."""

    def __init__(
        self,
        limits: Limits,
        files: Mapping[str, Path | bytes] | None = None,
        hidden: Sequence[Path] = (),
        unsafe: bool = False,
        template: Connection | None = None,
    ) -> None:
        """Starts the program inside. `files`, or their contents, are put into the working folder; `hidden` must not
        be seen.

        With `unsafe` the program runs with the grader's own rights, in a temporary folder and under some limits;
        with a `template`, which has imported everything already, it is forked from that one. Where that fails it
        starts as without, and `cold_because` says why.
        """
        self.limits = limits
        self._unsafe = unsafe
        self._cleanup = contextlib.ExitStack()
        self._inside: list[psutil.Process] = []  # that no child of bubblewrap's process is the parent of
        self.cold_because = ""
        try:
            if not template or unsafe or not self._is_warm(template, files or {}, hidden):
                self._start(files or {}, hidden, unsafe)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def memory(self) -> int:
        """Returns how many bytes all processes inside occupy, as far as it matters for the limit."""
        inside = self._processes()
        occupied = sum(_resident(process) for process in inside)
        if occupied <= self.limits.memory:
            return occupied
        return sum(_own(process) for process in inside)  # slower: counts what they share once

    def kill(self) -> None:
        """Kills what is inside."""
        process = getattr(self, "process", None)
        if process is not None and process.returncode is None:
            inside = self._processes()[1:]
            for other in inside:  # the first of them is the namespace's own, and the kernel ends the rest with it
                with contextlib.suppress(psutil.Error):
                    other.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                if inside and not self._unsafe:
                    process.wait(GONE)  # bubblewrap then ends by itself, and what was used is accounted for
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            until = time.monotonic() + END
            while any(map(_lives, inside)) and time.monotonic() < until:
                time.sleep(POLL)

    def close(self) -> None:
        """Kills what is inside, waits for its end, and closes every way to it."""
        self.kill()
        self._cleanup.close()

    def _is_warm(self, template: Connection, files: Mapping[str, Path | bytes], hidden: Sequence[Path]) -> bool:
        try:
            self._start_warm(template, files, hidden)
        except CourseError as error:
            self.kill()
            self.cold_because = str(error)
        return not self.cold_because

    def _start_warm(self, template: Connection, files: Mapping[str, Path | bytes], hidden: Sequence[Path]) -> None:
        """Builds the walls around a program that does nothing, and has the template's child enter them."""
        self.keeper, keeper = self._pair()
        self.notebook, notebook = self._pair()
        self.output, output = os.pipe()
        self._cleanup.callback(os.close, self.output)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, output)
            holder = stack.enter_context(_closing(self._hold(files, hidden)))
            fds = [holder, keeper.fileno(), notebook.fileno(), output]
            inside = template.fork(fds, asdict(self.limits), _user() if os.geteuid() == 0 else 0, WORK)
        with contextlib.suppress(psutil.Error):  # gone already: its sockets say so
            self._inside.append(psutil.Process(inside))
        for end in (keeper, notebook):
            end.close()

    def _hold(self, files: Mapping[str, Path | bytes], hidden: Sequence[Path]) -> int:
        """Starts bubblewrap with a program that does nothing; returns a descriptor of a process within the walls."""
        ours, theirs = socket.socketpair()
        self._cleanup.callback(ours.close)
        reader, writer = os.pipe()
        with theirs, open(reader, "rb") as told:
            program, fds = self._walls(files, hidden, ["cat"], ("--info-fd", str(writer)))
            self._open(program, [*fds, writer], theirs.fileno(), theirs.fileno())
            os.close(writer)
            ours.settimeout(END)
            try:
                ours.sendall(b".")  # comes back as soon as the walls are built
                ours.recv(1)
                return os.pidfd_open(int(json.loads(told.read())["child-pid"]))
            except (OSError, ValueError, KeyError, AttributeError) as error:  # of a Python without pidfd_open
                raise CourseError(f"The walls of the sandbox were not built in time ({error}).") from error

    def _start(self, files: Mapping[str, Path | bytes], hidden: Sequence[Path], unsafe: bool) -> None:
        self.keeper, keeper = self._pair()
        self.notebook, notebook = self._pair()
        self.output, output = os.pipe()
        self._cleanup.callback(os.close, self.output)
        fds = [keeper.fileno(), notebook.fileno()]
        program = _program(fds, self.limits, _user() if os.geteuid() == 0 and not unsafe else None)
        environment, where = None, "/"
        if unsafe:
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="autograder-"))
            environment, where = _unprotected(Path(folder), files)
        else:
            program, more = self._walls(files, hidden, program)
            fds += more
        self._open(program, fds, subprocess.DEVNULL, output, environment, where)
        for end in (keeper, notebook):
            end.close()
        os.close(output)

    def _open(
        self,
        program: list[str],
        fds: list[int],
        stdin: int,
        output: int,
        environment: Mapping[str, str] | None = None,
        where: str = "/",
    ) -> None:
        self.process = subprocess.Popen(
            program,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=dict(environment or {}),
            cwd=where,
            pass_fds=fds,
            start_new_session=True,
        )

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._cleanup.callback(ours.close)
        self._cleanup.callback(theirs.close)
        ours.setblocking(False)
        return ours, theirs

    def _walls(
        self, files: Mapping[str, Path | bytes], hidden: Sequence[Path], program: list[str], more: Sequence[str] = ()
    ) -> tuple[list[str], list[int]]:
        """Returns bwrap's command, and the file descriptors that it reads its arguments and files from."""
        stack = self._cleanup
        copied = {f"{WORK}/{name}": stack.enter_context(_closing(_opened(file))) for name, file in files.items()}
        filtered = seccomp.program()
        calls = None if filtered is None else stack.enter_context(_closing(_file_of(filtered)))
        users = stack.enter_context(_closing(_file_of(USERS.format(uid=_user(), home=HOME).encode())))
        arguments = [*_arguments(self.limits, hidden, users, calls), *_copies(copied), "--chdir", WORK]
        # through a file: a command line can be read inside
        said = stack.enter_context(_closing(_file_of("\0".join(arguments).encode())))
        fds = [said, users, *copied.values(), *([] if calls is None else [calls])]
        return [*starting(str(shutil.which("bwrap"))), "--args", str(said), *more, "--", *program], fds

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True), *self._entered()]
        except psutil.Error:
            return []

    def _entered(self) -> list[psutil.Process]:
        try:
            return [process for first in self._inside for process in (first, *first.children(recursive=True))]
        except psutil.Error:
            return []


@functools.cache
def problem() -> str | None:
    """Returns why no sandbox can be made here, or None where it can."""
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    limits = Limits()
    users = _file_of(b"")
    try:
        arguments = _arguments(limits, (), users, None)
        tried = subprocess.run(
            ["bwrap", *arguments, "--", "/usr/bin/env", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            pass_fds=[users],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap does not run ({error})"
    finally:
        os.close(users)
    if tried.returncode == 0:
        return None
    said = tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"]
    return f"bubblewrap cannot make one ({said[-1].removeprefix('bwrap: ')})"


def refusal() -> str | None:
    """Returns the sentence for a grader where no sandbox can be made, or None where it can."""
    found = problem()
    return f"Submissions cannot be run safely here, because {found}: {REPAIR}." if found else None


def _arguments(limits: Limits, hidden: Sequence[Path], users: int, calls: int | None) -> list[str]:
    """Returns bwrap's arguments up to the command."""
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:
        spaces += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # until it drops them
    else:
        spaces += ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    small = ["--size", str(limits.disk), "--perms", "1777", "--tmpfs"]
    return [
        *spaces,
        "--die-with-parent",
        "--new-session",
        *("--hostname", "sandbox", "--clearenv"),
        *(word for name, value in environment().items() for word in ("--setenv", name, value)),
        *(() if calls is None else ("--seccomp", str(calls))),
        *_system(),
        *("--perms", "0644", "--ro-bind-data", str(users), "/etc/passwd"),
        *("--proc", "/proc", "--dev", "/dev", *small, "/dev/shm", "--remount-ro", "/dev"),
        *(*small, "/tmp", *small, HOME, "--perms", "0777", "--dir", WORK),
        *_read_only(hidden),  # on top of these: an environment may lie in /tmp
        *_caches(),
        *("--remount-ro", "/"),
    ]


def environment() -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": HOME,
        "USER": "student",
        "LOGNAME": "student",
        **_always(),
    }


def _always() -> dict[str, str]:
    """Returns what the environment of a student's process says with and without walls."""
    return {
        "LANG": "C.UTF-8",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as Jupyter's kernel has it
        "OMP_NUM_THREADS": "1",  # submissions share the cores
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # sets iterate in the same order when a grade is reproduced
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",  # a torch.py beside the notebook is not torch
    }


def _system() -> list[str]:
    """Returns arguments that show the system's programs and libraries."""
    shown = ["--ro-bind", "/usr", "/usr"]
    for name in LINKED:
        path = Path("/", name)
        if path.is_symlink():
            shown += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            shown += ["--ro-bind", str(path), str(path)]
    shown += ["--perms", "0755", "--dir", "/etc"]
    for name in ETC:
        shown += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return [*shown, *(("--tmpfs", EXCHANGE) if Path(EXCHANGE).is_dir() else ())]


def _read_only(hidden: Iterable[Path]) -> list[str]:
    """Returns arguments that show the Python environment and this package, and cover what must not be seen.

    In the order of their depth, so that a course's own environment appears on top of what covers the course.
    """
    shown = {path.resolve() for path in _environment_folders()}
    covered = {path.absolute() for path in hidden if path.exists()}
    covered = {path for path in covered if any(_within(path, other) for other in [*shown, Path("/usr")])} - shown
    words: list[str] = []
    for path in sorted(shown | covered, key=lambda path: len(path.parts)):
        if path in shown:
            words += [*_folders_above(path, "0755"), "--ro-bind", str(path), str(path)]
        else:
            words += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
    return words


def _folders_above(path: Path, permissions: str, below: Path = Path("/")) -> list[str]:
    """Returns arguments that make the folders above `path`, which bwrap by itself makes for its own user alone."""
    above = [folder for folder in reversed(path.parents) if folder != below and _within(folder, below)]
    return [word for folder in above for word in ("--perms", permissions, "--dir", str(folder))]


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


@functools.cache
def _environment_folders() -> list[Path]:
    """Returns the folders that Python and its packages lie in."""
    schemes = [Path(folder) for folder in sysconfig.get_paths().values()]
    folders = [Path(sys.prefix), Path(sys.base_prefix), PACKAGE, *schemes, *_links(Path(sys.executable))]
    if site.ENABLE_USER_SITE:
        folders.append(Path(site.getusersitepackages()))
    there = {folder.resolve() for folder in folders if folder.is_dir()}
    roots = {folder for folder in there if not any(other != folder and _within(folder, other) for other in there)}
    return sorted(folder for folder in roots if not _within(folder, Path("/usr")))


def _links(program: Path) -> list[Path]:
    """Returns the folders that a chain of links to a program passes through."""
    folders = []
    while program.is_symlink():
        folders.append(program.parent)
        program = program.parent / program.readlink()
    return [*folders, program.parent][1:]


def _caches() -> list[str]:
    """Returns arguments that show downloaded data sets, and matplotlib's list of fonts, which takes seconds to make."""
    words = ["--perms", "0755", "--dir", DATA]
    for path in font_lists():
        seen = Path(HOME, ".cache", "matplotlib", path.name)
        words += [*_folders_above(seen, "0777", Path(HOME)), "--ro-bind", str(path), str(seen)]
    for path in data.originals():
        words += ["--ro-bind", str(path), f"{DATA}/{path.name}"]
    return [*words, "--setenv", DIRECTORY_VARIABLE, DATA]


@functools.cache
def font_lists() -> list[Path]:
    import matplotlib.font_manager  # makes the list where there is none

    return sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))


def _copies(files: Mapping[str, int]) -> list[str]:
    return [word for path, fd in files.items() for word in ("--perms", "0666", "--file", str(fd), path)]


def _program(fds: Sequence[int], limits: Limits, user: int | None) -> list[str]:
    numbers = [f"{name}={value}" for name, value in {**asdict(limits), **({"user": user} if user else {})}.items()]
    return [sys.executable, "-s", "-P", "-m", "autograder.confined", *map(str, fds), *numbers]


def _user() -> int:
    return FIRST_USER + os.getpid() % USER_IDS if os.geteuid() == 0 else os.getuid()


def _unprotected(folder: Path, files: Mapping[str, Path | bytes]) -> tuple[dict[str, str], str]:
    """Returns environment and working folder of a process without walls."""
    work = folder / "work"
    work.mkdir()
    for name, file in files.items():
        (work / name).write_bytes(file if isinstance(file, bytes) else file.read_bytes())
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", DIRECTORY_VARIABLE)}
    return {**kept, **_always()}, str(work)


def _opened(file: Path | bytes) -> int:
    return _file_of(file) if isinstance(file, bytes) else os.open(file, os.O_RDONLY)


def _file_of(content: bytes) -> int:
    """Returns a file descriptor from which `content` is read."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        return os.dup(file.fileno())


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _lives(process: psutil.Process) -> bool:
    """Whether a process still runs; what has ended may wait long until its new parent takes notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _own(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return _resident(process)
