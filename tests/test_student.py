"""The student's side: what `check` shows in a notebook and in plain Python, and what it says where it cannot check."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest

from autograder import CheckFailed, open_checks, student
from autograder.bundle import FORMAT, SEED, Bundle, file_name, make
from autograder.course import SheetPlace
from autograder.errors import CourseError
from autograder.report import MIME, Report
from autograder.sheets import load_checks, read_sheet, task_checks, visible_code
from autograder.solutions import oracle
from autograder.stock import grader
from tests.mini import CHECKS, write_course

RIGHT = "import numpy as np\ndef center(x):\n    return x - x.mean(axis=0)\n"
WRONG = "def center(x):\n    return x - x.mean(axis=1, keepdims=True)\n"
SECRETS = [
    "one row becomes zeros",
    "what is not an array is refused",
    "einsum",
    "column_means = ",
    "def wrong_axis",
    "def one_row",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SheetPlace:
    return SheetPlace(write_course(tmp_path_factory.mktemp("course")), "m1_small", "shapes", 1, 20)


@pytest.fixture(scope="module")
def bundle_text(place: SheetPlace) -> str:
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    references = {name: text.reference(name) for name in sheet.tasks}
    return make(sheet, references, visible_code(place.checks, sheet), {"built_from": "here", "digest": "0"})


@pytest.fixture
def folder(tmp_path: Path, bundle_text: str) -> Path:
    """A student's folder with the bundle in it."""
    (tmp_path / file_name("shapes")).write_text(bundle_text, encoding="utf-8")
    return tmp_path


def checked(folder: Path, code: str, task: str = "center") -> Report:
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return open_checks("shapes", folder).report(task, namespace)


# ---- the bundle


def test_the_bundle_holds_nothing_that_a_student_must_not_see(bundle_text: str) -> None:
    assert [secret for secret in SECRETS if secret in bundle_text] == []
    assert "each column has mean 0 and its own spread" in bundle_text


def test_the_bundle_gives_back_the_tasks_and_the_answers_that_it_was_made_from(place: SheetPlace, folder: Path) -> None:
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    bundle = Bundle.read(folder / file_name("shapes"))
    for name, task in sheet.tasks.items():
        visible = [case for case in task.cases if not case.hidden]
        known, read = oracle(task, text.reference(name), "shapes", SEED, visible), bundle.oracle(name)
        assert [c.title for c in bundle.task(name).cases] == [c.title for c in visible]
        assert (read.points, bundle.task(name).objects, bundle.hidden_cases(name)) == (task.points, task.objects, 1)
        for one, other in zip(known.properties, read.properties, strict=True):
            assert one.difference(one.expected, other.expected) is None
            assert (one.name, one.weight, one.penalty) == (other.name, other.weight, other.penalty)
            for moved, rounded in zip(one.sensitivity, other.sensitivity, strict=True):
                assert set(moved) == set(rounded)
                assert all(np.allclose(moved[path], rounded[path], rtol=0.01) for path in moved)
        assert {k.name for k in read.misconceptions()} == {m.name for m in task.misconceptions}


def test_the_bundle_tells_what_a_task_forbids_and_which_names_may_be_shown(folder: Path) -> None:
    bundle = Bundle.read(folder / file_name("shapes"))
    assert (bundle.task("center").forbids, bundle.oracle("center").forbids) == ((), ())
    assert bundle.oracle("center").arguments == {"x"}


# ---- what is forbidden

FORBIDDEN = "import numpy as np\ndef center(x):\n    return x - np.einsum('bd->d', x) / len(x)"
ELSEWHERE = "import numpy as np\nnp.einsum('bd->d', np.eye(2))\ndef center(x):\n    return x - x.mean(axis=0)"
UNREACHED = "import numpy as np\ndef center(x):\n    return x - x.mean(axis=0) if len(x) else np.einsum('', x)"


