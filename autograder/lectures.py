"""Building lectures: authored text in, an executed notebook out that is the same byte for byte each time."""

import ast
import hashlib
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from autograder import files
from autograder.errors import CourseError
from autograder.figures import SVG, WIDGET, alt_text

LIMIT = 90  # seconds for a whole lecture
LONGEST_CELL = 15  # lines

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

# these decide what a lecture looks like, besides its own text and figures
_MACHINERY = ("figures.py", "lectures.py", "course.mplstyle")

# hedges that tell a reader who is stuck that it is her fault
_HEDGES = re.compile(r"\b(simply|obviously|just)\b", re.IGNORECASE)
_POINTS = re.compile(r"\b\d+(?:\.\d+)?[ -](?:points?|pts?|marks?)\b", re.IGNORECASE)

# code, math, comments and the addresses of links are not prose
_NOT_PROSE = re.compile(
    r"<!--.*?-->|^ *(`{3,}|~{3,}).*?^ *\1[`~]*[ ]*$|`+[^`\n]+`+|\$\$.*?\$\$|\$[^$\n]+\$|(?<=\])\([^)\n]*\)",
    re.DOTALL | re.MULTILINE,
)
_FENCES = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1[`~]*[ ]*$|`+[^`\n]+`+|<!--.*?-->", re.DOTALL | re.MULTILINE)
_DIRECTIVE = re.compile(r"^ *(?:`{3,}|~{3,}|:{3,})\{[^}\n]*\}.*$", re.MULTILINE)
_LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)|^ *\[[^\]]+\]:\s*(\S+)|\b(?:href|src)=[\"']([^\"']+)", re.MULTILINE
)
_EMPTY_IMAGE = re.compile(r"!\[\s*\]\s*[(\[]|<img\b(?![^>]*\balt=[\"'][^\"'\s])[^>]*>", re.IGNORECASE)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class _Lecture:
    """A lecture as it was read: its notebook, and the line of the text where each cell begins, from 1."""

    source: Path
    notebook: Any
    lines: list[int]

    def where(self, position: int) -> str:
        """Returns the place of a cell for a message."""
        return f"{self.source}, line {self.lines[position]}"


def build_lecture(source: Path, target: Path) -> None:
    """Writes the executed notebook of a lecture: the text's cells in order, with what they print and draw.

    Runs in the folder of `source`, without a GPU, in at most 90 seconds.
    Raises CourseError, and writes nothing, where the text cannot be read or a cell fails.
    """
    lecture = _read(source)
    _execute(lecture)
    files.write(target, _text(lecture))


def is_fresh(source: Path, target: Path) -> bool:
    """Returns whether `target` was built from what `source` and the files it depends on say now.

    False as well where someone edited a cell of the target. Nothing is executed.
    """
    try:
        built = _load(target)
        digest = built.metadata["digest"]
    except (CourseError, KeyError):
        return False
    return bool(digest == digest_of(source)) and _cells(built) == _cells(_read(source).notebook)


def digest_of(source: Path) -> str:
    """Returns the sha256 of all that a built lecture depends on: its text, the figures folder and the machinery."""
    here = Path(__file__).parent
    figures = source.parent / "figures"
    inputs = {source.name: source, **{f"autograder/{name}": here / name for name in _MACHINERY}}
    for path in figures.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            inputs[f"figures/{path.relative_to(figures).as_posix()}"] = path
    total = hashlib.sha256()
    for name, path in sorted(inputs.items()):
        content = _bytes(path)
        # the lengths keep a file's end apart from the next one's beginning
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()


def problems(target: Path) -> list[str]:
    """Returns what is wrong with a built lecture, a sentence for each violation; an empty list if nothing is."""
    try:
        notebook = _load(target)
    except CourseError as error:
        return [str(error)]
    found: list[str] = []
    if "widgets" in notebook.metadata:
        found.append("the notebook stores the state of widgets, which goes stale: build it again")
    first_code = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), -1)
    for position, cell in enumerate(notebook.cells):
        faults = _prose_faults(cell.source, target) if cell.cell_type == "markdown" else []
        if cell.cell_type == "code":
            faults = [*_code_faults(cell, may_import=position == first_code), *_output_faults(cell)]
        found += [f"cell {position} ({cell.get('id', 'no id')}): {fault}" for fault in faults]
    return [f"{target.name}: {fault}." for fault in found]


# reading


