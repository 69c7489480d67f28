"""The command `autograder`: build, check, grade, gradebook, report and demo."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autograder.errors import CourseError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0 done, 1 something to mend, 2 the command line is wrong."""
    options = _parser().parse_args(arguments)
    # programs that nbgrader starts (alembic, jupyter) stand beside this interpreter, which may not be on PATH
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # threads slow small arrays down, and torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a closed pipe can be answered
        return status
    except CourseError as error:
        print(f"autograder: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"autograder: {error.name} is not installed: pip install 'autograder[instructors]'.", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = error.filename or "A file"
        reason = (error.strerror or str(error)).lower()
        print(f"autograder: {what} cannot be used ({reason}): mend that and run again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("autograder: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autograder", description="Builds, checks and grades the sheets of a course. Run it inside the course."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    build = commands.add_parser(
        "build",
        help="build sheets, lectures and module pages from modules/",
        description="Builds source/ and release/ from the sheets, executes lectures, writes the modules' READMEs. "
        "What did not change is left alone.",
    )
    build.add_argument("names", nargs="*", metavar="NAME", help="a sheet or lecture (default: all)")
    build.add_argument("--force", action="store_true", help="rebuild what did not change, too")
    build.set_defaults(run=_build)

    check = commands.add_parser(
        "check",
        help="prove that every check tells right from wrong",
        description="Proves the laws of the content: references pass, stubs fail, variants get full marks, every "
        "misconception is recognized, nothing leaks into the release, everything built is fresh.",
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="a sheet or lecture (default: all)")
    check.add_argument("--build", action="store_true", help="build what is stale first: one command after an edit")
    check.set_defaults(run=_check)

    grade = commands.add_parser(
        "grade",
        help="grade the submissions of a module in a sandbox",
        description="Grades what lies in submitted/ as `nbgrader autograde` and the formgrader's button do: each "
        "notebook in a sandbox of its own, judged on fresh draws, on all cores. A run that was stopped goes on where "
        "it was; what did not change since the last run stays as it is.",
    )
    grade.add_argument("module", help="the module, such as m1_neural_networks")
    grade.add_argument("--student", action="append", metavar="ID", help="only this student; may be repeated")
    grade.add_argument("--sheet", action="append", metavar="NAME", help="only this sheet, such as 02_backprop")
    grade.add_argument("--regrade", action="store_true", help="run everything again, on fresh draws")
    grade.add_argument("--jobs", type=_count, metavar="N", help="notebooks at a time (default: one for each core)")
    grade.add_argument("--dry-run", action="store_true", help="only say what would be done")
    grade.add_argument("--json", action="store_true", help="print what was done as JSON")
    grade.add_argument("--seed", type=int, metavar="N", help="draw as an earlier grading did, to repeat it")
    grade.add_argument("--cold", action="store_true", help="have every notebook import its packages itself")
    grade.add_argument(
        "--unsafe",
        action="store_true",
        help="run without a sandbox, with your own rights: only for work that you trust",
    )
    cluster = grade.add_argument_group("on a Dask cluster (docs/cluster.md)")
    cluster.add_argument("--scheduler", default="", metavar="tls://HOST:PORT", help="have its workers grade")
    cluster.add_argument("--tls-ca-file", default="", metavar="FILE", help="the certificate that all trust")
    cluster.add_argument("--tls-cert", default="", metavar="FILE", help="your own certificate")
    cluster.add_argument("--tls-key", default="", metavar="FILE", help="the key of your certificate")
    grade.set_defaults(run=_grade)

    gradebook = commands.add_parser(
        "gradebook",
        help="print the grades of a module: points per task and recognized misconceptions",
        description="Prints the grades that nbgrader's gradebook holds for a module, a row for each student.",
    )
    gradebook.add_argument("module", help="the module, such as m1_neural_networks")
    gradebook.set_defaults(run=_gradebook)

    report = commands.add_parser(
        "report",
        help="write a report on a class: scores, tasks, misconceptions, who needs help",
        description="Writes one page of HTML, which needs no network, and the same numbers as JSON, from the gradebook "
        "and the stored verdicts.",
    )
    report.add_argument("module", help="the module, such as m1_neural_networks")
    report.add_argument("--into", type=Path, default=None, metavar="FOLDER", help="where to write (default: reports/)")
    report.add_argument("--anonymous", action="store_true", help="leave out ids and notes, to show it in class")
    report.set_defaults(run=_report)

    demo = commands.add_parser(
        "demo",
        help="grade a sample class from end to end",
        description="Makes a sample class from a sheet, grades it with nbgrader, writes feedback and a CSV.",
    )
    demo.add_argument("sheet", nargs="?", default="backprop", help="the sheet (default: backprop)")
    demo.add_argument("--into", type=Path, default=None, metavar="FOLDER", help="where to work (default: demo/)")
    demo.set_defaults(run=_demo)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "number of jobs"  # in argparse's message


def _build(options: argparse.Namespace) -> int:
    from autograder import authoring

    return authoring.build(options.names, force=options.force)


def _check(options: argparse.Namespace) -> int:
    from autograder import authoring

    return authoring.check(options.names, build_first=options.build)


def _grade(options: argparse.Namespace) -> int:
    from autograder import grading
    from autograder.course import find_course

    how = grading.How(
        students=options.student or (),
        sheets=options.sheet or (),
        regrade=options.regrade,
        seed=options.seed,
        unsafe=options.unsafe,
        workers=options.jobs or len(os.sched_getaffinity(0)),
        cold=options.cold,
        dry_run=options.dry_run,
        as_json=options.json,
        scheduler=options.scheduler,
        tls=(options.tls_ca_file, options.tls_cert, options.tls_key),
    )
    return grading.grade(find_course().root, options.module, how)


def _gradebook(options: argparse.Namespace) -> int:
    from autograder import gradebook
    from autograder.course import find_course

    gradebook.show(gradebook.read(find_course().root, options.module))
    return 0


def _report(options: argparse.Namespace) -> int:
    from autograder import insights_page
    from autograder.course import find_course

    return insights_page.run(find_course().root, options.module, options.into, options.anonymous)


def _demo(options: argparse.Namespace) -> int:
    from autograder import demo

    return demo.run(options.sheet, options.into)


if __name__ == "__main__":
    sys.exit(main())
