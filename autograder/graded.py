"""The step of `nbgrader autograde` that runs a submission and judges it, in place of nbgrader's own Execute.

the notebook, rebuilt        (see `rebuilding`)
  → its cells run            in a sandbox, one for each notebook (see `sandbox`, `confined`, `session`)
  → each task is asked       on draws of a seed that is fresh for each grading run, and recorded
  → verdicts                 by the reference, out here (see `judging`)
  → one decisive output      in each check cell, which nbgrader's SaveAutoGrades reads
"""

from pathlib import Path
from typing import Any

from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from autograder import judging, pages
from autograder.diagnosis import Judgment
from autograder.judging import Keys
from autograder.notebooks import HIDDEN, task_of
from autograder.report import MIME, Report
from autograder.sandbox import MB, Limits, Sandbox
from autograder.session import Session, Shown

RECORD = "autograder"  # the key of a graded notebook's metadata that says how it was graded


class Judged(NbGraderPreprocessor):
    """Runs the cells in a sandbox, asks the tasks, and writes a verdict into each check cell."""

    unsafe = Bool(False, help="Run submissions without a sandbox, with the rights of whoever grades.").tag(config=True)
    seed = Integer(None, allow_none=True, help="The seed of the draws, to repeat a grading (default: fresh).").tag(
        config=True
    )
    seconds_per_cell = Float(Limits.cell, help="The time that one cell may take.").tag(config=True)
    seconds_per_submission = Float(Limits.submission, help="The time that one notebook may take.").tag(config=True)
    memory = Integer(Limits.memory // MB, help="The memory that one notebook may use, in MB.").tag(config=True)
    processes = Integer(Limits.processes, help="The processes and threads of one notebook.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Returns the notebook with what its cells showed, and a verdict in each check cell."""
        course = _owner(self).coursedir
        about = resources["nbgrader"]
        source = Path(course.format_path(course.source_directory, ".", about["assignment"]))
        keys = judging.read_keys(source / f"{about['notebook']}.ipynb", self._seed())
        autograded = Path(course.format_path(course.autograded_directory, about["student"], about["assignment"]))
        files = _files(autograded, source, keys.files)
        with Sandbox(self._limits(), files, secret_places(course), self.unsafe) as box:
            grade_notebook(nb, keys, box)
        record = nb.metadata.setdefault(RECORD, {})
        record.update(seed=str(keys.seed), sandbox=not self.unsafe)  # text: JSON readers round long numbers
        return nb, resources

    def _seed(self) -> int:
        if self.seed is not None:
            return int(self.seed)
        run = _owner(self)  # the converter: one for each command, and for each press of formgrader's button
        return int(vars(run).setdefault("_autograder_seed", judging.fresh_seed()))

    def _limits(self) -> Limits:
        return Limits(
            memory=self.memory * MB,
            processes=self.processes,
            cell=self.seconds_per_cell,
            submission=self.seconds_per_submission,
        )


def grade_notebook(nb: NotebookNode, keys: Keys, box: Sandbox) -> None:
    """Runs a rebuilt notebook in `box`, and writes what its cells showed and the verdicts into it."""
    session = Session(box)
    try:
        run_cells(nb, session, keys)
        _judge(nb, session, keys)
    finally:
        session.close()


def secret_places(course: Any) -> list[Path]:
    """Returns the folders and files of a course that a student's code must not see."""
    root = Path(course.root)
    folders = (
        course.source_directory,
        course.release_directory,
        course.submitted_directory,
        course.autograded_directory,
        course.feedback_directory,
    )
    places = [root, root / "modules", root / "nbgrader_config.py", *(root / folder for folder in folders)]
    database = str(course.db_url)
    if database.startswith("sqlite:///"):
        places.append(Path(database.removeprefix("sqlite:///")))
    return places


def _owner(step: Any) -> Any:
    """Returns the converter that owns this step, which knows the course's folders."""
    owner = step
    while not hasattr(owner, "coursedir"):
        owner = owner.parent
    return owner


def _files(autograded: Path, source: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """Returns the files beside the notebook: the release's public ones, and of the student's those that are allowed."""
    found = {path.name: path for pattern in patterns for path in autograded.glob(pattern)}
    found |= {path.name: path for path in source.iterdir() if path.suffix != ".ipynb"}
    return {name: path for name, path in found.items() if path.is_file() and not path.is_symlink()}


def run_cells(nb: NotebookNode, session: Session, keys: Keys) -> None:
    """Runs the code cells in their order; at each check the session remembers the notebook as it is."""
    count = 0
    for number, cell in enumerate(nb.cells):
        if cell.cell_type != "code":
            continue
        task = _task_checked(cell, keys)
        if task:
            session.remember(keys.keys[task].task)
            cell.outputs = []
        elif not session.ended:
            shown = session.run(number, cell.source)
            count += 1
            cell.execution_count = count
            cell.outputs = _outputs(shown)


def _judge(nb: NotebookNode, session: Session, keys: Keys) -> None:
    ended = session.ended
    asked = session.ask(lambda task, hidden: keys.cases(task.name, hidden), keys.sheet, keys.seed)
    code: list[str] = []  # that ran before the check
    for cell in nb.cells:
        if task := _task_checked(cell, keys):
            if task in asked:
                problem, answers = asked[task]
                judgment = keys.judgment(task, answers, problem, code)
            else:
                judgment = keys.not_asked(task, ended)
            cell.outputs = [_verdict(judgment)]
        elif cell.cell_type == "code":
            code.append(cell.source)


def _task_checked(cell: NotebookNode, keys: Keys) -> str:
    """Returns the task that a cell checks, "" where it checks none."""
    meta = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code" or not meta.get("grade") or meta.get("solution") or HIDDEN[0] not in cell.source:
        return ""
    name = task_of(meta["grade_id"])
    return name if name in keys.keys else ""


def _outputs(shown: Shown) -> list[NotebookNode]:
    outputs = list(shown.outputs)
    if shown.stopped:
        outputs.append(
            {"output_type": "error", "ename": "Stopped", "evalue": shown.stopped, "traceback": [shown.stopped]}
        )
    return pages.safe_outputs(outputs)


def _verdict(judgment: Judgment) -> NotebookNode:
    """Returns the one output that nbgrader's scoring reads: the points as plain text, the report for people."""
    report = Report(judgment, graded=True)
    data = report._repr_mimebundle_()
    data[MIME]["for_graders"] = report.failures()
    return new_output("execute_result", data=data, execution_count=None)
