"""The commands: whatever goes wrong ends in one clear sentence, and leaves the course as it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autograder import build, demo
from autograder.cli import main
from autograder.course import Course
from tests.conftest import Plant, tree

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "autograder.cli"]


def command(*arguments: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [*COMMAND, *arguments]
    return subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]


@pytest.fixture
def refused(course: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns a function that runs a command which must fail, and returns its one sentence.

    The course, wherever the command was run, is the same byte for byte before and after.
    """

    def run(*arguments: str, lines: int = 1) -> str:
        before = tree(course)
        capsys.readouterr()
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert said.out == ""
        rows = [row for row in said.err.splitlines() if row.strip()]
        assert len(rows) == lines, said.err
        assert rows[0].startswith("autograder: ")
        assert tree(course) == before
        return "\n".join(rows).removeprefix("autograder: ")

    return run


@pytest.mark.parametrize("verb", ["build", "check", "demo"])
def test_an_unknown_sheet(refused: Callable[..., str], verb: str) -> None:
    assert refused(verb, "nosuch") == "nosuch is not the name of a sheet or lecture: choose one of m1_small/shapes."


@pytest.mark.parametrize("verb", ["build", "check", "demo"])
@pytest.mark.parametrize(
    "planted, sentence",
    [
        (("sheet", "# # Rows", "Rows"), "line 2: this stands in a prose cell, but is not a comment; begin a cell"),
        (("sheet", "print(center(np.eye(2)))", "print("), "shapes.py, line 30: '(' was never closed."),
        (("checks", "import numpy as np", "import nosuch"), "shapes_checks.py, line 3: ModuleNotFoundError: No module"),
        (("module", "order = 1", "order = 'x'"), "line 6: an entry of [[sheets]] has order = 'x', which must be"),
        (("module", "order = 1", "order ="), "module.toml: Invalid value (at line 8, column 8)."),
    ],
    ids=["prose", "syntax", "import", "order", "toml"],
)  # fmt: skip
def test_broken_text(
    refused: Callable[..., str], plant: Plant, verb: str, planted: tuple[str, str, str], sentence: str
) -> None:
    plant(*planted)
    assert sentence in refused(verb, "shapes")


def test_checks_that_name_a_missing_task(refused: Callable[..., str], plant: Plant, course: Path) -> None:
    """Every problem has a line of its own, with file and line."""
    plant("checks", "why = sheet", 'extra = sheet.task("extra", points=1)\nwhy = sheet')
    file = course / "modules/m1_small/exercises/shapes_checks.py"
    assert refused("build", lines=2).splitlines() == [
        f'{file}, line 10: extra is declared, but no cell of shapes.py says {role}="extra".'
        for role in ("task", "check")
    ]


def test_a_sheet_that_is_not_there(refused: Callable[..., str], course: Path) -> None:
    (course / "modules/m1_small/exercises/shapes.py").unlink()
    assert "shapes.py does not exist: write it, or remove its entry from module.toml" in refused("build")


@pytest.mark.parametrize("name", ["shapes.py", "shapes_checks.py"])
def test_a_folder_in_place_of_a_text(refused: Callable[..., str], course: Path, name: str) -> None:
    path = course / "modules/m1_small/exercises" / name
    path.unlink()
    path.mkdir()
    assert f"{path} cannot be" in refused("build")
    assert f"{path} cannot be" in refused("check")


@pytest.mark.parametrize("tree_name", ["source", "release"])
def test_a_folder_that_cannot_be_written(
    refused: Callable[..., str], course: Path, plant: Plant, tree_name: str
) -> None:
    """A file stands where the folder should be: that stops a common user and root alike."""
    plant("sheet", "# Rows and", "# Row and")
    folder = course / tree_name / "m1_small"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.touch()
    assert f"{folder}/01_shapes.ipynb cannot be written (file exists): free the disk or allow the folder" in refused(
        "build"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(refused: Callable[..., str], course: Path, plant: Plant) -> None:
    plant("sheet", "# Rows and", "# Row and")
    (course / "release/m1_small").chmod(0o555)
    try:
        assert "cannot be written (permission denied)" in refused("build")
    finally:
        (course / "release/m1_small").chmod(0o755)


def test_a_full_disk(course: Path, plant: Plant) -> None:
    plant("sheet", "# Rows and", "# Row and")
    before = tree(course)
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); from autograder.cli import main; sys.exit(main())"
    )
    call = [sys.executable, "-c", limit, "build"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, cwd=course, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert "cannot be written (file too large): free the disk" in lines[0]
    assert tree(course) == before


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Returns an empty file system of 64 kB; skips where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=False)


def test_a_disk_that_is_really_full(tiny_disk: Path, built_course: Path, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    subprocess.run(["cp", "-r", f"{built_course}/modules", f"{built_course}/nbgrader_config.py", tiny_disk], check=True)
    (tiny_disk / "ballast").write_bytes(b"x" * 8192)
    monkeypatch.chdir(tiny_disk)
    before = tree(tiny_disk)
    assert main(["build"]) == 1
    assert "cannot be written (no space left on device): free the disk" in capsys.readouterr().err
    assert tree(tiny_disk) == before


def test_outside_of_a_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["build"], ["check"], ["gradebook", "m1"], ["demo"]):
        assert main(arguments) == 1
        assert "is not in a course" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def test_a_course_of_nothing(refused: Callable[..., str], course: Path) -> None:
    (course / "modules/m1_small/module.toml").unlink()
    for verb in ("build", "check"):
        assert "has no module.toml that names a sheet or lecture: write one" in refused(verb)


