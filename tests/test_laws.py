"""The laws of the content fail when they are broken: each is broken on a copy of the small course, which obeys them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autograder import laws
from autograder.cli import main
from autograder.course import SheetPlace
from autograder.sheets import read_sheet
from tests.conftest import Plant

PROSE = "# Write `center`, which takes away the mean of each column."
CODE = "print(center(np.eye(2)))"
VISIBLE = "    return center(table(rng))"
ADDED = 'center.slip("added", "Does your mean move away, or come in twice?", right="x - column", wrong="x + column")'
LARGEST = 'normalize.slip("largest", "Is it the sum that you divide by?", right="x.sum(", wrong="x.max(")'
LATE = 'normalize.slip("late", "Late.", right="return x", wrong="return 2 * x if x.shape[1] == 1 else x")'
SOLUTION = "column_means = x.mean(axis=0)"
REGION = f"### {{}} SOLUTION\n    {SOLUTION}\n    return x - column_means\n    ### {{}} SOLUTION"


@pytest.fixture
def broken(place: SheetPlace, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Returns a function that builds and checks, and returns what `autograder check` reports with exit status 1."""

    def run(*, build: bool = True) -> list[str]:
        if build:
            main(["build"])
        capsys.readouterr()
        assert main(["check"]) == 1
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return said.out.splitlines()

    return run


