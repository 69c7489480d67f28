"""The checks of the sheet `backprop`: points, cases, accepted variants, and the mistakes that they recognize."""

import math
from types import SimpleNamespace

import numpy as np

from autograder import Sheet, raised

sheet = Sheet("backprop")

NUMPY_ONLY = ("torch", "scipy")

perceptron_update = sheet.task("perceptron_update", points=2, forbids=NUMPY_ONLY)
affine_forward = sheet.task("affine_forward", points=2, forbids=NUMPY_ONLY)
affine_backward = sheet.task("affine_backward", points=3, forbids=NUMPY_ONLY)
activations = sheet.task(
    "activations",
    points=4,
    objects=(
        "relu_forward",
        "relu_backward",
        "sigmoid_forward",
        "sigmoid_backward",
        "tanh_forward",
        "tanh_backward",
    ),
    forbids=NUMPY_ONLY,
)
softmax_cross_entropy = sheet.task("softmax_cross_entropy", points=4, forbids=NUMPY_ONLY)
gradient_check = sheet.task(
    "gradient_check", points=3, objects=("numerical_gradient", "relative_error"), forbids=NUMPY_ONLY
)
two_layer_net = sheet.task("two_layer_net", points=5, objects=("TwoLayerNet",))
train = sheet.task("train", points=3)

gradient_checking = sheet.written(
    "gradient_checking",
    rubric=[
        ("says what it compares, and why that is evidence: differences need only the forward pass", 1),
        ("says why a falling loss is not enough", 1),
        ("says how to do it well: float64 and a suitable h, relative error, each parameter, random upstream gradients", 1),
        ("gives a right gradient that fails, with the reason: a kink, rounding, a new dropout mask", 1),
        ("gives a wrong gradient that passes, with the reason", 1),
    ],
)  # fmt: skip


# ---------------------------------------------------------------- perceptron_update


@perceptron_update.case("a mistake moves the weights and the bias toward its label")
def one_mistake(perceptron_update, rng):
    w, b, x = rng.normal(size=3), rng.normal(), rng.normal(size=(1, 3))
    wrong = -np.sign(x @ w + b).astype(int)
    return perceptron_update(w, b, x, wrong)


@perceptron_update.case("examples on the right side change nothing")
def all_right(perceptron_update, rng):
    w, b, x = rng.normal(size=2), rng.normal(), rng.normal(size=(4, 2))
    right = np.sign(x @ w + b).astype(int)
    return perceptron_update(w, b, x, right)


@perceptron_update.case("a margin of exactly 0 is a mistake, for either label")
def margin_of_zero(perceptron_update, rng):
    x = rng.normal(size=(1, 3))
    return [perceptron_update(np.zeros(3), 0.0, x, np.array([label])) for label in (-1, 1)]


@perceptron_update.case("the bias counts when the side is decided")
def bias_decides(perceptron_update, rng):
    w, x = rng.normal(size=2), rng.normal(size=(3, 2))
    return [perceptron_update(w.copy(), b, x.copy(), np.array([1, -1, 1])) for b in (-20.0, 20.0)]


@perceptron_update.case("each example meets the weights that the one before it has left")
def one_after_the_other(perceptron_update, rng):
    x = rng.uniform(1, 3, size=(3, 2))
    return perceptron_update(np.zeros(2), 0.0, x, np.array([1, 1, -1]))


@perceptron_update.case("repeated passes separate clouds away from the origin", hidden=True)
def clouds_are_separated(perceptron_update, rng):
    y = np.repeat([-1, 1], 15)
    x = rng.uniform(-1, 1, size=(30, 4)) + 3 + 1.5 * y[:, None]
    w, b = np.zeros(4), 0.0
    for _ in range(40):
        w, b = perceptron_update(w, b, x, y)
    return w, b, y * (x @ w + b) > 0


@perceptron_update.accepts("the bias as the weight of a constant feature")
def constant_feature(w, b, x, y):
    v = np.append(w, b)
    for row, label in zip(np.column_stack([x, np.ones(len(x))]), y, strict=True):
        v = v + label * row * (label * (row @ v) <= 0)
    return v[:-1], v[-1]


@perceptron_update.accepts("plain Python numbers")
def numbers_in_a_loop(w, b, x, y):
    weights = [float(value) for value in w]
    for i in range(x.shape[0]):
        score = b + sum(weight * feature for weight, feature in zip(weights, x[i], strict=True))
        if (score <= 0 and y[i] == 1) or (score >= 0 and y[i] == -1):
            weights = [weight + int(y[i]) * feature for weight, feature in zip(weights, x[i], strict=True)]
            b += int(y[i])
    return np.array(weights), b


perceptron_update.slip(
    "always_updates",
    "Your weights move although the example was on the right side. When does the rule leave them alone?",
    right="y_i * (x_i @ w + b) <= 0",
    wrong="True",
)
perceptron_update.slip(
    "zero_margin_is_right",
    "An example on the line itself counts as right in your code. From zero weights, what would the first pass change?",
    right="<= 0",
    wrong="< 0",
)
perceptron_update.slip(
    "bias_never_learns",
    "Your line can turn but not move away from where it started. Which of the two updates is missing?",
    right="b += y_i",
    wrong="b += 0.0",
)
perceptron_update.slip(
    "bias_left_out_of_the_score",
    "Your decision ignores the bias. What is the score of an example at the origin?",
    right="(x_i @ w + b)",
    wrong="(x_i @ w)",
)
perceptron_update.slip(
    "moves_away",
    "After the update the example is on the wrong side by even more. What does adding y x to w do to the margin?",
    right="w += y_i * x_i",
    wrong="w -= y_i * x_i",
)


@perceptron_update.misconception(
    "You treat the labels as 0 and 1: your step is the label minus a prediction of 0 or 1. Which labels come here?"
)
def labels_of_zero_and_one(w, b, x, y):
    for row, label in zip(x, y, strict=True):
        step = label - (row @ w + b > 0)
        w, b = w + step * row, b + step
    return w, b


@perceptron_update.misconception(
    "Your steps are twice as long as those of the rule. By how much does the label differ from a prediction of -1 or +1?"
)
def twice_the_step(w, b, x, y):
    for row, label in zip(x, y, strict=True):
        if label * (row @ w + b) <= 0:
            w, b = w + 2 * label * row, b + 2 * label
    return w, b


@perceptron_update.misconception(
    "All your examples meet the weights of the start. Which weights should the second example of a pass meet?"
)
def whole_batch_at_once(w, b, x, y):
    wrong = y * (x @ w + b) <= 0
    return w + (y * wrong) @ x, b + (y * wrong).sum()


@perceptron_update.misconception("Your pass ends at its first mistake. Where does your `return` stand?")
def stops_at_the_first_mistake(w, b, x, y):
    for row, label in zip(x, y, strict=True):
        if label * (row @ w + b) <= 0:
            return w + label * row, b + label
    return w, b


@perceptron_update.misconception(
    "You predict -1 on the line itself, so that only one of the two labels is a mistake there. What does the task say?"
)
def zero_is_negative(w, b, x, y):
    for row, label in zip(x, y, strict=True):
        if (1 if row @ w + b > 0 else -1) != label:
            w, b = w + label * row, b + label
    return w, b


perceptron_update.slip(
    "weights_changed_in_place",
    "The result is right, but the caller's weights have changed too. What is the difference between `w += v` and `w = w + v`?",
    right="w = w.copy()",
    wrong="w = w[:]",
)


# ---------------------------------------------------------------- affine_forward


@affine_forward.case("out is x w + b, one row per example")
def rows_times_columns(affine_forward, rng):
    out, _ = affine_forward(rng.normal(size=(2, 2)), rng.normal(size=(2, 3)), rng.normal(size=3))
    return out


@affine_forward.case("an example of any shape is flattened to a row of features")
def examples_are_flattened(affine_forward, rng):
    out, _ = affine_forward(rng.normal(size=(3, 2, 4)), rng.normal(size=(8, 2)), rng.normal(size=2))
    return out


