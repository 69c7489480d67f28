"""What a task forbids, noticed in the process that runs the student's code, however the call comes about.

A call counts where the student's code makes it, or where the package of the forbidden name makes it for them:
`torch.nn.Conv2d` calls `conv2d`. What other libraries do inside is their business, and so is what a case does.
Whoever takes the process over can hide a call; a text that was handed in is read outside, see `forbidden`.
"""

import contextlib
import functools
import gc
import importlib
import inspect
import linecache
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from autograder.forbidden import LINE, TORCH, within
from autograder.plain import plain

IMPORTS = vars(importlib._bootstrap)
LOADS = IMPORTS["_find_and_load"].__code__  # runs whenever a module is loaded
PACKAGES = ("site-packages", "dist-packages")
HANDED = ("apply_along_axis", "apply_over_axes", "fromfunction", "piecewise", "_vectorize_call")  # call their argument
SEEN = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType, type),
    *(types.GenericAlias, weakref.ReferenceType),  # and what is not called to compute anything
)
C_DISPATCHED = "numpy._core.multiarray"  # where functions stand that name the arguments of NumPy's functions in C


class Used(set[str]):
    """The forbidden names that were called, and the student's line of the first call, as far as it is known."""

    line: str = ""


@contextlib.contextmanager
def guard(
    forbids: Iterable[str], objects: Iterable[Any] = (), author: Callable[..., Any] | None = None
) -> Iterator[Used]:
    """Yields the set of forbidden names that are called inside the block by the student's code.

    The student's code is `objects`, and what has the same global names; what functions with the global names of
    `author`, a case, call is the author's business. Everything is put back at the end.
    """
    names = tuple(forbids)
    if not names:
        yield Used()
        return
    with _Watch(names, tuple(objects), author).watching() as used:
        yield used


