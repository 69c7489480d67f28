# %% [markdown]
# # Backpropagation by hand
#
# In this sheet you train a neural network on handwritten digits, and every gradient that it uses is one that you derived and wrote yourself.
# You begin with a single neuron, build the layers of a network one by one, check each of them against numbers that no formula can argue with, and end with a classifier that reads digits it has never seen.
#
# **You do**: eight tasks and one question in words, about two and a half hours.
# **You learn**: what a layer keeps for its backward pass, how a gradient flows through it, why shapes almost dictate the formulas, and how to prove a gradient right.
# **You need**: the chain rule, matrix products, NumPy; the lecture [Backpropagation](../../modules/m1_neural_networks/lectures/03_backpropagation.ipynb) explains what this sheet practices.
#
# One alphabet holds in all tasks: `b` examples in a batch, `d` features, `m` hidden units, `k` classes.
# A **gradient** called `dw` is the derivative of the loss with respect to `w`, and it has the shape of `w`.
#
# **Rules.**
# Write tasks 1 to 6 with NumPy only: no PyTorch, no SciPy, no automatic differentiation.
# A solution of one of them that uses these does not count, and its check says so.
# From task 7 on you may use the layers that are given, so that a mistake in an early task never follows you.
# Leave the arrays that you are handed as they are, unless a task says otherwise.
# After each task, run its check: it says which properties hold, and what is wrong with the first that does not.

# %% setup=true
import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from autograder import data, figures, open_checks

figures.use_style()
check = open_checks("backprop")

# %% [markdown]
# ## Task 1 · Learn from mistakes: the perceptron
#
# *15 minutes · easy · the first learning rule: it needs no gradient, and it shows why a single neuron is not enough.*
#
# A perceptron draws a line and says on which side of it an example lies.
# It learns only from its mistakes: each one pulls the line toward the side where that example should be.
#
# **In symbols.**
# A label is $y = -1$ or $y = +1$, the score of an example is $s = w^\top x + b$, and its **margin** is $y\,s$.
# The margin is positive exactly when the score has the sign of the label.
# For one example after the other: if $y\,s \le 0$, the example is a mistake, and
#
# $$w \leftarrow w + y\,x, \qquad b \leftarrow b + y .$$
#
# Otherwise nothing changes.
# A margin of exactly 0 counts as a mistake, whatever the label: without that, weights that start at zero would stay there.
# One **pass** visits all examples once, in their order, and each example meets the weights that the one before it has left.
#
# **Shapes.** `x` is $(b, d)$, `y` is $(b,)$, `w` is $(d,)$, and `b` is a number.
#
# **By hand.** Start from $w = (0, 0)$, $b = 0$.
#
# | $x$ | $y$ | score | margin | mistake? | $w$ after | $b$ after |
# |---|---|---|---|---|---|---|
# | (2, 1) | +1 | 0 | 0 | yes | (2, 1) | 1 |
# | (1, 3) | −1 | 2 + 3 + 1 = 6 | −6 | yes | (1, −2) | 0 |
# | (3, 0) | +1 | 3 | 3 | no | (1, −2) | 0 |


# %% task="perceptron_update"
def perceptron_update(
    w: Float[np.ndarray, " d"], b: float, x: Float[np.ndarray, "b d"], y: Int[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, " d"], float]:
    """Returns the weights and the bias after one pass of the perceptron rule over the examples, in their order.

    Labels are -1 or +1. An example whose margin y (w·x + b) is 0 or less is a mistake: w grows by y x, and b by y.
    """
    ### BEGIN SOLUTION
    # subtle: without a copy, `w += ...` would write into the caller's array
    w = w.copy()
    for x_i, y_i in zip(x, y, strict=True):
        if y_i * (x_i @ w + b) <= 0:
            w += y_i * x_i
            b += y_i
    return w, b
    ### END SOLUTION


# %% check="perceptron_update"
check("perceptron_update")

# %% [markdown]
# **See it work.**
# The next cell makes two clouds of examples that a line can separate, and repeats passes until no example is a mistake.
# Then it shows the first passes on XOR: four examples, where the label is +1 if exactly one of the two features is 1.
#
# *Predict first*: how many of the four XOR examples can one line get right at best, and what will the perceptron do?


# %%
def learn(x: np.ndarray, y: np.ndarray, passes: int) -> tuple[np.ndarray, float]:
    """Returns weights and bias after `passes` passes, or as soon as no example is a mistake."""
    w, b = np.zeros(x.shape[1]), 0.0
    for number in range(1, passes + 1):
        w, b = perceptron_update(w, b, x, y)
        right = np.mean(y * (x @ w + b) > 0)
        print(f"pass {number}: w = {np.round(w, 2)}, b = {b:g}, {right:.1%} right")
        if right == 1:
            break
    return w, b


labels = np.tile([-1, 1], 40)
clouds = np.random.default_rng(0).uniform(-1, 1, size=(80, 2)) + 4 + labels[:, None] * [1.5, 1]
line = learn(clouds, labels, passes=100)


# %%
xor = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
xor_line = learn(xor, np.array([-1, 1, 1, -1]), passes=3)


# %%
def draw_line(ax: Axes, x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float) -> None:
    """Draws the examples and the line on which the score is 0."""
    for label, marker in ((-1, "o"), (1, "^")):
        ax.scatter(x[y == label, 0], x[y == label, 1], marker=marker, s=18, label=f"label {label:+d}")
    across = np.linspace(x[:, 0].min(), x[:, 0].max())
    ax.plot(across, -(b + w[0] * across) / w[1], color="black")
    ax.set(xlabel="feature 1", ylabel="feature 2", ylim=(x[:, 1].min() - 0.2, x[:, 1].max() + 0.2))
    ax.legend()


