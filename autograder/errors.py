"""The one exception whose message is meant for the person at the keyboard."""


class CourseError(Exception):
    """Something that a user can mend, said in one sentence that tells how.

    Commands print the sentence and exit with status 1; no traceback is shown.
    """
