"""The data sets: the packaged sample, local copies, the verified download, and bad input."""

import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jsmpc.examples.datasets import mnist
from jsmpc.examples.datasets.mnist import Mnist, batches, load_mnist, normalize

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_idx(directory: Path, data: Mnist, packed: bool = False, dotted: bool = False) -> None:
    for name, array in zip(NAMES, data, strict=True):
        name = name.replace("-idx", ".idx") if dotted else name
        content = idx(array)
        (directory / f"{name}.gz" if packed else directory / name).write_bytes(
            gzip.compress(content) if packed else content
        )


def same(left: Mnist, right: Mnist) -> bool:
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def tiny() -> Mnist:
    rng = np.random.default_rng(7)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)

    labels = np.arange(10, dtype=np.uint8)
    return Mnist(images(10), labels, images(5), labels[:5])


@pytest.fixture(scope="module")
def sample() -> Mnist:
    return load_mnist()


# The packaged sample.


def test_sample_shapes_and_types(sample: Mnist) -> None:
    assert sample._fields == ("x_train", "y_train", "x_test", "y_test")
    assert [array.shape for array in sample] == [(4000, 28, 28), (4000,), (1000, 28, 28), (1000,)]
    assert all(array.dtype == np.uint8 for array in sample)


@pytest.mark.parametrize("part", ["train", "test"])
def test_sample_is_balanced_in_every_run_of_ten(sample: Mnist, part: str) -> None:
    rounds = getattr(sample, f"y_{part}").reshape(-1, 10)
    assert (np.sort(rounds, axis=1) == np.arange(10)).all()
    assert len(np.unique(rounds, axis=0)) > len(rounds) // 2  # not in a fixed order


def test_sample_images_are_distinct_and_look_like_mnist(sample: Mnist) -> None:
    images = np.concatenate([sample.x_train, sample.x_test])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000
    pixels = normalize(sample.x_train)
    assert abs(pixels.mean()) < 0.02
    assert abs(pixels.std() - 1) < 0.02


def test_sample_labels_fit_its_images(sample: Mnist) -> None:
    # The nearest class mean is right for four images in five; wrong labels would give a tenth.
    x_train, x_test = normalize(sample.x_train), normalize(sample.x_test)
    means = np.stack([x_train[sample.y_train == digit].mean(axis=0) for digit in range(10)])
    scores = x_test @ means.T - (means**2).sum(axis=1) / 2
    assert (scores.argmax(axis=1) == sample.y_test).mean() > 0.75


def test_sample_file_is_small_and_needs_no_pickle() -> None:
    assert mnist._SAMPLE.stat().st_size < 1_200_000
    with np.load(mnist._SAMPLE, allow_pickle=False) as archive:
        assert set(archive.files) == set(Mnist._fields)


def test_import_needs_no_jax() -> None:
    # The parent package is stood in for: only the data sets themselves are in question here.
    code = (
        "import sys, types\n"
        "package = types.ModuleType('jsmpc')\n"
        f"package.__path__ = [{str(Path(mnist.__file__).parents[2])!r}]\n"
        "sys.modules['jsmpc'] = package\n"
        "import jsmpc.examples.datasets\n"
        "jsmpc.examples.datasets.load_mnist()\n"
        "assert not {'jax', 'jaxlib', 'tqdm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Copies on disk.


def test_npz_file_and_directory(tmp_path: Path, tiny: Mnist) -> None:
    np.savez(tmp_path / "mnist.npz", extra=np.zeros(3), **tiny._asdict())
    assert same(load_mnist(tmp_path / "mnist.npz"), tiny)
    assert same(load_mnist(str(tmp_path)), tiny)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_directory(tmp_path: Path, tiny: Mnist, packed: bool, dotted: bool) -> None:
    write_idx(tmp_path, tiny, packed, dotted)
    loaded = load_mnist(tmp_path)
    assert same(loaded, tiny)
    assert all(array.flags.writeable for array in loaded)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_mnist(tmp_path / "nowhere")


def test_directory_without_files_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz") as caught:
        load_mnist(tmp_path)
    assert all(name in str(caught.value) for name in NAMES)


def test_directory_with_a_part_says_what_is_missing(tmp_path: Path, tiny: Mnist) -> None:
    write_idx(tmp_path, tiny)
    (tmp_path / NAMES[2]).unlink()
    with pytest.raises(FileNotFoundError, match=NAMES[2]) as caught:
        load_mnist(tmp_path)
    assert NAMES[0] not in str(caught.value)


def test_file_of_another_kind(tmp_path: Path, tiny: Mnist) -> None:
    write_idx(tmp_path, tiny)
    with pytest.raises(ValueError, match=r"neither an \.npz file nor a directory"):
        load_mnist(tmp_path / NAMES[0])


@pytest.mark.parametrize("content", [b"", b"not a zip archive"])
def test_npz_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"mnist\.npz is not an \.npz file"):
        load_mnist(tmp_path)


