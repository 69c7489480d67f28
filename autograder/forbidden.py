"""What a task forbids, found in the text of a solution.

A task names functions, classes and modules by their dotted names. `in_source` reads the cells of a notebook and runs
nothing, so that a program outside of the student's can trust it. It follows aliases, `getattr` with a constant name,
and the like; what the text does not tell is noticed while it runs, see `watching`.
"""

import ast
import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from autograder import source
from autograder.errors import CourseError

LINE = 200  # characters of a student's line that are kept
TORCH = ("torch", "torch.nn.functional", "torch.Tensor")  # a name in one of them means the same in the others
TORCH_INSIDE = ("torch.ops.aten", "torch._C._nn", "torch._C._VariableFunctions")


@dataclass(frozen=True)
class Hit:
    """A use of something forbidden: its name as the task declares it, and the student's line."""

    name: str
    line: str


Value: TypeAlias = tuple[str, str]  # what an expression may be: ("path", "torch.nn"), ("text", "conv2d"), …
Bound: TypeAlias = "tuple[ast.expr, _Scope, bool] | str | None"  # an expression (or its elements), a path, or unknown

TEXT = 200  # characters of a constant that can still be a name
MANY = 64  # values of one expression
WORK = 100_000  # steps of finding what a name needs, in a notebook written to make it long
BUILTINS = ("__import__", "getattr", "object", "vars")
RUNS = ("ex", "run_cell")  # methods of IPython's shell that run their first argument
MAGICS = ("capture", "prun", "time", "timeit")  # whose text is Python
LOCATES = ("importlib.import_module", "pkgutil.resolve_name", "pydoc.locate")
LOOKS_UP = ("__getitem__", "get", "pop", "setdefault")


def in_source(forbids: Iterable[str], sources: Iterable[str], objects: Iterable[str]) -> list[Hit]:
    """Returns where what `objects` need uses something forbidden; nothing is run.

    `sources` are the code cells that run before the objects are checked, in this order; a later definition of a name
    replaces an earlier one. Cells that are not Python are skipped. To import a forbidden module is no use of it.
    """
    names = tuple(forbids)
    if not names:
        return []
    program = _Program([part for text in sources for part in _parts(text)], objects)
    hits = (Hit(name, line) for path, line in program.mentions() for name in names if _means(path, name))
    return list(dict.fromkeys(hits))


def _means(path: str, name: str) -> bool:
    """Returns whether a dotted path leads to what is forbidden as `name`, or into it."""
    head, _, last = name.rpartition(".")
    alike = [f"{place}.{last}" for place in (*TORCH, *TORCH_INSIDE)] if head in TORCH else []
    if any(path == one or path.startswith(f"{one}.") for one in (name, *alike)):
        return True
    parts = path.split(".")
    if parts[0] == name.split(".")[0] and parts[-1] == last and any(part[0] == "_" for part in parts[1:-1]):
        return True  # what it is made of, in a private module of its package
    if len(parts) < 2 or (found := _loaded(path)) is None:
        return False
    if isinstance(found, types.ModuleType):
        return within(found.__name__, name)
    return found is _loaded(name)


def within(module: object, name: str) -> bool:
    """Returns whether `module` is the name of the module `name`, or of one inside."""
    return type(module) is str and (module == name or module.startswith(f"{name}."))


