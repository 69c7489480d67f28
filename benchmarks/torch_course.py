"""A course of one small torch sheet, the kind of notebook that most time goes into importing torch for."""

from pathlib import Path

SHEET = '''\
# %% [markdown]
# # A line, fitted with torch
#
# Three short tasks, a plot, and the checks that a student sees.

# %% setup=true
import matplotlib.pyplot as plt
import torch

from autograder import open_checks

check = open_checks("line")

# %% [markdown]
# Write `standardize`: each column of x has mean 0 and standard deviation 1 (divided by n).


# %% task="standardize"
def standardize(x: torch.Tensor) -> torch.Tensor:
    """Returns x of shape (N, D) with columns of mean 0 and standard deviation 1."""
    ### BEGIN SOLUTION
    mean = x.mean(dim=0)
    spread = x.std(dim=0, correction=0)
    return (x - mean) / spread
    ### END SOLUTION


# %% check="standardize"
check("standardize")

# %% [markdown]
# Write `log_softmax` over the last dimension, stable for large scores.


# %% task="log_softmax"
def log_softmax(scores: torch.Tensor) -> torch.Tensor:
    """Returns the logarithm of the softmax over the last dimension."""
    ### BEGIN SOLUTION
    shifted = scores - scores.max(dim=-1, keepdim=True).values
    return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()
    ### END SOLUTION


# %% check="log_softmax"
check("log_softmax")

# %% [markdown]
# Write `fit`, which takes `steps` steps of gradient descent on the mean squared error of `x @ w + b`.


# %% task="fit"
def fit(x: torch.Tensor, y: torch.Tensor, steps: int, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns w of shape (D,) and b of shape (), begun at zero."""
    ### BEGIN SOLUTION
    w = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    b = torch.zeros((), dtype=x.dtype, requires_grad=True)
    for _ in range(steps):
        loss = ((x @ w + b - y) ** 2).mean()
        grads = torch.autograd.grad(loss, [w, b])
        with torch.no_grad():
            w -= lr * grads[0]
            b -= lr * grads[1]
    return w.detach(), b.detach()
    ### END SOLUTION


# %% check="fit"
check("fit")

# %%
x = torch.linspace(-1, 1, 50)[:, None]
w, b = fit(x, 3 * x[:, 0] + 1, 200, 0.1)
fig, ax = plt.subplots(figsize=(4, 3))
ax.plot(x[:, 0], 3 * x[:, 0] + 1, label="data")
ax.plot(x[:, 0], x @ w + b, "--", label="fitted")
ax.legend()
plt.show()
'''

CHECKS = '''\
"""Checks of the sheet `line`."""

import torch

from autograder import Sheet

sheet = Sheet("line")
standardize = sheet.task("standardize", points=2)
log_softmax = sheet.task("log_softmax", points=3)
fit = sheet.task("fit", points=4)


def table(rng, n=7, d=3):
    return torch.from_numpy(rng.normal(2, 3, size=(n, d)))


@standardize.case("each column has mean 0 and spread 1")
def columns(standardize, rng):
    return standardize(table(rng))


@standardize.case("float32 stays float32", hidden=True)
def single(standardize, rng):
    return standardize(table(rng, 20, 2).float())


@standardize.accepts("by sums")
def by_sums(x):
    centered = x - x.sum(0) / len(x)
    return centered / (centered.pow(2).sum(0) / len(x)).sqrt()


@standardize.misconception("Over which dimension do the examples run?")
def rows(x):
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)


standardize.slip("unbiased", "Which number is the sum divided by?", right=", correction=0", wrong="")


@log_softmax.case("the exponentials of a row sum to 1")
def sums(log_softmax, rng):
    return log_softmax(table(rng, 4, 5))


@log_softmax.case("large scores stay finite")
def large(log_softmax, rng):
    return log_softmax(1000 * table(rng, 3, 4))


@log_softmax.case("leading dimensions", hidden=True)
def leading(log_softmax, rng):
    return log_softmax(table(rng, 6, 4).reshape(2, 3, 4))


@log_softmax.accepts("torch's own")
def torchs_own(scores):
    return torch.log_softmax(scores, -1)


@log_softmax.misconception("What is exp(1000)?")
def unstable(scores):
    return scores - scores.exp().sum(-1, keepdim=True).log()


log_softmax.slip("first", "Over which dimension does the sum run?", right="sum(dim=-1", wrong="sum(dim=0")


def line(rng):
    x = table(rng, 9, 2) / 3
    return x, x @ torch.tensor([1.0, -2.0], dtype=x.dtype) + 0.5


@fit.case("one step from zero")
def one_step(fit, rng):
    return fit(*line(rng), 1, 0.1)


@fit.case("many steps", hidden=True)
def many(fit, rng):
    return fit(*line(rng), 30, 0.05)


@fit.accepts("with the gradient written out")
def written_out(x, y, steps, lr):
    w, b = torch.zeros(x.shape[1], dtype=x.dtype), torch.zeros((), dtype=x.dtype)
    for _ in range(steps):
        error = x @ w + b - y
        w, b = w - lr * 2 * x.T @ error / len(y), b - lr * 2 * error.mean()
    return w, b


fit.slip("sum", "Is it the mean or the sum of the squares?", right=".mean()", wrong=".sum()")
fit.slip("uphill", "Do you walk up or down?", right="w -= lr", wrong="w += lr")
'''

MODULE = """\
title = "A small torch module"
hours = "1"
objectives = ["fit a line"]
prerequisites = ["Python"]

[[sheets]]
name = "line"
order = 1
minutes = 20
"""


def write_course(root: Path) -> Path:
    """Writes the course into `root` and returns `root`."""
    exercises = root / "modules" / "m1_torch" / "exercises"
    exercises.mkdir(parents=True, exist_ok=True)
    (exercises / "line.py").write_text(SHEET, encoding="utf-8")
    (exercises / "line_checks.py").write_text(CHECKS, encoding="utf-8")
    (exercises.parent / "module.toml").write_text(MODULE, encoding="utf-8")
    (root / "nbgrader_config.py").write_text("c = get_config()\n", encoding="utf-8")
    return root