def test_npz_with_flipped_bits(tmp_path: Path, tiny: Mnist) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, **tiny._asdict())
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF  # within x_train
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_mnist(path)


def test_npz_lacking_names(tmp_path: Path, tiny: Mnist) -> None:
    np.savez(tmp_path / "a.npz", x_train=tiny.x_train, y_train=tiny.y_train)
    with pytest.raises(ValueError, match=r"a\.npz lacks x_test, y_test"):
        load_mnist(tmp_path / "a.npz")


def test_npz_with_pickles_is_refused(tmp_path: Path, tiny: Mnist) -> None:
    arrays: dict[str, Any] = tiny._asdict() | {"y_test": np.array([1, "2"], dtype=object)}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match="cannot be read"):
        load_mnist(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x_train", lambda a: a / np.float32(255), r"x_train must be uint8 .* not float32"),
        ("x_test", lambda a: a.reshape(-1, 784), r"x_test must be .* \(n, 28, 28\), .*\(5, 784\)"),
        ("x_test", lambda a: a[:, :27], r"x_test must be .*\(5, 27, 28\)"),
        ("y_train", lambda a: a.astype(np.int64), "y_train must be uint8 .* not int64"),
        ("y_train", lambda a: np.eye(10, dtype=np.uint8), r"y_train must be .* shape \(n,\)"),
        ("y_train", lambda a: a[:-1], "10 train images but 9 labels"),
        ("y_test", lambda a: a + np.uint8(6), "y_test has the label 10, not in 0 to 9"),
    ],
)
def test_wrong_arrays(tmp_path: Path, tiny: Mnist, name: str, change: Any, message: str) -> None:
    np.savez(tmp_path / "a.npz", **(tiny._asdict() | {name: change(getattr(tiny, name))}))
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "magic number 0x, not 0x00000803"),
        (lambda data: b"\0\0\x08\x01" + data[4:], "magic number 0x00000801, not 0x00000803"),
        (lambda data: data[:10], "truncated: 10 bytes, shorter than its header"),
        (lambda data: data[:-1], "is truncated: 7855 bytes"),
        (lambda data: data + b"\0", "is too long: 7857 bytes"),
        (lambda data: b"\0\0\x08\x03" + b"\xff" * 12, "is truncated: 16 bytes"),
    ],
)
def test_damaged_idx(tmp_path: Path, tiny: Mnist, change: Any, message: str) -> None:
    write_idx(tmp_path, tiny)
    path = tmp_path / NAMES[0]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{NAMES[0]}.*{message}"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("change", [lambda d: d[:-20], lambda d: b"plain", lambda d: d[:12]])
def test_damaged_gzip(tmp_path: Path, tiny: Mnist, change: Any) -> None:
    write_idx(tmp_path, tiny, packed=True)
    path = tmp_path / f"{NAMES[2]}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{NAMES[2]}.gz is a damaged gzip file"):
        load_mnist(tmp_path)


# The download.