def _loaded(path: str) -> Any:
    """Returns the object at a dotted path, as far as its modules are loaded, or None."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        found = sys.modules.get(".".join(parts[:count]))
        if isinstance(found, types.ModuleType):
            for part in parts[count:]:
                if found is None:
                    break
                found = inspect.getattr_static(found, part, None)  # runs nothing, whatever the path says
            return found
    return None


class _Scope:
    """A function, class or comprehension, or the top level: the names that it binds, each to what it may be."""

    def __init__(self, kind: str, outer: "_Scope | None" = None) -> None:
        self.kind = kind
        self.outer = outer
        self.names: dict[str, list[Bound]] = {}
        self.elsewhere: dict[str, _Scope] = {}  # of the names that are declared global or nonlocal

    def bind(self, name: str, bound: Bound) -> None:
        self.elsewhere.get(name, self).names.setdefault(name, []).append(bound)

    def find(self, name: str) -> "_Scope":
        """Returns the scope that `name` is looked up in; the top level where none binds it."""
        scope = self.elsewhere.get(name, self)
        while scope.outer and name not in scope.names:
            scope = scope.outer
            while scope.outer and scope.kind == "class":  # of a class, only its own statements see its names
                scope = scope.outer
        return scope


@dataclass
class _Part:
    """One statement at top level: what it binds, reads, and mentions."""

    lines: list[str]
    root: _Scope = field(default_factory=lambda: _Scope("top"))
    mentioned: list[tuple[ast.expr, _Scope]] = field(default_factory=list)
    defines: set[str] = field(default_factory=set)
    anew: bool = False  # whether it replaces what its names were before
    now: set[str] = field(default_factory=set)  # global names that it reads when it runs
    later: set[str] = field(default_factory=set)  # and those that its functions read when they are called
    stars: list[str] = field(default_factory=list)  # modules all of whose names it imports


@functools.lru_cache(maxsize=2048)  # a notebook is checked many times
def _parts(text: str) -> tuple[_Part, ...]:
    """Returns the statements of a cell; none where it is not Python."""
    try:
        python = _python(text.replace("\r\n", "\n").replace("\r", "\n"))
        found = source.statements(python)
        lines = python.split("\n")
        return tuple(_part(statement, lines) for statement in found)
    except (CourseError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


def _python(text: str) -> str:
    """Returns a cell as Python, with its magics as calls."""
    try:
        ast.parse(text)
        return text
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        return str(TransformerManager().transform_cell(text))


def _part(statement: source.Statement, lines: list[str]) -> _Part:
    part = _Part(lines)
    reader = _Reader(part)
    node = _Unfolded().visit(statement.node)
    reader.visit(node)
    for expression, scope in part.mentioned:
        if isinstance(expression, ast.Name) and scope.find(expression.id) is part.root:
            (part.now if reader.at_once(scope) else part.later).add(expression.id)
    part.defines = set(statement.defines) | set(part.root.names)
    plain_target = isinstance(node, ast.Assign) and not any(
        isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets
    )
    defined = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)
    part.anew = defined or plain_target or (isinstance(node, ast.AnnAssign) and node.value is not None)
    return part


class _Unfolded(ast.NodeTransformer):
    """Puts the Python inside of constant texts, which `exec`, `eval` or IPython run, in the place of the call."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        text = _executed(node.value) if isinstance(node.value, ast.Call) else None
        if text is None:
            return self.generic_visit(node)
        return self._in_place(node, ast.If(ast.Constant(True), _parsed(text, "exec") or [ast.Pass()], []))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        evaluated = isinstance(node.func, ast.Name) and node.func.id == "eval" and node.args
        text = _text_run(node.args[0]) if evaluated else None
        parsed = None if text is None else _parsed(text, "eval")
        return self._in_place(node, parsed) if parsed else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        called = node.value.func if isinstance(node.value, ast.Call) else None
        name = _constant(node.slice)
        if isinstance(called, ast.Name) and called.id in ("globals", "locals") and name and name.isidentifier():
            return ast.copy_location(ast.Name(name, node.ctx), node)
        return node

    def _in_place(self, old: ast.AST, new: ast.AST) -> ast.AST:
        for node in ast.walk(new):
            ast.copy_location(node, old)
        return self.generic_visit(new) if isinstance(new, ast.If) else self.visit(new)


def _parsed(text: str, mode: str) -> Any:
    try:
        parsed: Any = ast.parse(text.strip() if mode == "eval" else text, mode=mode)
        return parsed.body
    except (SyntaxError, ValueError):
        return None


def _executed(call: ast.Call) -> str | None:
    """Returns the constant text that a statement of `exec`, or of IPython's shell, runs."""
    if isinstance(call.func, ast.Name):
        return _text_run(call.args[0]) if call.func.id == "exec" and call.args else None
    if not isinstance(call.func, ast.Attribute) or not call.args:
        return None
    method = call.func.attr
    if method in ("run_line_magic", "run_cell_magic") and _constant(call.args[0]) in MAGICS:
        return _constant(call.args[-1])
    shell = call.func.value
    ours = isinstance(shell, ast.Call) and isinstance(shell.func, ast.Name) and shell.func.id == "get_ipython"
    return _constant(call.args[0]) if ours and method in RUNS else None


