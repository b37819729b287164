"""What a VAE minimises, and `audit`, which says of any loss what it minimises (chapter 9).

The losses are −ELBO with a weight β on the KL term: summed over the D data dimensions and the K
latent dimensions, averaged over the batch, in nats. The formulas are those of `vaekit.likelihoods`
and `vaekit.divergence`, which the models train with; here they only meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaekit.divergence import kl_term
from vaekit.gaussian import log_density
from vaekit.likelihoods import BernoulliLikelihood, ContinuousBernoulliLikelihood

__all__ = [
    "Audit",
    "audit",
    "bernoulli_loss",
    "best_variance",
    "continuous_bernoulli_loss",
    "gaussian_loss",
    "kl_one_sample",
    "kl_one_sample_variance",
    "negative_elbo",
]

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def negative_elbo(
    log_likelihood: Tensor, mu: Tensor, log_variance: Tensor, beta: float = 1.0
) -> Tensor:
    """−ln p(x|z) + β Σ_k KL_k for each data point: the formula alone, with nothing validated.

    Parameters
    ----------
    log_likelihood : Tensor
        ln p(x|z) in nats, summed over the data dimensions, shape (...).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (..., K).
    beta : float
        Weight of the KL term; 1 gives −ELBO.

    Returns
    -------
    Tensor
        Nats, shape (...); dtype and device are kept.

    Notes
    -----
    The KL term is that of `loss-kl-term`.
    """
    return beta * kl_term(mu, log_variance).sum(-1) - log_likelihood


def gaussian_loss(
    mean: Tensor,
    x: Tensor,
    mu: Tensor,
    log_variance: Tensor,
    *,
    variance: float | Tensor = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """−ELBO of a Gaussian decoder N(f(z), s² I), with its constant: the mean over the batch.

    Parameters
    ----------
    mean, x : Tensor
        The decoder's mean f(z) and the data, shape (B, D).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (B, K).
    variance : float or Tensor
        s², one number, or one for each dimension, shape (D,).
    beta : float
        Weight of the KL term.

    Returns
    -------
    Tensor
        Nats per data point, shape (); dtype and device are kept. It may be negative.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or s² is not positive.

    Notes
    -----
    Derived in `loss-gaussian-decoder`; a fixed s² is a β (`loss-sigma-is-beta`).
    """
    _validate(mean, x, mu, log_variance, "mean")
    variance = torch.as_tensor(variance, dtype=mean.dtype, device=mean.device)
    if not ((variance > 0) & variance.isfinite()).all():
        raise ValueError(f"variance must be positive and finite, got {variance.tolist()}")
    log_likelihood = log_density(x, mean, variance.log()).sum(-1)
    return negative_elbo(log_likelihood, mu, log_variance, beta).mean()


def bernoulli_loss(
    h: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor, *, beta: float = 1.0
) -> Tensor:
    """−ELBO of a Bernoulli decoder with logits h: the mean over the batch.

    Parameters
    ----------
    h, x : Tensor
        The decoder's logits and the data, shape (B, D). Between 0 and 1 the value is a
        cross-entropy, and no likelihood (claim `loss-continuous-bernoulli`).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (B, K).
    beta : float
        Weight of the KL term.

    Returns
    -------
    Tensor
        Nats per data point, shape (); dtype and device are kept.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or x leaves [0, 1].

    Notes
    -----
    Derived in `loss-bernoulli`, in the form of `loss-bce-logits`.
    """
    _validate(h, x, mu, log_variance, "h", unit=True)
    log_likelihood = BernoulliLikelihood(grey=True).log_prob(h, x)
    return negative_elbo(log_likelihood, mu, log_variance, beta).mean()


def continuous_bernoulli_loss(
    h: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor, *, beta: float = 1.0
) -> Tensor:
    """−ELBO of a continuous Bernoulli decoder with logits h: the mean over the batch.

    Parameters
    ----------
    h, x : Tensor
        The decoder's logits and the grey data in [0, 1], shape (B, D).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (B, K).
    beta : float
        Weight of the KL term.

    Returns
    -------
    Tensor
        Nats per data point, shape (); dtype and device are kept. It may be negative.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or x leaves [0, 1].

    Notes
    -----
    Derived in `loss-continuous-bernoulli`.
    """
    _validate(h, x, mu, log_variance, "h", unit=True)
    log_likelihood = ContinuousBernoulliLikelihood().log_prob(h, x)
    return negative_elbo(log_likelihood, mu, log_variance, beta).mean()


def best_variance(mean: Tensor, x: Tensor) -> Tensor:
    """Return the s² under which x is most likely in N(mean, s² I): the mean squared error.

    Parameters
    ----------
    mean, x : Tensor
        Reconstructions and data, of one shape.

    Returns
    -------
    Tensor
        Shape (); zero, which is no variance, if every reconstruction is perfect.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Notes
    -----
    Derived in `loss-optimal-sigma`.
    """
    if mean.shape != x.shape:
        raise ValueError(f"mean has shape {tuple(mean.shape)}, x has {tuple(x.shape)}")
    _require_finite(mean=mean, x=x)
    return (x - mean).square().mean()


def kl_one_sample(mu: Tensor, log_variance: Tensor, epsilon: Tensor) -> Tensor:
    """Return ln q(z) − ln p(z) at z = μ + σ ε: the KL term estimated from one sample.

    Parameters
    ----------
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), of shapes that broadcast with ε.
    epsilon : Tensor
        Standard normal noise.

    Returns
    -------
    Tensor
        Nats, one value for each latent dimension, of the broadcast shape. It may be negative.

    Notes
    -----
    Derived in `kl-analytic-variance`. The constants of the two densities cancel.
    """
    z = mu + (log_variance / 2).exp() * epsilon
    return 0.5 * (z.square() - epsilon.square() - log_variance)


def kl_one_sample_variance(mu: Tensor, log_variance: Tensor) -> Tensor:
    """Return the variance of `kl_one_sample`: ½ (σ² − 1)² + μ² σ², for each latent dimension.

    Parameters
    ----------
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), of shapes that broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        Nats squared, of the broadcast shape; zero exactly where q is the prior.

    Notes
    -----
    Derived in `kl-analytic-variance`.
    """
    sigma_squared = log_variance.exp()
    return 0.5 * (sigma_squared - 1) ** 2 + mu**2 * sigma_squared


def _require_finite(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _validate(
    output: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor, name: str, unit: bool = False
) -> None:
    """Raise one error that names the argument unless all four fit together."""
    if output.ndim != 2 or output.shape != x.shape:
        raise ValueError(
            f"{name} and x must have one shape (B, D), got {tuple(output.shape)}"
            f" and {tuple(x.shape)}"
        )
    if mu.ndim != 2 or mu.shape != log_variance.shape or len(mu) != len(x):
        raise ValueError(
            f"mu and log_variance must have one shape ({len(x)}, K), got {tuple(mu.shape)}"
            f" and {tuple(log_variance.shape)}"
        )
    _require_finite(**{name: output}, x=x, mu=mu, log_variance=log_variance)
    if unit and not ((x >= 0) & (x <= 1)).all():
        raise ValueError("x must lie in [0, 1]")


# What follows is the audit: what is this loss?

READINGS = {  # what the last argument may be: by its name, in symbols
    "log_variance": "ln σ²",
    "log_sigma": "ln σ",
    "variance": "σ²",
    "sigma": "σ",
}
# How σ² and ln σ² look in each: the feature that is σ², and that of which ln σ² is a multiple.
_SPREAD = {
    "log_variance": ("exp", "same", 1.0),
    "log_sigma": ("exp of twice", "same", 2.0),
    "variance": ("same", "ln", 1.0),
    "sigma": ("square", "ln", 2.0),
}
_NAMES = {
    "squared": "squared error",
    "absolute": "absolute error",
    "cross-entropy, probabilities": "cross-entropy of probabilities",
    "cross-entropy, logits": "cross-entropy of logits",
    "constant, probabilities": "ln of the continuous Bernoulli's constant, from probabilities",
    "constant, logits": "ln of the continuous Bernoulli's constant, from logits",
    "entropy of x": "entropy of x",
    "ln mse": "logarithm of the mean squared error of the batch",
    "ln mse of each": "logarithm of each point's mean squared error",
}
_LIKELIHOODS = {  # which features, in which proportion, are which likelihood
    "Gaussian": {"squared": 1.0},
    "Laplace": {"absolute": 1.0},
    "Bernoulli, from probabilities": {"cross-entropy, probabilities": 1.0},
    "Bernoulli, from logits": {"cross-entropy, logits": 1.0},
    "Bernoulli, from probabilities, less the entropy of x": {
        "cross-entropy, probabilities": 1.0,
        "entropy of x": -1.0,
    },
    "continuous Bernoulli, from probabilities": {
        "cross-entropy, probabilities": 1.0,
        "constant, probabilities": -1.0,
    },
    "continuous Bernoulli, from logits": {
        "cross-entropy, logits": 1.0,
        "constant, logits": -1.0,
    },
    "Gaussian with the best variance": {"ln mse": 1.0},
    "Gaussian with the best variance for each point": {"ln mse of each": 1.0},
}
NONE = "none of these"
_PROBES = 28
_ZERO = 1e-6  # a feature that moves the loss by less than this share of it is not there


@dataclass(frozen=True)
class Audit:
    """What a loss turned out to be: made by `audit`, and printed in words.

    Attributes
    ----------
    likelihood : str
        "Gaussian", "Laplace", "Bernoulli, from logits", …; "none" without a reconstruction term,
        "none of these" where no likelihood known here fits.
    variance : float or None
        Of a Gaussian: s², the decoder's variance at the `beta` named here.
    beta : float or None
        The weight of the KL term beside −ln p(x|z). For squared error without its constant β and
        s² are one number: `beta` is then 1, and `variance` says it all (`loss-sigma-is-beta`).
    reads : str or None
        What the last argument is taken for: "log_variance", "log_sigma", "variance" or "sigma".
    prior_variance : float or None
        τ² of the prior N(0, τ² I) that the KL term refers to.
    reconstruction_reduction, kl_reduction : str
        Such as "mean over the batch, sum over the dimensions".
    reconstruction_weight, kl_weight : float
        What multiplies each of the two after these reductions. The KL term's is that of
        ½ (σ² + μ² − ln σ² − 1), the squared error's that of (x − f)².
    normalised : bool or None
        Whether the constants are there, so that the value is −ELBO up to `beta` and reductions;
        None where the question does not arise.
    faults : tuple of str
        What is wrong, in words; empty if nothing is.
    remarks : tuple of str
        What is worth knowing and not wrong.
    residual : float
        The largest part of the loss that this description leaves out, over the standard deviation
        of the loss on the inputs tried; rounding if the description is exact.
    """

    likelihood: str
    variance: float | None
    beta: float | None
    reads: str | None
    prior_variance: float | None
    reconstruction_reduction: str
    kl_reduction: str
    reconstruction_weight: float
    kl_weight: float
    normalised: bool | None
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    residual: float
    exact: bool

    def __str__(self) -> str:
        lines = [self.verdict]
        if self.likelihood not in ("none", NONE):
            lines.append(
                f"reconstruction: {_number(self.reconstruction_weight)} ×"
                f" {self.reconstruction_reduction}"
            )
        if self.reads is not None:
            lines.append(
                f"KL term: {_number(self.kl_weight)} × {self.kl_reduction};"
                f" reads {READINGS[self.reads]}"
            )
        lines += [f"note: {remark}" for remark in self.remarks]
        lines += [f"wrong: {fault}" for fault in self.faults]
        if self.exact:
            lines.append("Nothing is left over: the description is exact to rounding.")
        else:
            lines.append(f"Left over: {self.residual:.1g} times the loss's standard deviation.")
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def verdict(self) -> str:
        """One line: the likelihood, s² and β."""
        if self.likelihood == NONE:
            return "None of the losses known here."
        if self.likelihood == "none":
            return "No reconstruction term."
        parts = [self.likelihood]
        if self.variance is not None:
            parts.append(f"s² = {_number(self.variance)}")
        if self.beta is not None:
            parts.append(f"β = {_number(self.beta)}")
        return ", ".join(parts)


def audit(
    loss: Loss,
    *,
    data_shape: int | Sequence[int] = 6,
    latent: int = 3,
    batch: int = 4,
    spread: str = "log_variance",
) -> Audit:
    """Say what a loss is: which likelihood, which decoder variance, which β, and what is wrong.

    The loss is called on some hundred chosen inputs, and no network is trained. Its values have to
    be a linear combination of a reconstruction term (squared or absolute error, cross-entropy of
    probabilities or logits, the continuous Bernoulli, the logarithm of a mean squared error) and of
    the pieces of a KL term (μ², σ², ln σ², with the last argument read in each of four ways). The
    weights come from linear equations, so they are exact to rounding. Other sizes of batch, data
    and latent space tell sums from means.

    Parameters
    ----------
    loss : callable
        Maps (reconstruction, x, mu, log_variance), of shapes (B, …), (B, …), (B, K) and (B, K), to
        a tensor: one number, or one for each data point, which are then averaged.
    data_shape : int or sequence of int
        The shape of one data point, D or such as (1, 28, 28).
    latent, batch : int
        K and B.
    spread : {"log_variance", "log_sigma", "variance", "sigma"}
        What your encoder hands the loss as its last argument.

    Returns
    -------
    Audit
        For `print`, and for its attributes. β and s² are those at the sizes given here.

    Raises
    ------
    ValueError
        If `spread` is none of the four, a size is below 1, or the loss returns no numbers.

    Notes
    -----
    Rests on `loss-kl-term`, `loss-gaussian-decoder`, `loss-sigma-is-beta`,
    `loss-reduction-is-beta`, `loss-bernoulli` and `loss-continuous-bernoulli`.

    Examples
    --------
    >>> def mine(mean, x, mu, log_variance):
    ...     kl = 0.5 * (log_variance.exp() + mu**2 - log_variance - 1).sum()
    ...     return ((mean - x) ** 2).sum() + kl
    >>> audit(mine).verdict
    'Gaussian, s² = 0.5, β = 1'
    """
    if spread not in READINGS:
        raise ValueError(f"spread = {spread!r}: choose one of {', '.join(READINGS)}")
    shape = (data_shape,) if isinstance(data_shape, int) else tuple(data_shape)
    if min(*shape, latent, batch, 1) < 1:
        raise ValueError("data_shape, latent and batch must be 1 or more")
    probe = _Probe(loss, batch, shape, latent)
    try:
        probe.value(*probe.start)
    except (ValueError, RuntimeError):  # perhaps it refuses grey pixels
        probe.start = (*probe.images(True), *probe.codes())
    again = probe.value(*probe.start), probe.value(*probe.start)
    if again[0] != again[1] and not math.isnan(again[0]):
        return _unknown(["two calls with the same arguments give two values"], 1.0)
    fit = probe.fit()
    if fit is None:
        return _unknown(["the value is NaN or infinite at ordinary arguments"], math.inf)
    if not fit.exact:
        return _unknown([], fit.residual, probe.unreached())
    wider = probe.scalings(fit)
    return _describe(probe, fit, wider, spread)


def _unknown(faults: list[str], residual: float, unreached: Sequence[str] = ()) -> Audit:
    faults = [*faults, *unreached]
    return Audit(
        NONE, None, None, None, None, "", "", math.nan, math.nan, None, tuple(faults), (), residual,
        False,
    )  # fmt: skip


@dataclass
class _Fit:
    """Weights of the features that are there, by name, and what they leave out."""

    reconstruction: dict[str, float]
    kl: dict[str, float]
    constant: float
    residual: float
    exact: bool
    binary: bool

    def weight(self) -> tuple[float, float]:
        """Return the weights of the reconstruction term and of −½ ln σ², or of σ² without it."""
        first = next(iter(self.reconstruction.values()), 0.0)
        return first, _kl_weight(self.kl)


class _Probe:
    """Calls a loss on chosen inputs and solves for its weights."""

    def __init__(self, loss: Loss, batch: int, shape: tuple[int, ...], latent: int):
        self.loss, self.batch, self.shape, self.latent = loss, batch, shape, latent
        self.g = torch.Generator().manual_seed(0)
        self.single = False  # whether the loss answers in float32
        self.per_point = False
        self.start = (*self.images(False), *self.codes())

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        u = torch.rand(*shape, generator=self.g, dtype=torch.float64)
        return low + (high - low) * u

    def around(self, low: float, high: float, *shape: int, spread: bool = True) -> Tensor:
        """Numbers around a random centre; or all of them the centre."""
        centre = self.uniform(low, high, 1).item()
        if not spread:
            return torch.full(shape, centre, dtype=torch.float64)
        return 0.3 * centre + 0.7 * self.uniform(low, high, *shape)

    def images(self, binary: bool, spread: bool = True) -> tuple[Tensor, Tensor]:
        size = self.batch, *self.shape
        r = self.around(0.03, 0.97, *size, spread=spread)
        if binary:
            x = (self.uniform(0, 1, *size) < self.uniform(0, 1, 1)).double()
        else:
            x = self.around(0.03, 0.97, *size, spread=spread)
        return r, x

    def codes(self, spread: bool = True) -> tuple[Tensor, Tensor]:
        size = self.batch, self.latent
        mu = self.uniform(-1, 1, 1) * self.around(-2, 2, *size, spread=spread)
        return mu, self.around(0.05, 2.5, *size, spread=spread)

    def value(self, *arguments: Tensor) -> float:
        return self.answer(*(a.clone() for a in arguments)).item()

    def answer(self, *arguments: Tensor) -> Tensor:
        out = self.loss(*arguments)
        if isinstance(out, int | float):
            out = torch.tensor(float(out), dtype=torch.float64)
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.numel() == 0:
            raise ValueError(f"the loss must return a tensor of numbers, got {type(out).__name__}")
        self.single |= out.dtype != torch.float64
        self.per_point |= out.numel() > 1
        return out.mean()

    @property
    def tolerance(self) -> float:
        return 2e-5 if self.single else 1e-9

    def fit(self) -> _Fit | None:
        """Fit grey data first; if that fails, black-and-white data."""
        grey = self.fit_on(binary=False)
        if grey is not None and grey.exact:
            return grey
        black_and_white = self.fit_on(binary=True)
        fits = [fit for fit in (grey, black_and_white) if fit is not None]
        return min(fits, key=lambda fit: (not fit.exact, fit.residual), default=None)

    def fit_on(self, binary: bool, like: _Fit | None = None) -> _Fit | None:
        """Solve for the weights of all features, or of those alone that another fit found."""
        r0, x0 = self.images(binary)
        mu0, spread0 = self.codes()
        probes = _PROBES if like is None else 4 + 2 * max(len(like.reconstruction), len(like.kl))
        images = [self.images(binary, spread=i % 2 == 0) for i in range(probes)]
        codes = [self.codes(spread=i % 2 == 0) for i in range(probes)]
        try:
            of_images = [self.value(*pair, mu0, spread0) for pair in images]
            of_codes = [self.value(r0, x0, *pair) for pair in codes]
            of_both = [self.value(*a, *b) for a, b in zip(images, codes, strict=True)]
        except (ValueError, RuntimeError):
            if binary:
                raise
            return None
        of_images, of_codes, of_both = (
            torch.as_tensor(v, dtype=torch.float64) for v in (of_images, of_codes, of_both)
        )
        if not (of_images.isfinite().all() and of_codes.isfinite().all()):
            return None
        if not of_both.isfinite().all():
            return None
        first_names = None if like is None else set(like.reconstruction)
        second_names = None if like is None else set(like.kl)
        image_features = [_image_features(*pair, binary, first_names) for pair in images]
        code_features = [_code_features(*pair, second_names) for pair in codes]
        size = of_both.std().item()
        if size == 0:  # a constant: nothing to solve for
            return _Fit({}, {}, of_both[0].item(), 0.0, True, binary)
        first, left1 = _solve(image_features, of_images, size, self.tolerance)
        second, left2 = _solve(code_features, of_codes, size, self.tolerance)
        # both at once: the two terms are added, or they are not
        told = torch.tensor(
            [
                sum(w * a[name] for name, w in first.items())
                + sum(w * b[name] for name, w in second.items())
                for a, b in zip(image_features, code_features, strict=True)
            ],
            dtype=torch.float64,
        )
        constant = (of_both - told).mean().item()
        left3 = (of_both - told - constant).abs().max().item()
        residual = max(left1, left2, left3) / size
        return _Fit(first, second, constant, residual, residual < self.tolerance, binary)

    def scalings(self, fit: _Fit) -> dict[str, tuple[float, float] | None]:
        """Return by what both weights are multiplied when B, D or K is doubled; None if refused."""
        found: dict[str, tuple[float, float] | None] = {}
        base = fit.weight()
        wide = (*self.shape[:-1], 2 * self.shape[-1])
        for name, sizes in {
            "B": (2 * self.batch, self.shape, self.latent),
            "D": (self.batch, wide, self.latent),
            "K": (self.batch, self.shape, 2 * self.latent),
        }.items():
            try:
                other = _Probe(self.loss, *sizes).fit_on(fit.binary, fit)
            except Exception:  # sizes written into the loss: whatever it raises says no more
                other = None
            if other is None or not other.exact:
                found[name] = None
                continue
            ratios = [b / a if a else 1.0 for a, b in zip(base, other.weight(), strict=True)]
            found[name] = tuple(ratios)
        return found

    def unreached(self) -> list[str]:
        """Name the arguments that autograd's derivative does not reach as it should."""
        arguments = [a.clone().requires_grad_() for a in self.start]
        names = ("the reconstruction", "x", "mu", "the last argument")
        out = self.answer(*arguments)
        if not out.requires_grad:
            return ["no gradient at all: the value is detached from its arguments"]
        slopes = torch.autograd.grad(out, arguments, allow_unused=True)
        wrong = []
        for i in (0, 2, 3):
            direction = self.uniform(0.5, 1, *self.start[i].shape)
            step = 1e-3 if self.single else 1e-5
            ends = []
            for sign in (1, -1):
                moved = list(self.start)
                moved[i] = moved[i] + sign * step * direction
                ends.append(self.value(*moved))
            wanted = (ends[0] - ends[1]) / (2 * step)
            got = 0.0 if slopes[i] is None else (slopes[i] * direction).sum().item()
            slack = (1e-1 if self.single else 1e-5) * (abs(wanted) + abs(got)) + 1e-9
            if abs(got - wanted) > slack:
                how = "does not reach" if got == 0 else "is not the slope of the value in"
                wrong.append(f"the gradient {how} {names[i]}")
        return wrong