class Mirror:
    """A directory served over HTTP on this host, with a list of the paths asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        mirror = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                super().do_GET()

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Handler, directory=str(directory))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror(tmp_path: Path, tiny: Mnist, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that serves `tiny`, whose hashes are pinned in place of the real ones."""
    files = tmp_path / "served" / "mnist"
    files.mkdir(parents=True)
    write_idx(files, tiny, packed=True)
    pinned = tuple(
        file._replace(sha256=hashlib.sha256(idx(array)).hexdigest())
        for file, array in zip(mnist._IDX_FILES, tiny, strict=True)
    )
    monkeypatch.setattr(mnist, "_IDX_FILES", pinned)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mirror = Mirror(files.parent)
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.url,))
    yield mirror
    mirror.close()


def served(mirror: Mirror, number: int) -> Path:
    return mirror.directory / "mnist" / f"{NAMES[number]}.gz"


def test_pinned_names_and_hashes() -> None:
    assert tuple(file.name for file in mnist._IDX_FILES) == NAMES
    assert [file.sha256[:8] for file in mnist._IDX_FILES] == [
        "ba891046",
        "65a50cbb",
        "0fa7898d",
        "ff7bcfd4",
    ]
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in mnist._IDX_FILES)
    assert all(url.startswith("https://") for url in mnist.MIRRORS)


def test_download_once(
    tmp_path: Path, tiny: Mnist, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(load_mnist(download=True), tiny)
    assert mirror.asked == [f"/mnist/{name}.gz" for name in NAMES]
    cache = tmp_path / "cache" / "jsmpc" / "mnist"
    assert sorted(os.listdir(cache)) == sorted(f"{name}.gz" for name in NAMES)

    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert same(load_mnist(download=True), tiny)
    assert same(load_mnist(cache), tiny)


def test_download_to_a_path_fetches_only_what_is_missing(
    tmp_path: Path, tiny: Mnist, mirror: Mirror
) -> None:
    target = tmp_path / "deep" / "er"
    target.mkdir(parents=True)
    (target / NAMES[0]).write_bytes(idx(tiny.x_train))
    assert same(load_mnist(target, download=True), tiny)
    assert mirror.asked == [f"/mnist/{name}.gz" for name in NAMES[1:]]
    assert not (tmp_path / "cache").exists()


def test_download_without_tqdm(
    tiny: Mnist, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # makes the import fail
    assert same(load_mnist(download=True), tiny)
    assert capfd.readouterr().err == ""


def test_default_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert mnist._cache_directory() == tmp_path / "xdg" / "jsmpc" / "mnist"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert mnist._cache_directory() == tmp_path / ".cache" / "jsmpc" / "mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert mnist._cache_directory() == tmp_path / ".cache" / "jsmpc" / "mnist"


@pytest.mark.parametrize("fault", ["absent", "other", "truncated"])
def test_next_mirror_makes_up_for_a_bad_one(
    tmp_path: Path, tiny: Mnist, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    if fault != "absent":
        write_idx(bad, tiny._replace(x_test=~tiny.x_test), packed=True)
    if fault == "truncated":
        for path in bad.iterdir():
            path.write_bytes(path.read_bytes()[:-9])
    monkeypatch.setattr(mnist, "MIRRORS", (bad.as_uri(), mirror.url.rstrip("/")))
    assert same(load_mnist(tmp_path / "target", download=True), tiny)
    assert f"/mnist/{NAMES[2]}.gz" in mirror.asked


def test_wrong_hash_from_every_mirror_keeps_nothing(
    tmp_path: Path, tiny: Mnist, mirror: Mirror
) -> None:
    served(mirror, 2).write_bytes(gzip.compress(idx(~tiny.x_test)))
    with pytest.raises(ValueError, match=f"{NAMES[2]}.gz is not the original .*SHA-256"):
        load_mnist(tmp_path / "target", download=True)
    assert sorted(os.listdir(tmp_path / "target")) == sorted(f"{name}.gz" for name in NAMES[:2])

    served(mirror, 2).write_bytes(gzip.compress(idx(tiny.x_test)))
    assert same(load_mnist(tmp_path / "target", download=True), tiny)
    assert len(mirror.asked) == 5  # the two good files were not fetched again


def test_no_mirror_answers(tmp_path: Path, mirror: Mirror) -> None:
    served(mirror, 0).unlink()
    with pytest.raises(ConnectionError, match=f"cannot download {NAMES[0]}.*404"):
        load_mnist(tmp_path / "target", download=True)
    assert os.listdir(tmp_path / "target") == []


def test_endless_download_is_cut_off(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "_MAX_DOWNLOAD", 1000)
    with pytest.raises(ConnectionError, match="more than 1000 bytes"):
        load_mnist(tmp_path / "target", download=True)


def test_interrupted_write_leaves_no_file(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist(tmp_path / "target", download=True)
    assert os.listdir(tmp_path / "target") == []


@pytest.mark.parametrize("content", [b"plain", gzip.compress(b"other")], ids=["plain", "packed"])
def test_bad_cached_file_is_named_and_left_to_its_owner(
    tmp_path: Path, mirror: Mirror, content: bytes
) -> None:
    load_mnist(tmp_path / "target", download=True)
    path = tmp_path / "target" / f"{NAMES[1]}.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{NAMES[1]}.gz is .*remove that file"):
        load_mnist(tmp_path / "target", download=True)
    assert path.read_bytes() == content


def test_download_into_a_file(tmp_path: Path, mirror: Mirror) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"mnist\.npz is a file"):
        load_mnist(path, download=True)
    assert mirror.asked == []


# Preparing the arrays.


def test_normalize_values() -> None:
    images = np.arange(2 * 784, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    before = images.copy()
    result = normalize(images)
    assert result.shape == (2, 784)
    assert result.dtype == np.float32
    expected = (images.reshape(2, 784).astype(np.float64) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(images, before)


def test_normalize_other_constants_and_no_images() -> None:
    images = np.full((1, 28, 28), 255, dtype=np.uint8)
    result = normalize(images, mean=np.float64(0.5), std=np.float64(0.25))
    assert result.dtype == np.float32
    assert (result == 2).all()
    assert normalize(images[:0]).shape == (0, 784)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 28, 28), np.float32),
        np.zeros((28, 28), np.uint8),
        np.zeros((2, 784), np.uint8),
        np.zeros((2, 28, 28, 1), np.uint8),
    ],
)
def test_normalize_refuses_other_images(images: Any) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(n, 28, 28\)"):
        normalize(images)


