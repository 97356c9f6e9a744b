"""MNIST: a packaged sample, local copies, and a verified download.

The MNIST database of handwritten digits is by Yann LeCun, Corinna Cortes and Christopher
J. C. Burges, available under CC BY-SA 3.0. The README next to this file tells how the sample
was cut.
"""

import gzip
import hashlib
import http.client
import importlib
import io
import math
import operator
import os
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

MIRRORS: tuple[str, ...] = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
"""Base URLs of the download, tried in order; each serves `train-images-idx3-ubyte.gz` and so on."""

_SAMPLE = Path(__file__).with_name("mnist_sample.npz")
_TIMEOUT = 30.0  # seconds without an answer before the next mirror is tried
_CHUNK = 1 << 16
_MAX_DOWNLOAD = 1 << 26  # bytes; the largest of the packed files has under 10 MB


class Mnist(NamedTuple):
    """Images, uint8 of shape (n, 28, 28), and their labels 0 to 9, uint8 of shape (n,)."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.uint8]


class _IdxFile(NamedTuple):
    stem: str
    ndim: int
    sha256: str  # of the unpacked file

    @property
    def name(self) -> str:
        return f"{self.stem}-idx{self.ndim}-ubyte"

    @property
    def names(self) -> tuple[str, ...]:
        dotted = f"{self.stem}.idx{self.ndim}-ubyte"
        return (self.name, f"{self.name}.gz", dotted, f"{dotted}.gz")


# In the order of the fields of `Mnist`.
_IDX_FILES = (
    _IdxFile("train-images", 3, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    _IdxFile("train-labels", 1, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    _IdxFile("t10k-images", 3, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    _IdxFile("t10k-labels", 1, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def load_mnist(path: str | os.PathLike[str] | None = None, *, download: bool = False) -> Mnist:
    """Load MNIST: the packaged sample, a copy on disk, or the whole set from the network.

    Without arguments this is the packaged sample of 4,000 training and 1,000 test images, in
    which every aligned run of ten images holds each digit once. It needs no network.

    Args:
        path: an `.npz` file with arrays `x_train`, `y_train`, `x_test` and `y_test`; or a
            directory with such a `mnist.npz` (preferred) or with the four IDX files, plain or
            gzipped, named `train-images-idx3-ubyte` or `train-images.idx3-ubyte` and so on.
            With `download`, the directory that keeps the downloaded files, by default
            `jsmpc/mnist` in the user's cache directory (`$XDG_CACHE_HOME`, or `~/.cache`).
        download: fetch those of the four original files that the directory lacks (11 MB in
            all), and check the SHA-256 of all four. Nothing is kept that fails the check, and
            once the files are there no network is used.

    Returns:
        `Mnist(x_train, y_train, x_test, y_test)`: images uint8 (n, 28, 28), labels uint8 (n,).
        The whole set has 60,000 training and 10,000 test images.

    Raises:
        FileNotFoundError: `path` does not exist, or the directory lacks the files.
        NotADirectoryError: `download` is set and `path` is a file.
        ConnectionError: no mirror could be reached.
        ValueError: a file is damaged, is not the data set that it should be, or has a wrong
            SHA-256.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
    http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.
    """
    if download:
        return _load_downloaded(_cache_directory() if path is None else Path(path).expanduser())
    if path is None:
        return _load_npz(_SAMPLE)
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        npz = path / "mnist.npz"
        return _load_npz(npz) if npz.is_file() else _load_idx_directory(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is neither an .npz file nor a directory")
    return _load_npz(path)


def normalize(
    images: NDArray[np.uint8], mean: float = 0.1307, std: float = 0.3081
) -> NDArray[np.float32]:
    """Flatten images and scale them to zero mean and unit deviation: (x / 255 - mean) / std.

    Args:
        images: uint8 (n, 28, 28).
        mean: subtracted after the division by 255; the default is that of MNIST's training set.
        std: divides what is left; the default is that of MNIST's training set.

    Returns:
        float32 (n, 784).

    Raises:
        ValueError: `images` has another dtype or shape, `mean` is not finite, or `std` is not
            finite and positive.

    Source: the usual standardization; mean and deviation over all pixels of the training set.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"images must be uint8 of shape (n, 28, 28), not {images.dtype} {images.shape}"
        )
    shift, scale = np.float32(mean), np.float32(std)
    if not np.isfinite(shift):
        raise ValueError(f"mean must be finite in float32, not {mean}")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"std must be finite and positive in float32, not {std}")
    pixels = images.reshape(len(images), 28 * 28).astype(np.float32)
    pixels /= np.float32(255)
    pixels -= shift
    pixels /= scale
    return pixels


