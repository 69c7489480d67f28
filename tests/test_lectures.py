"""Lectures: built the same each time, refused with a place to look, and judged by every rule."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder import lectures
from autograder.errors import CourseError
from autograder.figures import WIDGET, alt_text

SOURCE = """# Add numbers

Why, before how.

```{code-cell}
import sys

from ipywidgets import FloatSlider

from autograder.figures import interactive
from figures import bars
```

Draw them.

```{code-cell}
interactive(bars.draw, "Bar chart of one number.", height=FloatSlider(2))
```

```{code-cell}
:tags: [example]

print("one")
print("two")
1 + 1
```
"""

BARS = """import matplotlib.pyplot as plt


def draw(height):
    fig, ax = plt.subplots()
    ax.bar([0], [height])
    return fig
"""


def folder(path: Path, text: str = SOURCE) -> Path:
    """Returns the source of a lecture with its figures, written under `path`."""
    source = path / "lectures" / "adding.md"
    (source.parent / "figures").mkdir(parents=True)
    (source.parent / "figures" / "__init__.py").touch()
    (source.parent / "figures" / "bars.py").write_text(BARS)
    source.write_text(text)
    return source


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns the source and the target of a small lecture that was built once."""
    source = folder(tmp_path_factory.mktemp("course"))
    target = source.with_name("01_adding.ipynb")
    lectures.build_lecture(source, target)
    return source, target


