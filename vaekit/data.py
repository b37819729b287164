"""Data of the course: the Swiss roll, scikit-learn's digits, MNIST and its fixed binarisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits, make_swiss_roll
from sklearn.model_selection import train_test_split
from torch import Tensor

from vaekit.models import binarize

__all__ = ["Split", "binarize", "digits", "swiss_roll"]


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


def digits(*, seed: int = 0) -> Split:
    """Return scikit-learn's 1797 digits of 8×8 pixels, grey values in [0, 1], with labels.

    Train, validation and test set hold 1197, 300 and 300 digits, every class in proportion.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=300, random_state=seed, stratify=y)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=300, random_state=seed, stratify=y)
    pixels = [torch.from_numpy(a).float() / 16 for a in (x, x_valid, x_test)]
    return Split(*pixels, *(torch.from_numpy(a) for a in (y, y_valid, y_test)))