def _image_features(
    r: Tensor, x: Tensor, binary: bool, wanted: set[str] | None = None
) -> dict[str, float]:
    """Sum over all pixels what a reconstruction term may consist of: what is wanted, or all."""

    def mse() -> Tensor:
        return (r - x).square().flatten(1).mean(1)

    half = r.numel() / 2
    features: dict[str, Callable[[], Tensor]] = {
        "squared": lambda: (r - x).square().sum(),
        "absolute": lambda: (r - x).abs().sum(),
        "cross-entropy, probabilities": lambda: F.binary_cross_entropy(r, x, reduction="sum"),
        "cross-entropy, logits": lambda: (F.softplus(r) - x * r).sum(),
        "constant, probabilities": lambda: _log_constant(torch.logit(r)).sum(),
        "constant, logits": lambda: _log_constant(r).sum(),
        "ln mse": lambda: half * mse().mean().log(),
        "ln mse of each": lambda: half * mse().log().mean(),
    }
    if not binary:
        features["entropy of x"] = lambda: F.binary_cross_entropy(x, x, reduction="sum")
    return {
        name: value().item() for name, value in features.items() if wanted is None or name in wanted
    }


def _log_constant(h: Tensor) -> Tensor:
    """Return ln C(h): what the continuous Bernoulli's log density has more than the Bernoulli's."""
    h, x = h[..., None], torch.zeros_like(h)[..., None]
    return ContinuousBernoulliLikelihood().log_prob(h, x) - BernoulliLikelihood().log_prob(h, x)


