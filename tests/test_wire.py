"""What comes out of the sandbox is a plain tree or no message at all, whatever bytes were sent.

The default run takes some hundreds of examples. `FUZZ_EXAMPLES=10000` takes that many of each property instead, and
other ones each time.
"""

import dataclasses
import itertools
import json
import math
import os
import re
import struct
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.plain import (
    MAX_BITS,
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_NUMBERS,
    MAX_TEXT,
    Array,
    Opaque,
    Plain,
    Raised,
    Timeout,
    plain,
)
from autograder.wire import DTYPES, MAX_LEVELS, MAX_NODES, BadFrame, Inbox, frame, message, receive, send

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=60)
settings.register_profile(
    "fuzz", database=None, deadline=None, max_examples=FUZZ_EXAMPLES or 1, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fuzz" if FUZZ_EXAMPLES else "unit")


def bits(tree: Any) -> Any:
    """Returns `tree` as hashable data that are equal only where type, order and every bit are."""
    kind = type(tree)
    if tree is None or kind in (bool, int, str):
        return kind, tree
    if kind is float:
        return kind, struct.pack("<d", tree)
    if kind is complex:
        return kind, struct.pack("<dd", tree.real, tree.imag)
    if kind is list:
        return kind, tuple(map(bits, tree))
    if kind is dict:
        return kind, tuple((bits(key), bits(item)) for key, item in tree.items())
    if kind is Array:
        assert type(tree.values) is np.ndarray
        values = tree.values.astype(tree.values.dtype.newbyteorder("="), order="C")
        return kind, values.dtype.str, values.shape, values.tobytes(), bits(tree.library), bits(tree.dtype)
    assert kind in (Raised, Opaque, Timeout), f"{kind} is in no plain tree"
    return kind, tuple(bits(getattr(tree, field.name)) for field in dataclasses.fields(tree))


def body(tree: Plain) -> bytes:
    return frame(tree)[8:]


def forged(header: Any, payload: bytes = b"", size: int | None = None) -> bytes:
    """Returns a body with any header: as bytes, or as what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<I", len(text) if size is None else size) + text + payload


def forged_array(dtype: Any, shape: tuple[int, ...], data: bytes, library: Any = "numpy", named: Any = "") -> bytes:
    return forged(["array", library, dtype, named, len(shape)], struct.pack(f"<{len(shape)}Q", *shape) + data)


def check_invariant(data: bytes) -> None:
    """Asserts that `data` is no message, or a plain tree of exact types that `data` is the only way to write."""
    try:
        tree = message(data)
    except BadFrame:
        return
    bits(tree)
    assert body(tree) == data


def most_memory(function: Callable[[], Any]) -> int:
    """Returns how many bytes `function` takes at most at a time."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NATIVE = hnp.arrays(
    st.sampled_from(sorted(DTYPES)).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
)
LAYOUTS: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: x,
    np.asfortranarray,
    lambda x: x.T,
    lambda x: x[..., ::-1] if x.ndim else x,
    lambda x: x.astype(x.dtype.newbyteorder(">")),
]
ARRAYS = st.builds(
    lambda values, layout, library, named: Array(layout(values), library, named),
    NATIVE,
    st.sampled_from(LAYOUTS),
    st.sampled_from(["numpy", "torch"]),
    st.sampled_from(["", "bfloat16", "float8_e4m3fn"]),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**MAX_BITS) + 1, 2**MAX_BITS - 1)
    | st.floats()
    | st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])
    | st.complex_numbers()
    | TEXTS
    | ARRAYS
    | st.builds(Raised, TEXTS, TEXTS, TEXTS)
    | st.builds(Opaque, TEXTS)
    | st.builds(Timeout, st.floats(0, 1e9))
)
TREES: st.SearchStrategy[Plain] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


# ---- what goes in comes out


@given(TREES)
def test_a_tree_comes_back_to_the_last_bit(tree: Plain) -> None:
    read = message(body(tree))
    assert bits(read) == bits(tree)
    assert frame(read) == frame(tree)