def by_student(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Returns `function(*args, **kwargs)`; whatever this frame calls directly, the student's code calls."""
    for watch in _watching:
        watch.handed(function)
    return function(*args, **kwargs)


_watching: list["_Watch"] = []
keeps_frozen = False  # whoever froze the heap for good says so: to ask gc takes as long as it has objects


class _Watch:
    """Notices calls: of Python functions by their code, of functions in C by identity, of torch's through a mode of
    its own, and of other objects, ufuncs say, by one that stands in their place."""

    def __init__(self, forbids: tuple[str, ...], objects: tuple[Any, ...], author: Callable[..., Any] | None) -> None:
        self.used = Used()
        self._forbids = forbids
        self._codes: dict[int, list[tuple[types.FunctionType, str]]] = {}  # by their first line, which is quickly found
        self._dispatched: dict[str, str] = {}
        self._functions: dict[Any, str] = {}  # built-in ones
        self._methods: dict[str, list[tuple[type, str]]] = {}
        self._operations: dict[str, str] = {}  # torch's
        self._silent: dict[int, tuple[Any, str]] = {}  # callables that are not seen when they are called
        self._modules: dict[object, str] = {}  # names of modules that are looked at, and what forbids them
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        self._author = getattr(inspect.unwrap(author), "__globals__", None) if author else None
        functions = [function for thing in objects for function in _functions_of(thing)]
        self._own = {id(code) for function in functions for code in _all_code(function.__code__)}
        self._student = [f.__globals__ for f in functions if f.__globals__ is not self._author]
        self._mode: Any = None
        self._loaded = -1  # modules when `_arm` looked last
        self._thread = threading.get_ident()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Used]:
        self._around = {id(frame): frame for frame in _stack(sys._getframe(1))}
        with contextlib.ExitStack() as back:
            back.callback(self._around.clear)
            if not keeps_frozen:
                back.callback(gc.unfreeze)
            gc.freeze()  # what others left behind is not finalized in the midst of the student's function
            back.callback(self._put_back)
            self._arm()
            _watching.append(self)
            back.callback(_watching.remove, self)
            before = sys.getprofile()
            if before is None or callable(before):  # cProfile's could not be put back
                back.callback(threading.setprofile, threading.getprofile())
                back.callback(sys.setprofile, before)
                threading.setprofile(self._event)
                sys.setprofile(self._event)
            yield self.used

    def _put_back(self) -> None:
        for names, name, thing in reversed(self._replaced):
            names[name] = thing
        if self._mode:
            self._mode.close()

    # -- what to look for

    def _arm(self) -> None:
        """Looks up what is forbidden in the modules that are loaded by now."""
        if len(sys.modules) == self._loaded or any(map(_is_initializing, self._forbids)):
            return
        self._loaded = len(sys.modules)
        for name in self._forbids:
            self._look_for(name)
        self._stand_in_for_students()
        torch = any(within(name, "torch") for name in self._forbids) and "torch.overrides" in sys.modules
        if torch and not self._mode and threading.get_ident() == self._thread:
            self._mode = _torch_mode(self._operation)

    def _look_for(self, name: str) -> None:
        thing = _reached(name)
        if isinstance(thing, types.ModuleType):
            self._look_for_module(name)
        elif isinstance(thing, type):
            for function in vars(thing).values():
                if isinstance(function := inspect.unwrap(getattr(function, "__func__", function)), types.FunctionType):
                    self._add_code(function, name)
        elif thing is not None:
            self._look_for_function(thing, name)

    def _look_for_function(self, thing: Any, name: str) -> None:
        place, _, last = name.rpartition(".")
        inside = getattr(thing, "_implementation", thing)  # of one of NumPy's functions
        if isinstance(inside, types.FunctionType):
            self._add_code(inside, name)
            self._add_code(inspect.unwrap(inside), name)
        elif inside is not thing:
            self._dispatched[thing.__name__] = name
        elif isinstance(thing, types.BuiltinFunctionType):
            self._functions[thing] = name
        elif isinstance(thing, types.MethodDescriptorType):
            self._methods.setdefault(thing.__name__, []).append((thing.__objclass__, name))
        else:
            self._stand_in(thing, name, vars(sys.modules[place]) if place in sys.modules else {}, last)
        if place in TORCH and isinstance(getattr(sys.modules["torch"], last, None), types.BuiltinFunctionType):
            self._operations[last] = name
        elif within(name, "torch") and isinstance(thing, types.BuiltinFunctionType | types.MethodDescriptorType):
            self._operations[thing.__name__] = name

        for below, names in _below(name, len(sys.modules)):
            if isinstance(below, types.BuiltinFunctionType):
                self._functions[below] = name
            else:
                self._stand_in(below, name, names, last)

    def _add_code(self, function: types.FunctionType, name: str) -> None:
        known = self._codes.setdefault(function.__code__.co_firstlineno, [])
        if all(other is not function for other, _ in known):
            known.append((function, name))

    def _look_for_module(self, name: str) -> None:
        functions, silent = _survey(name, len(sys.modules))
        self._functions.update(dict.fromkeys(functions, name))
        for thing, names, key in silent:
            self._stand_in(thing, name, names, key)

    def _stand_in(self, thing: Any, name: str, names: dict[str, Any], key: str) -> None:
        """Puts something that notices its calls in the place of `thing`."""
        if names.get(key) is thing:
            self._replaced.append((names, key, thing))
            names[key] = _StandIn(thing, lambda: self._note(name, sys._getframe(2)))
        self._silent[id(thing)] = (thing, name)

    def _stand_in_for_students(self) -> None:
        for names in self._student if self._silent else []:
            for key in [key for key, value in names.items() if id(value) in self._silent]:
                thing, name = self._silent[id(names[key])]
                self._stand_in(thing, name, names, key)

    # -- what is seen

    def _event(self, frame: types.FrameType, event: str, argument: Any) -> None:
        if event == "call":
            if frame.f_code.co_firstlineno in self._codes:
                for function, name in self._codes[frame.f_code.co_firstlineno]:
                    if _is_frame_of(frame, function):
                        self._note(name, frame.f_back)
            module = frame.f_globals.get("__name__")
            if self._dispatched and module == C_DISPATCHED and frame.f_code.co_name in self._dispatched:
                self._note(self._dispatched[frame.f_code.co_name], frame.f_back)
            elif name := self._of_module(module):
                self._note(name, frame.f_back)
        elif event == "c_call":
            if name := self._functions.get(argument) or self._of_module(argument.__module__):
                self._note(name, frame)
            elif self._silent and (known_silent := self._silent.get(id(argument.__self__))):
                self._note(known_silent[1], frame)  # np.add.reduce
            elif found := self._methods.get(argument.__name__):
                for kind, name in found:
                    if issubclass(type(argument.__self__), kind):
                        self._note(name, frame)
        elif event == "return" and frame.f_code is LOADS:
            self._arm()

    def _operation(self, function: Any) -> None:
        """Notices a function of torch's that was given a tensor; those in Python are seen by their code."""
        name = getattr(function, "__name__", "").split(".")[0]
        where = getattr(function, "__module__", None)
        if isinstance(function, types.FunctionType):
            return
        plain_name = name if name.startswith("__") else name.rstrip("_")
        if forbidden := self._functions.get(function) if isinstance(function, types.BuiltinFunctionType) else None:
            self._note(forbidden, sys._getframe(2))
        elif plain_name in self._operations:
            self._note(self._operations[plain_name], sys._getframe(2))
        elif forbidden := self._of_module(where):
            self._note(forbidden, sys._getframe(2))

    def handed(self, function: Any) -> None:
        """Notices that the student's object itself is something forbidden that is not seen when it is called."""
        if id(function) in self._silent:
            self._note(self._silent[id(function)][1], sys._getframe(1))

    def _of_module(self, module: object) -> str:
        """Returns the forbidden module that `module` is in, "" for none."""
        if type(module) is not str:
            return ""
        if module not in self._modules:
            self._modules[module] = next((name for name in self._forbids if within(module, name)), "")
        return self._modules[module]

    # -- whose call it is

    def _note(self, name: str, frame: types.FrameType | None) -> None:
        if name not in self.used and self._is_students(name, frame):
            if not self.used:
                self.used.line = self._line(frame)
            self.used.add(name)

    def _is_students(self, name: str, frame: types.FrameType | None) -> bool:
        """Returns whether the code that calls something is the student's: what is nearest to the call decides."""
        while frame:
            module = frame.f_globals.get("__name__")
            if self._is_own(frame) or frame.f_code is by_student.__code__:
                return True
            if frame.f_globals is self._author or module == "autograder.running" or frame.f_code is plain.__code__:
                return False
            if frame.f_globals is IMPORTS:  # what a module does while it is loaded
                return False
            if id(frame) in self._around:
                return True
            library = any(folder in frame.f_code.co_filename for folder in PACKAGES)
            if library and not (within(module, name.split(".")[0]) or frame.f_code.co_name.startswith(HANDED)):
                return False
            frame = frame.f_back
        return True

    def _is_own(self, frame: types.FrameType) -> bool:
        return id(frame.f_code) in self._own or any(frame.f_globals is names for names in self._student)

    def _line(self, frame: types.FrameType | None) -> str:
        while frame and not self._is_own(frame):
            frame = frame.f_back
        return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()[:LINE] if frame else ""