@affine_forward.case("the cache is (x, w, b), each as it came")
def cache_holds_the_arguments(affine_forward, rng):
    _, cache = affine_forward(rng.normal(size=(2, 2, 2)), rng.normal(size=(4, 3)), rng.normal(size=3))
    return cache


@affine_forward.case("a batch of one color image keeps its batch axis", hidden=True)
def one_image(affine_forward, rng):
    return affine_forward(rng.normal(size=(1, 3, 2, 2)), rng.normal(size=(12, 5)), rng.normal(size=5))


@affine_forward.accepts("a product for each example")
def example_by_example(x, w, b):
    out = np.empty((x.shape[0], w.shape[1]))
    for n, example in enumerate(x):
        out[n] = example.ravel().dot(w) + b
    return out, (x, w, b)


@affine_forward.accepts("einsum, and the number of features taken from w")
def forward_by_einsum(x, w, b):
    return np.einsum("bd,dm->bm", x.reshape(-1, w.shape[0]), w) + b[None, :], (x, w, b)


@affine_forward.accepts("transposed twice, with a list as cache")
def forward_transposed(x, w, b):
    return (w.T @ x.reshape(x.shape[0], -1).T + b[:, None]).T, [x, w, b]


affine_forward.slip(
    "bias_forgotten",
    "Your output is 0 where all features are 0. What should be added to every row?",
    right="rows @ w + b,",
    wrong="rows @ w,",
)
affine_forward.slip(
    "bias_subtracted",
    "Look at the sign with which the bias enters your output.",
    right="rows @ w + b,",
    wrong="rows @ w - b,",
)
affine_forward.slip(
    "examples_mixed",
    "The number of rows is right, but each holds numbers of several examples. Which axis of x is the batch, and what does "
    "your reshape do with it?",
    right="x.reshape(len(x), -1)",
    wrong="x.reshape(-1, len(x)).T",
)
affine_forward.slip(
    "first_axis_fastest",
    "Your features are in another order than NumPy's. Which axis of an example should vary fastest?",
    right="x.reshape(len(x), -1)",
    wrong='x.reshape(len(x), -1, order="F")',
)
affine_forward.slip(
    "cache_is_flat",
    "Your cache holds x in another shape than the one in which it came. How will the backward pass know the old one?",
    right="+ b, (x, w, b)",
    wrong="+ b, (rows, w, b)",
)
affine_forward.slip(
    "cache_without_bias",
    "Read again which arrays the cache holds, and in which order.",
    right="+ b, (x, w, b)",
    wrong="+ b, (x, w)",
)
affine_forward.slip(
    "cache_holds_the_output",
    "One part of your cache is the output. Which argument should stand in its place?",
    right="return rows @ w + b, (x, w, b)",
    wrong="return rows @ w + b, (x, w, rows @ w + b)",
)
affine_forward.slip(
    "cache_not_returned",
    "Your function returns one thing. Which two does a forward pass return?",
    right="return rows @ w + b, (x, w, b)",
    wrong="return rows @ w + b",
)
affine_forward.slip(
    "x_reshaped_in_place",
    "After the call, the caller's x has another shape. Which of your lines changes the array itself, not a view of it?",
    right="rows = x.reshape(len(x), -1)",
    wrong="rows = x\n    x.resize((len(x), w.shape[0]), refcheck=False)",
)


@affine_forward.misconception(
    "Your output has lost its batch axis. What happens to axes of length 1 in your code?", hidden_only=True
)
def batch_of_one_squeezed(x, w, b):
    rows = x.reshape(len(x), -1).squeeze()
    return rows @ w + b, (x, w, b)


# ---------------------------------------------------------------- affine_backward


@affine_backward.case("dw[i, j] sums, over the examples, feature i times dout[:, j]")
def gradient_of_weights(affine_backward, rng):
    cache = rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.normal(size=4)
    return affine_backward(rng.normal(size=(3, 4)), cache)[1]


@affine_backward.case("db adds up over the batch")
def gradient_of_bias(affine_backward, rng):
    cache = rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.normal(size=4)
    return affine_backward(rng.normal(size=(3, 4)), cache)[2]


@affine_backward.case("dx gives each feature its share of every output")
def gradient_of_input(affine_backward, rng):
    cache = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)
    return affine_backward(rng.normal(size=(2, 4)), cache)[0]


@affine_backward.case("for images, dx has the shape of x, and dw that of w")
def gradients_for_images(affine_backward, rng):
    cache = rng.normal(size=(2, 2, 3)), rng.normal(size=(6, 4)), rng.normal(size=4)
    return affine_backward(rng.normal(size=(2, 4)), cache)[:2]


@affine_backward.case("square arrays do not hide a transposition", hidden=True)
def square_arrays(affine_backward, rng):
    cache = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    return affine_backward(rng.normal(size=(3, 3)), cache)


@affine_backward.case("one color image", hidden=True)
def gradients_for_one_image(affine_backward, rng):
    cache = rng.normal(size=(1, 3, 2, 2)), rng.normal(size=(12, 5)), rng.normal(size=5)
    return affine_backward(rng.normal(size=(1, 5)), cache)


@affine_backward.accepts("einsum instead of transposes")
def backward_by_einsum(dout, cache):
    x, w, _ = cache
    rows = x.reshape(-1, w.shape[0])
    dx = np.einsum("bm,dm->bd", dout, w)
    return dx.reshape(*x.shape), np.einsum("bd,bm->dm", rows, dout), np.einsum("bm->m", dout)


@affine_backward.accepts("outer products, added example by example, in a list")
def outer_products(dout, cache):
    x, w, b = cache
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for n in range(len(x)):
        dw += np.outer(x[n], dout[n])
        db += dout[n]
        dx[n] = (w @ dout[n]).reshape(x[n].shape)
    return [dx, dw, db]


@affine_backward.accepts("a matrix of ones instead of sums")
def product_with_ones(dout, cache):
    x, w, _ = cache
    shape = x.shape
    flat = x.reshape(shape[0], -1)
    return (w @ dout.T).T.reshape(shape), (dout.T @ flat).T, np.ones(shape[0]) @ dout


affine_backward.slip(
    "bias_gradient_is_one_number",
    "Your db is a single number. How many biases are there, and what does each of them act on?",
    right="dout.sum(axis=0)",
    wrong="dout.sum()",
)
affine_backward.slip(
    "bias_gradient_averaged",
    "Your db shrinks when the batch grows. Where has the 1/b of a mean loss already been taken into account?",
    right="dout.sum(axis=0)",
    wrong="dout.mean(axis=0)",
)
affine_backward.slip(
    "bias_gradient_keeps_the_batch_axis",
    "Your db has one axis too many. Which shape does b have?",
    right="dout.sum(axis=0)",
    wrong="dout.sum(axis=0, keepdims=True)",
)
affine_backward.slip(
    "weight_gradient_averaged",
    "Your dw shrinks when the batch grows. Does the sum over n in the text have a factor?",
    right=".T @ dout",
    wrong=".T @ dout / len(x)",
)
affine_backward.slip(
    "input_gradient_left_flat",
    "Your dx is flat. Which shape did x have when it came in?",
    right=".reshape(x.shape)",
    wrong=".reshape(len(x), -1)",
)


@affine_backward.misconception(
    "Your answer does not depend on dout: these are the slopes of the layer alone. What does the chain rule do with dout?"
)
def upstream_ignored(dout, cache):
    x, w, _ = cache
    g = np.ones_like(dout)
    return (g @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ g, g.sum(axis=0)


@affine_backward.misconception(
    "Your dw has the right shape and the wrong order. Does `reshape` do what a transposition does?"
)
def reshaped_for_transposed(dout, cache):
    x, w, _ = cache
    dw = (dout.T @ x.reshape(len(x), -1)).reshape(w.shape)
    return (dout @ w.T).reshape(x.shape), dw, dout.sum(axis=0)


@affine_backward.misconception("All three gradients are there. In which order does the task ask for them?")
def order_of_the_results(dout, cache):
    x, w, _ = cache
    return x.reshape(len(x), -1).T @ dout, dout.sum(axis=0), (dout @ w.T).reshape(x.shape)


@affine_backward.misconception(
    "Your layer takes a training step: w has changed after the call. Who should decide when parameters move?"
)
def steps_inside_backward(dout, cache):
    x, w, _ = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), -1).T @ dout
    w -= 0.01 * dw
    return dx, dw, dout.sum(axis=0)