@pytest.mark.parametrize(
    "tree",
    [
        *(math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1),
        struct.unpack("<d", bytes.fromhex("010000000000f07f"))[0],
        *(complex(-0.0, math.nan), complex(math.inf, -0.0)),
        *(0, -1, 127, 128, -128, -129, 255, 256, 2**63, 2**MAX_BITS - 1, 1 - 2**MAX_BITS),
        *("", "x" * MAX_TEXT, "\x00", "\U0001f600" * 9, '[",\\'),
        *([], {}, [[], {}], {"": {}}, {"float": "float", "text": ["list", 1], "int": ["int", 3]}),
        *(Raised("ValueError", "shapes", "in the line"), Opaque(""), Timeout(0.0), Timeout(1e9)),
        [0] * (MAX_LEAVES - 1),
    ],
    ids=lambda tree: re.sub("0x[0-9a-f]+", "…", repr(tree))[:30],
)
def test_the_edges_come_back(tree: Plain) -> None:
    assert bits(message(body(tree))) == bits(tree)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3), (1,) * 32], ids=str)
def test_an_array_of_each_dtype_and_any_shape_comes_back_as_a_copy_of_its_own(dtype: str, shape: tuple) -> None:
    values = np.random.default_rng(0).integers(0, 2, size=shape).astype(dtype)
    read = message(body(Array(values, "torch", "bfloat16")))
    assert isinstance(read, Array)
    assert bits(read) == bits(Array(values, "torch", "bfloat16"))
    assert read.values.dtype.isnative
    assert read.values.flags.owndata
    assert read.values.flags.writeable
    assert read.values.flags.c_contiguous


def test_the_seconds_of_a_timeout_become_a_float() -> None:
    read = message(body(Timeout(3)))
    assert bits(read) == bits(Timeout(3.0))


def deepest() -> Any:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def bushiest() -> Any:
    """Returns lists that make `plain` stop only after it has let through as many parts as it can."""
    tree: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        tree = [tree] + [0] * (MAX_LEAVES - 20)
    return tree


@pytest.mark.parametrize("make", [deepest, bushiest])
def test_the_largest_answer_that_is_made_plain_fits_with_a_message_around_it(make: Callable[[], Any]) -> None:
    tree: Plain = {"answers": [{"value": plain(make())}]}
    assert bits(message(body(tree))) == bits(tree)


def test_an_array_is_copied_once_into_a_frame_and_once_out_of_it() -> None:
    array = Array(np.zeros(10**6))
    data = memoryview(frame(array))[8:]
    assert most_memory(lambda: frame(array)) < 1.01 * array.values.nbytes
    assert most_memory(lambda: message(data)) < 1.01 * array.values.nbytes


# ---- what is no plain tree is not sent


class Text(str):
    __slots__ = ()


class Number(float):
    pass


def made(kind: Any, *fields: Any) -> Any:
    return kind(*fields)


@pytest.mark.parametrize(
    "tree",
    [
        *((1, 2), b"ab", {1}, object(), np.float64(1), np.zeros(2), Text("x"), Number(1), len, int),
        *({1: 2}, {None: 1}, {Text("x"): 1}, [[object()]]),
        *(2**MAX_BITS, -(2**MAX_BITS), "x" * (MAX_TEXT + 1), {"x" * (MAX_TEXT + 1): 1}),
        *("\ud800", ["a\udfffb"], {"\ud800": 1}, Raised("\ud800"), Opaque("\ud800")),
        *(Raised(Text("x")), made(Raised, "x", 3), made(Opaque, None), Opaque("x" * (MAX_TEXT + 1))),
        *(Timeout(math.nan), Timeout(math.inf), Timeout(-1.0), Timeout(1e10), Timeout(10**400), made(Timeout, "1")),
        *(
            made(Array, [1.0]),
            Array(np.zeros(2), "jax"),
            Array(np.zeros(2), Text("numpy")),
            made(Array, np.zeros(2), ["numpy"]),
        ),
        *(
            Array(np.zeros(2), "torch", "Evil<b>"),
            Array(np.zeros(2), "torch", "a" * 33),
            made(Array, np.zeros(2), "torch", 1),
        ),
        *(Array(np.array([None])), Array(np.array(["a"])), Array(np.zeros(2, "M8[D]")), Array(np.zeros(2, "f8,f8"))),
        *(Array(np.zeros(2).view(np.matrix)), Array(np.ma.zeros(2))),
        *(Array(np.zeros((0, 2**40))), Array(np.zeros((1,) * 33)), Array(np.broadcast_to(0.0, MAX_NUMBERS + 1))),
        *([0] * MAX_NODES, [[0] * 20_000] * 7, deepest()),
    ],
    ids=lambda tree: re.sub("0x[0-9a-f]+", "…", ascii(tree))[:40],
)
def test_what_is_not_plain_or_beyond_the_limits_is_refused_by_the_sender(tree: Any) -> None:
    with pytest.raises(BadFrame, match=r"^[A-Z].*\.$"):
        frame(tree)


