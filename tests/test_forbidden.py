"""What a task forbids is found in the text and noticed in the run, however it is reached, and nothing else is."""

import functools
import gc
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch
import torch.nn.functional as F

from autograder import watching
from autograder.checking import examine
from autograder.diagnosis import forbidden_judgment, judge
from autograder.errors import CourseError
from autograder.forbidden import Hit, in_source
from autograder.plain import Timeout, raised
from autograder.report import Report
from autograder.running import Answer, ask, run
from autograder.solutions import Reference, oracle
from autograder.tasks import Case, Sheet, Task
from autograder.watching import guard

CONV = ("torch.nn.functional.conv2d", "torch.nn.Conv2d")
SETUP = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\nimport numpy as np\nimport sys"


def found(text: str, forbids: Iterable[str] = CONV, *before: str) -> list[str]:
    """Returns the names that the function `f` in `text` is found to use."""
    cells = [SETUP, *map(textwrap.dedent, before), textwrap.dedent(text)]
    return sorted({hit.name for hit in in_source(forbids, cells, ["f"])})


# ---- in the text of a solution

REACHED = {
    "called": "def f(x, w): return F.conv2d(x, w)",
    "after odd ends of lines": "a = 1\rb = 2\rdef f(x, w): return F.conv2d(x, w)",
    "whole path": "def f(x, w): return torch.nn.functional.conv2d(x, w)",
    "another name of the same": "def f(x, w): return torch.conv2d(x, w)",
    "of the operators": "def f(x, w): return torch.ops.aten.conv2d.default(x, w)",
    "imported inside": "def f(x, w):\n    from torch.nn.functional import conv2d as c\n    return c(x, w)",
    "module imported inside": "def f(x, w):\n    import torch.nn.functional as G\n    return G.conv2d(x, w)",
    "alias": "c = F.conv2d\ndef f(x, w): return c(x, w)",
    "alias of an alias": "T = torch\nG = T.nn.functional\nc = G.conv2d\ndef f(x, w): return c(x, w)",
    "alias inside": "def f(x, w):\n    g = torch.nn\n    h = g.functional\n    return h.conv2d(x, w)",
    "alias in a tuple": "a, b = F, np\ndef f(x, w): return a.conv2d(x, w)",
    "alias by a walrus": "def f(x, w): return (g := F).conv2d(x, w)",
    "alias in a loop": "def f(x, w):\n    for g in [F]: return g.conv2d(x, w)",
    "alias in a comprehension": "def f(x, w): return [g.conv2d(x, w) for g in (F,)]",
    "default": "def f(x, w, g=F): return g.conv2d(x, w)",
    "either of two": "def f(x, w): return (F if x else np).conv2d(x, w)",
    "in a helper": "def helper(x, w): return F.conv2d(x, w)\ndef f(x, w): return helper(x, w)",
    "in a method": "class A:\n    def go(self, x, w): return F.conv2d(x, w)\ndef f(x, w): return A().go(x, w)",
    "in an inner function": "def f(x, w):\n    def g(): return F.conv2d(x, w)\n    return g()",
    "in a lambda": "f = lambda x, w: F.conv2d(x, w)",
    "as an argument": "f = functools.partial(F.conv2d, stride=1)",
    "as a decorator": "@F.conv2d\ndef f(x): return x",
    "the object itself": "f = F.conv2d",
    "global declared inside": "def g():\n    global h\n    h = F\ng()\ndef f(x, w): return h.conv2d(x, w)",
    "getattr": "def f(x, w): return getattr(F, 'conv2d')(x, w)",
    "getattr of parts": "def f(x, w): return getattr(getattr(torch.nn, 'func' + 'tional'), 'con' + 'v2d')(x, w)",
    "getattr of a named text": "name = 'conv'\ndef f(x, w): return getattr(F, name + '2d')(x, w)",
    "getattr of a formatted text": "n = '2'\ndef f(x, w): return getattr(F, f'conv{n}d')(x, w)",
    "getattr of builtins": "import builtins\ndef f(x, w): return builtins.getattr(F, 'conv2d')(x, w)",
    "getattribute": "def f(x, w): return F.__getattribute__('conv2d')(x, w)",
    "dict": "def f(x, w): return F.__dict__['conv2d'](x, w)",
    "dict get": "def f(x, w): return F.__dict__.get('conv2d')(x, w)",
    "vars": "def f(x, w): return vars(F)['conv2d'](x, w)",
    "globals": "def f(x, w): return globals()['F'].conv2d(x, w)",
    "import_module": "import importlib as i\ndef f(x, w): return i.import_module('torch.nn.functional').conv2d(x, w)",
    "import_module relative": "from importlib import import_module as i\nf = i('.functional', 'torch.nn').conv2d",
    "__import__": "def f(x, w): return __import__('torch').nn.functional.conv2d(x, w)",
    "sys.modules": "def f(x, w): return sys.modules['torch'].conv2d(x, w)",
    "sys.modules get": "def f(x, w): return sys.modules.get('torch.nn.functional').conv2d(x, w)",
    "attrgetter": "import operator\ndef f(x, w): return operator.attrgetter('nn.functional.conv2d')(torch)(x, w)",
    "resolve_name": "import pkgutil\nf = pkgutil.resolve_name('torch.nn.functional:conv2d')",
    "eval": "def f(x, w): return eval('F.conv' + '2d')(x, w)",
    "eval of compiled": "def f(x, w): return eval(compile('F.conv2d', '', 'eval'))(x, w)",
    "exec": "exec('def f(x, w): return F.conv2d(x, w)')",
    "exec inside": "def f(x, w):\n    exec('r = F.conv2d(x, w)')",
    "exec of an alias": "exec('c = F.conv2d')\ndef f(x, w): return c(x, w)",
    "star": "from torch import *\ndef f(x, w): return conv2d(x, w)",
    "cell magic": "%%time\ndef f(x, w): return F.conv2d(x, w)",
    "line magic": "%time c = F.conv2d\ndef f(x, w): return c(x, w)",
    "beside a magic": "%matplotlib inline\n!ls\ndef f(x, w): return F.conv2d(x, w)",
    "beside await": "await nothing()\ndef f(x, w): return F.conv2d(x, w)",
    "defined under a condition": "if True:\n    def f(x, w): return F.conv2d(x, w)",
    "completed": "class A: pass\nA.go = F.conv2d\ndef f(x, w): return A.go(x, w)",
    "in a table": "table = {}\ntable['c'] = F.conv2d\ndef f(x, w): return table['c'](x, w)",
    "through another module": "def f(x, w): return nn.modules.conv.F.conv2d(x, w)",
}