def _code_features(mu: Tensor, t: Tensor, wanted: set[str] | None = None) -> dict[str, float]:
    """Sum μ² and what the last argument t, positive here, may have been turned into."""
    square = mu.square()
    features = {
        "μ²": square,
        "same": t,
        "exp": t.exp(),
        "exp of twice": (2 * t).exp(),
        "exp of half": (t / 2).exp(),
        "square": t.square(),
        "ln": t.log(),
        "exp of minus": (-t).exp(),
        "μ² exp of minus": square * (-t).exp(),
        "μ": mu,
    }
    return {
        name: value.sum().item()
        for name, value in features.items()
        if wanted is None or name in wanted
    }


def _solve(
    features: list[dict[str, float]], values: Tensor, size: float, tolerance: float
) -> tuple[dict[str, float], float]:
    """Solve for the weights; drop the features that are not there, and solve again."""
    names = list(features[0])
    if not names:
        return {}, (values - values.mean()).abs().max().item()
    matrix = torch.tensor([[row[name] for name in names] for row in features], dtype=torch.float64)
    matrix = matrix - matrix.mean(0)
    target = values - values.mean()
    if target.abs().max() <= tolerance * size:
        return {}, 0.0
    scale = matrix.std(0)

    def weights(kept: Tensor) -> tuple[Tensor, float]:
        columns = (matrix / scale)[:, kept]
        solution = torch.linalg.lstsq(columns, target[:, None], driver="gelsd").solution[:, 0]
        return solution, (columns @ solution - target).abs().max().item()

    kept = torch.ones(len(names), dtype=torch.bool)
    solution, left = weights(kept)
    # the smallest weight goes, as long as the rest say as much
    while kept.sum() > 1:
        weakest = kept.nonzero()[solution.abs().argmin()]
        fewer = kept.clone()
        fewer[weakest] = False
        trial, trial_left = weights(fewer)
        if trial_left > max(tolerance * size, 0.0):
            break
        kept, solution, left = fewer, trial, trial_left
    kept_names = [name for name, is_kept in zip(names, kept.tolist(), strict=True) if is_kept]
    return dict(zip(kept_names, (solution / scale[kept]).tolist(), strict=True)), left


