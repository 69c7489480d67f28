"""A Dask cluster on this machine, set up as docs/cluster.md says; a small class; and what was recorded of it."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
from distributed import Client
from distributed.security import Security
from nbgrader.api import Gradebook

from autograder import gradebook
from autograder.course import Course
from autograder.demo import CONFIG, SampleClass
from tests.conftest import tree

MODULE = "m1_small"
DOCS = Path(__file__).resolve().parent.parent / "docs" / "cluster.md"
BLOCKS = re.findall("```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
READY = 60.0  # seconds that a process may take to start on a busy machine
SAMPLE = ("01_perfect", "02_other_style", "03_wrong_axis", "04_largest", "06_untouched", "07_raises", "09_not_json")
MORE = {
    "20_endless": "while True:\n    pass",
    "21_crashes": "import os\n\nos.abort()",
    "22_slow": "import time\n\ntime.sleep(0.5)",
    "23_slow": "import time\n\ntime.sleep(0.6)",
}
STUDENTS = len(SAMPLE) + len(MORE)


class Cluster:
    """A scheduler and its workers, as processes of their own, which all end with this context."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Starts the scheduler; `settings` are variables of its environment."""
        self.folder = folder
        self.tls = keys(folder)
        self.workers: list[subprocess.Popen[bytes]] = []  # or their nannies
        known = folder / "scheduler.json"
        here = ["--host", "127.0.0.1", "--scheduler-file", str(known)]
        self.scheduler = self._start(*documented("dask scheduler", {"8786": "0"}), *here, **settings)
        until(lambda: known.is_file() and known.read_text().endswith("}"))
        self.address: str = json.loads(known.read_text())["address"]

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            end(process)

    @property
    def flags(self) -> list[str]:
        """What `autograder grade` is told to have this cluster grade."""
        changed = {f"tls/{Path(file).name}": file for file in self.tls[1::2]}
        return documented("autograder grade", {"tls://head:8786": self.address, **changed})[2:]

    def worker(self, *options: str, preload: str = "") -> subprocess.Popen[bytes]:
        """Starts a worker, which runs the program `preload` first, and returns its process or its nanny's."""
        if preload:
            path = self.folder / f"preload{len(self.workers)}.py"
            path.write_text(preload)
            options = (*options, "--preload", str(path))
        call = documented("dask worker tls://head:8786 --nworkers 8", {"tls://head:8786": self.address, "8": "1"})
        self.workers.append(self._start(*call, "--local-directory", str(self.folder), *options))
        return self.workers[-1]

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Gives a client of Dask's own."""
        ca, cert, key = self.tls[1::2]
        security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)
        with Client(self.address, security=security, set_as_default=False) as client:
            yield client

    def _start(self, role: str, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
        with open(self.folder / f"{role}{len(self.workers)}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", role, *arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )


def documented(command: str, changed: dict[str, str]) -> list[str]:
    """Returns the arguments of a command that docs/cluster.md shows, with some words changed."""
    (block,) = [block for block in BLOCKS if block.startswith(f".venv/bin/{command}")]
    return [changed.get(word, word) for word in shlex.split(block.replace("\\\n", ""))[1:]]


def keys(folder: Path) -> list[str]:
    """Makes an authority, a key and a certificate as docs/cluster.md says; returns the options that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    (block,) = [block for block in BLOCKS if "openssl" in block]
    subprocess.run(["sh", "-ec", block], cwd=folder, capture_output=True, check=True)
    tls = folder / "tls"
    return ["--tls-ca-file", f"{tls}/ca.pem", "--tls-cert", f"{tls}/cert.pem", "--tls-key", f"{tls}/key.pem"]


def at_work(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Returns a worker, which may be a nanny's child, and all that it started, if it has a sandbox open; else []."""
    nanny = psutil.Process(process.pid)
    for worker in [nanny, *nanny.children()]:
        with contextlib.suppress(psutil.Error):
            if any(child.name() == "bwrap" for child in worker.children()):
                return [worker, *worker.children(recursive=True)]
    return []


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(holds: Callable[[], object], seconds: float = READY) -> None:
    """Waits until something holds."""
    latest = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < latest, f"it did not come about within {seconds:g} seconds"
        time.sleep(0.01)


class Room:
    """A course folder in which the small course is released, and whoever hands in."""

    def __init__(self, course: Path, root: Path) -> None:
        self.root = root
        self._made = SampleClass(Course(course).sheets[0])
        shutil.copytree(course / "source", root / "source")
        (root / "modules").mkdir()
        (root / "nbgrader_config.py").write_text(f"{CONFIG}c.Judged.seconds_per_cell = 1\n")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        call = [sys.executable, "-m", "nbgrader", "generate_assignment", MODULE]
        subprocess.run(call, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, check=True)

    def copy(self, root: Path) -> "Room":
        """Returns the same room once more, in the folder `root`."""
        other = object.__new__(Room)
        other.root, other._made = root, self._made
        shutil.copytree(self.root, root)
        return other

    def everybody_hands_in(self) -> None:
        """Puts there right and wrong work, an endless loop, a crash, and a file that is no notebook."""
        for member in self._made.members():
            if member.student in SAMPLE:
                self.hand_in(member.student, member.file)
        for student, first in MORE.items():
            self.hands_in(student, first)

    def hands_in(self, student: str, first: str) -> None:
        """Has a student hand in right work, and run `first` before it."""
        center = f"{first}\n{self._made.solutions['center']}"
        made = self._made.notebook({**self._made.solutions, "center": center})
        self.hand_in(student, str(nbformat.writes(made)).encode())

    def hand_in(self, student: str, file: bytes) -> None:
        folder = self.root / "submitted" / student / MODULE
        folder.mkdir(parents=True)
        (folder / "01_shapes.ipynb").write_bytes(file)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts grading."""
        call = [sys.executable, "-m", "autograder.cli", "grade", MODULE, *arguments]
        return subprocess.Popen(call, cwd=self.root, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def grade(self, *arguments: str) -> tuple[int, list[str]]:
        """Grades; returns the exit status and the lines that it printed."""
        return told(self.start(*arguments))

    def results(self) -> int:
        """Returns how many results are kept."""
        return len(list(self.root.glob(".autograder/results/*/*.json.z")))

    def shown(self, student: str) -> str:
        """Returns the graded notebook of a student, as text."""
        return (self.root / "autograded" / student / MODULE / "01_shapes.ipynb").read_text()

    def recorded(self) -> dict[str, Any]:
        """Returns everything that grading has recorded, each record as often as it is there."""
        with Gradebook(f"sqlite:///{self.root}/gradebook.db") as book:
            notebooks = [(s.student.id, n) for s in book.assignment_submissions(MODULE) for n in s.notebooks]
            grades = [(who, g.name, g.auto_score, g.needs_manual_grade) for who, n in notebooks for g in n.grades]
            comments = [(who, c.name, c.auto_comment) for who, n in notebooks for c in n.comments]
            students = [student for student, _ in notebooks]
        return {
            "students": sorted(students),
            "grades": sorted(grades),
            "comments": sorted(comments),
            "rows": gradebook.read(self.root, MODULE).rows,
            "files": tree(self.root / "autograded"),
        }


def told(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Returns the exit status of a program and the lines that it printed as errors."""
    _, errors = process.communicate(timeout=300)
    return process.returncode, [line for line in errors.splitlines() if line.strip()]
