"""The course's image data sets: `load("digits")` needs no network, `load("mnist")` fetches the original once.

Both come as `Images`, so that a lecture written for one runs on the other.
"""

import contextlib
import functools
import gzip
import io
import logging
import math
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32, Int64

from autograder.errors import CourseError

DIRECTORY_VARIABLE = "AUTOGRADER_DATA"
"""The environment variable that says where downloaded files lie; without it, the user's cache."""

_PARTS = ("train", "test")


class _File(NamedTuple):
    """An original file: its name, how many bytes it has, and its md5 digest."""

    name: str
    size: int
    md5: str


# by part, images before labels; the sizes are those of the author's page
_FILES = {
    "train": (
        _File("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _File("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    "test": (
        _File("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        _File("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}

# the author's own site no longer serves the files; these two hold the same bytes
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# seconds to connect, and between two pieces: a host that is there connects well within 5
_TIMEOUT = (5.0, 15.0)

# bytes: a piece of a download or of a file, small against memory and large against the cost of a call
_PIECE = 2**16

# one IDX file is at most 1 GiB unpacked: 20 times MNIST's largest, and less than any laptop's memory
_LARGEST = 2**30

# numpy refuses arrays of more axes
_MOST_AXES = 64

# the third byte of an IDX file names the type, the big end first
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# one digit of each class in five is a test example
_TEST_EVERY = 5


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Labeled gray images in two parts: pixels in [0, 1] with 1 the ink, labels in 0 … classes - 1.

    A part that was not asked for has no examples. The arrays are yours to change: no other call returns them.
    """

    x_train: Float32[np.ndarray, " b h w"]
    y_train: Int64[np.ndarray, " b"]
    x_test: Float32[np.ndarray, " b h w"]
    y_test: Int64[np.ndarray, " b"]
    name: str

    @property
    def classes(self) -> int:
        """The number of classes, one more than the largest label."""
        return 1 + max(int(y.max(initial=-1)) for y in (self.y_train, self.y_test))

    @property
    def image_shape(self) -> tuple[int, int]:
        """The height and width of every image, in pixels."""
        _, height, width = self.x_train.shape
        return height, width

    def flat(self) -> tuple[Float32[np.ndarray, " b d"], Float32[np.ndarray, " b d"]]:
        """Returns the images of both parts, train before test, as rows of d = h · w features (views, no copies)."""
        d = math.prod(self.image_shape)
        return self.x_train.reshape(-1, d), self.x_test.reshape(-1, d)

    def __repr__(self) -> str:
        height, width = self.image_shape
        return (
            f"Images({self.name}: {len(self.x_train)} train, {len(self.x_test)} test, "
            f"{height} × {width} pixels, {self.classes} classes)"
        )


def load(name: str = "digits") -> Images:
    """Returns the data set of that name: "digits" or "mnist". Raises CourseError for another name."""
    loaders: dict[str, Callable[[], Images]] = {"digits": digits, "mnist": mnist}
    if name not in loaders:
        raise CourseError(f"There is no data set {name!r}: choose one of {', '.join(map(repr, loaders))}.")
    return loaders[name]()


def digits() -> Images:
    """Returns 1,797 handwritten digits of 8 × 8 pixels, which ship with scikit-learn: 1,442 train and 355 test.

    Of each class, in the order of the file, every fifth example is a test example: the split draws nothing at random,
    and the classes have equal shares in both parts. The same 13 people wrote both parts.
    Source: E. Alpaydin and C. Kaynak (1998), the test set of https://archive.ics.uci.edu/dataset/80.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16).astype(np.float32)  # the file counts 0 … 16 inked pixels in a block of 4 × 4
    y = bunch.target.astype(np.int64)
    rank = np.empty_like(y)  # an example's place among those of its class
    for k in np.unique(y):
        rank[y == k] = np.arange(np.count_nonzero(y == k))
    test = rank % _TEST_EVERY == _TEST_EVERY - 1
    return Images(x[~test], y[~test], x[test], y[test], "digits")


def mnist(parts: str | Collection[str] = _PARTS) -> Images:
    """Returns MNIST, 28 × 28 pixels: 60,000 train and 10,000 test; `parts` names what to load, the rest stays empty.

    The original files are taken from `data_directory()` if they are there and intact, and else downloaded to it.
    Raises CourseError, with what to do, where that fails.
    Source: Y. LeCun, C. Cortes and C. Burges, http://yann.lecun.com/exdb/mnist/.
    """
    wanted = {parts} if isinstance(parts, str) else set(parts)
    if not wanted or not wanted <= set(_PARTS):
        raise CourseError(f"MNIST has no parts {parts!r}: choose 'train', 'test' or both.")
    paths = iter(_fetch([file for part in _PARTS if part in wanted for file in _FILES[part]]))
    arrays = []
    for part in _PARTS:
        if part in wanted:
            arrays += [np.divide(read_idx(next(paths)), 255, dtype=np.float32), read_idx(next(paths)).astype(np.int64)]
        else:
            arrays += [np.empty((0, 28, 28), np.float32), np.empty(0, np.int64)]
    x_train, y_train, x_test, y_test = arrays
    return Images(x_train, y_train, x_test, y_test, "mnist")


def data_directory() -> Path:
    """Returns the folder of downloaded files: AUTOGRADER_DATA if it is set, else one in the user's cache."""
    if chosen := os.environ.get(DIRECTORY_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("deep-learning-foundations", appauthor=False)


def originals() -> list[Path]:
    """Returns the original files that were downloaded, or put there by hand."""
    folder = data_directory()
    return [path for part in _FILES.values() for file in part if (path := folder / file.name).is_file()]


def read_idx(source: str | os.PathLike[str] | bytes) -> np.ndarray[Any, Any]:
    """Returns the array of an IDX file, plain or gzip, in this machine's byte order; bytes are the file's content.

    Raises CourseError, which names the file, unless the file is exactly what its header says and at most 1 GiB.
    Nothing is allocated on the word of the header.
    """
    name = "the IDX data" if isinstance(source, bytes) else os.fspath(source)
    try:
        with _open(source) as raw:
            # a gzip file starts with these two bytes and an IDX file with two zeros
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            return _read_idx(gzip.open(raw) if packed else raw, name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = str(error).rstrip(".") or "no reason given"
        raise _bad_idx(name, f"its compression is broken ({reason})") from error
    except OSError as error:
        raise CourseError(f"{name} cannot be read ({_reason(error)}): check the path and its permissions.") from error


def _open(source: str | os.PathLike[str] | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _read_idx(stream: IO[bytes] | gzip.GzipFile, name: str) -> np.ndarray[Any, Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise _bad_idx(
            name, f"it starts with {magic.hex(' ') or 'nothing'} instead of 00 00, a type and a count of axes"
        )
    code, axes = magic[2:]
    if code not in _TYPES:
        raise _bad_idx(name, f"its type 0x{code:02x} is none of {', '.join(f'0x{known:02x}' for known in _TYPES)}")
    if not 1 <= axes <= _MOST_AXES:
        raise _bad_idx(name, f"it says that it has {axes} axes, and 1 to {_MOST_AXES} are possible")
    lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise _bad_idx(name, f"it ends within its header, before the length of axis {len(lengths) // 4}")
    shape = struct.unpack(f">{axes}I", lengths)

    dtype = np.dtype(_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    # subtle: an axis of length 0 hides the others, and numpy multiplies them all the same
    if math.prod(max(1, length) for length in shape) * dtype.itemsize > _LARGEST:
        raise _bad_idx(name, f"its header asks for {' × '.join(map(str, shape))} values, more than {_LARGEST:,} bytes")
    # one byte more than expected: it shows what trails, and at the end of a gzip file the checksum is compared
    content = bytearray()
    while piece := stream.read(min(_PIECE, expected + 1 - len(content))):
        content += piece
    if len(content) != expected:
        came = f"only {len(content):,}" if len(content) < expected else "more"
        raise _bad_idx(
            name, f"its header says {expected:,} bytes of values ({' × '.join(map(str, shape))}), it has {came}"
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _bad_idx(name: str, fault: str) -> CourseError:
    return CourseError(f"{name} is not a sound IDX file: {fault}; get the original again.")


def _fetch(files: Sequence[_File]) -> list[Path]:
    """Returns the paths of the verified files, in order, after downloading those that are absent or damaged."""
    folder = data_directory()
    for file in files:
        if _fault(folder, file):
            try:
                failures = _download(folder, file)
            except OSError as error:
                failures = [f"{folder}: {_reason(error)}"]
            if failures:
                raise _cannot_fetch(folder, files, failures)
    return [folder / file.name for file in files]


def _fault(folder: Path, file: _File) -> str | None:
    """Returns what is wrong with a file in one word, None if it is the original."""
    import pooch

    try:
        return None if pooch.file_hash(folder / file.name, alg="md5") == file.md5 else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"


def _download(folder: Path, file: _File) -> list[str]:
    """Downloads a file from the first mirror that has it; returns [], or why each of the mirrors failed.

    Pooch writes to a temporary name in the same folder, compares the digest and only then renames.
    Raises OSError where the folder cannot be written.
    """
    import pooch
    import requests

    failures = []
    for mirror in _MIRRORS:
        downloader = functools.partial(_with_progress, file)
        try:
            with _quiet(pooch.get_logger()):
                path = pooch.retrieve(mirror + file.name, f"md5:{file.md5}", file.name, folder, downloader=downloader)
        except requests.RequestException as error:  # subtle: it is an OSError too, and not about the folder
            failures.append(f"{urlsplit(mirror).netloc}: {_network_reason(error)}")
        except ValueError:
            failures.append(f"{urlsplit(mirror).netloc}: not the original file")
        else:
            with contextlib.suppress(OSError):  # a temporary file is its owner's alone, and a class may share a folder
                Path(path).chmod(0o644)
            return []
    return failures


def _with_progress(file: _File, url: str, output: str, _: object) -> None:
    """Downloads to `output` under a bar that goes when the download ends, however it ends."""
    import pooch
    from tqdm.auto import tqdm

    # pooch's own bar is 79 pixels wide in a notebook; one without a width, and with its total at birth, fits
    with tqdm(desc=file.name, total=file.size, unit="B", unit_scale=True, leave=False) as bar:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=_PIECE, timeout=_TIMEOUT)(url, output, None)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keeps pooch from announcing each download on stderr, which a notebook shows in red."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _cannot_fetch(folder: Path, files: Sequence[_File], failures: Sequence[str]) -> CourseError:
    faults = {file.name: _fault(folder, file) for file in files}
    lacking = ", ".join(f"{name} ({fault})" for name, fault in faults.items() if fault)
    return CourseError(
        f"MNIST is not complete in {folder}, which lacks {lacking}, and the download failed ({'; '.join(failures)}): "
        f"go online and run again, put the original files there, set {DIRECTORY_VARIABLE} to a folder that has them "
        f'or that you may write, or use load("digits"), which needs no network.'
    )


def _network_reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was refused"
    return "no connection"


def _reason(error: OSError) -> str:
    # pooch wraps the system's error in one of a paragraph
    while error.strerror is None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return (error.strerror or str(error)).lower()
