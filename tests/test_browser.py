"""JupyterLab in headless Chromium: a student's wrong and right work, and an instructor who grades by hand.

The folder in AUTOGRADER_SCREENSHOTS, where there is one, keeps a picture of each stage, and of each failure.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")

from nbgrader.api import Gradebook
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from autograder.course import Course, SheetPlace
from autograder.demo import CONFIG
from tests.browser import LOADING, SIZE, Lab, Sheet, Validation, choose_theme, chromium, launch, menu, serving
from tests.commands import nbgrader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: install the system's package `chromium`"),
]

SETUP = "setup_1"
CENTER = "def center(x):\n    return x - x.mean(axis={})\n"
NORMALIZE = "def normalize(x):\n    return x / x.sum(axis={}, keepdims=True)\n"
WRONG = {"center": CENTER.format("1, keepdims=True"), "normalize": NORMALIZE.format(0)}
RIGHT = {"center": CENTER.format(0), "normalize": NORMALIZE.format(1)}
ANSWER = "Each column is a feature, and its mean is over the examples."
AXIS, SUM = "Over which axis do the examples run?", "Which axis did you sum over?"  # of mini.CHECKS
PROPERTY = {"center": "each column has mean 0 and its own spread", "normalize": "each row sums to 1"}
FRAMES = re.compile(r"Traceback|CheckFailed|autograder/|File |ipykernel|line \d+")

Shoot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def place(built_course: Path) -> SheetPlace:
    return Course(built_course).sheets[0]


@pytest.fixture(scope="module")
def chrome() -> Iterator[BrowserContext]:
    """One browser, and one profile: JupyterLab is in its cache after the first page."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        context = browser.new_context(viewport=SIZE, color_scheme="light")
        context.set_default_timeout(LOADING)
        yield context
        browser.close()