@affine_backward.misconception(
    "Your dx is right only if w is symmetric. Which index of w does the sum for one feature run over?", hidden_only=True
)
def transposed_only_if_needed(dout, cache):
    x, w, _ = cache
    dx = dout @ (w if w.shape[0] == dout.shape[1] else w.T)
    return dx.reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


@affine_backward.misconception("A batch of one loses its axis on the way.", hidden_only=True)
def single_example_squeezed(dout, cache):
    x, w, _ = cache
    dx = (dout @ w.T).reshape(x.shape).squeeze()
    return dx, x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


# ---------------------------------------------------------------- activations


def mixed(rng, shape):
    """Returns numbers of both signs, none of them near 0, where the ReLU has a kink."""
    return rng.uniform(0.2, 2, size=shape) * rng.choice([-1, 1], size=shape)


def through(forward, backward, z, dout):
    """Returns the gradient that `backward` makes of `dout`, with the cache of its own `forward`."""
    _, cache = forward(z)
    return backward(dout, cache)


@activations.case("relu keeps positive numbers and turns negative ones into 0")
def relu_values(relu_forward, rng):
    return relu_forward(mixed(rng, (2, 4)))[0]


@activations.case("relu lets dout pass where z was positive, whatever the sign of dout")
def relu_gradient(relu_forward, relu_backward, rng):
    return through(relu_forward, relu_backward, mixed(rng, (2, 4)), mixed(rng, (2, 4)))


@activations.case("sigmoid of ordinary numbers")
def sigmoid_values(sigmoid_forward, rng):
    return sigmoid_forward(mixed(rng, (2, 3)))[0]


@activations.case("sigmoid is finite, right and quiet for z up to ±1000")
def sigmoid_far_out(sigmoid_forward, rng):
    def loud(z):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            sigmoid_forward(z)

    large = rng.uniform(900, 1000, size=(1, 3))
    with np.errstate(all="ignore"):
        values = sigmoid_forward(np.concatenate([large, -large]))[0]
    return values, {"large z": raised(loud, large), "large negative z": raised(loud, -large)}


@activations.case("sigmoid passes back dout times its slope at z")
def sigmoid_gradient(sigmoid_forward, sigmoid_backward, rng):
    return through(sigmoid_forward, sigmoid_backward, mixed(rng, (2, 3)), mixed(rng, (2, 3)))


@activations.case("tanh of ordinary numbers")
def tanh_values(tanh_forward, rng):
    return tanh_forward(mixed(rng, (2, 3)))[0]


@activations.case("tanh passes back dout times its slope at z")
def tanh_gradient(tanh_forward, tanh_backward, rng):
    return through(tanh_forward, tanh_backward, mixed(rng, (2, 3)), mixed(rng, (2, 3)))


@activations.case("tanh far out is finite, and so is its gradient", hidden=True)
def tanh_far_out(tanh_forward, tanh_backward, rng):
    z = rng.uniform(800, 1000, size=(2, 2)) * np.array([-1, 1])
    out, cache = tanh_forward(z)
    return out, tanh_backward(rng.normal(size=(2, 2)), cache)


@activations.case("the sigmoid's gradient fades out and stays finite far out", hidden=True)
def sigmoid_gradient_far_out(sigmoid_forward, sigmoid_backward, rng):
    z = rng.uniform(20, 1000, size=(2, 3)) * np.array([[-1], [1]])
    return through(sigmoid_forward, sigmoid_backward, z, rng.normal(size=(2, 3)))


@activations.case("arrays of one and of three axes work as well", hidden=True)
def any_number_of_axes(
    relu_forward, relu_backward, sigmoid_forward, sigmoid_backward, tanh_forward, tanh_backward, rng
):
    pairs = (relu_forward, relu_backward), (sigmoid_forward, sigmoid_backward), (tanh_forward, tanh_backward)
    return [
        (forward(z)[0], through(forward, backward, z, rng.normal(size=z.shape)))
        for z in (mixed(rng, (4,)), mixed(rng, (2, 3, 2)))
        for forward, backward in pairs
    ]


@activations.accepts("relu that keeps z, by np.where", replaces="relu_forward")
def relu_keeps_z(z):
    return np.where(z > 0, z, 0.0), z


@activations.accepts("relu's gradient written into a copy", replaces="relu_backward")
def relu_gradient_in_a_copy(dout, cache):
    dz = dout.copy()
    dz[cache <= 0] = 0
    return dz


@activations.accepts("sigmoid as half a tanh", replaces="sigmoid_forward")
def sigmoid_from_tanh(z):
    s = (1 + np.tanh(z / 2)) / 2
    return s, s


@activations.accepts("sigmoid with a mask for each sign", replaces="sigmoid_forward")
def sigmoid_by_masks(z):
    s = np.empty_like(z, dtype=float)
    up = z >= 0
    s[up] = 1 / (1 + np.exp(-z[up]))
    s[~up] = np.exp(z[~up]) / (1 + np.exp(z[~up]))
    return s, s


@activations.accepts("sigmoid of numbers that are cut off at ±500", replaces="sigmoid_forward")
def sigmoid_clipped(z):
    s = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
    return s, s


activations.restyle(
    "slope_in_the_cache",
    "tanh that keeps its slope, taken from z",
    right='''return t, t


def tanh_backward(dout: Float[np.ndarray, "..."], cache: Any) -> Float[np.ndarray, "..."]:
    """Returns the gradient with respect to z, given the gradient `dout` with respect to out."""
    return dout * (1 - cache**2)''',
    other="""return t, 1 / np.cosh(np.clip(z, -300, 300)) ** 2


def tanh_backward(dout, cache):
    return dout * cache""",
)


@activations.misconception(
    "Your mask looks at the sign of dout. Which number decided whether the unit was on?", replaces="relu_backward"
)
def relu_gated_by_upstream(dout, cache):
    return dout * ((cache > -1) & (dout > 0))


@activations.misconception(
    "Your relu_backward answers 0 and 1: that is the slope of the ReLU alone. What does the chain rule do with dout?",
    replaces="relu_backward",
)
def relu_slope_alone(dout, cache):
    return (cache > 0).astype(float) + 0 * dout


@activations.misconception(
    "Your relu lets a little of each negative number through. What should become of it?", replaces="relu_forward"
)
def relu_leaks(z):
    return np.where(z > 0, z, 0.01 * z), np.maximum(z, 0)


@activations.misconception(
    "Your sigmoid falls where it should rise. Which sign does z have in the exponent?", replaces="sigmoid_forward"
)
def sigmoid_mirrored(z):
    s = (1 - np.tanh(z / 2)) / 2
    return s, s


@activations.misconception(
    "Your tanh rises too slowly. At which place must the sigmoid be taken, so that 2σ - 1 becomes tanh(z)?",
    replaces="tanh_forward",
)
def tanh_at_half_the_place(z):
    t = np.tanh(z / 2)
    return t, t


@activations.misconception(
    "Your relu_backward lets everything through. What did a unit with negative z contribute to the output?",
    replaces="relu_backward",
)
def relu_always_open(dout, cache):
    return dout + 0 * cache


@activations.misconception(
    "Your relu_forward writes zeros into the array that it was given. Who else may still need those numbers?",
    replaces="relu_forward",
)
def relu_in_place(z):
    z[z < 0] = 0
    return z, z.copy()


@activations.misconception(
    "Your relu_backward writes into dout, which belongs to the layer above. What would a second call with it give?",
    replaces="relu_backward",
)
def relu_overwrites_upstream(dout, cache):
    dout[cache <= 0] = 0
    return dout


@activations.misconception(
    "Your sigmoid overflows for large negative z. Which sign does the exponent have there, and which form is safe?",
    replaces="sigmoid_forward",
)
def sigmoid_overflows(z):
    s = 1 / (1 + np.exp(-z))
    return s, s


