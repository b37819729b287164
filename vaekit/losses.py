"""What a VAE minimises, and `audit`, which says of any loss what it minimises (chapter 9).

The losses are −ELBO with a weight β on the KL term: summed over the D data dimensions and the K
latent dimensions, averaged over the batch, in nats. The formulas are those of `vaekit.likelihoods`
and `vaekit.divergence`, which the models train with; here they only meet.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vaekit.bounds import elbo
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
]

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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
        The decoder's mean f(z) and the data, shape (M, D).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (M, K).
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
    if variance.shape not in ((), (1,), mean.shape[1:]):
        raise ValueError(
            f"variance must have shape () or {tuple(mean.shape[1:])}, got {tuple(variance.shape)}"
        )
    if not ((variance > 0) & variance.isfinite()).all():
        raise ValueError(f"variance must be positive and finite, got {variance.tolist()}")
    log_likelihood = log_density(x, mean, variance.log()).sum(-1)
    return -elbo(log_likelihood, beta * kl_term(mu, log_variance)).mean()


def bernoulli_loss(
    h: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor, *, beta: float = 1.0
) -> Tensor:
    """−ELBO of a Bernoulli decoder with logits h: the mean over the batch.

    Parameters
    ----------
    h, x : Tensor
        The decoder's logits and the data, shape (M, D). Between 0 and 1 the value is a
        cross-entropy, and no likelihood (claim `loss-continuous-bernoulli`).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (M, K).
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
    return -elbo(log_likelihood, beta * kl_term(mu, log_variance)).mean()


