"""Writing files: all or nothing, nothing left behind, and a reader sees the old content or the new."""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autograder import files
from autograder.errors import CourseError
from tests.conftest import tree


def test_files_and_their_folders_are_written(tmp_path: Path) -> None:
    files.write_all({tmp_path / "a" / "b" / "one.txt": "é\n", tmp_path / "two.bin": b"\0\r\n"})
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/one.txt": "é\n".encode(), "two.bin": b"\0\r\n"}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_rights_of_a_file_do_not_depend_on_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write(tmp_path / "one.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "one.txt").stat().st_mode & 0o777 == 0o644


def spoil_by_a_folder(root: Path) -> Path:
    (root / "old" / "last.txt").mkdir(parents=True)
    return root / "old" / "last.txt"


def spoil_by_a_file(root: Path) -> Path:
    (root / "file").write_text("in the way")
    return root / "file" / "last.txt"


def spoil_by_a_file_above(root: Path) -> Path:
    (root / "file").write_text("in the way")
    return root / "file" / "deeper" / "last.txt"


def spoil_by_a_long_name(root: Path) -> Path:
    return root / ("x" * 300)


SPOILERS = [spoil_by_a_folder, spoil_by_a_file, spoil_by_a_file_above, spoil_by_a_long_name]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__)
def test_where_one_file_cannot_be_written_none_is(tmp_path: Path, spoil: object) -> None:
    (tmp_path / "old.txt").write_text("old")
    assert callable(spoil)
    last = spoil(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(CourseError, match="cannot be written") as refused:
        files.write_all({tmp_path / "old.txt": "new", tmp_path / "new" / "deep" / "file.txt": "new", last: "new"})
    assert str(last) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
@pytest.mark.parametrize("after", range(3))
def test_what_stops_it_between_two_names_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, after: int
) -> None:
    paths = [tmp_path / "old_1.txt", tmp_path / "new" / "file.txt", tmp_path / "old_2.txt"]
    for path in (paths[0], paths[2]):
        path.write_text("old")
    before = tree(tmp_path)
    rename, calls = os.replace, []

    def stopping(old: Path, new: Path) -> None:
        calls.append(new)
        if len(calls) == after + 1:
            raise stop
        rename(old, new)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(CourseError if isinstance(stop, OSError) else KeyboardInterrupt):
        files.write_all(dict.fromkeys(paths, "new"))
    assert tree(tmp_path) == before


def test_an_interrupt_while_writing_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_all({tmp_path / "new" / "one.txt": "x"})
    assert tree(tmp_path) == {}


FULL = """
import pathlib, resource, signal, sys
from autograder import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
root = pathlib.Path(sys.argv[1])
try:
    files.write_all({root / "small.txt": "new", root / "folder" / "large.txt": "x" * 5000})
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        f"CourseError {tmp_path}/folder/large.txt cannot be written (file too large): free the"
    )
    assert tree(tmp_path) == {"small.txt": b"old"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    assert signal.getsignal(signal.SIGXFSZ) is not None


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path, size, seen = tmp_path / "file.txt", 200_000, set()
    contents = {letter: letter * size for letter in "ab"}
    files.write(path, contents["a"])
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        files.write_all({path: contents["ab"[number % 2]]})
    stop.set()
    reader.join()
    assert seen <= set(contents.values())
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_in_a_block_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="nosuch cannot be written"), files.saying_where(tmp_path):
        (tmp_path / "nosuch").read_text()
    with pytest.raises(ValueError, match="other"), files.saying_where(tmp_path):
        raise ValueError("other")