@pytest.mark.parametrize("text", REACHED.values(), ids=REACHED.keys())
def test_a_forbidden_function_is_found_however_it_is_named(text: str) -> None:
    assert found(text) == [CONV[0]]


def test_a_forbidden_class_is_found_by_its_names() -> None:
    for path in ("nn.Conv2d", "nn.modules.conv.Conv2d", "nn.modules.Conv2d", "nn.Conv2d.forward"):
        assert found(f"def f(x): return {path}(x)") == [CONV[1]], path
    assert found("class f(nn.Conv2d): pass") == [CONV[1]]


HONEST = {
    "a comment": "def f(x):  # F.conv2d would do this\n    return x",
    "a docstring": "def f(x):\n    'Like F.conv2d.'\n    return x",
    "an annotation": "def f(x: torch.Tensor, c: F.conv2d = None) -> F.conv2d:\n    y: F.conv2d = x\n    return y",
    "an alias for annotations": "Conv = F.conv2d\ndef f(x: Conv) -> 'Conv': return x",
    "an own function of that name": "def conv2d(x): return x\ndef f(x): return conv2d(x)",
    "an own function after a star": "from torch import *\ndef conv2d(x): return x\ndef f(x): return conv2d(x)",
    "a method of that name": "class A:\n    def conv2d(self, x): return x\ndef f(x): return A().conv2d(x)",
    "a parameter of that name": "def f(x, F): return F.conv2d(x)",
    "a parameter called conv2d": "def f(x, conv2d): return conv2d(x)",
    "a local variable": "def f(x):\n    F = A(x)\n    return F.conv2d",
    "another library": "import scipy.signal\nfrom scipy.ndimage import convolve as conv2d\ndef f(x): return conv2d(x)",
    "another function": "def f(x): return F.conv1d(F.pad(x)) + nn.Conv1d(x)",
    "only imported": "from torch.nn.functional import conv2d\ndef f(x): return x",
    "a test of one's own": "def f(x): return x\nassert f(3) == F.conv2d(3)",
    "another task": "def g(x): return F.conv2d(x)\ndef f(x): return x",
    "an alias bound anew": "F = 96485\ndef f(x): return F.conv2d",
    "an earlier attempt": "def f(x): return F.conv2d(x)\ndef f(x): return x",
    "an earlier helper": "def g(x): return F.conv2d(x)\ndef g(x): return x\ndef f(x): return g(x)",
    "a text": "def f(x): return 'F.conv2d'",
    "odd ends of lines": "def f(x):\r    return x\r\n",
    "a key": "def f(x): return x['conv2d'].conv2d",
    "broken magic": "def f(x): return x\n%nosuch F.conv2d",
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST.keys())
def test_honest_work_is_not_accused(text: str) -> None:
    assert found(text) == []