@activations.misconception(
    "`np.where` chooses between two arrays after both have been computed in full. Which of your two forms still meets "
    "the numbers that it cannot bear?",
    replaces="sigmoid_forward",
)
def both_branches_are_computed(z):
    s = np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))
    return s, s


@activations.misconception(
    "Your sigmoid_backward applies the sigmoid to its cache. What did your forward pass put there?",
    replaces="sigmoid_backward",
)
def sigmoid_of_the_sigmoid(dout, cache):
    s = 1 / (1 + np.exp(-cache))
    return dout * s * (1 - s)


@activations.misconception(
    "In your sigmoid, backward reads its cache as the output, but forward has put z there. Which of the two do you want?",
    replaces="sigmoid_forward",
)
def sigmoid_cache_confused(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e), z.copy()


activations.slip(
    "tanh_slope_not_squared",
    "Your slope of tanh is one thing at z and another at -z. Draw tanh: how steep is it at these two places?",
    right="(1 - cache**2)",
    wrong="(1 - cache)",
)
activations.slip(
    "tanh_cache_confused",
    "Your slope of tanh becomes negative for large z, and tanh never falls. Is it z or tanh(z) that is squared?",
    right="return t, t",
    wrong="return t, z.copy()",
)


@activations.misconception(
    "Far out, your tanh divides infinity by infinity. Does NumPy have a function that does not?",
    replaces="tanh_forward",
    hidden_only=True,
)
def tanh_from_exponentials(z):
    up, down = np.exp(z), np.exp(-z)
    t = (up - down) / (up + down)
    return t, t


@activations.misconception(
    "Your slope of the sigmoid divides by a number that becomes 0 or infinite far out. Can you write it with the output?",
    replaces="sigmoid_backward",
    hidden_only=True,
)
def slope_by_division(dout, cache):
    return dout * cache**2 * (1 / cache - 1)


@activations.misconception(
    "Your ReLU works for matrices only. How many axes may z have?", replaces="relu_forward", hidden_only=True
)
def only_matrices(z):
    rows, columns = z.shape
    out = np.array([[max(0.0, z[i, j]) for j in range(columns)] for i in range(rows)])
    return out, out


# ---------------------------------------------------------------- softmax_cross_entropy


@softmax_cross_entropy.case("the loss is the mean over the batch of -ln p of the right class")
def loss_value(softmax_cross_entropy, rng):
    return softmax_cross_entropy(2 * rng.normal(size=(3, 4)), rng.integers(4, size=3))[0]


@softmax_cross_entropy.case("the gradient of each example is p, less 1 at its class, over the size of the batch")
def gradient_value(softmax_cross_entropy, rng):
    return softmax_cross_entropy(2 * rng.normal(size=(2, 3)), rng.permutation(3)[:2])[1]


@softmax_cross_entropy.case("a batch twice over has the same loss and half the gradients")
def batch_twice_over(softmax_cross_entropy, rng):
    logits, y = rng.normal(size=(2, 3)), rng.integers(3, size=2)
    return softmax_cross_entropy(np.tile(logits, (2, 1)), np.tile(y, 2))


AT_A_THOUSAND = "a number near 1000 is itself known to 1e-13 only, and ln of a sum of such exponentials no better"


@softmax_cross_entropy.case("logits of ±1000 give finite and accurate answers", atol=1e-10, because=AT_A_THOUSAND)
def large_logits(softmax_cross_entropy, rng):
    logits = rng.uniform(900, 1000, size=(2, 4)) * np.array([[1, -1, 1, -1], [-1, 1, -1, 1]])
    return softmax_cross_entropy(logits, np.array([1, 3]))


@softmax_cross_entropy.case(
    "rows of very different size do not disturb each other", hidden=True, atol=1e-10, because=AT_A_THOUSAND
)
def rows_of_different_size(softmax_cross_entropy, rng):
    logits = rng.normal(size=(3, 4)) + np.array([[1000], [-1000], [0]])
    return softmax_cross_entropy(logits, rng.integers(4, size=3))


@softmax_cross_entropy.case("labels may be few, many, or all the same", hidden=True)
def labels_of_all_kinds(softmax_cross_entropy, rng):
    one = softmax_cross_entropy(rng.normal(size=(1, 2)), np.array([1]))
    return one, softmax_cross_entropy(rng.normal(size=(5, 3)), np.array([2, 2, 2, 2, 2], dtype=np.int32))


@softmax_cross_entropy.accepts("logsumexp and a one-hot matrix")
def by_logsumexp(logits, y):
    one_hot = np.eye(logits.shape[1])[y]
    log_z = np.logaddexp.reduce(logits, axis=1)
    loss = np.mean(log_z - (one_hot * logits).sum(axis=1))
    return loss, (np.exp(logits - log_z[:, None]) - one_hot) / len(logits)


@softmax_cross_entropy.accepts("a loop over examples with the math module")
def example_by_example_in_python(logits, y):
    losses, gradients = [], []
    for z, label in zip(logits.tolist(), y.tolist(), strict=True):
        top = max(z)
        total = math.fsum(math.exp(v - top) for v in z)
        losses.append(math.log(total) + top - z[label])
        gradients.append([(math.exp(v - top) / total - (j == label)) / len(y) for j, v in enumerate(z)])
    return sum(losses) / len(losses), np.array(gradients)


@softmax_cross_entropy.accepts("the gradient by subtracting at pairs of indices")
def subtract_at(logits, y):
    n = logits.shape[0]
    z = logits - np.amax(logits, 1)[:, np.newaxis]
    total = np.exp(z).sum(1)
    p = np.exp(z) / total[:, np.newaxis]
    np.subtract.at(p, (range(n), y), 1.0)
    return float(np.sum(np.log(total) - z[range(n), y]) / n), p / n


softmax_cross_entropy.slip(
    "no_shift",
    "For large logits an exponential overflows. Which number can you subtract from a row without changing its probabilities?",
    right="logits - logits.max(axis=1, keepdims=True)",
    wrong="logits",
)
softmax_cross_entropy.slip(
    "loss_not_averaged",
    "Your loss grows with the batch. Is it a sum or a mean?",
    right=".mean()",
    wrong=".sum()",
)
softmax_cross_entropy.slip(
    "gradient_not_averaged",
    "Your loss is a mean, and your gradient that of a sum. How does the 1/b in the loss show in its gradient?",
    right="dlogits / len(y)",
    wrong="dlogits",
)
softmax_cross_entropy.slip(
    "right_class_not_subtracted",
    "Your gradient is never negative, so it would push down the right class too. What is different for the right class?",
    right="    dlogits[rows, y] -= 1\n",
    wrong="",
)
softmax_cross_entropy.slip(
    "every_class_subtracted",
    "Your gradient pushes all logits up. Should 1 be subtracted from every class?",
    right="dlogits[rows, y] -= 1",
    wrong="dlogits -= 1",
)
softmax_cross_entropy.slip(
    "all_pairs_of_rows_and_labels",
    "In your gradient each row loses 1 at the classes of *all* examples. What does `a[:, y]` select, and how do you pick "
    "one entry per row?",
    right="dlogits[rows, y] -= 1",
    wrong="dlogits[:, y] -= 1",
)
softmax_cross_entropy.slip(
    "softmax_over_the_batch",
    "Your probabilities sum to 1 down the columns. Which axis holds the classes of one example?",
    right="log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))",
    wrong="log_p = logits - logits.max(axis=0)\n    log_p = log_p - np.log(np.exp(log_p).sum(axis=0))",
)
softmax_cross_entropy.slip(
    "logarithm_of_base_two",
    "Your loss is larger than expected by the factor 1/ln 2. In which unit is it measured?",
    right="loss = -log_p[rows, y].mean()",
    wrong="loss = -log_p[rows, y].mean() / np.log(2)",
)


