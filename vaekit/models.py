"""The variational autoencoder: encoder, decoder, the three bounds, and the chapters' networks.

The generative model is p(z) p_θ(x|z) with p(z) = N(0, I); the encoder gives q_φ(z|x), a diagonal
Gaussian. Bounds are in nats, one value for each data point; `terms` keeps the KL of each latent
dimension apart. Random methods take a seed, those that estimate a bound also a `torch.Generator`
that moves on from call to call, and leave torch's global generator alone; only `mlp` draws its
weights from that. All tensors stay on the device and in the dtype of the model's parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vaekit import bounds
from vaekit.divergence import kl_term
from vaekit.estimates import generator, seeded
from vaekit.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
)
from vaekit.storage import read

__all__ = [
    "VAE",
    "Autoencoder",
    "digits_vae",
    "from_config",
    "load",
    "mlp",
    "pairs_at_once",
    "reuse_memory",
    "swiss_roll_vae",
]


def reuse_memory(device: torch.device) -> None:
    """Let the C library keep what is freed, before a loop on the CPU; nothing on other devices.

    glibc hands freed memory back to the kernel unless it saw a block this large freed before. The
    page faults of each step's temporaries then cost as much as its elementwise arithmetic, and
    `log_evidence` takes a quarter to a half longer. The block is never written to.
    """
    if device.type == "cpu":
        torch.empty(31 * 2**20, dtype=torch.uint8)


def pairs_at_once(device: torch.device) -> int:
    """Return how many pairs (point, sample) to decode at once: their images fit a CPU's cache."""
    return 2**11 if device.type == "cpu" else 2**18


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear layers of the given sizes with an activation between each two.

    `mlp([784, 200, 20])` maps (…, 784) to (…, 20) through one hidden layer of 200 units. The
    weights come from torch's global generator, as for any torch module.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [activation(), nn.Linear(before, after)]
    return nn.Sequential(*layers[1:])


def _require_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, got {value}")


