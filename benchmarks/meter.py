"""What a command and everything that it starts takes: wall time, CPU time, and memory, by a control group of its own.

Processes of a sandbox end unwaited-for, so the times that a parent is told miss them; a control group misses none.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
TICK = 0.1  # seconds between looks at the memory


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock and of all processors, the most bytes that were occupied at once, and the exit status."""

    wall: float
    cpu: float
    memory: int
    status: int


def problem() -> str:
    """Returns why nothing can be measured here, "" where it can."""
    try:
        with _group() as _:
            return ""
    except OSError as error:
        return f"a control group cannot be made here ({error})"


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Taken:
    """Runs a command and returns what it took."""
    with _group() as folders, log.open("ab") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["sh", "-c", 'for f in $TASKS; do echo $$ > "$f"; done; unset TASKS; exec "$@"', "sh", *command],
            cwd=folder,
            env={**environment, "TASKS": " ".join(str(folder / "cgroup.procs") for folder in set(folders.values()))},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        peak = _Peak(folders["memory"])
        status = process.wait()
        wall = time.perf_counter() - started
        peak.stop()
        return Taken(wall, _cpu(folders["cpu"]), peak.bytes, status)


class _Peak(threading.Thread):
    """Looks at the memory of a group until it is stopped."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._folder = folder
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(TICK):
            self.bytes = max(self.bytes, _memory(self._folder))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@contextlib.contextmanager
def _group() -> Iterator[dict[str, Path]]:
    """Yields the folders of a new group; it is removed when its processes have ended."""
    name = f"bench-{os.getpid()}-{time.monotonic_ns()}"
    if (ROOT / "cgroup.controllers").is_file():
        folders = {"cpu": ROOT / name, "memory": ROOT / name}
    else:
        folders = {"cpu": ROOT / "cpuacct" / name, "memory": ROOT / "memory" / name}
    made: list[Path] = []
    try:
        for folder in dict.fromkeys(folders.values()):
            folder.mkdir()
            made.append(folder)
        _cpu(folders["cpu"]), _memory(folders["memory"])
        yield folders
    finally:
        for folder in made:
            _remove(folder)


def _remove(folder: Path) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)


def _cpu(folder: Path) -> float:
    old = folder / "cpuacct.usage"
    if old.is_file():
        return int(old.read_text()) / 1e9
    return int(_fields(folder / "cpu.stat")["usage_usec"]) / 1e6


def _memory(folder: Path) -> int:
    """Returns the memory of processes, without that of files that the kernel keeps at hand."""
    fields = _fields(folder / "memory.stat")
    return int(fields.get("total_rss", fields.get("anon", "0")))


def _fields(path: Path) -> dict[str, str]:
    return dict(line.split() for line in path.read_text().splitlines())
