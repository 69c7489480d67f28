"""The filter refuses what reaches around the sandbox, and lets honest code be.

What it answers is computed here, on every machine and for each kind of processor, and seen in a sandbox where one
can be made.
"""

import errno
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autograder import seccomp
from autograder.seccomp import ABSENT, ALLOW, EAFNOSUPPORT, ENOSYS, EPERM, FORBIDDEN, KILL, MACHINES, RULES, assemble

LONGEST = 4096  # instructions: what a kernel takes
NEW = {"CGROUP": 0x02000000, "IPC": 0x08000000, "NET": 0x40000000, "NS": 0x00020000}
NEW |= {"PID": 0x20000000, "USER": 0x10000000, "UTS": 0x04000000}
THREAD = 0x3D0F00  # the flags with which the C library starts a thread
HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}

Lines = list[tuple[int, int, int, int]]
Calls = dict[str, tuple[int, ...]]  # of each question: the number of a call, and its arguments
Sandbox = Callable[..., subprocess.CompletedProcess[str]]


def lines(machine: str) -> Lines:
    return list(struct.iter_unpack("=HBBI", assemble(MACHINES[machine])))


def answer(program: Lines, audit: int, number: int, *arguments: int) -> int:
    """Returns what `program` answers to a call; it knows the instructions that the kernel knows and the filter uses."""
    rest = [argument % 2**64 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<iIQ6Q", number, audit, 0, *rest)
    at = loaded = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, operand)
        else:
            holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
            at += if_true if holds else if_false


def calls(machine: str) -> dict[str, tuple[int, int]]:
    """Returns the number and the answer of each call that is always refused."""
    column = MACHINES[machine].column
    tables = ((FORBIDDEN, EPERM), (ABSENT, ENOSYS))
    numbers = {name: (found[column], code) for table, code in tables for name, found in table.items()}
    return {name: (number, code) for name, (number, code) in numbers.items() if number is not None}


# ---- the program


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_short_and_every_way_through_it_ends_in_an_answer(machine: str) -> None:
    program = lines(machine)
    assert 100 < len(program) < LONGEST / 10
    assert program[-1] == (0x06, 0, 0, ALLOW)
    for at, (code, if_true, if_false, operand) in enumerate(program):
        assert code in (0x06, 0x15, 0x20, 0x35, 0x45)
        if code == 0x20:
            assert operand % 4 == 0
            assert operand < 64
        if code in (0x06, 0x20):
            assert (if_true, if_false) == (0, 0)
        assert at + 1 + max(if_true, if_false) < len(program) or code == 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_exactly_the_named_calls_are_refused(machine: str) -> None:
    program, (audit, column) = lines(machine), MACHINES[machine]
    refused = dict(calls(machine).values())
    by_argument = {rule.numbers[column] for rule in RULES.values()}
    assert len(refused) == len(calls(machine))
    assert not by_argument & set(refused)
    for number in set(range(1000)) - by_argument:
        assert answer(program, audit, number, 2**64 - 1) == refused.get(number, ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_for_another_kind_of_processor_are_killed_or_unknown(machine: str) -> None:
    program, (audit, _) = lines(machine), MACHINES[machine]
    for other in {0x40000003, 0xC000003E, 0x40000028, 0xC00000B7, 0} - {audit}:
        assert answer(program, other, 39) == KILL
    for number in (0x40000000, 0x40000027, 0x40000000 + 521, 0x7FFFFFFF, -1):
        assert answer(program, audit, number) == ENOSYS


CASES = [
    *(("clone", (flag | 17,), EPERM) for flag in NEW.values()),
    ("clone", (2**32 - 1,), EPERM),
    ("clone", (17,), ALLOW),
    ("clone", (0x4111,), ALLOW),
    ("clone", (0x1200011,), ALLOW),
    ("clone", (THREAD,), ALLOW),
    ("clone", (2**64 - 2**32,), ALLOW),
    *(("ioctl", (0, command), EPERM) for command in (0x5412, 0x541C, 0x5412 + 2**32, 0x541C + 2**63)),
    *(("ioctl", (0x5412, command), ALLOW) for command in (0x5401, 0x5413, 0x541B, 0x541D, 0)),
    *(("personality", (persona,), ALLOW) for persona in (0, 2**32 - 1, 2**64 - 1)),
    *(("personality", (persona,), EPERM) for persona in (8, 0x40000, 0x400000, 2**32 - 2)),
    *((name, (family,), ALLOW) for name in ("socket", "socketpair") for family in (1, 2, 10, 1 + 2**32)),
    *((name, (family,), EAFNOSUPPORT) for name in ("socket", "socketpair") for family in (0, 3, 16, 17, 30, 38, 40)),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "arguments", "expected"), CASES, ids=lambda value: str(value))
