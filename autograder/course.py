"""The course as folders: modules with their sheets and lectures, and where what is built from them goes."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.bundle import file_name
from autograder.errors import CourseError


@dataclass(frozen=True)
class SheetPlace:
    """One sheet: where its text stands, and where its notebooks and bundle are built."""

    root: Path
    module: str
    name: str
    order: int
    minutes: float

    @property
    def text(self) -> Path:
        return self.root / "modules" / self.module / "exercises" / f"{self.name}.py"

    @property
    def checks(self) -> Path:
        return self.text.with_name(f"{self.name}_checks.py")

    @property
    def notebook_name(self) -> str:
        """The built notebook's name, which shows its place in the order: "02_backprop"."""
        return f"{self.order:02d}_{self.name}"

    def built(self, tree: str) -> tuple[Path, Path]:
        """Returns the paths of notebook and bundle in "source" or "release"."""
        folder = self.root / tree / self.module
        return folder / f"{self.notebook_name}.ipynb", folder / file_name(self.name)


@dataclass(frozen=True)
class LecturePlace:
    """One lecture: its text and its executed notebook."""

    root: Path
    module: str
    name: str
    order: int
    minutes: float

    @property
    def text(self) -> Path:
        return self.root / "modules" / self.module / "lectures" / f"{self.name}.md"

    @property
    def notebook(self) -> Path:
        return self.text.with_name(f"{self.order:02d}_{self.name}.ipynb")


@dataclass(frozen=True)
class Module:
    """One module: its folder, and what its `module.toml` says of order, objectives and checkpoints."""

    folder: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        return self.folder.parent.parent

    @cached_property
    def sheets(self) -> list[SheetPlace]:
        return [
            SheetPlace(self.root, self.name, s["name"], s["order"], s["minutes"]) for s in self.about.get("sheets", [])
        ]

    @cached_property
    def lectures(self) -> list[LecturePlace]:
        return [
            LecturePlace(self.root, self.name, lecture["name"], lecture["order"], lecture["minutes"])
            for lecture in self.about.get("lectures", [])
        ]


@dataclass(frozen=True)
class Course:
    """The whole course below `root`."""

    root: Path

    @cached_property
    def modules(self) -> list[Module]:
        """All modules, in the order of their names. Raises CourseError for a broken `module.toml`."""
        return [_read_module(path) for path in sorted(self.root.glob("modules/*/module.toml"))]

    @property
    def sheets(self) -> list[SheetPlace]:
        return [sheet for module in self.modules for sheet in module.sheets]

    @property
    def lectures(self) -> list[LecturePlace]:
        return [lecture for module in self.modules for lecture in module.lectures]

    def find(self, name: str) -> SheetPlace | LecturePlace:
        """Returns the sheet or lecture called `name` ("backprop" or "m1_neural_networks/backprop")."""
        places = [*self.sheets, *self.lectures]
        found = [p for p in places if name in (p.name, f"{p.module}/{p.name}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{p.module}/{p.name}" for p in (found or places)) or "none yet"
        problem = "is the name of several" if found else "is not the name of a sheet or lecture"
        raise CourseError(f"{name} {problem}: choose one of {known}.")


def find_course(start: Path | None = None) -> Course:
    """Returns the course that `start` (by default the working folder) lies in. Raises CourseError where there is none."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / "modules").is_dir() and (folder / "nbgrader_config.py").is_file():
            return Course(folder)
    raise CourseError(f"{here} is not in a course (no folder above it has modules/ and nbgrader_config.py): go there.")


def _read_module(path: Path) -> Module:
    try:
        about = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: {error}.") from error
    for kind in ("sheets", "lectures"):
        for entry in about.get(kind, []):
            missing = {"name", "order", "minutes"} - set(entry)
            if missing:
                raise CourseError(f"{path}: an entry of [[{kind}]] has no {', '.join(sorted(missing))}.")
    return Module(path.parent, about)
