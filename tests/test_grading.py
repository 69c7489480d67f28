"""Three ways of running the same checks, one score; and a class in which every kind of submission gets its due."""

import html
import shutil
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from autograder import build, gradebook
from autograder.course import Course, SheetPlace
from autograder.demo import CONFIG, SampleClass
from autograder.gradebook import Grades, Row
from autograder.report import MIME
from tests.commands import nbgrader
from tests.conftest import needs_sandbox
from tests.mini import write_course

ROOT = Path(__file__).resolve().parent.parent
SHEETS = ["mini", *(f"{place.module}/{place.name}" for place in Course(ROOT).sheets)]

pytestmark = [pytest.mark.slow, needs_sandbox]


def place_of(sheet: str, folder: Path) -> SheetPlace:
    """Returns the place of a sheet of the course, or of the small course made in `folder`."""
    course = Course(ROOT) if sheet != "mini" else Course(write_course(folder))
    found = course.find("shapes" if sheet == "mini" else sheet)
    assert isinstance(found, SheetPlace)
    if sheet == "mini":
        build.build_sheet(found)
    return found


class Class:
    """A sample class, graded once with stock nbgrader and once with the course's configuration."""

    def __init__(self, place: SheetPlace, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.made = SampleClass(place)
        self.members = {member.student: member for member in self.made.members()}
        self.ours = self._graded(folder / "ours", CONFIG, set())
        self.stock = self._graded(folder / "stock", "", set(self.members) - self.honest())

    def row(self, grades: Grades, student: str) -> Row:
        return next(row for row in grades.rows if row.student == student)

    def mistakes(self) -> list[str]:
        return [name for name in self.members if name[:2] in ("03", "04", "05")]

    def honest(self) -> set[str]:
        """Who can be graded by stock nbgrader; the slow ones only where the sheet is small."""
        quick = {"01_perfect", "02_other_style", *self.mistakes()}
        return quick if len(self.made.sheet.tasks) > 3 else {*quick, "06_untouched", "07_raises", "08_endless"}

    def _graded(self, root: Path, config: str, without: set[str]) -> Grades:
        place = self.place
        shutil.copytree(place.root / "source" / place.module, root / "source" / place.module)
        if config:
            (root / "nbgrader_config.py").write_text(config)
        for name, member in self.members.items():
            if name not in without:
                folder = root / "submitted" / name / place.module
                folder.mkdir(parents=True)
                (folder / f"{place.notebook_name}.ipynb").write_bytes(member.file)
        for command in ("generate_assignment", "autograde", "generate_feedback"):
            done = nbgrader(root, command, place.module, "--Execute.timeout=15")
            assert done.returncode == 0 or not config, done.stderr
        return gradebook.read(root, place.module)


@pytest.fixture(scope="module", params=SHEETS)
def graded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Class:
    folder = tmp_path_factory.mktemp("graded")
    return Class(place_of(request.param, folder / "course"), folder)


def test_the_class_gets_the_right_scores(graded: Class) -> None:
    percent = {name: graded.ours.percent(graded.row(graded.ours, name)) for name in graded.members}
    full = graded.ours.automatic_maximum
    last = list(graded.made.sheet.tasks.values())[-1]
    assert percent["01_perfect"] == percent["02_other_style"] == percent["10_copied_cell"] == 100
    assert percent["06_untouched"] == percent["07_raises"] == percent["09_not_json"] == 0
    assert percent["08_endless"] == pytest.approx(100 * (full - last.points) / full)
    assert all(0 < percent[name] < 100 for name in graded.mistakes())


def test_each_mistake_is_called_by_its_name(graded: Class) -> None:
    for name in graded.mistakes():
        said = graded.row(graded.ours, name).misconceptions
        assert [line.split(": ")[1] for line in said] == [name[3:]], said


def test_who_did_nothing_wrong_is_accused_of_nothing(graded: Class) -> None:
    for name in ("01_perfect", "02_other_style", "06_untouched", "07_raises", "08_endless", "10_copied_cell"):
        assert graded.row(graded.ours, name).misconceptions == []


def test_a_student_is_told_what_the_grader_mended(graded: Class) -> None:
    assert "is not JSON (line" in graded.row(graded.ours, "09_not_json").notes[0]
    assert "2 copies of the cell" in graded.row(graded.ours, "10_copied_cell").notes[0]
    assert graded.row(graded.ours, "01_perfect").notes == []


def test_stock_nbgrader_gives_the_same_points_for_each_task(graded: Class) -> None:
    rows = {row.student: row for row in graded.stock.rows}
    assert set(rows) == graded.honest()
    for name in graded.honest():
        assert rows[name].points == graded.row(graded.ours, name).points, name


def test_the_notebook_gives_the_same_verdicts_as_the_graders(graded: Class, tmp_path: Path) -> None:
    place = graded.place
    for name in ("02_other_style", *graded.mistakes()):
        notebook = nbformat.reads(graded.members[name].file.decode(), as_version=4)
        seen = verdicts_in_notebook(notebook, place, tmp_path)
        for task, (holds, known) in seen.items():
            graded_row = graded.row(graded.ours, name)
            declared = graded.made.sheet.tasks[task]
            points = graded_row.points[task]
            assert points is not None
            if not holds:
                assert points < declared.points, (name, task)
                assert all(f"{task}: {k}" in graded_row.misconceptions for k in known)
            elif points < declared.points:  # then only hidden cases can tell
                hidden = {m.name for m in declared.misconceptions if m.hidden_only}
                assert {line.split(": ")[1] for line in graded_row.misconceptions} <= hidden, (name, task)


def test_feedback_names_the_mistake_and_keeps_the_hidden_tests(graded: Class) -> None:
    for name in graded.mistakes():
        place = graded.place
        page = graded.folder / "ours" / "feedback" / name / place.module / f"{place.notebook_name}.html"
        text = html.unescape(page.read_text(encoding="utf-8"))
        known = next(m for t in graded.made.sheet.tasks.values() for m in t.misconceptions if m.name == name[3:])
        assert known.text.split()[0] in text
        assert known.text.split()[-1] in text
        assert "stock.grader" not in text
        assert "HIDDEN TESTS" not in text
        for task in graded.made.sheet.tasks.values():
            assert not any(case.hidden and f"def {case.name}" in text for case in task.cases)


def verdicts_in_notebook(
    notebook: nbformat.NotebookNode, place: SheetPlace, folder: Path
) -> dict[str, tuple[bool, list[str]]]:
    """Runs a submission where a student would, and returns for each task whether all visible properties hold."""
    shutil.copy(place.built("release")[1], folder)
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code" and cell.source.startswith('check("'):
            task = cell.source.split('"')[1]
            cell.source = (
                f"from IPython.display import display\n"
                f"display({{'{MIME}': check.report({task!r}, globals()).data()}}, raw=True)"
            )
    NotebookClient(copy, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    reports = [o["data"][MIME] for c in copy.cells for o in c.get("outputs", []) if MIME in o.get("data", {})]
    return {
        r["task"]: (all(p["holds"] for p in r["properties"]), [k["name"] for k in r["misconceptions"]]) for r in reports
    }
