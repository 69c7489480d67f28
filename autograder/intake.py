"""What was handed in, read safely: which file is which sheet, and nothing but a regular file is ever opened.

A submission is made by somebody else. A name in it may be a link to a file that only the grader can read, a pipe that
never ends, or the name of a module. Whatever is not a plain file directly in the submission's folder counts as absent,
and a note tells the student so.
"""

import functools
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from nbgrader.utils import parse_utc

from autograder.jobs import Job, Kit
from autograder.rebuilding import grade_ids, listed, quoted

NOTEBOOK_BYTES = 200_000_000
FILE_BYTES = 10_000_000
FILES = 50
LONGEST_NAME = 100
TIMESTAMP = "timestamp.txt"
TIMESTAMP_BYTES = 1000
NBGRADERS_OWN = {TIMESTAMP, "submission_secret.txt"}
IMPORTABLE = (".py", ".pyc", ".pyd", ".so", ".pth")
SCRIPTED = (".htm", ".html", ".js", ".mht", ".mhtml", ".svg", ".xht", ".xhtml", ".xml")  # formgrader serves files, too
LOOKED_INTO = 20  # notebooks of a foreign name
KINDS = {
    stat.S_IFLNK: "is a link, not a file: hand in the file itself",
    stat.S_IFDIR: "is a folder, not a file",
    stat.S_IFIFO: "is a pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json|\.ipynb)*$")  # browsers add endings
ADDED = re.compile(r"^((copy of|kopie von)\s+)+|(\s*\(\d+\)|[\s_-]+(copy|kopie)[\s_-]*\d*)+$")


class Refused(Exception):
    """The file is not read; the message says why, as what follows its name in a sentence to the student."""


