"""Answers as plain data: nothing that a student returns keeps a behavior of its own, and nothing is lost on the way."""

import collections
import enum
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.plain import (
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_NUMBERS,
    Array,
    Opaque,
    Plain,
    Raised,
    Timeout,
    from_json,
    leaves,
    numbers,
    plain,
    raised,
    to_json,
    type_name,
)

settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=60)
settings.load_profile("unit")

EXACT = {type(None), bool, int, float, complex, str, list, dict, Array, Raised, Opaque, Timeout}


class LyingArray(np.ndarray):
    """Claims to be equal to everything, another class, another size, and other numbers."""

    def __eq__(self, other: object) -> Any:
        return True

    def __array_function__(self, *_: Any) -> Any:
        return np.zeros(3)

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        return np.zeros(3)

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.zeros(3)

    def __iter__(self) -> Any:
        return iter([0.0])

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return float

    @property
    def size(self) -> Any:
        return 0

    @property
    def dtype(self) -> Any:
        return np.dtype(object)


class LyingTensor(torch.Tensor):
    """Answers every question of torch with zeros."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.zeros(3)

    def numpy(self, *_: Any, **__: Any) -> Any:
        return np.zeros(3)

    def detach(self) -> Any:
        return torch.zeros(3)


class LyingInt(int):
    def __add__(self, other: int) -> int:
        return 42

    def __index__(self) -> int:
        return 42

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__
    __int__ = __pos__ = __index__


class LyingFloat(float):
    def __float__(self) -> float:
        return 42.0

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__
    __pos__ = __float__


class LyingComplex(complex):
    def __complex__(self) -> complex:
        return 42j

    __pos__ = __complex__


class LyingText(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "42"

    def __iter__(self) -> Iterator[str]:
        return iter("42")

    def __len__(self) -> int:
        return 2

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class LyingList(list):
    def __iter__(self) -> Iterator[Any]:
        return iter([42])

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


class LyingTuple(tuple):
    def __iter__(self) -> Iterator[Any]:
        return iter([42])


class LyingDict(dict):
    def items(self) -> Any:
        return [("a", 42)]

    def __iter__(self) -> Iterator[Any]:
        return iter("a")


class LyingMeta(type):
    def __eq__(cls, other: object) -> bool:
        return True

    def __hash__(cls) -> int:
        return hash(float)

    @property
    def __name__(cls) -> Any:  # type: ignore[override]
        raise RuntimeError("no name")


class OfLyingType(metaclass=LyingMeta):
    pass


class Claims:
    """An object that says it is an answer that raised."""

    name = "ValueError"

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return Raised


class Pair(NamedTuple):
    a: int
    b: int


class Color(enum.IntEnum):
    RED = 3


def same(a: Plain, b: Plain) -> bool:
    """Returns whether two plain trees are the same to the last bit, types and signs of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Array) and isinstance(b, Array):
        named = (a.library, a.dtype_name, a.values.shape, a.values.dtype)
        if named != (b.library, b.dtype_name, b.values.shape, b.values.dtype):
            return False
        nans = np.isnan(a.values) if a.values.dtype.kind in "fc" else np.zeros(a.values.shape, bool)
        blank = a.values.dtype.type(0)
        return np.where(nans, blank, a.values).tobytes() == np.where(nans, blank, b.values).tobytes()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, complex) and isinstance(b, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def through_json(tree: Plain) -> Plain:
    return from_json(json.loads(json.dumps(to_json(tree), ensure_ascii=False)))


def exact_types(tree: Plain) -> bool:
    if isinstance(tree, list):
        return type(tree) is list and all(map(exact_types, tree))
    if isinstance(tree, dict):
        return type(tree) is dict and all(type(key) is str and exact_types(item) for key, item in tree.items())
    return type(tree) in EXACT


# ---- arrays


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int64", "uint8", "uint64", "float16", "float32", "float64", "complex64", "complex128"]
)
def test_an_array_of_numbers_is_copied_with_its_dtype_and_shape(dtype: str) -> None:
    original = np.arange(6).reshape(2, 3).astype(dtype)
    copied = plain(original)
    assert isinstance(copied, Array)
    assert type(copied.values) is np.ndarray
    assert (copied.library, copied.dtype_name, copied.values.shape) == ("numpy", dtype, (2, 3))
    assert (copied.values == original).all()


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(np.asfortranarray, id="Fortran order"),
        pytest.param(lambda x: x[:, ::2], id="every second column"),
        pytest.param(lambda x: x[::-1, ::-1], id="reversed"),
        pytest.param(lambda x: x.T, id="transposed"),
        pytest.param(lambda x: np.broadcast_to(x[:1], x.shape), id="broadcast"),
        pytest.param(lambda x: x.astype(">f8"), id="big endian"),
        pytest.param(lambda x: x.view(np.matrix), id="matrix"),
        pytest.param(lambda x: np.ma.masked_less(x, 3), id="masked"),
        pytest.param(lambda x: x[0, 0], id="scalar"),
        pytest.param(lambda x: np.array(x[0, 1]), id="0-d"),
        pytest.param(lambda x: x[:0], id="empty"),
        pytest.param(lambda x: x * (1 + 2j), id="complex"),
        pytest.param(lambda x: np.asfortranarray(x * 1j), id="complex in Fortran order"),
        pytest.param(lambda x: np.array(1j), id="complex 0-d"),
        pytest.param(lambda x: (x[:0] * 1j).T, id="complex empty"),
    ],
)
def test_memory_layout_neither_changes_values_nor_survives(layout: Callable[[np.ndarray], np.ndarray]) -> None:
    original = layout(np.arange(12.0).reshape(3, 4))
    copied = plain(original)
    assert isinstance(copied, Array)
    assert copied.values.shape == original.shape
    assert (copied.values == np.asarray(original)).all()
    assert copied.values.dtype.isnative
    assert same(through_json(copied), copied)


