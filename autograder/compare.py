"""Comparing a student's answer with the reference's, and saying the first difference in words.

The order is that of a patient reader: raised → type → length or keys → shape → dtype → finite → value.

Tolerances are computed, not chosen. A leaf x with sensitivity s (how far the reference itself moves when its
random inputs are nudged by a relative amount δ, divided by δ; see `running.sensitivity`) may differ by

    K · ε · (s + |x| + 1),      ε = the machine epsilon of the coarser of the two dtypes,

that is by what K rounding errors of that precision can do in this very computation. K = 64 leaves room for sums
in another order: n terms add about √n rounding errors, and the sums of this course stay below 64² = 4096 terms.
A student who computes in float32 is held to float32; coarser types are refused, since they would buy slack.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograder.plain import Array, Opaque, Plain, Raised, Timeout, leaves, numbers

K = 64.0
SHOWN = 24  # numbers that a message prints in full
ROWS = 4  # lines of such an array: two of them, and an input, share a message
TEXT = 60  # characters of a text that a message shows
COARSE = {"bfloat16": 2.0**-7}  # the machine epsilon of types that NumPy does not have; others are coarser still


@dataclass(frozen=True)
class Tolerance:
    """An author's own bound, |got - expected| ≤ atol + rtol · |expected|, and the reason for it."""

    rtol: float
    atol: float
    because: str


@dataclass(frozen=True)
class Difference:
    """The first difference: its kind, what was expected and what came, each in words, and what stands out."""

    kind: str
    expected: str
    got: str
    remark: str = ""


def compare(
    expected: Plain, got: Plain, sensitivity: dict[str, np.ndarray] | None = None, tolerance: Tolerance | None = None
) -> Difference | None:
    """Returns the first difference between two plain answers, or None where they agree."""
    with np.errstate(all="ignore"):  # infinities and denormals are compared, not complained about
        return _Comparison(sensitivity or {}, tolerance).trees(expected, got, "")


@dataclass
class _Comparison:
    sensitivity: dict[str, np.ndarray]
    tolerance: Tolerance | None

    def trees(self, expected: Plain, got: Plain, path: str) -> Difference | None:
        difference = _stopped(expected, got)
        if difference or isinstance(got, Raised | Timeout):
            return difference
        if isinstance(expected, list) and isinstance(got, list):
            return self._lists(expected, got, path)
        if isinstance(expected, dict) and isinstance(got, dict):
            return self._dicts(expected, got, path)
        wanted, given = numbers(expected), numbers(got)
        if wanted is None or given is None:
            return _others(expected, got, path)
        return _library(expected, got, path) or self._values(wanted, given, path, expected, got)

    def _lists(self, expected: list[Plain], got: list[Plain], path: str) -> Difference | None:
        if len(expected) != len(got):
            return Difference("length", f"{len(expected)} values{_at(path)}", f"{len(got)} values")
        pairs = enumerate(zip(expected, got, strict=True))
        return next((d for i, (e, g) in pairs if (d := self.trees(e, g, f"{path}[{i}]"))), None)

    def _dicts(self, expected: dict[str, Plain], got: dict[str, Plain], path: str) -> Difference | None:
        if set(expected) != set(got):
            return Difference("keys", f"the keys {_names(expected)}{_at(path)}", f"the keys {_names(got)}")
        return next((d for k in expected if (d := self.trees(expected[k], got[k], f"{path}[{k!r}]"))), None)

    def _values(self, wanted: np.ndarray, given: np.ndarray, path: str, e: Plain, g: Plain) -> Difference | None:
        where = _at(path)
        if wanted.shape != given.shape:
            return Difference(
                "shape", f"shape {wanted.shape}{where}", f"shape {given.shape}", _shape_remark(wanted, given)
            )
        if problem := _dtype_problem(wanted, given, e, g):
            return Difference("dtype", f"{_dtype(e)}{where}", f"{_dtype(g)}", problem)
        if wanted.dtype.kind in "fc" and np.isfinite(wanted).all() and not np.isfinite(given).all():
            index = _first(~np.isfinite(given))
            return Difference("not finite", f"{_number(wanted[index])}{where}{_index(index)}", _number(given[index]))
        wrong = ~self._close(wanted, given, path, _epsilon(e, g))
        if type(e) is int and type(g) is int:
            wrong = np.asarray(e != g)  # exact, however long they are
        if not wrong.any():
            return None
        if wanted.ndim == 0:
            one, other = _pair(wanted[()], given[()])
            return Difference("value", f"{one}{where}", other, _value_remark(wanted, given))
        return Difference(
            "value",
            f"{_show(wanted, ROWS)}{where}",
            _show(given, ROWS) + _first_difference(wanted, given, _first(wrong)),
            _value_remark(wanted, given),
        )

    def _close(self, wanted: np.ndarray, given: np.ndarray, path: str, epsilon: float) -> np.ndarray:
        if wanted.dtype.kind not in "fc":
            return np.asarray(wanted == given)
        with np.errstate(all="ignore"):
            size = np.abs(wanted)
            if self.tolerance:
                allowed = self.tolerance.atol + self.tolerance.rtol * size
            else:
                moved = self.sensitivity.get(path, np.zeros(()))
                moved = moved if moved.shape in ((), wanted.shape) else np.zeros(())
                allowed = K * epsilon * (moved + size + 1)
            near = np.abs(wanted.astype(complex) - given.astype(complex)) <= allowed
            near &= np.isfinite(wanted)  # of an infinity every number is infinitely far, and infinitely far is allowed
            same = (wanted == given) | (np.isnan(wanted) & np.isnan(given.astype(complex)))
        return np.asarray(near | same)


