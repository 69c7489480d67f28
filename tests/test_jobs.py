"""A job's key: the same for the same work under the same rules, another one for anything that may change the grade."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from autograder import jobs, worker
from autograder.errors import CourseError
from autograder.jobs import Job, Kit
from autograder.sandbox import Limits

SOURCE = nbformat.writes(new_notebook(cells=[], metadata={"autograder": {"files": ["*.csv"]}}))
KIT = Kit("01_sheet", SOURCE, json.dumps([new_code_cell("pass", id="a")]), {"sheet.checks.json": b"{}"})
JOB = Job(KIT, b"{}", "01_sheet.ipynb", ("a note",), {"data.csv": b"1,2"})

OTHERS: dict[str, Callable[[Job], Job]] = {
    "bytes": lambda job: replace(job, data=b"{ }"),
    "nothing handed in": lambda job: replace(job, data=None),
    "name": lambda job: replace(job, name="copy.ipynb"),
    "note": lambda job: replace(job, notes=("another",)),
    "file": lambda job: replace(job, files={"data.csv": b"1,3"}),
    "file's name": lambda job: replace(job, files={"other.csv": b"1,2"}),
    "source": lambda job: replace(job, kit=replace(KIT, source=SOURCE + "\n")),
    "wanted cells": lambda job: replace(job, kit=replace(KIT, wanted="[]")),
    "public file": lambda job: replace(job, kit=replace(KIT, public={"sheet.checks.json": b"{ }"})),
    "limits": lambda job: replace(job, kit=replace(KIT, limits=Limits(cell=5))),
    "walls": lambda job: replace(job, kit=replace(KIT, unsafe=True)),
    "sheet": lambda job: replace(job, kit=replace(KIT, sheet="02_sheet")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_may_change_the_grade_changes_the_key(what: str) -> None:
    assert OTHERS[what](JOB).key != JOB.key
    assert replace(JOB).key == JOB.key


def test_another_program_gives_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = JOB.key
    monkeypatch.setattr(jobs, "engine", lambda: "another")
    assert replace(JOB, kit=replace(KIT)).key != before


names = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)


@given(st.none() | st.binary(max_size=50), names, st.lists(names, max_size=3), st.dictionaries(names, st.binary()))
def test_a_job_comes_back_from_its_bytes(data: bytes | None, name: str, notes: list[str], files: Any) -> None:
    job = Job(KIT, data, name, tuple(notes), files)
    back = jobs.unpacked(jobs.packed(job))
    assert back == job and back.key == job.key and back.kit.limits == KIT.limits
    assert back.kit.patterns == ("*.csv",)


def test_a_worker_of_another_version_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    order = worker.order(JOB, 1, [], warm=False)
    monkeypatch.setattr(jobs, "engine", lambda: "another")
    with pytest.raises(CourseError, match="other versions than the grader"):
        worker.grade(order)


def test_the_engine_is_what_a_worker_and_a_notebook_import() -> None:
    """Modules of this package that grading needs are in ENGINE; and each module in it is one of this package's."""
    program = (
        "import sys, importlib, autograder.worker, autograder.preloaded\n"
        "autograder.preloaded.prepare()\n"
        "print(*sorted(m.split('.')[1] for m in sys.modules if m.startswith('autograder.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    apart = {"databases", "course"}  # where the gradebook lies, and where files of the course lie, decide no grade
    assert set(done.stdout.split()) - apart <= set(jobs.ENGINE)
    assert all(Path(jobs.__file__).with_name(f"{name}.py").is_file() for name in jobs.ENGINE)