@pytest.mark.parametrize(
    "code, used",
    [(FORBIDDEN, True), (UNREACHED, True), (ELSEWHERE, False), (RIGHT, False)],
    ids=["used", "used where nobody comes", "used for something else", "right"],
)
def test_student_and_stock_grader_say_the_same_of_what_is_forbidden(tmp_path: Path, code: str, used: bool) -> None:
    checks = CHECKS.replace('"center", points=2)', '"center", points=2, forbids=("numpy.einsum",))')
    checks = checks.replace('    return x - np.einsum("bd->d", x) / len(x)', "    return x - x.sum(axis=0) / len(x)")
    place = SheetPlace(write_course(tmp_path, checks=checks), "m1_small", "shapes", 1, 20)
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    references = {name: text.reference(name) for name in sheet.tasks}
    made = make(sheet, references, visible_code(place.checks, sheet), {"built_from": "here", "digest": "0"})
    (tmp_path / file_name("shapes")).write_text(made, encoding="utf-8")
    history = f"In = ['', {code!r}]\n"  # as IPython keeps it
    seen, given = checked(tmp_path, history + code), stock(place, history + code)
    for report in (seen, given):
        assert (report.judgment.points == 0) is used
        assert ("center: Your code uses `numpy.einsum`, in the line `" in report.message()) is used
        assert report.judgment.misconceptions == []
    assert seen.message() == given.message()
    assert given._repr_mimebundle_()["text/plain"] == ("0.0" if used else "2.0")


# ---- checking


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (WRONG, "Over which axis do the examples run?"),
        ("def center(x):\n    x -= x.mean(axis=0)\n    return x", "You change the array that you were given."),
        ("def center(x):\n    return x + x.mean(axis=0)", "Does your mean move away, or come in twice?"),
        ("def center(x):\n    return 2 * (x - x.mean(axis=0))", "All your values are 2 times the expected ones."),
        ("def center(x):\n    x - x.mean(axis=0)", "Does every path of the function end in `return`?"),
        ("def center(x):\n    raise NotImplementedError()", "This task is not solved yet."),
        ("def centre(x):\n    return x", "The notebook has no `center`. It has `centre`: a misspelling?"),
        ("center = 3", "`center` is an object of type int, not something to call."),
        ("def center(x):\n    return open_file(x)", "the exception NameError: name 'open_file' is not defined"),
        (
            "class L:\n    __eq__ = lambda *_: True\n    __hash__ = None\ndef center(x):\n    return L()",
            "an object of type L",
        ),
    ],
    ids=["axis", "in place", "edited", "unnamed", "no return", "stub", "misspelled", "number", "crash", "lying"],
)
def test_each_mistake_gets_its_sentence(folder: Path, code: str, said: str) -> None:
    report = checked(folder, code)
    message = " ".join(report.message().split())
    assert said in message
    untried = "The notebook" in said or "not solved" in said or "something to call" in said
    assert report.message().startswith(f"center: {said}\n" if untried else "center · ")
    assert len(report.message().splitlines()) <= 12


@pytest.mark.parametrize(
    ("code", "remark"),
    [
        (
            RIGHT + "def center(x, f=center):\n    print('here')\n    return f(x)",
            "What your code prints is not shown here.",
        ),
        (
            RIGHT + "import warnings\ndef center(x, f=center):\n    warnings.warn('oh')\n    return f(x)",
            "Your code warned: UserWarning: oh",
        ),
    ],
    ids=["prints", "warns"],
)
def test_what_costs_nothing_is_a_remark(folder: Path, code: str, remark: str) -> None:
    report = checked(folder, code)
    assert report.message() == ""
    assert f"  · {remark}" in report.listing().splitlines()


def test_in_plain_python_a_success_prints_the_listing_and_returns_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"check": open_checks("shapes", str(folder))}
    exec(RIGHT + "result = check('center')", namespace)
    out, err = capsys.readouterr()
    assert namespace["result"] is None
    assert out.splitlines() == [
        "center: 1 of 1 properties hold · grading checks 1 more",
        "  ✓ each column has mean 0 and its own spread",
    ]
    assert err == ""


def test_in_plain_python_a_failure_raises_with_the_message(folder: Path) -> None:
    namespace: dict[str, Any] = {"check": open_checks("shapes", folder)}
    with pytest.raises(CheckFailed, match="Over which axis") as caught:
        exec(WRONG + "check('center')", namespace)
    assert isinstance(caught.value, AssertionError)


def test_check_works_as_a_script_beside_the_bundle(folder: Path) -> None:
    code = RIGHT + "from autograder import open_checks\ncheck = open_checks('shapes')\ncheck('center')"
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 properties hold" in done.stdout


# ---- where it cannot check


