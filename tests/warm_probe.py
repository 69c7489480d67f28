"""What a process can find out about itself from inside a sandbox; its text runs as a cell, cold and warm."""

import ctypes
import gc
import getpass
import json
import locale
import logging
import os
import platform
import pwd
import re
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

VOLATILE = ("Vm", "Rss", "Huge", "Tgid", "Pid", "PPid", "NS", "State", "voluntary", "nonvoluntary", "SigQ")
PRCTL = {"pdeathsig": 2, "dumpable": 3, "keepcaps": 7, "timing": 13, "seccomp": 21, "securebits": 27, "timerslack": 30}
PRCTL |= {"subreaper": 37, "no_new_privs": 39, "thp": 42}
BY_POINTER = ("pdeathsig", "subreaper")
FOLDERS = ("/", "/tmp", "/dev", "/dev/shm", "/etc", "/home", "/home/student", "/home/student/work", "/data")


def read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError as error:
        return type(error).__name__


def status(of: str = "self") -> dict[str, str]:
    lines = [line.split(":", 1) for line in read(f"/proc/{of}/status").splitlines() if ":" in line]
    return {name: value.strip() for name, value in lines}


def asked(number: int, pointer: bool) -> int:
    libc = ctypes.CDLL(None)
    value = ctypes.c_int()
    answer = int(libc.prctl(number, ctypes.byref(value) if pointer else 0, 0, 0, 0))
    return value.value if pointer else answer


def files(of: str) -> list[str]:
    """Returns what the open files of a process are, and how they were opened."""
    found = []
    for path in Path(f"/proc/{of}/fd").iterdir():
        try:
            flags = re.findall(r"flags:\t(\d+)", read(f"/proc/{of}/fdinfo/{path.name}"))
            found.append(f"{re.sub(r'[0-9]+', 'N', str(path.readlink()))} {flags[0]}")
        except OSError:  # the one that lists them
            continue
    return sorted(found)


def mounts() -> list[str]:
    """Returns where what is mounted how, without the numbers that each mount gets."""
    lines = [line.split()[3:] for line in read("/proc/self/mountinfo").splitlines()]
    return [re.sub(r"/bindfile\w+", "/bindfile", " ".join(line)) for line in lines]


def processes() -> list[str]:
    names = sorted((path.name for path in Path("/proc").iterdir() if path.name.isdigit()), key=int)
    return [f"{read(f'/proc/{name}/comm').strip()} {status(name).get('Uid', '').split()[:1]}" for name in names]


def maps() -> list[list[str]]:
    return [[*line.split(maxsplit=5), ""][:6] for line in read("/proc/self/maps").splitlines()]


def kernel() -> dict[str, Any]:
    """Returns what the kernel says of this process and of the one that started it."""
    parent = str(os.getppid())
    said = status()
    return {
        "identity": [
            os.getresuid(),
            os.getresgid(),
            os.getgroups(),
            read("/proc/self/uid_map"),
            pwd.getpwuid(os.getuid()),
        ],
        "capabilities": {name: said[name] for name in said if name.startswith("Cap")},
        "status": {name: said[name] for name in said if not name.startswith((*VOLATILE, "Cap"))},
        "keeper's status": {
            name: value for name, value in status(parent).items() if name.startswith(("No", "Sec", "Sig"))
        },
        "prctl": {name: asked(number, name in BY_POINTER) for name, number in PRCTL.items()},
        "limits": read("/proc/self/limits"),
        "out of memory": read("/proc/self/oom_score_adj"),
        "leads session and group": os.getpid() == os.getsid(0) == os.getpgid(0),
        "files": files("self"),
        "keeper's files": files(parent),
        "folders": [str(Path.cwd()), *(str(Path(f"/proc/self/{link}").readlink()) for link in ("cwd", "root"))],
        "listed": {folder: sorted(path.name for path in Path(folder).iterdir()) for folder in FOLDERS},
        "mounts": mounts(),
        "program": str(Path("/proc/self/exe").readlink()),
        "command line": read("/proc/self/cmdline").split("\0"),
        "first environment": read("/proc/self/environ").split("\0"),
        "mapped but not there": [line[5] for line in maps() if line[5].startswith("/") and not Path(line[5]).exists()],
        "shared memory": [line for line in maps() if "w" in line[1] and "s" in line[1]],
        "namespaces": {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()},
        "keeper's namespaces": {path.name: str(path.readlink()) for path in Path(f"/proc/{parent}/ns").iterdir()},
        "signals": {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
        "personality": ctypes.CDLL(None).personality(0xFFFFFFFF),
        "scheduling": [os.nice(0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), signal.getitimer(0)],
        "group of control": read("/proc/self/cgroup"),
        "keys": [read("/proc/keys"), read("/proc/self/loginuid"), read("/proc/self/attr/current")],
        "network": [read("/proc/net/unix"), read("/proc/net/tcp"), re.findall(r"\w+:", read("/proc/net/dev"))],
        "exchange": [read(f"/proc/sysvipc/{kind}") for kind in ("shm", "sem", "msg")],
        "processes": processes(),
        "room for data": resource.getrlimit(resource.RLIMIT_DATA)[1] - 1024 * int(said["VmData"].split()[0]),
    }


def python() -> dict[str, Any]:
    """Returns what Python says of itself."""
    return {
        "environment": list(os.environ.items()),
        "machine": [socket.gethostname(), platform.node(), platform.platform(), os.uname().nodename],
        "user": [getpass.getuser(), str(Path.home()), tempfile.gettempdir()],
        "path": sys.path,
        "flags": [str(sys.flags), sys._xoptions, sys.executable, sys.prefix, sys.base_prefix, sys.argv[:1]],
        "importers": [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path],
        "hooks": [str(hook) for hook in (sys.gettrace(), sys.getprofile(), sys.unraisablehook, threading.excepthook)],
        "limits of Python": [sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits()],
        "garbage": [gc.isenabled(), gc.get_threshold(), len(gc.callbacks)],
        "place and time": [locale.setlocale(locale.LC_ALL), time.tzname],
        "logging": [logging.root.level, str(logging.root.handlers), logging.root.manager.disable],
        "threads": [threading.active_count(), len(list(Path("/proc/self/task").iterdir()))],
        "standard streams": [type(sys.stdout).__name__, sys.stdin.fileno(), sys.stdin.isatty(), str(sys.__stderr__)],
        "main": [sys.modules["__main__"].__name__, sorted(vars(sys.modules["__main__"]))[:3]],
        "numbers that should be new": [uuid.uuid4().hex, tempfile.mktemp()],
    }


def found_out() -> str:
    return json.dumps({**kernel(), **python()}, default=str)
