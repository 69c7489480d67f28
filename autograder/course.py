"""The course as folders: modules with their sheets and lectures, and where what is built from them goes."""

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any

from autograder.bundle import file_name
from autograder.errors import CourseError

WORDS: dict[type | UnionType, str] = {str: "text", int: "a whole number", int | float: "a number"}
ENTRIES: dict[str, dict[str, type | UnionType]] = {  # the keys that each entry of a module.toml has
    "sheets": {"name": str, "order": int, "minutes": int | float},
    "lectures": {"name": str, "order": int, "minutes": int | float},
    "checkpoints": {"text": str, "sheet": str, "proved_by": str},
    "readings": {"title": str, "url": str, "about": str},
}


@dataclass(frozen=True)
class _Place:
    root: Path
    module: str
    name: str
    order: int
    minutes: float

    @property
    def notebook_name(self) -> str:
        """The built notebook's name, which shows its place in the order: "02_backprop"."""
        return f"{self.order:02d}_{self.name}"


@dataclass(frozen=True)
class SheetPlace(_Place):
    """One sheet: where its text stands, and where its notebooks and bundle are built."""

    @property
    def text(self) -> Path:
        return self.root / "modules" / self.module / "exercises" / f"{self.name}.py"

    @property
    def checks(self) -> Path:
        return self.text.with_name(f"{self.name}_checks.py")

    def built(self, tree: str) -> tuple[Path, Path]:
        """Returns the paths of notebook and bundle in "source" or "release"."""
        folder = self.root / tree / self.module
        return folder / f"{self.notebook_name}.ipynb", folder / file_name(self.name)


@dataclass(frozen=True)
class LecturePlace(_Place):
    """One lecture: its text and its executed notebook."""

    @property
    def text(self) -> Path:
        return self.root / "modules" / self.module / "lectures" / f"{self.name}.md"

    @property
    def notebook(self) -> Path:
        return self.text.with_name(f"{self.notebook_name}.ipynb")


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
        places: list[SheetPlace | LecturePlace] = [*self.sheets, *self.lectures]
        found = [p for p in places if name in (p.name, f"{p.module}/{p.name}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{p.module}/{p.name}" for p in (found or places)) or "none yet"
        problem = "is the name of several" if found else "is not the name of a sheet or lecture"
        raise CourseError(f"{name} {problem}: choose one of {known}.")


def find_course(start: Path | None = None) -> Course:
    """Returns the course that `start`, by default the working folder, lies in. Raises CourseError outside one."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / "modules").is_dir() and (folder / "nbgrader_config.py").is_file():
            return Course(folder)
    raise CourseError(f"{here} is not in a course (no folder above it has modules/ and nbgrader_config.py): go there.")


def _read_module(path: Path) -> Module:
    try:
        text = path.read_text(encoding="utf-8-sig")
        about = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: {error}.") from error
    for kind, keys in ENTRIES.items():
        entries = about.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise CourseError(f"{path}, line {_line(text, kind, 0)}: {kind} must be tables, each headed [[{kind}]].")
        for index in range(len(entries)):
            if problem := _problem(about, kind, keys, index):
                raise CourseError(f"{path}, line {_line(text, kind, index)}: an entry of [[{kind}]] {problem}.")
    for key in ("objectives", "prerequisites"):
        if not isinstance(about.get(key, []), list) or not all(isinstance(item, str) for item in about.get(key, [])):
            raise CourseError(f"{path}, line {_line(text, key, 0)}: {key} must be a list of sentences.")
    return Module(path.parent, about)


def _problem(about: dict[str, Any], kind: str, keys: dict[str, type | UnionType], index: int) -> str:
    """Returns what is wrong with the entry `index` of `kind`, "" where nothing is."""
    entry, before = about[kind][index], about[kind][:index]
    if missing := [key for key in keys if key not in entry]:
        return f"has no {', '.join(missing)}"
    for key, wanted in keys.items():
        if not isinstance(entry[key], wanted) or isinstance(entry[key], bool):
            return f"has {key} = {entry[key]!r}, which must be {WORDS[wanted]}"
    if "name" in keys and not re.fullmatch(r"[A-Za-z]\w*", entry["name"], re.ASCII):
        return f"has the name {entry['name']!r}, which must be of letters, digits, and underscores"
    for key in ("name", "order"):
        if key in keys and entry[key] in [other[key] for other in before]:
            return f"has the {key} {entry[key]} of another one"
    if kind == "checkpoints" and entry["sheet"] not in [sheet.get("name") for sheet in about.get("sheets", [])]:
        return f"names the sheet {entry['sheet']}, which the module does not have"
    return ""


def _line(text: str, key: str, index: int) -> int:
    """Returns the line of the table or value number `index` called `key`, 1 where it cannot be found."""
    pattern = re.compile(rf"\s*(\[\[?\s*{key}\s*\]|{key}\s*=)")
    return dict(enumerate(n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line))).get(index, 1)
