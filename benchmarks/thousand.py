"""A thousand submissions, two in a hundred of them poison, graded while the grader is killed twice.

Poison is a cell that never ends, a process that ends itself, more memory than there is, and a file that is no notebook.
Prints what was found: records, memory of the grader by the number of submissions, and whether the scores of a sample
are those of a serial cold run on the same draws.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
import psutil
from rich.console import Console
from sqlalchemy import create_engine, text

from autograder import build, gradebook, sandbox
from autograder.course import Course, SheetPlace
from benchmarks.classes import CONFIG, ENVIRONMENT, command, course_folder, notebooks
from benchmarks.torch_course import write_course

SEED = 20_261_121
LIMITS = "c.Judged.seconds_per_cell = 10\nc.Judged.memory = 2048\n"
POISON = {
    "endless": "while True:\n    pass",
    "crashing": "import os\nos.kill(os.getpid(), 9)",
    "memory": "hoard = []\nwhile True:\n    hoard.append(bytearray(50_000_000))",
}
KINDS = (*POISON, "no notebook")


def poisoned(kind: str, notebook: str) -> str:
    """Returns a submission that does harm."""
    if kind not in POISON:
        return notebook[: len(notebook) // 2]
    made = nbformat.reads(notebook, as_version=4)
    made.cells.insert(3, nbformat.v4.new_code_cell(POISON[kind], id="poison"))
    return nbformat.writes(made)


def hand_in(place: SheetPlace, root: Path, count: int, share: float) -> dict[str, str]:
    """Makes the course folder and the class. Returns who is poison, and of which kind."""
    chosen = random.Random(1).sample(range(count), round(share * count))
    kinds = {number: KINDS[index % len(KINDS)] for index, number in enumerate(sorted(chosen))}
    made = {
        f"s{number:04d}": poisoned(kinds[number], notebook) if number in kinds else notebook
        for number, notebook in enumerate(notebooks(place, count))
    }
    course_folder(place, root, CONFIG + LIMITS, made)
    return {f"s{number:04d}": kind for number, kind in kinds.items()}


class Grading:
    """One run of `autograder grade`, watched."""

    def __init__(self, root: Path, module: str, *options: str) -> None:
        self.root, self.module = root, module
        call = command("autograder", "grade", module, "--seed", str(SEED), *options)
        self.process = subprocess.Popen(call, cwd=root, env=ENVIRONMENT, start_new_session=True)
        self.memory: list[tuple[int, int]] = []  # how many were recorded, and bytes of the grader's own processes

    def until(self, recorded: int | None) -> bool:
        """Watches until so many are recorded (False) or until the end (True)."""
        while self.process.poll() is None:
            done = sum(1 for _ in self.root.glob(f".autograder/recorded/{self.module}/*.json"))
            self.memory.append((done, self._memory()))
            if recorded is not None and done >= recorded:
                return False
            time.sleep(1)
        return True

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_full_info().pss)
        except psutil.Error:
            return 0


def main() -> None:
    """Does all of it, and prints what was found. The exit status is 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description="Grade a large class with poison in it, killed twice.")
    parser.add_argument("--count", type=int, default=1000, metavar="N")
    parser.add_argument("--poison", type=float, default=0.02, metavar="SHARE")
    parser.add_argument("--sample", type=int, default=50, metavar="N", help="graded again, serially and cold")
    options = parser.parse_args()
    if reason := sandbox.problem():
        raise SystemExit(f"Nothing was measured, because {reason}.")
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        place = Course(write_course(Path(name) / "course")).find("line")
        assert isinstance(place, SheetPlace)
        build.build_sheet(place)
        root = Path(name) / "class"
        poison = hand_in(place, root, options.count, options.poison)
        started = time.monotonic()
        memory = []
        for recorded in (options.count // 4, options.count // 2, None):
            run = Grading(root, place.module)
            ended = run.until(recorded)
            memory += run.memory
            if not ended:
                run.kill()
                console.print(f"killed after {run.memory[-1][0]} records")
        seconds = time.monotonic() - started
        console.print(f"{options.count} submissions in {seconds:.0f} s, with two kills")
        right = check(root, place, options.count, poison, memory, console)
        right &= compare(root, place, options.sample, poison, Path(name), console)
    raise SystemExit(not right)


def check(
    root: Path, place: SheetPlace, count: int, poison: dict[str, str], memory: list[tuple[int, int]], console: Console
) -> bool:
    """Prints how many records there are, and how the grader's memory went with the number of submissions."""
    with create_engine(gradebook.database(root)).connect() as database:
        found = database.execute(text("select student_id, count(*) from submitted_assignment group by student_id"))
        records = Counter({str(student): int(number) for student, number in found})
    once = len(records) == count and set(records.values()) == {1}
    console.print(f"records: {len(records)}, each {'once' if once else 'NOT once'}; poison: {Counter(poison.values())}")
    for share in (0.1, 0.25, 0.5, 0.75, 0.98):
        at = [size for done, size in memory if abs(done - share * count) <= 0.03 * count and size]
        if at:
            console.print(f"  at {share:.0%} of the class the grader takes {max(at) / 2**20:.0f} MB")
    return once


def compare(root: Path, place: SheetPlace, sample: int, poison: dict[str, str], folder: Path, console: Console) -> bool:
    """Grades a sample, with all kinds of poison, serially and cold. Returns whether the scores are the same."""
    scores = {row.student: row.points for row in gradebook.read(root, place.module).rows}
    chosen = random.Random(2).sample(sorted(set(scores) - set(poison)), max(0, sample - len(KINDS)))
    chosen += [next(student for student, kind in poison.items() if kind == wanted) for wanted in KINDS if poison]
    again = folder / "again"
    path = Path(place.module, f"{place.notebook_name}.ipynb")
    handed_in = {student: (root / "submitted" / student / path).read_text() for student in chosen}
    course_folder(place, again, CONFIG + LIMITS, handed_in)
    Grading(again, place.module, "--cold", "--jobs", "1").until(None)
    serial = {row.student: row.points for row in gradebook.read(again, place.module).rows}
    differing = [student for student in chosen if serial.get(student) != scores[student]]
    console.print(f"of {len(chosen)} graded again, serially and cold, {len(differing)} have other scores {differing}")
    return not differing


if __name__ == "__main__":
    main()
