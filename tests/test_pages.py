"""Pages of a submission: what may stand on them, and that nothing else does. A browser's view: test_browser_pages."""

import json
import re
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given, settings
from hypothesis import strategies as st
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.server_extensions.formgrader.formgrader import FormgradeExtension
from traitlets.config import Config

from autograder import pages
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Property, Verdict
from autograder.report import MIME, Report
from tests.hostile_pages import (
    BUNDLES,
    HTML,
    MARKDOWN,
    RUN,
    STUDENT,
    TRACKER,
    fatal_cells,
    feedback_exporter,
    honest_cells,
    hostile_notebook,
    png,
)

CONFIG = "from autograder import pages\n\npages.configure(get_config())\n"
RESOURCES = {  # of formgrader's handler, and of nbgrader's GetGrades
    "assignment_id": "m1",
    "notebook_id": "shapes",
    "submission_id": "0123",
    "index": 0,
    "total": 1,
    "base_url": "",
    "student": STUDENT,
    "last_name": "<script>window.pwned=[998]</script>",
    "first_name": 'a"b\\',
    "notebook_path": 'x"><script>window.pwned=[997]</script>',
    "unique_key": "a & b",
    "nbgrader": {"notebook": "shapes", "score": 1, "max_score": 2, "late_penalty": 0},
}


def formgrade_exporter(folder: Path, patch: pytest.MonkeyPatch, text: str) -> HTMLExporter:
    """Returns the exporter as formgrader makes it, in a course whose configuration is `text`."""
    (folder / "nbgrader_config.py").write_text(text, encoding="utf-8")
    patch.chdir(folder)
    patch.setenv("JUPYTER_CONFIG_DIR", str(folder / "config"))
    extension = FormgradeExtension()
    extension.initialize([])
    return HTMLExporter(config=extension.config)


@pytest.fixture(scope="module", params=["feedback", "formgrade"])
def exporter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HTMLExporter:
    if request.param == "formgrade":
        with pytest.MonkeyPatch.context() as patch:
            return formgrade_exporter(tmp_path_factory.mktemp("course"), patch, CONFIG)
    config = Config()
    pages.configure(config)
    return feedback_exporter(config)


@pytest.fixture(scope="module")
def hostile(exporter: HTMLExporter) -> tuple[str, BeautifulSoup]:
    """Returns the page of all payloads, which tests only read."""
    return export(exporter, hostile_notebook(fatal_cells()))


def export(exporter: HTMLExporter, notebook: NotebookNode) -> tuple[str, BeautifulSoup]:
    page, _ = exporter.from_notebook_node(notebook, resources=dict(RESOURCES))
    return page, BeautifulSoup(page, "html.parser")


def attributes(soup: BeautifulSoup) -> list[tuple[Tag, str, str]]:
    """Returns every attribute of a page with its element."""
    tags = soup.find_all(True)
    return [
        (tag, key, " ".join(value) if isinstance(value, list) else str(value))
        for tag in tags
        for key, value in tag.attrs.items()
    ]


def scripts(soup: BeautifulSoup) -> list[str]:
    return [str(tag) for tag in soup.find_all("script")]


def test_there_are_payloads_in_every_place() -> None:
    assert len(HTML) + len(MARKDOWN) + len(BUNDLES) > 100
    assert len(hostile_notebook().cells) > 300


def test_nbgrader_by_itself_lets_scripts_through() -> None:
    _, soup = export(feedback_exporter(Config()), hostile_notebook())
    ours = [script for script in scripts(soup) if "window.pwned" in script]
    assert len(ours) > 10
    assert sum(key.startswith("on") for _, key, _ in attributes(soup)) > 10