def continuous_bernoulli_loss(
    h: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor, *, beta: float = 1.0
) -> Tensor:
    """−ELBO of a continuous Bernoulli decoder with logits h: the mean over the batch.

    Parameters
    ----------
    h, x : Tensor
        The decoder's logits and the grey data in [0, 1], shape (M, D).
    mu, log_variance : Tensor
        μ and ln σ² of q(z|x), shape (M, K).
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
    return -elbo(log_likelihood, beta * kl_term(mu, log_variance)).mean()


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
            f"{name} and x must have one shape (M, D), got {tuple(output.shape)}"
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
# In each, with t for the last argument: what is σ², and what is which multiple of ln σ²
_SPREAD = {
    "log_variance": ("exp(t)", "t", 1.0),
    "log_sigma": ("exp(2t)", "t", 2.0),
    "variance": ("t", "ln t", 1.0),
    "sigma": ("t²", "ln t", 2.0),
}
_KL = {  # which features, in which proportion, are the KL term
    reads: {"μ²": 1.0, square: 1.0, log: -multiple}
    for reads, (square, log, multiple) in _SPREAD.items()
}
_LIKELIHOODS = {  # which features, in which proportion, are which likelihood
    "Gaussian": {"squared error": 1.0},
    "Laplace": {"absolute error": 1.0},
    "Bernoulli, from probabilities": {"cross-entropy of probabilities": 1.0},
    "Bernoulli, from logits": {"cross-entropy of logits": 1.0},
    "Bernoulli, from probabilities, less the entropy of x": {
        "cross-entropy of probabilities": 1.0,
        "entropy of x": -1.0,
    },
    "continuous Bernoulli, from probabilities": {
        "cross-entropy of probabilities": 1.0,
        "ln C of probabilities": -1.0,
    },
    "continuous Bernoulli, from logits": {
        "cross-entropy of logits": 1.0,
        "ln C of logits": -1.0,
    },
    "Gaussian with the best variance": {"ln of the batch's mean squared error": 1.0},
    "Gaussian with the best variance for each point": {"ln of each mean squared error": 1.0},
}
NONE = "none of these"
_PROBES = 28
_ROUNDING = 1e-9
_NEARLY = 5e-4  # of a term's standard deviation: such as an ε inside a logarithm
_SAME = 1e-5  # relative difference of weights called the same, beside what they are known to
_OPEN = 0.2  # relative error of a weight from which on nothing is read from it


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
        The weight of the KL term beside −ln p(x|z); None if either term is not known or has the
        wrong sign, or there is no reconstruction term. For squared error without its constant β
        and s² are one number: `beta` is then 1, and `variance` says it all (`loss-sigma-is-beta`).
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
        None where the question does not arise or has no answer.
    faults : tuple of str
        What is wrong, in words; empty if nothing is.
    remarks : tuple of str
        What is worth knowing and not wrong.
    residual : float
        The largest deviation from this description, over the standard deviation of the term in
        which it is; rounding if the description is exact, NaN if there was nothing to measure, or
        if it holds at ordinary codes and fails next to the prior or far from it.
    """

    likelihood: str = NONE
    variance: float | None = None
    beta: float | None = None
    reads: str | None = None
    prior_variance: float | None = None
    reconstruction_reduction: str = ""
    kl_reduction: str = ""
    reconstruction_weight: float = math.nan
    kl_weight: float = math.nan
    normalised: bool | None = None
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    residual: float = math.nan
    exact: bool = False

    def __str__(self) -> str:
        lines = [self.verdict]
        if self.likelihood not in ("none", NONE):
            lines.append(
                f"reconstruction: {self.reconstruction_weight:.4g} ×"
                f" {self.reconstruction_reduction}"
            )
        if self.reads is not None:
            lines.append(
                f"KL term: {self.kl_weight:.4g} × {self.kl_reduction}; reads {READINGS[self.reads]}"
            )
        lines += [f"note: {remark}" for remark in self.remarks]
        lines += [f"wrong: {fault}" for fault in self.faults]
        if self.exact and self.residual < _ROUNDING:
            lines.append("Nothing is left over: the description is exact to rounding.")
        elif not math.isnan(self.residual):
            why = "; float32, or an ε in a logarithm, may do that" * self.exact
            lines.append(f"Left over: {self.residual:.1g} of the term's standard deviation{why}.")
        return "\n".join(textwrap.fill(line, 76, subsequent_indent="  ") for line in lines)

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
            parts.append(f"s² = {self.variance:.4g}")
        if self.beta is not None:
            parts.append(f"β = {self.beta:.4g}")
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

    The loss is called on two or three hundred chosen inputs, and no network is trained. Its values
    have to be a linear combination of a reconstruction term (squared or absolute error, cross-
    entropy of probabilities or logits, the continuous Bernoulli, the logarithm of a mean squared
    error) and of the pieces of a KL term (μ², σ², ln σ², with the last argument read in each of
    four ways). The weights come from linear equations; other sizes of batch, data and latent space
    tell sums from means. Any other loss, such as one with a variance for each pixel, with free bits
    or with a target for the KL term, is "none of these". A loss that holds a trained number, such
    as s, is audited at its present value. In float32 a small KL term drowns in the rounding of a
    large reconstruction term: nothing is called wrong that rounding may do, and a remark says how
    well a term is known.

    Parameters
    ----------
    loss : callable
        Maps (reconstruction, x, mu, log_variance), of shapes (M, …), (M, …), (M, K) and (M, K), to
        a tensor: one number, or one for each data point, which are then averaged. It is called with
        clones in float64, and may answer in float32.
    data_shape : int or sequence of int
        The shape of one data point, D or such as (1, 28, 28).
    latent, batch : int
        K and M.
    spread : {"log_variance", "log_sigma", "variance", "sigma"}
        What your encoder hands the loss as its last argument.

    Returns
    -------
    Audit
        For `print`, and for its attributes. β and s² are those at the sizes given here.

    Raises
    ------
    ValueError
        If `spread` is none of the four, a size is below 1, or the loss raises an error of its own
        (which is named), returns no numbers, answers in half precision, or cannot be
        differentiated.

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
    probe = _Probe(loss, batch, shape, latent, spread)
    try:
        probe.value(*probe.start)
        refused = False
    except ValueError:
        refused = True
    black_and_white = _Probe(loss, batch, shape, latent, spread, binary=True)
    start = (black_and_white if refused else probe).start
    again = probe.value(*start), probe.value(*start)
    if again[0] != again[1] and not math.isnan(again[0]):
        return Audit(faults=("two calls with the same arguments give two values",))
    fit = None if refused else probe.fit()
    if fit is None or not fit.exact:
        other = black_and_white.fit()
        if refused or (other is not None and other.exact):
            probe, fit = black_and_white, other
    if fit is None:
        return Audit(faults=("the value is NaN or infinite at ordinary arguments",))
    unreached = probe.unreached(fit)
    if not fit.exact:
        return Audit(faults=tuple(unreached), residual=fit.residual)
    faults = [f"for {where} it is another loss" for where in probe.elsewhere(fit)]
    bent = [f"{fault}: a threshold on the KL term?" for fault in faults if "prior" in fault]
    if bent:
        fit.exact = False
        return Audit(faults=(*bent, *probe.unreached(fit)))
    return _describe(probe, fit, unreached + faults)


