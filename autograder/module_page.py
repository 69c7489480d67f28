"""The README of a module, written from its `module.toml`: objectives, order, hours, checkpoints, readings."""

import os
from collections.abc import Sequence
from pathlib import Path

from autograder.course import Course, LecturePlace, Module, SheetPlace
from autograder.files import write_all


def page(module: Module) -> str:
    """Returns the text of the module's README."""
    about = module.about
    parts = [
        f"<!-- Built from {(module.folder / 'module.toml').relative_to(module.root).as_posix()}: edit there. -->",
        f"# {about.get('title', module.name)}",
        f"{about.get('hours', '?')} hours.",
        _bullets("You need", about.get("prerequisites", [])),
        _bullets("You learn to", about.get("objectives", [])),
        "## The way through",
        _order(module),
        _checkpoints(module),
        _readings(module),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def path(module: Module) -> Path:
    """Returns where the page stands."""
    return module.folder / "README.md"


def stale(course: Course) -> list[Path]:
    """Returns the pages that differ from what their facts build."""
    return [path(m) for m in course.modules if not path(m).is_file() or path(m).read_bytes() != page(m).encode()]


def write_stale(course: Course) -> list[Path]:
    """Writes the stale pages and returns their paths."""
    paths = stale(course)
    write_all({path(m): page(m) for m in course.modules if path(m) in paths})
    return paths


def _order(module: Module) -> str:
    rows = ["| | what | minutes |", "|---|---|---:|"]
    kinds: dict[str, Sequence[SheetPlace | LecturePlace]] = {"lectures": module.lectures, "sheets": module.sheets}
    for kind, places in kinds.items():
        for place in sorted(places, key=lambda p: p.order):
            entry = next(e for e in module.about[kind] if e["name"] == place.name)
            about = f": {entry['about']}" if "about" in entry else ""
            rows.append(f"| {kind[:-1]} {place.order} | {_link(module, place)}{about} | {place.minutes:g} |")
    return "\n".join(rows)


def _link(module: Module, place: SheetPlace | LecturePlace) -> str:
    target = place.notebook if isinstance(place, LecturePlace) else place.built("release")[0]
    return f"[{place.name.replace('_', ' ')}]({_relative(module, target)})"


def _checkpoints(module: Module) -> str:
    lines = []
    for checkpoint in module.about.get("checkpoints", []):
        place = next(s for s in module.sheets if s.name == checkpoint["sheet"])
        target = _relative(module, place.built("release")[0])
        lines.append(f"- {checkpoint['text']} Proved by [`{checkpoint['proved_by']}`]({target}) of {place.name}.")
    return "## Checkpoints\n\n" + "\n".join(lines) if lines else ""


def _readings(module: Module) -> str:
    lines = [f"- [{r['title']}]({r['url']}). {r['about']}" for r in module.about.get("readings", [])]
    return "## Readings and videos\n\n" + "\n".join(lines) if lines else ""


def _bullets(title: str, items: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items) if items else ""


def _relative(module: Module, target: Path) -> str:
    return Path(os.path.relpath(target, module.folder)).as_posix()
