"""The project's frame: setup, the Makefile's verbs, the lock, and what has to stay in step with pyproject.toml.

Setup runs here on a small tree of its own, with a stand-in for Python that writes down how it was called.
"""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
VERBS = ["help", "setup", "build", "check", "test", "lab", "demo", "bench", "lint", "clean"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"

STAND_IN = r"""#!/bin/sh
# pretends to be Python: writes its arguments down, makes a folder for venv, and answers as the file `answer` says
here=$(dirname "$0")
tree=__TREE__
case "$*" in
  *version_info*) cat "$here/version" 2>/dev/null || echo __THIS__; exit 0;;
esac
echo "$*" >> "$tree/calls"
env >> "$tree/environment"
case "$*" in
  *"-Im venv"*) for last; do :; done; mkdir -p "$last/bin" && cp "$0" "$last/bin/python";;
  *"pip --version"*) test ! -e "$tree/no_pip";;
  *"pip install"*) if [ -e "$tree/answer" ]; then . "$tree/answer"; fi;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Returns a small copy of the project: what setup reads, and a stand-in for Python."""
    (tmp_path / "autograder").mkdir()
    shutil.copy(ROOT / "autograder" / "bootstrap.py", tmp_path / "autograder")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("one==1\ntwo==2\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    text = STAND_IN.replace("__TREE__", f"'{tmp_path}'").replace("__THIS__", THIS)
    (tmp_path / "stand_in").write_text(text)
    (tmp_path / "stand_in").chmod(0o755)
    return tmp_path


@pytest.fixture
def setup(tree: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns the setup program of the small tree, which makes environments of the stand-in."""
    spec = importlib.util.spec_from_file_location("bootstrap_of_a_small_tree", tree / "autograder" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "base_python", lambda: str(tree / "stand_in"))
    monkeypatch.setattr(module, "SYSTEM", ())
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return module


def calls(tree: Path) -> list[str]:
    """Returns what the stand-in was called with, less the questions whether pip is there; forgets it."""
    record = tree / "calls"
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    return [line for line in lines if "pip --version" not in line]


def answer(tree: Path, script: str) -> None:
    """Makes the stand-in's pip run a shell script."""
    (tree / "answer").write_text(script)


# --- setup -----------------------------------------------------------------------------------------------------


def test_the_first_setup_makes_the_environment_then_the_packages_then_the_course(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.main(["check"]) == 0
    venv, packages, own = calls(tree)
    assert venv == f"-Im venv {tree / '.venv'}"
    assert packages == f"-Im pip install -r {tree / 'requirements.lock'}"
    assert "--no-deps" in own.split()
    assert own.endswith(f"--editable {tree}")
    steps = re.findall(r"^\[(\d)/(\d)\] (.+) \.\.\. done \(\d+ s\)$", capsys.readouterr().out, re.MULTILINE)
    assert [(int(number), int(total)) for number, total, _ in steps] == [(1, 3), (2, 3), (3, 3)]
    assert "the 2 packages" in steps[1][2]


def test_a_second_setup_does_no_step(setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup.main([])
    calls(tree)
    capsys.readouterr()
    assert setup.main(["demo"]) == 0
    assert calls(tree) == []
    assert capsys.readouterr().out == "Setup is up to date.\n"


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_change_of_the_packages_installs_again_into_the_same_environment(
    setup: ModuleType, tree: Path, name: str
) -> None:
    setup.main([])
    calls(tree)
    with (tree / name).open("a") as file:
        file.write("\n# changed\n")
    assert setup.main([]) == 0
    assert [call.split()[1:3] for call in calls(tree)] == [["pip", "install"]] * 2
    assert setup.main([]) == 0
    assert calls(tree) == []


def test_a_new_version_of_setup_sets_up_again(setup: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.main([])
    calls(tree)
    monkeypatch.setattr(setup, "VERSION", setup.VERSION + 1)
    setup.main([])
    assert len(calls(tree)) == 2


def test_another_python_is_taken_only_when_it_is_named(setup: ModuleType, tree: Path) -> None:
    setup.main([])
    (tree / ".venv" / "bin" / "version").write_text("3.99\n")
    mark = json.loads(setup.MARK.read_text())
    setup.MARK.write_text(json.dumps(mark | {"digest": setup.digest("3.99")}))
    calls(tree)
    assert setup.main([]) == 0
    assert calls(tree) == []
    assert setup.main(["--exact"]) == 0
    assert "venv" in calls(tree)[0]


def test_an_environment_that_moved_with_its_folder_is_made_again(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.main([])
    mark = json.loads(setup.MARK.read_text())
    setup.MARK.write_text(json.dumps(mark | {"place": "/elsewhere/.venv", "digest": "of another place"}))
    calls(tree)
    assert setup.main([]) == 0
    assert "venv" in calls(tree)[0]
    assert "(it was moved)" in capsys.readouterr().out


def test_a_setup_that_was_interrupted_is_noticed_and_goes_on(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(tree, "exit 9")
    assert setup.main([]) == 1
    assert json.loads(setup.MARK.read_text())["state"] == "working"
    site = tree / ".venv" / "lib" / "python3.11" / "site-packages"
    for name, size in (("whole", 3), ("cut", 30)):
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{name}.py").write_text("abc")
        (info / "RECORD").write_text(f"{name}.py,sha256=x,{size}\n{name}-1.0.dist-info/RECORD,,\n")
    (site / "bare-2.0+cpu.dist-info").mkdir()
    (tree / "answer").unlink()
    calls(tree)
    capsys.readouterr()
    assert setup.main([]) == 0
    assert capsys.readouterr().out.startswith("The last setup was interrupted; this one goes on from there.\n")
    repaired, packages, own = calls(tree)
    assert repaired.endswith("--no-deps --ignore-installed bare==2.0 cut==1.0")
    assert "-r" in packages
    assert "--editable" in own
    assert json.loads(setup.MARK.read_text())["state"] == "ready"


def test_an_environment_without_pip_is_made_again_if_setup_made_it(setup: ModuleType, tree: Path) -> None:
    answer(tree, "exit 9")
    setup.main([])
    (tree / "answer").unlink()
    calls(tree)
    (tree / "no_pip").touch()
    setup.main([])
    assert "venv" in calls(tree)[0]


def test_a_folder_of_somebody_else_is_used_if_it_serves_and_never_removed(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tree / "stand_in", tree / ".venv" / "bin" / "python")
    (tree / ".venv" / "mine").write_text("precious")
    assert setup.main([]) == 0
    assert [call.split()[1:3] for call in calls(tree)] == [["pip", "install"]] * 2
    for trouble in ("no_pip", "changed"):
        (tree / trouble).touch()
        (tree / "pyproject.toml").write_text(trouble)
        assert setup.main(["--exact"]) == 1
        assert "was not made by this setup" in capsys.readouterr().err
    assert (tree / ".venv" / "mine").read_text() == "precious"


def test_two_setups_at_once_install_once(tree: Path) -> None:
    venv = tree / ".venv" / "bin"
    venv.mkdir(parents=True)
    shutil.copy(tree / "stand_in", venv / "python")
    answer(tree, "sleep 1")
    command = [sys.executable, str(tree / "autograder" / "bootstrap.py")]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(child.communicate(timeout=60)[0] for child in pair)
    assert [child.returncode for child in pair] == [0, 0]
    assert len(calls(tree)) == 2
    assert said[0] == "Another setup runs in this folder; waiting for it to end.\nSetup is up to date.\n"


def test_settings_of_the_user_do_not_lead_pip_astray(
    setup: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    astray = {
        "PYTHONPATH": "/x",
        "PYTHONHOME": "/x",
        "PIP_TARGET": "/x",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_USER": "1",
    }
    for name, value in (astray | {"CONDA_PREFIX": "/x", "VIRTUAL_ENV": "/x", "PIP_INDEX_URL": "file:///mine"}).items():
        monkeypatch.setenv(name, value)
    setup.main([])
    lines = (tree / "environment").read_text().splitlines()
    assert not [line for line in lines if line.endswith("=/x")]
    assert {"PIP_REQUIRE_VIRTUALENV=0", "PIP_USER=0", "PIP_INDEX_URL=file:///mine"} <= set(lines)


# --- setup's failures: one sentence, and the next setup can go on ---------------------------------------------


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what was said on stderr, which is one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'",
            "network does not answer",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "ERROR: No matching distribution found for two==2",
            r"pip failed \(No matching distribution found for two==2\); the whole story is in",
        ),
    ],
)
def test_a_pip_that_fails_is_explained(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str], said: str, sentence: str
) -> None:
    answer(tree, f'echo "{said}"; exit 1')
    assert setup.main([]) == 1
    assert re.search(sentence, one_sentence(capsys))
    assert not setup.is_ready(exact=False)


def test_a_folder_that_cannot_be_written_is_named(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert setup.main([]) == 1
    assert one_sentence(capsys) == f"Setup cannot go on: Permission denied ({tree / '.venv'})."


def test_a_file_in_the_place_of_the_environment_is_left_alone(
    setup: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / ".venv").write_text("precious")
    assert setup.main([]) == 1
    assert "move it away" in one_sentence(capsys)
    assert (tree / ".venv").read_text() == "precious"


def test_a_python_that_is_too_old_says_so(tree: Path) -> None:
    text = (tree / "autograder" / "bootstrap.py").read_text()
    ast.parse(text, feature_version=(3, 7))  # an old Python can read it, and so say that it is too old
    newer = text.replace("sys.version_info < (3, 11)", "sys.version_info < (4, 0)")
    assert newer != text
    (tree / "autograder" / "bootstrap.py").write_text(newer)
    ran = subprocess.run(
        [sys.executable, tree / "autograder" / "bootstrap.py"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert re.fullmatch(r"Python 3\.11 or newer is needed, and this one is 3\.\d+: .+\.\n", ran.stderr)


def test_setup_that_is_told_to_end_says_how_to_go_on(
    setup: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "make_environment", interrupted)
    assert setup.main([]) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    assert not setup.is_ready(exact=False)


# --- system packages -------------------------------------------------------------------------------------------


@pytest.fixture
def package(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that makes `test` want a system package that is not there."""

    def make(required: bool) -> None:
        wanted = setup.SystemPackage("thing", lambda: False, frozenset({"test"}), "its tests are skipped", required)
        monkeypatch.setattr(setup, "SYSTEM", (wanted,))

    return make


def test_what_may_not_be_installed_is_a_remark_if_a_verb_can_do_without(
    setup: ModuleType, package: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "may_install", lambda: False)
    package(required=False)
    assert setup.main(["demo"]) == 0
    assert "thing" not in capsys.readouterr().out
    assert setup.main(["test"]) == 0
    remark, state = capsys.readouterr().out.splitlines()
    assert remark.startswith("thing is not installed, so its tests are skipped")
    assert state == "Setup is up to date."


def test_what_may_not_be_installed_and_is_required_ends_setup(
    setup: ModuleType, package: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "may_install", lambda: False)
    package(required=True)
    assert setup.main(["test"]) == 1
    assert one_sentence(capsys).startswith("thing is needed: install it")


@pytest.mark.parametrize("works", [True, False])
def test_what_may_be_installed_is(
    setup: ModuleType,
    package: Any,
    tree: Path,
    works: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tree / "bin").mkdir()
    (tree / "bin" / "apt-get").write_text(f'#!/bin/sh\necho "$*" >> "{tree}/apt"\nexit {0 if works else 100}\n')
    (tree / "bin" / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tree / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(setup, "may_install", lambda: True)
    package(required=False)
    assert setup.main(["test"]) == 0
    assert (tree / "apt").read_text().splitlines()[-1].endswith("install --yes --no-install-recommends thing")
    assert ("its tests are skipped" in capsys.readouterr().out) == (not works)


def test_a_python_without_ensurepip_is_explained(
    setup: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup, "may_install", lambda: False)
    assert setup.main([]) == 1
    assert one_sentence(capsys).startswith(f"python{THIS}-venv is needed: install it")


# --- the Makefile ----------------------------------------------------------------------------------------------


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs make, apart from a make that runs these tests."""
    own = ("MAKE", "MFLAGS", "GNUMAKEFLAGS", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.run(["make", *arguments], cwd=cwd, env=kept, capture_output=True, text=True, check=False)


def test_help_lists_each_verb_with_a_line_and_needs_no_setup() -> None:
    listed = dict(re.findall(r"(?m)^  make (\w+) +(\S.*)$", make().stdout))
    assert set(VERBS) <= set(listed)
    assert make("help").stdout == make().stdout


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"help", "clean"}))
def test_each_verb_sets_up_first(verb: str) -> None:
    planned = make("--dry-run", verb)
    assert planned.returncode == 0, planned.stderr
    commands = [line for line in planned.stdout.splitlines() if not line.startswith(("command -v", "{ echo"))]
    assert commands[0].split() == ['"python3"', "autograder/bootstrap.py", verb]
    assert all(".venv/bin" in line for line in commands[1:] if re.match(r'PATH=|"?\S*python', line))


def test_make_hands_setup_the_python_that_it_was_given() -> None:
    planned = make("--dry-run", "setup", "PYTHON=python9").stdout
    assert '"python9" autograder/bootstrap.py setup --exact' in planned


def test_a_python_that_is_not_there_ends_make_with_a_sentence() -> None:
    ran = make("setup", "PYTHON=no_such_python")
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0].startswith("no_such_python is not here: install Python 3.11 or newer")


def test_clean_removes_what_tests_left_and_nothing_else(tree: Path) -> None:
    gone = ["demo/gradebook.db", "build/lib/x.py", ".pytest_cache/x", ".mypy_cache/x", "autograder/__pycache__/x.pyc"]
    kept = [".venv/lib/__pycache__/x.pyc", "release/m1/x.ipynb", "source/m1/x.ipynb", "modules/m1/x.md"]
    for name in gone + kept:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert make("clean", cwd=tree).returncode == 0
    assert [name for name in gone if (tree / name).parent.exists()] == []
    assert [name for name in kept if not (tree / name).exists()] == []
    assert make("distclean", cwd=tree).returncode == 0
    assert not (tree / ".venv").exists()
    assert (tree / "release/m1/x.ipynb").exists()


# --- one version of each fact ----------------------------------------------------------------------------------


def locked() -> dict[str, str]:
    """Returns the version that the lock pins, by package."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def declared(*extras: str) -> list[Requirement]:
    """Returns what the project asks for, with extras, and the extras that these name."""
    asked = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            asked += declared(*requirement.extras) if requirement.name == PROJECT["name"] else [requirement]
    return asked


def test_the_lock_satisfies_the_project() -> None:
    pins = locked()
    for requirement in declared("developers"):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock: run make lock"
        assert requirement.specifier.contains(version), f"{requirement} but the lock has {version}: run make lock"


def test_developers_have_all_that_students_and_instructors_have() -> None:
    everything = {requirement.name for requirement in declared("developers")}
    assert {requirement.name for requirement in declared("students", "instructors")} <= everything


def test_the_lock_says_how_it_is_made_and_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "#    make lock\n" in text
    assert not re.search(r"://|@|file:/|^--|\+", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)


def test_conda_gets_what_pip_gets() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *plain, nested = environment["dependencies"]
    assert plain == ["python" + PROJECT["requires-python"], "pip"]
    options = [line.split(maxsplit=1) for line in nested["pip"]]
    assert ["-c", "requirements.lock"] in options
    (install,) = (Requirement("autograder" + place.removeprefix(".")) for flag, place in options if flag == "-e")
    assert install.extras <= set(PROJECT["optional-dependencies"])
    assert install.extras == {"developers"}


def test_the_setup_program_asks_for_the_python_of_the_project() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "sys.version_info < (3, 11)" in (ROOT / "autograder" / "bootstrap.py").read_text(encoding="utf-8")


def test_ci_runs_the_readme_command_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines
    assert [line for line in lines if re.match(r"\s*(make|pip|python|pytest|apt|sudo|\.venv)", line)] == ["make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_public_workflow_runs_verbs_of_the_makefile() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    commands = [step["run"].split() for step in job["steps"] if "run" in step]
    assert {command[0] for command in commands} == {"make"}
    assert {"lint", "test"} <= {command[1] for command in commands} <= set(VERBS)
    assert job["strategy"]["matrix"]["python"][0] == PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize(("name", "words"), [("LICENSE", "MIT License"), ("LICENSE-TEXT", "licenses/by/4.0/legalcode")])
def test_the_licenses_are_whole(name: str, words: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert words in text
    assert "Deep Learning Foundations contributors" in text
    assert name == "LICENSE" or all(f"Section {number} -- " in text for number in range(1, 9))