def test_a_copy_shares_no_memory_and_can_be_written() -> None:
    original = np.zeros(3)
    original.flags.writeable = False
    copied = plain(original)
    assert isinstance(copied, Array)
    assert not np.shares_memory(copied.values, original)
    copied.values[0] = 1
    assert original[0] == 0


def test_a_subclass_that_lies_about_everything_is_read_from_its_memory() -> None:
    copied = plain(np.arange(4.0).view(LyingArray))
    assert isinstance(copied, Array)
    assert type(copied.values) is np.ndarray
    assert copied.values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.array([object(), None]), "array of object"),
        (np.array([1, [2]], dtype=object), "array of object"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "array of datetime64[D]"),
        (np.array([b"ab"]), "array of |S2"),
        (np.zeros(2, dtype=[("a", float)]), "array of [('a', '<f8')]"),
    ],
    ids=["objects", "lists", "dates", "bytes", "records"],
)
def test_an_array_that_holds_no_numbers_is_opaque(value: np.ndarray, name: str) -> None:
    assert plain(value) == Opaque(name)


def test_an_array_of_texts_becomes_lists_of_texts() -> None:
    assert plain(np.array([["a", "bc"], ["", "d"]])) == [["a", "bc"], ["", "d"]]
    assert plain(np.str_("word")) == "word"
    assert type(plain(np.str_("word"))) is str


def test_long_doubles_count_as_doubles_because_they_differ_between_machines() -> None:
    copied = plain(np.array([1, 2], dtype=np.longdouble))
    assert isinstance(copied, Array)
    assert copied.dtype_name == "float64"
    assert same(through_json(copied), copied)


def test_a_broadcast_view_that_claims_terabytes_is_not_copied() -> None:
    huge = np.broadcast_to(np.float64(1), (MAX_NUMBERS, 1000))
    assert isinstance(plain(huge), Opaque)
    assert isinstance(plain(torch.ones(1).expand(MAX_NUMBERS + 1)), Opaque)


# ---- tensors


