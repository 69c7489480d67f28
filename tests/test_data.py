"""The data sets: what is in them, that damaged files are named, and that no mirror is trusted.

Only loopback addresses are used: a server that the test starts, or a port on which nobody listens.
"""

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder import data
from autograder.errors import CourseError

TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
FIRST_IMAGES, FIRST_LABELS = (f"mnist10k-{name}" for name in (TRAIN_IMAGES, TRAIN_LABELS))

# read before any test points the variable elsewhere
ORIGINALS = Path(os.environ.get(data.DIRECTORY_VARIABLE) or Path(__file__).parents[2] / "shared" / "data")

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """The IDX format, written independently of the reader."""
    code = CODES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    header = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def sentence(caught: pytest.ExceptionInfo[CourseError]) -> str:
    """The message of an error, after a check that it is one sentence."""
    text = str(caught.value)
    assert re.fullmatch(r"(?:[^.\n]|\.(?=\S))+\.", text), text
    return text


def original(name: str) -> Path:
    path = ORIGINALS / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {ORIGINALS}: set {data.DIRECTORY_VARIABLE} to a folder that has it")
    return path


@pytest.fixture
def closed() -> Iterator[str]:
    """A mirror that refuses connections: the port is taken, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed: str) -> Path:
    """An empty data directory, no way to the internet, and no proxy on the way to loopback."""
    monkeypatch.setenv(data.DIRECTORY_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setattr(data, "_MIRRORS", (closed,))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# digits


def test_importing_the_module_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'sklearn', 'pooch', 'requests', 'tqdm', 'matplotlib'}"
    code = f"import sys, autograder.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_have_documented_sizes_types_and_range() -> None:
    images = data.digits()
    assert images.x_train.shape == (1442, 8, 8)
    assert images.x_test.shape == (355, 8, 8)
    assert images.y_train.shape == (1442,)
    assert images.y_test.shape == (355,)
    for x, y in ((images.x_train, images.y_train), (images.x_test, images.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.min() == 0
        assert x.max() == 1
        assert np.array_equal(np.unique(y), np.arange(10))
    assert (images.classes, images.image_shape, images.name) == (10, (8, 8), "digits")
    assert repr(images) == "Images(digits: 1442 train, 355 test, 8 × 8 pixels, 10 classes)"


def test_digits_are_the_same_each_time_and_not_shared() -> None:
    first = data.digits()
    # written down from one run: the labels of the file are fixed, and so is the rule
    assert first.y_train[:10].tolist() == list(range(10))
    assert hashlib.sha256(first.y_test.astype("u1").tobytes()).hexdigest().startswith("ae868ceb6e5b065c")
    first.x_train[:] = -1  # a caller's own change
    second = data.digits()
    assert second.x_train.min() == 0
    assert np.array_equal(first.x_test, second.x_test)
    assert np.array_equal(first.y_train, second.y_train)


def test_digits_are_stratified_and_complete() -> None:
    from sklearn.datasets import load_digits

    images = data.digits()
    train, test = np.bincount(images.y_train), np.bincount(images.y_test)
    # a fifth of n, rounded down, is within one example of the exact share
    assert np.array_equal(test, (train + test) // 5)
    both = np.concatenate(images.flat())
    labels = np.concatenate([images.y_train, images.y_test])
    rows = np.column_stack([both * 16, labels])
    expected = np.column_stack([load_digits().data, load_digits().target])
    assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_flat_gives_rows_in_reading_order() -> None:
    images = data.digits()
    train, test = images.flat()
    assert train.shape == (1442, 64)
    assert test.shape == (355, 64)
    assert np.array_equal(train[3].reshape(images.image_shape), images.x_train[3])
    assert test[7, 8 * 2 + 5] == images.x_test[7, 2, 5]
    assert np.shares_memory(train, images.x_train)


def test_images_are_frozen_and_compared_by_identity() -> None:
    images = data.digits()
    assert images != data.digits()  # arrays have no one answer to ==
    with pytest.raises(FrozenInstanceError):
        images.name = "others"  # type: ignore[misc]


def test_load_dispatches_and_lists_the_names() -> None:
    assert data.load().name == data.load("digits").name == "digits"
    with pytest.raises(CourseError) as caught:
        data.load("minst")
    assert sentence(caught) == "There is no data set 'minst': choose one of 'digits', 'mnist'."


# the IDX reader

plain_arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: arrays.arrays(np.dtype(code), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=60)


@repeatable
@given(array=plain_arrays, packed=st.booleans())
def test_idx_round_trip(array: np.ndarray[Any, Any], packed: bool) -> None:
    blob = idx(array)
    back = data.read_idx(gzip.compress(blob, mtime=0) if packed else blob)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    back[...] = 0  # the caller's own


@repeatable
@given(array=plain_arrays, packed=st.booleans(), drawn=st.data())
def test_idx_refuses_every_part_of_a_file(array: np.ndarray[Any, Any], packed: bool, drawn: st.DataObject) -> None:
    blob = gzip.compress(idx(array), mtime=0) if packed else idx(array)
    with pytest.raises(CourseError) as caught:
        data.read_idx(blob[: drawn.draw(st.integers(0, len(blob) - 1))])
    assert "IDX" in sentence(caught)


@repeatable
@given(
    prefix=st.sampled_from([b"", b"\0\0", b"\0\0\x08\x01", b"\0\0\x08\x03\0\0\0", b"\x1f\x8b", b"\x1f\x8b\x08\0"]),
    rest=st.binary(max_size=64),
)
def test_idx_gives_an_array_or_a_sentence_for_any_bytes(prefix: bytes, rest: bytes) -> None:
    with contextlib.suppress(CourseError):
        assert isinstance(data.read_idx(prefix + rest), np.ndarray)


GOOD = idx(np.arange(24, dtype="u1").reshape(2, 3, 4))
PACKED = gzip.compress(GOOD, mtime=0)

FAULTS = {
    "empty": (b"", "it starts with nothing"),
    "text": (b"<html>", "it starts with 3c 68 74 6d instead of 00 00"),
    "unknown type": (b"\0\0\x0a\x01\0\0\0\0", "its type 0x0a is none of 0x08"),
    "no axes": (b"\0\0\x08\0\7", "it says that it has 0 axes"),
    "too many axes": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\7", "it says that it has 255 axes"),
    "short header": (GOOD[:11], "it ends within its header, before the length of axis 1"),
    "truncated": (GOOD[:-1], "its header says 24 bytes of values (2 × 3 × 4), it has only 23"),
    "trailing": (GOOD + b"\0", "it has more"),
    "a larger axis than came": (GOOD[:4] + struct.pack(">3I", 20, 3, 4) + GOOD[16:], "says 240 bytes"),
    "gigabytes promised": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "more than 1,073,741,824 bytes"),
    "no images of endless width": (GOOD[:4] + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1), "more than 1,073,741,824"),
    "gzip: truncated": (PACKED[:-12], "its compression is broken"),
    "gzip: wrong checksum": (PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:], "its compression is broken"),
    "gzip: wrong stream": (PACKED[:12] + b"\xff\xff" + PACKED[14:], "its compression is broken"),
    "gzip: trailing inside": (gzip.compress(GOOD + b"\0"), "it has more"),
    "gzip: trailing outside": (PACKED + b"rest", "its compression is broken"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_idx_names_the_file_and_the_fault(fault: str, tmp_path: Path) -> None:
    blob, said = FAULTS[fault]
    path = tmp_path / "planted-idx"
    path.write_bytes(blob)
    with pytest.raises(CourseError) as caught:
        data.read_idx(path)
    assert sentence(caught).startswith(f"{path} is not a sound IDX file: ")
    assert said in sentence(caught)


def test_idx_reads_files_by_content_and_not_by_name(tmp_path: Path) -> None:
    for name, blob in (("plain.gz", GOOD), ("packed", PACKED), ("padded", PACKED + bytes(5))):
        (tmp_path / name).write_bytes(blob)
        assert np.array_equal(data.read_idx(str(tmp_path / name)), np.arange(24).reshape(2, 3, 4))


def test_idx_reports_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "nowhere", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(CourseError) as caught:
            data.read_idx(path)
        assert sentence(caught).startswith(f"{path} cannot be read")
        assert said in sentence(caught)


@pytest.mark.parametrize(
    "lengths",
    [(2**30 - 64,), (3,)],
    ids=["little content, large header", "large content, little header"],
)
def test_idx_allocates_for_what_is_there_and_promised_alone(lengths: tuple[int]) -> None:
    content = bytes(8) if lengths[0] > 3 else bytes(20 * 2**20)
    blob = gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", *lengths) + content, 1)
    tracemalloc.start()
    try:
        with pytest.raises(CourseError, match="its header says"):
            data.read_idx(blob)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # buffers of the gzip reader and two pieces of 64 KiB; either lie believed would be 20 MiB or 1 GiB
    assert peak < 2 * 2**20


# the originals, where they are


def test_original_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    original(TEST_IMAGES), original(TEST_LABELS)
    monkeypatch.setenv(data.DIRECTORY_VARIABLE, str(ORIGINALS))
    images = data.mnist("test")
    assert images.x_test.shape == (10_000, 28, 28)
    assert images.x_test.dtype == np.float32
    assert images.x_train.shape == (0, 28, 28)
    assert images.y_train.shape == (0,)
    assert (images.classes, images.image_shape, images.name) == (10, (28, 28), "mnist")
    assert images.y_test.dtype == np.int64
    assert images.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(images.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.x_test.min() == 0
    assert images.x_test.max() == 1
    # the mean pixel that every tutorial normalizes by, to its printed digits
    assert round(float(images.x_test.mean(dtype=np.float64)), 4) == 0.1325


def test_first_images_of_the_original_training_set() -> None:
    images, labels = data.read_idx(original(FIRST_IMAGES)), data.read_idx(original(FIRST_LABELS))
    assert images.shape == (10_000, 28, 28)
    assert images.dtype == np.uint8
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(labels).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert (images.min(), images.max()) == (0, 255)


@pytest.mark.parametrize("file", [file for part in data._FILES.values() for file in part], ids=lambda file: file.name)
def test_stated_sizes_and_digests_are_those_of_the_originals(file: Any) -> None:
    content = original(file.name).read_bytes()
    assert (len(content), hashlib.md5(content).hexdigest()) == (file.size, file.md5)


def test_digests_are_the_published_ones() -> None:
    assert {file.name: file.md5 for part in data._FILES.values() for file in part} == {
        TRAIN_IMAGES: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        TRAIN_LABELS: "d53e105ee54ea40749a09fcbcd1e9432",
        TEST_IMAGES: "9fb629c4189551a2d022fa330f9573f3",
        TEST_LABELS: "ec29112dd5afa0611ce80d1b7f02629c",
    }


# mirrors and the cache


@dataclass
class Mirrors:
    """A server on loopback: what it answers by path, and what it was asked."""

    url: str
    answers: dict[str, bytes] = field(default_factory=dict)
    missing_bytes: int = 0
    asked: list[str] = field(default_factory=list)

    def serve(self, mirror: str, contents: dict[str, bytes]) -> None:
        self.answers |= {f"/{mirror}/{name}": content for name, content in contents.items()}


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path not in state.answers:
                self.send_error(404)
                return
            content = state.answers[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + state.missing_bytes))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = Mirrors(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(data, "_MIRRORS", (f"{state.url}/first/", f"{state.url}/second/"))
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small MNIST, whose digests replace those of the original: 3 train and 2 test examples."""
    contents = {}
    for part, (images, labels) in {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}.items():
        b = 3 if part == "train" else 2
        x = np.arange(b * 28 * 28).reshape(b, 28, 28) % 256
        contents[images] = gzip.compress(idx(x.astype("u1")), mtime=0)
        contents[labels] = gzip.compress(idx(np.arange(b, dtype="u1")), mtime=0)
    files = {
        part: tuple(
            file._replace(size=len(contents[file.name]), md5=hashlib.md5(contents[file.name]).hexdigest())
            for file in originals
        )
        for part, originals in data._FILES.items()
    }
    monkeypatch.setattr(data, "_FILES", files)
    return contents


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_second_mirror_serves_what_the_first_has_not(
    mirrors: Mirrors,
    small: dict[str, bytes],
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
    mirrors.serve("second", small)
    images = data.load("mnist")
    assert images.x_train.shape == (3, 28, 28)
    assert images.x_train.dtype == np.float32
    assert images.x_train[0, 0, :3].tolist() == [0, np.float32(1 / 255), np.float32(2 / 255)]
    assert images.y_train.tolist() == [0, 1, 2]
    assert images.y_test.tolist() == [0, 1]
    assert images.y_test.dtype == np.int64
    assert mirrors.asked == [f"/{mirror}/{name}" for name in small for mirror in ("first", "second")]
    assert contents_of(folder) == small
    out, err = capfd.readouterr()
    assert out == ""
    assert TRAIN_IMAGES in err
    assert caplog.messages == []


@pytest.mark.skipif(os.name != "posix", reason="permission bits are those of POSIX")
def test_downloaded_file_can_be_read_by_others(mirrors: Mirrors, small: dict[str, bytes], folder: Path) -> None:
    mirrors.serve("first", small)
    data.mnist("test")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("wrong", [b"", b"<html>log in first</html>", PACKED], ids=["empty", "page", "other"])
def test_corrupt_first_mirror_is_passed_over(
    wrong: bytes, mirrors: Mirrors, small: dict[str, bytes], folder: Path
) -> None:
    mirrors.serve("first", dict.fromkeys(small, wrong))
    mirrors.serve("second", small)
    assert data.mnist("test").y_test.tolist() == [0, 1]
    assert contents_of(folder) == {name: small[name] for name in (TEST_IMAGES, TEST_LABELS)}


def test_broken_connection_leaves_nothing_behind(mirrors: Mirrors, small: dict[str, bytes], folder: Path) -> None:
    mirrors.serve("first", small)
    mirrors.missing_bytes = 7
    with pytest.raises(CourseError) as caught:
        data.mnist()
    assert "no connection; " in sentence(caught)
    assert ": 404 Not Found)" in sentence(caught)
    assert contents_of(folder) == {}


def test_intact_files_are_used_without_network_or_writing(
    small: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (TEST_IMAGES, TEST_LABELS):
        (folder / name).write_bytes(small[name])
        (folder / name).chmod(0o444)
    folder.chmod(0o555)
    refuse_writing(monkeypatch)

    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in (folder, *folder.iterdir())}

    before = state()
    assert data.mnist(["test"]).y_test.tolist() == [0, 1]
    assert state() == before
    assert capfd.readouterr() == ("", "")


def refuse_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every folder read-only, for root too, whom permission bits do not stop."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)


def test_damaged_file_is_replaced_and_only_that(mirrors: Mirrors, small: dict[str, bytes], folder: Path) -> None:
    mirrors.serve("first", small)
    for name, content in small.items():
        (folder / name).write_bytes(content)
    (folder / TEST_LABELS).write_bytes(small[TEST_LABELS][:-3])
    assert data.mnist().y_test.tolist() == [0, 1]
    assert mirrors.asked == [f"/first/{TEST_LABELS}"]
    assert contents_of(folder) == small


def test_damaged_file_offline_is_reported_and_kept(small: dict[str, bytes], folder: Path) -> None:
    (folder / TEST_IMAGES).write_bytes(b"damaged")
    (folder / TEST_LABELS).write_bytes(small[TEST_LABELS])
    with pytest.raises(CourseError) as caught:
        data.mnist("test")
    assert f"which lacks {TEST_IMAGES} (damaged), and" in sentence(caught)
    assert (folder / TEST_IMAGES).read_bytes() == b"damaged"
    assert len(contents_of(folder)) == 2


def test_damaged_file_in_a_folder_that_cannot_be_written_is_reported(
    mirrors: Mirrors, small: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.serve("first", small)
    (folder / TEST_IMAGES).write_bytes(b"damaged")
    refuse_writing(monkeypatch)
    with pytest.raises(CourseError) as caught:
        data.mnist("test")
    assert f"lacks {TEST_IMAGES} (damaged), {TEST_LABELS} (missing), and" in sentence(caught)
    assert f"the download failed ({folder}: permission denied)" in sentence(caught)
    assert mirrors.asked == []


def test_file_where_the_folder_should_be_is_reported(
    small: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(data.DIRECTORY_VARIABLE, str(tmp_path / "file" / "data"))
    with pytest.raises(CourseError) as caught:
        data.mnist("test")
    assert f"({tmp_path / 'file' / 'data'}: not a directory)" in sentence(caught)


def test_offline_says_what_to_do(closed: str, folder: Path) -> None:
    with pytest.raises(CourseError) as caught:
        data.load("mnist")
    missing = ", ".join(f"{name} (missing)" for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS))
    host = closed.removeprefix("http://").rstrip("/")
    assert sentence(caught) == (
        f"MNIST is not complete in {folder}, which lacks {missing}, and the download failed ({host}: no connection): "
        "go online and run again, put the original files there, set AUTOGRADER_DATA to a folder that has them or that "
        'you may write, or use load("digits"), which needs no network.'
    )
    assert contents_of(folder) == {}


def test_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(data._TIMEOUT) <= 15  # seconds that a student waits for one mirror
    monkeypatch.setattr(data, "_TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(data, "_MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/",))
        started = time.monotonic()
        with pytest.raises(CourseError) as caught:
            data.mnist("test")
        # 25 times the timeout: a loaded machine passes, a wait without a limit never ends
        assert time.monotonic() - started < 5
    assert "no answer in time" in sentence(caught)


@pytest.mark.parametrize("parts", ["validation", [], ["train", "dev"]], ids=str)
def test_unknown_parts_are_refused(parts: Any) -> None:
    with pytest.raises(CourseError) as caught:
        data.mnist(parts)
    assert "choose 'train', 'test' or both" in sentence(caught)


def test_data_directory_is_the_variable_or_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(data.DIRECTORY_VARIABLE, "~/mnist")
    assert data.data_directory() == Path.home() / "mnist"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv(data.DIRECTORY_VARIABLE)
        else:
            monkeypatch.setenv(data.DIRECTORY_VARIABLE, unset)
        assert data.data_directory().is_absolute()
        assert "deep-learning-foundations" in data.data_directory().parts
