"""Writing files so that a reader sees the old content or the new one, never a part."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autograder.errors import CourseError


def write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Writes every file or none: all contents reach the disk before the first name changes.

    Raises CourseError where a folder cannot be written or the disk is full.
    """
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.append((_stage(path, content), path))
        for temporary, path in staged:
            os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


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


def _stage(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
