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


class _Copier:
    def __init__(self) -> None:
        self.count = 0

    def copy(self, value: Any, depth: int) -> Plain:
        self.count += 1
        kind = type(value)  # never isinstance: an object can claim another class
        if depth > MAX_DEPTH or self.count > MAX_LEAVES:
            return Opaque(f"{kind.__name__}, nested too deeply or too long to compare")
        if value is None or kind in (bool, int, float, complex, str):
            return value
        if kind in (Array, Raised, Opaque, Timeout):
            return value
        if issubclass(kind, np.ndarray | np.generic):
            return _copy_numpy(value)
        if issubclass(kind, list | tuple):
            items = list.__iter__(value) if issubclass(kind, list) else tuple.__iter__(value)
            return [self.copy(item, depth + 1) for item in items]
        if issubclass(kind, dict):
            return self._copy_dict(value, depth)
        if issubclass(kind, bool | int):
            return int.__add__(value, 0)
        if issubclass(kind, float):
            return float.__add__(value, 0.0)
        if issubclass(kind, str):
            return "".join(str.__iter__(value))
        return self._copy_torch(value, kind, depth)

    def _copy_dict(self, value: Any, depth: int) -> Plain:
        result: dict[str, Plain] = {}
        for key, item in dict.items(value):
            name = key if type(key) is str else repr(key) if type(key) in (int, float, bool, type(None)) else None
            if name is None:
                return Opaque(f"dict with a key of type {type(key).__name__}")
            result[name] = self.copy(item, depth + 1)
        return result

    def _copy_torch(self, value: Any, kind: type, depth: int) -> Plain:
        torch = sys.modules.get("torch")  # a student who returns a tensor has imported it
        if torch is None:
            return Opaque(kind.__name__)
        if issubclass(kind, torch.Tensor):
            return _copy_tensor(torch, value)
        if issubclass(kind, torch.nn.Module):
            return self.copy(dict(torch.nn.Module.state_dict(value)), depth)
        if kind is torch.Size:
            return [int(n) for n in value]
        return Opaque(kind.__name__)


def _copy_numpy(value: Any) -> Plain:
    values = np.array(value, copy=True, subok=False)
    if values.dtype.kind == "U":
        return _to_lists(values.tolist())
    if values.dtype.kind not in NUMERIC_KINDS:
        return Opaque(f"array of {values.dtype}")
    return Array(values)


def _to_lists(value: Any) -> Plain:
    return [_to_lists(item) for item in value] if type(value) is list else value


def _copy_tensor(torch: Any, value: Any) -> Plain:
    tensor = torch.Tensor.detach(value).to("cpu")
    if tensor.is_sparse or tensor.is_quantized:
        return Opaque("sparse or quantized tensor")
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype == torch.bfloat16:
        return Array(tensor.float().numpy().copy(), "torch", name)
    return Array(np.array(tensor.resolve_conj().resolve_neg().numpy(), copy=True), "torch")


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
        return np.asarray(leaf)
    return None


def to_json(tree: Plain) -> Any:
    """Returns `tree` as JSON data, without loss: floats survive because Python prints them exactly."""
    if isinstance(tree, Array):
        values = tree.values
        flat = values.view(values.real.dtype) if values.dtype.kind == "c" else values
        text = " ".join(repr(x) for x in np.asarray(flat).ravel().tolist())
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
    read = {"b": lambda word: word == "True", "i": int, "u": int}.get(dtype.kind, float)
    flat = np.array([read(word) for word in data["array"].split()], dtype=np.zeros(0, dtype).real.dtype)
    values = flat.view(dtype) if dtype.kind == "c" else flat
    return Array(values.reshape(data["shape"]), data.get("library", "numpy"), data.get("named", ""))