fig, ax = plt.subplots()
draw_line(ax, clouds, labels, *line)
figures.show(fig, alt="Scatter plot of two clouds of examples: the perceptron's line passes between them.")

# %% [markdown]
# *Reflect*: the line passes close to some examples and far from others. Which part of the rule makes it stop there, although a better line is easy to see?
#
# No line gets more than three of the four XOR examples right. The perceptron is back at zero after each pass, and goes round in this circle forever.
# The cure is a second layer. It needs gradients, because a mistake at the output no longer says which hidden unit is to blame.

# %% [markdown]
# ## Task 2 · Go forward through an affine layer
#
# *10 minutes · easy · nearly all parameters of a network live in this layer.*
#
# A layer is two functions.
# `forward` computes the output and returns it with a **cache**: what the backward pass will need and could not recompute cheaply.
# `backward` gets the gradient of the loss with respect to the output, and that cache.
#
# **In symbols.** With the examples as the rows of $X$,
#
# $$\text{out} = X W + \mathbf{1}\, b^\top ,$$
#
# where $\mathbf{1}$ is a column of ones: the same bias is added to every row.
#
# **Shapes.** `x` is $(b, \ldots)$: whatever follows the first axis, such as the height and width of an image, is flattened to $d$ features in NumPy's usual order, the last axis fastest.
# `w` is $(d, m)$, `b` is $(m,)$, `out` is $(b, m)$.
# The cache is the tuple `(x, w, b)`, with `x` in the shape in which it came.
#
# **By hand.**
#
# $$\begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}1&0&2\\0&1&1\end{pmatrix} + (10, 20, 30) = \begin{pmatrix}1&2&4\\3&4&10\end{pmatrix} + (10, 20, 30) = \begin{pmatrix}11&22&34\\13&24&40\end{pmatrix}$$

# %% task="affine_forward"
Cache = tuple[Float[np.ndarray, "b ..."], Float[np.ndarray, "d m"], Float[np.ndarray, " m"]]


def affine_forward(
    x: Float[np.ndarray, "b ..."], w: Float[np.ndarray, "d m"], b: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, "b m"], Cache]:
    """Returns (out, cache): out = x w + b with every example flattened to d features, and cache = (x, w, b).

    The cache holds the three arguments as they came, x in its own shape.
    """
    ### BEGIN SOLUTION
    rows = x.reshape(len(x), -1)  # (b, d)
    return rows @ w + b, (x, w, b)
    ### END SOLUTION


# %% check="affine_forward"
check("affine_forward")

# %% [markdown]
# **See it work.** *Predict first*: two gray images of 3 × 4 pixels go through a layer with 5 outputs. Which shapes do `w` and `out` have, and how many numbers can the layer learn?

# %%
images = np.arange(24.0).reshape(2, 3, 4)
out, cache = affine_forward(images, np.ones((12, 5)), np.arange(5.0))
print(out)
print("shapes in the cache:", [part.shape for part in cache])

# %% [markdown]
# *Reflect*: the outputs of the two images differ by 144 in every column. Where does that number come from?
# And if you shuffled the pixels of all images in the same way, what would have to happen to `w` so that nothing else changes?

# %% [markdown]
# ## Task 3 · Go back through an affine layer
#
# *15 minutes · medium · the step that is done most often in all of deep learning.*
#
# The layer above hands you `dout`, the gradient of the loss with respect to your output.
# You turn it into three gradients: one to hand further down, and two to learn from.
#
# **In symbols.** Write $G$ for `dout` and $L$ for the loss. For a single weight, $W_{ij}$ enters the outputs $\text{out}_{nj} = \sum_i X_{ni} W_{ij} + b_j$ of *every* example $n$, so by the chain rule
#
# $$\frac{\partial L}{\partial W_{ij}} = \sum_{n} X_{ni}\, G_{nj} .$$
#
# Do the same for $b_j$ and for $X_{ni}$: over which index do you have to sum, because the quantity appears once for each of its values?
# Then write the sums as matrix products. The shapes leave little choice: each gradient has the shape of the thing itself.
#
# **Shapes.** `dout` is $(b, m)$. `dx` has the shape of `x` in the cache, whatever that is, `dw` is $(d, m)$, `db` is $(m,)$.
# The sums run over the batch and nothing is averaged: if the loss is a mean, its $1/b$ is already in `dout`.
#
# **By hand.** The layer of task 2, with
#
# $$G = \begin{pmatrix}1&0&0\\0&1&1\end{pmatrix}: \qquad dW = \begin{pmatrix}1&3&3\\2&4&4\end{pmatrix}, \quad db = (1, 1, 1), \quad dX = \begin{pmatrix}1&0\\2&2\end{pmatrix}.$$


# %% task="affine_backward"
def affine_backward(
    dout: Float[np.ndarray, "b m"], cache: Cache
) -> tuple[Float[np.ndarray, "b ..."], Float[np.ndarray, "d m"], Float[np.ndarray, " m"]]:
    """Returns (dx, dw, db), the gradients with respect to x, w and b, each in the shape of its array.

    `dout` is the gradient with respect to the layer's output, `cache` the tuple (x, w, b) of `affine_forward`.
    """
    ### BEGIN SOLUTION
    x, w, _ = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), -1).T @ dout  # (d, m)
    db = dout.sum(axis=0)  # (m,)
    return dx, dw, db
    ### END SOLUTION


# %% check="affine_backward"
check("affine_backward")