def test_the_limit_of_a_frame_holds_for_its_body() -> None:
    tree = Array(np.zeros(100))
    size = len(body(tree))
    assert len(frame(tree, size)) == size + 8
    with pytest.raises(BadFrame, match=f"{size} bytes, more than the limit of {size - 1}"):
        frame(tree, size - 1)


# ---- hostile frames

ONES = np.ones(2).tobytes()
HOSTILE = {
    "empty": b"",
    "half a number": b"\x01\x00",
    "no header": forged(b""),
    "a header that ends too early": forged(b"null", size=3),
    "a header of four gigabytes": forged(b"null", size=2**32 - 1),
    "one byte too many": forged(b"null", b"\x00"),
    "a space": forged(b" null"),
    "two values": forged(b"null null"),
    "not JSON": forged(b"nul"),
    "a byte order mark": forged(b"\xef\xbb\xbfnull"),
    "UTF-16": forged("null".encode("utf-16")),
    "invalid UTF-8 in the header": forged(b'"\xff"'),
    "a zero byte": forged(b"null\x00"),
    "a number": forged(b"1"),
    "NaN": forged(b"NaN"),
    "Infinity": forged(b"-Infinity"),
    "a fraction": forged(b"1.5"),
    "a fraction of a million digits": forged(b"1." + b"1" * 10**6),
    "a number of a million digits": forged(b"1" * 10**6),
    "a size of a million digits": forged(b'["text",' + b"1" * 10**6 + b"]"),
    "an object": forged(b"{}"),
    "an object with a key twice": forged(b'{"a":null,"a":null}'),
    "a word": forged("str"),
    "a surrogate in the header": forged(b'"\\ud800"'),
    "an empty node": forged([]),
    "an unknown tag": forged(["object", 1]),
    "a tag that is no text": forged([None, 1]),
    "a tag in other letters": forged(["List"]),
    "a tag with an escape": forged(b'["l\\u0069st"]'),
    "a list in a list without a tag": forged([["list"]]),
    "an unknown type": forged(["list", ["pickle", 3]], b"abc"),
    "too few parts": forged(["raised", 1, 1], b"abc"),
    "too many parts": forged(["text", 1, 1], b"ab"),
    "a negative size": forged(["text", -1], b"abc"),
    "a bool as a size": forged(["text", True], b"a"),
    "None as a size": forged(["text", None]),
    "a list as a size": forged(["text", ["list"]]),
    "a size too large": forged(["text", 4], b"abc"),
    "a size beyond 64 bits": forged(["text", 2**65], b"abc"),
    "a size with a zero in front": forged(b'["text",01]', b"a"),
    "a size of minus zero": forged(b'["text",-0]'),
    "a size too small": forged(["text", 2], b"abc"),
    "half a float": forged("float", b"1234"),
    "half a complex": forged("complex", b"12345678"),
    "an int of no bytes": forged(["int", 0]),
    "an int with zeros in front": forged(["int", 2], b"\x01\x00"),
    "a negative int with ones in front": forged(["int", 2], b"\xff\xff"),
    "an int of too many bits": forged(["int", 513], b"\x00" * 512 + b"\x01"),
    "an int of a million bytes": forged(["int", 10**6], b"\x01" * 10**6),
    "a text of invalid UTF-8": forged(["text", 2], b"\xc3\x28"),
    "an overlong text": forged(["text", 2], b"\xc0\x80"),
    "a lone surrogate": forged(["text", 3], b"\xed\xa0\x80"),
    "a text of too many characters": forged(["text", MAX_TEXT + 1], b"x" * (MAX_TEXT + 1)),
    "a type name of too many characters": forged(["opaque", MAX_TEXT + 1], b"x" * (MAX_TEXT + 1)),
    "a timeout of NaN": forged("timeout", struct.pack("<d", math.nan)),
    "a timeout of minus one": forged("timeout", struct.pack("<d", -1)),
    "a key twice": forged(["dict", 1, None, 1, None], b"aa"),
    "a key without a value": forged(["dict", 1], b"a"),
    "a key that is no text": forged(["dict", None, None]),
    "a key that is a node": forged(["dict", ["text", 1], None], b"a"),
    "too deep": forged(b'["list",' * (MAX_LEVELS + 1) + b"null" + b"]" * (MAX_LEVELS + 1)),
    "as deep as JSON goes": forged(b'["list",' * 700 + b"null" + b"]" * 700),
    "deeper than Python goes": forged(b"[" * 100_000 + b"]" * 100_000),
    "deeper, and never closed": forged(b'["list",' * 100_000),
    "deep objects": forged(b'{"a":' * 100_000),
    "a million empty lists": forged(b'["list",' + b",".join([b'["list"]'] * 10**6) + b"]"),
    "three million numbers": forged(b"[" + b",".join([b"1000"] * 3 * 10**6) + b"]"),
    "half a million objects": forged(b"[" + b",".join([b"{}"] * 500_000) + b"]"),
    "more nodes than any message has": forged(["list", *[None] * MAX_NODES]),
    "objects": forged_array("object", (1,), b"\x00" * 8),
    "dtype |O": forged_array("|O", (1,), b"\x00" * 8),
    "dtype V8": forged_array("V8", (1,), b"\x00" * 8),
    "dtype M8": forged_array("datetime64[s]", (1,), b"\x00" * 8),
    "dtype U2": forged_array("<U2", (1,), b"\x00" * 8),
    "a dtype of several fields": forged_array([["a", "O"]], (1,), b"\x00" * 8),
    "another name of a dtype": forged_array("double", (2,), ONES),
    "a dtype of the other byte order": forged_array(">f8", (2,), ONES),
    "long double": forged_array("longdouble", (1,), ONES),
    "a dtype that is no text": forged_array(None, (2,), ONES),
    "a library that is unknown": forged_array("float64", (2,), ONES, "evil"),
    "a library that is no text": forged_array("float64", (2,), ONES, ["numpy"]),
    "a dtype's name of HTML": forged_array("float64", (2,), ONES, "torch", "<script>"),
    "a dtype's name of lines": forged_array("float64", (2,), ONES, "torch", "bfloat16\n"),
    "a dtype's name that is no text": forged_array("float64", (2,), ONES, "torch", None),
    "too few numbers": forged_array("float64", (3,), ONES),
    "too many numbers": forged_array("float64", (1,), ONES),
    "a petabyte": forged_array("float64", (2**47,), ONES),
    "a shape that overflows": forged_array("float64", (2**32, 2**32), b""),
    "a shape that overflows to its size": forged_array("float64", (2**63, 2, 2), b""),
    "a shape with a zero and more": forged_array("float64", (0, 2**62), b""),
    "a shape with more and a zero": forged_array("uint8", (2**62, 0), b""),
    "a side of minus one": forged_array("float64", (2**64 - 1,), ONES),
    "a shape of many sides and a zero": forged_array("int8", (0, *(4000,) * 3), b""),
    "too many dimensions": forged_array("float64", (1,) * 33, ONES[:8]),
    "dimensions that are not there": forged(["array", "numpy", "float64", "", 32], ONES),
    "a billion dimensions": forged(["array", "numpy", "float64", "", 10**9], ONES),
    "minus one dimension": forged(["array", "numpy", "float64", "", -1], ONES),
    "True as dimensions": forged(["array", "numpy", "float64", "", True], struct.pack("<Q", 2) + ONES),
    "a list as dimensions": forged(["array", "numpy", "float64", "", [2]], ONES),
    "a bool of two": forged_array("bool", (2,), b"\x01\x02"),
    "a bool of 255": forged_array("bool", (), b"\xff"),
    "a pickle": forged(b"\x80\x04\x95", b"."),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_frame_is_refused_with_one_sentence_and_little_memory(data: bytes) -> None:
    def refuse() -> None:
        with pytest.raises(BadFrame, match=r"^[A-Z].*\.$"):
            message(data)

    assert most_memory(refuse) < 8 * 2**20 + 4 * len(data)


COSTLY = {
    "digits": (b"1" * 10**6, "no size"),
    "digits of a fraction": (b"1e" + b"1" * 10**6, "no size"),
    "lists": (b"[" + b",".join([b"[]"] * 800_000) + b"]", "too many parts"),
    "numbers": (b"[" + b",".join([b"1000"] * 10**6) + b"]", "too many parts"),
    "objects": (b"[" + b",".join([b"{}"] * 800_000) + b"]", "a character"),
    "escapes": (b'"' + b"\\u00e9" * 10**6 + b'"', "a character"),
}


@pytest.mark.parametrize(("header", "sentence"), COSTLY.values(), ids=COSTLY)
def test_a_header_that_costs_much_to_read_is_not_read(header: bytes, sentence: str) -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # whatever the setting
    try:
        with pytest.raises(BadFrame, match=sentence):
            message(forged(header))
    finally:
        sys.set_int_max_str_digits(limit)


def test_the_forged_frames_would_be_read_without_their_fault() -> None:
    assert bits(message(forged(["text", 3], b"abc"))) == bits("abc")
    assert bits(message(forged(["dict", 1, None, 1, "float"], b"ab" + ONES[:8]))) == bits({"a": None, "b": 1.0})
    assert bits(message(forged_array("float64", (2,), ONES))) == bits(Array(np.ones(2)))
    assert bits(message(forged_array("bool", (2,), b"\x01\x00"))) == bits(Array(np.array([True, False])))
    deep = b'["list",' * MAX_LEVELS + b"null" + b"]" * MAX_LEVELS
    assert isinstance(message(forged(deep)), list)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_plain_tree_or_refused(data: bytes) -> None:
    check_invariant(data)
    check_invariant(forged(data))


WORDS = st.sampled_from(["float", "complex", "timeout", "int", "text", "opaque", "raised", "list", "dict", "array"])
NODES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20) | WORDS | st.sampled_from([*DTYPES, *HOSTILE]) | st.floats(),
    lambda inner: st.builds(lambda word, items: [word, *items], WORDS, st.lists(inner, max_size=5)) | st.lists(inner),
    max_leaves=12,
)