def test_what_is_replaced_before_it_is_used_counts_and_what_is_called_at_once_is_what_it_was_then() -> None:
    assert found("def f(x): return old(x)", CONV, "def g(x): return F.conv2d(x)", "old = g", "def g(x): return x") == [
        CONV[0]
    ]
    assert found("def g(x): return x\nf = g", CONV, "def g(x): return F.conv2d(x)") == []
    assert found("def g(): return F.conv2d\nf = g()\ndef g(): return 1", CONV) == [CONV[0]]


def test_of_a_forbidden_module_the_import_is_no_use_but_everything_else_is() -> None:
    numpy_only = ("torch", "scipy")
    assert (
        found("import scipy\nimport torch as T\ndef f(x):\n    import torch.nn as n\n    return np.exp(x)", numpy_only)
        == []
    )
    assert found("def f(x): return torch.exp(x)", numpy_only) == ["torch"]
    assert found("def f(x): return nn.ReLU()(x)", numpy_only) == ["torch"]
    assert found("from scipy.special import expit\ndef f(x): return expit(x)", numpy_only) == ["scipy"]
    assert found("def f(x):\n    from scipy import special as s\n    return s.expit(x)", numpy_only) == ["scipy"]
    assert found("def f(x): return torch.pi", ("torch.nn",)) == []
    assert found("from torchlike import x\nimport torchlike\ndef f(): return x + torchlike.y", ("torch",)) == []


def test_numpys_functions_are_known_by_their_inner_names_too() -> None:
    inv = ("numpy.linalg.inv",)
    assert found("from numpy import linalg as l\ndef f(a): return l.inv(a)", inv) == ["numpy.linalg.inv"]
    assert found("def f(a): return sys.modules['numpy.linalg._linalg'].inv(a)", inv) == ["numpy.linalg.inv"]
    assert found("def f(a): return np.linalg._umath_linalg.inv(a)", inv) == ["numpy.linalg.inv"]
    assert found("def f(a): return np.linalg.solve(a, a)", inv) == []
    assert found("def f(a): return a._private.inv(a) + np.linalg._inner.solve(a)", inv) == []


def test_a_hit_tells_the_line() -> None:
    text = "def f(x, w):\n    y = x\n    return F.conv2d(y, w)  # quick\n"
    assert in_source(CONV, [SETUP, text], ["f"]) == [Hit(CONV[0], "return F.conv2d(y, w)  # quick")]