@softmax_cross_entropy.misconception(
    "Your loss cannot exceed about 18. What does the small number inside your logarithm do when p is smaller still?"
)
def epsilon_in_the_logarithm(logits, y):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    one_hot = np.eye(p.shape[1])[y]
    return -np.log((p * one_hot).sum(axis=1) + 1e-8).mean(), (p - one_hot) / len(y)


@softmax_cross_entropy.misconception(
    "A hopeless example gives you an infinite loss: its probability has been rounded to 0 before you take the logarithm. "
    "Can you get ln p without p?"
)
def logarithm_of_the_probability(logits, y):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    one_hot = np.eye(p.shape[1])[y]
    with np.errstate(divide="ignore"):
        return -np.log((p * one_hot).sum(axis=1)).mean(), (p - one_hot) / len(y)


@softmax_cross_entropy.misconception(
    "Your probabilities are cut off at a smallest value, so the loss of a hopeless example is too small. What should it be "
    "for logits of 1000 and -1000?"
)
def probabilities_clipped(logits, y):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    one_hot = np.eye(p.shape[1])[y]
    return -np.log(np.maximum((p * one_hot).sum(axis=1), 1e-12)).mean(), (p - one_hot) / len(y)


@softmax_cross_entropy.misconception(
    "Your loss applies softmax to numbers that are probabilities already. What is the largest logit that it ever sees?"
)
def softmax_twice(logits, y):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    q = np.exp(p) / np.exp(p).sum(axis=1, keepdims=True)
    one_hot = np.eye(p.shape[1])[y]
    return -np.log((q * one_hot).sum(axis=1)).mean(), (q - one_hot) / len(y)


@softmax_cross_entropy.misconception(
    "By the time you take the logarithm, 1 has been subtracted from your probabilities. Do two of your names mean one array?"
)
def loss_after_the_subtraction(logits, y):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    dlogits = p
    np.subtract.at(dlogits, (np.arange(len(y)), y), 1)
    with np.errstate(all="ignore"):
        return -np.log(p[np.arange(len(y)), y]).mean(), dlogits / len(y)


softmax_cross_entropy.slip(
    "logits_shifted_in_place",
    "The numbers are right, but the caller's logits have changed. Which of your lines writes into its argument?",
    right="shifted = logits - logits.max(axis=1, keepdims=True)",
    wrong="logits -= logits.max(axis=1, keepdims=True)\n    shifted = logits",
)
softmax_cross_entropy.slip(
    "largest_of_the_whole_batch",
    "You subtract one number from all rows. What is left of a row whose logits are a thousand below those of another?",
    right="logits - logits.max(axis=1, keepdims=True)",
    wrong="logits - logits.max()",
    hidden_only=True,
)


# ---------------------------------------------------------------- gradient_check

WIDE = "with h = 0.1 the rounding of f, about 1e-15, is divided by 2h, and nothing else can differ"
NARROW = "with h = 1e-5 the rounding of f, about 1e-15, is divided by 2h; a one-sided difference is off by about 1e-5"


@gradient_check.case("central differences, entry by entry, with the h that was given", atol=1e-11, because=WIDE)
def cubes(numerical_gradient, rng):
    weights = rng.normal(size=(2, 3))
    return numerical_gradient(lambda v: float((weights * v**3).sum()), rng.uniform(0.5, 1, size=(2, 3)), 0.1)


@gradient_check.case("entries that act on each other, with the default h", atol=1e-8, because=NARROW)
def entries_that_interact(numerical_gradient, rng):
    return numerical_gradient(lambda v: float(np.exp(v[0] * v[1]).sum()), rng.uniform(0.5, 1, size=(2, 3)))


@gradient_check.case("x may hold integers", atol=1e-11, because=WIDE)
def integers(numerical_gradient, rng):
    return numerical_gradient(lambda v: float((v**2).sum() * v[0]), rng.integers(1, 5, size=3), h=0.1)


@gradient_check.case("the relative error is that of the worst entry")
def worst_entry(relative_error, rng):
    a = mixed(rng, (2, 3))
    b = a * rng.uniform(0.5, 1.5, size=(2, 3))
    return relative_error(a, b), relative_error(b, a)


@gradient_check.case("small gradients are compared as strictly as large ones")
def small_gradients(relative_error, rng):
    a, b = rng.uniform(1, 2, size=4), rng.uniform(1, 2, size=4)
    return [relative_error(a * scale, b * scale) for scale in (1e-6, 1, 1e6)]


@gradient_check.case("two zeros agree, and a zero never agrees with anything else")
def zeros(relative_error, rng):
    a = np.array([0.0, 1.0]) * rng.uniform(1, 2)
    return relative_error(np.zeros(3), np.zeros(3)), relative_error(a, a), relative_error(a, np.zeros(2))


@gradient_check.case(
    "three axes, none, and arrays that are transposed in memory", hidden=True, atol=1e-11, because=WIDE
)
def arrays_of_all_kinds(numerical_gradient, rng):
    weights = rng.normal(size=(3, 2, 2))
    return [
        numerical_gradient(lambda v: float((weights * v**2).sum()), rng.normal(size=(3, 2, 2)), 0.1),
        numerical_gradient(lambda v: float((weights[..., 0] * v**2).sum()), rng.normal(size=(2, 3)).T, 0.1),
        numerical_gradient(lambda v: float(v**2), np.array(rng.normal()), 0.1),
    ]


@gradient_check.case("one entry far off among many that agree", hidden=True)
def one_bad_entry(relative_error, rng):
    a = rng.uniform(1, 2, size=(4, 5))
    b = a.copy()
    b[2, 3] = -a[2, 3] / 2
    return relative_error(a, b), relative_error(-a, b)


@gradient_check.accepts("a new array for each evaluation", replaces="numerical_gradient")
def with_unit_vectors(f, x, h=1e-5):
    x = np.asarray(x)
    unit = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in unit]).reshape(x.shape)


@gradient_check.accepts("an iterator over x itself, with each number put back", replaces="numerical_gradient")
def with_an_iterator(f, x, h=1e-5):
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    slopes = np.zeros(x.shape)
    places = np.nditer(x, flags=["multi_index"])
    for _ in places:
        place = places.multi_index
        kept = float(x[place])
        x[place] = kept + h
        slopes[place] = f(x) / (2 * h)
        x[place] = kept - h
        slopes[place] -= f(x) / (2 * h)
        x[place] = kept
    return slopes


@gradient_check.accepts("a loop over pairs of numbers", replaces="relative_error")
def pair_by_pair(a, b):
    pairs = zip(np.ravel(a), np.ravel(b), strict=True)
    return max(0.0 if p == q else abs(p - q) / (abs(p) + abs(q)) for p, q in pairs)


@gradient_check.accepts("a tiny floor under the denominator", replaces="relative_error")
def tiny_floor(a, b):
    return np.max(np.abs(a - b) / np.maximum(1e-300, np.abs(a) + np.abs(b)))


gradient_check.slip(
    "one_sided",
    "Your error shrinks only in proportion to h. Which two values of f does the *central* difference compare?",
    right="gradient[i] = (above - below) / (2 * h)",
    wrong="gradient[i] = (above - f(moved)) / h",
)
gradient_check.slip(
    "divided_by_h",
    "Your slopes are twice too steep. How far apart are the two places at which you evaluate f?",
    right="/ (2 * h)",
    wrong="/ h",
)
gradient_check.slip(
    "wrong_order",
    "Your slopes have the opposite sign. Which value comes first?",
    right="above - below",
    wrong="below - above",
)
gradient_check.slip(
    "h_ignored",
    "Your result does not depend on h. Where does the argument enter?",
    right="moved = np.array(x, dtype=float)",
    wrong="h = 1e-5\n    moved = np.array(x, dtype=float)",
)
gradient_check.slip(
    "entries_not_put_back",
    "When the second entry is moved, the first is not where it was. What must happen before the loop goes on?",
    right="        moved[i] = old\n",
    wrong="",
)
gradient_check.slip(
    "integers_stay_integers",
    "With integers in x, the numbers that you move become integers again. What is 3 + 0.1, stored as an integer?",
    right="np.array(x, dtype=float)  # a copy of its own, so that x cannot change\n    gradient = np.zeros_like(moved)",
    wrong="np.array(x)\n    gradient = np.zeros(moved.shape)",
)