@given(NODES, st.binary(max_size=60))
def test_any_header_is_a_plain_tree_or_refused(header: Any, payload: bytes) -> None:
    check_invariant(forged(header, payload))


def flip(data: bytes, at: int, with_: bytes) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << (with_[0] % 8))]) + data[at + 1 :] if at < len(data) else data


def truncate(data: bytes, at: int, with_: bytes) -> bytes:
    return data[:at]


def insert(data: bytes, at: int, with_: bytes) -> bytes:
    return data[:at] + with_ + data[at:]


def splice(data: bytes, at: int, with_: bytes) -> bytes:
    return data[:at] + with_[at:]


def cut(data: bytes, at: int, with_: bytes) -> bytes:
    return data[:at] + data[at + len(with_) :]


def resize(data: bytes, at: int, with_: bytes) -> bytes:
    """Returns `data` with a change in the header, and its size corrected."""
    size = int.from_bytes(data[:4], "little")
    header = insert(data[4 : 4 + size], at, with_[:3])
    return struct.pack("<I", len(header)) + header + data[4 + size :]


@given(TREES, TREES, st.data())
def test_a_frame_that_was_changed_is_a_plain_tree_or_refused(tree: Plain, other: Plain, data: st.DataObject) -> None:
    changed = body(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        change = data.draw(st.sampled_from([flip, truncate, insert, splice, cut, resize]))
        with_ = data.draw(st.just(body(other)) | st.binary(min_size=1, max_size=9))
        changed = change(changed, data.draw(st.integers(0, len(changed))), with_)
    check_invariant(changed)


# ---- a stream of frames


def fed(inbox: Inbox, pieces: list[bytes]) -> list[Any]:
    """Returns the bits of all messages, and at the end the sentence of a bad frame where there is one."""
    found: list[Any] = []
    for piece in [*pieces, b""]:
        try:
            found += map(bits, inbox.feed(piece))
        except BadFrame as error:
            return [*found, str(error)]
    return found


BAD = st.sampled_from([b"", frame(None)[:-1] + b"x", struct.pack("<Q", 2**40) + b"xyz", struct.pack("<Q", 0)])


@given(st.lists(TREES, max_size=4), BAD, st.data())
def test_it_does_not_matter_how_a_stream_is_cut(trees: list[Plain], bad: bytes, data: st.DataObject) -> None:
    stream = b"".join(map(frame, trees)) + bad + (frame(1) if bad else b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    whole = fed(Inbox(), [stream])
    assert whole[: len(trees)] == [bits(tree) for tree in trees]
    assert len(whole) == len(trees) + bool(bad)
    assert fed(Inbox(), pieces) == whole
    assert fed(Inbox(), [stream[i : i + 1] for i in range(len(stream))]) == whole


@pytest.mark.parametrize("size", [101, 4 * 2**30, 2**64 - 1])
def test_a_header_that_claims_too_much_is_refused_before_any_of_it_has_come(size: int) -> None:
    inbox = Inbox(limit=100)
    header = struct.pack("<Q", size)
    assert inbox.feed(header[:7]) == []
    for piece in (header[7:], b"", b"more", frame(None)):
        with pytest.raises(BadFrame, match="more than the limit of 100"):
            inbox.feed(piece)
        assert inbox.waiting == 0


def test_an_inbox_says_how_much_is_waiting() -> None:
    inbox = Inbox()
    one = frame("x")
    assert inbox.waiting == 0
    assert inbox.feed(one[:3]) == []
    assert inbox.waiting == 3
    assert inbox.feed(one[3:] + one + one[:-1]) == ["x", "x"]
    assert inbox.waiting == len(one) - 1
    assert inbox.feed(one[-1:]) == ["x"]
    assert inbox.waiting == 0


def test_a_long_frame_in_pieces_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(2.0**20)
    data = frame(Array(values))
    inbox = Inbox()
    joined = []
    read = inbox._read

    def counted(found: list[Plain]) -> None:
        joined.append(inbox.waiting)
        read(found)

    monkeypatch.setattr(inbox, "_read", counted)
    found = list(itertools.chain.from_iterable(inbox.feed(data[i : i + 2**16]) for i in range(0, len(data), 2**16)))
    assert bits(found) == bits([Array(values)])
    assert joined == [2**16, len(data)]


def test_a_claim_takes_no_memory_and_neither_do_many_small_pieces() -> None:
    inbox = Inbox(limit=2**40)

    def feed() -> None:
        inbox.feed(struct.pack("<Q", 2**39))
        for _ in range(100_000):
            inbox.feed(bytes(2))

    assert most_memory(feed) < 2**20
    assert inbox.waiting == 200_008


# ---- a pipe


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def test_messages_longer_than_a_pipe_come_through_it_one_by_one(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    trees: list[Plain] = [None, Array(np.arange(300_000.0)), {"a": [1.5, "x"]}]

    def send_all() -> None:
        for tree in trees:
            send(writer, tree)

    sender = threading.Thread(target=send_all)
    sender.start()
    read = [receive(reader) for _ in trees]
    sender.join()
    assert bits(read) == bits(trees)


@pytest.mark.parametrize("sent", [b"", frame("text")[:5], frame("text")[:-1]], ids=["nothing", "half a size", "a part"])
def test_a_pipe_that_ends_is_an_end_and_no_message(pipe: tuple[int, int], sent: bytes) -> None:
    reader, writer = pipe
    os.write(writer, sent)
    os.close(writer)
    with pytest.raises(EOFError):
        receive(reader)


def test_a_claim_beyond_the_limit_is_refused_without_waiting_for_it(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, frame("text"))
    with pytest.raises(BadFrame, match="more than the limit of 3"):
        receive(reader, limit=3)


def test_nothing_is_read_beyond_the_message(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, frame(1) + b"rest")
    assert receive(reader) == 1
    assert os.read(reader, 10) == b"rest"


def test_a_message_that_cannot_be_sent_leaves_the_pipe_as_it_was(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with pytest.raises(BadFrame):
        send(writer, ["fine", object()])  # type: ignore[list-item]
    send(writer, "next")
    assert receive(reader) == "next"
