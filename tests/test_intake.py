"""What was handed in is read safely, and each sheet finds its file."""

import json
import os
import socket
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autograder import intake
from autograder.intake import HandedIn, Refused, read, take_in, timestamp

SHEETS = {"01_rows": {"rows", "check_rows"}, "02_columns": {"columns", "check_columns"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns the folder of a submission, below submitted/."""
    folder = tmp_path / "submitted" / "ada" / "m1"
    folder.mkdir(parents=True)
    return folder


def taken(folder: Path, **options: Any) -> HandedIn:
    return take_in(folder.parents[1], folder, SHEETS, **options)


def sheet(*names: str) -> bytes:
    """A notebook with nbgrader's cells of these names."""
    cells = [{"cell_type": "code", "source": "1", "metadata": {"nbgrader": {"grade_id": name}}} for name in names]
    return json.dumps({"cells": cells}).encode()


def both(folder: Path) -> None:
    for name in SHEETS:
        (folder / f"{name}.ipynb").write_bytes(b"{}")


def a_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has a limit of about a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root may make a device")


NO_FILES = [a_link, a_link_to_nothing, a_link_to_itself, a_pipe, a_socket, a_device]


@pytest.mark.parametrize("make", [*NO_FILES, a_folder])
def test_what_is_not_a_file_is_not_opened(
    folder: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder / "x")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(Refused, match=r"not a file"):
        read(folder.parents[1], folder / "x", 10)


@pytest.mark.parametrize("make", NO_FILES)
def test_a_notebook_that_is_not_a_file_is_absent_and_the_student_is_told(
    folder: Path, make: Callable[[Path], None]
) -> None:
    both(folder)
    (folder / "01_rows.ipynb").unlink()
    make(folder / "01_rows.ipynb")
    found = taken(folder)
    assert found.read("01_rows") is None
    assert found.read("02_columns") == b"{}"
    first, second = found.notes["01_rows"]
    assert first.startswith("`01_rows.ipynb` is a ")
    assert second.startswith("No notebook `01_rows.ipynb` was handed in")
    assert found.notes["02_columns"] == []


@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_that_is_a_link_is_not_entered(folder: Path, depth: int) -> None:
    both(folder)
    link = [folder, folder.parent][depth]
    link.rename(folder.parents[2] / "elsewhere")
    link.symlink_to(folder.parents[2] / "elsewhere")
    found = taken(folder)
    assert found.notebooks == {}
    assert found.notes["01_rows"][0] == (
        "The folder of the submission is a link, not a file: hand in the file itself, so nothing in it was read."
    )
    with pytest.raises(Refused, match="is a link"):
        read(folder.parents[1], folder / "01_rows.ipynb", 10)


def test_a_submission_that_is_a_file_is_told_so(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("x")
    assert "is not a folder" in taken(folder).notes["01_rows"][0]


def test_a_submission_that_went_away_is_absent(folder: Path) -> None:
    folder.rmdir()
    assert taken(folder).notebooks == {}


def test_a_size_has_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both(folder)
    monkeypatch.setattr(intake, "NOTEBOOK_BYTES", 1)
    found = taken(folder)
    assert found.read("01_rows") is None
    assert found.notes["01_rows"] == ["`01_rows.ipynb` is larger than 0 MB, so it was not read."]


def test_what_may_not_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both(folder)

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    found = taken(folder)
    assert found.read("01_rows") is None
    assert found.notes["01_rows"] == ["`01_rows.ipynb` cannot be read (Permission denied), so it was not read."]


@pytest.mark.parametrize(
    "name",
    [
        "01_ROWS.IPYNB",
        "01_Rows.ipynb",
        "01_rows (1).ipynb",
        "01_rows(12).ipynb",
        "01_rows-Copy1.ipynb",
        "01_rows copy.ipynb",
        "01_rows copy 2.ipynb",
        "01_rows - Copy.ipynb",
        "01_rows-Copy1 (2).ipynb",
        "Copy of 01_rows.ipynb",
        "01_rows.ipynb.txt",
        "01_rows.ipynb.json",
        "01_rows.ipynb.ipynb",
        "０1_rows.ipynb",
    ],
)
def test_names_that_copies_get(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{}")
    found = taken(folder)
    assert found.notebooks == {"01_rows": name}
    assert found.notes["01_rows"] == [f"`{name}` was read as `01_rows.ipynb`; please keep the name of the file."]


def test_a_name_may_be_normalized_in_another_way(folder: Path) -> None:
    (folder / "u\u0308bung.ipynb").write_bytes(b"{}")
    assert take_in(folder.parents[1], folder, {"\u00fcbung": set()}).notebooks == {"\u00fcbung": "u\u0308bung.ipynb"}


def test_the_exact_name_wins_and_then_the_newest_file(folder: Path) -> None:
    names = ["01_rows.ipynb", "01_rows (1).ipynb", "01_rows (2).ipynb"]
    for age, name in enumerate(names):
        (folder / name).write_bytes(b"{}")
        os.utime(folder / name, (10 + 10 * (age == 1), 10 + 10 * (age == 1)))
    assert taken(folder).notebooks["01_rows"] == "01_rows.ipynb"
    (folder / names[0]).unlink()
    found = taken(folder)
    assert found.notebooks["01_rows"] == "01_rows (1).ipynb"
    assert found.notes["01_rows"] == [
        "Several files are this sheet: `01_rows (1).ipynb` was read, not `01_rows (2).ipynb`."
    ]


def test_a_notebook_of_any_name_is_known_by_its_cells(folder: Path) -> None:
    (folder / "a.ipynb").write_bytes(sheet("columns", "more"))
    (folder / "b.ipynb").write_bytes(sheet("other"))
    (folder / "c.ipynb").write_bytes(b"not JSON")
    (folder / "02_columns.ipynb").symlink_to("a.ipynb")
    found = taken(folder)
    assert found.notebooks == {"02_columns": "a.ipynb"}
    assert "Not a sheet of this assignment, and left out: `b.ipynb`, `c.ipynb`." in found.notes["01_rows"]


def test_a_sheet_that_has_its_file_takes_no_other_by_its_cells(folder: Path) -> None:
    both(folder)
    (folder / "mine.ipynb").write_bytes(sheet("rows", "check_rows"))
    found = taken(folder)
    assert found.notebooks == {name: f"{name}.ipynb" for name in SHEETS}
    assert found.notes["01_rows"] == ["Not a sheet of this assignment, and left out: `mine.ipynb`."]


def copies(folder: Path, found: HandedIn) -> dict[str, bytes]:
    into = folder.parents[2] / "copied"
    into.mkdir()
    found.copy_to(into)
    return {path.name: path.read_bytes() for path in into.iterdir()}


def test_nothing_is_copied_unless_the_sheets_ask_for_it(folder: Path) -> None:
    both(folder)
    for name in ("numpy.py", "a.csv", "b.png", ".hidden", "x.pyc", "data.json"):
        (folder / name).write_bytes(b"1")
    found = taken(folder, given=["data.json"], ignored=["*.pyc"])
    assert found.notes["01_rows"] == ["Beside the notebook, and not used: `a.csv`, `b.png`, `numpy.py`."]
    assert copies(folder, found) == {}


def test_files_that_the_sheets_ask_for_are_copied(folder: Path) -> None:
    both(folder)
    for name in ("a.csv", "helper.py", "numpy.py", "b.png", "x" * 100 + ".csv", "tab\t.csv", "more.ipynb"):
        (folder / name).write_bytes(name.encode())
    (folder / "link.csv").symlink_to("/etc/passwd")
    (folder / "folder.csv").mkdir()
    found = taken(folder, allowed=["*.csv", "*.py", "helper.py", "*.ipynb"])
    assert copies(folder, found) == {"a.csv": b"a.csv", "helper.py": b"helper.py"}
    assert "`link.csv` is a link, not a file: hand in the file itself." in found.notes["01_rows"]


def test_files_have_a_limit_in_size_and_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FILE_BYTES", 3)
    monkeypatch.setattr(intake, "FILES", 2)
    both(folder)
    for number in range(4):
        (folder / f"{number}.csv").write_text("1234" if number == 0 else "1")
    found = taken(folder, allowed=["*.csv"])
    assert copies(folder, found) == {"1.csv": b"1", "2.csv": b"1"}
    assert found.notes["01_rows"] == [
        "`0.csv` is larger than 0 MB, so it was not read.",
        "There are more than 2 files, so `3.csv` was not read.",
    ]


@pytest.mark.parametrize("text", ["2024-03-01 12:30:00.5 UTC", "2024-03-01 12:30:00.5", "2024-03-01T14:30:00.5+02:00"])
def test_a_timestamp_is_read_as_nbgrader_does(folder: Path, text: str) -> None:
    (folder / "timestamp.txt").write_text(f"{text}\n")
    assert timestamp(folder.parents[1], folder) == (datetime(2024, 3, 1, 12, 30, 0, 500000), "")
    assert copies(folder, taken(folder)) == {"timestamp.txt": f"{text}\n".encode()}


@pytest.mark.parametrize(
    "data",
    [b"", b"soon", b"\xff\xfe", b"9" * 900, b"9" * 2000, b"0000-00-00 00:00:00", b"2024-03-01 12:00 X Y Z", b"\0"],
)
def test_an_odd_timestamp_is_ignored_and_told(folder: Path, data: bytes) -> None:
    both(folder)
    (folder / "timestamp.txt").write_bytes(data)
    moment, wrong = timestamp(folder.parents[1], folder)
    assert moment is None
    found = taken(folder)
    assert found.notes["01_rows"] == [wrong]
    assert wrong.endswith("so it was ignored.")
    assert copies(folder, found) == {}


def test_a_timestamp_of_the_future_is_forged(folder: Path) -> None:
    (folder / "timestamp.txt").write_text(str(datetime.now() + timedelta(days=3)))
    assert timestamp(folder.parents[1], folder) == (None, "`timestamp.txt` is in the future, so it was ignored.")


@pytest.mark.parametrize("make", [*NO_FILES, a_folder])
def test_a_timestamp_that_is_not_a_file_is_ignored(folder: Path, make: Callable[[Path], None]) -> None:
    both(folder)
    make(folder / "timestamp.txt")
    moment, wrong = timestamp(folder.parents[1], folder)
    assert moment is None
    assert "not a file" in wrong
    assert taken(folder).notes["01_rows"] == [wrong]


def test_no_timestamp_is_no_mistake(folder: Path) -> None:
    both(folder)
    assert timestamp(folder.parents[1], folder) == (None, "")
    assert taken(folder).notes == {"01_rows": [], "02_columns": []}


@pytest.mark.parametrize("name", ["<script>.csv", "`<b>`.ipynb", "new\nline.csv", b"\xff\xfe.csv", "x" * 250])
def test_a_name_of_any_kind_is_told_on_one_line(folder: Path, name: str | bytes) -> None:
    both(folder)
    (folder / os.fsdecode(name)).write_bytes(b"1")
    (note,) = taken(folder).notes["01_rows"]
    assert note.isprintable()
    assert note.count("`") == 2
    assert len(note) < 150


def test_an_assignment_without_sheets_takes_nothing_in(folder: Path) -> None:
    both(folder)
    (folder / "a.csv").write_text("1")
    assert take_in(folder.parents[1], folder, {}).notes == {}