def _read(source: Path) -> _Lecture:
    from jupytext.myst import myst_to_notebook

    text = _decoded(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            notebook = myst_to_notebook(text, add_source_map=True)
    except Exception as error:  # jupytext, YAML and nbformat each have their own
        raise CourseError(f"{source} cannot be read as a lecture: {_one_line(error)}") from error
    # the map counts from 0 for prose and from 1 for code; a first line of code is that of its fence
    lines = [
        line if cell.cell_type == "code" else line + 1
        for line, cell in zip(notebook.metadata.pop("source_map"), notebook.cells, strict=True)
    ]
    lecture = _Lecture(source, notebook, lines)
    _refuse_strays(lecture, text)
    _add_header(lecture)
    _add_ids(lecture)
    return lecture


def _refuse_strays(lecture: _Lecture, text: str) -> None:
    """Raises CourseError for what would silently become prose: no code at all, and any other directive."""
    for cell, line in zip(lecture.notebook.cells, lecture.lines, strict=True):
        directive = _DIRECTIVE.search(cell.source) if cell.cell_type == "markdown" else None
        if directive or cell.cell_type == "raw":
            shown = directive[0].strip() if directive else "{raw-cell}"
            line += cell.source[: directive.start()].count("\n") if directive else 0
            # blank lines before the first line of a cell are not part of it
            line = _line_of(text, shown, line)
            raise CourseError(
                f"{lecture.source}, line {line}: {shown} is a directive: only ```{{code-cell}} and CommonMark are read."
            )
    if not any(cell.cell_type == "code" for cell in lecture.notebook.cells):
        raise CourseError(
            f"{lecture.source} has no code cell: a lecture verifies what it claims; begin one ```{{code-cell}}."
        )


def _line_of(text: str, part: str, start: int) -> int:
    lines = text.splitlines()
    return next((i for i in range(start, len(lines) + 1) if part in lines[i - 1]), start)


def _add_header(lecture: _Lecture) -> None:
    from nbformat.v4 import new_markdown_cell

    place = _place(lecture.source)
    header = f"<!-- Built from {place}: edit there, not here. -->"
    first = lecture.notebook.cells[0]
    if first.cell_type == "markdown":
        first.source = f"{header}\n\n{first.source}"
    else:
        lecture.notebook.cells.insert(0, new_markdown_cell(header))
        lecture.lines.insert(0, 1)


def _add_ids(lecture: _Lecture) -> None:
    """Names each cell by its lecture and position: the same text gives the same ids."""
    slug = re.sub(r"[^a-zA-Z0-9_-]", "-", lecture.source.stem)[:56]
    for position, cell in enumerate(lecture.notebook.cells):
        cell.id = f"{slug}-{position:03d}"


def _place(path: Path) -> str:
    """Returns a path as the repository sees it, or the bare name outside of one."""
    path = path.resolve()
    root = next((parent for parent in path.parents if (parent / "pyproject.toml").is_file()), path.parent)
    return path.relative_to(root).as_posix()


# running


def _execute(lecture: _Lecture) -> None:
    """Runs the notebook in place. Raises CourseError naming the cell that failed or took too long."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    running = 0

    def started(cell: Any, cell_index: int) -> None:
        nonlocal running
        running = cell_index

    deadline = time.monotonic() + LIMIT
    client = NotebookClient(
        lecture.notebook,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(lecture.source.parent)}},
        # subtle: a time-out of 0 means none
        timeout_func=lambda cell: max(1, int(deadline - time.monotonic())),
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # the kernel's own remarks are no output of a lecture
        interrupt_on_timeout=False,
        record_timing=False,
        store_widget_state=False,
        on_cell_start=started,
    )
    # hides every GPU, so that a lecture is built from the same arithmetic everywhere
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        said = _one_line(f"{error.ename}: {error.evalue}")
        raise CourseError(f"{lecture.where(running)}: the cell fails with {said}") from error
    except CellTimeoutError as error:
        raise CourseError(
            f"{lecture.where(running)}: the lecture took more than {LIMIT} seconds and stopped in this cell: do less."
        ) from error
    except DeadKernelError as error:
        raise CourseError(f"{lecture.where(running)}: Python died in this cell: does it run out of memory?") from error
    except NoSuchKernel as error:
        raise CourseError("There is no Jupyter kernel named python3: install ipykernel, and build again.") from error


def _text(lecture: _Lecture) -> str:
    """Returns the notebook as JSON, without anything that differs from run to run or from machine to machine."""
    import nbformat
    from nbformat.v4 import new_notebook

    count = 0
    for cell in lecture.notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [_settled(output, count) for output in _merged(cell.outputs)]
    notebook = new_notebook(
        cells=lecture.notebook.cells,
        metadata={
            "built_from": _place(lecture.source),
            "digest": digest_of(lecture.source),
            "kernelspec": KERNEL,
            "language_info": {"name": "python"},
        },
    )
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def _merged(outputs: Iterable[Any]) -> Iterator[Any]:
    """Yields the outputs with streams joined: where a kernel cuts a stream depends on its speed."""
    streams: dict[str, Any] = {}
    for output in outputs:
        if output.output_type == "stream" and output.name in streams:
            streams[output.name].text += output.text
            continue
        if output.output_type == "stream":
            streams[output.name] = output
        yield output


def _settled(output: Any, count: int) -> Any:
    # a view belongs to a kernel that is gone: front ends would show an error in place of the picture
    output.get("data", {}).pop(WIDGET, None)
    if output.output_type == "execute_result":
        output.execution_count = count
    return output


# judging


def _prose_faults(text: str, target: Path) -> Iterator[str]:
    prose = _NOT_PROSE.sub(" ", text)
    for hedge in _HEDGES.findall(prose):
        yield f"“{hedge}” in the prose helps nobody who is stuck: leave it out"
    for points in _POINTS.findall(prose):
        yield f"the prose says “{points}”, and what a task is worth stands with its checks alone"
    markup = _FENCES.sub(" ", text)
    if _EMPTY_IMAGE.search(markup):
        yield "an image has no alt text"
    for directive in _DIRECTIVE.findall(text):
        yield f"{directive.strip()} is a directive, which GitHub and Jupyter show raw"
    for groups in _LINK.findall(markup):
        link = "".join(groups)
        if _is_broken(link, target):
            yield f"the link {link} leads to a file that does not exist"


def _is_broken(link: str, target: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return False
    return not (target.parent / unquote(parts.path)).exists()


def _code_faults(cell: Any, may_import: bool) -> Iterator[str]:
    lines = len(cell.source.splitlines())
    if lines > LONGEST_CELL:
        yield f"the code has {lines} lines, more than {LONGEST_CELL}: one idea for each cell"
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        yield f"line {error.lineno} of the code is not plain Python ({error.msg})"
        return
    if not may_import and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree)):
        yield "an import stands outside the first code cell"


def _output_faults(cell: Any) -> Iterator[str]:
    if cell.execution_count is None and cell.source.strip():
        yield "the code was not executed"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"the code fails with {output.ename}: {_one_line(output.evalue)}"
        elif output.output_type == "stream" and output.name == "stderr":
            yield f"the code writes to stderr: {_one_line(output.text)}"
        shown = output.get("data", {})
        if _ADDRESS.search(str(output.get("text", "")) + str(shown.get("text/plain", ""))):
            yield "the output holds a memory address, another in each run"
        if WIDGET in shown:
            yield "the output holds the view of a widget, which front ends cannot show without its kernel"
        for mime in sorted({SVG, "image/png", "image/jpeg"} & set(shown)):
            if not _alt(output, mime):
                yield f"an output of type {mime} has no alt text: draw it with figures.show"


def _alt(output: Any, mime: str) -> str:
    if mime == SVG:
        return alt_text(output.data[mime])
    return str(output.get("metadata", {}).get(mime, {}).get("alt", "")).strip()


# files and words


def _load(target: Path) -> Any:
    """Returns the notebook at `target`. Raises CourseError where there is none."""
    import nbformat

    text = _decoded(target)
    try:
        return nbformat.reads(text, as_version=4)
    except Exception as error:  # JSON's and nbformat's own
        raise CourseError(f"{target} is not a notebook: {_one_line(error)}") from error


def _cells(notebook: Any) -> list[tuple[str, str, str]]:
    return [(cell.get("id", ""), cell.cell_type, cell.source) for cell in notebook.cells]


def _decoded(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        line = _bytes(path)[: error.start].count(b"\n") + 1
        raise CourseError(f"{path}, line {line}: this is not UTF-8; save the file in that encoding.") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CourseError(f"{path} cannot be read ({reason}): check its path and permissions.") from error


def _one_line(said: object) -> str:
    """Returns the first line with words in what an error says."""
    lines = (line.strip() for line in _ANSI.sub("", str(said)).splitlines())
    return next((line for line in lines if line), type(said).__name__)