class _StandIn:
    """Is as good as the callable in whose place it stands, and says when it is called."""

    def __init__(self, thing: Any, called: Callable[[], None]) -> None:
        self._thing = thing
        self._called = called

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._called()
        return self._thing(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thing, name)


def _torch_mode(called: Callable[[Any], None]) -> Any:
    """Returns a mode of torch's, already entered, in which each function of torch's is told; `close` leaves it."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called(func)
            return func(*args, **(kwargs or {}))

        def close(self) -> None:
            while torch._C._len_torch_function_stack() > depth:  # a student's that was never left goes, too
                torch._C._pop_torch_function_stack()

    depth = torch._C._len_torch_function_stack()
    mode = Mode()
    mode.__enter__()
    return mode


def _functions_of(thing: Any) -> list[types.FunctionType]:
    """Returns the functions that a student's object consists of."""
    if isinstance(thing, type):
        parts = [getattr(part, "fget", None) or getattr(part, "__func__", part) for part in vars(thing).values()]
    else:
        parts = [thing, getattr(thing, "func", None), vars(type(thing)).get("__call__")]
    found = []
    for part in parts:
        with contextlib.suppress(Exception):  # an object of the student's may refuse to be looked at
            found += [f for f in (inspect.unwrap(part),) if isinstance(f, types.FunctionType)]
    return found


