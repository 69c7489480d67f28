"""Messages between the grader and the code in the sandbox: plain trees in frames that can do nothing but be data.

Whoever sends may be hostile. So a frame names no type of its sender's choice, its size is known before it is read,
and what it makes its reader do grows with its length alone. The rules of a message stand in one place, in `_Writer`:
a body is accepted only where writing the tree that it holds gives the same header again. One tree therefore has
one frame, and whatever is written in another way (a key twice, a space, a number too many) is no frame.

    u64 size of the body | u32 size of the header | header | payload        (all numbers little-endian)

The header is JSON, and holds the shape of the tree alone: null, true, false, "float", "complex", "timeout",
["int", size], ["text", size], ["opaque", size], ["raised", size, size, size], ["list", node, ...],
["dict", size, node, ...], or ["array", library, dtype, the library's own name of the dtype, dimensions].
The payload holds the bytes of each node, in the same order; those of an array begin with its sides.
"""

import io
import itertools
import json
import math
import os
import re
import struct
from typing import Any

import numpy as np

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
    type_name,
)

MAX_FRAME = 64 * 2**20  # bytes of a body
MAX_LEVELS = MAX_DEPTH + 5  # an answer, the Opaque below its deepest list, and four for the message around it
MAX_NODES = (MAX_DEPTH + 2) * MAX_LEAVES  # `plain` stops at MAX_LEAVES, on each level before the end of a list
MAX_COMMAS = 6 * MAX_NODES  # a node of an array has four, one is before it, and one before its key
MAX_DIMENSIONS = 32
MAX_DIGITS = 20  # of a size in a header
CHARACTERS = b'[]",_abcdefghijklmnopqrstuvwxyz0123456789'
MAX_SECONDS = 1e9
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
LIBRARIES = ("numpy", "torch")
NAME_OF_DTYPE = re.compile("([a-z][a-z0-9_]{0,31})?")
SIZE = struct.Struct("<Q")
HEADER_SIZE = struct.Struct("<I")
DOUBLE = struct.Struct("<d")


class BadFrame(Exception):
    """What is wrong with a frame, or with a tree that is to become one, in one sentence."""


def frame(message: Plain, limit: int = MAX_FRAME) -> bytes:
    """Returns `message` as a frame. Raises BadFrame where it is no plain tree, or takes more than `limit` bytes."""
    writer = _Writer()
    header = writer.header(message)
    size = HEADER_SIZE.size + len(header) + sum(map(len, writer.payload))
    _check_size(size, limit)
    return b"".join([SIZE.pack(size), HEADER_SIZE.pack(len(header)), header, *writer.payload])


def message(body: bytes | memoryview) -> Plain:
    """Returns the plain tree that `body`, a frame without its first number, holds. Raises BadFrame, and nothing else.

    An array is a copy of its own, in native byte order.
    """
    if len(body) < HEADER_SIZE.size:
        raise BadFrame("The frame has no header.")
    (size,) = HEADER_SIZE.unpack_from(body)
    rest = memoryview(body)[HEADER_SIZE.size :]
    if size > len(rest):
        raise BadFrame(f"The header claims {size} bytes, and the frame has {len(rest)}.")
    header = bytes(rest[:size])
    reader = _Reader(rest[size:])
    tree = reader.node(_nodes(header), 0)
    if len(reader.payload):
        raise BadFrame(f"The frame has {len(reader.payload)} bytes too many.")
    if _Writer().header(tree) != header:
        raise BadFrame("The header is not written as `frame` writes it.")
    return tree