@dataclass
class _Term:
    """Weights of the features that are there, and how well they are known."""

    name: str | None  # of the known description, if it is one
    weights: dict[str, float]
    error: float  # of these, relative
    left: float  # of the values, beside it
    slack: float  # and how much of that rounding may be

    def told(self, features: dict[str, float]) -> float:
        return sum(w * features[name] for name, w in self.weights.items())


@dataclass
class _Fit:
    """The two terms, and what they leave out."""

    image: _Term
    code: _Term
    constant: float
    residual: float
    exact: bool
    returns: tuple[int, ...]
    spread: str
    binary: bool

    @property
    def reads(self) -> str | None:
        """What the last argument is taken for, None if its features are those of no reading."""
        there = set(self.code.weights) - {"μ²", "μ"}
        for reads, (square, log, _) in _SPREAD.items():
            if there == {square, log}:
                return reads
        for reads in (self.spread, *_SPREAD):  # a piece is missing
            if there and there <= set(_SPREAD[reads][:2]):
                return reads
        return None

    def weights(self) -> tuple[float, float]:
        """Return the weights of the reconstruction term and of ½ (σ² + μ² − ln σ²)."""
        first, code = next(iter(self.image.weights.values()), 0.0), self.code.weights
        if self.reads is None:
            return first, 2 * code.get("μ²", code.get("μ² exp(−t)", 0.0))
        square, log, multiple = _SPREAD[self.reads]
        if log not in code:
            return first, 2 * code.get("μ²", code[square])
        return first, math.copysign(2 * code[log] / multiple, code.get(square, -code[log]))

    def times(self, other: _Fit | None, which: int) -> tuple[float, float]:
        """Return by what a weight of this fit is multiplied in another, and the error of that."""
        if other is None:
            return 1.0, math.inf
        a, b = self.weights()[which], other.weights()[which]
        error = sum((fit.image, fit.code)[which].error for fit in (self, other))
        return (b / a, error) if a and b else (1.0, math.inf)


