"""A course of one small sheet, written into a temporary folder: two tasks and a written question."""

from pathlib import Path

SHEET = '''\
# %% [markdown]
# # Rows and columns
#
# See [the other file](shapes.checks.json).

# %% setup=true
import numpy as np

from autograder import open_checks

check = open_checks("shapes")

# %% [markdown]
# Write `center`, which takes away the mean of each column.


# %% task="center"
def center(x: np.ndarray) -> np.ndarray:
    """Returns x minus the mean of each column."""
    ### BEGIN SOLUTION
    column_means = x.mean(axis=0)
    return x - column_means
    ### END SOLUTION


# %% check="center"
check("center")

# %%
print(center(np.eye(2)))


# %% task="normalize"
def normalize(x: np.ndarray) -> np.ndarray:
    """Returns x with rows that sum to 1."""
    ### BEGIN SOLUTION
    return x / x.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %% check="normalize"
check("normalize")

# %% [markdown]
# Why is the mean taken over the examples?

# %% [markdown] written="why"
# ### BEGIN SOLUTION
# Because a feature is a column.
# ### END SOLUTION
'''

CHECKS = '''\
"""Checks of the sheet `shapes`."""

import numpy as np

from autograder import Sheet, raised

sheet = Sheet("shapes")
center = sheet.task("center", points=2)
normalize = sheet.task("normalize", points=3)
why = sheet.written("why", rubric=[("names what a column is", 1), ("says why", 1)])


def table(rng):
    return rng.normal(size=(3, 4))


@center.case("each column has mean 0 and its own spread")
def columns_have_mean_zero(center, rng):
    return center(table(rng))


@center.case("one row becomes zeros", hidden=True)
def one_row(center, rng):
    return center(rng.normal(size=(1, 3))) + 1


@center.accepts("einsum")
def with_einsum(x):
    return x - np.einsum("bd->d", x) / len(x)


@center.accepts("a loop over the columns")
def with_a_loop(x):
    return np.stack([c - c.mean() for c in x.T], axis=1)


@center.misconception("Over which axis do the examples run?")
def wrong_axis(x):
    return x - x.mean(axis=1, keepdims=True)


@center.misconception("You change the array that you were given.")
def in_place(x):
    x -= x.mean(axis=0)
    return x


center.slip("added", "Does your mean move away, or come in twice?", right="x - column", wrong="x + column")


@normalize.case("each row sums to 1")
def rows_sum_to_one(normalize, rng):
    return normalize(rng.uniform(1, 2, size=(2, 5)))


@normalize.case("what is not an array is refused", hidden=True)
def refuses(normalize, rng):
    return [raised(normalize, None), normalize(rng.uniform(1, 2, size=(3, 1)))]


@normalize.accepts("transposed")
def transposed(x):
    return (x.T / x.sum(axis=1)).T


@normalize.misconception("Which axis did you sum over?")
def columns(x):
    return x / x.sum(axis=0)


normalize.slip("largest", "Is it the sum that you divide by?", right="x.sum(", wrong="x.max(")
'''

MODULE = """\
title = "A small module"
hours = "1"
objectives = ["know rows from columns"]
prerequisites = ["Python"]

[[sheets]]
name = "shapes"
order = 1
minutes = 20
"""


def write_course(root: Path, sheet: str = SHEET, checks: str = CHECKS, module: str = MODULE) -> Path:
    """Writes the course into `root` and returns `root`."""
    exercises = root / "modules" / "m1_small" / "exercises"
    exercises.mkdir(parents=True, exist_ok=True)
    (exercises / "shapes.py").write_text(sheet, encoding="utf-8")
    (exercises / "shapes_checks.py").write_text(checks, encoding="utf-8")
    (exercises.parent / "module.toml").write_text(module, encoding="utf-8")
    (root / "nbgrader_config.py").write_text("c = get_config()\n", encoding="utf-8")
    return root