# %% [markdown]
# **See it work.** A gradient is a promise about the future: "if this weight grows by a little, the loss grows by `dw` times that little."
# Put the promise to the test with one weight, for the loss $L = \sum G \odot \text{out}$, whose gradient with respect to the output is $G$.
#
# *Predict first*: will the two numbers agree to 2, to 5 or to 10 digits?

# %%
x, weights, bias = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0, 2], [0, 1, 1]]), np.array([10.0, 20, 30])
g = np.array([[1.0, 0, 0], [0, 1, 1]])
dx, dw, db = affine_backward(g, (x, weights, bias))
moved = weights.copy()
moved[1, 2] += 1e-6
growth = (g * affine_forward(x, moved, bias)[0]).sum() - (g * affine_forward(x, weights, bias)[0]).sum()
print(f"promised {dw[1, 2]:.10f}, seen {growth / 1e-6:.10f}")

# %% [markdown]
# *Reflect*: the loss is linear in `w`, so no curvature can be blamed for the digits that differ. What else can it be? Task 6 comes back to this.

# %% [markdown]
# ## Task 4 · Bend the line: three activations
#
# *20 minutes · medium · without them, a hundred layers are one line.*
#
# Two affine layers in a row are one affine layer. What makes depth worth its price is a nonlinear function between them, applied to each number on its own.
# You write three: the rectified linear unit (ReLU), the logistic sigmoid, and the hyperbolic tangent.
#
# **In symbols.**
#
# $$\operatorname{relu}(z) = \max(0, z), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}, \qquad \tanh(z) = \frac{e^z - e^{-z}}{e^z + e^{-z}} .$$
#
# Since each output depends on one input only, the backward pass is a product number by number: $dz = d\text{out} \odot f'(z)$.
# Derive the three derivatives on paper first. Two of them become short when you write them with the *output* of the function instead of $z$.
# At $z = 0$ the ReLU has no derivative; return 0 or `dout` there, as you like.
#
# **Shapes.** Any, and the same for `z`, output, `dout` and `dz`.
# **The cache is your own choice here**: `backward` is only ever called with what your `forward` returned.
#
# **Two traps.**
# $e^{1000}$ is more than a float64 can hold: NumPy warns of an overflow and continues with infinity. Your sigmoid must be right *and* quiet at $z = \pm 1000$.
# And $\sigma$ has two forms, $1/(1 + e^{-z}) = e^{z}/(1 + e^{z})$, each of which is safe on one side.
# NumPy's own `np.tanh` is safe everywhere, and you may use it.
#
# **By hand.**
#
# | | $z = -1$ | $z = 0$ | $z = 2$ | derivative at 2 |
# |---|---|---|---|---|
# | relu | 0 | 0 | 2 | 1 |
# | sigmoid | 0.2689 | 0.5 | 0.8808 | 0.1050 |
# | tanh | −0.7616 | 0 | 0.9640 | 0.0707 |


# %% task="activations"
def relu_forward(z: Float[np.ndarray, "..."]) -> tuple[Float[np.ndarray, "..."], Any]:
    """Returns (out, cache): out = max(0, z) number by number, and whatever `relu_backward` needs."""
    ### BEGIN SOLUTION
    out = np.maximum(z, 0)
    return out, out
    ### END SOLUTION


def relu_backward(dout: Float[np.ndarray, "..."], cache: Any) -> Float[np.ndarray, "..."]:
    """Returns the gradient with respect to z, given the gradient `dout` with respect to out."""
    ### BEGIN SOLUTION
    return np.where(cache > 0, dout, 0)
    ### END SOLUTION


def sigmoid_forward(z: Float[np.ndarray, "..."]) -> tuple[Float[np.ndarray, "..."], Any]:
    """Returns (out, cache): out = 1 / (1 + exp(-z)) number by number, and whatever `sigmoid_backward` needs.

    It is right, and raises no overflow warning, for z from -1000 to 1000.
    """
    ### BEGIN SOLUTION
    # subtle: the exponent is never positive, so e is at most 1
    e = np.exp(-np.abs(z))
    out = np.where(z >= 0, 1, e) / (1 + e)
    return out, out
    ### END SOLUTION


def sigmoid_backward(dout: Float[np.ndarray, "..."], cache: Any) -> Float[np.ndarray, "..."]:
    """Returns the gradient with respect to z, given the gradient `dout` with respect to out."""
    ### BEGIN SOLUTION
    return dout * cache * (1 - cache)
    ### END SOLUTION


def tanh_forward(z: Float[np.ndarray, "..."]) -> tuple[Float[np.ndarray, "..."], Any]:
    """Returns (out, cache): out = tanh(z) number by number, and whatever `tanh_backward` needs."""
    ### BEGIN SOLUTION
    t = np.tanh(z)
    return t, t
    ### END SOLUTION


def tanh_backward(dout: Float[np.ndarray, "..."], cache: Any) -> Float[np.ndarray, "..."]:
    """Returns the gradient with respect to z, given the gradient `dout` with respect to out."""
    ### BEGIN SOLUTION
    return dout * (1 - cache**2)
    ### END SOLUTION


# %% check="activations"
check("activations")

# %% [markdown]
# **See it work.** The figure shows your functions on the left and your derivatives on the right: the backward pass for `dout = 1`.
#
# *Predict first*: what is the largest value of each derivative, and where does it stand?