def _kl_weight(kl: Mapping[str, float]) -> float:
    """Return the KL term's weight: −2 times that of ln σ², or 2 times that of μ² without it."""
    reads = _reading(kl)
    if reads is None:
        return 2 * kl.get("μ²", 0.0)
    _, log, multiple = _SPREAD[reads]
    return -2 * kl[log] / multiple if log in kl else 2 * kl.get("μ²", 0.0)


def _reading(kl: Mapping[str, float]) -> str | None:
    """Say what the last argument is taken for, None if its features are those of no reading."""
    there = set(kl) - {"μ²", "μ"}
    for reads, (square, log, _) in _SPREAD.items():
        if there == {square, log}:
            return reads
    for reads, (square, log, _) in _SPREAD.items():  # a piece is missing
        if there and there <= {square, log} and square != "same":
            return reads
    return None


def _describe(probe: _Probe, fit: _Fit, wider: dict, spread: str) -> Audit:
    faults, remarks = [], []
    a, b = fit.weight()
    likelihood = _likelihood(fit, faults)
    reads, prior_variance = _read_kl(fit, spread, faults)
    B, D, K = probe.batch, math.prod(probe.shape), probe.latent
    first, over_first = _reduction("the dimensions", ("B", "D"), 0, wider, (B, D, K), faults)
    latents = "the latent dimensions"
    second, over_second = _reduction(latents, ("B", "K"), 1, wider, (B, D, K), faults)
    kl_weight, weight = b / over_second, a / over_first
    if probe.per_point:
        remarks.append("it returns one value for each data point; their mean was audited")
        first = first.replace("mean over the batch", "each point")
        second = second.replace("mean over the batch", "each point")
    if fit.binary and likelihood not in ("none", NONE):
        remarks.append("it makes sense for black-and-white x only")
    if a < 0:
        faults.append(
            "the reconstruction term has the wrong sign: bad reconstructions are rewarded"
        )
    if b < 0:
        faults.append("the KL term has the wrong sign: it is subtracted, and has no lower bound")
    if not fit.kl:
        faults.append("there is no KL term: this trains an autoencoder")
    if not fit.reconstruction:
        faults.append("there is no reconstruction term")
    whole = likelihood.startswith(("Bern", "cont")) and math.isclose(a, b, rel_tol=1e-6)
    for i, (size, over) in enumerate((("D", "the dimensions of x"), ("K", latents))):
        ratios = wider[size]
        if ratios is None or not a or not fit.kl or whole:
            continue
        here, elsewhere = (math.isclose(ratios[j], 0.5, rel_tol=1e-4) for j in (i, 1 - i))
        if here and not elsewhere:
            remarks.append(f"a mean over {over} where −ELBO has a sum")
    if reads is not None and math.isclose(kl_weight, 2, rel_tol=1e-6) and likelihood != "none":
        remarks.append("the KL term counts twice: β = 2 is meant, or its ½ is missing")
    faults += probe.unreached() if fit.kl or fit.reconstruction else []
    variance = beta = normalised = None
    if a > 0 and b > 0:
        variance, beta, normalised = _units(fit, likelihood, a, b, B, D, K, prior_variance)
        if likelihood == "Gaussian" and not normalised:
            remarks.append(
                f"squared error without its constant: β = 1 for this s²,"
                f" or β = {_number(variance)} for s² = 1"
            )
            if math.isclose(weight, 1, rel_tol=1e-6) and math.isclose(kl_weight, 1, rel_tol=1e-6):
                remarks.append("the squared error has no ½ in front of it")
    elif a > 0 and not fit.kl:
        beta = 0.0
    return Audit(
        likelihood, variance, beta, reads, prior_variance, first, second, weight, kl_weight,
        normalised, tuple(faults), tuple(dict.fromkeys(remarks)), fit.residual, True,
    )  # fmt: skip