@dataclass
class _Probe:
    """Calls a loss on chosen inputs and solves for its weights."""

    loss: Loss
    batch: int
    shape: tuple[int, ...]
    latent: int
    spread: str
    binary: bool = False

    def __post_init__(self):
        self.g = torch.Generator().manual_seed(0)
        self.single = False  # whether the loss answers, or works, in float32
        self.in_place = False  # whether it changes its arguments
        self.pulled = [False] * 4  # whether its gradient in each argument is not zero
        self.returns: tuple[int, ...] = ()  # the shape of what it returns
        self.start = (*self.images(), *self.codes())

    @property
    def rounding(self) -> float:
        """What rounding does to a value, relative to it: the least; and 12 times that, the most."""
        return 2.4e-7 if self.single else 2e-14

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        u = torch.rand(*shape, generator=self.g, dtype=torch.float64)
        return low + (high - low) * u

    def around(self, low: float, high: float, *shape: int, flat: bool = False) -> Tensor:
        """Numbers around a random centre, or all of them the centre; those that float32 has."""
        centre = self.uniform(low, high, 1)
        spread = 0.3 * centre + 0.7 * self.uniform(low, high, *shape) if not flat else centre
        return spread.expand(shape).float().double()

    def images(self, flat: bool = False) -> tuple[Tensor, Tensor]:
        size = self.batch, *self.shape
        r = self.around(0.03, 0.97, *size, flat=flat)
        if self.binary:
            return r, (self.uniform(0, 1, *size) < self.uniform(0, 1, 1)).double()
        return r, self.around(0.03, 0.97, *size, flat=flat)

    def codes(self, flat: bool = False) -> tuple[Tensor, Tensor]:
        size = self.batch, self.latent
        mu = self.uniform(-1, 1, 1) * self.around(-2, 2, *size, flat=flat)
        return mu.float().double(), self.around(0.05, 2.5, *size, flat=flat)

    def value(self, *arguments: Tensor) -> float:
        return self.answer(*(a.clone() for a in arguments)).item()

    def answer(self, *arguments: Tensor) -> Tensor:
        try:
            out = self.loss(*arguments)
        except Exception as error:
            shapes = ", ".join(str(tuple(a.shape)) for a in arguments)
            raise ValueError(
                f"the loss fails on float64 tensors of shapes {shapes}: set data_shape, latent and"
                " batch, or audit a function that hands it clones of the kind that it takes:"
                f" {type(error).__name__}: {error}"
            ) from error
        if isinstance(out, int | float):
            out = torch.tensor(float(out), dtype=torch.float64)
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.numel() == 0:
            raise ValueError(f"the loss must return a tensor of numbers, got {type(out).__name__}")
        if out.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"the loss answers in {out.dtype}, too coarse to be audited")
        self.single |= out.dtype == torch.float32
        self.returns = tuple(out.shape)
        return out.mean()

    def fit(self, like: _Fit | None = None) -> _Fit | None:
        """Solve for the weights of all features, or of those alone that another fit found."""
        names, known = (None, None), (_LIKELIHOODS, {r: _KL[r] for r in (self.spread, *_KL)})
        if like is not None:
            names = set(like.image.weights), set(like.code.weights)
            known = {"": like.image.weights}, {"": like.code.weights}
        count = _PROBES if like is None else 4 + 2 * max(map(len, names))
        r, x, mu, t = self.start  # a change that float32 does not see
        moved = r * (1 + 1e-10), x, mu * (1 + 1e-10), t * (1 + 1e-10)
        self.single |= self.value(*moved) == self.value(*self.start)
        images = [self.images(flat=i % 2 == 1) for i in range(count)]
        codes = [self.codes(flat=i % 2 == 1) for i in range(count)]
        first = [self.value(*pair, mu, t) for pair in images]
        second = [self.value(r, x, *pair) for pair in codes]
        both = [self.value(*a, *b) for a, b in zip(images, codes, strict=True)]
        values = torch.tensor([first, second, both], dtype=torch.float64)
        if not values.isfinite().all():
            return None
        image_features = [_image_features(*pair, self.binary, names[0]) for pair in images]
        code_features = [_code_features(*pair, names[1]) for pair in codes]
        image = _solve(image_features, values[0], self.rounding, known[0])
        code = _solve(code_features, values[1], self.rounding, known[1])
        first = torch.tensor([image.told(row) for row in image_features], dtype=torch.float64)
        second = torch.tensor([code.told(row) for row in code_features], dtype=torch.float64)
        # both at once: the two terms are added, or they are not
        left = values - torch.stack([first, second, first + second])
        constant = left[2].mean().item()
        left = (left - left.mean(1, keepdim=True)).abs().amax(1)
        sizes = values.std(1)
        slack = torch.tensor([image.slack, code.slack, 4 * (image.slack + code.slack)])
        there = sizes > slack
        residual = (left / sizes)[there].max().item() if there.any() else 0.0
        here = self.returns, self.spread, self.binary
        fit = _Fit(image, code, constant, residual, False, *here)
        # what is near to a description may be it; mixtures come near to what they are not
        nearly = torch.tensor([image.name is not None, fit.reads is not None, True]) * sizes
        fit.exact = bool((left <= torch.maximum(_NEARLY * nearly, slack)).all())
        return fit

    def elsewhere(self, fit: _Fit) -> list[str]:
        """Say where the loss is another one; around the prior a threshold on the KL term shows."""
        (r, x, mu, t), logs = self.start, ("log_variance", "log_sigma")
        one = 0 if (fit.reads or self.spread) in logs else 1
        wide = {}
        if fit.code.weights or not any(self.pulled[2:]):  # or it is hidden by rounding here
            wide["codes near the prior"] = r, x, mu / 1000, one + t / 1000
            wide["codes far from the prior"] = r, x, self.uniform(50, 100, *mu.shape), t
        if not any("prob" in name or name == "entropy of x" for name in fit.image.weights):
            wide["reconstructions outside [0, 1]"] = self.uniform(-6, 6, *r.shape), x, mu, t
        if fit.reads in logs:
            wide[f"negative {READINGS[fit.reads]}"] = r, x, mu, self.uniform(-4, 0, *t.shape)

        def features(*arguments: Tensor) -> list[dict[str, float]]:
            image = _image_features(*arguments[:2], self.binary, set(fit.image.weights))
            return [image, _code_features(*arguments[2:], set(fit.code.weights))]

        wrong, before, value = [], features(*self.start), self.value(*self.start)
        for where, arguments in wide.items():
            try:
                other = self.value(*arguments)
            except ValueError:
                continue
            off, slack = other - value, (1e-9 + 12 * self.rounding) * max(abs(other), abs(value))
            for term, a, b in zip((fit.image, fit.code), before, features(*arguments), strict=True):
                changes = [w * (b[name] - a[name]) for name, w in term.weights.items()]
                off -= sum(changes)
                epsilon = 100 if term.left > term.slack else 2  # one in a logarithm grows there
                slack += term.error * sum(map(abs, changes)) + epsilon * term.left * any(changes)
            if abs(off) > slack:
                wrong.append(where)
        return wrong

    def scalings(self, fit: _Fit) -> dict[str, _Fit | None]:
        """Fit again with M, D or K doubled: None if it is another loss, left out if refused."""
        found: dict[str, _Fit | None] = {}
        wide = (*self.shape[:-1], 2 * self.shape[-1])
        for name, sizes in {
            "M": (2 * self.batch, self.shape, self.latent),
            "D": (self.batch, wide, self.latent),
            "K": (self.batch, self.shape, 2 * self.latent),
        }.items():
            try:
                other = _Probe(self.loss, *sizes, self.spread, self.binary).fit(fit)
            except ValueError:  # sizes written into the loss
                continue
            found[name] = other if other is not None and other.exact else None
        return found

    def unreached(self, fit: _Fit) -> list[str]:
        """Name the arguments that autograd's derivative does not reach as it should."""
        leaves = [a.clone().requires_grad_() for a in self.start]
        handed = [a.clone() for a in leaves]
        out = self.answer(*handed)
        self.in_place = any(a._version for a in handed)
        if not out.requires_grad:
            return ["no gradient at all: the value is detached from its arguments"]
        try:
            slopes = torch.autograd.grad(out, leaves, allow_unused=True)
        except RuntimeError as error:
            raise ValueError(f"the loss cannot be trained: {error}") from error
        self.pulled = [slope is not None and bool(slope.any()) for slope in slopes]
        names = ("the reconstruction", "x", "mu", "the last argument")
        wrong = []
        for i in (0, 2, 3):
            before, start, after = self.start[:i], self.start[i], self.start[i + 1 :]
            direction = self.uniform(0.5, 1, *start.shape) * (start if i == 3 else start.sign())
            step = 1e-3 if self.single else 1e-5
            if i > 0 and fit.exact:  # a KL term allows a wide step, which rounding spares
                step *= 100
            ends = [self.value(*before, start + s * direction, *after) for s in (step, -step)]
            wanted = (ends[0] - ends[1]) / (2 * step)
            got = (slopes[i] * direction).sum().item() if self.pulled[i] else 0.0
            slack = (1e-1 if self.single else 1e-5) * (abs(wanted) + abs(got))
            if abs(got - wanted) > slack + 2 * (fit.code if i else fit.image).slack / step:
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
        "cross-entropy of probabilities": lambda: F.binary_cross_entropy(r, x, reduction="sum"),
        "cross-entropy of logits": lambda: (F.softplus(r) - x * r).sum(),
    }
    if not binary:  # where x is 0 or 1, |x − r| and many others agree
        features |= {
            "squared error": lambda: (r - x).square().sum(),
            "absolute error": lambda: (r - x).abs().sum(),
            "ln C of probabilities": lambda: _log_constant(torch.logit(r)).sum(),
            "ln C of logits": lambda: _log_constant(r).sum(),
            "ln of the batch's mean squared error": lambda: half * mse().mean().log(),
            "ln of each mean squared error": lambda: half * mse().log().mean(),
            "entropy of x": lambda: F.binary_cross_entropy(x, x, reduction="sum"),
            "cross-entropy with x and its probabilities swapped": lambda: F.binary_cross_entropy(
                x, r, reduction="sum"
            ),
        }
    return {name: f().item() for name, f in features.items() if wanted is None or name in wanted}