class Autoencoder(nn.Module):
    """An encoder D → K and a decoder K → D without noise and without a KL term.

    It is trained by the same `fit` and maximises ln p(x | decoder(encoder(x))): with the default
    likelihood, variance ½, this is least squares.

    Raises
    ------
    ValueError
        If the encoder holds no linear layer, its outputs make no whole K of 1 or more, or decoder
        or variances do not suit K and D.
    """

    latent_outputs = 1

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: nn.Module | None = None):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.likelihood = GaussianLikelihood(0.5) if likelihood is None else likelihood
        linear = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise ValueError("the encoder holds no linear layer that says what D and K are")
        self.data_dim = linear[0].in_features
        self.latent, left = divmod(linear[-1].out_features, self.latent_outputs)
        if self.latent < 1 or left:
            raise ValueError(
                "the encoder must give at least one latent dimension K"
                f" ({self.latent_outputs}K outputs), got {linear[-1].out_features} outputs"
            )
        wanted = {"in_features": (0, self.latent), "out_features": (-1, self.data_dim)}
        for name, (place, size) in wanted.items():
            layers = decoder if isinstance(decoder, nn.Sequential) and len(decoder) else [None]
            layer = layers[place]
            if getattr(layer, name, size) not in (size, 0):  # 0: not known yet
                raise ValueError(f"the decoder needs {size} {name}, it has {getattr(layer, name)}")
        variances = getattr(self.likelihood, "log_variance", torch.zeros(())).shape
        if variances not in ((), (1,), (self.data_dim,)):
            raise ValueError(f"{tuple(variances)} variances do not suit {self.data_dim} dimensions")
        self.config: dict | None = None

    def validate_shape(self, x: Tensor, name: str = "x") -> None:
        """Raise one clear error unless `x` is a tensor (N, D) of the model's dtype.

        No value of `x` is looked at, so a GPU is not waited for.

        Raises
        ------
        TypeError
            If `x` is no tensor, or of another dtype.
        ValueError
            If its shape is not (N, D), or N is 0.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a torch tensor, got {type(x).__name__}")
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype:
            raise TypeError(f"{name} has dtype {x.dtype}, the model {dtype}: convert one of them")
        if x.ndim != 2 or x.shape[1] != self.data_dim:
            raise ValueError(f"{name} must have shape (N, {self.data_dim}), got {tuple(x.shape)}")
        if len(x) == 0:
            raise ValueError(f"{name} is empty")

    def validate(self, x: Tensor, name: str = "data", grey: bool = False) -> None:
        """Raise one clear error unless `x` is finite, of shape (N, D), and in the support.

        With `grey` the values are probabilities of pixels yet to be drawn, so [0, 1] will do.

        Raises
        ------
        TypeError
            If `x` is no tensor, or of another dtype.
        ValueError
            If its shape is not (N, D), N is 0, or a value is not finite or outside the support.
        """
        self.validate_shape(x, name)
        low, high = (bound.item() for bound in x.aminmax())  # NaN if any value is
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{name} holds NaN or infinite values")
        least, most = (0.0, 1.0) if grey else self.likelihood.support
        if low < least or high > most:
            raise ValueError(
                f"{name} ranges from {low:.4g} to {high:.4g},"
                f" outside the likelihood's support [{least:g}, {most:g}]"
            )
        if self.likelihood.binary and not grey and not torch.equal(x, x * x):
            raise ValueError(
                f"{name} holds values between 0 and 1, outside the Bernoulli's support:"
                " binarise them, or take the continuous Bernoulli for grey pixels"
            )

    def decode(self, z: Tensor) -> Distribution:
        """Return p_θ(x|z) for z of shape (…, K): batch shape (…), event shape (D,)."""
        return self.likelihood(self.decoder(z))

    def terms(self, x: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln p(x | decoder(encoder(x))), shape (B,), and a KL of zero, shape (B, K)."""
        h = self.decoder(self.encoder(x)).to(x.dtype)
        return self.likelihood.log_prob(h, x), torch.zeros_like(epsilon)