def damaged(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def write(text: str) -> str:
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return write


DAMAGED = "shapes.checks.json is damaged: copy it again from the release."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[: len(text) // 2], DAMAGED),
        (lambda text: "", DAMAGED),
        (lambda text: "[]", DAMAGED),
        (lambda text: "3", DAMAGED),
        (lambda text: "{}", DAMAGED),
        (damaged(lambda d: d.pop("tasks")), DAMAGED),
        (damaged(lambda d: d.update(code=None)), DAMAGED),
        (damaged(lambda d: d.update(code=["def broken("])), DAMAGED),
        (damaged(lambda d: d.update(code=[])), DAMAGED),
        (damaged(lambda d: d["tasks"]["center"].pop("objects")), DAMAGED),
        (damaged(lambda d: d["tasks"]["center"].pop("hidden_cases")), DAMAGED),
        (damaged(lambda d: d["tasks"]["center"]["cases"][0].pop("expected")), DAMAGED),
        (damaged(lambda d: d["tasks"]["center"]["cases"][0]["expected"][0].update(array="one two")), DAMAGED),
        (damaged(lambda d: d["tasks"]["center"]["cases"][0]["expected"][0].update(shape=[7])), DAMAGED),
        (damaged(lambda d: d["tasks"].update(center=[])), DAMAGED),
        (
            damaged(lambda d: d.update(format=FORMAT + 1)),
            "shapes.checks.json was made for another version of autograder: update one of the two.",
        ),
    ],
    ids=[
        "half",
        "empty",
        "list",
        "number",
        "no keys",
        "no tasks",
        "no code",
        "broken code",
        "no cases",
        "no objects",
        "no count",
        "no answers",
        "no numbers",
        "another shape",
        "task is a list",
        "another version",
    ],
)
def test_a_bundle_that_cannot_be_used_gives_one_sentence(
    folder: Path, change: Callable[[str], str], sentence: str
) -> None:
    path = folder / file_name("shapes")
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(student.CheckImpossible) as caught:
        open_checks("shapes", folder)("center")
    assert str(caught.value) == sentence
    assert caught.value._render_traceback_() == [sentence]


def test_bytes_that_are_no_text_give_the_same_sentence(folder: Path) -> None:
    (folder / file_name("shapes")).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CourseError, match="is damaged"):
        open_checks("shapes", folder)("center")


def test_a_missing_bundle_is_named_and_found_once_it_is_there(tmp_path: Path, bundle_text: str) -> None:
    check = open_checks("shapes", tmp_path)
    with pytest.raises(student.CheckImpossible) as caught:
        check("center")
    assert str(caught.value) == "shapes.checks.json is not beside the notebook: copy it there again from the release."
    (tmp_path / file_name("shapes")).write_text(bundle_text, encoding="utf-8")
    with pytest.raises(CheckFailed, match="The notebook has no `center`"):
        check("center")


@pytest.mark.parametrize(
    "task", ["centre", "", "why", len], ids=["misspelled", "empty", "written question", "function"]
)
def test_an_unknown_task_gives_a_sentence_that_lists_the_tasks(folder: Path, task: Any) -> None:
    with pytest.raises(student.CheckImpossible) as caught:
        open_checks("shapes", folder)(task)
    assert str(caught.value) == f"The sheet shapes has no task {task!r}; its tasks are center, normalize."


def test_the_bundle_is_looked_for_where_the_notebook_was_when_it_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    check = open_checks("shapes")
    monkeypatch.chdir("/")
    assert check.report("center", {"center": lambda x: x - x.mean(axis=0)}).message() == ""


# ---- in a real notebook

CELLS = {
    "open": "from autograder import open_checks\ncheck = open_checks('shapes')",
    "missing": "check('center')",
    "right": RIGHT + "import sys, warnings\nprint('shown')\ncheck('center')",
    "noisy": (
        f"{RIGHT}def center(x, f=center):\n    print('p', file=sys.stderr)\n    warnings.warn('w')\n    return f(x)\n"
        "result = check('center')\nresult is None"
    ),
    "wrong": WRONG + "check('center')",
    "raises": "def center(x):\n    return np.stack([x, x[:, :1]])\ncheck('center')",
    "markup": "def center(x):\n    raise ValueError('<script>')\ncheck('center')",
    "unknown": "check('centre')",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, bundle_text: str) -> dict[str, list[Any]]:
    """The outputs of all cells of a notebook, run by a real kernel."""
    folder = tmp_path_factory.mktemp("student")
    (folder / file_name("shapes")).write_text(bundle_text, encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()])
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", allow_errors=True, timeout=60, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def test_no_cell_writes_to_stderr(outputs: dict[str, list[Any]]) -> None:
    streams = [o.name for cell in outputs.values() for o in cell if o.output_type == "stream"]
    assert streams == ["stdout"]  # the cell's own print