class Inbox:
    """Collects what comes through a pipe, in pieces of any size, and takes it apart into messages."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = io.BytesIO()
        self._needed = SIZE.size  # bytes without which there is nothing to read: looking sooner would be quadratic
        self._error: BadFrame | None = None

    @property
    def waiting(self) -> int:
        """How many bytes have come of a frame that has not come whole."""
        return self._buffer.tell()

    def feed(self, data: bytes) -> list[Plain]:
        """Returns the messages that are whole with `data`. Raises BadFrame for the first frame that is none.

        Messages before a bad frame are returned first, and the next call raises, so that it does not matter how the
        bytes were cut into pieces. Nothing is read after a bad frame: each further call raises as well.
        """
        found: list[Plain] = []
        if self._error is None:
            self._buffer.write(data)
            if self.waiting >= self._needed:
                self._read(found)
        if self._error is not None and not found:
            raise self._error
        return found

    def _read(self, found: list[Plain]) -> None:
        data = memoryview(self._buffer.getvalue())
        self._buffer = io.BytesIO()
        self._needed = SIZE.size
        try:
            while len(data) >= SIZE.size:
                (size,) = SIZE.unpack_from(data)
                _check_size(size, self.limit)
                end = SIZE.size + size
                if len(data) < end:
                    self._needed = end
                    break
                found.append(message(data[SIZE.size : end]))
                data = data[end:]
            self._buffer.write(data)
        except BadFrame as error:
            self._error = error


def send(fd: int, message: Plain) -> None:
    """Writes `message` to the pipe `fd` and returns when all of it is written. Raises BadFrame as `frame` does."""
    rest = memoryview(frame(message))
    while rest:
        rest = rest[os.write(fd, rest) :]


def receive(fd: int, limit: int = MAX_FRAME) -> Plain:
    """Returns the next message from the pipe `fd`, and reads no further.

    Raises EOFError where the pipe ends, between messages or within one, and BadFrame for what is no frame.
    """
    (size,) = SIZE.unpack(_read_exactly(fd, SIZE.size))
    _check_size(size, limit)
    return message(_read_exactly(fd, size))


def _read_exactly(fd: int, size: int) -> bytes:
    pieces = []
    while size:
        piece = os.read(fd, min(size, 2**20))
        if not piece:
            raise EOFError("The other end of the pipe is closed.")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BadFrame(f"The frame has {size} bytes, more than the limit of {limit}.")


class _Writer:
    """Writes a tree as the nodes of a header and the payload; what it refuses is in no frame."""

    def __init__(self) -> None:
        self.payload: list[bytes | memoryview] = []
        self.count = 0

    def header(self, tree: Plain) -> bytes:
        return json.dumps(self.node(tree, 0), separators=(",", ":")).encode("ascii")

    def node(self, tree: Any, depth: int) -> Any:
        self.count += 1
        if depth > MAX_LEVELS or self.count > MAX_NODES:
            raise BadFrame("The message is nested too deeply, or has too many parts.")
        kind = type(tree)  # never isinstance: on the side in the sandbox, an object can claim another class
        if tree is None or kind is bool:
            return tree
        if kind is int:
            return ["int", self._int(tree)]
        if kind is float:
            self._add(DOUBLE.pack(tree))
            return "float"
        if kind is complex:
            self._add(DOUBLE.pack(tree.real) + DOUBLE.pack(tree.imag))
            return "complex"
        if kind is str:
            return ["text", self._text(tree)]
        if kind is list:
            return ["list", *[self.node(item, depth + 1) for item in tree]]
        if kind is dict:
            pairs = [(self._text(key), self.node(item, depth + 1)) for key, item in tree.items()]
            return ["dict", *itertools.chain.from_iterable(pairs)]
        if kind is Array:
            return ["array", *self._array(tree)]
        if kind is Raised:
            return ["raised", self._text(tree.name), self._text(tree.message), self._text(tree.line)]
        if kind is Opaque:
            return ["opaque", self._text(tree.type_name)]
        if kind is Timeout:
            self._seconds(tree.seconds)
            return "timeout"
        raise BadFrame(f"A {type_name(tree)} is no plain data.")

    def _add(self, data: bytes | memoryview) -> int:
        self.payload.append(data)
        return len(data)

    def _int(self, number: int) -> int:
        if number.bit_length() > MAX_BITS:
            raise BadFrame(f"An int has more than {MAX_BITS} bits.")
        return self._add(number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True))

    def _text(self, text: Any) -> int:
        if type(text) is not str or len(text) > MAX_TEXT:
            raise BadFrame(f"A text is no str, or has more than {MAX_TEXT} characters.")
        try:
            return self._add(text.encode("utf-8"))
        except UnicodeEncodeError:
            raise BadFrame("A text holds half of a surrogate pair.") from None

    def _seconds(self, seconds: Any) -> None:
        if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_SECONDS:
            raise BadFrame(f"The seconds of a Timeout are no number from 0 to {MAX_SECONDS:.0f}.")
        self._add(DOUBLE.pack(seconds))

    def _array(self, array: Array) -> tuple[str, str, str, int]:
        values, library, named = array.values, array.library, array.dtype
        if type(values) is not np.ndarray or values.dtype.name not in DTYPES:
            raise BadFrame("An array has no numbers of a known dtype.")
        if type(library) is not str or library not in LIBRARIES:
            raise BadFrame("An array is of an unknown library.")
        if type(named) is not str or not NAME_OF_DTYPE.fullmatch(named):
            raise BadFrame("An array's dtype has no short plain name.")
        dtype = values.dtype.name
        _check_shape(values.shape)
        self._add(struct.pack(f"<{values.ndim}Q", *values.shape))
        self._add(np.ascontiguousarray(values, DTYPES[dtype]).reshape(-1).view(np.uint8).data)
        return library, dtype, named, values.ndim


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) > MAX_DIMENSIONS or math.prod(max(side, 1) for side in shape) > MAX_NUMBERS:
        raise BadFrame(f"An array has more than {MAX_DIMENSIONS} dimensions, or a shape of too many numbers.")


def _nodes(header: bytes) -> Any:
    """Returns the JSON of a header. What would cost much time or memory is refused before it is read."""
    if header.translate(None, CHARACTERS):
        raise BadFrame("The header holds a character that no header has.")
    if header.count(b"[") > MAX_NODES or header.count(b",") > MAX_COMMAS:
        raise BadFrame("The message has too many parts.")
    try:
        return json.loads(header, parse_int=_size, parse_float=_size)
    except (ValueError, RecursionError):
        raise BadFrame("The header is no JSON, or nested too deeply.") from None


def _size(number: str) -> int:
    if not number.isdecimal() or len(number) > MAX_DIGITS:
        raise BadFrame("The header holds a number that is no size.")
    return int(number)


class _Reader:
    """Reads the nodes of a header. It makes nothing larger than the payload; `_Writer` then checks what it made."""

    def __init__(self, payload: memoryview) -> None:
        self.payload = payload

    def node(self, node: Any, depth: int) -> Plain:
        if depth > MAX_LEVELS:
            raise BadFrame("The message is nested too deeply.")
        match node:
            case None | bool():
                return node
            case "float":
                return self._double()
            case "complex":
                return complex(self._double(), self._double())
            case "timeout":
                return Timeout(self._double())
            case ["int", size]:
                return int.from_bytes(self._take(size), "little", signed=True)
            case ["text", size]:
                return self._text(size)
            case ["opaque", size]:
                return Opaque(self._text(size))
            case ["raised", name, message, line]:
                return Raised(self._text(name), self._text(message), self._text(line))
            case ["list", *items]:
                return [self.node(item, depth + 1) for item in items]
            case ["dict", *items] if len(items) % 2 == 0:
                return {
                    self._text(key): self.node(item, depth + 1)
                    for key, item in zip(items[::2], items[1::2], strict=True)
                }
            case ["array", str(library), str(dtype), str(named), dimensions]:
                return Array(self._values(dtype, dimensions), library, named)
        raise BadFrame("The header holds a node of no known kind.")

    def _take(self, size: Any) -> memoryview:
        if type(size) is not int or size > len(self.payload):  # and never below 0: a header has no minus
            raise BadFrame("The header claims more than the payload holds.")
        taken, self.payload = self.payload[:size], self.payload[size:]
        return taken

    def _double(self) -> float:
        (number,) = DOUBLE.unpack(self._take(DOUBLE.size))
        return number

    def _text(self, size: Any) -> str:
        try:
            return str(self._take(size), "utf-8")
        except UnicodeDecodeError:
            raise BadFrame("A text is no UTF-8.") from None

    def _values(self, dtype: str, dimensions: Any) -> np.ndarray:
        if dtype not in DTYPES or type(dimensions) is not int or dimensions > MAX_DIMENSIONS:
            raise BadFrame("An array has an unknown dtype or number of dimensions.")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        _check_shape(shape)
        data = self._take(math.prod(shape) * DTYPES[dtype].itemsize)
        if dtype == "bool" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise BadFrame("A bool is neither 0 nor 1.")
        return np.ndarray(shape, DTYPES[dtype], data).astype(dtype)
