"""A hostile submission in headless Chromium: formgrader's page of it, served by Jupyter, and its feedback, from disk.

The folder in AUTOGRADER_SCREENSHOTS, where there is one, keeps a picture of each page. Where AUTOGRADER_MATHJAX names
a folder that holds MathJax 2.7.7, the pages get it in place of the one from the network.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")

from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader.api import Gradebook
from playwright.sync_api import Browser, Dialog, Page, Route, expect, sync_playwright
from traitlets.config import Config

from autograder import pages
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Property, Verdict
from autograder.report import Report
from tests.browser import LOADING, SIZE, chromium, launch, serving
from tests.hostile_pages import LEAVE, STUDENT, TRACKER, fatal_cells, feedback_exporter, hostile_notebook

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: install the system's package `chromium`"),
]

CONFIG = "from autograder import pages\n\npages.configure(get_config())\n"
MATHJAX = "https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/"  # what nbgrader's pages load, wherever they are read
ANSWER = "A feature is a column, so its mean is over the examples."
VIOLATIONS = (
    "addEventListener('securitypolicyviolation', e => (window.refused ||= []).push(e.violatedDirective + e.blockedURI))"
)
CLICK = "links => links.forEach(a => a.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true})))"


@dataclass
class Watched:
    """A page, and all that it asked for."""

    page: Page
    asked: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def strangers(self) -> list[str]:
        """Returns the addresses outside this machine, other than MathJax's."""
        web = [url for url in self.asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
        return [url for url in web if urlsplit(url).hostname != "127.0.0.1" and not url.startswith(MATHJAX)]

    def expect_nothing_ran(self) -> None:
        """No payload ran and nobody was asked, even when all links of the student are clicked; all was seen."""
        self.page.wait_for_timeout(1500)
        address = self.page.url
        self.page.eval_on_selector_all("#notebook-container a:not([target])", CLICK)
        self.page.wait_for_timeout(500)
        assert self.page.evaluate("window.pwned") is None
        assert not self.dialogs
        assert not self.strangers()
        assert not self.page.evaluate("window.refused || []")
        assert self.page.url.partition("#")[0] == address.partition("#")[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport=SIZE, color_scheme="light")
    context.set_default_timeout(LOADING)
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    context.route(f"{MATHJAX}**", lambda route: mathjax(route))
    watched = Watched(page)

    def dismiss(dialog: Dialog) -> None:
        watched.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("request", lambda request: watched.asked.append(request.url))
    page.on("dialog", dismiss)
    yield watched
    context.close()


def mathjax(route: Route) -> None:
    """Answers with the MathJax in the folder AUTOGRADER_MATHJAX, or as if there were no network."""
    folder = os.environ.get("AUTOGRADER_MATHJAX")
    path = Path(folder or "/nowhere") / urlsplit(route.request.url).path.removeprefix(urlsplit(MATHJAX).path)
    if path.is_file():
        route.fulfill(path=path)
    else:
        route.abort()


def shoot(page: Page, name: str, tmp_path: Path, top: bool = True) -> None:
    folder = Path(os.environ.get("AUTOGRADER_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    if top:
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.screenshot(path=folder / f"{name}.png")


def meta(name: str, **flags: object) -> dict[str, object]:
    base = {"schema_version": 3, "grade_id": name, "grade": True, "solution": False, "locked": False, "task": False}
    return {"nbgrader": {**base, **flags}}


def submission() -> NotebookNode:
    """Returns a graded notebook: a check with its report, a written answer, honest work, and all payloads."""
    seen, unseen = Property("rows", "each row sums to 1", False, 1.0, []), Property("one", "one row", True, 1.0, [])
    verdicts = [Verdict(seen), Verdict(unseen, Difference("value", "", ""))]
    report = Report(Judgment("normalize", 2, verdicts), graded=True)
    data = {"text/plain": "1.0", "text/html": report.html()}
    check = new_code_cell(
        'check("normalize")', execution_count=1, metadata=meta("check_normalize", locked=True, points=2)
    )
    check.outputs = [new_output("execute_result", data, execution_count=1)]
    why = new_markdown_cell(ANSWER, metadata=meta("why", solution=True, points=2))
    notebook = hostile_notebook(fatal_cells())
    notebook.cells = [check, why, *notebook.cells]
    return notebook


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder with one graded submission."""
    root = tmp_path_factory.mktemp("course")
    (root / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    folder = root / "autograded" / STUDENT / "m1"
    folder.mkdir(parents=True)
    nbformat.write(submission(), folder / "shapes.ipynb")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)  # nbgrader calls alembic to make a database
        Gradebook(database(root)).close()
    with Gradebook(database(root)) as gradebook:
        gradebook.add_assignment("m1")
        gradebook.add_notebook("shapes", "m1")
        gradebook.add_grade_cell("check_normalize", "shapes", "m1", max_score=2, cell_type="code")
        gradebook.add_grade_cell("why", "shapes", "m1", max_score=2, cell_type="markdown")
        gradebook.add_solution_cell("why", "shapes", "m1")
        gradebook.add_student(STUDENT)
        gradebook.add_submission("m1", STUDENT)
        gradebook.find_grade("check_normalize", "shapes", "m1", STUDENT).auto_score = 1
        gradebook.db.commit()
    return root


def database(root: Path) -> str:
    return f"sqlite:///{root / 'gradebook.db'}"


def expect_honest_work(page: Page) -> None:
    for text in ("normalize: 1 of 2 properties hold", ANSWER, "epoch 1 < 2 & done", "0.125", "My answer & reason"):
        expect(page.get_by_text(text).first).to_be_visible()
    expect(page.get_by_role("img", name="Two clouds of points")).to_be_visible()
    assert page.evaluate("document.querySelector('img[alt=\"Two clouds of points\"]').naturalWidth") == 40
    expect(page.get_by_role("link", name="the book")).to_have_attribute("href", "https://d2l.ai/x?a=1&b=2")
    keyword = page.locator(".highlight .kn").first
    assert keyword.evaluate("e => getComputedStyle(e).color") != page.locator("body").evaluate(
        "e => getComputedStyle(e).color"
    )
    box = page.get_by_text("normalize: 1 of 2 properties hold").locator("xpath=..")
    assert box.evaluate("e => getComputedStyle(e).borderLeftWidth") == "4px"


def test_formgrader_shows_a_hostile_submission_and_works(course: Path, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    with Gradebook(database(course)) as gradebook:
        identity = gradebook.find_submission_notebook("shapes", "m1", STUDENT).id
    (tmp_path / "server").mkdir()
    with serving(course, tmp_path / "server") as lab:
        page.goto(lab.url("formgrader/manage_assignments"))  # logs in
        page.goto(f"{lab.address}/formgrader/submissions/{identity}/")
        page.wait_for_function("window.formgrader && formgrader.loaded")
        watched.expect_nothing_ran()
        expect_honest_work(page)
        shoot(page, "p1_formgrader", tmp_path)
        page.locator(".glyphicon-eye-open").click()
        expect(page.locator("a.name-shown")).to_have_text(re.compile(re.escape(STUDENT)))
        expect(page.locator("#check_normalize")).to_have_attribute("placeholder", "1")
        with page.expect_response(lambda r: "/api/grade/" in r.url and r.request.method == "PUT" and r.ok):
            page.locator("#why").fill("1.5")
            page.locator("#why").press("Tab")
        with page.expect_response(lambda r: "/api/comment/" in r.url and r.request.method == "PUT" and r.ok):
            page.locator("#why-comment").fill("*Nearly*: say <b>which</b> column.")
            page.locator("#why-comment").press("Tab")
        shoot(page, "p2_formgrader_graded", tmp_path)
        page.locator(".cell", has_text="show(data)").nth(70).scroll_into_view_if_needed()
        shoot(page, "p3_formgrader_payloads", tmp_path, top=False)
        page.locator(".help").click()
        expect(page.get_by_text("Move to the next score or comment input")).to_be_visible()
        watched.expect_nothing_ran()
    with Gradebook(database(course)) as gradebook:
        assert gradebook.find_grade("why", "shapes", "m1", STUDENT).manual_score == 1.5
        assert "which" in gradebook.find_comment("why", "shapes", "m1", STUDENT).manual_comment


def test_feedback_on_a_hostile_submission_runs_nothing(course: Path, watched: Watched, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "nbgrader", "generate_feedback", "m1", "--force"]
    done = subprocess.run(call, cwd=course, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    watched.page.goto((course / "feedback" / STUDENT / "m1" / "shapes.html").as_uri())
    watched.expect_nothing_ran()
    expect_honest_work(watched.page)
    expect(watched.page.get_by_text("Score: 1.0 / 2.0")).not_to_have_count(0)
    shoot(watched.page, "p4_feedback", tmp_path)
    watched.page.locator(".cell").nth(60).scroll_into_view_if_needed()
    shoot(watched.page, "p5_feedback_payloads", tmp_path, top=False)


def feedback(config: Config, notebook: NotebookNode, file: Path) -> str:
    """Writes the page that nbconvert makes with `config` and nbgrader's template, and returns its address."""
    resources = {"nbgrader": {"notebook": "shapes", "score": 1, "max_score": 2, "late_penalty": 0}}
    page, _ = feedback_exporter(config).from_notebook_node(notebook, resources=resources)
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


def staying() -> NotebookNode:
    """Returns the hostile notebook without what leaves the page."""
    notebook = hostile_notebook()
    leave = LEAVE.format(tracker=TRACKER)
    kept = [cell for cell in notebook.cells if leave not in str(cell)]
    notebook.cells = [cell for cell in kept if "<plaintext>" not in str(cell) and "<base" not in str(cell)]
    return notebook


def test_the_payloads_are_live(watched: Watched, tmp_path: Path) -> None:
    """On nbgrader's page as it comes, they run, and they tell the tracker."""
    config = Config()
    watched.page.goto(feedback(config, staying(), tmp_path / "stock.html"))
    watched.page.wait_for_timeout(1500)
    assert len(set(watched.page.evaluate("window.pwned"))) > 10
    assert any(TRACKER in url for url in watched.strangers())
    shoot(watched.page, "p6_stock", tmp_path)


def test_the_policy_alone_stops_every_script(watched: Watched, tmp_path: Path) -> None:
    """Should something slip through the cleaning, the browser still runs none of it."""
    config = Config()
    config.HTMLExporter.extra_template_basedirs = [str(pages.TEMPLATES), str(pages.NBGRADERS)]
    config.HTMLExporter.filters = {"page_policy": "autograder.pages.page_policy"}
    watched.page.goto(feedback(config, staying(), tmp_path / "policy.html"))
    watched.page.wait_for_timeout(1500)
    watched.page.eval_on_selector_all("a[href^='javascript:']", CLICK)
    assert watched.page.evaluate("window.pwned") is None
    assert len(watched.page.evaluate("window.refused")) > 20
