"""Data of the course: the Swiss roll, scikit-learn's digits, MNIST and its fixed binarisation.

Data come back as float32 and labels as int64, on the CPU. The first two need no network. MNIST's
files are downloaded once, checked and cached; the environment variable `VAEKIT_DATA` names a folder
that already has them.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from sklearn.datasets import load_digits, make_swiss_roll
from sklearn.model_selection import train_test_split
from torch import Tensor

__all__ = [
    "Split",
    "binarized_mnist",
    "digits",
    "mnist",
    "read_idx",
    "swiss_roll",
    "swiss_roll_log_density",
    "swiss_roll_spiral",
]

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
BINARIZED_MNIST_MIRRORS = (
    "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    "https://raw.githubusercontent.com/mingzhang-yin/ARM-gradient/"
    "bac893cfcec486bbd00b755b12cf8402053b0e84/",
)
# The hashes of the .amat files are those that TensorFlow Datasets records for its own download.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",  # noqa: E501
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",  # noqa: E501
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",  # noqa: E501
    "binarized_mnist_valid.amat": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",  # noqa: E501
    "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


BROKEN = (zipfile.BadZipFile, zlib.error)


class Split(NamedTuple):
    """Data (N, D), float32, and labels (N,), int64, or None, for each of three uses."""

    train: Tensor
    valid: Tensor
    test: Tensor
    train_labels: Tensor | None = None
    valid_labels: Tensor | None = None
    test_labels: Tensor | None = None


def swiss_roll(n: int, *, noise: float = 0.5, seed: int = 0) -> Tensor:
    """Return n points of the two-dimensional Swiss roll, shape (n, 2), float32, on the CPU.

    These are the two coordinates of scikit-learn's roll in which it is rolled up, divided by 10:
    the roll then lies within about ±1.5. `noise` is in the units before the division.
    """
    points, _ = make_swiss_roll(n, noise=noise, random_state=seed)
    return torch.from_numpy(points[:, [0, 2]] / 10).float()


def swiss_roll_spiral(n: int = 2000) -> Tensor:
    """Return n points of the spiral without its noise, shape (n, 2), from the inner end outwards.

    They are (t cos t, t sin t) / 10 at the midpoints of n equal steps of t from 3π/2 to 9π/2.
    """
    return _spiral(n).float()


def _spiral(n: int) -> Tensor:
    t = math.pi * (1.5 + 3 * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    return torch.stack([t * t.cos(), t * t.sin()], dim=1) / 10


def swiss_roll_log_density(x: Tensor, *, noise: float = 0.5) -> Tensor:
    """Return the true log density of the Swiss roll at x (…, 2), shape (…), in nats.

    It is the mean over t of Gaussians centred on the spiral: an integral, here the midpoint rule
    with 2000 values. At the noise given here it is right to some 10⁻⁴ nats at the ends of the
    spiral, to 10⁻² three standard deviations beyond them, and elsewhere to many digits in float64
    and some 10⁻⁵ in float32. With less noise the ends are worse, and below a noise of about 0.05
    the 2000 values stand too far apart: at 0.03 errors of some 10⁻² are found on the outer arm.

    Raises
    ------
    ValueError
        If x has no last dimension of 2, or the noise is not positive and finite.
    """
    if x.shape[-1:] != (2,):
        raise ValueError(f"x must have shape (…, 2), got {tuple(x.shape)}")
    if not 0 < noise < math.inf:
        raise ValueError(f"noise must be positive and finite, got {noise}")
    variance = (noise / 10) ** 2
    squares = torch.cdist(x.reshape(-1, 2), _spiral(2000).to(x)).square()
    each = -squares / (2 * variance) - math.log(2 * math.pi * variance)
    return each.logsumexp(-1).view(x.shape[:-1]) - math.log(each.shape[-1])


def digits(*, seed: int = 0) -> Split:
    """Return scikit-learn's 1797 digits of 8×8 pixels, grey values in [0, 1], with labels.

    Train, validation and test set hold 1197, 300 and 300 digits, every class in proportion.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=300, random_state=seed, stratify=y)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=300, random_state=seed, stratify=y)
    pixels = [torch.from_numpy(a).float() / 16 for a in (x, x_valid, x_test)]
    return Split(*pixels, *(torch.from_numpy(a) for a in (y, y_valid, y_test)))