def _log_constant(h: Tensor) -> Tensor:
    """Return ln C(h): what the continuous Bernoulli's log density has more than the Bernoulli's."""
    h, x = h[..., None], torch.zeros_like(h)[..., None]
    return ContinuousBernoulliLikelihood().log_prob(h, x) - BernoulliLikelihood().log_prob(h, x)


def _code_features(mu: Tensor, t: Tensor, wanted: set[str] | None = None) -> dict[str, float]:
    """Sum μ² and what the last argument t may have been turned into."""
    features = {
        "μ²": mu.square(),
        "t": t,
        "exp(t)": t.exp(),
        "exp(2t)": (2 * t).exp(),
        "exp(t/2)": (t / 2).exp(),
        "t²": t.square(),
        "ln t": t.log(),
        "exp(−t)": (-t).exp(),
        "μ² exp(−t)": mu.square() * (-t).exp(),
        "μ": mu,
    }
    return {n: v.sum().item() for n, v in features.items() if wanted is None or n in wanted}


def _solve(
    features: list[dict[str, float]], values: Tensor, rounding: float, known: dict[str, dict]
) -> _Term:
    """Solve for the weight of a known description; if none fits, for those of few features."""
    target = values - values.mean()
    least = rounding * values.abs().max().item()
    columns = {
        name: torch.tensor([row[name] for row in features], dtype=torch.float64)
        for name in features[0]
    }

    def solve(columns: dict[str, Tensor]) -> tuple[dict[str, float], float, float]:
        """Return the weights, what is left, and the largest relative error that this may cause."""
        matrix = torch.stack(list(columns.values()), 1)
        matrix = matrix - matrix.mean(0)
        scale = matrix.std(0)
        matrix = matrix / scale
        solution = torch.linalg.lstsq(matrix, target[:, None], driver="gelsd").solution[:, 0]
        left = (matrix @ solution - target).abs().max().item()
        errors = torch.linalg.pinv(matrix).abs().sum(1) * max(left, least) / solution.abs()
        return (
            dict(zip(columns, (solution / scale).tolist(), strict=True)),
            errors.max().item(),
            left,
        )

    weights, error, left = solve(columns) if columns else ({}, 0.0, 0.0)
    slack = min(max(4 * left, least), 12 * least)  # rounding, as measured
    if not columns or target.abs().max() <= slack:
        return _Term(None, {}, 0.0, 0.0, slack)
    nearly, tries = max(slack, _NEARLY * target.std().item()), []
    for name, shares in known.items():
        if set(shares) <= set(columns):
            whole = sum(share * columns[n] for n, share in shares.items())
            found, *rest = solve({name: whole})
            shares = {n: share * found[name] for n, share in shares.items()}
            tries.append(_Term(name, shares, *rest, slack))
    best = next((term for term in tries if term.left <= slack), min(tries, key=lambda t: t.left))
    if best.left <= nearly:
        return best
    limit = slack if left <= slack else nearly
    while len(weights) > 1:  # drop the weakest as long as the rest say as much
        weakest = min(weights, key=lambda n: abs(weights[n]) * columns[n].std().item())
        fewer = solve({name: columns[name] for name in weights if name != weakest})
        if fewer[2] > limit:
            break
        weights, error, left = fewer
    return _Term(None, weights, error, left, slack)


