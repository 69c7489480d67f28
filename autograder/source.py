"""Python source text: what a statement defines and uses, and the part of a text that some names need."""

import ast
import symtable
from collections.abc import Iterable
from dataclasses import dataclass

from autograder.errors import CourseError

REGION = ("### BEGIN SOLUTION", "### END SOLUTION")


@dataclass(frozen=True)
class Statement:
    """One top-level statement: its text (decorators included), first line, and the global names in it.

    `defines` holds the names that it binds, and those whose objects it completes.
    """

    text: str
    line: int
    node: ast.stmt
    defines: frozenset[str]
    uses: frozenset[str]


def statements(text: str, where: str = "<text>") -> list[Statement]:
    """Returns the top-level statements of `text`. Raises CourseError naming file and line where it is not Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise CourseError(f"{where}, line {error.lineno}: {error.msg}.") from error
    except ValueError as error:
        raise CourseError(f"{where}: {error}.") from error
    lines = _lines(text)
    return [_statement(node, lines) for node in tree.body]


def closure(text: str, names: Iterable[str], where: str = "<text>") -> str:
    """Returns the statements of `text` that `names` need, directly or through others, in their order.

    Names that the text does not define (built-ins, later injections) are left alone.
    """
    return "\n".join(statement.text for statement in needed(statements(text, where), names))


def needed(all_statements: list[Statement], names: Iterable[str]) -> list[Statement]:
    """Returns those statements, in order, that define `names` or what these need in turn."""
    wanted, chosen = list(names), set()
    seen = set(wanted)
    while wanted:
        name = wanted.pop()
        for index, statement in enumerate(all_statements):
            if name in statement.defines and index not in chosen:
                chosen.add(index)
                fresh = statement.uses - seen
                seen |= fresh
                wanted.extend(fresh)
    return [all_statements[index] for index in sorted(chosen)]


def without_markers(text: str) -> str:
    """Returns `text` without the lines that mark a solution."""
    return "\n".join(line for line in _lines(text) if line.strip() not in REGION)


def solution_lines(text: str) -> list[str]:
    """Returns the stripped lines between the solution markers of `text`."""
    lines, inside = [], False
    for line in _lines(text):
        if line.strip() in REGION:
            inside = line.strip() == REGION[0]
        elif inside and line.strip():
            lines.append(line.strip())
    return lines


def undecorated(statement: Statement) -> str:
    """Returns a function's text without its decorators."""
    skip = statement.node.lineno - statement.line
    return "\n".join(_lines(statement.text)[skip:])


def functions(all_statements: list[Statement], names: Iterable[str]) -> str:
    """Returns the text of the functions called `names`, without decorators, after everything that they need."""
    wanted = set(names)
    texts: dict[int, str] = {}
    for statement in all_statements:
        if statement.defines & wanted:
            for helper in needed(all_statements, body_uses(statement)):
                texts.setdefault(helper.line, helper.text)
            texts[statement.line] = undecorated(statement)
    return "\n\n\n".join(texts[line] for line in sorted(texts))


def body_uses(statement: Statement) -> frozenset[str]:
    """Returns the global names that a function uses, apart from those of its decorators."""
    return statements(undecorated(statement))[0].uses


def _lines(text: str) -> list[str]:
    """Returns the lines as Python counts them: a form feed or U+2028 inside a string does not end one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _statement(node: ast.stmt, lines: list[str]) -> Statement:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)])
    text = "\n".join(lines[first - 1 : node.end_lineno]).rstrip()
    table = symtable.symtable(text, "<statement>", "exec")
    defines = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    return Statement(text, first, node, frozenset(defines | _modified(node)), frozenset(_uses(table)))


def _modified(node: ast.stmt) -> set[str]:
    """Returns the names of objects that a statement completes, as in `table["a"] = 1` or `names.append("a")`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    stored = [
        n for n in ast.walk(node) if isinstance(n, ast.Attribute | ast.Subscript) and isinstance(n.ctx, ast.Store)
    ]
    calls = [n.value.func for n in ast.walk(node) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    return {name for part in [*stored, *calls] if (name := _base(part))}


def _base(node: ast.expr) -> str:
    """Returns `a` for a.b, a[i] and a.b[i].c, and nothing for a name alone or what is no name."""
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) and inner is not node else ""


def _uses(table: symtable.SymbolTable) -> set[str]:
    outer = table.get_type() in ("module", "class")  # a class body reads a global name even where it binds it, x = x
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (outer or s.is_global())}
    return found.union(*(_uses(child) for child in table.get_children()))