@pytest.fixture(scope="module")
def student_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("student"), tmp_path_factory.mktemp("server")) as lab:
        yield lab


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    folder = Path(os.environ.get("AUTOGRADER_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take


@pytest.fixture
def page(request: pytest.FixtureRequest, chrome: BrowserContext, shoot: Shoot) -> Iterator[Page]:
    """A page that must ask nobody outside this machine."""
    page = chrome.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    failures = request.session.testsfailed
    yield page
    if request.session.testsfailed > failures:
        shoot(page, f"failed_{request.node.name}")
    page.close()
    strangers = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:"))]
    assert not [url for url in strangers if "mathjax" not in url.lower()]  # nbgrader's own pages name MathJax's host


@pytest.fixture
def sheet(request: pytest.FixtureRequest, page: Page, student_lab: Lab, place: SheetPlace) -> Sheet:
    """The released sheet, freshly handed out and opened."""
    folder = student_lab.root / request.node.name
    shutil.copytree(place.built("release")[0].parent, folder / place.module)
    return Sheet(page, student_lab, f"{folder.name}/{place.module}/{place.notebook_name}.ipynb")


def check(task: str) -> str:
    return f"check_{task}"


def refused(sheet: Sheet, tasks: list[str]) -> set[str]:
    """Returns the sources of the check cells that show a failure on the page."""
    failing = [t for t in tasks if sheet.cell(check(t)).locator("[data-mime-type$=stderr]").count()]
    return {sheet.text(check(t)) for t in failing}


def expect_failure(sheet: Sheet, task: str, sentence: str) -> None:
    """The student sees which property fails and the sentence, once each cell has run; and nothing of our insides."""
    listing, message = sheet.output(check(task)).nth(0), sheet.output(check(task)).nth(1)
    expect(sheet.output(check(task))).to_have_count(2)
    expect(listing).to_contain_text(f"✗ {PROPERTY[task]}")
    expect(message).to_contain_text(sentence)
    expect(message).to_contain_text(PROPERTY[task])
    assert not FRAMES.search(listing.inner_text() + message.inner_text())


def expect_success(sheet: Sheet, task: str) -> None:
    """The student sees one quiet line per property, and no more."""
    expect(sheet.output(check(task))).to_have_count(1)
    expect(sheet.output(check(task))).to_contain_text(f"✓ {PROPERTY[task]}")
    expect(sheet.output(check(task))).not_to_contain_text("✗")


def expect_no_streams(sheet: Sheet, tasks: list[str]) -> None:
    """In the saved notebook the check cells print nothing, and an error holds our message only."""
    for task in tasks:
        outputs = sheet.saved_cell(check(task)).outputs
        assert {output.output_type for output in outputs} <= {"display_data", "error"}
        for error in (output for output in outputs if output.output_type == "error"):
            assert not FRAMES.search("\n".join(error.traceback))


def test_wrong_work_is_told_what_is_wrong_and_mended(sheet: Sheet, page: Page, shoot: Shoot) -> None:
    for task, text in WRONG.items():
        sheet.write(task, text)
    sheet.run(SETUP, "center", check("center"), "normalize", check("normalize"))
    shoot(page, "1_wrong")
    expect_failure(sheet, "center", AXIS)
    expect_failure(sheet, "normalize", SUM)
    dialog = sheet.validate()
    shoot(page, "2_wrong_validate")
    said = Validation(dialog)
    assert not said.success
    assert refused(sheet, list(WRONG)) == set(said.failed) - {"YOUR ANSWER HERE"}
    assert AXIS in said.failed['check("center")']
    assert SUM in said.failed['check("normalize")']
    assert not FRAMES.search(said.text)
    sheet.close_dialog()
    expect_no_streams(sheet, list(WRONG))
    choose_theme(page, "JupyterLab Dark")
    shoot(page, "3_wrong_dark")
    choose_theme(page, "JupyterLab Light")  # the next test opens the same JupyterLab
    sheet.write("center", RIGHT["center"])
    sheet.run("center", check("center"))
    shoot(page, "4_mended")
    expect_success(sheet, "center")


def test_right_work_is_told_so_quietly(sheet: Sheet, page: Page, shoot: Shoot) -> None:
    for task, text in RIGHT.items():
        sheet.write(task, text)
    sheet.write("why", ANSWER)
    sheet.run_all(last=check("normalize"))
    expect(sheet.cell("why").locator(".jp-MarkdownOutput")).to_contain_text(ANSWER)
    shoot(page, "5_right")
    for task in RIGHT:
        expect_success(sheet, task)
    dialog = sheet.validate()
    shoot(page, "6_right_validate")
    said = Validation(dialog)
    assert said.success
    assert not said.failed
    sheet.close_dialog()
    expect_no_streams(sheet, list(RIGHT))


def test_run_all_goes_on_past_a_failing_check(sheet: Sheet, page: Page, shoot: Shoot) -> None:
    sheet.write("center", WRONG["center"])
    sheet.write("normalize", RIGHT["normalize"])
    sheet.run_all(last=check("normalize"))
    expect_failure(sheet, "center", AXIS)
    expect_success(sheet, "normalize")
    shoot(page, "7_run_all")


def test_an_untouched_sheet_is_not_solved_yet(sheet: Sheet, page: Page, shoot: Shoot) -> None:
    sheet.run_all(last=check("normalize"))
    shoot(page, "8_untouched")
    dialog = sheet.validate()
    shoot(page, "9_untouched_validate")
    said = Validation(dialog)
    assert not said.success
    assert set(said.failed) == refused(sheet, list(RIGHT)) | {"YOUR ANSWER HERE"}
    assert len(said.failed) == 3
    for task in RIGHT:
        expect(sheet.output(check(task)).first).to_contain_text(f"{task} is not solved yet")
        expect(sheet.output(check(task)).first).to_contain_text(f"○ {PROPERTY[task]}")
        expect(sheet.output(check(task)).first).not_to_contain_text("✗")
        expect(sheet.output(check(task)).last).to_contain_text("not solved yet")
        assert "not solved yet" in said.failed[f'check("{task}")']
    sheet.close_dialog()
    expect_no_streams(sheet, list(RIGHT))


def test_what_grades_cannot_be_edited_or_deleted(sheet: Sheet, page: Page) -> None:
    number = sheet.cells().count()
    for name in (SETUP, check("center")):
        before = sheet.text(name)
        sheet.click_into(name)
        page.keyboard.type("print('mine')")
        assert sheet.text(name) == before
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        page.keyboard.press("d")
        assert sheet.text(name) == before
    assert sheet.cells().count() == number
    sheet.write("center", RIGHT["center"])  # while a solution can be edited
    assert "axis=0" in sheet.text("center")


@pytest.fixture(scope="module")
def graded(place: SheetPlace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instructor's course folder with the submissions of two students, graded automatically."""
    root = tmp_path_factory.mktemp("instructor")
    shutil.copytree(place.root / "source" / place.module, root / "source" / place.module)
    (root / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    mistaken = {**RIGHT, "center": WRONG["center"], "why": ANSWER}
    for student, cells in {"ada": mistaken, "ben": {**RIGHT, "why": ANSWER}}.items():
        notebook = nbformat.read(place.built("release")[0], as_version=4)
        for cell in notebook.cells:
            cell.source = cells.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        folder = root / "submitted" / student / place.module
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{place.notebook_name}.ipynb")
    for command in ("generate_assignment", "autograde"):
        run_nbgrader(root, command, place.module)
    return root


def run_nbgrader(root: Path, *arguments: str) -> None:
    done = nbgrader(root, *arguments)
    assert done.returncode == 0, done.stderr


def grades(root: Path, place: SheetPlace, student: str) -> dict[str, float]:
    """Returns the points of each graded cell in nbgrader's gradebook."""
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        book = gradebook.find_submission_notebook(place.notebook_name, place.module, student)
        return {grade.name: grade.score for grade in book.grades}


def test_an_instructor_grades_by_hand(
    graded: Path, place: SheetPlace, page: Page, shoot: Shoot, tmp_path: Path
) -> None:
    assert grades(graded, place, "ada") == {"check_center": 0, "check_normalize": 3, "why": 0}
    comment = "Say what a column is."
    (tmp_path / "server").mkdir()
    with serving(graded, tmp_path / "server") as lab:
        page.goto(lab.url("lab?reset"))
        menu(page, "Nbgrader", "Formgrader")
        frame = page.frame_locator("#formgrader iframe")
        frame.get_by_role("link", name="Manual Grading").click()
        frame.get_by_role("link", name=place.module).click()
        frame.get_by_role("link", name=place.notebook_name).click()
        expect(frame.get_by_role("link", name=re.compile("Submission #"))).to_have_count(2)
        frame.get_by_role("button", name="Show All Names").click()
        shoot(page, "i1_submissions")
        frame.get_by_role("link", name="ada", exact=True).click()
        expect(frame.locator(".nbgrader_cell", has=frame.locator("#why"))).to_contain_text(ANSWER)
        expect(frame.get_by_role("cell", name="names what a column is")).to_be_visible()
        expect(frame.locator(".output_area").filter(has_text=AXIS).first).to_be_visible()
        shoot(page, "i2_ungraded")
        with page.expect_response(lambda r: "/api/grade/" in r.url and r.request.method == "PUT" and r.ok):
            frame.locator("#why").fill("1.5")
            frame.locator("#why").press("Tab")
        with page.expect_response(lambda r: "/api/comment/" in r.url and r.request.method == "PUT" and r.ok):
            frame.locator("#why-comment").fill(comment)
            frame.locator("#why-comment").press("Tab")
        shoot(page, "i3_graded")
    assert grades(graded, place, "ada") == {"check_center": 0, "check_normalize": 3, "why": 1.5}
    assert grades(graded, place, "ben") == {"check_center": 2, "check_normalize": 3, "why": 0}

    run_nbgrader(graded, "generate_feedback", place.module)
    page.goto((graded / "feedback" / "ada" / place.module / f"{place.notebook_name}.html").as_uri())
    shoot(page, "i4_feedback")
    body = page.locator("body")
    for text in (f"✗ {PROPERTY['center']}", AXIS, f"✓ {PROPERTY['normalize']}", comment):
        expect(body.get_by_text(text, exact=False).first).to_be_visible()
    for secret in ("stock.grader", "HIDDEN TESTS", "column_means", "rng.normal", "@center.case", "einsum"):
        assert secret not in page.content()
