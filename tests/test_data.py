"""Data: shapes and splits, damaged files, mirrors that fail."""

import gzip
import hashlib
import math
import os
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pooch
import pytest
import torch
from sklearn.datasets import load_digits, make_swiss_roll

from vaekit import data
from vaekit.data import read_idx

mnist_files = pytest.mark.skipif(
    "VAEKIT_DATA" not in os.environ, reason="VAEKIT_DATA names no folder with MNIST"
)


def test_swiss_roll_is_the_flat_part_of_scikit_learns():
    x = data.swiss_roll(500, noise=0.2, seed=3)
    points, _ = make_swiss_roll(500, noise=0.2, random_state=3)
    assert x.dtype == torch.float32 and x.shape == (500, 2)
    torch.testing.assert_close(x.double() * 10, torch.from_numpy(points[:, [0, 2]]))
    assert x.abs().max() < 1.6
    assert not torch.equal(x, data.swiss_roll(500, noise=0.2, seed=4))


def test_digits_are_split_once_and_in_proportion():
    split = data.digits()
    assert [len(part) for part in split] == [1197, 300, 300] * 2
    assert all(part.dtype == torch.float32 and part.shape[1] == 64 for part in split[:3])
    images, _ = load_digits(return_X_y=True)
    ours = sorted(map(tuple, (torch.cat(split[:3]) * 16).int().tolist()))
    assert ours == sorted(map(tuple, images.astype(int).tolist()))
    for labels in split[3:]:
        assert (torch.bincount(labels) / len(labels) - 0.1).abs().max() < 0.005
    assert torch.equal(split.test, data.digits().test)
    assert not torch.equal(split.test, data.digits(seed=1).test)


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + (
        array.tobytes()
    )  # fmt: skip


PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("compress", [True, False])
def test_idx_is_read(tmp_path, compress):
    path = tmp_path / ("x.gz" if compress else "x")
    path.write_bytes(gzip.compress(idx(PIXELS)) if compress else idx(PIXELS))
    assert np.array_equal(read_idx(path), PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x0d" + idx(PIXELS)[3:], "magic number is 00000d03"),
        (b"PK\x03\x04" + idx(PIXELS)[4:], "magic number is 504b0304"),
        (b"", "magic number is"),
        (idx(PIXELS)[:-5], "truncated: 19 bytes in place of 24"),
        (idx(PIXELS) + b"\0", "25 bytes in place of 24"),
        (idx(PIXELS)[:10], "truncated"),
    ],
)
def test_a_damaged_idx_is_refused_by_name(tmp_path, content, message):
    for path, written in ((tmp_path / "x", content), (tmp_path / "x.gz", gzip.compress(content))):
        path.write_bytes(written)
        with pytest.raises(ValueError, match=message) as error:
            read_idx(path)
        assert str(path) in str(error.value)


def test_a_cut_or_foreign_gz_is_refused_by_name(tmp_path):
    path = tmp_path / "x.gz"
    whole = bytearray(gzip.compress(idx(PIXELS)))
    whole[12] ^= 255  # of the compressed blocks
    for content in (gzip.compress(idx(PIXELS))[:-9], b"not compressed", bytes(whole)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.gz is damaged, truncated or not compressed"):
            read_idx(path)


# where files come from


@pytest.fixture
def published(monkeypatch):
    """Three files of two images each stand in for the real ones."""
    texts = {}
    for i, part in enumerate(("train", "valid", "test")):
        pixels = (np.arange(2 * 784).reshape(2, 784) % (i + 2) == 0).astype(np.uint8)
        texts[f"binarized_mnist_{part}.amat"] = b"".join(
            b" ".join(str(p).encode() for p in row) + b"\n" for row in pixels
        )
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    monkeypatch.setattr(data, "SHA256", hashes)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    return texts


def expected(texts: dict[str, bytes]) -> list[torch.Tensor]:
    return [torch.tensor([[float(c) for c in r.split()] for r in t.split(b"\n")[:-1]])
            for t in texts.values()]  # fmt: skip


def test_a_folder_of_ones_own(published, monkeypatch, tmp_path):
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"binarized_mnist_train.amat does not exist"):
        data.binarized_mnist()
    for name, text in published.items():
        (tmp_path / name).write_bytes(text)
    for a, b in zip(data.binarized_mnist()[:3], expected(published), strict=True):
        assert torch.equal(a, b)
    (tmp_path / "binarized_mnist_valid.amat").write_bytes(b"1" + text[1:])
    with pytest.raises(ValueError, match=r"valid\.amat is not the published .* SHA-256 is wrong"):
        data.binarized_mnist()


