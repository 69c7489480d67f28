"""Answers as plain data: what a case returned, copied into types that cannot lie.

A student's object is never compared, printed or stored as it is: it may override `__eq__`, share memory
with an input, or be a hundred megabytes of something else. `plain` copies it into exact built-in types and
`Array`; everything else becomes `Opaque`, which equals nothing.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

MAX_DEPTH = 12  # deeper nesting is a mistake, or an attempt to exhaust the stack
MAX_LEAVES = 10_000
MAX_NUMBERS = 10_000_000  # of one array: no answer needs more, and a broadcast view can claim any number
MAX_BITS = 4096  # of one int: Python refuses to print far longer ones
MAX_TEXT = 100_000  # characters of one text
NUMERIC_KINDS = "biufc"


@dataclass(frozen=True, eq=False)
class Array:
    """A copied array and the library that it came from ("numpy" or "torch")."""

    values: np.ndarray
    library: str = "numpy"
    dtype: str = ""  # the library's own name of the dtype, such as "bfloat16", where NumPy has none

    @property
    def dtype_name(self) -> str:
        return self.dtype or str(self.values.dtype)


@dataclass(frozen=True)
class Raised:
    """An exception that left the student's code; `line` is where, in words."""

    name: str
    message: str = ""
    line: str = ""


@dataclass(frozen=True)
class Opaque:
    """Something that is not data: only its type's name is kept."""

    type_name: str


@dataclass(frozen=True)
class Timeout:
    """The case was stopped after `seconds`."""

    seconds: float


Plain: TypeAlias = (
    "None | bool | int | float | complex | str | Array | Raised | Opaque | Timeout | list[Plain] | dict[str, Plain]"
)