def _stack(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame:
        yield frame
        frame = frame.f_back


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _all_code(inner)


def _is_frame_of(frame: types.FrameType, function: types.FunctionType) -> bool:
    """Returns whether the frame is a call of `function`, also as its module defines it when it is loaded once more.

    Closures share their code: what they close over tells them apart.
    """
    code, wanted = frame.f_code, function.__code__
    if (code.co_filename, code.co_firstlineno, code.co_name) != (
        wanted.co_filename,
        wanted.co_firstlineno,
        wanted.co_name,
    ):
        return False
    cells = function.__closure__ or ()
    free = zip(function.__code__.co_freevars, cells, strict=True)
    return all(frame.f_locals.get(name) is _content(cell) for name, cell in free) if cells else True


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _reached(name: str) -> Any:
    """Returns what a forbidden name stands for, as far as its modules are loaded, or None."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is not None:
            for part in parts[count:]:
                found = getattr(found, part, None)
            return _itself(found)
    return None


def _itself(thing: Any) -> Any:
    """Returns what `thing` stands in for, or `thing`."""
    return thing._thing if type(thing) is _StandIn else thing


@functools.lru_cache(maxsize=32)  # the same as long as no module is added
def _survey(name: str, modules: int) -> tuple[list[Any], list[tuple[Any, dict[str, Any], str]]]:
    """Returns the functions in C of a forbidden module, and what is called unseen, with the place where it stands."""
    functions: list[Any] = []
    silent: list[tuple[Any, dict[str, Any], str]] = []
    if name == "torch":  # whose functions know where they belong
        return functions, silent
    for path, module in list(sys.modules.items()):
        if within(path, name) and "._" not in path and isinstance(module, types.ModuleType):
            public = {key: _itself(thing) for key, thing in vars(module).items() if key[0] != "_"}
            found = [thing for thing in public.values() if isinstance(thing, types.BuiltinFunctionType)]
            functions += [thing for thing in found if within(thing.__module__, name.split(".")[0])]
            silent += [(thing, vars(module), key) for key, thing in public.items() if _is_silent(thing)]
    return functions, silent


def _is_initializing(name: str) -> bool:
    module = sys.modules.get(name.split(".")[0])
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


@functools.lru_cache(maxsize=32)
def _below(name: str, modules: int) -> list[tuple[Any, dict[str, Any]]]:
    """Returns what functions in C of the same name the package of a function keeps for itself, with their places."""
    package, last = name.split(".")[0], name.rpartition(".")[2]
    thing = _reached(name)
    found = []
    for path, module in list(sys.modules.items()):
        if package != "torch" and within(path, package) and "._" in path and isinstance(module, types.ModuleType):
            other = _itself(vars(module).get(last))
            if other is not thing and (isinstance(other, types.BuiltinFunctionType) or _is_silent(other)):
                found.append((other, vars(module)))
    return found


def _is_silent(thing: Any) -> bool:
    """Returns whether no profiler sees that `thing` is called: an object that is called in C, and is no function."""
    if hasattr(thing, "_implementation") or isinstance(thing, SEEN):
        return False
    called = next((vars(base)["__call__"] for base in type(thing).__mro__ if "__call__" in vars(base)), None)
    return isinstance(called, types.WrapperDescriptorType)