def test_what_is_not_python_is_skipped() -> None:
    cells = ["def (", "\0", "x = " + "(" * 500, "%%bash\nrm -r", "%%html\n<b>", "def f(): return F.conv2d", SETUP]
    assert [hit.name for hit in in_source(CONV, cells, ["f", "g"])] == [CONV[0]]
    assert in_source(CONV, [], ["f"]) == []
    assert in_source((), [SETUP, "f = F.conv2d"], ["f"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"a{i + 1} = a{i} + a{i}" for i in range(60)) + "\ndef f(): return getattr(F, a60)",
        "\n".join(f"def g{i}(): return [{', '.join(f'g{j}' for j in range(150))}]" for i in range(150)) + "\nf = g0",
        "\n".join(f"g{i % 40} = [{', '.join(f'g{j}' for j in range(40))}]" for i in range(3000)) + "\nf = g0",
        "f = " + "+".join(["F"] * 900),
        "f = " + "F" + ".a" * 900,
        "f = " + "[" * 90 + "]" * 90,
        "a = b\nb = a\nf = a.conv2d",
    ],
    ids=["doubling", "mesh of functions", "mesh of values", "long sum", "long path", "deep list", "circle"],
)
def test_text_written_to_take_long_does_not(text: str) -> None:
    began = time.monotonic()
    found(text)
    assert time.monotonic() - began < 10


# ---- while it runs

x, w = torch.randn(1, 1, 5, 5), torch.randn(1, 1, 3, 3)
array = np.arange(9.0).reshape(3, 3) + np.eye(3)
hidden_in_a_list = [F.conv2d]


def calls(function: Callable[..., Any], forbids: Iterable[str] = CONV, case: Callable[..., Any] | None = None) -> Any:
    """Returns what is noted when a case calls the student's `function` without arguments."""
    names: dict[str, Any] = {}
    exec("def call(f):\n    f()", names)
    answer = run(
        Case("case", "", case or names["call"], limit=20), {"f": function}, np.random.default_rng(0), tuple(forbids)
    )
    assert answer.value is None or case
    return answer.used


def aten() -> Any:
    return torch.ops.aten.conv2d(x, w)


def module() -> Any:
    return torch.nn.Conv2d(1, 1, 3)(x)


def in_thread() -> None:
    thread = threading.Thread(target=lambda: F.conv2d(x, w))
    thread.start()
    thread.join()


def late_binding() -> Any:
    import importlib

    return getattr(importlib.import_module("torch.nn." + "functional"), "2dconv"[2:] + "2d")(x, w)


def executed() -> None:
    names: dict[str, Any] = {}
    exec("import torch\ndef g(x, w): return torch.conv2d(x, w)", names)
    names["g"](x, w)


@pytest.mark.parametrize(
    "function",
    [
        lambda: F.conv2d(x, w),
        lambda: torch.conv2d(x, w),
        lambda: hidden_in_a_list[0](x, w),
        lambda: functools.partial(F.conv2d, x)(w),
        functools.partial(F.conv2d, x, w),
        lambda: list(map(F.conv2d, [x], [w])),
        lambda: torch.ops.aten.conv2d.default(x, w),
        lambda: torch._C._VariableFunctions.conv2d(x, w),
        lambda: torch.vmap(lambda one: F.conv2d(one, w))(x[None]),
        aten,
        in_thread,
        late_binding,
        executed,
    ],
)
def test_a_call_is_noted_however_it_comes_about(function: Callable[..., Any]) -> None:
    assert calls(lambda: (function(), None)[1]) == {CONV[0]}