def batches(*arrays: Any, size: int, drop_remainder: bool = False) -> Iterator[tuple[Any, ...]]:
    """Cut arrays along their first axis into consecutive batches, the same cuts in each.

    Args:
        arrays: one or more arrays (anything with a length and slices) of equal length n.
        size: the length of a batch, at least 1.
        drop_remainder: leave out the last batch if it would be shorter than `size`.

    Returns:
        A generator of tuples with one slice of each array, in the order given (for a single
        array as well: a tuple of one). NumPy arrays are cut into views, not copied.

    Raises:
        ValueError: no arrays, arrays of different lengths, or `size` below 1; at the call, not
            at the first batch.
        TypeError: `size` is not an integer, or an array has no length.

    Source: none; plain slicing.
    """
    if not arrays:
        raise ValueError("batches needs at least one array")
    size = operator.index(size)
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"arrays must have equal lengths, not {lengths}")
    stop = lengths[0] - lengths[0] % size if drop_remainder else lengths[0]
    return (tuple(array[i : i + size] for array in arrays) for i in range(0, stop, size))


def _load_npz(path: Path) -> Mnist:
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError(f"{path} is not an .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in Mnist._fields if name not in archive.files]
            arrays = [] if missing else [np.asarray(archive[name]) for name in Mnist._fields]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as an .npz file: {error}") from error
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return _checked(Mnist(*arrays), path)


def _load_idx_directory(directory: Path) -> Mnist:
    paths = [_find(file, directory) for file in _IDX_FILES]
    found = [path for path in paths if path is not None]
    if not found:
        names = ", ".join(file.name for file in _IDX_FILES)
        raise FileNotFoundError(
            f"{directory} holds no MNIST: looked for mnist.npz and for {names} "
            "(also with .idx for -idx, and with .gz at the end)"
        )
    if len(found) < len(paths):
        missing = (
            " or ".join(file.names)
            for file, path in zip(_IDX_FILES, paths, strict=True)
            if path is None
        )
        raise FileNotFoundError(f"{directory} holds a part of MNIST, but not {'; '.join(missing)}")
    arrays = (
        _parse_idx(_unpack(path.read_bytes(), path), file, path)
        for file, path in zip(_IDX_FILES, found, strict=True)
    )
    return _checked(Mnist(*arrays), directory)


def _load_downloaded(directory: Path) -> Mnist:
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"{directory} is a file; with download=True, path names the directory to download to"
        )
    directory.mkdir(parents=True, exist_ok=True)
    arrays = []
    for file in _IDX_FILES:
        path = _find(file, directory)
        if path is None:
            path = directory / f"{file.name}.gz"
            data = _download(file, path)
        else:
            try:
                data = _verified(path.read_bytes(), file, path)
            except ValueError as error:
                # Not ours to delete: the directory and what was in it are the caller's.
                raise ValueError(f"{error}; remove that file to download it anew") from error
        arrays.append(_parse_idx(data, file, path))
    return _checked(Mnist(*arrays), directory)


def _cache_directory() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (base if base.is_absolute() else Path.home() / ".cache") / "jsmpc" / "mnist"


def _find(file: _IdxFile, directory: Path) -> Path | None:
    return next((directory / name for name in file.names if (directory / name).is_file()), None)


