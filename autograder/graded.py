"""The step of `nbgrader autograde` that runs a submission and judges it, in place of nbgrader's own Execute.

a job (see `jobs`)             what was handed in, and everything else that decides the grade
  → a result that is kept      the same job is not run twice (see `results`); else
  → the notebook, rebuilt      (see `rebuilding`)
  → its cells run              in a sandbox, one for each notebook (see `sandbox`, `confined`, `session`)
  → each task is asked         on draws of a seed that is fresh for each grading run, and recorded
  → verdicts                   by the reference, out here (see `judging`)
  → one decisive output        in each check cell, which nbgrader's SaveAutoGrades reads
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from autograder import databases, judging, pages, template
from autograder.diagnosis import Judgment
from autograder.errors import CourseError
from autograder.jobs import Job
from autograder.judging import Keys
from autograder.notebooks import HIDDEN, task_of
from autograder.rebuilding import NOTES, rebuilt, submitted
from autograder.report import MIME, Report
from autograder.results import FOLDER, Result, Results
from autograder.sandbox import MB, Limits, Sandbox
from autograder.session import Session, Shown
from autograder.template import Connection

RECORD = "autograder"  # the key of a graded notebook's metadata that says how it was graded
JOB = "_autograder_job"  # where the exporter that read a submission leaves its job, on their common owner
STOPPED = "Stopped"  # the name of the error that a cell shows which was ended
FEW = 2  # notebooks that are graded sooner than the packages are imported beforehand


class Judged(NbGraderPreprocessor):
    """Has the notebook run in a sandbox and its tasks asked, and returns it with a verdict in each check cell."""

    unsafe = Bool(False, help="Run submissions without a sandbox, with the rights of whoever grades.").tag(config=True)
    seed = Integer(None, allow_none=True, help="The seed of the draws, to repeat a grading (default: fresh).").tag(
        config=True
    )
    reuse = Bool(True, help="Take the result of an earlier run of the same notebook under the same rules.").tag(
        config=True
    )
    seconds_per_cell = Float(Limits.cell, help="The time that one cell may take.").tag(config=True)
    seconds_per_submission = Float(Limits.submission, help="The time that one notebook may take.").tag(config=True)
    memory = Integer(Limits.memory // MB, help="The memory that one notebook may use, in MB.").tag(config=True)
    processes = Integer(Limits.processes, help="The processes and threads of one notebook.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Returns the graded notebook of the job that was read last; `nb` is the notebook that it is rebuilt to."""
        owner = owner_of(self)
        results = Results(Path(owner.coursedir.root))
        job: Job = vars(owner)[JOB]
        result = results.get(job.key) if self.reuse and self.seed is None else None
        if result is None:
            result = run(job, self._seed(), secret_places(owner.coursedir), self._template(owner))
            results.put(job.key, result.packed())
        return notebook_of(result), resources

    @property
    def limits(self) -> Limits:
        return Limits(
            memory=self.memory * MB,
            processes=self.processes,
            cell=self.seconds_per_cell,
            submission=self.seconds_per_submission,
        )

    def _seed(self) -> int:
        if self.seed is not None:
            return int(self.seed)
        run = owner_of(self)  # the converter: one for each command, and for each press of formgrader's button
        return int(vars(run).setdefault("_autograder_seed", judging.fresh_seed()))

    def _template(self, owner: Any) -> Connection | None:
        """Returns a process with everything imported where many notebooks are graded, None where it is not worth it."""
        if self.unsafe or len(owner.assignments) <= FEW:
            return None
        try:
            return template.shared()
        except CourseError as error:
            self.log.warning("%s Each notebook imports its packages itself.", error)
            return None


def run(job: Job, seed: int, hidden: Sequence[Path], forked: Connection | None = None) -> Result:
    """Runs a job in a sandbox that does not show `hidden`, and returns its result.

    Raises CourseError where nobody can be graded: no sandbox, or checks that are not this grader's.
    """
    started = time.monotonic()
    keys = judging.keys_in(job.kit.source, f"{job.kit.sheet}.ipynb", seed)
    nb = rebuilt(submitted(job.data, job.name, job.notes), job.kit.cells())
    with Sandbox(job.kit.limits, {**job.files, **job.kit.public}, hidden, job.kit.unsafe, forked) as box:
        grade_notebook(nb, keys, box)
    nb.metadata[RECORD] = {"seed": str(seed), "sandbox": not job.kit.unsafe}  # text: JSON readers round long numbers
    return Result(
        job.key,
        seed,
        nbformat.writes(nb),
        sandbox=not job.kit.unsafe,
        seconds=round(time.monotonic() - started, 3),
        ended=_ended(nb),
        notes=_notes(nb),
        warm=bool(forked) and not box.cold_because,
        cold_because=box.cold_because,
    )


def notebook_of(result: Result) -> NotebookNode:
    """Returns the graded notebook in a result."""
    return nbformat.reads(result.notebook, as_version=4)


def grade_notebook(nb: NotebookNode, keys: Keys, box: Sandbox) -> None:
    """Runs a rebuilt notebook in `box`, and writes what its cells showed and the verdicts into it."""
    with contextlib.closing(Session(box)) as session:
        run_cells(nb, session, keys)
        _judge(nb, session, keys)


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
    places = [
        root,
        root / FOLDER,
        root / "modules",
        root / "nbgrader_config.py",
        *(root / folder for folder in folders),
    ]
    files = databases.files_of(str(course.db_url))
    # their folder, too: SQLite removes and makes those beside the database while a sandbox is open
    return [*places, *{file.parent for file in files}, *files]


def owner_of(step: Any) -> Any:
    """Returns the converter that owns this step, which knows the course's folders."""
    owner = step
    while not hasattr(owner, "coursedir"):
        owner = owner.parent
    return owner


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
            {"output_type": "error", "ename": STOPPED, "evalue": shown.stopped, "traceback": [shown.stopped]}
        )
    return pages.safe_outputs(outputs)


def _ended(nb: NotebookNode) -> tuple[str, ...]:
    """Returns why cells were ended early, each reason once."""
    outputs = [output for cell in nb.cells for output in cell.get("outputs", ())]
    return tuple(dict.fromkeys(output["evalue"] for output in outputs if output.get("ename") == STOPPED))


def _notes(nb: NotebookNode) -> tuple[str, ...]:
    """Returns what the first cell tells the student of what had to be mended."""
    told = [cell.source for cell in nb.cells[:1] if cell.metadata.get(NOTES)]
    return tuple(line[2:] for text in told for line in text.splitlines() if line.startswith("- "))


def _verdict(judgment: Judgment) -> NotebookNode:
    """Returns the one output that nbgrader's scoring reads: the points as plain text, the report for people."""
    report = Report(judgment, graded=True)
    data = report._repr_mimebundle_()
    data[MIME]["for_graders"] = report.failures()
    return new_output("execute_result", data=data, execution_count=None)
