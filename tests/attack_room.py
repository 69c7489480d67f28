"""A locked room for the attack suite: nbgrader grades the attacks in there, and nothing of the machine can be hurt.

The room is a bubblewrap sandbox around the *grader*: its own processes, its own network without a way out, its own
home and temporary folders, everything else read-only, and only the copy of the course writable. Inside, stock
nbgrader stands as unprotected as on any machine. As a program, this file grades in the room and says what it saw.
"""

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PORT = 45231
SOCKET = "/tmp/attack.sock"
ABSTRACT = "\0attack"
LOOT = Path("/tmp/attack-loot")
MARK = "attack-left"  # in the name or the environment of everything that an attack leaves behind
HOME = "/tmp/grader"
LARGEST = 400 * 2**20  # bytes of one file
PLACES = ("/tmp", "/dev/shm", "/var/tmp", "/run")
LIMITS = {"CANARY": "", "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}


@dataclass
class Seen:
    """What was seen in the room: `finished` is false where grading was ended from outside."""

    finished: bool = False
    seconds: float = 0.0
    left: list[str] = field(default_factory=list)  # processes, sockets and files that outlived the grader
    heard: list[str] = field(default_factory=list)  # what came out through the network
    loot: dict[str, str] = field(default_factory=dict)  # what attacks wrote into a folder of the machine
    log: str = ""


@functools.cache
def problem() -> str | None:
    """Returns why there can be no room here, or None."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    inner = ["bwrap", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "--", "true"]
    tried = subprocess.run([*_walls(Path("/tmp")), *inner], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"bubblewrap cannot make a room with another one in it: {tried.stderr}"


def grade(course: Path, commands: list[list[str]], secret: str, limit: float) -> Seen:
    """Runs nbgrader's commands on `course` in a room, with `secret` in the grader's environment."""
    words = ["--setenv", "CANARY", secret, "--", sys.executable, __file__, json.dumps(commands)]
    began = time.monotonic()
    with open(course.parent / f"{course.name}.log", "w+", encoding="utf-8", errors="replace") as log:
        room = subprocess.Popen(
            [*_walls(course)[:-1], *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            said = room.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            said = b""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(room.pid, signal.SIGKILL)  # with its first process the kernel ends the room
            room.communicate()
        log.seek(0)
        text = log.read()
    seen = Seen(**json.loads(said)) if said else Seen()
    seen.seconds, seen.log = time.monotonic() - began, text
    return seen


def _walls(course: Path) -> list[str]:
    """Returns bwrap's command, up to the program to run."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    own = ["--cap-add", "ALL"] if os.geteuid() == 0 else ["--unshare-user"]
    needed = (Path(__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix))  # which may lie below /tmp
    seen = [word for folder in needed for word in ("--ro-bind", str(folder), str(folder))]
    return [
        *("bwrap", *own, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--size", str(2**30), "--tmpfs", "/tmp", "--size", str(LARGEST), "--tmpfs", "/dev/shm"),
        *("--tmpfs", "/run", "--tmpfs", "/var/tmp", "--dir", HOME, *seen),
        *("--bind", str(course), str(course)),
        *("--clearenv", "--setenv", "HOME", HOME, "--setenv", "PATH", path, "--setenv", "LANG", "C.UTF-8"),
        *("--setenv", "OMP_NUM_THREADS", "1", "--setenv", "PYTHONDONTWRITEBYTECODE", "1"),
        *("--chdir", str(course), "--"),
    ]


def main(commands: list[list[str]]) -> None:
    """Grades in the room, and prints what it saw."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LOOT.mkdir(mode=0o777)
    heard: list[str] = []
    _listen(heard)
    before = _sockets()
    for arguments in commands:
        call = [sys.executable, "-m", "nbgrader", *arguments]
        subprocess.run(call, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if arguments[0] == "autograde":
            time.sleep(1)  # what ends with its kernel has ended
            left = [*_processes(), *(_sockets() - before), *_files(Path.cwd())]
    loot = {path.name: path.read_text(errors="replace") for path in LOOT.iterdir()}
    seen = {"finished": True, "left": sorted(left), "heard": sorted(set(heard)), "loot": loot}
    os.write(1, json.dumps(seen).encode())


def _listen(heard: list[str]) -> None:
    """Notes everything that is sent to a port or socket of the machine."""
    addresses: list[tuple[int, int, Any]] = [
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", PORT)),
        (socket.AF_UNIX, socket.SOCK_STREAM, SOCKET),
        (socket.AF_UNIX, socket.SOCK_STREAM, ABSTRACT),
    ]
    for family, kind, address in addresses:
        made = socket.socket(family, kind)
        made.bind(address)
        threading.Thread(target=_hear, args=(made, kind, heard), daemon=True).start()
    os.chmod(SOCKET, 0o777)


def _hear(made: socket.socket, kind: int, heard: list[str]) -> None:
    if kind == socket.SOCK_STREAM:
        made.listen()
    while True:
        try:
            if kind == socket.SOCK_DGRAM:
                heard.append(made.recv(1000).decode(errors="replace"))
                continue
            with made.accept()[0] as connection:
                connection.settimeout(2)
                heard.append(connection.recv(1000).decode(errors="replace"))
        except OSError:
            continue


def _processes() -> list[str]:
    """Returns the command lines of all processes but this one and the room's first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) in (1, os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if (folder / "stat").read_text().rsplit(") ", 1)[1][0] == "Z":
                continue
            said = (folder / "cmdline").read_bytes() + b" " + (folder / "environ").read_bytes()
            words = said.replace(b"\0", b" ").decode(errors="replace").split()
            named = [word for word in words if MARK in word]
            found.append(f"process {' '.join(named or words[:6])}")
    return found


def _sockets() -> set[str]:
    """Returns the listening sockets of the room, with their inodes."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            found.add(f"socket {words[1]} {words[9]}")
    return found


def _files(course: Path) -> list[str]:
    """Returns the files with the mark in their names, but for those in a student's own graded folder."""
    own = course / "autograded"
    found = []
    for place in (*PLACES, str(course)):
        for folder, _, names in os.walk(place):
            if Path(folder).is_relative_to(own) or Path(folder).is_relative_to(course / "submitted"):
                continue
            for name in names:
                path = Path(folder, name)
                if MARK in name and not stat.S_ISSOCK(path.lstat().st_mode):
                    found.append(f"file {path}")
    return sorted(set(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
