"""The walls: what a process inside sees, may use, and leaves behind; and the refusal where none can be built."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import psutil
import pytest

from autograder import sandbox
from autograder.sandbox import MB, WORK, Limits, Sandbox
from autograder.session import Session, Shown
from tests.conftest import needs_sandbox

pytestmark = needs_sandbox

Run = Callable[..., list[str]]


def texts(shown: Shown) -> str:
    """Returns what a cell printed, and the name of the exception that ended it."""
    parts = [output.get("text", output.get("ename", "")) for output in shown.outputs]
    return "".join(str(part) for part in parts) + shown.stopped


@pytest.fixture
def run() -> Run:
    """Returns a function that runs cells in one sandbox and returns what each printed."""

    def cells(*sources: str, limits: Limits | None = None, **made: object) -> list[str]:
        with Sandbox(limits or Limits(cell=10), **made) as box:  # type: ignore[arg-type]
            session = Session(box)
            try:
                return [texts(session.run(number, source)) for number, source in enumerate(sources)]
            finally:
                session.close()

    return cells


def test_the_folder_holds_the_files_that_were_given_and_they_may_be_changed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2\n")
    source = (
        "import os; print(os.getcwd(), os.listdir()); open('data.csv', 'a').write('3'); print(open('data.csv').read())"
    )
    (said,) = run(source, files={"data.csv": tmp_path / "data.csv"})
    assert said == f"{WORK} ['data.csv']\n1,2\n3\n"
    assert (tmp_path / "data.csv").read_text() == "1,2\n"


def test_a_file_of_the_grader_is_not_there(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("42")
    assert run(f"open({str(secret)!r}).read()") == ["FileNotFoundError"]


def test_what_lies_in_the_environment_can_be_hidden(run: Run, tmp_path: Path) -> None:
    package = Path(hypothesis.__file__).parent
    look = f"import os; print(len(os.listdir({str(package)!r})))"
    file = package / "version.py"
    read = f"print(repr(open({str(file)!r}).read()))"
    assert run(look, hidden=[package]) == ["0\n"]
    assert run(read, hidden=[file]) == ["PermissionError"]
    assert int(run(look)[0]) > 0


def test_the_environment_of_the_grader_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary-17")
    look = """
import glob, os
print("SECRET_TOKEN" in os.environ)
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        print(b"canary-17" in open(path, "rb").read())
    except OSError as error:
        print(False)
"""
    assert "True" not in run(look)[0]


def test_nothing_that_is_installed_can_be_changed(run: Run) -> None:
    write = "import numpy, os; open(os.path.join(os.path.dirname(numpy.__file__), 'x'), 'w')"
    assert run(write, "open('/usr/bin/x', 'w')", "open('/etc/x', 'w')", "open('/x', 'w')", "open('/dev/x', 'w')") == [
        "OSError",
        *["OSError"] * 4,
    ]


def test_there_is_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = "import socket; socket.create_connection(({!r}, {}), timeout=2)"
        said = run(connect.format("127.0.0.1", port), connect.format("192.0.2.1", 80))
    assert said == ["ConnectionRefusedError", "OSError"]


def test_the_process_is_nobody_and_sees_only_its_own_kind(run: Run) -> None:
    said = run("import os; print(os.getuid() != 0, os.geteuid() != 0, open('/proc/self/status').read())")[0]
    assert said.startswith("True True")
    assert "CapEff:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    pids = run("import os; print(max(int(name) for name in os.listdir('/proc') if name.isdigit()))")[0]
    assert int(pids) < 20


def test_memory_is_limited(run: Run) -> None:
    limits = Limits(memory=600 * MB, cell=20)
    said = run("b = bytearray(700 << 20)", "print('still here')", limits=limits)
    assert said == ["MemoryError", "still here\n"]


def test_memory_of_all_processes_together_is_limited(run: Run) -> None:
    fill = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        data = b"x" * (200 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"""
    said = run(fill, "print('still here')", limits=Limits(memory=600 * MB, cell=25))
    assert "600 MB of memory" in said[0]
    assert "still here" not in said[1]


def test_processes_are_limited(run: Run) -> None:
    fork = """
import os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError as error:
    print(type(error).__name__, made < 60)
"""
    assert run(fork, limits=Limits(processes=60, cell=20)) == ["BlockingIOError True\n"]


def test_files_and_disk_are_limited(run: Run) -> None:
    many = "files = [open('/dev/null') for _ in range(1000)]"
    large = "open('/tmp/x', 'wb').write(b'x' * (20 << 20))"
    full = "for i in range(9): open(f'/tmp/y{i}', 'wb').write(b'x' * (4 << 20))"
    assert run(many, large, full, limits=Limits(file_size=8 * MB, disk=16 * MB, cell=20)) == ["OSError"] * 3


def test_nothing_is_left_behind(run: Run) -> None:
    leave = """
import subprocess, sys
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300) # left-behind-4711"], start_new_session=True)
open("/tmp/left-behind-4711", "w").write("x")
"""
    run(leave)
    assert not any("left-behind-4711" in " ".join(_line(process)) for process in psutil.process_iter())
    assert not Path("/tmp/left-behind-4711").exists()


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_grader_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    program = tmp_path / "grader.py"
    program.write_text(
        "from autograder.sandbox import Limits, Sandbox\n"
        "from autograder.session import Session\n"
        "box = Sandbox(Limits())\n"
        "session = Session(box)\n"
        'session.run(0, \'import subprocess, sys; subprocess.Popen([sys.executable, "-c", '
        '"import time; time.sleep(300) # orphan-4712"], start_new_session=True)\')\n'
        "print('ready', flush=True)\n"
        "import time; time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout is not None
        assert grader.stdout.readline() == "ready\n"
        grader.kill()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not any("orphan-4712" in " ".join(_line(process)) for process in psutil.process_iter()):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process outlived its grader")


def test_refusal_names_the_reason_and_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.problem.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    try:
        refusal = sandbox.refusal()
    finally:
        sandbox.problem.cache_clear()
    assert refusal is not None
    assert "bubblewrap is not installed" in refusal
    assert "--unsafe" in refusal


def test_without_walls_the_limits_hold_and_nothing_is_left(run: Run) -> None:
    said = run("b = bytearray(700 << 20)", "import os; print(os.getcwd())", limits=Limits(memory=600 * MB), unsafe=True)
    assert said[0] == "MemoryError"
    assert not Path(said[1].strip()).exists()
