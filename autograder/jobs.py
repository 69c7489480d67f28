"""What is graded: one notebook that somebody handed in, together with everything that decides its grade.

A job has a key, a digest of all of that but the seed of the draws. A result is kept under it (see `results`), and
whoever hands the same in again gets the same grade without a second run.
"""

import base64
import functools
import hashlib
import json
import platform
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.errors import CourseError
from autograder.rebuilding import wanted_cells
from autograder.sandbox import Limits

ENGINE = (  # the modules that a worker runs: a change in one of them may change a result
    *("bundle", "checking", "compare", "confined", "diagnosis", "errors", "figures", "files", "forbidden", "graded"),
    *("jobs", "judging", "limits", "notebooks", "pages", "plain", "preloaded", "rebuilding", "report", "results"),
    *("running", "sandbox", "seccomp", "session", "solutions", "source", "stock", "student", "tasks", "template"),
    *("data", "sheets", "watching", "wire", "worker"),
)
PACKAGES = ("numpy", "torch", "matplotlib", "ipython", "scikit-learn")  # whose versions may change a result
LEVEL = 1  # of compression: time matters more than space


@dataclass(frozen=True)
class Kit:
    """One sheet as it is graded: its source notebook, the cells that the gradebook recorded, the files beside it."""

    sheet: str
    source: str = field(repr=False)
    wanted: str = field(repr=False)  # nbformat's cells as JSON
    public: Mapping[str, bytes] = field(repr=False)
    limits: Limits = field(default_factory=Limits)
    unsafe: bool = False

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all of it, and of the program that grades."""
        parts: list[Any] = [engine(), self.sheet, self.source, self.wanted, asdict(self.limits), self.unsafe]
        return _digest([*parts, _digests(self.public)])

    @functools.cached_property
    def patterns(self) -> tuple[str, ...]:
        """The names of the files that may be handed in beside the notebook."""
        return tuple(json.loads(self.source)["metadata"].get("autograder", {}).get("files", ()))

    @functools.cached_property
    def packed(self) -> bytes:
        """The kit as bytes."""
        return _compressed({**asdict(self), "public": {name: _text(content) for name, content in self.public.items()}})

    def cells(self) -> list[NotebookNode]:
        """Returns the wanted cells."""
        return [nbformat.from_dict(cell) for cell in json.loads(self.wanted)]


@dataclass(frozen=True)
class Job:
    """One notebook handed in: its bytes (None where there is none), its name, what intake noted, files beside it."""

    kit: Kit
    data: bytes | None = field(repr=False)
    name: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def key(self) -> str:
        """The digest of everything that decides the grade."""
        data = None if self.data is None else hashlib.sha256(self.data).hexdigest()
        return _digest([self.kit.digest, data, self.name, self.notes, _digests(self.files)])


def read_kit(book: Any, source: Path, limits: Limits, unsafe: bool) -> Kit:
    """Returns the kit of nbgrader's notebook `book`, whose source notebook is `source`. Raises CourseError."""
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CourseError(f"{source} is missing, so nothing can be graded: put the source notebook back.") from error
    wanted = json.dumps(wanted_cells(book, nbformat.reads(text, as_version=4)), sort_keys=True)
    public = {path.name: path.read_bytes() for path in source.parent.iterdir() if path.suffix != ".ipynb"}
    return Kit(book.name, text, wanted, public, limits, unsafe)


@functools.cache
def engine() -> str:
    """Returns a digest of the program that grades: its modules, Python, and the packages that compute."""
    own = [Path(__file__).with_name(f"{name}.py") for name in ENGINE]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in own]
    return _digest([*parts, platform.python_version(), *map(_version, PACKAGES)])


def packed(job: Job) -> bytes:
    """Returns a job as bytes, for a worker that may run on another machine."""
    return job.kit.packed + b"\n" + _compressed(_plain(job))


def unpacked(data: bytes) -> Job:
    """Returns the job in bytes that `packed` made."""
    kit, _, rest = data.partition(b"\n")
    said = _expanded(rest)
    files = {name: base64.b64decode(content) for name, content in said["files"].items()}
    content = None if said["data"] is None else base64.b64decode(said["data"])
    return Job(_unpacked_kit(kit), content, said["name"], tuple(said["notes"]), files)


def _plain(job: Job) -> dict[str, Any]:
    files = {name: _text(content) for name, content in job.files.items()}
    return {"data": None if job.data is None else _text(job.data), "name": job.name, "notes": job.notes, "files": files}


@functools.lru_cache(maxsize=16)
def _unpacked_kit(data: bytes) -> Kit:
    said = _expanded(data)
    said["public"] = {name: base64.b64decode(content) for name, content in said["public"].items()}
    return Kit(**{**said, "limits": Limits(**said["limits"])})


def _compressed(value: Any) -> bytes:
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), LEVEL))


def _expanded(data: bytes) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(data)))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