def _likelihood(fit: _Fit, faults: list[str]) -> str:
    if not fit.reconstruction:
        return "none"
    first = next(iter(fit.reconstruction.values()))
    for name, proportions in _LIKELIHOODS.items():
        if set(proportions) == set(fit.reconstruction) and all(
            math.isclose(fit.reconstruction[f], first * w, rel_tol=1e-5)
            for f, w in proportions.items()
        ):
            return name
    said = ", ".join(f"{_number(w)} × {_NAMES[f]}" for f, w in fit.reconstruction.items())
    faults.append(f"the reconstruction term is no likelihood known here: {said}")
    return NONE


def _read_kl(fit: _Fit, spread: str, faults: list[str]) -> tuple[str | None, float | None]:
    """Say what the last argument is taken for, and the prior's variance; name what is wrong."""
    kl, symbol = fit.kl, READINGS[spread]
    if not kl:
        return None, None
    reads = _reading(kl)
    if "exp of half" in kl and reads is None:
        faults.append("σ stands where σ² belongs: exp(½ ln σ²) is added, not exp(ln σ²)")
        return None, None
    if {"exp of minus", "μ² exp of minus"} & set(kl):
        faults.append("this is KL(p‖q), the other direction")
        return None, None
    if reads is None:
        faults.append(f"the KL term is that of no Gaussian: it holds {', '.join(sorted(kl))}")
        return None, None
    square, log, multiple = _SPREAD[reads]
    missing = [
        said
        for feature, said in (("μ²", "μ²"), (square, "σ²"), (log, "ln σ²"))
        if feature not in kl
    ]
    if missing:
        faults.append(f"{' and '.join(missing)} is missing from the KL term")
        return reads, None
    if "μ" in kl:
        remark = -kl["μ"] / (2 * kl["μ²"])
        faults.append(f"the KL term is smallest at μ = {_number(remark)}, not at 0")
    if reads != spread:
        faults.append(f"the last argument is taken for {READINGS[reads]}, and is {symbol}")
    if not math.isclose(kl["μ²"], kl[square], rel_tol=1e-5):
        faults.append(
            f"μ² and σ² have different weights, {_number(kl['μ²'])} and {_number(kl[square])}:"
            " the divergence to no prior N(0, τ² I)"
        )
        return reads, None
    prior = -kl[log] / multiple / kl[square]
    if not math.isclose(prior, 1, rel_tol=1e-5):
        faults.append(
            f"ln σ² has {_number(prior)} times the weight it should have beside σ² and μ²:"
            f" a slip, or a prior N(0, {_number(prior)} I)"
        )
    return reads, prior