def test_the_small_course_obeys_all_laws(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr().out == ""


# what is planted: (file, old, new), the file and line that must be named, and the sentence
LAW_1 = {
    "no solution region": (
        ("sheet", "    ### BEGIN SOLUTION\n    column_means", "    column_means"),
        ("sheet", 17, "the cell of center needs pairs of ### BEGIN SOLUTION and ### END SOLUTION"),
    ),
    "no end": (
        ("sheet", "    return x - column_means\n    ### END SOLUTION", "    return x - column_means"),
        ("sheet", 17, "the cell of center needs pairs"),
    ),
    "end first": (
        ("sheet", REGION.format("BEGIN", "END"), REGION.format("END", "BEGIN")),
        ("sheet", 17, "the cell of center needs pairs"),
    ),
    "region in a region": (
        ("sheet", f"    {SOLUTION}\n", f"    ### BEGIN SOLUTION\n    {SOLUTION}\n    ### END SOLUTION\n"),
        ("sheet", 17, "the cell of center needs pairs"),
    ),
    "answer without region": (
        ("sheet", "# ### BEGIN SOLUTION\n# Because", "# Because"),
        ("sheet", 47, "the cell of why needs pairs"),
    ),
    "region in a free cell": (
        ("sheet", CODE, f"### BEGIN SOLUTION\n{CODE}\n### END SOLUTION"),
        ("sheet", 30, "nbgrader would cut the sheet at “### BEGIN SOLUTION”; reword it"),
    ),
    "region in prose": (
        ("sheet", PROSE, f"# ### BEGIN SOLUTION\n{PROSE}"),
        ("sheet", 14, "nbgrader would cut the sheet"),
    ),
    "a mark that only nbgrader knows": (
        ("sheet", f"    {SOLUTION}", f"    # BEGIN SOLUTION\n    {SOLUTION}"),
        ("sheet", 21, "nbgrader would cut the sheet at “# BEGIN SOLUTION”"),
    ),
    "end of hidden tests in a solution": (
        ("sheet", SOLUTION, f"{SOLUTION}  # ### END HIDDEN TESTS"),
        ("sheet", 21, "nbgrader would cut the sheet"),
    ),
    "end of hidden tests in the checks": (
        ("checks", "def table(rng):", "def table(rng):  # ### END HIDDEN TESTS"),
        ("checks", 13, "nbgrader would cut the notebook"),
    ),
    "task without check cell": (
        ("sheet", '# %% check="normalize"\ncheck("normalize")\n', ""),
        ("checks", 9, 'normalize is declared, but no cell of shapes.py says check="normalize"'),
    ),
    "task without solution cell": (
        ("sheet", '# %% task="normalize"', "# %%"),
        ("checks", 9, 'normalize is declared, but no cell of shapes.py says task="normalize"'),
    ),
    "declaration without task": (
        ("checks", "why = sheet", 'extra = sheet.task("extra", points=1)\nwhy = sheet'),
        ("checks", 10, 'extra is declared, but no cell of shapes.py says task="extra"'),
    ),
    "cell without declaration": (
        ("sheet", '# %% [markdown] written="why"', '# %% [markdown] written="what"'),
        ("sheet", 47, 'written="what" is not declared in shapes_checks.py; declare it or mend the name'),
    ),
    "order swapped": (
        (
            "checks",
            'center = sheet.task("center", points=2)\nnormalize = sheet.task("normalize", points=3)',
            'normalize = sheet.task("normalize", points=3)\ncenter = sheet.task("center", points=2)',
        ),
        ("sheet", 17, "the task cells must stand once each, in the order normalize, center"),
    ),
    "task twice": (
        ("sheet", '# %% check="normalize"', '# %% task="center"\nx = 1\n\n# %% check="normalize"'),
        ("sheet", 41, "the task cells must stand once each, in the order center, normalize"),
    ),
    "check before its task": (
        ("sheet", PROSE, f'{PROSE}\n\n# %% check="center"\ncheck("center")'),
        ("sheet", 29, "the check cells must stand once each"),
    ),
    "check of something else": (
        ("sheet", 'check("normalize")\n', 'check("center")\n'),
        ("sheet", 41, 'a check cell holds only check("normalize")'),
    ),
    "wrong bundle": (
        ("sheet", 'open_checks("shapes")', 'open_checks("shape")'),
        ("sheet", 1, 'no setup cell says check = open_checks("shapes")'),
    ),
    "wrong sheet name": (
        ("checks", 'Sheet("shapes")', 'Sheet("shape")'),
        ("checks", 7, "the sheet calls itself shape, its file shapes"),
    ),
    "forbids what its text does not": (
        ("checks", '"center", points=2)', '"center", points=2, forbids=("numpy.linalg.inv",))'),
        (
            "sheet",
            17,
            "center forbids numpy.linalg.inv, but no sentence of its text says that it is to be done without",
        ),
    ),
    "begins with code": (
        ("sheet", "# %% [markdown]\n# # Rows and columns", "# %%\n# # Rows and columns"),
        ("sheet", 1, "a sheet begins with prose; give it a title"),
    ),
    "slip on nothing": (
        ("checks", 'right="x - column"', 'right="x ** column"'),
        (
            "checks",
            48,
            "added edits the text “x ** column”, which stands 0 times in the solution; it must stand there once",
        ),
    ),
    "slip on two places": (
        ("checks", 'right="x - column"', 'right="column_means"'),
        ("checks", 48, "which stands 2 times in the solution"),
    ),
    "slip that is not Python": (
        ("checks", 'wrong="x + column"', 'wrong="x + (column"'),
        ("checks", 48, "to define it raises SyntaxError"),
    ),
    "solution under another name": (
        ("sheet", "def normalize(x", "def normalise(x"),
        ("sheet", 33, "its solution cell does not define normalize"),
    ),
    "setup that raises": (
        ("sheet", "import numpy as np\n", "import numpy as np\n\nnp = 1 / 0\n"),
        ("sheet", 19, "to define it raises ZeroDivisionError"),
    ),
}
LAW_2 = {
    "stub that passes a case": (
        (
            "sheet",
            "    ### BEGIN SOLUTION\n    return x / x",
            "    if len(x) == 2:\n        return x / np.sum(x, 1)[:, None]\n    ### BEGIN SOLUTION\n    return x / x",
        ),
        ("checks", 9, "normalize: the untouched stub passes “each row sums to 1”"),
    ),
    "reference that fails": (
        ("checks", VISIBLE, "    return [rng.normal(), id(object()), np.random.random()]"),
        ("checks", 8, "the reference itself gets"),
    ),
}
LAW_3 = {
    "variant that loses marks": (
        ("checks", "np.stack([c - c.mean() for c", "np.stack([c - c.max() for c"),
        ("checks", 33, "center: the variant with_a_loop gets 1 of 2 under seed 1"),
    ),
    "silent misconception": (
        ("checks", ADDED, ADDED + '\ncenter.slip("silent", "Nothing.", right="axis=0", wrong="0")'),
        ("checks", 49, "center: silent gets full marks under seed 1"),
    ),
    "misconception that is another one": (
        ("checks", ADDED, ADDED + '\ncenter.slip("again", "The same.", right="x - c", wrong="0 + x + c")'),
        ("checks", 49, "center: again is taken for added when graded under seed 1"),
    ),
    "misconception that only grading shows": (
        ("checks", LARGEST, f"{LARGEST}\n{LATE}"),
        ("checks", 72, "normalize: late is not recognized by the student under seed 1"),
    ),
}
LAW_4 = {
    "case that nothing fails": (
        (
            "checks",
            '@normalize.accepts("transposed")',
            '@normalize.case("always")\ndef idle(normalize, rng):\n    return 1\n\n\n@normalize.accepts("transposed")',
        ),
        ("checks", 62, "normalize: no misconception fails the case “always”; add one, or drop it"),
    ),
    "hidden case that nothing fails": (
        ("checks", "    return center(rng.normal(size=(1, 3))) + 1", "    return center(np.zeros((1, 3))) * 0"),
        ("checks", 23, "center: no misconception fails the case “one row becomes zeros”"),
    ),
    "answers that never change": (
        ("checks", "return normalize(rng.uniform(1, 2, size=(2, 5)))", "return normalize(np.ones((2, 5))) * 5"),
        ("checks", 52, "normalize: more than half of its points need only answers that are the same for every draw"),
    ),
}
LAW_5 = {
    "solution in prose": (
        ("sheet", PROSE, f"{PROSE}\n# Try `{SOLUTION}` first."),
        ("sheet", 18, f"01_shapes.ipynb holds a line of the solution of center: {SOLUTION}"),
    ),
    "solution in a block of prose": (
        ("sheet", PROSE, f"{PROSE}\n#\n#     {SOLUTION}"),
        ("sheet", 19, "holds a line of the solution of center"),
    ),
    "solution in a free cell": (
        ("sheet", CODE, f"x = np.eye(2)\n{SOLUTION}"),
        ("sheet", 17, "holds a line of the solution of center"),
    ),
    "solution in a comment, spaced otherwise": (
        ("sheet", CODE, "# column_means=x.mean( axis=0 )"),
        ("sheet", 17, "holds a line of the solution of center"),
    ),
    "solution with a comment after it": (
        ("sheet", CODE, f"x = np.eye(2)\n{SOLUTION}  # like this"),
        ("sheet", 17, "holds a line of the solution of center"),
    ),
    "solution in a visible helper": (
        (
            "checks",
            "    return rng.normal(size=(3, 4))",
            f"    x = rng.normal(size=(3, 4))\n    {SOLUTION}\n    return x + 0 * column_means",
        ),
        ("sheet", 17, "shapes.checks.json holds a line of the solution of center"),
    ),
    "solution in the setup": (
        ("sheet", "import numpy as np\n", f"import numpy as np\n\nx = np.eye(2)\n{SOLUTION}\n"),
        ("sheet", 20, "holds a line of the solution of center"),
    ),
    "title of a hidden case in prose": (
        ("sheet", PROSE, f"{PROSE}\n# Note: What is not an array\n# is refused, too."),
        (
            "checks",
            57,
            "01_shapes.ipynb holds a part of refuses, which students must not see: what is not an array is refused",
        ),
    ),
    "name of a hidden case in prose": (
        ("sheet", PROSE, f"{PROSE}\n# See one_row."),
        ("checks", 23, "holds a part of one_row, which students must not see: one_row"),
    ),
    "plain name of a hidden case set as code": (
        ("sheet", PROSE, f"{PROSE}\n# See `refuses`."),
        ("checks", 57, "holds a part of refuses"),
    ),
    "code of a hidden case": (
        ("sheet", CODE, "rng = np.random.default_rng(0)\nreturn_ = 0\n# return center(rng.normal(size=(1, 3))) + 1"),
        ("checks", 23, "holds a part of one_row"),
    ),
    "wrong solution in a free cell": (
        ("sheet", CODE, "x = np.eye(2)\n# return x / x.sum(axis=0)"),
        (
            "checks",
            67,
            "01_shapes.ipynb holds a part of columns, which students must not see: return x / x.sum(axis=0)",
        ),
    ),
    "slip in prose": (
        ("sheet", PROSE, f"{PROSE}\n# Not so: `return x + column_means`"),
        ("checks", 48, "holds a part of added, which students must not see: return x + column_means"),
    ),
    "title of a hidden case in a visible one": (
        ("checks", "each row sums to 1", "each row sums to 1, and what is not an array is refused"),
        ("checks", 57, "shapes.checks.json holds a part of refuses"),
    ),
}
LAW_7 = {
    "points in prose": (
        ("sheet", PROSE, f"{PROSE}\n# This is worth 2 points."),
        ("sheet", 15, "prose states “2 points”; points come from the checks"),
    ),
    "points in words": (
        ("sheet", PROSE, f"{PROSE}\n# It gives three\n# marks."),
        ("sheet", 15, "prose states"),
    ),
    "image without alt text": (
        ("sheet", PROSE, f"{PROSE}\n# ![](https://example.org/a.png)"),
        ("sheet", 15, "an image has no alt text: say what it shows"),
    ),
    "image with blank alt text": (
        ("sheet", PROSE, f"{PROSE}\n# ![ ](https://example.org/a.png)"),
        ("sheet", 15, "an image has no alt text"),
    ),
    "image tag": (
        ("sheet", PROSE, f'{PROSE}\n# <img src="https://example.org/a.png">'),
        ("sheet", 15, "an image has no alt text"),
    ),
    "dead link": (
        ("sheet", PROSE, f"{PROSE}\n# See [this](../nothing.md#part)."),
        ("sheet", 15, "the link to ../nothing.md leads nowhere from"),
    ),
    "dead image": (
        ("sheet", PROSE, f"{PROSE}\n# ![a plot](nothing.png)"),
        ("sheet", 15, "the link to nothing.png leads nowhere"),
    ),
    "dead link with a title": (
        ("sheet", PROSE, f'{PROSE}\n# See [this](nothing.md "a title").'),
        ("sheet", 15, "the link to nothing.md leads nowhere"),
    ),
    "dead reference": (
        ("sheet", PROSE, f"{PROSE} See [this][1].\n#\n# [1]: nothing.md"),
        ("sheet", 16, "the link to nothing.md leads nowhere"),
    ),
    "link to this machine": (
        ("sheet", PROSE, f"{PROSE}\n# See [this](/etc/hosts)."),
        ("sheet", 15, "the link to /etc/hosts leads nowhere"),
    ),
}
PLANTS = {
    f"law {number}: {what}": planted
    for number, planted_by_name in {1: LAW_1, 2: LAW_2, 3: LAW_3, 4: LAW_4, 5: LAW_5, 7: LAW_7}.items()
    for what, planted in planted_by_name.items()
}


@pytest.mark.parametrize("planted, expected", PLANTS.values(), ids=PLANTS)
def test_a_broken_law_is_reported_with_file_and_line(
    place: SheetPlace,
    plant: Plant,
    broken: Callable[..., list[str]],
    planted: tuple[str, str, str],
    expected: tuple[str, int, str],
) -> None:
    plant(*planted)
    file, line, sentence = expected
    begin = f"{place.text if file == 'sheet' else place.checks}, line {line}: "
    said = broken()
    assert [row for row in said if row.startswith(begin) and sentence in row], "\n".join(said)


FORBIDS = ("checks", '"center", points=2)', '"center", points=2, forbids=("{}",))')
LOOP = "return np.stack([c - c.mean() for c in x.T], axis=1)"
ACCUSED = {
    "the reference": ("numpy.ndarray.mean", None, "center: the reference itself gets 0 of 2 under seed 1:"),
    "a variant": ("numpy.einsum", None, "center: the variant with_einsum gets 0 of 2 under seed 1:"),
    "the text of a variant": (
        "numpy.linalg.inv",
        ("checks", LOOP, f"{LOOP} if len(x) else np.linalg.inv(x)"),
        "center: the variant with_a_loop uses numpy.linalg.inv, which the task forbids, in the line return np.stack",
    ),
    "the text of the reference": (
        "numpy.linalg.inv",
        ("sheet", "    return x - column_means", "    return x - column_means if len(x) else np.linalg.inv(x)"),
        "center: the reference itself uses numpy.linalg.inv, which the task forbids",
    ),
}


@pytest.mark.parametrize("name, other, sentence", ACCUSED.values(), ids=ACCUSED)
def test_what_an_author_accepts_uses_nothing_forbidden(
    place: SheetPlace,
    plant: Plant,
    broken: Callable[..., list[str]],
    name: str,
    other: tuple[str, str, str] | None,
    sentence: str,
) -> None:
    file, old, new = FORBIDS
    plant(file, old, new.format(name))
    plant("sheet", PROSE, f"{PROSE}\n# Do it without `{name.removeprefix('numpy.')}`.")
    if other:
        plant(*other)
    assert any(sentence in row for row in broken())


SAID = {
    "in the section": (PROSE, f"{PROSE}\n# Do not use\n# `np.linalg.inv`, please."),
    "for the whole sheet": ("# # Rows and columns", "# # Rows and columns\n#\n# Nothing here needs INV."),
    "in the docstring": (
        "Returns x minus the mean of each column.",
        "Returns x minus the mean. It's done without inv.",
    ),
}
UNSAID = {
    "without a denial": (PROSE, f"{PROSE} See `np.linalg.inv`. It is not hard."),
    "as a part of a word": (PROSE, f"{PROSE} Do not call it inventive or my_inv."),
    "in another section": ("# Why is the mean", "# Do not use inv. Why is the mean"),
    "in the solution": ("    column_means = x", "    # not by inv\n    column_means = x"),
}


@pytest.mark.parametrize("change", SAID.values(), ids=SAID)
def test_a_text_may_say_what_is_forbidden_where_it_likes(course: Path, plant: Plant, change: tuple[str, str]) -> None:
    plant(FORBIDS[0], FORBIDS[1], FORBIDS[2].format("numpy.linalg.inv"))
    plant("sheet", *change)
    assert main(["build"]) == 0
    assert main(["check"]) == 0


@pytest.mark.parametrize("change", UNSAID.values(), ids=UNSAID)
def test_a_text_must_say_what_is_forbidden(
    plant: Plant, broken: Callable[..., list[str]], change: tuple[str, str]
) -> None:
    plant(FORBIDS[0], FORBIDS[1], FORBIDS[2].format("numpy.linalg.inv"))
    plant("sheet", *change)
    assert any("center forbids numpy.linalg.inv, but no sentence of its text says" in row for row in broken())


FINE = {
    "a link with a scheme": "[a](https://example.org/x), [b](mailto:a@example.org)",
    "a link to a part": "[here](#part)",
    "a link with an escape": "[a](../m1_small/shapes%2Echecks.json)",
    "code that looks like a link": "`f[i](x)` and $a[i](x)$",
    "code that looks like points": "`3 points`",
    "an image with alt text": "![a plot of x](https://example.org/a.png)",
    "points of another kind": "a point, some points, 3 pointers",
    "a short line of common property": "`return x`",
    "a plain word that names a hidden case": "It refuses.",
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_what_only_looks_like_a_breach_is_let_through(course: Path, plant: Plant, text: str) -> None:
    plant("sheet", PROSE, f"{PROSE}\n# {text}")
    assert main(["build"]) == 0
    assert main(["check"]) == 0


def test_a_misconception_declared_hidden_only_need_not_be_seen_by_the_student(course: Path, plant: Plant) -> None:
    plant("checks", LARGEST, f"{LARGEST}\n{LATE[:-1]}, hidden_only=True)")
    assert main(["build"]) == 0
    assert main(["check"]) == 0


def test_a_wrong_class_is_judged_too(place: SheetPlace, plant: Plant, broken: Callable[..., list[str]]) -> None:
    """The source of a class is found by its module, which must be there."""
    cls = "class klass:\n    def __init__(self, x):\n        self.total_of_all = x.sum(axis=1) + 1\n"
    plant(
        "checks",
        '@normalize.accepts("transposed")',
        f'@normalize.misconception("A class.")\n{cls}\n\n@normalize.accepts("transposed")',
    )
    plant("sheet", CODE, "# self.total_of_all = x.sum(axis=1) + 1\n# def __init__(self, x):")
    assert any("holds a part of klass" in row for row in broken())


def test_a_stale_build_is_reported(place: SheetPlace, plant: Plant, broken: Callable[..., list[str]]) -> None:
    plant("sheet", "# # Rows and columns", "# # Columns and rows")
    assert broken(build=False) == [f"{place.built('source')[0]}, line 1: it is stale: run make build."]


@pytest.mark.parametrize("tree", ["source", "release"])
def test_a_missing_build_is_reported(place: SheetPlace, tree: str, broken: Callable[..., list[str]]) -> None:
    for path in place.built(tree):
        path.unlink()
    assert f"{place.built('source')[0]}, line 1: it is stale: run make build." in broken(build=False)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"cells": 3}', '{"cells": [{}]}', "\udcff"])
@pytest.mark.parametrize("index", [0, 1], ids=["notebook", "bundle"])
def test_a_damaged_release_is_reported(
    place: SheetPlace, index: int, damage: str, broken: Callable[..., list[str]]
) -> None:
    path = place.built("release")[index]
    path.write_bytes(damage.encode(errors="surrogateescape"))
    said = broken(build=False)
    assert f"{path}, line 1: it is damaged: run autograder build --force." in said


def test_a_stale_module_page_is_reported(course: Path, plant: Plant, broken: Callable[..., list[str]]) -> None:
    plant("module", "minutes = 20", "minutes = 25")
    assert broken(build=False) == [f"{course}/modules/m1_small/README.md: it is stale: run make build."]


def test_a_stub_is_what_nbgrader_writes(course: Path, place: SheetPlace) -> None:
    import nbformat

    cells = {c.id: c.source for c in nbformat.read(place.built("release")[0], as_version=4).cells}
    for cell in read_sheet(place.text).by_role("task"):
        assert laws.stub_of(cell.text) == cells[cell.name]
