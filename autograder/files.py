"""Writing files so that a reader sees the old content or the new one, never a part."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from autograder.errors import CourseError


def write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Writes every file or none: all contents reach the disk before the first name changes.

    Raises CourseError where a folder cannot be written or the disk is full. Whatever stops it half-way, an
    interrupt too, the old files are put back and folders that it made are removed.
    """
    undo: list[Callable[[], object]] = []
    old: list[Path] = []
    path = Path()
    try:
        staged = []
        for path, content in contents.items():
            _make_folder(path.parent, undo)
            staged.append((_stage(path, content, undo), path))
        for new, path in staged:
            if path.is_file():
                old.append(_stage(path, path.read_bytes(), undo))
                undo.append(partial(os.replace, old[-1], path))
            elif not path.exists():
                undo.append(partial(path.unlink, missing_ok=True))
            os.replace(new, path)
    except BaseException as error:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise
    for copy in old:
        copy.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Writes one file atomically. Raises CourseError where it cannot be written."""
    write_all({path: content})


@contextlib.contextmanager
def saying_where(path: Path) -> Iterator[None]:
    """Turns an OSError inside the block into a CourseError that names `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(Path(error.filename or path), error) from error


def cannot_write(path: Path, error: OSError) -> CourseError:
    """Returns the error that tells a person why `path` could not be written."""
    reason = (error.strerror or str(error)).lower()
    return CourseError(f"{path} cannot be written ({reason}): free the disk or allow the folder, and run again.")


def _stage(path: Path, content: str | bytes, undo: list[Callable[[], object]]) -> Path:
    """Returns a temporary file beside `path` that holds the content and has reached the disk."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    undo.append(partial(Path(name).unlink, missing_ok=True))
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    return Path(name)


def _make_folder(folder: Path, undo: list[Callable[[], object]]) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        undo.append(parent.rmdir)
    folder.mkdir(exist_ok=True)  # says so where a file stands in its place