def _describe(probe: _Probe, fit: _Fit, elsewhere: list[str]) -> Audit:
    faults, remarks = [], []
    wider = probe.scalings(fit)
    a, b = fit.weights()
    likelihood = fit.image.name or NONE if fit.image.weights else "none"
    if likelihood == NONE:
        said = _said(fit.image.weights)
        faults.append(f"the reconstruction term is no likelihood known here: {said}")
    sensible, prior = _read_kl(fit, faults)
    M, D, K = probe.batch, math.prod(probe.shape), probe.latent
    error = fit.image.error + fit.code.error
    same = partial(math.isclose, rel_tol=_SAME + error * (error < _OPEN))
    latents = "the latent dimensions"
    first, over_first = _reduction("the dimensions", "D", 0, fit, wider, (M, D, K), faults)
    second, over_second = _reduction(latents, "K", 1, fit, wider, (M, D, K), faults)
    kl_weight, weight = b / over_second, a / over_first
    if (a and b) or not probe.single:  # or a term that rounding hides here may show there
        faults += [f"with {n} doubled it is another loss" for n in wider if wider[n] is None]
    if a and b and "M" in wider:
        (of_a, error_a), (of_b, error_b) = fit.times(wider["M"], 0), fit.times(wider["M"], 1)
        if 1e-3 + error_a + error_b < min(_OPEN, abs(of_a / of_b - 1)):
            faults.append("the two terms treat the batch differently: β changes with its size")
    if math.prod(probe.returns) > 1:
        remarks.append(f"it returns shape {probe.returns}, not one number; the mean was audited")
    doubled = wider.get("M")
    if doubled and (fit.returns, doubled.returns) == ((M,), (2 * M,)) and M > 1:
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
    for term, pulled, name, so in (
        (fit.code, any(probe.pulled[2:]), "KL", ": this trains an autoencoder"),
        (fit.image, probe.pulled[0], "reconstruction", ""),
    ):
        known = f"known to {100 * term.error:.2g} % only" if term.weights else "lost"
        if probe.single and (term.error > _NEARLY if term.weights else pulled):
            remarks.append(f"in float32 the {name} term is {known}: give the loss float64 numbers")
        elif pulled and not term.weights:
            faults.append(f"the value holds no {name} term, though the gradient does")
        elif not term.weights:
            seen = " that float32 could show" * probe.single
            faults.append(f"there is no {name} term{seen}{so}")
    if probe.in_place:
        remarks.append("it changes its arguments in place")
    whole = likelihood.startswith(("Bern", "cont")) and same(a, b)
    for said, other, size, number, over in (
        (first, second, "D", D, "the dimensions"),
        (second, first, "K", K, latents),
    ):
        alone = f"mean over {over}" in said and f"divided by {size}" not in other and number > 1
        if alone and fit.image.weights and fit.code.weights and not whole:
            remarks.append(f"a mean over {over} where −ELBO has a sum")
    no_half = likelihood == "Gaussian" and same(weight, 1) and "mean over the dim" not in first
    if fit.reads is not None and same(kl_weight, 2) and fit.image.weights and not no_half:
        remarks.append("the KL term counts twice: β = 2 is meant, or its ½ is missing")
    if fit.code.weights or fit.image.weights:
        faults += elsewhere
    variance = beta = normalised = None
    if a > 0 and not fit.code.weights:
        beta = None if any(probe.pulled[2:]) else 0.0
    elif a > 0 and b > 0 and sensible:
        variance, beta, normalised = _units(fit, likelihood, a, b, M, D, K, prior)
        if likelihood == "Gaussian" and not normalised and beta == 1:
            other = "" if same(variance, 1) else f", or β = {variance:.4g} for s² = 1"
            constant = "without its constant" if normalised is False else "and some constant"
            remarks.append(
                f"squared error {constant}, which a fixed s does not need: β = 1 for this s²{other}"
            )
            if no_half and same(kl_weight, 2):
                remarks.append("neither term has its ½: this is twice −ELBO")
            elif same(weight, 1) and same(kl_weight, 1):
                remarks.append("the squared error has no ½ in front of it")
        if likelihood == "Laplace" and not same(beta, 1):
            remarks.append(f"the scale is 1 for this β, or {beta:.4g} for β = 1")
    return Audit(
        likelihood, variance, beta, fit.reads, prior, first, second, weight, kl_weight,
        normalised, tuple(faults), tuple(remarks), fit.residual, True,
    )  # fmt: skip