# %%
def draw_activations(functions: Axes, derivatives: Axes) -> None:
    """Draws the three activations and their derivatives."""
    z = np.linspace(-4, 4, 200)
    layers = {"relu": (relu_forward, relu_backward), "sigmoid": (sigmoid_forward, sigmoid_backward)}
    for name, (forward, backward) in {**layers, "tanh": (tanh_forward, tanh_backward)}.items():
        out, cache = forward(z)
        functions.plot(z, out, label=name)
        derivatives.plot(z, backward(np.ones_like(z), cache), label=name)
    functions.set(xlabel="z", ylabel="output", ylim=(-1.2, 2))
    derivatives.set(xlabel="z", ylabel="derivative")
    functions.legend()


fig, (left, right) = plt.subplots(1, 2)
draw_activations(left, right)
figures.show(
    fig,
    alt="Two line charts over z from -4 to 4. Left: ReLU, sigmoid and tanh. Right: their derivatives; "
    "the sigmoid's never exceeds 0.25, and all but the ReLU's fade to 0 on both sides.",
)

# %% [markdown]
# *Reflect*: a gradient that passes through ten sigmoids is multiplied by ten such derivatives. How large can the product be at most, and what does that mean for the first layer of a deep network?

# %% [markdown]
# ## Task 5 · Measure surprise: softmax and cross-entropy
#
# *20 minutes · medium · the loss of every classifier and of every language model in this course.*
#
# The last layer produces $k$ numbers per example, the **logits**.
# Softmax turns them into probabilities, and cross-entropy says how surprised the model is by the right class: the negative logarithm of the probability it gave to that class.
#
# **In symbols.** For an example with logits $z$ and class $y$,
#
# $$p_j = \frac{e^{z_j}}{\sum_{i} e^{z_i}}, \qquad \ell = -\ln p_y = \ln \sum_i e^{z_i} - z_y ,$$
#
# and the loss is the mean of $\ell$ over the batch, in nats (natural logarithm).
# The gradient is one of the pleasant surprises of the field: $\partial \ell / \partial z_j = p_j - [j = y]$, where $[\,\cdot\,]$ is 1 if true and 0 if not.
# Derive it, and do not forget what the mean does to it.
#
# **A trap.** $e^{1000}$ overflows, and $\ln 0$ is $-\infty$. Adding the same number to all logits of an example changes no probability: use that freedom in each row.
# A hopeless example has a loss of about 2000 when its logits are 1000 and −1000, not infinity and not 18.4, so a logarithm is best not taken of a probability at all.
#
# **Shapes.** `logits` is $(b, k)$, `y` holds $b$ integers from 0 to $k - 1$, the loss is a number, `dlogits` is $(b, k)$.
#
# **By hand.** The logits $(0, \ln 3)$ give the probabilities $(\tfrac14, \tfrac34)$.
# If the class is 1, $\ell = -\ln \tfrac34 = 0.2877$ with gradient $(\tfrac14, -\tfrac14)$; if it is 0, $\ell = \ln 4 = 1.3863$ with gradient $(-\tfrac34, \tfrac34)$.
# A batch of both has the loss 0.8370, and each gradient is halved.


# %% task="softmax_cross_entropy"
def softmax_cross_entropy(
    logits: Float[np.ndarray, "b k"], y: Int[np.ndarray, " b"]
) -> tuple[float, Float[np.ndarray, "b k"]]:
    """Returns (loss, dlogits): the mean cross-entropy in nats of the classes y, and its gradient.

    Both are finite and accurate also for logits of ±1000, and for rows of very different size.
    """
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (b, k)
    rows = np.arange(len(y))
    loss = -log_p[rows, y].mean()
    dlogits = np.exp(log_p)
    dlogits[rows, y] -= 1
    return loss, dlogits / len(y)
    ### END SOLUTION


# %% check="softmax_cross_entropy"
check("softmax_cross_entropy")

# %% [markdown]
# **See it work.** A model that knows nothing gives all $k$ classes the same logit.
#
# *Predict first*: what is its loss for 10 classes? And what is it if the right class, instead, has the logit −20?

# %%
for k in (2, 10, 1000):
    print(f"{k:>4} classes, all logits equal: loss {softmax_cross_entropy(np.zeros((1, k)), np.array([0]))[0]:.4f}")


# %%
def draw_loss(losses: Axes, gradients: Axes) -> None:
    """Draws loss and gradient of one example against the logit of its class, the nine other logits being 0."""
    z = np.linspace(-20, 20, 201)
    answers = [softmax_cross_entropy(np.array([[value] + 9 * [0.0]]), np.array([0])) for value in z]
    losses.plot(z, [loss for loss, _ in answers])
    losses.set(xlabel="logit of the right class", ylabel="loss (nats)")
    gradients.plot(z, [gradient[0, 0] for _, gradient in answers])
    gradients.set(xlabel="logit of the right class", ylabel="gradient of the loss")


fig, (left, right) = plt.subplots(1, 2)
draw_loss(left, right)
figures.show(
    fig,
    alt="Two line charts over the logit of the right class. Left: the loss falls in a straight line while the model is "
    "wrong, from 22 at -20, and is flat at 0 when it is right. Right: its gradient goes from -1 to 0 in between.",
)

# %% [markdown]
# *Reflect*: the gradient never exceeds 1 in size, however wrong the model is. What would the gradient of the *squared* error of a sigmoid be where it is confidently wrong? (Look at your figure of task 4.)
#
# Remember $\ln 10 = 2.3026$: a fresh classifier of ten classes must start there, and if it does not, something is broken before the first step.