def test_a_gradebook_that_is_missing(refused: Callable[..., str], course: Path) -> None:
    sentence = "gradebook.db does not exist: run nbgrader generate_assignment m1_small, then nbgrader autograde."
    assert refused("gradebook", "m1_small") == f"{course}/{sentence}"


def test_a_module_that_the_gradebook_does_not_know(refused: Callable[..., str], course: Path) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        gradebook.add_assignment("m1_small")
    assert "The gradebook has no module nosuch" in refused("gradebook", "nosuch")


def test_a_gradebook_that_is_no_database(refused: Callable[..., str], course: Path) -> None:
    (course / "gradebook.db").write_bytes(b"no database at all, but long enough to be read as one" * 20)
    assert refused("gradebook", "m1_small") == f"{course}/gradebook.db is not a gradebook: file is not a database."


def test_a_damaged_release(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` reports it, and `build` makes it new."""
    path = course / "release/m1_small/01_shapes.ipynb"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    before = tree(course)
    assert main(["check"]) == 1
    assert f"{path}, line 1: it is damaged: run autograder build --force." in capsys.readouterr().out
    assert tree(course) == before
    assert main(["build"]) == 0
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["notes.txt", "nbgrader_config.py"])
def test_a_demo_into_a_folder_of_somebody_else(refused: Callable[..., str], course: Path, name: str) -> None:
    """A course has a configuration of its own: it must not be taken for an earlier sample class, and emptied."""
    (course / "mine").mkdir()
    (course / "mine" / name).write_text("c = get_config()\n")
    sentence = "is not empty and not an earlier sample class: name another one with --into."
    assert refused("demo", "shapes", "--into", "mine") == f"{course / 'mine'} {sentence}"
    assert refused("demo", "shapes", "--into", ".") == f"{course} {sentence}"


def test_a_demo_into_a_file(refused: Callable[..., str], course: Path) -> None:
    (course / "file").touch()
    assert "file cannot be written (not a directory)" in refused("demo", "shapes", "--into", "file")


def test_an_earlier_demo_may_be_replaced(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (course / "demo").mkdir()
    (course / "demo" / "nbgrader_config.py").write_text(demo.CONFIG)
    monkeypatch.setattr(demo, "run", lambda sheet, into: 0)
    assert main(["demo", "shapes"]) == 0


def test_a_stop_while_building(course: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    plant("sheet", "# Rows and", "# Row and")
    before = tree(course)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for where in ("source_notebook", "release_notebook", "write_all"):
        with monkeypatch.context() as patch:
            patch.setattr(build, where, interrupted)
            assert main(["build"]) == 130
        assert capsys.readouterr().err.endswith("autograder: stopped; what was finished is kept.\n")
        assert tree(course) == before


@pytest.mark.parametrize("wait", [0.3, 1.2])
def test_ctrl_c_in_a_process_of_its_own(course: Path, plant: Plant, wait: float) -> None:
    plant("checks", "sheet = Sheet", 'import time\n\nprint("here", flush=True)\ntime.sleep(30)\nsheet = Sheet')
    before = tree(course)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [*COMMAND, "build"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(call, cwd=course, env=environment, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(wait / 4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "autograder: stopped; what was finished is kept."
    assert "Traceback" not in said
    assert tree(course) == before


@pytest.mark.parametrize("verb", ["build", "check"])
def test_a_reader_that_has_enough(course: Path, plant: Plant, verb: str) -> None:
    """`autograder build | head` closes the pipe before anything is written."""
    plant("sheet", "# Rows and", "# Row and")
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [*COMMAND, verb]
    pipe = subprocess.PIPE
    done = subprocess.run(call, cwd=course, env=environment, stdout=writing, stderr=pipe, text=True, check=False)
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 0
    assert build.is_fresh(Course(course).sheets[0]) is (verb == "build")


def test_packages_for_authors_that_are_not_installed(course: Path) -> None:
    """A student's installation has neither jupytext nor rich."""
    code = "import sys; sys.modules['jupytext'] = None; from autograder.cli import main; sys.exit(main(['build']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=course, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "autograder: jupytext is not installed: pip install 'autograder[instructors]'.\n"


HELP = {
    "build": ["source/", "release/", "README", "--force", "NAME"],
    "check": ["Proves", "release", "NAME"],
    "gradebook": ["Prints", "nbgrader", "m1_neural_networks"],
    "demo": ["feedback", "CSV", "--into", "demo/"],
}


@pytest.mark.parametrize("verb, words", HELP.items(), ids=HELP)
def test_help_says_what_a_command_writes(verb: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in words:
        assert word in said


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for verb in HELP:
        assert verb in said


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["gradebook"], ["build", "--nosuch"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("autograder")


def test_the_installed_command_is_the_same(course: Path) -> None:
    done = command("build", cwd=course)
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 built, 1 already fresh." in done.stderr