def test_a_page_has_the_scripts_of_its_template(exporter: HTMLExporter) -> None:
    _, empty = export(exporter, new_notebook())
    _, soup = export(exporter, hostile_notebook())
    assert scripts(soup) == scripts(empty)
    assert not any("window.pwned=(window" in script for script in scripts(soup))
    for name in ("style", "link", "meta", "base", "textarea", "input", "button", "nav"):
        assert soup.find_all(name) == empty.find_all(name), name
    for name in ("iframe", "object", "embed", "svg", "math", "form", "video", "audio", "template", "noscript"):
        assert not soup.find_all(name), name


def test_no_attribute_runs_or_loads_anything(exporter: HTMLExporter, hostile: tuple[str, BeautifulSoup]) -> None:
    _, empty = export(exporter, new_notebook())
    known = {(tag.name, key, value) for tag, key, value in attributes(empty)}
    page, soup = hostile
    for tag, key, value in attributes(soup):
        if (tag.name, key, value) in known:
            continue
        assert not key.startswith("on"), tag
        assert key in {
            "align",
            "alt",
            "border",
            "class",
            "height",
            "href",
            "id",
            "rel",
            "src",
            "style",
            "target",
            "title",
            "width",
        }
        if key == "src":
            assert value.startswith("data:image/png;base64,"), tag
        if key == "href":
            assert value.startswith(("#", "https://d2l.ai/")), tag
        if key == "style":
            assert not re.search(r"url|position|:-|\\|@", value), tag
        if key == "class":
            assert "tabbable" not in value and "live-notebook" not in value, tag
        if key == "id":
            assert value.startswith(("cell-id=cell-", "text-")), tag
    assert f"//{TRACKER}" not in re.sub(r"&lt;.*?&gt;|>[^<]*<", "", page)


def test_work_cannot_leave_its_cell(hostile: tuple[str, BeautifulSoup]) -> None:
    _, soup = hostile
    cells = [cell for cell in hostile_notebook(fatal_cells()).cells if cell.cell_type != "raw"]
    shown = soup.find_all("div", class_="cell")
    assert len(shown) == len(cells)
    assert len({id(cell.parent) for cell in shown}) == 1


def test_names_stand_on_the_page_as_text(exporter: HTMLExporter) -> None:
    page, soup = export(exporter, new_notebook())
    if exporter.template_name == "formgrade":
        assert '<script>window.pwned=[998]</script>, a"b\\' in soup.get_text()
    assert not soup.find_all("img")
    assert "<script>window.pwned" not in page


def test_names_of_files_are_left_as_they_are(exporter: HTMLExporter) -> None:
    _, resources = exporter.from_notebook_node(new_notebook(), resources=dict(RESOURCES))
    assert resources["unique_key"] == "a & b"