# %% [markdown]
# ## Task 6 · Trust nothing: check gradients with numbers
#
# *20 minutes · medium · the only test of a backward pass that does not need a second backward pass.*
#
# A wrong gradient rarely crashes. The loss often falls all the same, only less far, and you search for weeks in the wrong place.
# Finite differences need nothing but the forward pass, so they cannot share a mistake with your derivation.
#
# **In symbols.** For each number $x_i$ of an array, with all others left alone,
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(x + h e_i) - f(x - h e_i)}{2h},$$
#
# where $e_i$ is 1 at place $i$ and 0 elsewhere. The symmetric form has an error of order $h^2$, the one-sided form $(f(x + h e_i) - f(x))/h$ one of order $h$.
#
# How close is close? Gradients of $10^{-7}$ that differ by $10^{-7}$ are entirely different, so compare the difference with the size:
#
# $$\text{relative error} = \max_i \frac{|a_i - b_i|}{|a_i| + |b_i|}, \qquad \text{where } \tfrac00 \text{ counts as } 0.$$
#
# It is 0 for equal arrays and at most 1. Add nothing to the denominator: that would hide exactly the small gradients.
#
# **Shapes.** `x` has any shape, and may hold integers; the gradient has its shape and is of floats. `f` takes an array like `x` and returns a number.
# When `numerical_gradient` returns, `x` holds what it held before, to the last bit.
#
# **By hand.** $f(x) = x^3$ at $x = 2$ with $h = 0.1$: $(9.261 - 6.859)/0.2 = 12.01$, where the truth is 12. One-sided: $(9.261 - 8)/0.1 = 12.61$.
# The relative error of 12.01 against 12 is $0.01/24.01 \approx 0.0004$.


# %% task="gradient_check"
def numerical_gradient(
    f: Callable[[np.ndarray], float], x: Float[np.ndarray, "..."], h: float = 1e-5
) -> Float[np.ndarray, "..."]:
    """Returns the gradient of f at x by central differences of width h to each side, in the shape of x.

    x may hold integers and have any number of axes. It is left exactly as it was.
    """
    ### BEGIN SOLUTION
    moved = np.array(x, dtype=float)  # a copy of its own, so that x cannot change
    gradient = np.zeros_like(moved)
    for i in np.ndindex(moved.shape):
        old = moved[i]
        moved[i] = old + h
        above = f(moved)
        moved[i] = old - h
        below = f(moved)
        # subtle: put the old number back, since adding h again would not give all its bits
        moved[i] = old
        gradient[i] = (above - below) / (2 * h)
    return gradient
    ### END SOLUTION