def test_a_module_of_torch_calls_its_function_and_a_class_is_noted_by_its_methods() -> None:
    assert calls(lambda: (module(), None)[1]) == set(CONV)
    assert calls(lambda: (torch.nn.Conv1d(5, 1, 1)(x[0]), None)[1]) == set()

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 3)

        def forward(self) -> Any:
            return self.layer(x)

    names: dict[str, Any] = {}
    exec("def case(Net):\n    Net()()", names)
    answer = run(Case("case", "", names["case"]), {"Net": Net}, np.random.default_rng(0), CONV)
    assert answer.used == set(CONV)


NUMPY: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "numpy.linalg.inv": (lambda: np.linalg.inv(array), {"numpy.linalg.inv"}),
    "numpy.convolve": (lambda: functools.partial(np.convolve)([1, 2], [3]), {"numpy.convolve"}),
    "numpy.dot": (lambda: list(map(np.dot, [array], [array])), {"numpy.dot"}),
    "numpy.matmul": (lambda: np.matmul(array, array), {"numpy.matmul"}),
    "numpy.add": (lambda: np.add.reduce([1, 2]), {"numpy.add"}),
    "numpy.ndarray.sum": (lambda: array.sum(), {"numpy.ndarray.sum"}),
    "numpy.array": (lambda: np.array([1]), {"numpy.array"}),
    "scipy.special.softmax": (lambda: scipy.special.softmax(array), {"scipy.special.softmax"}),
    "scipy.special.expit": (lambda: scipy.special.expit(array), {"scipy.special.expit"}),
    "scipy": (lambda: scipy.special.expit(array), {"scipy"}),
    "scipy.signal": (lambda: scipy.special.expit(array), set()),
    "torch.matmul": (lambda: x @ x, {"torch.matmul"}),
    "torch.softmax": (lambda: x.softmax(-1), {"torch.softmax"}),
    "torch.nn.functional.relu": (lambda: x.clone().relu_(), {"torch.nn.functional.relu"}),
    "torch.nn.functional.unfold": (lambda: x.unfold(2, 3, 1), set()),
    "torch.nn.functional.max_pool2d": (lambda: F.max_pool2d(x, 2), {"torch.nn.functional.max_pool2d"}),
    "torch.nn.functional.max_pool1d": (lambda: F.max_pool2d(x, 2), set()),
    "torch.Tensor.backward": (lambda: (w * 1).requires_grad_().sum().backward(), {"torch.Tensor.backward"}),
    "torch.autograd": (lambda: (w * 1).requires_grad_().sum().backward(), {"torch.autograd"}),
    "torch.linalg.inv": (lambda: torch.linalg.inv(torch.eye(2)), {"torch.linalg.inv"}),
    "torch": (lambda: torch.zeros(1), {"torch"}),
    "torch.optim": (lambda: torch.optim.SGD([w], lr=0.1), {"torch.optim"}),
    "math": (lambda: __import__("math").exp(1), {"math"}),
    "nosuch.function": (lambda: 1, set()),
    "numpy.nosuch": (lambda: np.exp(1), set()),
}


@pytest.mark.parametrize("name", NUMPY)
def test_functions_and_modules_of_every_kind_are_noted(name: str) -> None:
    function, noted = NUMPY[name]
    assert calls(lambda: (function(), None)[1], [name]) == noted


RELOADED = """
import importlib.util
spec = importlib.util.find_spec("numpy.linalg._linalg")
fresh = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fresh)
"""


@pytest.mark.parametrize(
    "function",
    [
        lambda: np.linalg._umath_linalg.inv(array),
        lambda: np.asmatrix(array).I,
        lambda: np.linalg.matrix_power(array, -1),
        lambda: np.apply_along_axis(lambda row: np.linalg.inv(array), 0, array),
        lambda: np.vectorize(np.linalg.inv, signature="(n,n)->(n,n)")(array),
    ],
)
def test_what_the_own_package_does_for_the_student_counts(function: Callable[..., Any]) -> None:
    assert calls(lambda: (function(), None)[1], ["numpy.linalg.inv"]) == {"numpy.linalg.inv"}