@pytest.mark.parametrize(
    ("tensor", "dtype", "expected"),
    [
        (torch.tensor([1.5, -2]), "float32", [1.5, -2]),
        (torch.tensor([1.5], dtype=torch.float64), "float64", [1.5]),
        (torch.tensor([1.5], dtype=torch.float16), "float16", [1.5]),
        (torch.tensor([1.5], dtype=torch.bfloat16), "bfloat16", [1.5]),
        (torch.tensor([1.5]).to(torch.float8_e4m3fn), "float8_e4m3fn", [1.5]),
        (torch.tensor([3, 4]), "int64", [3, 4]),
        (torch.tensor([True, False]), "bool", [True, False]),
        (torch.tensor(2.5), "float32", 2.5),
        (torch.tensor([1.5], requires_grad=True), "float32", [1.5]),
        (torch.tensor([1.5], requires_grad=True) * 2, "float32", [3.0]),
        (torch.nn.Parameter(torch.tensor([1.5])), "float32", [1.5]),
        (torch.tensor([1 + 2j]).conj(), "complex64", [1 - 2j]),
        (torch.tensor([1 + 2j]).conj().imag, "float32", [-2.0]),
        (torch.arange(6).reshape(2, 3).T, "int64", [[0, 3], [1, 4], [2, 5]]),
        (torch.ones(2, 1).expand(2, 2), "float32", [[1, 1], [1, 1]]),
        (torch.zeros(0, 3), "float32", []),
    ],
    ids=[
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "float8",
        "int",
        "bool",
        "0-d",
        "leaf with gradient",
        "with graph",
        "parameter",
        "conjugate view",
        "negative view",
        "transposed",
        "expanded",
        "empty",
    ],
)
def test_a_tensor_is_copied_with_its_dtype(tensor: torch.Tensor, dtype: str, expected: Any) -> None:
    copied = plain(tensor)
    assert isinstance(copied, Array)
    assert (copied.library, copied.dtype_name, copied.values.shape) == ("torch", dtype, tuple(tensor.shape))
    assert copied.values.tolist() == expected
    assert same(through_json(copied), copied)


def test_a_tensor_and_its_copy_share_no_memory() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        tensor = torch.zeros(2, dtype=dtype)
        copied = plain(tensor)
        tensor += 1
        assert isinstance(copied, Array)
        assert copied.values.tolist() == [0, 0]


def test_a_tensor_subclass_does_not_answer_for_its_data() -> None:
    copied = plain(torch.tensor([1.0, 2.0]).as_subclass(LyingTensor))
    assert isinstance(copied, Array)
    assert copied.values.tolist() == [1, 2]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(2).to_sparse(),
        torch.nn.Parameter(torch.eye(2).to_sparse()),
        torch.zeros(2, 2, device="meta"),
        torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
    ],
    ids=["sparse", "sparse parameter", "meta", "nested"],
)
def test_a_tensor_without_plain_numbers_is_opaque(tensor: torch.Tensor) -> None:
    assert isinstance(plain(tensor), Opaque)


def test_a_module_becomes_its_parameters_and_buffers() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1))
    copied = plain(net)
    assert isinstance(copied, dict)
    assert set(copied) == set(net.state_dict())
    assert isinstance(copied["1.running_mean"], Array)
    weight = copied["0.weight"]
    assert isinstance(weight, Array)
    assert weight.values.tolist() == net.state_dict()["0.weight"].numpy().tolist()


def test_the_size_of_a_tensor_is_a_list_of_ints() -> None:
    assert plain(torch.zeros(2, 3).size()) == [2, 3]
    assert plain(np.zeros((2, 3)).shape) == [2, 3]