@pytest.mark.parametrize(
    ("mean", "std"),
    [(float("nan"), 1), (float("inf"), 1), (0, 0), (0, -1), (0, float("nan")), (0, 1e-60)],
)
def test_normalize_refuses_other_constants(mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        normalize(np.zeros((1, 28, 28), np.uint8), mean, std)


def test_batches() -> None:
    x, y = np.arange(14).reshape(7, 2), np.arange(7)
    whole = list(batches(x, y, size=3))
    assert [len(b) for _, b in whole] == [3, 3, 1]
    assert np.array_equal(np.concatenate([a for a, _ in whole]), x)
    assert np.array_equal(np.concatenate([b for _, b in whole]), y)
    assert [len(b) for _, b in batches(x, y, size=3, drop_remainder=True)] == [3, 3]
    assert [len(b) for _, b in batches(x, y, size=7, drop_remainder=True)] == [7]
    assert list(batches(x, y, size=8, drop_remainder=True)) == []
    assert [b.tolist() for (b,) in batches(y, size=100)] == [y.tolist()]
    assert list(batches(x[:0], size=2)) == []


@pytest.mark.parametrize("size", [0, -1])
def test_batches_refuses_sizes_at_the_call(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        batches(np.zeros(3), size=size)


def test_batches_refuses_other_arguments_at_the_call() -> None:
    with pytest.raises(ValueError, match=r"equal lengths, not \[3, 4\]"):
        batches(np.zeros(3), np.zeros(4), size=2)
    with pytest.raises(ValueError, match="at least one array"):
        batches(size=2)
    with pytest.raises(TypeError):
        batches(np.zeros(3), size=1.5)  # type: ignore[arg-type]