def _said(weights: dict[str, float]) -> str:
    return ", ".join(f"{w:.4g} × {name}" for name, w in weights.items())


def _read_kl(fit: _Fit, faults: list[str]) -> tuple[bool, float | None]:
    """Name what is wrong with the KL term; return whether it is one, and the prior's variance."""
    code, reads, spread = fit.code.weights, fit.reads, fit.spread
    if not code:
        return False, None
    same = partial(math.isclose, rel_tol=_SAME + 2 * fit.code.error)
    if fit.code.name is None and fit.code.error > _OPEN:
        faults.append("the KL term is none known here, and its pieces cannot be told apart")
        return False, None
    if reads is None:
        turned = {"t", "exp(−t)", "μ² exp(−t)"}
        if set(code) == {"μ²"}:
            faults.append("σ² and ln σ² are missing from the KL term: it is that of N(μ, I), whose"
                          " variance is fixed")  # fmt: skip
        elif set(code) == turned and all(same(code[name], code["t"]) for name in turned):
            faults.append("this is KL(p‖q), the other direction")
        elif "exp(t/2)" in code and spread == "log_variance":
            faults.append("σ stands where σ² belongs: exp(½ ln σ²) is added, not exp(ln σ²)")
        else:
            faults.append(f"with t = {READINGS[spread]} the KL term is that of no Gaussian: it is"
                          f" {_said(code)}")  # fmt: skip
        return False, None
    square, log, multiple = _SPREAD[reads]
    if reads != spread:
        faults.append(
            f"the last argument is taken for {READINGS[reads]}, and is {READINGS[spread]}"
        )
    pieces = {"μ²": "μ²", square: "σ²", log: "ln σ²"}
    missing = [said for feature, said in pieces.items() if feature not in code]
    if missing:
        faults.append(f"{' and '.join(missing)} is missing from the KL term")
        return False, None
    if "μ" in code:
        faults.append(
            f"the KL term is smallest at μ = {-code['μ'] / (2 * code['μ²']):.4g}, not at 0"
        )
    prior = -code[log] / multiple / code[square]
    for name, share in (("μ²", code["μ²"] / code[square]), ("ln σ²", prior)):
        if share < 0:
            faults.append(f"{name} has the wrong sign beside σ²")
            return False, None
    if not same(code["μ²"], code[square]):
        faults.append(
            f"μ² and σ² have different weights, {code['μ²']:.4g} and {code[square]:.4g}:"
            " the divergence to no prior N(0, τ² I)"
        )
        return True, None
    if not same(prior, 1):
        faults.append(
            f"ln σ² has {prior:.4g} times the weight it should have beside σ² and μ²:"
            f" a slip, or a prior N(0, {prior:.4g} I)"
        )
    return True, prior