def raised(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str | None:
    """Returns the name of the exception that `function(*args, **kwargs)` raises, or None where it returns."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return type(error).__name__
    return None


def plain(value: Any) -> Plain:
    """Returns a deep copy of `value` in exact built-in types, arrays as Array, anything else as Opaque."""
    return _Copier().copy(value, 0)


def type_name(thing: Any) -> str:
    """Returns the name of the type of `thing`, whatever its metaclass claims."""
    return str(type.__dict__["__name__"].__get__(type(thing)))


class _Copier:
    def __init__(self) -> None:
        self.count = 0

    def copy(self, value: Any, depth: int) -> Plain:
        self.count += 1
        kind = type(value)  # never isinstance: an object can claim another class
        if depth > MAX_DEPTH or self.count > MAX_LEAVES:
            return _too_long(value)
        if value is None or kind is bool or kind is float or kind is complex:
            return value
        if issubclass(kind, np.ndarray | np.generic):
            return self._copy_numpy(value, depth)
        if issubclass(kind, list | tuple):
            items = list(list.__iter__(value) if issubclass(kind, list) else tuple.__iter__(value))
            if self.count + len(items) > MAX_LEAVES:
                return _too_long(value)
            return [self.copy(item, depth + 1) for item in items]
        if issubclass(kind, dict):
            return self._copy_dict(value, depth)
        if issubclass(kind, int):
            exact = int.__pos__(value)
            return exact if exact.bit_length() <= MAX_BITS else Opaque(f"int of {exact.bit_length()} bits")
        if issubclass(kind, float):
            return float.__pos__(value)  # keeps -0.0
        if issubclass(kind, complex):
            return complex.__pos__(value)
        if issubclass(kind, str):
            length = str.__len__(value)
            return "".join(str.__iter__(value)) if length <= MAX_TEXT else Opaque(f"str of {length} characters")
        return self._copy_torch(value, kind, depth)

    def _copy_numpy(self, value: Any, depth: int) -> Plain:
        if issubclass(type(value), np.ndarray) and np.ndarray.size.__get__(value) > MAX_NUMBERS:
            return _too_long(value)
        values = np.array(value, copy=True, subok=False)
        if values.dtype.kind == "U":
            return self.copy(values.tolist(), depth)
        if values.dtype.kind not in NUMERIC_KINDS:
            return Opaque(f"array of {values.dtype}")
        if values.dtype.itemsize > (16 if values.dtype.kind == "c" else 8):  # long double: not the same everywhere
            values = values.astype(complex if values.dtype.kind == "c" else float)
        return Array(values.astype(values.dtype.newbyteorder("="), copy=False))

    def _copy_dict(self, value: Any, depth: int) -> Plain:
        if self.count + dict.__len__(value) > MAX_LEAVES:
            return _too_long(value)
        result: dict[str, Plain] = {}
        for key, item in dict.items(value):
            exact = self.copy(key, depth + 1)
            name = exact if isinstance(exact, str) else _key(exact)
            if name is None:
                return Opaque(f"dict with a key of type {type_name(key)}")
            if name in result:
                return Opaque(f"dict with the key {name} twice, as a text and as a number")
            result[name] = self.copy(item, depth + 1)
        return result

    def _copy_torch(self, value: Any, kind: type, depth: int) -> Plain:
        torch = sys.modules.get("torch")  # a student who returns a tensor has imported it
        if torch is None:
            return Opaque(type_name(value))
        if issubclass(kind, torch.Tensor):
            with torch._C.DisableTorchFunctionSubclass():  # a subclass does not answer for its data
                return _copy_tensor(torch, value, kind)
        if issubclass(kind, torch.nn.Module):
            return self.copy(dict(torch.nn.Module.state_dict(value)), depth)
        return Opaque(type_name(value))


def _too_long(value: Any) -> Opaque:
    return Opaque(f"{type_name(value)}, nested too deeply or too long to compare")


def _key(key: Plain) -> str | None:
    """Returns the text for a key that is a number, None, or a tuple of such and of texts; None for any other."""
    if isinstance(key, Array) and key.values.ndim == 0:
        key = key.values.item()
    if isinstance(key, list):
        names = [repr(item) if isinstance(item, str) else _key(item) for item in key]
        return None if None in names else f"({', '.join(name for name in names if name is not None)})"
    return repr(key) if key is None or isinstance(key, bool | int | float) else None


def _copy_tensor(torch: Any, value: Any, kind: type) -> Plain:
    try:
        tensor = value if kind is torch.Tensor else torch.Tensor.as_subclass(value, torch.Tensor)
    except (NotImplementedError, RuntimeError):  # sparse parameters, and wrappers without memory of their own
        return Opaque(type_name(value))
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        return Opaque("sparse, quantized or otherwise unusual tensor")
    if tensor.numel() > MAX_NUMBERS:
        return _too_long(tensor)
    tensor = tensor.detach().to("cpu").resolve_conj().resolve_neg()
    name = str(tensor.dtype).removeprefix("torch.")
    if hasattr(np, name.replace("bool", "bool_")):
        return Array(np.array(tensor.numpy(), copy=True), "torch")
    if tensor.dtype.is_floating_point:  # bfloat16 and smaller
        return Array(np.array(tensor.float().numpy(), copy=True), "torch", name)
    return Opaque(f"tensor of {name}")


def leaves(tree: Plain, path: str = "") -> Iterator[tuple[str, Plain]]:
    """Yields (path, leaf) for every leaf of a plain tree, in order; a path reads like Python, "[0]['W1']"."""
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from leaves(item, f"{path}[{index}]")
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from leaves(item, f"{path}[{key!r}]")
    else:
        yield path, tree


def numbers(leaf: Plain) -> np.ndarray | None:
    """Returns the values of a numeric leaf as an array, or None where the leaf is not numeric."""
    if isinstance(leaf, Array):
        return leaf.values
    if isinstance(leaf, bool | int | float | complex):
        values = np.asarray(leaf)
        return values if values.dtype.kind != "O" else np.asarray(_as_float(leaf))  # an int of more than 64 bits
    return None


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def to_json(tree: Plain) -> Any:
    """Returns `tree` as JSON data, without loss: floats survive because Python prints them exactly."""
    if isinstance(tree, Array):
        values = tree.values
        flat = np.ascontiguousarray(values).reshape(-1)
        flat = flat.view(values.real.dtype) if values.dtype.kind == "c" else flat
        text = " ".join(repr(x) for x in flat.tolist())
        data: dict[str, Any] = {"array": text, "dtype": str(values.dtype), "shape": list(values.shape)}
        return data | ({"library": tree.library, "named": tree.dtype} if tree.library != "numpy" else {})
    if isinstance(tree, Raised):
        return {"raised": tree.name, "message": tree.message}
    if isinstance(tree, Opaque):
        return {"opaque": tree.type_name}
    if isinstance(tree, Timeout):
        return {"timeout": tree.seconds}
    if isinstance(tree, complex):
        return {"complex": [tree.real, tree.imag]}
    if isinstance(tree, list):
        return [to_json(item) for item in tree]
    if isinstance(tree, dict):
        return {"dict": {key: to_json(item) for key, item in tree.items()}}
    return tree


def from_json(data: Any) -> Plain:
    """Returns the plain tree that `to_json` wrote."""
    if isinstance(data, list):
        return [from_json(item) for item in data]
    if not isinstance(data, dict):
        return data
    if "array" in data:
        return _array_from_json(data)
    if "raised" in data:
        return Raised(data["raised"], data["message"])
    if "opaque" in data:
        return Opaque(data["opaque"])
    if "timeout" in data:
        return Timeout(data["timeout"])
    if "complex" in data:
        return complex(*data["complex"])
    return {key: from_json(item) for key, item in data["dict"].items()}


def _array_from_json(data: dict[str, Any]) -> Array:
    dtype = np.dtype(data["dtype"])
    readers: dict[str, Callable[[str], Any]] = {"b": lambda word: word == "True", "i": int, "u": int}
    read = readers.get(dtype.kind, float)
    flat = np.array([read(word) for word in data["array"].split()], dtype=np.zeros(0, dtype).real.dtype)
    values = flat.view(dtype) if dtype.kind == "c" else flat
    return Array(values.reshape(data["shape"]), data.get("library", "numpy"), data.get("named", ""))