@gradient_check.misconception(
    "You move a whole row at once, so each slope is the sum over its row. How do you reach a single entry of an array "
    "with any number of axes?",
    replaces="numerical_gradient",
)
def whole_rows(f, x, h=1e-5):
    moved = np.array(x, dtype=float)
    gradient = np.zeros_like(moved)
    for i in range(moved.shape[0] if moved.ndim else 0):
        step = np.zeros_like(moved)
        step[i] = h
        gradient[i] = (f(moved + step) - f(moved - step)) / (2 * h)
    return gradient


@gradient_check.misconception(
    "x does not hold what it held before: adding h, taking away 2h and adding h again rounds three times. How can you put "
    "back the very same number?",
    replaces="numerical_gradient",
)
def almost_put_back(f, x, h=1e-5):
    x = x if x.dtype.kind == "f" else x.astype(float)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        x[i] += h
        above = f(x)
        x[i] -= 2 * h
        below = f(x)
        x[i] += h
        gradient[i] = (above - below) / (2 * h)
    return gradient


@gradient_check.misconception(
    "For some arrays your slopes are all 0: `reshape` gives a view where it can, and a copy where it must. Does f see the "
    "entry that you move?",
    replaces="numerical_gradient",
    hidden_only=True,
)
def moves_a_copy(f, x, h=1e-5):
    values = x if x.dtype.kind == "f" else x.astype(float)
    flat, gradient = values.reshape(-1), np.zeros(x.size)
    for i in range(x.size):
        old = flat[i]
        flat[i] = old + h
        above = f(values)
        flat[i] = old - h
        gradient[i] = (above - f(values)) / (2 * h)
        flat[i] = old
    return gradient.reshape(x.shape)


gradient_check.slip(
    "absolute_error",
    "Your error shrinks when both gradients do. What is the difference compared with?",
    right=" / np.where(size == 0, 1, size)",
    wrong="",
)
gradient_check.slip(
    "zero_over_zero",
    "Two gradients that are both 0 give you NaN. What should two equal entries give?",
    right="np.where(size == 0, 1, size)",
    wrong="size",
)
gradient_check.slip(
    "padded_denominator",
    "A small number in your denominator makes small gradients look better than they are. What happens to gradients of 1e-6?",
    right="np.where(size == 0, 1, size)",
    wrong="(size + 1e-8)",
)
gradient_check.slip(
    "error_averaged",
    "Your error averages over the entries, so that many good ones hide a bad one. Which entry should count?",
    right="np.max(np.abs(a - b)",
    wrong="np.mean(np.abs(a - b)",
)
gradient_check.slip(
    "sign_of_the_difference",
    "You look for the largest difference with its sign. Is an entry that is far too small not wrong as well?",
    right="np.max(np.abs(a - b)",
    wrong="np.max((a - b)",
)


@gradient_check.misconception(
    "You compare lengths of whole arrays, where one wrong entry drowns among many right ones. What does the task's formula "
    "do first: divide, or combine the entries?",
    replaces="relative_error",
)
def error_of_the_norms(a, b):
    size = np.linalg.norm(a) + np.linalg.norm(b)
    return np.linalg.norm(a - b) / (size if size > 0 else 1.0)


# ---------------------------------------------------------------- two_layer_net


def small_net(TwoLayerNet, rng, l2=0.0, sizes=(3, 4, 2)):
    """Returns a network whose parameters, biases included, are all of ordinary size."""
    net = TwoLayerNet(*sizes, generator(0), l2=l2)
    d, m, k = sizes
    for name, shape in {"W1": (d, m), "b1": (m,), "W2": (m, k), "b2": (k,)}.items():
        net.params[name] = rng.normal(size=shape)
    return net


def generator(seed):
    """Returns a generator of its own, as you would write it in a notebook."""
    return np.random.default_rng(seed)


@two_layer_net.case("weights start small, random and different, biases at zero")
def start(TwoLayerNet, rng):
    p = TwoLayerNet(50, 40, 30, generator(int(rng.integers(1000))), scale=0.02).params
    facts = {f"shape of {name}": np.shape(value) for name, value in p.items()}
    for name in ("W1", "W2"):
        # 1200 draws or more: their spread is off by more than a fifth in less than one of 1e20 nets
        facts[f"the spread of {name} is near scale"] = bool(0.8 < np.std(p[name]) / 0.02 < 1.25)
        facts[f"the columns of {name} differ"] = bool(np.ptp(p[name], axis=1).min() > 0)
    return facts | {f"{name} is 0": not np.any(p[name]) for name in ("b1", "b2")}


@two_layer_net.case("weights come from the generator that is handed over")
def own_generator(TwoLayerNet, rng):
    seed = int(rng.integers(1000))
    first, again, other = (TwoLayerNet(3, 4, 2, generator(s)).params for s in (seed, seed, seed + 1))
    return {
        "the same seed gives the same weights": all(np.array_equal(first[n], again[n]) for n in ("W1", "W2")),
        "another seed gives others": not any(np.array_equal(first[n], other[n]) for n in ("W1", "W2")),
    }


@two_layer_net.case("the loss of given parameters, without a penalty")
def loss_of_given_parameters(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng)
    return net.loss(rng.normal(size=(5, 3)), rng.integers(2, size=5))[0]


@two_layer_net.case("the gradient of every parameter, without a penalty", weight=2)
def gradients_of_given_parameters(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng)
    return net.loss(rng.normal(size=(5, 3)), rng.integers(2, size=5))[1]


@two_layer_net.case("the penalty counts all weights and no bias, in the loss")
def penalty_in_the_loss(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng, l2=rng.uniform(0.5, 1))
    return net.loss(rng.normal(size=(3, 3)), rng.integers(2, size=3))[0]


@two_layer_net.case("the penalty's gradient belongs to its loss", weight=2)
def penalty_in_the_gradients(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng, l2=rng.uniform(0.5, 1))
    return net.loss(rng.normal(size=(3, 3)), rng.integers(2, size=3))[1]


@two_layer_net.case("asking for the loss changes no parameter")
def loss_changes_nothing(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng, l2=0.3)
    x, y = rng.normal(size=(3, 3)), rng.integers(2, size=3)
    net.loss(x, y)
    return net.params, net.loss(x, y)[0]


@two_layer_net.case("predict returns the class with the largest logit")
def predictions(TwoLayerNet, rng):
    return small_net(TwoLayerNet, rng, sizes=(2, 5, 3)).predict(rng.normal(size=(6, 2)))


def scaled_layers(factor):
    """Returns layers of NumPy in which the ReLU is replaced by a multiplication."""

    def affine_backward(dout, cache):
        x, w = cache
        return dout @ w.T, x.T @ dout, dout.sum(axis=0)

    def squared_loss(logits, y):
        error = logits - y[:, None]
        return (error**2).sum(), 2 * error

    return SimpleNamespace(
        affine_forward=lambda x, w, b: (x @ w + b, (x, w)),
        affine_backward=affine_backward,
        relu_forward=lambda z: (factor * z, None),
        relu_backward=lambda dout, cache: factor * dout,
        softmax_cross_entropy=squared_loss,
    )


@two_layer_net.case("the network computes with the layers that it is handed", hidden=True)
def other_layers(TwoLayerNet, rng):
    net = TwoLayerNet(3, 4, 2, generator(0), layers=scaled_layers(-2.0))
    net.params = {"W1": rng.normal(size=(3, 4)), "b1": rng.normal(size=4), "W2": rng.normal(size=(4, 2))}
    net.params["b2"] = rng.normal(size=2)
    x = rng.normal(size=(5, 3))
    return net.loss(x, rng.integers(2, size=5)), net.predict(x)


@two_layer_net.case("images, one example, and a single hidden unit", hidden=True)
def unusual_sizes(TwoLayerNet, rng):
    net = small_net(TwoLayerNet, rng, l2=0.1, sizes=(6, 1, 4))
    one = rng.normal(size=(1, 6))
    return net.loss(rng.normal(size=(2, 2, 3)), rng.integers(4, size=2)), net.loss(one, np.array([3])), net.predict(one)