def relative_error(a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."]) -> float:
    """Returns the largest |a - b| / (|a| + |b|) over all entries, where an entry with a = b = 0 counts as 0."""
    ### BEGIN SOLUTION
    size = np.abs(a) + np.abs(b)
    return float(np.max(np.abs(a - b) / np.where(size == 0, 1, size)))
    ### END SOLUTION


# %% check="gradient_check"
check("gradient_check")

# %% [markdown]
# **See it work.** In calculus $h$ goes to 0. On a computer, $f$ is only known to about 16 digits, and the difference of two nearly equal numbers is divided by $2h$.
#
# *Predict first*: for which $h$ between $10^{-1}$ and $10^{-12}$ is the slope of $\sin$ at 1 most accurate, for the one-sided and for the central form?


# %%
def draw_errors(ax: Axes) -> None:
    """Draws the relative error of two difference formulas for the slope of sin at 1 against h."""
    x, widths = np.array([1.0]), 10.0 ** -np.arange(1, 13)
    central = [relative_error(numerical_gradient(lambda v: np.sin(v[0]), x, h), np.cos(x)) for h in widths]
    one_sided = [relative_error((np.sin(x + h) - np.sin(x)) / h, np.cos(x)) for h in widths]
    ax.loglog(widths, central, marker="o", label="central")
    ax.loglog(widths, one_sided, marker="s", label="one-sided")
    ax.set(xlabel="h", ylabel="relative error")
    ax.legend()


fig, ax = plt.subplots()
draw_errors(ax)
figures.show(
    fig,
    alt="Line chart of relative error against h, both on logarithmic axes: the central form is best near 1e-5, the "
    "one-sided form near 1e-8, where it is a hundred times worse; for smaller h both get worse again.",
)

# %% [markdown]
# *Reflect*: to the right of its best $h$ each curve is a straight line. What do the two slopes tell you, and why do both curves rise on the left?

# %% [markdown]
# Now use your tool on your own layers. The loss is again $\sum G \odot \text{out}$ with a random $G$: ones would hide a layer that ignores what comes from above.


# %%
def error_of(forward: Callable[..., Any], backward: Callable[..., Any], rng: np.random.Generator) -> float:
    """Returns the relative error of a layer of one input, at a random place and for a random gradient from above."""
    z, g = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    slopes = numerical_gradient(lambda value: float((g * forward(value)[0]).sum()), z)
    return relative_error(backward(g, forward(z)[1]), slopes)


print(f"relu    {error_of(relu_forward, relu_backward, np.random.default_rng(0)):.0e}")
print(f"sigmoid {error_of(sigmoid_forward, sigmoid_backward, np.random.default_rng(0)):.0e}")
print(f"tanh    {error_of(tanh_forward, tanh_backward, np.random.default_rng(0)):.0e}")

# %% [markdown]
# In float64 with $h = 10^{-5}$, read the relative error like this: below $10^{-7}$ all is well, above $10^{-2}$ there is a mistake, and in between it depends on the function.
#
# ### In your own words
#
# What is gradient checking for, when you have derived your gradients with care and your loss falls?
# How do you do it well, and when does it mislead you, in both directions: when does it cry wolf over a right gradient, and when does it call a wrong one right?
# Give an example for each. About 150 words.

# %% [markdown] written="gradient_checking"
# ### BEGIN SOLUTION
# A backward pass is code derived by hand, and a wrong one seldom crashes: the loss falls anyway, only more slowly or less far, because many wrong gradients still point downhill.
# Gradient checking compares it with central differences of the loss.
# These need only the forward pass, so they are evidence that does not share the mistakes of the derivation.
# Done well, it uses float64, h near 1e-5, relative errors for each parameter, random inputs and upstream gradients, a few entries of a small network, and no penalty at first; it is too slow for training, because it costs two forward passes per number.
#
# It cries wolf at kinks: if a ReLU's input crosses 0 between x − h and x + h, the difference mixes two slopes.
# It does so as well in float32 or with a tiny h, where rounding is divided by 2h, and with dropout that draws a new mask for each evaluation, since then two different functions are compared.
#
# It calls a wrong gradient right if the mistake does not show at the inputs used: upstream gradients of ones, symmetric or zero weights, saturated units, a batch of one, a penalty that dwarfs the data loss, an absolute instead of a relative error, or a parameter that was never checked.
# And it never sees a mistake in the forward pass, since it only compares the slope with the function as it is written.
# ### END SOLUTION

# %% [markdown]
# ## Task 7 · Put the layers together: a network of two layers
#
# *30 minutes · hard · from here on, deeper networks are more of the same.*
#
# All parts are there: affine, ReLU, affine, softmax with cross-entropy.
# A network calls `forward` layer by layer, keeps the caches, and then calls `backward` in the opposite order. What each layer returns as the gradient of its input is what the layer before it takes as `dout`.
#
# So that no earlier mistake follows you, the next cell provides all layers once more in `given`, with the same arguments and results as yours.
# Their gradients come from PyTorch's automatic differentiation, which module 1 explains later; their caches are none of your business.


# %% setup=true
# arrays as small as ours are computed faster than two threads can agree on who does what
torch.set_num_threads(1)


def layer(f: Callable[..., torch.Tensor]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the forward and the backward function of f; PyTorch finds the gradients, in float64."""

    def forward(*inputs: np.ndarray) -> tuple[np.ndarray, Any]:
        tensors = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in inputs]
        result = f(*tensors)
        return result.detach().numpy().copy(), (tensors, result)

    def backward(upstream: np.ndarray, kept: Any) -> Any:
        tensors, result = kept
        found = torch.autograd.grad(result, tensors, torch.tensor(upstream, dtype=torch.float64), retain_graph=True)
        return found[0].numpy() if len(found) == 1 else tuple(tensor.numpy() for tensor in found)

    return forward, backward


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the mean loss in nats and its gradient, like your `softmax_cross_entropy`."""
    forward, backward = layer(lambda z: torch.nn.functional.cross_entropy(z, torch.tensor(y, dtype=torch.int64)))
    loss, kept = forward(logits)
    return float(loss), backward(np.ones(()), kept)


affine = layer(lambda x, w, b: torch.nn.functional.linear(x.flatten(1), w.T, b))
relu = layer(torch.relu)
given = SimpleNamespace(
    affine_forward=affine[0],
    affine_backward=affine[1],
    relu_forward=relu[0],
    relu_backward=relu[1],
    softmax_cross_entropy=cross_entropy,
)

# %% [markdown]
# **In symbols.**
#
# $$Z = X W_1 + \mathbf{1}b_1^\top, \quad A = \operatorname{relu}(Z), \quad S = A W_2 + \mathbf{1}b_2^\top, \quad L = \frac1b\sum_n \ell(S_n, y_n) + \frac{\lambda}{2}\left(\lVert W_1\rVert^2 + \lVert W_2\rVert^2\right)$$
#
# Here $\lVert W \rVert^2$ is the sum of the squares of all entries of $W$. The last term is an **L2 penalty** on large weights, and $\lambda$, in code `l2`, is its strength.
# Mind the convention: the factor is $\tfrac{\lambda}{2}$, so the penalty adds $\lambda W$ to the gradient of each weight matrix. It is not divided by the size of the batch, and the biases are not penalized.
#
# **Start.** Biases start at zero. Weights start at small random numbers: normal, with mean 0 and standard deviation `scale`, drawn from `rng`. If all weights were equal, all hidden units would compute the same, get the same gradient, and stay the same forever.
#
# **Shapes.** `W1` is $(d, m)$, `b1` is $(m,)$, `W2` is $(m, k)$, `b2` is $(k,)$. They live in the dictionary `params` under these names, and `loss` returns their gradients in a dictionary with the same names and shapes.
#
# **By hand.** One example $x = (1)$ with class 0, $W_1 = (1, -1)$, $W_2 = \begin{pmatrix}1&0\\0&1\end{pmatrix}$, zero biases, $\lambda = 0$:
# $Z = (1, -1)$, $A = (1, 0)$, $S = (1, 0)$, so $p = (0.7311, 0.2689)$ and $L = 0.3133$.
# Going back, $dS = (-0.2689, 0.2689)$, $dW_2 = \begin{pmatrix}-0.2689&0.2689\\0&0\end{pmatrix}$, $dA = (-0.2689, 0.2689)$, $dZ = (-0.2689, 0)$, $dW_1 = (-0.2689, 0)$.
# The second unit is silent, so nothing about it is learned from this example. With $\lambda = 0.1$ the penalty adds $0.05 \cdot (2 + 2) = 0.2$ to the loss.


# %% task="two_layer_net"
class TwoLayerNet:
    """A classifier: affine, ReLU, affine, with softmax cross-entropy and an L2 penalty as its loss."""

    def __init__(
        self, d: int, m: int, k: int, rng: np.random.Generator, scale: float = 0.1, l2: float = 0.0, layers: Any = given
    ) -> None:
        """Makes a network of d features, m hidden units and k classes, which computes with the functions in `layers`.

        `self.params` maps "W1", "b1", "W2" and "b2" to arrays: weights are normal with standard deviation `scale`,
        drawn from `rng`, and biases are zero.
        """
        self.layers = layers
        self.l2 = l2
        ### BEGIN SOLUTION
        self.params = {
            "W1": scale * rng.normal(size=(d, m)),
            "b1": np.zeros(m),
            "W2": scale * rng.normal(size=(m, k)),
            "b2": np.zeros(k),
        }
        ### END SOLUTION

    def loss(
        self, x: Float[np.ndarray, "b ..."], y: Int[np.ndarray, " b"]
    ) -> tuple[float, dict[str, Float[np.ndarray, "..."]]]:
        """Returns (loss, grads): mean cross-entropy plus l2/2 · (‖W1‖² + ‖W2‖²), and its gradient for each parameter.

        It calls the functions in `self.layers` and changes no parameter.
        """
        ### BEGIN SOLUTION
        p, layers = self.params, self.layers
        z, kept_1 = layers.affine_forward(x, p["W1"], p["b1"])
        a, kept_a = layers.relu_forward(z)
        logits, kept_2 = layers.affine_forward(a, p["W2"], p["b2"])
        loss, dlogits = layers.softmax_cross_entropy(logits, y)
        # back in the opposite order: each gradient of an input is the next layer's dout
        da, dw2, db2 = layers.affine_backward(dlogits, kept_2)
        dz = layers.relu_backward(da, kept_a)
        _, dw1, db1 = layers.affine_backward(dz, kept_1)
        loss = loss + self.l2 / 2 * ((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())
        return loss, {"W1": dw1 + self.l2 * p["W1"], "b1": db1, "W2": dw2 + self.l2 * p["W2"], "b2": db2}
        ### END SOLUTION

    def predict(self, x: Float[np.ndarray, "b ..."]) -> Int[np.ndarray, " b"]:
        """Returns for each example the class with the largest logit."""
        ### BEGIN SOLUTION
        z, _ = self.layers.affine_forward(x, self.params["W1"], self.params["b1"])
        logits, _ = self.layers.affine_forward(self.layers.relu_forward(z)[0], self.params["W2"], self.params["b2"])
        return logits.argmax(axis=1)
        ### END SOLUTION


# %% check="two_layer_net"
check("two_layer_net")

# %% [markdown]
# **See it work.** The last word has the gradient check: your own tool of task 6, on each of the four parameters.
# Its function of one array puts the array into a copy of the network and asks for the loss.
#
# *Predict first*: what will the relative error of each parameter be, roughly?


# %%
def slopes_of(net: TwoLayerNet, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the numerical gradient of the loss with respect to one parameter."""

    def loss_with(value: np.ndarray) -> float:
        other = copy.copy(net)
        other.params = {**net.params, name: value}
        return other.loss(x, y)[0]

    return numerical_gradient(loss_with, net.params[name])


rng = np.random.default_rng(0)
net = TwoLayerNet(d=5, m=4, k=3, rng=rng, scale=1.0, l2=0.1)
x, y = rng.normal(size=(6, 5)), rng.integers(3, size=6)
for name, gradient in net.loss(x, y)[1].items():
    print(f"{name}: relative error {relative_error(gradient, slopes_of(net, name, x, y)):.0e}")

# %% [markdown]
# *Reflect*: suppose that `b1` alone had an error of 0.3. Which lines of your code would you look at, and which could you rule out?
#
# Another number worth remembering: with small weights and ten classes, the loss of an untrained network must be close to $\ln 10 = 2.3026$.

# %%
digits = data.load("digits")
pixels, test_pixels = digits.flat()
fresh = TwoLayerNet(d=64, m=32, k=10, rng=np.random.default_rng(0), scale=0.01)
print(f"loss before the first step: {fresh.loss(pixels, digits.y_train)[0]:.4f}")

# %% [markdown]
# ## Task 8 · Train it
#
# *20 minutes · medium · fifteen lines that, in one form or another, train every model in this course.*
#
# Stochastic gradient descent does not wait until it has seen all data: it takes a step after each small batch.
# The order of the examples is drawn anew in every pass over the data, called an **epoch**, so that the noise of the batches does not always push the same way.
#
# **In symbols.** For each epoch:
#
# 1. Draw the order of the examples: `order = rng.permutation(len(x))`, exactly one call per epoch.
# 2. Cut the order into consecutive batches of `batch_size`. The last one may be shorter, and it is used as it is.
# 3. For each batch, ask `model.loss` for loss and gradients, and then move every parameter, $\theta \leftarrow \theta - \text{lr} \cdot \nabla_\theta L$.
# 4. Note the mean loss per *example* of the epoch: the losses as they were before each step, each weighted with the size of its batch.
#
# **Shapes.** `x` and `y` have the examples on their first axis. `model.params` and the gradients are dictionaries with the same names, whatever these are: the function must train any model, not only yours.
# The result is a list with one number per epoch.
#
# **By hand.** 7 examples in batches of 3 are batches of 3, 3 and 1.
# If their losses are 0.2, 0.2 and 0.9, the epoch's mean is $(3 \cdot 0.2 + 3 \cdot 0.2 + 0.9)/7 = 0.3$; the mean of the three numbers would be 0.43, because the single example would count three times as much as any other.


# %% task="train"
def train(
    model: Any,
    x: Float[np.ndarray, "b ..."],
    y: Int[np.ndarray, " b"],
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
) -> list[float]:
    """Returns the mean loss per example of each epoch, and trains `model.params` by stochastic gradient descent.

    `model.loss(x, y)` returns the mean loss of a batch and a dictionary of gradients, named like `model.params`.
    Each epoch calls `rng.permutation(len(x))` once and takes consecutive batches of that order, the last maybe short.
    """
    ### BEGIN SOLUTION
    history = []
    for _ in range(epochs):
        order, total = rng.permutation(len(x)), 0.0
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            loss, grads = model.loss(x[batch], y[batch])
            for name, gradient in grads.items():
                model.params[name] = model.params[name] - lr * gradient
            total += float(loss) * len(batch)
        history.append(total / len(x))
    return history
    ### END SOLUTION


# %% check="train"
check("train")

# %% [markdown]
# ## See it read digits
#
# The data are 1,797 digits of 8 × 8 pixels that 13 people wrote. Of the training part, 300 examples are held back for **validation**: they judge the network while it learns, and it never learns from them.
#
# *Predict first*: how accurate will the network be after the first epoch, and after thirty? At which epoch do the two curves part?

# %%
rng = np.random.default_rng(0)
order = rng.permutation(len(pixels))
held_back, used = order[:300], order[300:]
x_train, y_train = pixels[used], digits.y_train[used]
x_val, y_val = pixels[held_back], digits.y_train[held_back]
net = TwoLayerNet(d=64, m=32, k=10, rng=rng, l2=1e-4)
curves: dict[str, list[float]] = {"training": [], "validation": []}
for _ in range(30):
    curves["training"] += train(net, x_train, y_train, epochs=1, batch_size=32, lr=0.5, rng=rng)
    curves["validation"].append(float(net.loss(x_val, y_val)[0]))
for name, x, y in (("training", x_train, y_train), ("validation", x_val, y_val)):
    print(f"{name} accuracy {np.mean(net.predict(x) == y):.3f}")


# %%
def draw_curves(ax: Axes, curves: dict[str, list[float]]) -> None:
    """Draws losses against epochs."""
    for name, losses in curves.items():
        ax.plot(np.arange(1, len(losses) + 1), losses, label=name)
    ax.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
    ax.legend()


fig, ax = plt.subplots()
draw_curves(ax, curves)
figures.show(
    fig,
    alt="Line chart of training and validation loss over 30 epochs, loss on a logarithmic axis: both fall together at "
    "first; the training loss keeps falling while the validation loss levels off.",
)

# %% [markdown]
# **What a good number looks like.**
# From five seeds, the accuracy on the validation examples was between 0.64 and 0.80 after the first epoch, and between 0.95 and 0.98 after thirty; on the training examples it ended at 0.999 or 1.000.
# If you end below 0.94, something is wrong.
# The training loss ends near 0.03, the validation loss at 0.07 to 0.18. Both contain the penalty, and the gap between them is what the network learned by heart.
#
# *Reflect*: in the first epochs the training loss lies above the validation loss, although the network has seen only the training examples. When is each of the two measured?
#
# Now look at digits that it gets wrong. These come from the test part, which neither the training nor you have used so far.


# %%
def draw_wrong(axes: np.ndarray, images: np.ndarray, guesses: np.ndarray, y: np.ndarray) -> None:
    """Draws the first images whose guess is wrong, as many as there are axes."""
    wrong = np.flatnonzero(guesses != y)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, i in zip(axes.flat, wrong, strict=False):
        ax.imshow(images[i], cmap="gray_r")
        ax.set_title(f"{guesses[i]} for {y[i]}")


guesses = net.predict(test_pixels)
print(f"test accuracy {np.mean(guesses == digits.y_test):.3f}, {np.sum(guesses != digits.y_test)} wrong")
fig, axes = plt.subplots(2, 5)
draw_wrong(axes, digits.x_test, guesses, digits.y_test)
figures.show(fig, alt="Pictures of test digits that the network misreads, each with its guess and its label.")

# %% [markdown]
# *Reflect*: which of these would you have read right? Look at the 8 × 8 pixels only, not at the label.
#
# ## Swap in your own layers
#
# So far the layers came from `given`. The last cell builds the same network from the layers that you wrote, trains both from the same start with the same batches, and compares.
#
# *Predict first*: will the weights be equal to the last bit?

# %%
mine = SimpleNamespace(
    affine_forward=affine_forward,
    affine_backward=affine_backward,
    relu_forward=relu_forward,
    relu_backward=relu_backward,
    softmax_cross_entropy=softmax_cross_entropy,
)
trained = []
for layers in (given, mine):
    net = TwoLayerNet(d=64, m=32, k=10, rng=np.random.default_rng(1), l2=1e-4, layers=layers)
    losses = train(net, x_train, y_train, epochs=5, batch_size=32, lr=0.5, rng=np.random.default_rng(2))
    trained.append(net)
    print(f"loss {losses[-1]:.6f}, validation accuracy {np.mean(net.predict(x_val) == y_val):.3f}")
difference = max(np.abs(trained[0].params[name] - trained[1].params[name]).max() for name in trained[0].params)
print(f"largest difference of a weight: {difference:.0e}")

# %% [markdown]
# If the two lines agree, you have written a neural network from scratch: every number in it, forward and backward, is yours.
#
# *Reflect*: your layers and PyTorch's add the same numbers in another order, and that is all the difference there is. What would you conclude from a difference of $10^{-3}$?