def test_a_module_that_is_loaded_once_more_is_the_same() -> None:
    names: dict[str, Any] = {}
    exec(RELOADED, names)
    assert calls(lambda: (names["fresh"].inv(array), None)[1], ["numpy.linalg.inv"]) == {"numpy.linalg.inv"}


def test_another_librarys_business_is_its_own() -> None:
    line = np.arange(4.0)
    assert calls(lambda: (scipy.signal.convolve(line, line, method="direct"), None)[1], ["numpy.convolve"]) == set()
    assert calls(lambda: (scipy.signal.correlate(line, line), None)[1], ["numpy.correlate", "torch"]) == set()


def from_a_case(source: str, function: Callable[..., Any], forbids: Iterable[str]) -> set[str]:
    names = {"F": F, "x": x, "w": w, "np": np, "raised": raised, "scipy": scipy, "torch": torch}
    exec(source, names)
    return calls(function, forbids, names["case"])


def test_what_a_case_does_itself_is_not_the_students() -> None:
    inside = "def case(f):\n    f()\n    F.conv2d(x, w)\n    return torch.nn.Conv2d(1, 1, 3)(x)"
    assert from_a_case(inside, lambda: None, [*CONV, "torch"]) == set()
    callback = "def case(f):\n    return f(lambda v: F.conv2d(v, w))"
    assert from_a_case(callback, lambda g: g(x), [*CONV, "torch"]) == set()
    assert from_a_case(callback, lambda g: F.conv2d(g(x), w), CONV) == {CONV[0]}
    ufunc = "def case(f):\n    return [np.exp(1.0), f(lambda v: scipy.special.expit(v)), raised(np.linalg.inv, 1)]"
    assert from_a_case(ufunc, lambda g: g(1.0), ["numpy.exp", "scipy", "numpy.linalg.inv"]) == set()
    assert from_a_case("def case(f):\n    return raised(f)", lambda: F.conv2d(x, w), CONV) == {CONV[0]}


def test_copying_a_tensor_to_compare_it_is_not_the_students() -> None:
    tensors = "def case(f):\n    return f(x, [w])"
    assert from_a_case(tensors, lambda a, b: [a, b[0]], ["torch", "numpy"]) == set()


def test_the_students_object_may_be_the_forbidden_one() -> None:
    one_argument = "def case(f):\n    return f(1.0)"
    assert from_a_case("def case(f):\n    return f(x, w)", F.conv2d, CONV) == {CONV[0]}
    assert from_a_case(one_argument, scipy.special.expit, ["scipy.special.expit"]) == {"scipy.special.expit"}
    assert from_a_case(one_argument, np.exp, ["numpy.exp"]) == {"numpy.exp"}
    assert from_a_case(one_argument, np.exp, ["numpy.log"]) == set()


def test_what_a_class_does_when_it_is_made_counts() -> None:
    class Layer:
        def __init__(self) -> None:
            self.out = F.conv2d(x, w)

        def __getitem__(self, i: int) -> Any:
            return i

    names: dict[str, Any] = {}
    exec("def case(Layer):\n    return Layer()[0]", names)
    answer = run(Case("case", "", names["case"]), {"Layer": Layer}, np.random.default_rng(0), CONV)
    assert answer.used == {CONV[0]}
    assert answer.used_in == "self.out = F.conv2d(x, w)"


def state() -> tuple[Any, ...]:
    torch_modes = torch._C._len_torch_function_stack()
    return sys.getprofile(), threading.getprofile(), np.exp, scipy.special.expit, torch_modes, gc.get_freeze_count()


def test_everything_is_put_back() -> None:
    before = state()
    forbids = ("torch", "numpy.exp", "scipy", "numpy.linalg.inv")

    def fails() -> None:
        raise KeyError

    def enters_a_mode() -> None:
        torch.overrides.TorchFunctionMode().__enter__()

    def removes_the_profile() -> None:
        sys.setprofile(None)

    def endless() -> None:
        while True:
            np.exp(1.0)

    for function in (lambda: None, fails, enters_a_mode, removes_the_profile):
        run(Case("case", "", lambda f: f()), {"f": function}, np.random.default_rng(0), forbids)
        assert state() == before
    answer = run(Case("case", "", lambda f: f(), limit=0.3), {"f": endless}, np.random.default_rng(0), forbids)
    assert isinstance(answer.value, Timeout)
    assert state() == before