def _stopped(expected: Plain, got: Plain) -> Difference | None:
    """Exceptions, time-outs and None come first: nothing else can be said about such an answer."""
    if isinstance(expected, Raised) or isinstance(got, Raised):
        if isinstance(expected, Raised) and isinstance(got, Raised) and expected.name == got.name:
            return None
        return Difference("raised", describe(expected), describe(got))
    if isinstance(got, Timeout):
        return None if isinstance(expected, Timeout) else Difference("timeout", "an answer", describe(got))
    return None


def _others(expected: Plain, got: Plain, path: str) -> Difference | None:
    if type(expected) is type(got) and not isinstance(expected, Opaque) and expected == got:
        return None
    if got is None:
        remark = "Does every path of the function end in `return`?"
        return Difference("none", f"{describe(expected)}{_at(path)}", "None", remark)
    if isinstance(expected, str) and isinstance(got, str):
        return _text_difference(expected, got, _at(path))
    return Difference("type", f"{describe(expected)}{_at(path)}", describe(got))


def _library(expected: Plain, got: Plain, path: str) -> Difference | None:
    """A Python number and a NumPy scalar are as good as each other; a tensor and an array are not."""

    def kind(leaf: Plain) -> str:
        if isinstance(leaf, Array):
            return "torch" if leaf.library == "torch" else ("array" if leaf.values.ndim else "number")
        return "number"

    if kind(expected) == kind(got) or {kind(expected), kind(got)} == {"array", "number"}:
        return None  # number against array is a difference of shape
    return Difference("type", f"{describe(expected)}{_at(path)}", describe(got))


