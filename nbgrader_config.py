"""nbgrader's configuration for this course: `nbgrader autograde`, the formgrader and the exports read it."""

from pathlib import Path

from autograder.nbgrader_steps import configure

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - nbgrader provides it
c.CourseDirectory.course_id = "deep_learning_foundations"
c.CourseDirectory.root = str(Path(__file__).parent)
configure(c)