def test_a_guard_in_a_guard_and_under_another_profiler() -> None:
    seen = []

    def profiler(*event: Any) -> None:
        seen.append(event[1])

    with guard(["numpy.linalg.inv"]) as outer:
        with guard(["numpy.linalg.det"]) as inner:
            np.linalg.det(array)
        np.linalg.inv(array)
    assert (outer, inner) == ({"numpy.linalg.inv"}, {"numpy.linalg.det"})
    sys.setprofile(profiler)
    try:
        with guard(["numpy.linalg.inv"]):
            assert sys.getprofile() is not profiler
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


def test_what_stands_in_for_something_stands_there_once_when_more_is_loaded() -> None:
    def late() -> float:
        sys.modules.pop("this", None)
        import this  # noqa: F401

        return float(np.exp(0.0))

    before = state()
    for _ in range(2):
        answer = run(Case("case", "", lambda f: f()), {"f": late}, np.random.default_rng(0), ("numpy.exp", "scipy"))
        assert (answer.used, answer.value) == ({"numpy.exp"}, 1.0)
        assert state() == before


def test_nothing_forbidden_costs_nothing() -> None:
    before = state()
    with guard(()) as used:
        assert state() == before
    assert used == set()


def test_a_function_that_is_called_with_any_names_gets_them() -> None:
    case = "def case(f):\n    return f(function=1, self=2, args=3)"
    names: dict[str, Any] = {}
    exec(case, names)
    answer = run(Case("case", "", names["case"]), {"f": lambda **given: given}, np.random.default_rng(0), CONV)
    assert answer.value == {"function": 1, "self": 2, "args": 3}


LATE = """
import sys
import numpy as np
from autograder.running import run
from autograder.tasks import Case
names = {}
exec("def case(f):\\n    f()", names)
student = {"__name__": "__main__"}
exec(sys.argv[1], student)
assert "torch" not in sys.modules and "scipy" not in sys.modules
case = Case("case", "", names["case"], limit=60)
answer = run(case, {"f": student["f"]}, np.random.default_rng(0), tuple(sys.argv[2:]))
print(answer.value, *answer.used)
"""


@pytest.mark.parametrize(
    "text, forbids, noted",
    [
        (
            "def f():\n    import torch\n    [*map(torch.conv2d, [torch.ones(1, 1, 3, 3)], [torch.ones(1, 1, 1, 1)])]",
            *[CONV[0]] * 2,
        ),
        ("def f():\n    import torch\n    torch.ones(3)", "torch", "torch"),
        ("def f():\n    import torch", "torch", ""),
        ("def f():\n    from scipy.special import expit\n    expit(1)", "scipy", "scipy"),
        ("def f():\n    import scipy.special", "scipy", ""),
    ],
)
def test_what_is_imported_by_the_function_itself_is_watched(text: str, forbids: str, noted: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, text, forbids],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.split() == ["None", *noted.split()], done.stderr


# ---- declared, judged, said

SOLUTION = "def solve(a, b):\n    return np.linalg.solve(a, b)"
WRONG = "def solve(a, b):\n    return np.linalg.inv(a) @ b"


def solving() -> Task:
    task = Sheet("sheet").task("solve", points=4, forbids=("numpy.linalg.inv",))
    names: dict[str, Any] = {"np": np}
    exec(
        "def small(solve, rng):\n    return solve(np.eye(2) + rng.uniform(size=(2, 2)), np.ones(2))\n"
        "def transposed(a, b):\n    return np.linalg.solve(a.T, b)",
        names,
    )
    task.case("a small system")(names["small"])
    task.case("another", hidden=True)(names["small"].__class__(names["small"].__code__, names, "other"))
    task.misconception("Which way do the rows run?")(names["transposed"])
    return task