def test_a_success_displays_quiet_lines_and_no_result(outputs: dict[str, list[Any]]) -> None:
    printed, shown = outputs["right"]
    assert printed.text == "shown\n"
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].splitlines()[1] == "  ✓ each column has mean 0 and its own spread"
    assert shown.data["text/html"].startswith("<div")
    assert MIME not in shown.data
    noisy, result = outputs["noisy"]
    assert "Your code warned: UserWarning: w" in noisy.data["text/plain"]
    assert result.data["text/plain"] == "True"


@pytest.mark.parametrize(
    ("cell", "mark", "said"),
    [
        ("missing", "○", "The notebook has no `center`."),
        ("wrong", "✗", "Over which axis do the examples run?"),
        ("raises", "✗", "in the line `return np.stack([x, x[:, :1]])`"),
        ("markup", "✗", "the exception ValueError: <script>"),
    ],
)
def test_a_failure_displays_the_listing_and_raises_the_message_without_a_frame(
    outputs: dict[str, list[Any]], cell: str, mark: str, said: str
) -> None:
    shown, error = outputs[cell]
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].splitlines()[1] == f"  {mark} each column has mean 0 and its own spread"
    assert f"{mark} each column has mean 0 and its own spread" in shown.data["text/html"]
    assert said not in shown.data["text/plain"] + shown.data["text/html"]  # the message says it, once
    assert "<script>" not in shown.data["text/html"]
    assert (error.output_type, error.ename) == ("error", "CheckFailed")
    assert said in error.evalue
    assert error.traceback == error.evalue.splitlines()
    assert not any("Traceback" in line or "autograder" in line for line in error.traceback)


def test_a_check_that_is_impossible_shows_its_sentence_alone(outputs: dict[str, list[Any]]) -> None:
    (error,) = outputs["unknown"]
    assert error.ename == "CheckImpossible"
    assert error.traceback == ["The sheet shapes has no task 'centre'; its tasks are center, normalize."]


# ---- stock nbgrader: the hidden region of a check cell


def stock(place: SheetPlace, code: str, task: str = "center", seed: int = 1) -> Report:
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    reference = text.reference(task)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    grade = grader(
        checks=task_checks(place.checks, sheet, task), given=reference.given, solution=reference.solution, seed=seed
    )
    exec("def graded(check, name):\n    return check(name)", namespace)
    return namespace["graded"](grade, task)


@pytest.mark.parametrize(
    ("code", "points"),
    [
        (RIGHT, "2.0"),
        (WRONG, "0.0"),
        ("def center(x):\n    return x - x.mean(axis=0) if len(x) > 1 else x", "1.0"),
        ("def center(x):\n    return x.__isub__(x.mean(axis=0)) + 0", "1.33"),
        ("def center(x):\n    return None", "0.0"),
        ("def center(x):\n    raise NotImplementedError()", "0.0"),
        ("", "0.0"),
    ],
    ids=["right", "wrong", "one row is wrong", "changes its input", "None", "stub", "missing"],
)
def test_a_graded_cell_shows_the_points_as_a_plain_number(place: SheetPlace, code: str, points: str) -> None:
    report = stock(place, code)
    assert report._repr_mimebundle_()["text/plain"] == points
    assert report.graded


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_a_hidden_case_gave_is_told_nowhere(place: SheetPlace, seed: int) -> None:
    code = (
        "import numpy as np, warnings\n"
        "def center(x):\n"
        "    if len(x) == 1:\n"
        "        print('seen', x)\n"
        "        warnings.warn(f'seen {x}')\n"
        "        raise ValueError(f'seen {x}')\n"
        "    return x - x.mean(axis=0)\n"
    )
    report = stock(place, code, seed=seed)
    told = json.dumps(report._repr_mimebundle_(), ensure_ascii=False) + report.text()
    assert report.judgment.points == 1
    assert "one row becomes zeros (hidden)" in told
    for private in ("seen", "ValueError", "[["):
        assert private not in told


def test_the_student_and_the_stock_grader_agree_on_visible_cases(place: SheetPlace, folder: Path) -> None:
    for code in (RIGHT, WRONG, "def center(x):\n    return None"):
        seen, given = checked(folder, code), stock(place, code)
        first, same = seen.judgment.verdicts[0], given.judgment.verdicts[0]
        assert (first.property.name, first.holds) == (same.property.name, same.holds)
        assert [k.name for k in seen.judgment.misconceptions] == [k.name for k in given.judgment.misconceptions]


def test_a_cell_without_the_checks_of_its_task_says_so() -> None:
    with pytest.raises(CourseError, match="holds no checks for center: build the sheet again"):
        grader(checks="", given="", solution="")("center")
