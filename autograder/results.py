"""Results of grading by the key of their job, kept in the course folder, so that nothing is run twice.

.autograder/results/ab/abcd….json.z    one result each; written whole or not at all
"""

import contextlib
import json
import os
import tempfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autograder.files import saying_where

FOLDER = ".autograder"
LEVEL = 1  # of compression: time matters more than space


@dataclass(frozen=True)
class Result:
    """A graded notebook, as JSON, and how it came about: the seed, the time it took, what ended early and why."""

    key: str
    seed: int
    notebook: str = field(repr=False)
    sandbox: bool = True
    seconds: float = 0.0
    ended: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # to the student, of what had to be mended
    warm: bool = False
    cold_because: str = ""  # why it was not started warm, although it was to be

    def packed(self) -> bytes:
        """Returns the result as bytes."""
        return zlib.compress(json.dumps(asdict(self)).encode(), LEVEL)


def unpacked(data: bytes) -> Result:
    """Returns the result in bytes that `packed` made. Raises ValueError for other bytes."""
    try:
        said = json.loads(zlib.decompress(data))
        return Result(**{**said, "ended": tuple(said["ended"]), "notes": tuple(said["notes"])})
    except (zlib.error, TypeError, KeyError) as error:
        raise ValueError("these bytes are no result") from error


class Results:
    """The results of a course."""

    def __init__(self, root: Path) -> None:
        """`root` is the course folder; nothing is made before there is something to keep."""
        self._folder = root / FOLDER / "results"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> Result | None:
        """Returns the result of a job, None where there is none, or none that can be read."""
        with contextlib.suppress(OSError, ValueError):
            found = unpacked(self._path(key).read_bytes())
            return found if found.key == key else None
        return None

    def seed(self, key: str) -> int | None:
        """Returns the seed of a job's result, None where there is none."""
        found = self.get(key)
        return found.seed if found else None

    def put(self, key: str, data: bytes) -> None:
        """Keeps a packed result. Raises CourseError where it cannot be written."""
        path = self._path(key)
        with saying_where(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:  # not forced to the disk: what a power cut spoils is graded again
                    file.write(data)
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json.z"
