"""Graders who write into one gradebook at the same moment, each in a process of its own, by nbgrader's own calls."""

import os
import subprocess
import sys
from pathlib import Path

from nbgrader.api import Gradebook

ROOT = Path(__file__).resolve().parent.parent
OPENED, STUDENTS = 8, 15  # how often a writer opens the gradebook, and for how many students it writes each time
PROGRAM = """
import os, sys
from nbgrader.api import Gradebook
from autograder import databases

who, opened, students = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
databases.configure(None)
print("ready", flush=True)
sys.stdin.readline()
for time in range(opened):
    with Gradebook(os.environ["GRADEBOOK_URL"], "course") as book:
        for number in range(students):
            student = f"{who}_{time}_{number}"
            book.add_student(student)
            book.add_submission("m1", student)
            book.find_grade("check", "shapes", "m1", student).auto_score = number
            book.db.commit()
"""


def prepare(url: str) -> None:
    """Adds a module of one graded cell to a gradebook."""
    with Gradebook(url, "course") as book:
        book.add_assignment("m1")
        book.add_notebook("shapes", "m1")
        book.add_grade_cell("check", "shapes", "m1", max_score=STUDENTS, cell_type="code")


def write_at_once(url: str, *writers: str) -> None:
    """Has each writer, from one moment on, add students, their submissions, and their scores."""
    call = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen(
            [*call, who, str(OPENED), str(STUDENTS)],
            env={**os.environ, "GRADEBOOK_URL": url, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in writers
    ]
    for writer in running:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in running:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in running:
        said = writer.communicate(timeout=120)[1]
        assert writer.returncode == 0, said


def lost(url: str, *writers: str) -> list[str]:
    """Returns the students whose score is not in the gradebook as it was written."""
    with Gradebook(url, "course") as book:
        found = {s.student.id: s.score for s in book.assignment_submissions("m1")}
    wrote = {f"{w}_{t}_{n}": n for w in writers for t in range(OPENED) for n in range(STUDENTS)}
    return [student for student in wrote | found if found.get(student) != wrote.get(student)]