def _reduction(
    over: str, size: str, which: int, fit: _Fit, wider: dict, at: tuple[int, ...], faults: list[str]
) -> tuple[str, float]:
    """Say in words how a term was reduced, and by which factor that multiplies its weight."""
    said, factor, words = [], 1.0, {"M": "the batch", size: over}
    for name, number in zip("MDK", at, strict=True):
        ratio, error = fit.times(wider.get(name), which)
        same = partial(math.isclose, rel_tol=_SAME + error)
        if error > _OPEN:
            how = f"sum (or {number} × mean)"
        elif abs(ratio - 1) < 1e-3 + error:
            how = "sum"
        elif abs(2 * ratio - 1) < 1e-3 + error:
            how, factor = "mean", factor / number
            mean = fit.weights()[which] / factor  # 392 × the mean of 784 is rather ½ × the sum
            plain = (1.0,) if which else (1.0, 0.5)
            if name == size and any(same(mean / number, w) and not same(mean, w) for w in plain):
                how, factor = f"sum (or {number} × mean)", factor * number
        else:
            faults.append(f"doubling {name} multiplies the weight by {ratio:.4g}")
            continue
        if name in words:
            fixed = "" if name in wider else ", whose size is fixed"
            said.append(f"{how} over {words[name]}{fixed}")
        elif how == "mean":
            said.append(f"divided by {name}")
    return ", ".join(said), factor


def _units(
    fit: _Fit, likelihood: str, a: float, b: float, M: int, D: int, K: int, prior: float | None
) -> tuple[float | None, float | None, bool | None]:
    """Return s², β, and whether the constants are there."""
    if likelihood == NONE:
        return None, None, None
    # the KL term's own constant, −½ for each latent dimension, may have been left out
    of_kl = 0.5 * b * M * K * (math.log(prior or 1) - 1)
    constants = fit.constant - of_kl, fit.constant
    zero = (1e-9 + fit.image.error) * (abs(fit.constant) + abs(a) * M * D)  # less is none
    zero += (1e-9 + 10 * fit.code.error) * abs(of_kl)
    if likelihood == "Gaussian":
        units = b, 1.0, 1 / M, 1 / D, 1 / (M * D)  # the weight of ln p(x|z)
        for two_pi, constant, unit in itertools.product((2 * math.pi, 1), constants, units):
            s2 = unit / (2 * a)
            expected = 0.5 * unit * M * D * math.log(two_pi * s2)
            if abs(constant - expected) < zero and abs(expected) > 10 * zero:
                return s2, b / unit, two_pi != 1
        return b / (2 * a), 1.0, False if min(map(abs, constants)) < zero else None
    normalised = None
    if likelihood.startswith("cont") or fit.binary:  # on grey pixels the others are no likelihood
        normalised = any(abs(constant) < zero for constant in constants)
    return None, b / a, normalised