@pytest.fixture
def copy(built: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Returns the same in a folder where a test may change it."""
    shutil.copytree(built[0].parent, tmp_path / "lectures")
    return tmp_path / "lectures" / built[0].name, tmp_path / "lectures" / built[1].name


def test_a_built_lecture_is_fresh_and_without_problems(built):
    source, target = built
    assert lectures.is_fresh(source, target)
    assert lectures.problems(target) == []


def test_the_same_text_gives_the_same_bytes(built, tmp_path):
    again = tmp_path / "again.ipynb"
    lectures.build_lecture(built[0], again)
    assert again.read_bytes() == built[1].read_bytes()


def test_a_built_lecture_says_where_it_came_from_and_nothing_that_varies(built):
    notebook = nbformat.read(built[1], as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == {
        "built_from": "adding.md",
        "digest": lectures.digest_of(built[0]),
        "kernelspec": lectures.KERNEL,
        "language_info": {"name": "python"},
    }
    assert notebook.cells[0].source.startswith("<!-- Built from adding.md: edit there, not here. -->\n\n# Add numbers")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert [cell.id for cell in notebook.cells] == [f"adding-{i:03d}" for i in range(5)]
    assert code[2].metadata == {"tags": ["example"]}
    assert [output.output_type for output in code[2].outputs] == ["stream", "execute_result"]
    assert code[2].outputs[0].text == "one\ntwo\n"


def test_the_stored_output_of_an_interactive_figure_is_the_static_picture(built):
    notebook = nbformat.read(built[1], as_version=4)
    (output,) = notebook.cells[3].outputs
    assert set(output.data) == {"image/svg+xml", "image/png", "text/plain"}
    assert alt_text(output.data["image/svg+xml"]) == output.data["text/plain"] == "Bar chart of one number."


@pytest.mark.parametrize("live", [False, True], ids=["static", "live"])
def test_nbval_passes_strictly_whether_or_not_the_view_is_stored(copy, live):
    _, target = copy
    if live:
        notebook = nbformat.read(target, as_version=4)
        view = {"version_major": 2, "version_minor": 0, "model_id": "0" * 32}
        notebook.cells[3].outputs[0].data[WIDGET] = view
        nbformat.write(notebook, target)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--rootdir", target.parent]
    done = subprocess.run([*command, target], capture_output=True, text=True, cwd=target.parent, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("name", ["adding.md", "figures/bars.py"])
def test_a_change_in_an_input_makes_the_lecture_stale(copy, name):
    source, target = copy
    path = source.parent / name
    path.write_text(path.read_text() + "\n")
    assert not lectures.is_fresh(source, target)


def test_what_python_leaves_behind_changes_nothing(copy):
    source, target = copy
    cache = source.parent / "figures" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "bars.pyc").write_bytes(b"0")
    assert lectures.is_fresh(source, target)


def test_an_edited_or_missing_target_is_stale(copy):
    source, target = copy
    notebook = nbformat.read(target, as_version=4)
    notebook.cells[0].source += "\nEdited by hand."
    nbformat.write(notebook, target)
    assert not lectures.is_fresh(source, target)
    target.write_text("{}")
    assert not lectures.is_fresh(source, target)
    target.unlink()
    assert not lectures.is_fresh(source, target)


def test_a_failing_cell_is_named_by_file_and_line_and_nothing_is_written(tmp_path):
    source = folder(tmp_path, "# Fail\n\n```{code-cell}\nx = 1\n```\n\nThen:\n\n```{code-cell}\nx / 0\n```\n")
    target = tmp_path / "fail.ipynb"
    with pytest.raises(CourseError) as caught:
        lectures.build_lecture(source, target)
    assert str(caught.value) == f"{source}, line 9: the cell fails with ZeroDivisionError: division by zero"
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lectures"]


def test_a_lecture_that_takes_too_long_is_stopped_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lectures, "LIMIT", 3)
    source = folder(tmp_path, "# Wait\n\n```{code-cell}\nimport time\n\ntime.sleep(60)\n```\n")
    with pytest.raises(CourseError, match="line 3: the lecture took more than 3 seconds"):
        lectures.build_lecture(source, tmp_path / "wait.ipynb")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# A\n\n```{code-cell}\n---\n[: 1\n---\n1\n```\n", "cannot be read as a lecture"),
        ("# A\n\nOnly words.\n", "has no code cell"),
        ("# A\n\n```{note}\nLook.\n```\n\n```{code-cell}\n1\n```\n", "line 3: ```{note} is a directive"),
        ("# A\n\nText.\n\n```{code-cel}\n1\n```\n\n```{code-cell}\n1\n```\n", "line 5: ```{code-cel} is a directive"),
    ],
)
def test_a_broken_text_is_refused_before_anything_runs(tmp_path, text, said):
    source = folder(tmp_path, text)
    with pytest.raises(CourseError) as caught:
        lectures.build_lecture(source, tmp_path / "broken.ipynb")
    assert said in str(caught.value) and str(source) in str(caught.value)


def test_a_text_in_another_encoding_or_absent_is_refused(tmp_path):
    source = folder(tmp_path)
    source.write_bytes(b"# A\n\n\xff\n")
    with pytest.raises(CourseError, match="line 3: this is not UTF-8"):
        lectures.build_lecture(source, tmp_path / "x.ipynb")
    with pytest.raises(CourseError, match="cannot be read"):
        lectures.build_lecture(tmp_path / "none.md", tmp_path / "x.ipynb")


def judged(tmp_path: Path, *cells: nbformat.NotebookNode) -> list[str]:
    target = tmp_path / "judged.ipynb"
    (tmp_path / "there.md").touch()
    nbformat.write(new_notebook(cells=[new_code_cell("import os", execution_count=1), *cells]), target)
    return lectures.problems(target)


def drew(mime: str, content: str, **metadata: dict[str, str]) -> nbformat.NotebookNode:
    output = new_output("display_data", data={mime: content, "text/plain": "A chart."}, metadata=metadata)
    return new_code_cell("draw()", execution_count=2, outputs=[output])


DESCRIBED = '<svg role="img" aria-label="A chart."><title>A chart.</title></svg>'


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (new_code_cell("1"), "not executed"),
        (
            new_code_cell("1/0", outputs=[new_output("error", ename="E", evalue="v")], execution_count=2),
            "fails with E: v",
        ),
        (new_code_cell("w()", outputs=[new_output("stream", name="stderr", text="W")], execution_count=2), "stderr: W"),
        (drew("image/svg+xml", "<svg></svg>"), "image/svg+xml has no alt text"),
        (drew("image/png", "aaaa"), "image/png has no alt text"),
        (drew(WIDGET, "{}"), "view of a widget"),
        (
            new_code_cell("x", outputs=[new_output("stream", text="<F at 0x7f00aa11bb22>")], execution_count=2),
            "memory address",
        ),
        (new_code_cell("1\n" * 16, execution_count=2), "16 lines, more than 15"),
        (new_code_cell("def f():\n    import re", execution_count=2), "import stands outside"),
        (new_code_cell("from re import sub", execution_count=2), "import stands outside"),
        (new_code_cell("%time 1", execution_count=2), "not plain Python"),
        (new_markdown_cell("![](there.md)"), "image has no alt text"),
        (new_markdown_cell("![ ](there.md)"), "image has no alt text"),
        (new_markdown_cell('<img src="there.md">'), "image has no alt text"),
        (new_markdown_cell("[a](absent.md)"), "absent.md leads to a file that does not exist"),
        (new_markdown_cell("[a](../absent.md#part)"), "does not exist"),
        (new_markdown_cell('[a](<absent.md> "title")'), "does not exist"),
        (new_markdown_cell("[a]: absent.md"), "does not exist"),
        (new_markdown_cell("It is simply so."), "“simply”"),
        (new_markdown_cell("Obviously so."), "“Obviously”"),
        (new_markdown_cell("You just add."), "“just”"),
        (new_markdown_cell("This task gives 3 points."), "“3 points”"),
        (new_markdown_cell("Worth 2.5 marks."), "“2.5 marks”"),
        (new_markdown_cell("```{note}\nLook.\n```"), "{note} is a directive"),
        (new_markdown_cell(":::{note}\nLook.\n:::"), "{note} is a directive"),
    ],
)
def test_each_violation_is_named(tmp_path, cell, said):
    found = judged(tmp_path, cell)
    assert len(found) == 1, found
    assert said in found[0] and found[0].startswith("judged.ipynb: cell 1")


@pytest.mark.parametrize(
    "cell",
    [
        new_code_cell("x = 1\n" * 15, execution_count=2),
        drew("image/svg+xml", DESCRIBED),
        drew("image/png", "aaaa", **{"image/png": {"alt": "A chart."}}),
        new_markdown_cell("[a](there.md), [b](https://example.org/x), [c](#part), ![A tree.](there.md)"),
        new_markdown_cell("<img alt='A tree.' src='there.md'>"),
        new_markdown_cell("Adjust it; `just` and $just$ and [a](https://example.org/just) are no prose."),
        new_markdown_cell("```python\njust = '![](absent.md)'  # 3 points\n```\n\nTwo points in the plane."),
        new_markdown_cell("<!-- just a comment -->"),
    ],
)
def test_what_is_allowed_passes(tmp_path, cell):
    assert judged(tmp_path, cell) == []


def test_something_that_is_no_notebook_is_a_problem(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("not JSON")
    assert "is not a notebook" in lectures.problems(path)[0]
    assert "cannot be read" in lectures.problems(tmp_path / "absent.ipynb")[0]


# the drawings of the lecture on backpropagation

DRAWINGS = Path(__file__).parents[1] / "modules/m1_neural_networks/lectures/figures/backpropagation.py"
RIDE = [
    ("p", "multiply", ("w", "x")),
    ("z", "add", ("p", "b")),
    ("h", "relu", ("z",)),
    ("e", "subtract", ("h", "y")),
    ("L", "square", ("e",)),
]
VALUE = {"w": 2.0, "x": 3.0, "b": 1.0, "y": 5.0, "p": 6.0, "z": 7.0, "h": 7.0, "e": 2.0, "L": 4.0}


@pytest.fixture(scope="module")
def drawings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawings", DRAWINGS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drawings"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_nodes_of_a_graph_do_not_overlap_and_arrows_lead_to_the_right(drawings):
    place = drawings.layout(RIDE)
    assert set(place) == set(VALUE)
    for name, _, parents in RIDE:
        assert all(place[parent][0] < place[name][0] for parent in parents)
    centers = np.array(list(place.values()))
    distances = np.hypot(*(centers[:, None] - centers).T) + 10 * np.eye(len(centers))
    assert distances.min() > 2 * drawings.RADIUS


def test_an_input_that_comes_first_or_is_hidden_is_placed_or_left_out(drawings):
    steps = [("a", "square", ("u",)), ("e", "subtract", ("t", "a")), ("f", "add", ("e", "u"))]
    place = drawings.layout(steps, hidden=("t",))
    assert set(place) == {"u", "a", "e", "f"}
    assert place["u"][0] < place["a"][0] < place["e"][0] < place["f"][0]


def test_the_alt_text_of_a_graph_tells_the_flow_in_order(drawings):
    assert "w and x enter multiply, which gives p = 6; p and b enter add" in drawings.graph_alt(RIDE, VALUE)
    sent = drawings.Backward(dict.fromkeys(VALUE, 0.0) | {"y": -4.0}, [("L", "e", 4.0), ("e", "y", -4.0)])
    alt = drawings.graph_alt(RIDE, VALUE, sent)
    assert "L sends 4 to e, e sends −4 to y" in alt and alt.endswith("inputs are w 0, x 0, b 0, y −4.")


@pytest.mark.parametrize(("number", "text"), [(12.0, "12"), (-0.5, "−0.5"), (-0.001, "0"), (2 / 3, "0.67")])
def test_numbers_on_drawings_are_short(drawings, number, text):
    assert drawings.short(number) == text