class VAE(Autoencoder):
    """A variational autoencoder built from plain torch modules.

    Parameters
    ----------
    encoder : nn.Module
        Maps x (…, D) to (…, 2K): the mean μ and the log-variance ln σ² of q_φ(z|x). D and 2K are
        read off its first and its last linear layer.
    decoder : nn.Module
        Maps z (…, K) to the likelihood's parameters h (…, D).
    likelihood : nn.Module
        `GaussianLikelihood`, `BernoulliLikelihood` or `ContinuousBernoulliLikelihood`.

    Examples
    --------
    >>> vae = VAE(mlp([64, 200, 20]), mlp([10, 200, 64]), BernoulliLikelihood())
    >>> vae.posterior(torch.zeros(5, 64)).batch_shape
    torch.Size([5])
    """

    latent_outputs = 2

    @property
    def prior(self) -> Distribution:
        """p(z) = N(0, I): batch shape (), event shape (K,)."""
        zero = next(self.parameters()).new_zeros(self.latent)
        return Independent(Normal(zero, torch.ones_like(zero)), 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean μ and the standard deviation σ of q_φ(z|x), each (…, K)."""
        mu, log_variance = self.encoder(x).chunk(2, -1)
        return mu, (log_variance / 2).exp()

    def posterior(self, x: Tensor) -> Distribution:
        """Return q_φ(z|x) for x of shape (…, D): batch shape (…), event shape (K,)."""
        return Independent(Normal(*self.encode(x)), 1)

    def terms(self, x: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """Return both terms of the ELBO at z = μ + σ ε (claims `elbo-two-terms`, `loss-kl-term`).

        Parameters
        ----------
        x : Tensor
            Data, shape (B, D).
        epsilon : Tensor
            Standard normal noise, shape (B, K).

        Returns
        -------
        Tensor, Tensor
            ln p_θ(x|z) with shape (B,); KL(q(z_k|x)‖p(z_k)) with shape (B, K), which is exact.
        """
        # The networks may compute in bfloat16: likelihood and KL go on in the dtype of x.
        mu, log_variance = self.encoder(x).to(x.dtype).chunk(2, -1)
        sigma = (log_variance / 2).exp()
        z = mu + sigma * epsilon
        h = self.decoder(z).to(x.dtype)
        return self.likelihood.log_prob(h, x), kl_term(mu, log_variance)

    def _noise(self, seed: int | torch.Generator, *shape: int) -> Tensor:
        like = next(self.parameters())
        g = generator(seed, like.device)
        return torch.randn(*shape, self.latent, generator=g, device=like.device, dtype=like.dtype)

    def elbo(self, x: Tensor, *, seed: int | torch.Generator = 0) -> Tensor:
        """Return one-sample estimates of the ELBO, shape (B,), with the exact KL term.

        Derived at `elbo-two-terms`. Pass a generator as `seed` to draw fresh noise at each call.

        Raises
        ------
        TypeError, ValueError
            If `x` is no tensor (B, D) of the model's dtype.
        """
        self.validate_shape(x)
        reconstruction, kl = self.terms(x, self._noise(seed, len(x)))
        return bounds.elbo(reconstruction, kl)

    def log_weights(self, x: Tensor, mu: Tensor, sigma: Tensor, epsilon: Tensor) -> Tensor:
        """Return ln p_θ(x, z) − ln q_φ(z|x) at z = μ + σ ε, shape (k, B), for ε (k, B, K).

        `mu` and `sigma`, (B, K) each, are those of q_φ(z|x) (claim `elbo-importance`).
        """
        z = mu + sigma * epsilon
        log_likelihood = self.likelihood.log_prob(self.decoder(z), x)
        return bounds.gaussian_log_weights(log_likelihood, z, epsilon, sigma)

    def iwae_bound(self, x: Tensor, k: int, *, seed: int | torch.Generator = 0) -> Tensor:
        """Return the k-sample bound ln (1/k) Σᵢ wᵢ, shape (B,) (claim `iwae-monotone`).

        One draw of k samples for each data point, differentiable. Memory grows with k·B and with
        the sizes of the decoder's layers.

        Raises
        ------
        TypeError, ValueError
            If `x` is no tensor (B, D) of the model's dtype, or k no whole number of 1 or more.
        """
        self.validate_shape(x)
        _require_count("k", k)
        log_w = self.log_weights(x, *self.encode(x), self._noise(seed, k, len(x)))
        return bounds.importance_bound(log_w)

    @torch.no_grad()
    def log_evidence(self, x: Tensor, n: int, *, seed: int | torch.Generator = 0) -> Tensor:
        """Return the estimate ln (1/n) Σᵢ wᵢ of ln p_θ(x), shape (B,) (claim `iwae-consistent`).

        The samples are drawn some at a time, so memory does not grow with n. No gradient.

        Raises
        ------
        TypeError, ValueError
            If `x` is no tensor (B, D) of the model's dtype, or n no whole number of 1 or more.
        """
        self.validate_shape(x)
        _require_count("n", n)
        reuse_memory(x.device)
        g = generator(seed, x.device)
        mu, sigma = self.encode(x)
        chunk = max(1, pairs_at_once(x.device) // len(x))
        noise = (self._noise(g, min(chunk, n - i), len(x)) for i in range(0, n, chunk))
        weights = (self.log_weights(x, mu, sigma, epsilon) for epsilon in noise)
        return bounds.importance_bound_of_pieces(weights)

    @torch.no_grad()
    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Return n draws from p_θ(x), shape (n, D): z ~ p(z), then x ~ p_θ(x|z).

        Raises
        ------
        ValueError
            If n is no whole number of 1 or more.
        """
        _require_count("n", n)
        with seeded(seed):
            return self.decode(self.prior.sample((n,))).sample()


def from_config(config: dict) -> VAE | Autoencoder:
    """Build the model that `config` describes; `model.config` gives it back, defaults filled in.

    Parameters
    ----------
    config : dict
        `data_dim`, `hidden` (list), `latent`, and optionally `model` ("vae" or "autoencoder"),
        `activation` (the name of an activation of torch.nn), `likelihood` ("gaussian", "bernoulli",
        "continuous-bernoulli"), `variance` (number or list of D), `learn_variance`, `grey`,
        `seed` of the weights. The decoder mirrors the encoder.

    Raises
    ------
    ValueError
        If a key is missing or unknown, a dimension is below 1, or a value is not admitted.
    """
    known = {
        "model": "vae",
        "data_dim": None,
        "hidden": None,
        "latent": None,
        "activation": "ReLU",
        "likelihood": "bernoulli",
        "variance": 1.0,
        "learn_variance": False,
        "grey": False,
        "seed": 0,
    }
    if unknown := set(config) - set(known):
        raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
    config = known | config
    if missing := [key for key in ("data_dim", "hidden", "latent") if config[key] is None]:
        raise ValueError(f"missing model settings: {', '.join(missing)}")
    if not isinstance(config["hidden"], Sequence):
        raise ValueError(f"hidden must be a list of sizes, got {config['hidden']!r}")
    config["hidden"] = list(config["hidden"])  # not the caller's own
    sizes = [config["data_dim"], *config["hidden"], config["latent"]]
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ValueError(f"every layer and the latent dimension need size 1 or more, got {sizes}")
    likelihoods = {
        "gaussian": lambda: GaussianLikelihood(
            torch.as_tensor(config["variance"]), config["learn_variance"]
        ),
        "bernoulli": lambda: BernoulliLikelihood(config["grey"]),
        "continuous-bernoulli": ContinuousBernoulliLikelihood,
    }
    kinds = {"vae": VAE, "autoencoder": Autoencoder}
    for key, choices in (("likelihood", likelihoods), ("model", kinds)):
        if config[key] not in choices:
            raise ValueError(f"{key} must be one of {', '.join(choices)}, got {config[key]!r}")
    kind = kinds[config["model"]]
    activation = getattr(nn, str(config["activation"]), None)
    if activation is None:
        raise ValueError(f"torch.nn has no activation {config['activation']!r}")
    with seeded(config["seed"]):
        encoder = mlp([*sizes[:-1], kind.latent_outputs * sizes[-1]], activation)
        model = kind(encoder, mlp(sizes[::-1], activation), likelihoods[config["likelihood"]]())
    model.config = config
    return model


def load(path: str | Path) -> VAE | Autoencoder:
    """Return the model stored in `path`, on the CPU and in torch's default dtype.

    Raises what `read` does, and ValueError if the model was built by hand.
    """
    tensors, facts = read(path)
    if facts.get("config") is None:
        raise ValueError(f"{path} holds a model built by hand: build it again, then load into it")
    model = from_config(facts["config"])
    model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("training.")})
    return model


def swiss_roll_vae(
    latent: int = 2,
    hidden: Sequence[int] = (128, 128),
    variance: float = 0.01,
    learn_variance: bool = False,
    seed: int = 0,
) -> VAE:
    """Return the VAE of chapter 10: 2-128-128, latent 2, LeakyReLU, Gaussian decoder."""
    return from_config(
        {
            "data_dim": 2,
            "hidden": list(hidden),
            "latent": latent,
            "activation": "LeakyReLU",
            "likelihood": "gaussian",
            "variance": variance,
            "learn_variance": learn_variance,
            "seed": seed,
        }
    )


def digits_vae(
    data_dim: int = 64, latent: int = 10, hidden: Sequence[int] = (200,), seed: int = 0
) -> VAE:
    """Return the VAE of chapter 11: D-200-10-200-D, ReLU, Bernoulli pixels."""
    return from_config(
        {"data_dim": data_dim, "hidden": list(hidden), "latent": latent, "seed": seed}
    )