TASK = solving()
TRUTH = oracle(TASK, Reference("import numpy as np", SOLUTION), "sheet", 1)


def notebook(*cells: str) -> dict[str, Any]:
    """Returns the global names of a notebook of IPython's that ran `cells`."""
    names: dict[str, Any] = {"In": ["", "import numpy as np", *cells]}
    exec("\n".join(names["In"]), names)
    return names


def test_honest_work_keeps_its_points() -> None:
    assert examine(TASK, TRUTH, notebook(SOLUTION), "sheet", 1).points == 4
    assert examine(TASK, TRUTH, notebook(WRONG, SOLUTION), "sheet", 1).points == 4  # an earlier attempt


@pytest.mark.parametrize("known", [True, False], ids=["in the text", "in the run"])
def test_a_use_costs_all_points_and_is_called_by_its_name(known: bool) -> None:
    names = notebook(WRONG)
    if not known:
        del names["In"]
    judgment = examine(TASK, TRUTH, names, "sheet", 1)
    assert judgment.points == 0.0
    assert not any(verdict.holds for verdict in judgment.verdicts)
    assert judgment.misconceptions == []
    report = Report(judgment, graded=True)
    for said in (report.message(), report.data()["message"], report.html()):
        assert "numpy.linalg.inv" in said
        assert "to be solved without it" in said
    line = ", in the line `return np.linalg.inv(a) @ b`" if known else ""
    assert report.message().splitlines()[0] == f"solve: Your code uses `numpy.linalg.inv`{line}."
    assert report.headline() == "solve uses what it is to be solved without · 0 of 4 points"
    assert "<code>numpy.linalg.inv</code>" in report.html()


def test_the_judge_believes_only_names_that_the_task_forbids() -> None:
    answers = ask(TASK, TASK.cases, notebook(SOLUTION), "sheet", 1)
    answers["small"][0].used = {"<script>", "os"}
    assert judge(TRUTH, answers).points == 4
    answers["small"][0].used = {"numpy.linalg.inv", "<script>"}
    judgment = judge(TRUTH, answers)
    assert judgment.points == 0
    assert "script" not in Report(judgment).html()


def test_a_judgment_can_be_made_of_hits_and_of_names() -> None:
    for hits, said in (
        ([Hit("numpy.linalg.inv", "<b>`np`")], "Your code uses `numpy.linalg.inv`, in the line `<b>`np``."),
        (["a.b", "c"], "Your code uses `a.b` and `c`."),
        (
            [Hit("a", ""), Hit("b", "x"), Hit("a", "y"), Hit("c", "")],
            "Your code uses `a`, `b` and `c`, in the line `x`.",
        ),
    ):
        judgment = forbidden_judgment(TRUTH, hits)
        assert judgment.points == 0
        assert said in Report(judgment).message()
        assert "<b>`" not in Report(judgment).html()


@pytest.mark.parametrize(
    "forbids",
    ["torch", ("",), ("torch.",), ("a b",), ("torch.nn functional",), ("1x",), ("torch.import",), (3,), ("a..b",)],
)
def test_a_name_that_is_none_is_refused(forbids: Any) -> None:
    with pytest.raises(CourseError, match=r"write a tuple of dotted names, as in forbids=\("):
        Sheet("sheet").task("solve", points=1, forbids=forbids)


def test_names_are_kept_once_in_their_order() -> None:
    assert Sheet("sheet").task("solve", points=1, forbids=["torch", "a.b", "torch"]).forbids == ("torch", "a.b")
    assert Sheet("sheet").task("solve", points=1).forbids == ()


def test_an_answer_that_used_nothing_says_so() -> None:
    assert (Answer(None).used, Answer(None).used_in) == (set(), "")
    assert watching.by_student(max, 1, 2) == 2