def _reduction(
    over: str, sizes: tuple[str, str], which: int, wider: dict, at: tuple[int, int, int],
    faults: list[str],
) -> tuple[str, float]:  # fmt: skip
    """Say in words how a term was reduced, and by which factor that multiplies its weight."""
    said, factor = [], 1.0
    numbers = dict(zip("BDK", at, strict=True))
    words = {"B": "the batch", sizes[1]: over}
    for size in "BDK":
        ratio = None if wider[size] is None else wider[size][which]
        if ratio is None:
            if size in words:
                said.append(f"unknown over {words[size]}, whose size is fixed")
        elif math.isclose(ratio, 1, rel_tol=1e-4):
            if size in words:
                said.append(f"sum over {words[size]}")
        elif math.isclose(ratio, 0.5, rel_tol=1e-4):
            factor /= numbers[size]
            said.append(f"mean over {words[size]}" if size in words else f"divided by {size}")
        else:
            faults.append(f"doubling {size} multiplies the weight by {_number(ratio)}")
    return ", ".join(said), factor


def _units(
    fit: _Fit, likelihood: str, a: float, b: float, B: int, D: int, K: int, prior: float | None
) -> tuple[float | None, float | None, bool | None]:
    """Return s², β, and whether the constants are there."""
    if likelihood == NONE:
        return None, None, None
    # the KL term's own constant, −½ for each latent dimension, may have been left out
    of_prior = math.log(prior) if prior is not None and prior > 0 else 0.0
    of_kl = 0.5 * b * B * K * (of_prior - 1)
    constants = [fit.constant - of_kl, fit.constant]
    scale = abs(fit.constant) + abs(of_kl) + abs(a) * B * D
    if likelihood == "Gaussian":
        for constant in constants:
            for unit in (b, 1.0, 1 / B, 1 / D, 1 / (B * D)):  # the weight of ln p(x|z)
                s2 = unit / (2 * a)
                expected = 0.5 * unit * B * D * math.log(2 * math.pi * s2)
                if abs(constant - expected) < 1e-6 * scale and abs(expected) > 1e-5 * scale:
                    return s2, b / unit, True
        return b / (2 * a), 1.0, False
    if likelihood == "Laplace":
        return None, b / a, False
    normalised = any(abs(constant) < 1e-6 * scale for constant in constants)
    if likelihood.startswith("Bern") and not fit.binary:  # no likelihood on grey pixels
        normalised = None
    return None, b / a, normalised


def _number(x: float) -> str:
    return f"{x:.4g}"