def _text_run(node: ast.expr) -> str | None:
    """Returns the constant text in `node`, or in the call of `compile` that it is."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "compile" and node.args:
        return _constant(node.args[0])
    return _constant(node)


def _constant(node: ast.expr) -> str | None:
    """Returns the text that constants in `node` add up to, or None."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _constant(node.left), _constant(node.right)
        return None if left is None or right is None else left + right
    return None


class _Reader(ast.NodeVisitor):
    """Reads one statement into a `_Part`. Annotations are not read."""

    def __init__(self, part: _Part) -> None:
        self.part = part
        self.scope = part.root

    @staticmethod
    def at_once(scope: _Scope | None) -> bool:
        """Returns whether what stands in `scope` runs with the statement, and not in a call afterwards."""
        while scope:
            if scope.kind == "function":
                return False
            scope = scope.outer
        return True

    def bind(self, name: str, bound: Bound) -> None:
        self.scope.bind(name, bound)

    def bind_target(self, target: ast.AST | None, value: ast.expr | None, elements: bool = False) -> None:
        """Binds the names in a target of an assignment to `value`, or to one of its elements."""
        if isinstance(target, ast.Name):
            self.bind(target.id, (value, self.scope, elements) if value else None)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) and not elements else []
            same = len(parts) == len(target.elts)
            for i, inner in enumerate(target.elts):
                self.bind_target(inner, parts[i] if same else None)
        elif isinstance(target, ast.Starred):
            self.bind_target(target.value, None)
        elif target is not None:
            self.visit(target)

    @contextlib.contextmanager
    def inside(self, kind: str) -> Iterator[None]:
        before, self.scope = self.scope, _Scope(kind, self.scope)
        yield
        self.scope = before

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.bind(node.name, None)
        self.visit_all(node.decorator_list)
        self._function(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node.args, [node.body])

    def _function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        self.visit_all([*arguments.defaults, *arguments.kw_defaults])
        outer, names = self.scope, [*arguments.posonlyargs, *arguments.args]
        defaults: list[ast.expr | None] = [*[None] * (len(names) - len(arguments.defaults)), *arguments.defaults]
        with self.inside("function"):
            for argument, default in zip(
                [*names, *arguments.kwonlyargs], [*defaults, *arguments.kw_defaults], strict=True
            ):
                self.bind(argument.arg, (default, outer, False) if default else None)
            for rest in (arguments.vararg, arguments.kwarg):
                if rest:
                    self.bind(rest.arg, None)
            self.visit_all(body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bind(node.name, None)
        self.visit_all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)])
        with self.inside("class"):
            self.visit_all(node.body)

    def _comprehension(self, node: Any) -> None:
        with self.inside("comprehension"):
            for part in node.generators:
                self.visit(part.iter)
                self.bind_target(part.target, part.iter, elements=True)
                self.visit_all(part.ifs)
            self.visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.split(".")[0]
            self.bind(alias.asname or first, alias.name if alias.asname else first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.part.stars.append(str(node.module))
            else:
                self.bind(alias.asname or alias.name, None if node.level else f"{node.module}.{alias.name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind_target(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit_all([node.value])
        self.bind_target(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self.bind_target(node.target, None)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        scope = self.scope
        while scope.outer and scope.kind == "comprehension":
            scope = scope.outer
        scope.bind(node.target.id, (node.value, self.scope, False))

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.bind_target(node.target, node.iter, elements=True)
        self.visit_all([*node.body, *node.orelse])

    visit_AsyncFor = visit_For

    def visit_withitem(self, node: ast.withitem) -> None:
        self.visit(node.context_expr)
        self.bind_target(node.optional_vars, None)

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.elsewhere.update(dict.fromkeys(node.names, self.part.root))

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        outer = self.scope.outer or self.part.root
        self.scope.elsewhere.update({name: outer.find(name) for name in node.names})

    def visit_TypeAlias(self, node: Any) -> None:
        self.bind(node.name.id, None)  # its value is an annotation

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            if isinstance(getattr(node, "ctx", None), ast.Load | None):
                self.part.mentioned.append((node, self.scope))
        elif isinstance(name := getattr(node, "name", getattr(node, "rest", None)), str):
            self.bind(name, None)  # of an exception, or in a pattern
        super().generic_visit(node)


class _Program:
    """The statements that some objects need, and what the expressions in them may be."""

    def __init__(self, parts: list[_Part], objects: Iterable[str]) -> None:
        self._parts = parts
        self._defining: dict[str, list[int]] = {}
        for index, part in enumerate(parts):
            for name in part.defines:
                self._defining.setdefault(name, []).append(index)
        self._stars = [star for part in parts for star in part.stars]
        self._known: dict[int, frozenset[Value]] = {}  # by expression
        self._globals: dict[str, frozenset[Value]] = {}
        self._needed = [parts[index] for index in self._closure(objects)]

    def mentions(self) -> Iterator[tuple[str, str]]:
        """Yields the dotted path of everything that is mentioned, with its line."""
        for part in self._needed:
            for expression, scope in part.mentioned:
                try:
                    values = sorted(self._values(expression, scope))
                except RecursionError:
                    values = []
                line = part.lines[expression.lineno - 1].strip()[:LINE] if values else ""
                yield from ((path, line) for kind, path in values if kind == "path")

    def _closure(self, objects: Iterable[str]) -> list[int]:
        """Returns the statements that make the objects what they are in the end.

        A name stands for its last definition; what reads it as it runs gets the last one before.
        """
        end = len(self._parts)
        wanted = [(name, end) for name in objects]
        seen = set(wanted)
        chosen: dict[int, None] = {}  # what the objects are made of comes first
        while wanted:
            name, before = wanted.pop()
            for index in self._reaching(name, before):
                part = self._parts[index]
                exact = len(seen) < WORK
                fresh = set() if index in chosen else {(use, index if exact else end) for use in part.now}
                chosen[index] = None
                fresh |= {(use, place) for use in part.later for place in (end, before if exact else end)}
                wanted += fresh - seen
                seen |= fresh
        return list(chosen)

    def _reaching(self, name: str, before: int) -> Iterator[int]:
        for index in reversed(self._defining.get(name, [])):
            if index < before:
                yield index
                if self._parts[index].anew and name in self._parts[index].root.names:
                    return

    def _values(self, node: ast.expr, scope: _Scope) -> frozenset[Value]:
        """Returns what an expression may be, as far as it can be told without running anything."""
        if id(node) not in self._known:
            self._known[id(node)] = frozenset()  # for what is defined by itself
            found = getattr(self, f"_of_{type(node).__name__}", lambda *_: ())(node, scope)
            kept = sorted(value for value in set(found) if len(value[1]) <= TEXT)
            self._known[id(node)] = frozenset(kept[:MANY])
        return self._known[id(node)]

    def _paths(self, node: ast.expr, scope: _Scope) -> list[str]:
        return [text for kind, text in self._values(node, scope) if kind == "path"]

    def _texts(self, nodes: Sequence[ast.expr], place: int, scope: _Scope) -> list[str]:
        values = self._values(nodes[place], scope) if place < len(nodes) else ()
        return [text for kind, text in values if kind == "text"]

    def _of_Constant(self, node: ast.Constant, scope: _Scope) -> Iterable[Value]:
        return [("text", node.value)] if isinstance(node.value, str) else []

    def _of_BinOp(self, node: ast.BinOp, scope: _Scope) -> Iterable[Value]:
        if not isinstance(node.op, ast.Add):
            return []
        left, right = self._texts([node.left], 0, scope), self._texts([node.right], 0, scope)
        return [("text", a + b) for a in left for b in right]

    def _of_JoinedStr(self, node: ast.JoinedStr, scope: _Scope) -> Iterable[Value]:
        texts = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            texts = [a + b for a in texts for b in self._texts([inner], 0, scope)][:MANY]
        return [("text", text) for text in texts]

    def _of_IfExp(self, node: ast.IfExp, scope: _Scope) -> Iterable[Value]:
        return self._values(node.body, scope) | self._values(node.orelse, scope)

    def _of_BoolOp(self, node: ast.BoolOp, scope: _Scope) -> Iterable[Value]:
        return frozenset().union(*(self._values(value, scope) for value in node.values))

    def _of_NamedExpr(self, node: ast.NamedExpr, scope: _Scope) -> Iterable[Value]:
        return self._values(node.value, scope)

    def _of_Name(self, node: ast.Name, scope: _Scope) -> Iterable[Value]:
        home = scope.find(node.id)
        if home.outer:
            return self._bound(home.names[node.id])
        if node.id not in self._globals:
            self._globals[node.id] = frozenset()  # for what is defined by itself
            bounds = [bound for part in self._needed for bound in part.root.names.get(node.id, [])]
            known = self._bound(bounds) if node.id in self._defining else self._undefined(node.id)
            self._globals[node.id] = frozenset(sorted(known)[:MANY])
        return self._globals[node.id]

    def _bound(self, bounds: list[Bound]) -> set[Value]:
        found: set[Value] = set()
        for bound in bounds:
            if isinstance(bound, str):
                found.add(("path", bound))
            elif bound:
                found |= self._elements(*bound[:2]) if bound[2] else self._values(*bound[:2])
        return found

    def _undefined(self, name: str) -> set[Value]:
        """Returns what a name is that nothing in the text defines: a built-in, or of a module whose names were all
        imported."""
        for star in reversed(self._stars):
            module = sys.modules.get(star)
            public = getattr(module, "__all__", None) or [key for key in vars(module or type) if key[0] != "_"]
            if module is None or name in public:
                return {("path", f"{star}.{name}")}
        return {("path", name)} if name in BUILTINS else set()

    def _elements(self, node: ast.expr, scope: _Scope) -> frozenset[Value]:
        parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
        parts = [value for value in node.values if value] if isinstance(node, ast.Dict) else parts
        return frozenset().union(*(self._values(part, scope) for part in parts))

    def _of_Attribute(self, node: ast.Attribute, scope: _Scope) -> Iterable[Value]:
        return [("path", f"{path}.{node.attr}") for path in self._paths(node.value, scope)]

    def _of_Subscript(self, node: ast.Subscript, scope: _Scope) -> Iterable[Value]:
        found = set(self._elements(node.value, scope))
        for path in self._paths(node.value, scope):
            found |= set(_looked_up(path, self._texts([node.slice], 0, scope)))
        return found

    def _of_Call(self, node: ast.Call, scope: _Scope) -> Iterable[Value]:
        found: list[Value] = []
        for kind, what in self._values(node.func, scope):
            if kind == "getter":
                found += [("path", f"{path}.{what}") for path in self._argument(node, 0, scope)]
            elif kind == "path":
                found += self._of_known_call(what.removeprefix("builtins."), node, scope)
        return found

    def _argument(self, node: ast.Call, place: int, scope: _Scope) -> list[str]:
        return self._paths(node.args[place], scope) if place < len(node.args) else []

    def _of_known_call(self, function: str, node: ast.Call, scope: _Scope) -> Iterable[Value]:
        base, _, method = function.rpartition(".")
        first, second = self._texts(node.args, 0, scope), self._texts(node.args, 1, scope)
        if function in ("getattr", "object.__getattribute__"):
            return [("path", f"{path}.{text}") for path in self._argument(node, 0, scope) for text in second]
        if function in ("__import__", "importlib.__import__"):
            return [("path", path) for text in first for path in (text, text.split(".")[0])]
        if function in LOCATES:
            package = second[0] if second else ""
            return [("path", (package + text if text[:1] == "." else text).replace(":", ".")) for text in first]
        if function == "vars":
            return [("path", f"{path}.__dict__") for path in self._argument(node, 0, scope)]
        if function == "importlib.reload":
            return [("path", path) for path in self._argument(node, 0, scope)]
        if function == "operator.attrgetter":
            return [("getter", text) for text in first]
        if method in ("__getattribute__", "__getattr__"):
            return [("path", f"{base}.{text}") for text in first]
        return _looked_up(base, first) if method in LOOKS_UP else []


def _looked_up(path: str, keys: list[str]) -> list[Value]:
    """Returns what a dictionary of names, sys.modules or one of an object, holds under `keys`."""
    if path == "sys.modules":
        return [("path", key) for key in keys]
    return [("path", f"{path.removesuffix('.__dict__')}.{key}") for key in keys] if path.endswith(".__dict__") else []
