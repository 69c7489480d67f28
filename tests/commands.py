"""Programs run as a person runs them: with this environment's own on PATH, in a course folder."""

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "OMP_NUM_THREADS": "1",
}


def nbgrader(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs nbgrader to its end."""
    return _run(root, "nbgrader", *arguments)


def autograder(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs this course's own command to its end."""
    return _run(root, "autograder.cli", *arguments)


def started(root: Path, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts a Python module as a program in a process group of its own."""
    call = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(call, cwd=root, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True)


def _run(root: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", module, *arguments]
    return subprocess.run(call, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)