def _download(file: _IdxFile, target: Path) -> bytes:
    """Fetch one file into `target`, packed, and return its unpacked bytes.

    The download stays in memory until its hash is right, so a bad one leaves nothing behind.
    """
    failures: list[str] = []
    damaged = False
    for mirror in MIRRORS:
        url = f"{mirror.rstrip('/')}/{file.name}.gz"
        try:
            packed = _get(url)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {str(error) or type(error).__name__}")
            continue
        try:
            data = _verified(packed, file, url)
        except ValueError as error:
            failures.append(str(error))
            damaged = True
            continue
        _write_atomically(target, packed)
        return data
    kind = ValueError if damaged else ConnectionError
    raise kind(f"cannot download {file.name}: " + ("; ".join(failures) or "there are no mirrors"))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        packed = io.BytesIO()
        with _Progress(url.rsplit("/", 1)[-1], int(length) if length.isdigit() else None) as shown:
            while chunk := response.read(_CHUNK):
                packed.write(chunk)
                shown.update(len(chunk))
                if packed.tell() > _MAX_DOWNLOAD:
                    raise OSError(f"more than {_MAX_DOWNLOAD} bytes")
    return packed.getvalue()


class _Progress:
    """A tqdm bar, or nothing where tqdm is not installed."""

    def __init__(self, name: str, total: int | None) -> None:
        self.bar: Any = None
        try:
            tqdm = importlib.import_module("tqdm")
        except ImportError:
            return
        self.bar = tqdm.tqdm(desc=name, total=total, unit="B", unit_scale=True)

    def update(self, count: int) -> None:
        if self.bar is not None:
            self.bar.update(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _write_atomically(target: Path, data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as temporary:
        part = Path(temporary) / target.name
        part.write_bytes(data)
        part.replace(target)


def _verified(data: bytes, file: _IdxFile, source: Path | str) -> bytes:
    data = _unpack(data, source)
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise ValueError(
            f"{source} is not the original {file.name}: SHA-256 {found}, not {file.sha256}"
        )
    return data


def _unpack(data: bytes, source: Path | str) -> bytes:
    if not str(source).endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{source} is a damaged gzip file: {error}") from error


def _parse_idx(data: bytes, file: _IdxFile, path: Path) -> NDArray[np.uint8]:
    """Read the IDX format: 0, 0, type 8 (uint8), rank; sizes as big-endian uint32; the bytes."""
    magic = bytes((0, 0, 8, file.ndim))
    if data[:4] != magic:
        raise ValueError(
            f"{path} starts with the magic number 0x{data[:4].hex()}, not 0x{magic.hex()}"
        )
    header = 4 + 4 * file.ndim
    if len(data) < header:
        raise ValueError(f"{path} is truncated: {len(data)} bytes, shorter than its header")
    shape = [int(size) for size in np.frombuffer(data[4:header], dtype=">u4")]
    if len(data) != header + math.prod(shape):
        fault = "is truncated" if len(data) < header + math.prod(shape) else "is too long"
        raise ValueError(
            f"{path} {fault}: {len(data)} bytes, where its sizes {shape} make "
            f"{header + math.prod(shape)}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()


def _checked(mnist: Mnist, source: Path) -> Mnist:
    for name, array in zip(Mnist._fields, mnist, strict=True):
        tail = (28, 28) if name.startswith("x") else ()
        if array.dtype != np.uint8 or array.ndim != 1 + len(tail) or array.shape[1:] != tail:
            shape = "(n, 28, 28)" if tail else "(n,)"
            raise ValueError(
                f"{source}: {name} must be uint8 of shape {shape}, not {array.dtype} {array.shape}"
            )
    for part in ("train", "test"):
        images, labels = getattr(mnist, f"x_{part}"), getattr(mnist, f"y_{part}")
        if len(images) != len(labels):
            raise ValueError(f"{source}: {len(images)} {part} images but {len(labels)} labels")
        if (labels > 9).any():
            raise ValueError(f"{source}: y_{part} has the label {labels.max()}, not in 0 to 9")
    return mnist