def mnist() -> Split:
    """Return MNIST's 28×28 digits, grey values in [0, 1], shape (N, 784), with labels.

    The first 50 000 digits of its training file are the training set, the last 10 000 the
    validation set; the test set holds 10 000.

    Raises
    ------
    OSError
        If a file is not in the folder that `VAEKIT_DATA` names or, where that is not set, cannot
        be downloaded.
    ValueError
        If a file is damaged.
    """
    names = [
        f"{part}-{kind}" for kind in ("images-idx3", "labels-idx1") for part in ("train", "t10k")
    ]
    x, x_test, y, y_test = (
        torch.from_numpy(read_idx(_fetch(f"{name}-ubyte.gz", MNIST_MIRRORS))) for name in names
    )
    x, x_test = (a.flatten(1).float() / 255 for a in (x, x_test))
    y, y_test = y.long(), y_test.long()
    return Split(x[:50000], x[50000:], x_test, y[:50000], y[50000:], y_test)


def binarized_mnist() -> Split:
    """Return the fixed binarisation of MNIST by Larochelle, pixels 0 and 1, without labels.

    50 000, 10 000 and 10 000 digits of 784 pixels: the data set of most published test NLLs. In
    `VAEKIT_DATA` a `static_binarized.npz` with arrays `train`, `valid` and `test` will also do.

    Raises
    ------
    OSError
        If a file is not in the folder that `VAEKIT_DATA` names or, where that is not set, cannot
        be downloaded.
    ValueError
        If a file is damaged.
    """
    folder = os.environ.get("VAEKIT_DATA")
    npz = Path(folder or "") / "static_binarized.npz"
    parts = []
    for part in ("train", "valid", "test"):
        name = f"binarized_mnist_{part}.amat"
        if folder and npz.exists():
            try:
                text = _as_amat(np.load(npz)[part].reshape(-1, 784))
            except (OSError, EOFError, LookupError, ValueError, *BROKEN) as error:
                raise ValueError(f"{npz} is damaged or lacks {part} ({error})") from error
            _check_sha256(text, name, npz)
        else:
            text = _fetch(name, BINARIZED_MNIST_MIRRORS).read_bytes()
        pixels = np.frombuffer(text, np.uint8).reshape(-1, 2 * 784)[:, ::2] - ord("0")
        parts.append(torch.from_numpy(pixels).float())
    return Split(*parts)


def _as_amat(pixels: np.ndarray) -> bytes:
    """Write rows of 0 and 1 as the text of an .amat file, so that one checksum holds for both."""
    text = np.full((len(pixels), 2 * pixels.shape[1]), ord(" "), np.uint8)
    text[:, ::2] = pixels + ord("0")
    text[:, -1] = ord("\n")
    return text.tobytes()


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in an idx file of unsigned bytes, compressed with gzip or not.

    Raises
    ------
    ValueError
        If the magic number is wrong or the body is not as long as the header says.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged, truncated or not compressed by gzip ({error})"
        ) from error
    dims = content[3] if len(content) > 3 else 0
    if content[:3] != b"\0\0\x08" or not 1 <= dims <= 4:
        raise ValueError(f"{path} is no idx file of bytes: its magic number is {content[:4].hex()}")
    if len(content) < 4 + 4 * dims:
        raise ValueError(f"{path} is truncated in its header")
    shape = np.frombuffer(content[4 : 4 + 4 * dims], ">u4").astype(int)
    body = np.frombuffer(content[4 + 4 * dims :], np.uint8)
    if len(body) != shape.prod():
        raise ValueError(f"{path} is truncated: {len(body)} bytes in place of {shape.prod()}")
    return body.reshape(shape).copy()


def _check_sha256(content: bytes, name: str, path: Path) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ValueError(f"{path} is not the published {name}: its SHA-256 is wrong")


def _fetch(name: str, mirrors: tuple[str, ...]) -> Path:
    """Return the path of a checked file: in `VAEKIT_DATA`, in the cache, or downloaded there."""
    if folder := os.environ.get("VAEKIT_DATA"):
        path = Path(folder) / name
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist, and VAEKIT_DATA names that folder")
        _check_sha256(path.read_bytes(), name, path)
        return path
    failures = []
    for mirror in mirrors:
        try:
            path = pooch.retrieve(
                mirror + name,
                known_hash=f"sha256:{SHA256[name]}",
                fname=name,
                path=pooch.os_cache("vaekit"),
                progressbar=True,
            )
            return Path(path)
        except (OSError, ValueError) as error:  # no network, a broken mirror, a wrong checksum
            failures.append(f"{mirror}: {type(error).__name__}")
    raise OSError(
        f"could not download {name} ({'; '.join(failures)}): put the file into a folder"
        " and name that folder in the environment variable VAEKIT_DATA"
    )