@dataclass
class HandedIn:
    """One submission: which file is read for which sheet, the files beside them, and notes for the student by sheet.

    What is said of the whole submission stands in the notes of the first sheet.
    """

    root: Path
    folder: Path
    notebooks: dict[str, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def read(self, sheet: str) -> bytes | None:
        """Returns the bytes of the sheet's notebook, None where there is none that can be read, with a note."""
        name = self.notebooks.get(sheet)
        try:
            return None if name is None else read(self.root, self.folder / name, NOTEBOOK_BYTES)
        except Refused as reason:
            self.notes[sheet].append(f"{quoted(name or '')} {reason}, so it was not read.")
            return None

    @functools.cached_property
    def files(self) -> dict[str, bytes]:
        """The files that the sheets asked for by name, and a timestamp that can be read."""
        found = {}
        for name in self.copied:
            try:
                found[name] = read(self.root, self.folder / name, FILE_BYTES)
            except Refused as reason:
                self._say(f"{quoted(name)} {reason}, so it was not read.")
        return found

    def job(self, kit: Kit) -> Job:
        """Returns what is to be graded for one sheet."""
        files = {name: data for name, data in self.files.items() if any(fnmatchcase(name, p) for p in kit.patterns)}
        data = self.read(kit.sheet)
        name = self.notebooks.get(kit.sheet, "")
        asked_for = {
            file: content for file, content in files.items() if any(fnmatchcase(file, p) for p in kit.patterns)
        }
        return Job(kit, data, name, tuple(self.notes[kit.sheet]), asked_for)

    def copy_to(self, folder: Path) -> None:
        """Copies those files into `folder`."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)

    def _say(self, note: str) -> None:
        if self.notes:
            self.notes[min(self.notes)].append(note)


def read(root: Path, path: Path, limit: int) -> bytes:
    """Returns the bytes of the regular file `path`, to which no link leads below `root`. Raises Refused."""
    try:
        below = path.relative_to(root).parts
        for depth in range(1, len(below)):
            _must_be(stat.S_IFDIR, root.joinpath(*below[:depth]))
        _must_be(stat.S_IFREG, path)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Refused("is not a file")  # it was one just now
            data = file.read(limit + 1)
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise Refused(f"is larger than {limit / 1e6:,.0f} MB")
    return data


def timestamp(root: Path, folder: Path) -> tuple[datetime | None, str]:
    """Returns when a submission was handed in as its timestamp has it, None without one, and what is wrong with it."""
    if not os.path.lexists(folder / TIMESTAMP):
        return None, ""
    try:
        text = read(root, folder / TIMESTAMP, TIMESTAMP_BYTES).decode("utf-8").strip()
        moment: datetime = parse_utc(text)
        if moment > datetime.now() + timedelta(days=1):  # wherever on earth the student is
            raise Refused("is in the future")
    except Refused as reason:
        return None, f"{quoted(TIMESTAMP)} {reason}, so it was ignored."
    except Exception:  # of its many kinds of parsing errors, dateutil documents a few
        return None, f"{quoted(TIMESTAMP)} holds no date and time, so it was ignored."
    return moment, ""


def take_in(
    root: Path,
    folder: Path,
    sheets: Mapping[str, Collection[str]],
    *,
    given: Collection[str] = (),
    ignored: Collection[str] = (),
    allowed: Collection[str] = (),
) -> HandedIn:
    """Returns what lies in the submission's `folder`, below `root`. Never raises.

    `sheets` has the names of nbgrader's cells by the name of the sheet; files of the names `given` come with the
    release, those that match `ignored` are passed over, and those that match `allowed` may be used by the sheets.
    """
    taken = HandedIn(root, folder, notes={sheet: [] for sheet in sheets})
    files, others = _listing(taken)
    notebooks = {name: about for name, about in files.items() if NOTEBOOK.search(_folded(name))}
    _match(taken, notebooks, sheets)
    known = {*notebooks, *given, *NBGRADERS_OWN}
    beside = [name for name in [*files, *others] if name not in known]
    beside = [name for name in beside if not name.startswith(".") and not any(fnmatchcase(name, p) for p in ignored)]
    unused = [name for name in beside if name in others or not _allow(taken, name, files[name], allowed)]
    if unused:
        taken._say(f"Beside the notebook, and not used: {listed(sorted(unused))}.")
    _, wrong = timestamp(root, folder)
    if wrong:
        taken._say(wrong)
    elif TIMESTAMP in files:
        taken.copied.append(TIMESTAMP)
    return taken


def _listing(taken: HandedIn) -> tuple[dict[str, os.stat_result], list[str]]:
    """Returns the regular files in a submission's folder, and the folders; notes what is neither."""
    files: dict[str, os.stat_result] = {}
    folders: list[str] = []
    refused: dict[str, list[str]] = {}
    try:
        below = taken.folder.relative_to(taken.root).parts
        for depth in range(1, len(below) + 1):
            _must_be(stat.S_IFDIR, taken.root.joinpath(*below[:depth]))
        for path in sorted(taken.folder.iterdir()):
            name, about = path.name, path.lstat()
            kind = stat.S_IFMT(about.st_mode)
            if kind == stat.S_IFREG:
                files[name] = about
            elif kind == stat.S_IFDIR:
                folders.append(name)
            elif name != TIMESTAMP:  # which has a note of its own
                refused.setdefault(KINDS.get(kind, "is not a file"), []).append(name)
    except OSError as error:
        taken._say(f"The folder of the submission cannot be read ({error.strerror}).")
    except Refused as reason:
        taken._say(f"The folder of the submission {reason}, so nothing in it was read.")
    for why, names in refused.items():
        taken._say(f"{listed(names)} {why}." if len(names) == 1 else f"Each of {listed(names)} {why}.")
    return files, folders


def _match(taken: HandedIn, notebooks: Mapping[str, os.stat_result], sheets: Mapping[str, Collection[str]]) -> None:
    """Finds the notebook of each sheet: by its name, by a name that a copy gets, or by nbgrader's cells in it."""
    left = dict(notebooks)
    for sheet in sheets:
        alike = [name for name in notebooks if _plain(name) == _plain(f"{sheet}.ipynb")]
        exact = f"{sheet}.ipynb"
        if alike:
            taken.notebooks[sheet] = exact if exact in alike else _newest(alike, notebooks)
            _tell(taken, sheet, alike)
        left = {name: about for name, about in left.items() if name not in alike}
    missing = {sheet: set(names) for sheet, names in sheets.items() if names and sheet not in taken.notebooks}
    if missing:
        _match_by_cells(taken, left, missing)
    unknown = sorted(set(left) - set(taken.notebooks.values()))
    if unknown:
        taken._say(f"Not a sheet of this assignment, and left out: {listed(unknown)}.")
    for sheet in set(sheets) - set(taken.notebooks):
        taken.notes[sheet].append(f"No notebook `{sheet}.ipynb` was handed in, so the sheet is graded as not done.")


def _match_by_cells(taken: HandedIn, left: Mapping[str, os.stat_result], missing: Mapping[str, set[str]]) -> None:
    found: dict[str, list[str]] = {}
    for name in sorted(left, key=lambda name: left[name].st_mtime, reverse=True)[:LOOKED_INTO]:
        try:
            there = grade_ids(read(taken.root, taken.folder / name, NOTEBOOK_BYTES))
        except Refused:
            continue
        share = {sheet: len(names & there) / len(names) for sheet, names in missing.items()}
        best = max(share, key=lambda sheet: share[sheet])
        if share[best] >= 0.5:
            found.setdefault(best, []).append(name)
    for sheet, names in found.items():
        taken.notebooks[sheet] = _newest(names, left)
        _tell(taken, sheet, names)


def _tell(taken: HandedIn, sheet: str, candidates: list[str]) -> None:
    """Notes which file is read, unless it is the only one and has the right name."""
    chosen = taken.notebooks[sheet]
    others = [name for name in candidates if name != chosen]
    if others:
        taken.notes[sheet].append(f"Several files are this sheet: {quoted(chosen)} was read, not {listed(others)}.")
    elif chosen != f"{sheet}.ipynb":
        taken.notes[sheet].append(f"{quoted(chosen)} was read as `{sheet}.ipynb`; please keep the name of the file.")


def _allow(taken: HandedIn, name: str, about: os.stat_result, allowed: Collection[str]) -> bool:
    """Whether a file is one that the sheets ask for; notes why one of those is not copied."""
    patterns = [pattern for pattern in allowed if fnmatchcase(name, pattern)]
    if name.lower().endswith(IMPORTABLE):
        patterns = [pattern for pattern in patterns if pattern == name]
    if name.lower().endswith(SCRIPTED):
        patterns = []
    if not patterns or not name.isprintable() or len(name) > LONGEST_NAME or "\\" in name:
        return False
    if about.st_size > FILE_BYTES:
        taken._say(f"{quoted(name)} is larger than {FILE_BYTES / 1e6:,.0f} MB, so it was not read.")
    elif len(taken.copied) == FILES:
        taken._say(f"There are more than {FILES} files, so {quoted(name)} was not read.")
    else:
        taken.copied.append(name)
    return True


def _must_be(kind: int, path: Path) -> None:
    found = stat.S_IFMT(os.lstat(path).st_mode)
    if found != kind:
        raise Refused(KINDS.get(found, "is not a folder"))


def _newest(names: list[str], files: Mapping[str, os.stat_result]) -> str:
    return max(names, key=lambda name: (files[name].st_mtime, name))


def _plain(name: str) -> str:
    """Returns a notebook's name without what a browser, a file manager, or JupyterLab adds to that of a copy."""
    return ADDED.sub("", NOTEBOOK.sub("", _folded(name))).strip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