def test_some_calls_depend_on_an_argument_of_32_bits(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    audit, column = MACHINES[machine]
    assert answer(lines(machine), audit, RULES[name].numbers[column], *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip(f"the kernel's headers for {machine} are not installed")
    text = header.read_text(encoding="utf-8")
    numbers = {name: int(digits) for name, digits in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    ours = {name: number for name, (number, _) in calls(machine).items()}
    ours |= {name: rule.numbers[MACHINES[machine].column] for name, rule in RULES.items()}
    known = ours.keys() & numbers.keys()
    assert {name: numbers[name] for name in known} == {name: ours[name] for name in known}
    assert ours.keys() - known <= {"open_tree_attr", "quotactl_fd", "memfd_secret"}  # newer than some headers


@pytest.mark.parametrize(
    ("system", "machine", "known"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("linux", "riscv64", False),
        ("linux", "i686", False),
        ("darwin", "x86_64", False),
        ("win32", "AMD64", False),
    ],
)
def test_there_is_a_filter_where_the_numbers_are_known(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, known: bool
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert seccomp.program() == (assemble(MACHINES[machine]) if known else None)


def test_a_python_of_32_bits_gets_no_filter_for_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert seccomp.program() is None


# ---- in a sandbox


def in_sandbox(code: str, *arguments: str, filtered: bool = True) -> subprocess.CompletedProcess[str]:
    """Returns how Python ended that ran `code` in a sandbox with the filter, or without it."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    command += [
        "--setenv",
        "OMP_NUM_THREADS",
        "1",
        "--setenv",
        "HOME",
        "/tmp",
        "--ro-bind",
        "/",
        "/",
        "--tmpfs",
        "/tmp",
    ]
    for prefix in (sys.base_prefix, sys.prefix):  # which may be in /tmp
        command += ["--ro-bind", prefix, prefix]
    command += ["--proc", "/proc", "--dev", "/dev", "--chdir", "/tmp"]
    read, write = os.pipe()
    try:
        if filtered:
            os.write(write, seccomp.program() or b"")  # less than a pipe holds
            command += ["--seccomp", str(read)]
        os.close(write)
        command += ["--", sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, pass_fds=[read], stdin=subprocess.DEVNULL
        )
    finally:
        os.close(read)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """Returns `in_sandbox`; skips where no sandbox can be made."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    if seccomp.program() is None:
        pytest.skip(f"there is no filter for {platform.machine()}")
    tried = in_sandbox("", filtered=False)
    if tried.returncode != 0:
        pytest.skip(f"bubblewrap cannot make a sandbox here: {tried.stderr.strip()}")
    return in_sandbox


ERRNOS = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
found = {}
for name, numbers in json.loads(sys.argv[1]).items():
    ctypes.set_errno(0)
    result = libc.syscall(*map(ctypes.c_long, numbers))
    found[name] = ctypes.get_errno() if result == -1 else 0
    if name.startswith("clone") and result == 0:
        os._exit(0)
print(json.dumps(found))
"""


def errnos(sandbox: Sandbox, asked: Calls, filtered: bool = True) -> dict[str, int]:
    ended = sandbox(ERRNOS, json.dumps(asked), filtered=filtered)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def number_of(name: str) -> int:
    machine = platform.machine()
    return RULES[name].numbers[MACHINES[machine].column] if name in RULES else calls(machine)[name][0]


def test_each_refused_call_returns_the_error_that_it_should(sandbox: Sandbox) -> None:
    found = errnos(sandbox, {name: (number, 0, 0, 0) for name, (number, _) in calls(platform.machine()).items()})
    expected = {EPERM: errno.EPERM, ENOSYS: errno.ENOSYS}
    assert found == {name: expected[code] for name, (_, code) in calls(platform.machine()).items()}


def test_calls_that_depend_on_an_argument_return_what_they_should(sandbox: Sandbox) -> None:
    clone, ioctl, personality, create = map(number_of, ("clone", "ioctl", "personality", "socket"))
    refused: Calls = {f"clone {flag}": (clone, bit | 17, 0, 0, 0, 0) for flag, bit in NEW.items()}
    refused |= {f"ioctl {command:x}": (ioctl, 0, command, 0) for command in (0x5412, 0x541C, 2**32 + 0x5412)}
    refused |= {"personality": (personality, 0x40000)}
    families: Calls = {f"socket {family}": (create, family, 2, 0) for family in range(48) if family not in (1, 2, 10)}
    allowed: Calls = {"personality": (personality, 0xFFFFFFFF), "socket": (create, 1, 2, 0)}
    assert errnos(sandbox, refused) == dict.fromkeys(refused, errno.EPERM)
    assert errnos(sandbox, families) == dict.fromkeys(families, errno.EAFNOSUPPORT)
    assert errnos(sandbox, allowed) == dict.fromkeys(allowed, 0)
    assert errnos(sandbox, {"ioctl": (ioctl, 0, 0x5401, 0)}) == {"ioctl": errno.ENOTTY}


def test_it_is_the_filter_that_refuses(sandbox: Sandbox) -> None:
    asked: Calls = {
        "unshare": (number_of("unshare"), NEW["USER"]),
        "memfd_create": (number_of("memfd_create"), 0, 0),
        "shmget": (number_of("shmget"), 0, 4096, 0o1600),
        "msgget": (number_of("msgget"), 0, 0o1600),
        "semget": (number_of("semget"), 0, 1, 0o1600),
        "personality": (number_of("personality"), 0x40000),
        "netlink": (number_of("socket"), 16, 3, 0),
        "clone": (number_of("clone"), NEW["USER"] | 17, 0, 0, 0, 0),
        "ptrace": (number_of("ptrace"), 0, 0, 0, 0),  # last: it stops at the next signal
    }
    free, held = errnos(sandbox, asked, filtered=False), errnos(sandbox, asked)
    assert all(held.values())
    for name in ("memfd_create", "netlink"):  # an outer sandbox may refuse the others as well
        assert free[name] != held[name]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only this processor runs code of another kind")
def test_code_for_the_older_processor_never_returns(sandbox: Sandbox) -> None:
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
print("before", flush=True)
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print("after")
"""
    ended = sandbox(code)
    assert ended.stdout == "before\n"
    assert ended.returncode in (128 + 31, 128 + 11)  # SIGSYS, or SIGSEGV from a kernel that has no such calls


HONEST = {
    "subprocess and a shell": """
import os, subprocess
assert subprocess.run(["sh", "-c", "echo $((6 * 7)) | cat"], capture_output=True, text=True).stdout == "42\\n"
assert os.popen("echo hi").read() == "hi\\n"
assert os.system("true") == 0
""",
    "threads": """
import threading, concurrent.futures
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda n: n * n, range(100))) == 328350
""",
    "asyncio and loopback sockets": """
import asyncio, socket
async def main():
    process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"hi\\n"
asyncio.run(main())
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    client.sendall(b"x")
    assert server.accept()[0].recv(1) == b"x"
""",
    "torch and its data loader": """
import torch
from torch.utils.data import DataLoader, TensorDataset
x = torch.randn(64, 64)
assert torch.allclose(x @ torch.eye(64), x)
loader = DataLoader(TensorDataset(torch.arange(64.0)), batch_size=8, num_workers=2)
assert sum(batch.sum().item() for batch, in loader) == 2016
""",
    "a figure": """
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
plt.plot([1, 2, 3])
plt.title("$x^2$")
for kind in ("png", "svg", "pdf"):
    plt.savefig(f"figure.{kind}")
""",
}


@pytest.mark.parametrize("code", HONEST.values(), ids=HONEST)
def test_honest_code_works(sandbox: Sandbox, code: str) -> None:
    ended = sandbox(code)
    assert ended.returncode == 0, ended.stderr


MULTIPROCESSING = """
import multiprocessing, sys
from multiprocessing.shared_memory import SharedMemory

def square(n):
    return n * n

def fill(name, queue, lock):
    with lock:
        memory = SharedMemory(name)
        memory.buf[0] = 42
        memory.close()
        queue.put("done")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    memory, queue, lock = SharedMemory(create=True, size=4096), context.Queue(), context.Lock()
    process = context.Process(target=fill, args=(memory.name, queue, lock))
    process.start()
    assert queue.get(timeout=60) == "done"
    process.join()
    assert memory.buf[0] == 42
    memory.close()
    memory.unlink()
"""


IN_A_FILE = """
import pathlib, subprocess, sys
pathlib.Path("work.py").write_text(sys.argv[1])
sys.exit(subprocess.run([sys.executable, "work.py", sys.argv[2]]).returncode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works(sandbox: Sandbox, method: str) -> None:
    ended = sandbox(IN_A_FILE, MULTIPROCESSING, method)
    assert ended.returncode == 0, ended.stderr