def test_the_policy_knows_every_script_that_comes_after_it(hostile: tuple[str, BeautifulSoup]) -> None:
    page, soup = hostile
    (meta,) = soup.find_all("meta", attrs={"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in str(meta["content"]).split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data:"
    assert not {"'unsafe-inline'", "'unsafe-eval'"} & set(policy["script-src"].split())
    after = BeautifulSoup(page[page.index("Content-Security-Policy") :], "html.parser")
    found = [tag for tag in after.find_all("script") if tag.get("type") != "text/x-mathjax-config"]
    inline = [str(tag.string) for tag in found if "src" not in tag.attrs]
    inline += [value for _, key, value in attributes(after) if key.startswith("on")]
    assert inline
    for script in inline:
        assert f"'sha256-{pages._digest(script)}'" in policy["script-src"], script
    for tag in after.find_all("script", src=True):
        assert str(tag["src"]).startswith(policy["script-src"].split()[0])


def test_honest_work_looks_as_it_did(exporter: HTMLExporter) -> None:
    _, soup = export(exporter, new_notebook(cells=honest_cells()))
    text = soup.get_text()
    for shown in ("My answer & reason", "$a<b$", "$$\\sum_i x_i$$", "epoch 1 < 2 & done", "0.125"):
        assert shown in text
    link = soup.find("a", href="https://d2l.ai/x?a=1&b=2")
    assert link is not None and link["rel"] == ["noopener", "noreferrer"]
    assert soup.select("div.highlight span.kn, div.highlight span.c1")
    assert soup.select("table.dataframe th")
    assert soup.select("span.ansi-green-intense-fg.ansi-bold")
    assert soup.select('td[style="text-align:right"]')
    (picture,) = soup.find_all("img")
    assert picture["src"] == f"data:image/png;base64,{png()}"
    assert (picture["alt"], picture["width"]) == ("Two clouds of points", "80")
    assert soup.select(".text_cell_render td b")


def test_formgrader_keeps_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"schema_version": 3, "grade_id": "why", "grade": True, "solution": True, "locked": False, "task": False}
    cell = new_markdown_cell("Because.", metadata={"nbgrader": {**meta, "points": 2, "cell_type": "markdown"}})
    _, soup = export(formgrade_exporter(tmp_path, monkeypatch, CONFIG), new_notebook(cells=[cell]))
    assert soup.select("input.score#why")
    assert soup.select("textarea.comment#why-comment")
    assert "/ 2.0" in soup.get_text()


def test_a_comment_is_cleaned_and_laid_out() -> None:
    config = Config()
    pages.configure(config)
    meta = {"schema_version": 3, "grade_id": "why", "grade": True, "solution": True, "locked": False, "task": False}
    meta |= {"points": 2, "score": 1, "comment": "*Nearly* <img src=x onerror=run>"}
    _, soup = export(
        feedback_exporter(config), new_notebook(cells=[new_markdown_cell("x", metadata={"nbgrader": meta})])
    )
    (footer,) = soup.select(".panel-footer")
    assert footer.find("em") is not None
    assert not footer.find("img")


@pytest.mark.parametrize(
    "meta", [{"grade_id": 'x" onclick="run'}, {"grade_id": 3}, [], "x", None, {"grade_id": "a", "points": "<script>"}]
)
def test_metadata_of_a_wrong_kind_is_left_out(meta: Any) -> None:
    cell = new_code_cell("x")
    cell.metadata = {"nbgrader": meta, "tags": {"a": 1}, "transient": 3}
    made, _ = pages.SafePage().preprocess(NotebookNode(cells=[cell], metadata={}), {})
    kept = made.cells[0].metadata.get("nbgrader", {})
    assert set(kept) <= {"schema_version", "grade_id", "grade", "solution", "locked", "task"}
    assert kept.get("grade_id") in (None, "a")
    assert set(made.cells[0].metadata) <= {"nbgrader"}


SEEN = Property("rows", "each `row` sums to 1 & more", False, 1.0, [])
UNSEEN = Property("hard", "'far' \"away\"", True, 1.0, [])


@pytest.mark.parametrize(
    "verdicts",
    [
        [Verdict(SEEN)],
        [Verdict(SEEN, Difference("value", "[1. < 2.]\n[3.]", "<b>nothing</b>"))],
        [Verdict(SEEN), Verdict(UNSEEN, Difference("raised", "", "IndexError"))],
        [Verdict(SEEN, Difference("missing", "", "`relu` is not there.")), Verdict(UNSEEN)],
    ],
)
def test_a_report_looks_the_same(verdicts: list[Verdict]) -> None:
    report = Report(Judgment("relu", 2, verdicts, ["A remark on `x` < 1."]), graded=True).html()
    assert "style=" in report
    assert BeautifulSoup(pages.clean(report), "html.parser") == BeautifulSoup(report, "html.parser")
    (made,) = pages.safe_outputs(
        [{"output_type": "execute_result", "data": {"text/html": report, "text/plain": "1.0"}}]
    )
    assert BeautifulSoup(made.data["text/html"], "html.parser") == BeautifulSoup(report, "html.parser")
    assert made.data["text/plain"] == "1.0"


@pytest.mark.parametrize(
    "given, kept",
    [
        ("<td style='text-align: right; position: fixed'>x</td>", '<td style="text-align:right">x</td>'),
        ("<p style='background:url(http://a/b)'>x</p>", "<p>x</p>"),
        ("<p style='color: rgb(1, 2, 3)'>x</p>", '<p style="color:rgb(1, 2, 3)">x</p>'),
        ("<p style='color: expression(run)'>x</p>", "<p>x</p>"),
        ("<p style='margin-top:-500px;width:var(--x)'>x</p>", "<p>x</p>"),
        ("<p style='list-style:\\75rl(x)'>x</p>", "<p>x</p>"),
        ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
        ("&lt;script&gt; &amp;lt; &nbsp;", "&lt;script&gt; &amp;lt; \xa0"),
        ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
        ("</div>x<div>", "x<div></div>"),
        ("<script>a<b</script>x", "x"),
        ("<style>p {}", ""),
        (
            "<a href='HTTPS://a.b/c?d=1&amp;e=2'>x</a>",
            '<a href="HTTPS://a.b/c?d=1&amp;e=2" rel="noopener noreferrer" target="_blank">x</a>',
        ),
        ("<a href='http:relative'>x</a>", "<a>x</a>"),
        ("<a href='#x y'>x</a>", '<a href="#text-x y">x</a>'),
        ("<h2 id='why'>x</h2>", '<h2 id="text-why">x</h2>'),
        ("<img src='a.png' alt='a &lt;plot&gt;'>", "[picture: a &lt;plot&gt;]"),
        ("<p class='k navbar-fixed-top'>x</p>", '<p class="k">x</p>'),
        ("<unknown>x</unknown>", "x"),
        ("<!-- a > b -->x<!DOCTYPE html>y<!-- <b>", "xy"),
        (None, ""),
        (["<b>"], ""),
    ],
)
def test_clean(given: Any, kept: str) -> None:
    assert pages.clean(given) == kept
    assert pages.clean(kept) == kept


UNITS = [
    "<a ",
    "<a",
    "<a b='",
    '<p style="',
    "</",
    "<",
    "<!--",
    "<!",
    "<?",
    "<script>",
    "&#",
    "<b>",
    "<b></b>",
    "<b><p>",
    "</b>",
]


@pytest.mark.parametrize("unit", UNITS)
def test_cleaning_takes_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    cleaned = pages.clean(text)
    assert time.process_time() - start < 5  # html.parser takes minutes for most of these, html5lib for some
    assert len(cleaned) < 10 * len(text)


PIECES = [
    "<",
    ">",
    "/",
    '"',
    "'",
    "=",
    " ",
    "a",
    "img",
    "div",
    "table",
    "script",
    "style",
    "src",
    "href",
    "onerror",
    "&",
    "&lt;",
    "&#60;",
]
PIECES += [
    "javascript:",
    "http://x",
    "<!--",
    "-->",
    "<b>",
    "</b>",
    "<svg>",
    "</svg>",
    "\n",
    "\x00",
    "`",
    ";",
    "url(",
    "color:red",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_what_is_clean_is_known_and_stays(text: str) -> None:
    cleaned = pages.clean(text)
    assert pages.clean(cleaned) == cleaned
    soup = BeautifulSoup(f"<p>{cleaned}</p>", "html.parser")
    assert str(soup).count("<") - 2 == cleaned.count("<")  # each bracket is a tag's
    for tag, key, value in attributes(soup):
        assert tag.name in pages.TAGS
        assert key in {
            "class",
            "id",
            "style",
            "title",
            "href",
            "rel",
            "target",
            "alt",
            "src",
            "width",
            "height",
            "border",
            "align",
        }
        assert "javascript:" not in value or key in ("alt", "title", "id") or value.startswith(("#text-", "http://x"))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
TEXTS = st.text(alphabet=st.characters(codec=None)) | st.sampled_from(
    [HTML[0], "\x1b[31mx", "\x1b[38m", "\ud800", png()]
)
KINDS = [
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/png",
    "image/jpeg",
    "image/svg+xml",
    "application/json",
]
BUNDLE = st.dictionaries(st.sampled_from(KINDS) | st.text(), TEXTS | st.lists(TEXTS) | JSON)
OUTPUT = st.fixed_dictionaries(
    {"output_type": st.sampled_from(["stream", "error", "display_data", "execute_result", "update"]) | JSON},
    optional={
        "name": st.sampled_from(["stdout", "stderr"]) | JSON,
        "text": TEXTS | st.lists(TEXTS) | JSON,
        "data": BUNDLE | JSON,
        "metadata": st.dictionaries(st.sampled_from(KINDS), JSON | st.fixed_dictionaries({"alt": TEXTS, "width": JSON}))
        | JSON,
        "execution_count": st.integers() | JSON,
        "traceback": st.lists(TEXTS | JSON) | JSON,
        "ename": TEXTS | JSON,
        "evalue": TEXTS | JSON,
    },
)


@given(st.lists(OUTPUT | JSON) | JSON)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_any_json_becomes_outputs_that_can_be_stored_and_shown(outputs: Any) -> None:
    safe = pages.safe_outputs(outputs)
    notebook = new_notebook(cells=[new_code_cell("x", id="x", outputs=safe)])
    nbformat.validate(notebook)
    nbformat.writes(notebook).encode("utf-8")
    json.dumps(safe, allow_nan=False)
    assert pages.safe_outputs(json.loads(json.dumps(safe))) == safe
    assert {output.output_type for output in safe} <= {"stream", "error", "display_data", "execute_result"}
    shown = {"text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg"}
    assert all(output.data and set(output.data) <= shown for output in safe if "data" in output)


def test_forged_reports_are_dropped() -> None:
    forged = {"output_type": "display_data", "data": {"application/vnd.autograder.report+json": {"points": 3}}}
    (made,) = pages.safe_outputs([forged])
    assert made.data == {"text/plain": "[an output that is not shown here: application/vnd.autograder.report+json]"}


def test_pages_of_scripts_give_way_to_their_text() -> None:
    bundle = {"text/html": "<div id=x></div><script>plot()</script>", "text/plain": "<Figure>"}
    (made,) = pages.safe_outputs([{"output_type": "display_data", "data": bundle}])
    assert made.data == {"text/plain": "<Figure>"}


@pytest.mark.parametrize("lines", [["a\n", "b"], "a\nb"])
def test_text_in_lines_is_joined_as_nbformat_has_it(lines: Any) -> None:
    (made,) = pages.safe_outputs([{"output_type": "stream", "name": "stderr", "text": lines}])
    assert made == new_output("stream", name="stderr", text="a\nb")


def test_outputs_are_cut_to_what_can_be_shown() -> None:
    (made,) = pages.safe_outputs([{"output_type": "stream", "name": "stdout", "text": "x" * 3_000_000}])
    assert len(made.text) == pages.TEXT
    assert made.text.endswith("[… cut: 3000000 characters in all]")
    assert pages.safe_outputs([made]) == [made]
    *most, last = pages.safe_outputs([{"output_type": "stream", "text": str(i)} for i in range(1000)])
    assert len(most) == pages.OUTPUTS - 1
    assert last.text == "[901 more outputs are not shown]\n"
    *most, last = pages.safe_outputs([{"output_type": "stream", "text": "x" * 900_000}] * 20)
    assert sum(len(output.text) for output in most) <= pages.CELL
    assert last.text == "[9 more outputs are not shown]\n"
    table = {"text/html": "<b>x</b>" * 200_000, "text/plain": "a table"}
    (made,) = pages.safe_outputs([{"output_type": "display_data", "data": table}])
    assert set(made.data) == {"text/plain"}


def images(data: dict[str, Any]) -> dict[str, Any]:
    (made,) = pages.safe_outputs([{"output_type": "display_data", "data": {"text/plain": "x", **data}}])
    return {kind: value for kind, value in made.data.items() if kind != "text/plain"}


def test_images_are_what_they_say() -> None:
    picture = png()
    assert images({"image/png": picture}) == {"image/png": picture}
    assert images({"image/png": picture[:40] + "\n" + picture[40:]}) == {"image/png": picture}
    assert images({"image/jpeg": picture}) == {}
    assert images({"image/png": picture + '" onerror="run'}) == {}
    assert images({"image/png": "aGVsbG8="}) == {}
    assert images({"image/svg+xml": "<svg/>"}) == {}
    assert images({"image/png": png(6000, 6000)}) == {}  # small in bytes, large on the screen
    assert pages.safe_attachments({"a.png": {"image/png": picture}, "b.svg": {"image/svg+xml": "<svg/>"}, "c": 3}) == {
        "a.png": {"image/png": picture}
    }


@pytest.mark.parametrize(
    "given, kept",
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;5;28;01mnew\x1b[39;00m", "\x1b[38;5;28;01mnew\x1b[39;00m"),
        ("\x1b[38mstops nbconvert", "stops nbconvert"),
        ("\x1b[48;5mstops nbconvert", "stops nbconvert"),
        ("\x1b[2K\x1b[1Acleared", "cleared"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("\x1b", ""),
        ("\x1b[31m" * 100_000 + "x", "x"),
        ("a\x00b\x08c\ud800", "abc\\ud800"),
    ],
)
def test_only_colors_are_left_of_escapes(given: str, kept: str) -> None:
    (made,) = pages.safe_outputs([{"output_type": "stream", "text": given}])
    assert made.text == kept


def test_what_stops_nbconvert_does_not_stop_a_page(hostile: tuple[str, BeautifulSoup]) -> None:
    for cell in fatal_cells():
        with pytest.raises((InvalidNotebook, IndexError)):
            feedback_exporter(Config()).from_notebook_node(new_notebook(cells=[cell]), resources=dict(RESOURCES))
    assert "[picture: x]" in hostile[1].get_text()


def test_markdown_that_cannot_be_laid_out_is_shown_as_written(exporter: HTMLExporter) -> None:
    long = "\\\\(" * 50_000
    cells = [new_markdown_cell(long), new_markdown_cell("![photo](attachment:gone.png)")]
    picture = new_markdown_cell("![my sketch](attachment:a.png)", attachments={"a.png": {"image/png": png()}})
    start = time.process_time()
    _, soup = export(exporter, new_notebook(cells=[*cells, picture]))
    assert time.process_time() - start < 20
    assert long in soup.get_text()
    assert "[picture: photo]" in soup.get_text()
    assert soup.select('img[alt="my sketch"]')


def test_no_payload_leaves_its_number_in_a_tag() -> None:
    for text in [*HTML, *MARKDOWN]:
        cleaned = pages.clean(text.format(run=RUN.format(7), tracker=TRACKER))
        tags = re.findall(r"<[^>]*>", cleaned)
        assert not any("pwned" in re.sub(r'(title|alt)="[^"]*"', "", tag) or TRACKER in tag for tag in tags), cleaned


def test_graders_read_every_failure_and_students_do_not() -> None:
    data = {"text/plain": "0.0", "text/html": "<b>no</b>", MIME: {"for_graders": ["one row (hidden)\n  got <b>17</b>"]}}
    cell = new_code_cell("check('f')", outputs=[new_output("execute_result", data=data)])
    for resources, told in (({"submission_id": "5"}, True), ({}, False)):
        page, _ = pages.SafePage().preprocess(new_notebook(cells=[deepcopy(cell)]), dict(resources))
        shown = page.cells[0].outputs[0].data["text/html"]
        assert ("got &lt;b&gt;17" in shown) is told
        assert ("<details>" in shown) is told