# ---- Python objects


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (LyingInt(7), 7),
        (LyingFloat(1.5), 1.5),
        (LyingFloat(-0.0), -0.0),
        (LyingComplex(1 + 2j), 1 + 2j),
        (LyingText("seven"), "seven"),
        (LyingList([7, 8]), [7, 8]),
        (LyingTuple((7, 8)), [7, 8]),
        (LyingDict({"a": 7}), {"a": 7}),
        (Color.RED, 3),
        (True, True),
        (None, None),
        ((1, (2.0, ["x"])), [1, [2.0, ["x"]]]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Pair(1, 2), [1, 2]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({1: "a", None: "b", 0.5: "c"}, {"1": "a", "None": "b", "0.5": "c"}),
        ({np.int64(1): 2, np.str_("x"): 3}, {"1": 2, "x": 3}),
        ({("a", 1): 2, (): 3}, {"('a', 1)": 2, "()": 3}),
    ],
    ids=[
        "int",
        "float",
        "negative zero",
        "complex",
        "text",
        "list",
        "tuple",
        "dict",
        "enum",
        "bool",
        "None",
        "nested",
        "ordered dict",
        "named tuple",
        "counter",
        "keys of numbers",
        "keys of NumPy",
        "keys of tuples",
    ],
)
def test_a_python_value_is_copied_into_exact_types_whatever_it_overrides(value: Any, expected: Plain) -> None:
    copied = plain(value)
    assert exact_types(copied)
    assert same(copied, expected)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({1, 2}, "set"),
        ((i for i in range(3)), "generator"),
        (range(3), "range"),
        (b"ab", "bytes"),
        (len, "builtin_function_or_method"),
        (object(), "object"),
        (OfLyingType(), "OfLyingType"),
        (Claims(), "Claims"),
        (Raised("ValueError"), "Raised"),
        (Opaque("set"), "Opaque"),
        (Timeout(1), "Timeout"),
        (Array(np.zeros(2)), "Array"),
        ({object(): 1}, "dict with a key of type object"),
        ({b"a": 1}, "dict with a key of type bytes"),
        ({1: 1, "1": 2}, "dict with the key 1 twice, as a text and as a number"),
    ],
    ids=[
        "set",
        "generator",
        "range",
        "bytes",
        "function",
        "object",
        "lying type",
        "claims a class",
        "our Raised",
        "our Opaque",
        "our Timeout",
        "our Array",
        "key object",
        "key bytes",
        "keys that collide",
    ],
)
def test_what_is_not_data_keeps_only_the_name_of_its_type(value: Any, name: str) -> None:
    assert plain(value) == Opaque(name)


def test_a_generator_is_not_consumed_by_being_looked_at() -> None:
    numbers_left = iter([1, 2])
    plain([numbers_left])
    assert list(numbers_left) == [1, 2]


def test_the_name_of_a_type_does_not_come_from_its_metaclass() -> None:
    assert type_name(OfLyingType()) == "OfLyingType"


def test_a_list_that_holds_itself_ends_in_something_opaque() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    copied = plain(endless)
    assert exact_types(copied)
    assert max(path.count("[") for path, _ in leaves(copied)) == MAX_DEPTH + 1
    assert isinstance(list(leaves(copied))[-1][1], Opaque)


def test_a_list_that_holds_itself_twice_ends_as_well() -> None:
    bush: list[Any] = []
    bush += [bush, bush, bush]
    assert sum(1 for _ in leaves(plain(bush))) <= 3 * MAX_LEAVES


@pytest.mark.parametrize(
    "huge",
    [
        [0] * (MAX_LEAVES + 1),
        tuple(range(MAX_LEAVES + 1)),
        dict.fromkeys(range(MAX_LEAVES + 1)),
        [[0] * 6000, [0] * 6000],
    ],
    ids=["list", "tuple", "dict", "two lists"],
)
def test_what_is_too_long_to_compare_is_not_copied(huge: Any) -> None:
    found = [leaf for _, leaf in leaves(plain(huge)) if isinstance(leaf, Opaque)]
    assert len(found) == 1
    assert "too long to compare" in found[0].type_name


def test_a_list_within_the_limit_is_copied_in_full() -> None:
    assert plain([1] * (MAX_LEAVES - 1)) == [1] * (MAX_LEAVES - 1)


