"""Training: one loop for every model of the course, on one device or on several processes.

The loop keeps the data on the device, all trainable parameters in one vector θ, and asks the device
for numbers once an epoch. Order and noise come from one generator of its own, so that a run can be
continued from its checkpoint bit for bit, and so that a batch can be shared out among processes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.adam import adam
from tqdm.auto import tqdm

from vaekit.estimates import generator
from vaekit.likelihoods import draw_pixels
from vaekit.models import Autoencoder, reuse_memory
from vaekit.storage import read, write, write_bytes

__all__ = ["History", "Objective", "choose_device", "fit", "fit_stored"]

Step = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Objective:
    """What is minimised: −E_q ln p_θ(x|z) + β Σ_k max(KL_k, λ), in nats per data point.

    Attributes
    ----------
    beta : float
        Weight β of the KL term; 1 gives the ELBO (claim `loss-sigma-is-beta`).
    warmup : int
        Number of epochs over which β rises linearly from 0, step by step.
    free_bits : float
        λ in nats: a latent dimension whose KL, averaged over the batch, is below λ adds no
        gradient (Kingma et al. 2016, "Improved variational inference with inverse
        autoregressive flow").
    """

    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")

    def betas(self, epoch: int, steps: int) -> Tensor:
        """Return β of each step of an epoch, counted from 0, shape (steps,)."""
        done = epoch * steps + torch.arange(1, steps + 1)
        return self.beta * (done / (self.warmup * steps or 1)).clamp(max=1)


@dataclass
class History:
    """What each epoch gave, a list of dictionaries in `rows`; `history["elbo"]` is one column.

    Columns: `epoch`, `reconstruction` (the mean of ln p_θ(x|z)), `kl`, `elbo` (their difference,
    whatever the objective), all in nats per training point and measured while the weights moved;
    `beta` at the end of the epoch; `seconds`; `validation`, the ELBO on the validation data with
    the weights at the end of the epoch.
    """

    rows: list[dict] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        return [row[column] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        last = {k: round(v, 4) for k, v in self.rows[-1].items()} if self.rows else {}
        return f"History({len(self)} epochs, last: {last})"

    def save(self, path: str | Path) -> None:
        """Write the rows as JSON, all or nothing."""
        write_bytes(Path(path), json.dumps(self.rows, indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote, or raise ValueError if the file is damaged."""
        try:
            rows = json.loads(Path(path).read_text())
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError(f"{path} holds no history of a training")
        return cls(rows)

    def plot(self):
        """Return a matplotlib figure: the ELBO at the left, its two terms at the right.

        Raises ValueError if no epoch has ended.
        """
        import matplotlib.pyplot as plt

        if not self.rows:
            raise ValueError("there is nothing to plot: no epoch has ended")
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
        left.plot(self["epoch"], self["elbo"], label="training")
        if "validation" in self.rows[-1]:
            left.plot(self["epoch"], self["validation"], "--", label="validation")
        left.set(title="ELBO", xlabel="epoch", ylabel="nats per point")
        right.plot(self["epoch"], [-r for r in self["reconstruction"]], label="−reconstruction")
        right.plot(self["epoch"], self["kl"], "--", label="KL")
        right.set(title="Its two terms", xlabel="epoch", ylabel="nats per point")
        left.legend()
        right.legend()
        return figure


def fit(
    model: Autoencoder,
    data: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "float32",
    objective: Objective | None = None,
    binarize: bool = False,
    validation: Tensor | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> History:
    """Train a VAE or an autoencoder with Adam; the model is changed in place.

    Under `torchrun` (an initialised process group) each batch is shared out among the processes,
    which reach the weights of one process with the same `batch_size`, to rounding.

    Parameters
    ----------
    model : VAE or Autoencoder
        Trained on `device`, and afterwards where it was.
    data, validation : Tensor
        Shape (N, D), dtype of the model. Both are moved to the device whole.
    epochs, batch_size, lr, seed
        Passes over the data, points per step over all processes, Adam's step size, seed of order
        and noise. The last batch of an epoch holds what is left.
    device : str
        "auto" is a GPU where there is one, else the CPU.
    precision : {"float32", "bfloat16"}
        What the networks, and a learned variance, compute in. θ, Adam, the likelihood's formula and
        the KL term keep the model's dtype; for "bfloat16" that has to be float32.
    objective : Objective
        β, KL warm-up and free bits.
    binarize : bool
        Draw fresh pixels from Bernoulli(data) at each epoch.
    validation, patience
        With validation data the ELBO on them is recorded; with `patience` the training stops after
        so many epochs without a better one and the best weights are put back.
    checkpoint : path
        A folder for `model.safetensors` and `history.json`, written after each epoch.
    resume : bool
        Continue from the checkpoint, on the kind of device that it was begun on; the weights end
        bit-identical to those of a run that was never stopped. Without a checkpoint, start at the
        beginning.
    progress : bool
        Show a bar with both terms of the ELBO.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If an argument makes no sense, or the checkpoint is damaged or of another run.
    FileExistsError
        If there is a checkpoint and `resume` is not set.
    FloatingPointError
        If the loss is no longer finite at the end of an epoch; the last checkpoint stays.
    OSError
        If a checkpoint cannot be written; the last one stays.
    """
    objective = objective or Objective()
    _check(model, data, validation, epochs, batch_size, lr, precision, patience, binarize)
    device = choose_device(device)
    path = Path(checkpoint) / "model.safetensors" if checkpoint else None
    if path and path.exists() and not resume:
        raise FileExistsError(f"{path} exists: pass resume to go on, or name another folder")
    settings = {
        "model": _described(model),
        "device": device.type,
        "data": _said_of(data) if path else None,
        "validation": _said_of(validation) if path and validation is not None else None,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "precision": precision,
        "binarize": binarize,
        "patience": patience,
        "objective": dataclasses.asdict(objective),
    }
    settings = json.loads(json.dumps(settings))  # as the checkpoint gives them back
    restored = _restore(path, model, settings) if path and path.exists() else None
    home = next(model.parameters()).device
    run = _Run(model, data, objective, batch_size, lr, seed, device, precision, binarize)
    if restored:
        run.restore(*restored)
    if validation is not None:
        validation = validation.to(run.data.device)
    rows = run.history.rows
    bar = tqdm(total=epochs, initial=len(rows), disable=not progress or run.rank > 0, unit="epoch")
    with _threads(model, batch_size), torch.enable_grad():
        try:
            if run.world > 1:
                # no process may still be looking for a checkpoint when one is written
                dist.barrier()
            if path and run.rank == 0:
                run.save(path, settings)  # an unwritable folder shows now, not after an epoch
            while len(rows) < epochs and not (patience and run.waited >= patience):
                row = run.epoch(len(rows))
                if validation is not None:
                    row["validation"] = run.bound(validation)
                if wrong := [k for k, value in row.items() if not math.isfinite(value)]:
                    raise FloatingPointError(
                        f"training diverged in epoch {row['epoch']}: its {wrong[0]} is"
                        f" {row[wrong[0]]}; try a learning rate below {lr:g}"
                    )
                rows.append(row)
                if patience:
                    run.keep_best(row["validation"])
                bar.update()
                bar.set_postfix(
                    reconstruction=f"{row['reconstruction']:.2f}", kl=f"{row['kl']:.2f}"
                )
                if path and run.rank == 0:
                    run.save(path, settings)
        finally:
            bar.close()
            run.finish()
            model.to(home)
    return run.history


def fit_stored(path: str | Path, model: Autoencoder, data: Tensor, **options) -> History:
    """Do what `fit` does, or take the weights that this very call stored before.

    For models that a page needs and that need not be trained anew each time that it is built. With
    another model, seed, data or option but `device` and `progress` the training runs again; data
    are told apart by their shape, their dtype and two sums. It is stored if the folder of `path` is
    there and the file is not: delete the file to store what another call gives.

    Parameters
    ----------
    path : path
        A safetensors file.
    model, data, options
        As for `fit`, but for `checkpoint` and `resume`; the model must come from a configuration.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the file is damaged, the model is built by hand, a checkpoint is asked for, or for the
        reasons of `fit`.
    OSError
        If the file cannot be written.
    """
    model.validate_shape(data, "data")
    if model.config is None or options.get("checkpoint") or options.get("resume"):
        raise ValueError(
            "fit_stored needs a model of `from_config`, and takes no checkpoint: use fit"
        )
    path, shown = Path(path), {"progress", "device"}  # stored weights serve every device
    call = {name: value for name, value in options.items() if name not in shown}
    if call.get("objective"):
        call["objective"] = dataclasses.asdict(call["objective"])
    call |= {"config": model.config, "data": _said_of(data)}
    call["start"] = _said_of(torch.cat([p.detach().flatten() for p in model.parameters()]))
    if call.get("validation") is not None:
        call["validation"] = _said_of(call["validation"])
    call = json.loads(json.dumps(call))  # as the file gives it back
    if path.exists():
        tensors, facts = read(path)
        here = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        if facts.get("call") == call and here == {k: t.dtype for k, t in tensors.items()}:
            model.load_state_dict(tensors)
            return History(facts["history"])
    history = fit(model, data, **options)
    if path.parent.is_dir() and not path.exists():
        facts = {"config": model.config, "call": call, "history": history.rows}
        write(path, model.state_dict(), facts)
    return history


def _described(model: Autoencoder) -> list:
    """Return what tells one architecture from another, whatever its weights are."""
    config = model.config and {k: v for k, v in model.config.items() if k != "seed"}
    return [config, [[str(p.dtype), p.requires_grad] for p in model.parameters()]]


def _said_of(x: Tensor) -> list:
    """Return what tells one tensor from another, but not one machine's rounding from another's."""
    values = x.detach().double().flatten()
    places = torch.linspace(0, 1, len(values), dtype=values.dtype, device=values.device)
    return [*x.shape, f"{values.sum().item():.6g}", f"{(values * places).sum().item():.6g}"]


@contextmanager
def _threads(model: nn.Module, batch_size: int) -> Iterator[None]:
    """Let a step be computed by one thread where its largest product is small.

    Threads wait for each other at every product. For 64-200-10, batch 128, a step took 8 ms with
    one thread and 65 or more with two, for 784-200-10 (20 million multiplications) 14 and 110 or
    more, on two cores of an AMD EPYC busy with other work. From 2²⁵ multiplications on, as in
    784-400-20, the number of threads stays the caller's.
    """
    threads = torch.get_num_threads()
    if batch_size * max(p.numel() for p in model.parameters()) < 2**25:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device named; "auto" is a GPU where torch sees one, else the CPU.

    Raises
    ------
    ValueError
        If it is neither the CPU nor a GPU, or a GPU that torch does not see.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got '{device}'")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' asked for, but torch sees {torch.cuda.device_count()} GPUs"
        )
    return device


def _check(model, data, validation, epochs, batch_size, lr, precision, patience, binarize) -> None:
    """Raise one clear error for arguments that make no sense, before anything is changed."""
    model.validate(data, grey=binarize)
    if validation is not None:
        model.validate(validation, "validation data")
    for name, value in {"epochs": epochs, "batch_size": batch_size}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of 1 or more, got {value}")
    if batch_size > len(data):
        raise ValueError(f"batch_size {batch_size} is larger than the data, {len(data)} points")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be positive and finite, got {lr}")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
    if precision == "bfloat16" and data.dtype != torch.float32:
        raise ValueError(f"precision 'bfloat16' needs a model in float32, this one is {data.dtype}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("there is nothing to train: no parameter of the model requires a gradient")
    if patience is not None and (patience < 1 or validation is None):
        raise ValueError("patience must be 1 or more, and needs validation data")


def _restore(path: Path, model: nn.Module, settings: dict) -> tuple[dict[str, Tensor], dict]:
    """Return the content of a checkpoint, or raise unless it is of this very run."""
    tensors, facts = read(path)
    for name, tensor in model.state_dict().items():
        there = tuple(tensors[name].shape) if name in tensors else "missing"
        if there != tuple(tensor.shape):
            raise ValueError(
                f"{path} is of another architecture: {name} is {there} there,"
                f" {tuple(tensor.shape)} in this model"
            )
    for name, value in settings.items():
        if facts.get("settings", {}).get(name) != value:
            raise ValueError(
                f"{path} is of another run: {name} was {facts.get('settings', {}).get(name)},"
                f" now it is {value}"
            )
    return tensors, facts


class _Run:
    """A model in training: its vector θ, Adam's moments, the generator, and the best θ so far."""

    def __init__(self, model, data, objective, batch_size, lr, seed, device, precision, binarize):
        parallel = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if parallel else (0, 1)
        self.model, self.data = model.to(device), data.to(device)
        self.objective, self.batch_size, self.seed = objective, batch_size, seed
        self.precision, self.binarize = precision, binarize
        self.generator = generator(seed, device)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.theta = parameters_to_vector(self.parameters).detach()
        # What the networks compute with: θ itself, or its copy rounded to bfloat16.
        self.working = self.theta.bfloat16() if precision == "bfloat16" else self.theta
        self.adam = {
            "exp_avg": torch.zeros_like(self.theta),
            "exp_avg_sq": torch.zeros_like(self.theta),
            "step": torch.zeros(len(self.parameters), device=device),
        }
        gpu = device.type == "cuda"
        reuse_memory(device)
        if gpu:
            torch.cuda.set_device(device)  # streams, graphs and nccl act on the current device
        # Adam works on views: gathering the gradients into one vector would cost as much again.
        self.update = partial(
            adam,
            params=self.views(self.theta),
            exp_avgs=self.views(self.adam["exp_avg"]),
            exp_avg_sqs=self.views(self.adam["exp_avg_sq"]),
            max_exp_avg_sqs=[],
            state_steps=list(self.adam["step"]),
            fused=True,
            capturable=gpu,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        self.totals = torch.zeros(2, dtype=torch.float64, device=device)
        self.best, self.best_bound, self.waited = None, None, 0
        self.history = History()
        vector_to_parameters(self.working, self.parameters)  # each parameter is now a view of it
        graphed = gpu and self.world == 1
        self.full_step = _graphed(self.step, self.generator) if graphed else self.step

    def views(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector in the shapes of the parameters."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [v.view(p.shape) for v, p in zip(parts, self.parameters, strict=True)]

    def step(self, x: Tensor, beta: Tensor) -> None:
        """Take one step of Adam on the batch `x`; nothing here asks the device for a number."""
        batch = len(x)
        epsilon = self.noise(batch, self.generator)
        if self.world > 1:  # every process draws the noise of the whole batch and takes its share
            x, epsilon = (t.tensor_split(self.world)[self.rank] for t in (x, epsilon))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            reconstruction, kl = self.model.terms(x, epsilon)
        penalty = kl
        if self.objective.free_bits:
            mean = kl.detach().sum(0) / batch
            if self.world > 1:
                dist.all_reduce(mean)
            penalty = kl * (mean > self.objective.free_bits)
        loss = (beta * penalty.sum() - reconstruction.sum()) / batch
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        gradients = [d.to(self.theta.dtype) for d in gradients]
        if self.world > 1:
            total = torch.cat([d.reshape(-1) for d in gradients])
            dist.all_reduce(total)
            gradients = self.views(total)
        with torch.no_grad():
            self.update(grads=gradients)
        if self.working is not self.theta:
            self.working.copy_(self.theta)
        self.totals += torch.stack([reconstruction.detach().sum(), kl.detach().sum()])

    def noise(self, n: int, g: torch.Generator) -> Tensor:
        """Return standard normal noise, shape (n, K)."""
        return torch.randn(
            n, self.model.latent, generator=g, device=g.device, dtype=self.data.dtype
        )

    def epoch(self, epoch: int) -> dict:
        """Pass over the data once in random order and return the epoch's row of the history."""
        start = time.perf_counter()
        x, n = self.data, len(self.data)
        order = torch.randperm(n, generator=self.generator, device=x.device)
        if self.binarize:
            x = draw_pixels(x, self.generator)
        batches = order.split(self.batch_size)
        betas = self.objective.betas(epoch, len(batches)).to(x)
        self.totals.zero_()
        for rows, beta in zip(batches, betas, strict=True):
            step = self.full_step if len(rows) == self.batch_size else self.step
            step(x.index_select(0, rows), beta)
        if self.world > 1:
            dist.all_reduce(self.totals)
        reconstruction, kl = (self.totals / n).tolist()
        return {
            "epoch": epoch + 1,
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": reconstruction - kl,
            "beta": betas[-1].item(),
            "seconds": time.perf_counter() - start,
        }

    @torch.no_grad()
    def bound(self, x: Tensor) -> float:
        """Return the mean ELBO of `x`, with the same noise at every call."""
        g = generator(self.seed, x.device)
        vector_to_parameters(self.theta, self.parameters)
        total = 0.0
        for part in x.split(4096):
            reconstruction, kl = self.model.terms(part, self.noise(len(part), g))
            total += (reconstruction.double().sum() - kl.double().sum()).item()
        vector_to_parameters(self.working, self.parameters)
        return total / len(x)

    def keep_best(self, bound: float) -> None:
        """Keep θ if its validation bound is the best so far."""
        self.waited += 1
        if self.best_bound is None or bound > self.best_bound:
            self.best, self.best_bound, self.waited = self.theta.clone(), bound, 0

    def save(self, path: Path, settings: dict) -> None:
        """Write the model as one would use it, and all that a continued run needs."""
        training = self.adam | {
            "theta": self.theta,
            "best": self.theta if self.best is None else self.best,
            "generator": self.generator.get_state(),
        }
        vector_to_parameters(training["best"], self.parameters)
        tensors = self.model.state_dict() | {f"training.{k}": v for k, v in training.items()}
        facts = {
            "config": self.model.config,
            "settings": settings,
            "best_bound": self.best_bound,
            "waited": self.waited,
            "history": self.history.rows,
        }
        write(path, tensors, facts)
        self.history.save(path.with_name("history.json"))
        vector_to_parameters(self.working, self.parameters)

    def restore(self, tensors: dict[str, Tensor], facts: dict) -> None:
        """Take up what `save` wrote."""
        self.model.load_state_dict({k: tensors[k] for k in self.model.state_dict()})
        self.theta.copy_(tensors["training.theta"])
        self.working.copy_(self.theta)
        for name, tensor in self.adam.items():
            tensor.copy_(tensors[f"training.{name}"])
        self.generator.set_state(tensors["training.generator"])
        self.best_bound, self.waited = facts["best_bound"], facts["waited"]
        if self.best_bound is not None:
            self.best = tensors["training.best"].to(self.theta.device)
        self.history = History(facts["history"])

    def finish(self) -> None:
        """Leave an ordinary model: the best weights, each parameter in memory of its own."""
        vector_to_parameters(self.theta if self.best is None else self.best, self.parameters)
        for p in self.parameters:
            p.data = p.data.clone()


def _graphed(step: Step, g: torch.Generator) -> Step:
    """Return `step` as one CUDA graph: after three plain steps it is recorded, then replayed.

    A graph reads its inputs at fixed addresses, so each batch is copied there first. The three
    steps run beside the main stream, as CUDA asks before a recording; recording computes nothing.
    """
    taken = 0
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(g)
    side = torch.cuda.Stream()
    inputs: list[Tensor] = []

    def run(x: Tensor, beta: Tensor) -> None:
        nonlocal taken, inputs
        taken += 1
        if taken <= 3:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step(x, beta)
            torch.cuda.current_stream().wait_stream(side)
            return
        if taken == 4:
            inputs = [x.clone(), beta.clone()]
            with torch.cuda.graph(graph):
                step(*inputs)
        for static, value in zip(inputs, (x, beta), strict=True):
            static.copy_(value)
        graph.replay()

    return run