@two_layer_net.case("an untrained network of ten classes starts at ln 10", hidden=True)
def loss_at_the_start(TwoLayerNet, rng):
    net = TwoLayerNet(4, 3, 10, generator(int(rng.integers(1000))), scale=1e-9)
    return net.loss(rng.normal(size=(6, 4)), rng.integers(10, size=6))[0]


two_layer_net.restyle(
    "one_loop_over_the_weights",
    "the penalty in a loop over the weight matrices",
    right="""        loss = loss + self.l2 / 2 * ((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())
        return loss, {"W1": dw1 + self.l2 * p["W1"], "b1": db1, "W2": dw2 + self.l2 * p["W2"], "b2": db2}""",
    other="""        grads = {"b2": db2, "W2": dw2, "b1": db1, "W1": dw1}
        for name in grads:
            if name.startswith("W"):
                loss += 0.5 * self.l2 * np.vdot(p[name], p[name])
                grads[name] = grads[name] + self.l2 * p[name]
        return float(loss), grads""",
)
two_layer_net.restyle(
    "drawn_in_another_way",
    "weights drawn by another call, second layer first",
    right="""            "W1": scale * rng.normal(size=(d, m)),
            "b1": np.zeros(m),
            "W2": scale * rng.normal(size=(m, k)),
            "b2": np.zeros(k),
        }""",
    other="""            "W2": rng.normal(0.0, scale, (m, k)),
            "b2": np.zeros((k,)),
            "b1": np.full(m, 0.0),
        }
        self.params["W1"] = rng.standard_normal((d, m)) * scale""",
)
two_layer_net.restyle(
    "probabilities_for_predictions",
    "predictions from probabilities, one example at a time",
    right="return logits.argmax(axis=1)",
    other="return np.array([int(np.argmax(np.exp(row - row.max()))) for row in logits])",
)

two_layer_net.slip(
    "weights_start_at_zero",
    "All your hidden units start equal, and equal units get equal gradients. What will training make of them?",
    right='"W1": scale * rng.normal(size=(d, m))',
    wrong='"W1": np.zeros((d, m))',
)
two_layer_net.slip(
    "scale_ignored",
    "The spread of W1 is not `scale`. What is the standard deviation of `rng.normal(size=...)`?",
    right='"W1": scale * rng.normal(size=(d, m))',
    wrong='"W1": rng.normal(size=(d, m))',
)
two_layer_net.slip(
    "biases_start_random",
    "Your biases do not start at zero. Which parameters must be random, and why those?",
    right='"b1": np.zeros(m)',
    wrong='"b1": scale * rng.normal(size=m)',
)
two_layer_net.slip(
    "another_generator",
    "Two networks from differently seeded generators come out the same. Where do your random numbers come from?",
    right="        self.params = {",
    wrong="        rng = np.random.default_rng(0)\n        self.params = {",
)
two_layer_net.slip(
    "no_activation",
    "Your two layers in a row are one affine layer. What stands between them?",
    right="""        a, kept_a = layers.relu_forward(z)
        logits, kept_2""",
    wrong="""        a, kept_a = z, layers.relu_forward(np.ones_like(z))[1]
        logits, kept_2""",
)
two_layer_net.slip(
    "backward_skips_the_activation",
    "Only the gradients of the first layer are wrong. What lies between the two affine layers on the way back?",
    right="dz = layers.relu_backward(da, kept_a)",
    wrong="dz = da",
)
two_layer_net.slip(
    "first_bias_never_learns",
    "One of your gradients is all zeros, so its parameter would never move. Which one, and where does it come from?",
    right='"b1": db1',
    wrong='"b1": np.zeros_like(db1)',
)
two_layer_net.slip(
    "penalty_on_the_last_layer_only",
    "Your loss counts the weights of one layer. What does the sum in the text run over?",
    right='((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())',
    wrong='(p["W2"] ** 2).sum()',
)
two_layer_net.slip(
    "penalty_missing_in_one_gradient",
    "The loss penalizes both weight matrices, and the gradient of one of them does not show it. Which one?",
    right='"W1": dw1 + self.l2 * p["W1"]',
    wrong='"W1": dw1',
)
two_layer_net.slip(
    "penalty_without_the_half",
    "Your penalty is twice as large as it should be, while its gradient is right. What is the derivative of λ w²?",
    right="self.l2 / 2 * ",
    wrong="self.l2 * ",
)
two_layer_net.slip(
    "gradient_of_the_other_convention",
    "Your gradient is that of λ‖W‖². Which factor does the penalty have here?",
    right='return loss, {"W1": dw1 + self.l2 * p["W1"], "b1": db1, "W2": dw2 + self.l2 * p["W2"], "b2": db2}',
    wrong='twice = 2 * self.l2\n        return loss, {"W1": dw1 + twice * p["W1"], "b1": db1, "W2": dw2 + twice * p["W2"], "b2": db2}',
)
two_layer_net.slip(
    "biases_penalized_too",
    "Your penalty counts the biases. Which parameters does the formula name?",
    right='+ (p["W2"] ** 2).sum())',
    wrong='+ (p["W2"] ** 2).sum() + (p["b1"] ** 2).sum() + (p["b2"] ** 2).sum())',
)
two_layer_net.slip(
    "weights_not_squared",
    "Positive and negative weights cancel in your penalty. What must happen to each of them before they are added?",
    right='((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())',
    wrong='(p["W1"].sum() + p["W2"].sum())',
)
two_layer_net.slip(
    "penalty_divided_by_the_batch",
    "Your penalty shrinks when the batch grows. Which part of the loss is a mean over examples, and which is not?",
    right="self.l2 / 2 * ",
    wrong="self.l2 / (2 * len(x)) * ",
)
two_layer_net.slip(
    "steps_inside_loss",
    "Your network has changed after it was asked for its loss. Who takes the step?",
    right="        loss = loss + self.l2",
    wrong='        p["W2"] = p["W2"] - 0.1 * dw2\n        loss = loss + self.l2',
)
two_layer_net.slip(
    "predicts_the_smallest",
    "You name the least likely class. Which end of the row is the prediction?",
    right="logits.argmax(axis=1)",
    wrong="logits.argmin(axis=1)",
)
two_layer_net.slip(
    "best_example_of_each_class",
    "Your predictions are one for each class. Which axis holds the classes of one example?",
    right="logits.argmax(axis=1)",
    wrong="logits.argmax(axis=0)",
)
two_layer_net.slip(
    "layers_hard_wired",
    "Your network ignores the layers that it was handed. Where does it look up `affine_forward`?",
    right="        self.layers = layers",
    wrong="        self.layers = given",
    hidden_only=True,
)
two_layer_net.slip(
    "features_taken_from_x",
    "Your network fails when an example is an image. Who flattens it?",
    right='z, kept_1 = layers.affine_forward(x, p["W1"], p["b1"])',
    wrong='_, d = x.shape\n        z, kept_1 = layers.affine_forward(x, p["W1"], p["b1"])',
    hidden_only=True,
)


# ---------------------------------------------------------------- train


class Centers:
    """A tiny model: its best parameters are the mean of x and the mean of y. It notes every batch that it is shown."""

    def __init__(self, rng, d):
        self.params = {"center": rng.normal(size=d), "level": rng.normal(size=1)}
        self.seen = []

    def loss(self, x, y):
        self.seen.append(([int(number) for number in x[:, 0]], [int(label) for label in y]))
        off, up = self.params["center"] - x, self.params["level"] - y
        loss = ((off**2).sum() + (up**2).sum()) / 2 / len(x)
        return loss, {"center": off.mean(axis=0), "level": up.mean(keepdims=True)}


def run(train, rng, size=7, epochs=2, batch_size=3, lr=0.1):
    """Returns a tiny model after its training, and the history; labels and first features number the examples."""
    model = Centers(rng, 2)
    x, order = rng.normal(size=(size, 2)), np.random.default_rng(int(rng.integers(1000)))
    x[:, 0] = np.arange(size)
    history = train(model, x, np.arange(size), epochs=epochs, batch_size=batch_size, lr=lr, rng=order)
    return model, history


