"""Training: samples per second of one VAE 784-400-20 in vaekit, in other libraries, at the limit.

Every contender has the same layers, batch, optimiser (Adam) and objective: the ELBO of a Bernoulli
decoder, one sample of z for each point and the exact KL term. Each is written as its own
documentation would write it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import Goal, Measurement, alternate, ratios
from vaekit.models import from_config
from vaekit.training import fit

D, HIDDEN, K, BATCH = 784, 400, 20, 128
LR = 1e-3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Contender = Callable[[], object]


def pixels(n: int, seed: int = 0) -> Tensor:
    """Return n images of 784 binary pixels, one in five white."""
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(n, D, generator=g) < 0.2).float()


def networks() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(nn.Linear(D, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * K))
    decoder = nn.Sequential(nn.Linear(K, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, D))
    return encoder, decoder


def vaekit(x: Tensor, epochs: int, device: str, precision: str) -> Contender:
    model = from_config({"data_dim": D, "hidden": [HIDDEN], "latent": K})
    return lambda: fit(
        model,
        x,
        epochs=epochs,
        batch_size=BATCH,
        lr=LR,
        device=device,
        precision=precision,
        progress=False,
    )


def loop(x: Tensor, epochs: int, device: str, precision: str) -> Contender:
    """Return the training loop of a tutorial: a DataLoader, Adam, the loss summed up as floats."""
    encoder, decoder = (network.to(device) for network in networks())
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LR)
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True)

    def train() -> float:
        total = 0.0
        for _ in range(epochs):
            for (batch,) in loader:
                batch = batch.to(device)
                with torch.autocast(device, DTYPES[precision], enabled=precision != "float32"):
                    mu, log_variance = encoder(batch).chunk(2, dim=1)
                    z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
                    logits = decoder(z)
                    bce = F.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
                    kl = -0.5 * torch.sum(1 + log_variance - mu**2 - log_variance.exp())
                    loss = (bce + kl) / len(batch)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item()
        return total

    return train


def pythae(x: Tensor, epochs: int, device: str, precision: str) -> Contender:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = networks()[0]

        def forward(self, x):
            mu, log_variance = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mu, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = networks()[1]

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))

    logging.disable(logging.INFO)  # it logs every epoch
    config = VAEConfig(input_dim=(D,), latent_dim=K, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(), decoder=Decoder())
    data = BaseDataset(x, torch.zeros(len(x)))

    def train() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stderr(nowhere),  # its progress bar
        ):
            settings = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=BATCH,
                learning_rate=LR,
                no_cuda=device == "cpu",
            )
            BaseTrainer(model, data, training_config=settings).train()

    return train


def pyro(x: Tensor, epochs: int, device: str, precision: str) -> Contender:
    import pyro
    import pyro.distributions as dist
    from pyro.infer import SVI, TraceMeanField_ELBO

    pyro.clear_param_store()
    encoder, decoder = (network.to(device) for network in networks())
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            zero = x.new_zeros(len(x), K)
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            mu, log_variance = encoder(x).chunk(2, dim=1)
            pyro.sample("z", dist.Normal(mu, torch.exp(0.5 * log_variance)).to_event(1))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": LR}), loss=TraceMeanField_ELBO())

    def train() -> float:
        total = 0.0
        # the checks of every distribution's arguments are for finding mistakes, not for training
        with pyro.validation_enabled(False):
            for _ in range(epochs):
                for (batch,) in loader:
                    with torch.autocast(device, DTYPES[precision], enabled=precision != "float32"):
                        total += svi.step(batch.to(device))
        return total

    return train


def products(x: Tensor, epochs: int, device: str, precision: str) -> Contender:
    """Return the matrix products of a step, forwards and backwards, and nothing else."""
    new = {"device": device, "dtype": DTYPES[precision]}
    layers = []
    for inputs, outputs in ((D, HIDDEN), (HIDDEN, 2 * K), (K, HIDDEN), (HIDDEN, D)):
        weight = torch.randn(outputs, inputs, **new)
        a, b = torch.randn(BATCH, inputs, **new), torch.randn(BATCH, outputs, **new)
        layers.append((weight, a, b, torch.empty_like(weight)))

    def train() -> None:
        for _ in range(epochs * (len(x) // BATCH)):
            for weight, a, b, gradient in layers:
                torch.mm(a, weight.T, out=outputs[b.shape])
                torch.mm(b.T, a, out=gradient)
            for weight, a, b, _ in layers[1:]:  # nobody asks for the gradient of the data
                torch.mm(b, weight, out=outputs[a.shape])

    outputs = {t.shape: torch.empty_like(t) for _, a, b, _ in layers for t in (a, b)}
    return train


LIBRARIES = {"DataLoader loop": loop, "pythae": pythae, "pyro-ppl": pyro}
MODULES = {"pythae": "pythae", "pyro-ppl": "pyro"}


def measure(device: str, *, rounds: int, quick: bool) -> Measurement:
    x = pixels(3 * BATCH if quick else 200 * BATCH)
    epochs = 1 if quick else {"cpu": 3, "cuda": 40}[device]
    bfloat16 = device == "cuda" or any(
        there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name
    )
    skipped = [
        f"{name}: not installed (benchmarks/requirements.txt)"
        for name, module in MODULES.items()
        if importlib.util.find_spec(module) is None
    ]
    if not bfloat16:
        skipped.append("bfloat16: this processor has no instructions for it")
    libraries = [name for name in LIBRARIES if not any(s.startswith(name) for s in skipped)]

    makers = {"vaekit fit": vaekit} | {name: LIBRARIES[name] for name in libraries}
    makers |= {"matrix products alone": products}
    contenders = {n: make(x, epochs, device, "float32") for n, make in makers.items()}
    if bfloat16:
        # pythae turns mixed precision off for this likelihood
        contenders |= {
            f"{n}, bfloat16": make(x, epochs, device, "bfloat16")
            for n, make in makers.items()
            if n != "pythae"
        }
    torch.manual_seed(0)
    speeds = alternate(contenders, epochs * len(x), rounds, device)

    def goal(ratio: str, wanted: float, name: str, others: list[str]) -> Goal:
        return Goal(ratio, wanted, ratios(speeds, name, others))

    fit_, limit = "vaekit fit", "matrix products alone"
    goals = [
        goal("fit / fastest library", 1.5, fit_, libraries),
        goal("fit / matrix products alone", 0.7, fit_, [limit]),
    ]
    if bfloat16:
        half = [f"{n}, bfloat16" for n in libraries if n != "pythae"]
        fit_half = f"{fit_}, bfloat16"
        goals += [
            goal("fit in bfloat16 / fastest library in float32", 2.5, fit_half, libraries),
            goal("fit in bfloat16 / fastest library in either", 2.5, fit_half, libraries + half),
        ]
    if device == "cuda":
        goals.append(goal("fit / DataLoader loop", 20, fit_, ["DataLoader loop"]))
    return Measurement(
        title=f"Training on {'a GPU' if device == 'cuda' else 'the CPU'}",
        settings=f"VAE {D}-{HIDDEN}-{K}, Bernoulli pixels, batch {BATCH}, Adam;"
        f" {epochs} epochs of {len(x)} images a run, {rounds} rounds",
        unit="images/s",
        runs=speeds,
        goals=goals,
        skipped=skipped,
    )
