"""The filter of system calls for code in the sandbox: what no exercise needs, and what reaches around the sandbox.

Namespaces already take the files, the network and the other processes away. The filter closes what is left of the
kernel's large surface: looking into other processes, new namespaces and mounts, keys, kernel programs, and memory
that no process maps and the limit on memory therefore misses. All else is allowed.

A refused call returns EPERM, as to a user without the right, or ENOSYS, as from an older kernel, where programs
then take an older way. Code for another kind of processor is killed: its calls have other numbers.
"""

import errno
import platform
import struct
import sys
from typing import NamedTuple

# struct sock_filter and the instructions of classic BPF: see linux/filter.h and linux/bpf_common.h
INSTRUCTION = struct.Struct("=HBBI")
LOAD, RETURN, IF_EQUAL, IF_ANY_BIT, IF_AT_LEAST = 0x20, 0x06, 0x15, 0x45, 0x35

# struct seccomp_data and the answers of a filter: see linux/seccomp.h
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
KILL, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

X32 = 0x40000000  # calls of the x32 kind are numbered from here; no machine of today needs them


class Machine(NamedTuple):
    """A kind of processor: its number in linux/audit.h, and which of the two columns of numbers is its own."""

    audit: int
    column: int


MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}

Numbers = dict[str, tuple[int, int | None]]  # of each call: on x86_64, and on aarch64 or None where it has none

FORBIDDEN: Numbers = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    # files by number instead of by name
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # keys, which belong to no namespace
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # programs and faults in the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    # the machine
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
}

ABSENT: Numbers = {
    "clone3": (435, 435),  # its flags are in memory, where no filter can look: libraries then call clone
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # memory that no process maps
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}


class Rule(NamedTuple):
    """What a call returns whose argument, of 32 bits, is among `values`, and what it returns otherwise."""

    numbers: tuple[int, int]
    argument: int
    test: int
    values: tuple[int, ...]
    among: int
    otherwise: int


EPERM, ENOSYS, EAFNOSUPPORT = (ERRNO | code for code in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT))
NEW_NAMESPACE = 0x7E020000  # every flag CLONE_NEW… that clone takes
TYPING = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into the terminal from which the sandbox was started
ORDINARY = (0, 0xFFFFFFFF)  # the personality of a new process, and the question which one it is
FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET and AF_INET6: honest code may talk to itself

RULES = {
    "clone": Rule((56, 220), 0, IF_ANY_BIT, (NEW_NAMESPACE,), EPERM, ALLOW),
    "ioctl": Rule((16, 29), 1, IF_EQUAL, TYPING, EPERM, ALLOW),
    "personality": Rule((135, 92), 0, IF_EQUAL, ORDINARY, ALLOW, EPERM),
    "socket": Rule((41, 198), 0, IF_EQUAL, FAMILIES, ALLOW, EAFNOSUPPORT),
    "socketpair": Rule((53, 199), 0, IF_EQUAL, FAMILIES, ALLOW, EAFNOSUPPORT),
}

Line = tuple[int, int, int, int]  # code, lines to skip where the test holds, lines to skip where not, operand


def program() -> bytes | None:
    """Returns the filter for `bwrap --seccomp`, or None on a machine that there are no numbers for."""
    if sys.platform != "linux" or sys.maxsize < 2**32:  # a Python of 32 bits makes other calls than its machine
        return None
    machine = MACHINES.get(platform.machine())
    return assemble(machine) if machine else None


def assemble(machine: Machine) -> bytes:
    """Returns the filter for `machine`, an array of struct sock_filter."""
    lines = [_load(ARCHITECTURE), *_unless(IF_EQUAL, machine.audit, [_return(KILL)])]
    lines += [_load(NUMBER), *_if(IF_AT_LEAST, X32, [_return(ENOSYS)])]
    for calls, answer in ((FORBIDDEN, EPERM), (ABSENT, ENOSYS)):
        for numbers in calls.values():
            number = numbers[machine.column]
            if number is not None:
                lines += _if(IF_EQUAL, number, [_return(answer)])
    for rule in RULES.values():
        lines += _if(IF_EQUAL, rule.numbers[machine.column], _argument(rule))
    lines.append(_return(ALLOW))
    return b"".join(INSTRUCTION.pack(*line) for line in lines)


def _argument(rule: Rule) -> list[Line]:
    lines = [_load(ARGUMENTS + 8 * rule.argument)]  # its lower half: the kernel looks at no more of these five
    for value in rule.values:
        lines += _if(rule.test, value, [_return(rule.among)])
    return [*lines, _return(rule.otherwise)]


def _load(offset: int) -> Line:
    return LOAD, 0, 0, offset


def _return(answer: int) -> Line:
    return RETURN, 0, 0, answer


def _if(test: int, operand: int, lines: list[Line]) -> list[Line]:
    return [(test, 0, len(lines), operand), *lines]


def _unless(test: int, operand: int, lines: list[Line]) -> list[Line]:
    return [(test, len(lines), 0, operand), *lines]