@train.case("a step on the whole set moves every parameter down its gradient")
def one_step(train, rng):
    model, _ = run(train, rng, epochs=1, batch_size=7, lr=0.3)
    return model.params


@train.case("an epoch shows every example once, in batches whose last may be short")
def every_example_once(train, rng):
    model, _ = run(train, rng, size=8, epochs=1)
    return sorted(number for batch, _ in model.seen for number in batch), [len(batch) for batch, _ in model.seen]


@train.case("each epoch has the order of a new rng.permutation")
def order_of_examples(train, rng):
    model, _ = run(train, rng, size=8, epochs=3, batch_size=4)
    return [batch for batch, _ in model.seen]


@train.case("each example keeps its label")
def labels_stay(train, rng):
    model, _ = run(train, rng, size=6, epochs=1, batch_size=2)
    pairs = [pair for batch, labels in model.seen for pair in zip(batch, labels, strict=True)]
    return {f"label of example {number}": label for number, label in sorted(pairs)}


@train.case("the history holds the mean loss per example of each epoch, before its steps")
def history_of_losses(train, rng):
    _, history = run(train, rng, size=7, epochs=3, batch_size=3)
    return [float(value) for value in history]


@train.case("many uneven batches end at the same parameters", hidden=True, weight=2)
def where_it_ends(train, rng):
    model, history = run(train, rng, size=11, epochs=20, batch_size=4, lr=0.2)
    return model.params, len(model.seen), [float(value) for value in history[-3:]]


@train.case("batches larger than the data set, and batches of one", hidden=True)
def unusual_batches(train, rng):
    return [run(train, rng, size=5, batch_size=size)[0].params for size in (64, 1)]


@train.case("any model can be trained, whatever its parameters are called", hidden=True)
def other_names(train, rng):
    def loss(x, y):
        return float((model.params["only one"] * x).sum()), {"only one": x.mean(axis=0)}

    model = SimpleNamespace(params={"only one": rng.normal(size=(2, 2))}, loss=loss)
    train(model, rng.normal(size=(4, 2, 2)), np.arange(4), epochs=2, batch_size=2, lr=0.5, rng=np.random.default_rng(1))
    return model.params


@train.accepts("updates in place, and an average with weights")
def weighted_average(model, x, y, *, epochs, batch_size, lr, rng):
    history = []
    for _ in range(epochs):
        shuffled = rng.permutation(len(y))
        batches = [shuffled[i : i + batch_size] for i in range(0, len(y), batch_size)]
        losses = []
        for rows in batches:
            loss, grads = model.loss(x[rows], y[rows])
            losses.append(loss)
            for name in model.params:
                model.params[name] -= lr * grads[name]
        history.append(np.average(losses, weights=[len(rows) for rows in batches]))
    return history


@train.accepts("shuffled copies of x and y, cut by a while loop")
def shuffled_copies(model, x, y, *, epochs, batch_size, lr, rng):
    means = np.zeros(epochs)
    for epoch in range(epochs):
        order = rng.permutation(x.shape[0])
        xs, ys, done = x[order], y[order], 0
        while done < len(xs):
            part = slice(done, min(done + batch_size, len(xs)))
            loss, grads = model.loss(xs[part], ys[part])
            means[epoch] += loss * (part.stop - part.start) / len(xs)
            model.params = {key: value - lr * grads[key] for key, value in model.params.items()}
            done = part.stop
    return means


train.slip(
    "uphill",
    "Your loss rises. In which direction does the gradient point?",
    right="model.params[name] - lr * gradient",
    wrong="model.params[name] + lr * gradient",
)
train.slip(
    "never_shuffled",
    "Your batches are the same in every epoch, in the order of the data. What should be drawn first?",
    right="rng.permutation(len(x)), 0.0",
    wrong="np.arange(len(x)), 0.0",
)
train.slip(
    "shuffled_once",
    "All your epochs have the same order. How often is it drawn?",
    right="""    for _ in range(epochs):
        order, total = rng.permutation(len(x)), 0.0
""",
    wrong="""    order = rng.permutation(len(x))
    for _ in range(epochs):
        total = 0.0
""",
)
train.slip(
    "order_of_its_own",
    "Your order does not depend on the generator that was handed over. Which generator do you ask?",
    right="    history = []\n",
    wrong="    history, rng = [], np.random.default_rng(0)\n",
)
train.slip(
    "last_batch_dropped",
    "Some examples are never seen. How many examples are left over after the last full batch?",
    right="range(0, len(x), batch_size)",
    wrong="range(0, len(x) - batch_size + 1, batch_size)",
)
train.slip(
    "same_batch_each_step",
    "Each step of an epoch sees the same examples. What should change from batch to batch?",
    right="order[start : start + batch_size]",
    wrong="order[:batch_size]",
)
train.slip(
    "drawn_with_replacement",
    "In one epoch some examples come twice and others not at all. Are your batches cut from one order, or drawn anew?",
    right="batch = order[start : start + batch_size]",
    wrong="batch = rng.integers(len(x), size=min(batch_size, len(x) - start))",
)
train.slip(
    "labels_left_behind",
    "The labels do not belong to the examples beside them. What must happen to y when x gets a new order?",
    right="y[batch]",
    wrong="y[start : start + batch_size]",
)
train.slip(
    "mean_of_batch_means",
    "Your mean counts each batch alike, so that an example in a short batch counts for more. How many examples does each "
    "of your losses stand for?",
    right="""            total += float(loss) * len(batch)
        history.append(total / len(x))""",
    wrong="""            total += float(loss)
        history.append(total / -(-len(x) // batch_size))""",
)
train.slip(
    "only_the_last_loss",
    "You note the loss of one batch, not of the epoch. Which one is it, and how noisy will the curve be?",
    right="history.append(total / len(x))",
    wrong="history.append(float(loss))",
)
train.slip(
    "one_loss_per_step",
    "Your history has one entry per step. How many should it have?",
    right="""            total += float(loss) * len(batch)
        history.append(total / len(x))""",
    wrong="            history.append(float(loss))",
)
train.slip(
    "sums_instead_of_means",
    "Your losses grow with the number of examples. By what is a sum divided to become a mean?",
    right="history.append(total / len(x))",
    wrong="history.append(total)",
)
train.slip(
    "averaged_twice",
    "Your steps shrink as batches grow. Is the gradient of a mean loss not averaged already?",
    right="lr * gradient",
    wrong="lr * gradient / len(batch)",
)
train.slip(
    "loss_after_the_step",
    "You measure each batch after the step that it caused. Which loss belongs in the history?",
    right="            total += float(loss) * len(batch)",
    wrong="            total += float(model.loss(x[batch], y[batch])[0]) * len(batch)\n            getattr(model, 'seen', [0]).pop()",
)


@train.misconception(
    "You shuffle the caller's arrays themselves. What else could be done to visit them in another order?"
)
def shuffles_the_data(model, x, y, *, epochs, batch_size, lr, rng):
    history = []
    for _ in range(epochs):
        order, total = rng.permutation(len(x)), 0.0
        x[:], y[:] = x[order], y[order]
        for start in range(0, len(x), batch_size):
            rows, labels = x[start : start + batch_size], y[start : start + batch_size]
            loss, grads = model.loss(rows, labels)
            model.params = {name: value - lr * grads[name] for name, value in model.params.items()}
            total += float(loss) * len(rows)
        history.append(total / len(x))
    return history


@train.misconception(
    "One of the parameters never moves. Which names does your loop go through, and who decides what they are?"
)
def one_parameter_left_out(model, x, y, *, epochs, batch_size, lr, rng):
    history = []
    for _ in range(epochs):
        order, total = rng.permutation(len(x)), 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            loss, grads = model.loss(x[rows], y[rows])
            for name in list(grads)[:-1]:
                model.params[name] = model.params[name] - lr * grads[name]
            total += float(loss) * len(rows)
        history.append(total / len(x))
    return history