def test_an_int_or_text_that_python_would_not_print_is_opaque() -> None:
    assert plain(2**4095) == 2**4095
    assert isinstance(plain(10**5000), Opaque)
    assert isinstance(plain("x" * 10**6), Opaque)


def test_raised_returns_the_name_of_an_exception_or_none() -> None:
    assert raised(int, "x") == "ValueError"
    assert raised(int, "3") is None
    assert raised(int, "11", base=2) is None
    with pytest.raises(KeyboardInterrupt):
        raised(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


# ---- leaves and numbers


def test_leaves_come_in_order_with_paths_that_read_like_python() -> None:
    tree = plain({"W1": [1, 2.0], "b": {"c": None}, "empty": []})
    assert list(leaves(tree)) == [("['W1'][0]", 1), ("['W1'][1]", 2.0), ("['b']['c']", None)]


def test_numbers_are_arrays_and_nothing_else_is() -> None:
    array = np.ones(2)
    assert numbers(Array(array)) is array
    for value in (True, 3, 2.5, 1j):
        found = numbers(value)
        assert found is not None
        assert found[()] == value
    others: list[Plain] = [None, "3", [1], {"a": 1}, Opaque("set"), Raised("ValueError"), Timeout(1.0)]
    for other in others:
        assert numbers(other) is None


@pytest.mark.parametrize(
    ("number", "expected"), [(2**100, 2.0**100), (-(2**100), -(2.0**100)), (2**2000, math.inf), (-(2**2000), -math.inf)]
)
def test_ints_beyond_64_bits_become_floats_and_never_objects(number: int, expected: float) -> None:
    found = numbers(number)
    assert found is not None
    assert (found.dtype, float(found)) == (np.dtype(float), expected)


# ---- JSON

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
ARRAYS = hnp.arrays(
    st.one_of(
        hnp.floating_dtypes(sizes=(16, 32, 64), endianness="="),
        hnp.complex_number_dtypes(sizes=(64, 128), endianness="="),
        hnp.integer_dtypes(endianness="="),
        hnp.unsigned_integer_dtypes(endianness="="),
        hnp.boolean_dtypes(),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_ 1'\"", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_whatever_is_copied_comes_back_from_json_text_to_the_last_bit(value: Any) -> None:
    copied = plain(value)
    assert exact_types(copied)
    assert same(through_json(copied), copied)


EDGES = [-0.0, 0.0, math.inf, -math.inf, math.nan, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3]


@pytest.mark.parametrize("number", EDGES, ids=repr)
def test_awkward_floats_survive_json_alone_and_in_arrays(number: float) -> None:
    with np.errstate(over="ignore"):
        single = np.float32(number)
    for value in (number, complex(number, -number), single, np.array([[number]]), np.array(complex(-number, number))):
        copied = plain(value)
        assert same(through_json(copied), copied)


@pytest.mark.parametrize(
    "tree",
    [
        Array(np.array([2**64 - 1], dtype=np.uint64)),
        Array(np.array([-(2**63)])),
        Array(np.zeros((2, 0, 3), dtype=np.float32)),
        Array(np.array([1.5], dtype=np.float32), "torch", "bfloat16"),
        Array(np.array(True), "torch"),
        Raised("ValueError", "shapes (2,) and “3”"),
        Opaque("set"),
        Timeout(0.5),
        {"array": "1 2", "raised": "x", "dict": {"opaque": "y"}, "complex": [1, 2]},
        [],
        {},
        [[], {}],
        2**100,
    ],
    ids=[
        "uint64 max",
        "int64 min",
        "empty",
        "bfloat16",
        "bool tensor",
        "raised",
        "opaque",
        "timeout",
        "keys that JSON uses",
        "empty list",
        "empty dict",
        "empty in a list",
        "long int",
    ],
)
def test_every_kind_of_answer_survives_json(tree: Plain) -> None:
    assert same(through_json(tree), tree)


def test_the_line_of_an_exception_stays_out_of_the_json_because_it_may_be_of_the_reference() -> None:
    assert "secret" not in json.dumps(to_json(Raised("ValueError", "message", "in the line `secret`")))
