"""The course as folders: finding it, and what a broken `module.toml` says."""

from pathlib import Path

import pytest

from autograder import module_page
from autograder.course import Course, SheetPlace, find_course
from autograder.errors import CourseError
from tests.conftest import Plant
from tests.mini import MODULE

SHEET = '[[sheets]]\nname = "shapes"\norder = 1\nminutes = 20\n'
LECTURE = '[[lectures]]\nname = "seen"\norder = 2\nminutes = 9.5\nabout = "what it is about"\n'
CHECKPOINT = '[[checkpoints]]\ntext = "Do it."\nsheet = "shapes"\nproved_by = "center"\n'
READING = '[[readings]]\ntitle = "A book"\nurl = "https://example.org"\nabout = "Chapter 1."\n'


def test_a_course_is_found_from_any_folder_in_it(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_course().root == course
    assert find_course(course / "modules" / "m1_small" / "exercises").root == course
    monkeypatch.chdir(course / "modules")
    assert find_course().root == course


@pytest.mark.parametrize("missing", ["modules", "nbgrader_config.py"])
def test_outside_of_a_course_it_says_so(tmp_path: Path, missing: str) -> None:
    if missing != "modules":
        (tmp_path / "modules").mkdir()
    else:
        (tmp_path / "nbgrader_config.py").touch()
    with pytest.raises(CourseError, match=r"is not in a course .*: go there"):
        find_course(tmp_path)


def test_places_say_where_things_stand(course: Path, place: SheetPlace) -> None:
    assert place.text == course / "modules/m1_small/exercises/shapes.py"
    assert place.checks == course / "modules/m1_small/exercises/shapes_checks.py"
    assert place.built("release") == (
        course / "release/m1_small/01_shapes.ipynb",
        course / "release/m1_small/shapes.checks.json",
    )


def test_a_name_is_found_with_and_without_its_module(course: Path) -> None:
    assert Course(course).find("shapes") == Course(course).find("m1_small/shapes")
    with pytest.raises(
        CourseError, match=r"nosuch is not the name of a sheet or lecture: choose one of m1_small/shapes"
    ):
        Course(course).find("nosuch")


def test_a_name_of_several_is_refused(course: Path) -> None:
    other = course / "modules" / "m2_other"
    other.mkdir()
    (other / "module.toml").write_text(MODULE)
    with pytest.raises(
        CourseError, match="shapes is the name of several: choose one of m1_small/shapes, m2_other/shapes"
    ):
        Course(course).find("shapes")
    assert Course(course).find("m2_other/shapes").module == "m2_other"


BROKEN = {
    "syntax": ('title = "A\n', r"Illegal character .*line 1"),
    "no order": (SHEET.replace("order = 1\n", ""), r"line 1: an entry of \[\[sheets\]\] has no order"),
    "order in words": (SHEET.replace("1", '"one"'), r"line 1: .* has order = 'one', which must be a whole number"),
    "order that is true": (SHEET.replace("1", "true"), r"has order = True, which must be a whole number"),
    "time in words": (SHEET.replace("20", '"long"'), r"has minutes = 'long', which must be a number"),
    "name that is a number": (SHEET.replace('"shapes"', "3"), r"has name = 3, which must be text"),
    "name that leads away": (SHEET.replace("shapes", "../shapes"), r"the name '../shapes', which must be of letters"),
    "empty name": (SHEET.replace("shapes", ""), r"the name '', which must be of letters"),
    "name of another": (SHEET + "\n" + SHEET.replace("1", "2"), r"line 6: .* has the name shapes of another one"),
    "order of another": (SHEET + "\n" + SHEET.replace("shapes", "b"), r"line 6: .* has the order 1 of another one"),
    "no tables": ('sheets = ["shapes"]\n', r"line 1: sheets must be tables, each headed \[\[sheets\]\]"),
    "one table": (SHEET.replace("[[sheets]]", "[sheets]"), r"line 1: sheets must be tables"),
    "lecture": (LECTURE.replace("minutes = 9.5\n", ""), r"an entry of \[\[lectures\]\] has no minutes"),
    "checkpoint of nothing": (CHECKPOINT, r"names the sheet shapes, which the module does not have"),
    "checkpoint in part": (SHEET + CHECKPOINT.replace("text =", "words ="), r"\[\[checkpoints\]\] has no text"),
    "reading in part": (READING.replace("url =", "link ="), r"line 1: an entry of \[\[readings\]\] has no url"),
    "objectives in one": ('\nobjectives = "learn"\n', r"line 2: objectives must be a list of sentences"),
    "prerequisites": ("prerequisites = [1]\n", r"line 1: prerequisites must be a list of sentences"),
}


@pytest.mark.parametrize("text, sentence", BROKEN.values(), ids=BROKEN)
def test_a_broken_module_is_refused_in_one_sentence(course: Path, text: str, sentence: str) -> None:
    path = course / "modules" / "m1_small" / "module.toml"
    path.write_text(text)
    with pytest.raises(CourseError, match=sentence) as refused:
        _ = Course(course).sheets
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_module_that_is_not_utf8_is_refused(course: Path) -> None:
    (course / "modules" / "m1_small" / "module.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(CourseError, match="utf-8"):
        _ = Course(course).sheets


def test_the_page_of_a_module_shows_all_of_its_facts(course: Path, plant: Plant) -> None:
    path = course / "modules" / "m1_small" / "module.toml"
    path.write_text(MODULE + LECTURE + CHECKPOINT + READING)
    module = Course(course).modules[0]
    text = module_page.page(module)
    for fact in ("# A small module", "1 hours", "- Python", "- know rows from columns", "| sheet 1 | [shapes](../../"):
        assert fact in text
    assert "| lecture 2 | [seen](lectures/02_seen.ipynb): what it is about | 9.5 |" in text
    assert "- Do it. Proved by [`center`](../../release/m1_small/01_shapes.ipynb) of shapes." in text
    assert "- [A book](https://example.org). Chapter 1." in text
    assert module_page.stale(Course(course)) == [module_page.path(module)]
    assert module_page.write_stale(Course(course)) == [module_page.path(module)]
    assert module_page.stale(Course(course)) == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", None])
def test_a_damaged_or_missing_page_is_stale(course: Path, content: bytes | None) -> None:
    page = module_page.path(Course(course).modules[0])
    if content is None:
        page.unlink()
    else:
        page.write_bytes(content)
    assert module_page.stale(Course(course)) == [page]