def _text_difference(expected: str, got: str, where: str) -> Difference:
    unequal = (i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b)
    at = next(unequal, min(len(expected), len(got)))
    if max(len(expected), len(got)) <= TEXT:
        return Difference("text", f"{expected!r}{where}", repr(got))
    start = max(0, at - TEXT // 2)
    shown = f"{_quoted(got, start)}\nfirst difference at character {at}"
    return Difference("text", f"{_quoted(expected, start)}{where}", shown)


def _quoted(text: str, start: int = 0) -> str:
    """Returns a text in quotes, or where it is long the part that begins at `start`."""
    part = text[start : start + TEXT]
    return f"{'…' if start else ''}{part!r}{'…' if len(text) > start + TEXT else ''}"


def _dtype_problem(wanted: np.ndarray, given: np.ndarray, e: Plain, g: Plain) -> str | None:
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    if order[wanted.dtype.kind] == order[given.dtype.kind]:
        too_coarse = given.dtype.kind in "fc" and _epsilon(g) > max(_epsilon(e), 1.2e-7)
        return "That type keeps too few digits for this task." if too_coarse else None
    if wanted.ndim == 0 and {wanted.dtype.kind, given.dtype.kind} <= {"i", "u", "f"} and given == np.round(given):
        return None  # a count of 2.0, or a loss of 0
    return "Which values would this type lose or invent?"


def _epsilon(*answers: Plain) -> float:
    """Returns the machine epsilon of the coarsest floating-point leaf, that of float64 where there is none."""
    largest = float(np.finfo(np.float64).eps)
    for leaf in answers:
        values = numbers(leaf)
        if values is not None and values.dtype.kind in "fc":
            own = float(np.finfo(values.real.dtype).eps)
            named = leaf.dtype if isinstance(leaf, Array) else ""
            largest = max(largest, COARSE.get(named, 0.25) if named else own)
    return largest


def _shape_remark(wanted: np.ndarray, given: np.ndarray) -> str:
    if given.ndim >= 2 and wanted.shape == given.shape[::-1]:
        return "That is the transposed shape."
    if wanted.size == given.size:
        return "The number of values is right, their arrangement is not."
    return ""


def _value_remark(wanted: np.ndarray, given: np.ndarray) -> str:
    """Says what stands out when all values are wrong in the same way; it is measured, so it is always true."""
    if wanted.dtype.kind not in "fiu" or given.dtype.kind not in "fiu":
        return ""
    w, g = wanted.astype(float), given.astype(float)
    if not (np.isfinite(w).all() and np.isfinite(g).all()):
        return ""
    if digits := _right_digits(w, g):
        return f"What came is right to about {digits} digits." if wanted.dtype.kind == "f" else ""
    if wanted.size < 2:
        return ""
    if not g.any():
        return "All your values are 0."
    noise = 16 * max(_epsilon(Array(wanted)), _epsilon(Array(given)))

    def alike(a: np.ndarray, b: np.ndarray) -> bool:
        scale = np.maximum(np.abs(w).max(), np.abs(g).max())
        return bool((np.abs(a - b) <= 1e-5 * np.abs(b) + noise * scale).all())

    if w.ndim == 2 and w.shape[0] == w.shape[1] and alike(g, w.T):
        return "Your values are those of the transposed array."
    largest = np.unravel_index(np.abs(w).argmax(), w.shape)
    ratio = float(g[largest] / w[largest]) if w.any() else 0.0
    if ratio and abs(ratio - 1) > 1e-4 and alike(g, ratio * w):
        return f"All your values are {_number(np.float64(ratio))} times the expected ones."
    shift = float((g - w).mean())
    if np.ptp(w) > 0 and abs(shift) > 4 * noise * np.abs(w).max() and alike(g - w, np.full_like(w, shift)):
        return f"All your values are too {'large' if shift > 0 else 'small'} by {_number(np.float64(abs(shift)))}."
    return ""


def _right_digits(w: np.ndarray, g: np.ndarray) -> int:
    """Returns to how many digits every value is right, 0 where they are fewer than four."""
    if ((w == 0) != (g == 0)).any():
        return 0
    off = float(np.max(np.abs(g - w) / np.where(w == 0, 1, np.abs(w)), initial=0.0))
    return int(-np.log10(off)) if 0 < off < 1e-4 else 0


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _first_difference(wanted: np.ndarray, given: np.ndarray, index: tuple[int, ...]) -> str:
    """Returns a line that names the first difference, or nothing where both arrays are seen to begin with it."""
    if not any(index) and _shown_whole(wanted) and _shown_whole(given) and _seen_to_begin_unlike(wanted, given):
        return ""
    one, other = _pair(wanted[index], given[index])
    return f"\nfirst difference at {list(index)}: {one} expected, {other} came"


def _shown_whole(values: np.ndarray) -> bool:
    return values.size == 1 or bool(_numbers(values, ROWS))


def _seen_to_begin_unlike(wanted: np.ndarray, given: np.ndarray) -> bool:
    """Returns whether the first numbers differ as they are printed: 1.0000 and 1 do not."""
    one, other = (_number(v.flat[0]) if v.size == 1 else _entry(v)(v.flat[0]) for v in (wanted, given))
    return complex(one) != complex(other) if wanted.dtype.kind in "fc" else one != other


def _pair(one: Any, other: Any) -> tuple[str, str]:
    """Returns two numbers as text, with as many digits as it takes to tell them apart."""
    shown = ((_number(one, digits), _number(other, digits)) for digits in (5, 9, 17))
    return next((pair for pair in shown if pair[0] != pair[1]), (_number(one), _number(other)))


def _show(values: np.ndarray, rows: int = SHOWN) -> str:
    if values.size == 1:
        return _number(values.reshape(-1)[0]) + (f" in shape {values.shape}" if values.ndim else "")
    return _numbers(values, rows) or f"an array of shape {values.shape}"


def _numbers(values: np.ndarray, rows: int) -> str:
    """Returns all numbers of an array, or nothing where they are too many to be read."""
    if values.size > SHOWN:
        return ""
    entry = _entry(values)
    width = max(map(len, map(entry, values.flat)), default=0) if values.ndim > 1 else 0  # columns in line
    own: Any = dict.fromkeys(("float_kind", "complex_kind", "int_kind", "bool"), lambda x: entry(x).rjust(width))
    text = np.array2string(values, separator=", ", max_line_width=100, formatter=own)
    return text if len(text.splitlines()) <= rows else ""


def _entry(values: np.ndarray) -> Callable[[Any], str]:
    """Returns how a number of an array is printed: with four decimals where that shows all, else with four digits."""
    if values.dtype.kind not in "fc":
        return str
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    plainly = values.dtype.kind == "f" and (not size.size or (size.min() >= 1e-3 and size.max() < 1e4))
    return lambda x: f"{x + 0.0:{'.4f' if plainly else '.4g'}}"  # -0.0 + 0.0 is 0.0


def show(leaf: Plain) -> str:
    """Returns a short text for one value of an input or an answer."""
    values = numbers(leaf)
    if values is not None:
        return _show(values)
    return _quoted(leaf) if isinstance(leaf, str) else "None" if leaf is None else describe(leaf)


def size(tree: Plain) -> int:
    """Returns how many numbers a plain tree holds."""
    return sum(1 if (values := numbers(leaf)) is None else values.size for _, leaf in leaves(tree))


def _number(value: Any, digits: int = 5) -> str:
    return f"{value + 0.0:.{digits}g}" if np.asarray(value).dtype.kind in "fc" else str(value)  # -0.0 + 0.0 is 0.0


def _dtype(leaf: Plain) -> str:
    return leaf.dtype_name if isinstance(leaf, Array) else type(leaf).__name__


def _index(index: tuple[int, ...]) -> str:
    return f" at index {list(index)}" if index else ""


def _at(path: str) -> str:
    return f" in result{path}" if path else ""


def _names(keys: dict[str, Plain]) -> str:
    shown = [key if key.isprintable() and len(key) < TEXT else _quoted(key) for key in sorted(keys)[:SHOWN]]
    return ", ".join(shown) + (f", … ({len(keys)} in all)" if len(keys) > SHOWN else "") or "(none)"


def describe(value: Plain) -> str:
    """Returns what kind of thing `value` is, with its article."""
    if isinstance(value, Array):
        name = "a torch tensor" if value.library == "torch" else "a NumPy array" if value.values.ndim else "a number"
        return f"{name} of shape {value.values.shape}" if value.values.ndim or value.library == "torch" else name
    if isinstance(value, Raised):
        return f"the exception {value.name}" + (f": {value.message}" if value.message else "") + value.line
    if isinstance(value, Timeout):
        return f"nothing within {value.seconds:g} seconds"
    if isinstance(value, Opaque):
        return f"an object of type {value.type_name}"
    if isinstance(value, bool):
        return f"the bool {value}"
    if isinstance(value, int | float | complex):
        return f"a Python number ({type(value).__name__})"
    if isinstance(value, list):
        return f"a tuple or list of {len(value)}"
    if isinstance(value, dict):
        return f"a dict with the keys {_names(value)}"
    return "None" if value is None else f"the text {_quoted(value)}"