def test_a_folder_with_arrays(published, monkeypatch, tmp_path):
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path))
    train, valid, test = (p.byte().numpy() for p in expected(published))
    np.savez(tmp_path / "static_binarized.npz", train=train, valid=valid, test=test)
    assert torch.equal(data.binarized_mnist().test, expected(published)[2])
    np.savez(tmp_path / "static_binarized.npz", train=1 - train, valid=valid, test=test)
    with pytest.raises(ValueError, match=r"\.npz is not the published binarized_mnist_train"):
        data.binarized_mnist()
    np.savez(tmp_path / "static_binarized.npz", train=train)
    with pytest.raises(ValueError, match=r"\.npz"):
        data.binarized_mnist()
    path = tmp_path / "static_binarized.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"\.npz is damaged or lacks train"):
        data.binarized_mnist()


def test_the_density_of_the_roll_keeps_the_digits_of_float64():
    """Against twenty times as many values of t."""
    x = data.swiss_roll(20).double()
    t = math.pi * (1.5 + 3 * (torch.arange(40_000).double() + 0.5) / 40_000)
    centres = torch.stack([t * t.cos(), t * t.sin()], 1) / 10
    squares = (x[:, None] - centres).square().sum(-1)
    truth = (-squares / (2 * 0.05**2)).logsumexp(1) - math.log(40_000 * 2 * math.pi * 0.05**2)
    error = (data.swiss_roll_log_density(x) - truth).abs()
    assert error.median() < 1e-12 and error.max() < 1e-4  # the largest at the ends of the roll
    assert data.swiss_roll_spiral().dtype == torch.float32


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "www"
    (folder / "good").mkdir(parents=True)
    (folder / "bad").mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


def test_mirrors_are_tried_in_turn_and_files_are_cached(published, server, monkeypatch, tmp_path):
    folder, url = server
    for name, text in published.items():
        (folder / "good" / name).write_bytes(text)
        (folder / "bad" / name).write_bytes(text[:-1])
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(
        data, "BINARIZED_MNIST_MIRRORS", (f"{url}/absent/", f"{url}/bad/", f"{url}/good/")
    )
    for a, b in zip(data.binarized_mnist()[:3], expected(published), strict=True):
        assert torch.equal(a, b)
    for name in published:
        (folder / "good" / name).unlink()
    assert torch.equal(data.binarized_mnist().train, expected(published)[0])  # from the cache
    (tmp_path / "cache" / "binarized_mnist_train.amat").write_bytes(b"0")
    with pytest.raises(OSError, match=r"could not download binarized_mnist_train.amat .*VAEKIT_"):
        data.binarized_mnist()


def test_no_network_is_one_error_that_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setattr(data, "MNIST_MIRRORS", ("http://127.0.0.1:9/", "http://127.0.0.1:1/"))
    with pytest.raises(OSError, match="put the file into a folder and name that folder"):
        data.mnist()


def test_every_file_has_two_mirrors_and_a_checksum():
    for mirrors in (data.MNIST_MIRRORS, data.BINARIZED_MNIST_MIRRORS):
        assert len({mirror.split("/")[2] for mirror in mirrors}) >= 2
    assert len(data.SHA256) == 7 and all(len(h) == 64 for h in data.SHA256.values())


@mnist_files
def test_mnist_is_mnist():
    split = data.mnist()
    assert [tuple(part.shape) for part in split[:3]] == [(50000, 784), (10000, 784), (10000, 784)]
    assert torch.bincount(torch.cat(split[3:5])).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert split.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert split.train.min() == 0 and split.train.max() == 1


@mnist_files
def test_binarized_mnist_is_larochelles():
    split = data.binarized_mnist()
    assert [tuple(part.shape) for part in split[:3]] == [(50000, 784), (10000, 784), (10000, 784)]
    assert set(split.test.unique().tolist()) == {0.0, 1.0}


def test_the_density_of_the_roll_is_that_of_its_samples():
    axis = torch.linspace(-2.2, 2.2, 221)
    density = data.swiss_roll_log_density(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * 0.02**2 == pytest.approx(1, abs=1e-3)
    x = data.swiss_roll(100_000, seed=3)
    inside = (x[:, 0] > 0).float().mean().item()  # against the integral over the same half
    half = torch.cartesian_prod(axis[axis > 0.01] - 0.01, axis)
    assert data.swiss_roll_log_density(half).exp().sum() * 0.02**2 == pytest.approx(
        inside, abs=0.01
    )
    spiral = data.swiss_roll_spiral()
    squares = torch.cdist(x[:2000], spiral).amin(1).square()
    assert squares.mean().item() == pytest.approx(0.05**2, rel=0.15)
    assert spiral[0].norm().item() == pytest.approx(0.15 * torch.pi, rel=1e-2)
