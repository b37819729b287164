"""The command line: `python -m vaekit train | evaluate | sample`, see `--help` of each."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from math import isqrt
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vaekit import __version__, data, evaluation
from vaekit.estimates import seeded
from vaekit.likelihoods import binarize
from vaekit.models import VAE, digits_vae, load, swiss_roll_vae
from vaekit.storage import write_bytes
from vaekit.training import Objective, choose_device, fit

NAMES = ("swiss-roll", "digits", "mnist", "binarized-mnist")


def splits(name: str) -> tuple[Tensor, Tensor]:
    """Return training and test data; the pixels of the test data are drawn once for all."""
    if name == "swiss-roll":
        return data.swiss_roll(10_000, seed=0), data.swiss_roll(2_000, seed=1)
    split = {"digits": data.digits, "mnist": data.mnist, "binarized-mnist": data.binarized_mnist}
    train, _, test, *_ = split[name]()
    return train, test if name == "binarized-mnist" else binarize(test, seed=0)


def train(args: argparse.Namespace) -> None:
    """Train a model and write model.safetensors, config.json and history.json to a folder.

    Raises
    ------
    FileExistsError
        If the folder holds a run and `--resume` is not given.
    ValueError
        If it holds another run.
    """
    x, _ = splits(args.data)
    sizes = {"hidden": args.hidden, "latent": args.latent}  # those of the chapter, if not given
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if args.data == "swiss-roll":
        model = swiss_roll_vae(learn_variance=True, seed=args.seed, **sizes)
    else:
        model = digits_vae(x.shape[1], seed=args.seed, **sizes)
    settings = {
        "batch_size": args.batch_size,
        "lr": args.lr,
        "seed": args.seed,
        "precision": args.precision,
        "binarize": args.data in ("digits", "mnist"),
    }
    config = {"data": args.data, "model": model.config, "training": settings | {"beta": args.beta}}
    path = args.out / "config.json"
    if (args.out / "model.safetensors").exists():
        if not args.resume:
            raise FileExistsError(f"{args.out} holds a run: pass --resume, or name another folder")
        before = read_config(args.out)
        for part, value in config.items():
            if before.get(part) != value:
                raise ValueError(
                    f"{path} is of another run: its {part} setting is {before.get(part)}"
                )
    objective = Objective(args.beta)
    if args.epochs < 1:
        raise ValueError(f"--epochs must be 1 or more, got {args.epochs}")
    if int(os.environ.get("RANK", 0)) == 0:
        versions = {"vaekit": __version__, "torch": torch.__version__}
        facts = config | {"epochs": args.epochs} | versions
        write_bytes(path, json.dumps(facts, indent=1).encode())
    history = fit(
        model,
        x,
        epochs=args.epochs,
        objective=objective,
        device=args.device,
        checkpoint=args.out,
        resume=args.resume,
        **settings,
    )
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"{args.out}: epoch {len(history)}, ELBO {history['elbo'][-1]:.3f} nats per point")


def open_run(folder: Path) -> tuple[VAE, dict]:
    """Return the model and the configuration that `train` wrote to a folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If a file in it is damaged.
    """
    config = read_config(folder)
    return load(folder / "model.safetensors"), config


def read_config(folder: Path) -> dict:
    """Return what `train` noted in config.json.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or it is damaged.
    """
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no config.json: is it a folder of `train --out`?")
    try:
        config = json.loads(path.read_text())
        config["data"], config["model"], config["training"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): train again into another folder") from error
    return config


def evaluate(args: argparse.Namespace) -> None:
    """Print the three numbers that belong together, each with its standard error.

    Raises
    ------
    ValueError
        If there are fewer than two points.
    """
    if args.points is not None and args.points < 2:
        raise ValueError(f"--points must be 2 or more, got {args.points}")
    model, config = open_run(args.folder)
    model.to(choose_device(args.device))
    _, x = splits(config["data"])
    x = x[: args.points]
    estimates = {
        "-ELBO": evaluation.elbo(model, x, seed=args.seed),
        f"-L_{args.k}": evaluation.iwae_bound(model, x, args.k, seed=args.seed),
        "NLL": evaluation.log_evidence(
            model, x, args.samples, seed=args.seed, progress=not args.json
        ),
    }
    numbers = {
        name: {"value": -e.value.item(), "standard_error": e.standard_error.item()}
        for name, e in estimates.items()
    }
    if args.json:
        print(json.dumps({"points": len(x), "samples": args.samples, **numbers}))
        return
    print(f"{config['data']}, {len(x)} test points, nats per point, ± one standard error")
    for name, number in numbers.items():
        print(f"{name:>8} {number['value']:10.3f} ± {number['standard_error']:.3f}")


def sample(args: argparse.Namespace) -> None:
    """Write a picture of samples: points of the roll, or the mean image at each z ~ p(z).

    Raises
    ------
    ValueError
        If there is not one sample to draw.
    """
    from matplotlib.figure import Figure  # no display is needed

    from vaekit.plotting import tiles

    if args.n < 1:
        raise ValueError(f"--n must be 1 or more, got {args.n}")
    model, config = open_run(args.folder)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    if config["data"] == "swiss-roll":
        axes.plot(*model.sample(args.n, seed=args.seed).T.numpy(), ".", markersize=3)
        axes.set_aspect("equal")
    else:
        with seeded(args.seed), torch.no_grad():
            x = model.decode(model.prior.sample((isqrt(args.n),) * 2)).mean
        axes.imshow(tiles(x, gap=0).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.axis("off")
    path = args.out or args.folder / "samples.png"
    figure.savefig(path, dpi=150)
    print(path)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the help names defaults in brackets."""
    top = argparse.ArgumentParser("python -m vaekit", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="train | evaluate | sample")

    def command(run: Callable) -> Callable:
        said = (run.__doc__ or "").partition("\n\n")[0]  # without what it raises
        p = commands.add_parser(run.__name__, help=said, description=said)
        p.set_defaults(run=run)
        return p.add_argument

    add = command(train)
    add("data", choices=NAMES, help="what to learn; MNIST is downloaded once")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to (required)")
    add("--epochs", type=int, default=50, metavar="N", help="passes over the data (%(default)s)")
    add("--batch-size", type=int, default=128, metavar="N", help="points per step (%(default)s)")
    add("--lr", type=float, default=1e-3, metavar="X", help="Adam's step size (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of all randomness (%(default)s)")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to run (%(default)s)",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the matrix products (%(default)s)",
    )
    add("--latent", type=int, metavar="K", help="latent dimensions (swiss-roll 2, others 10)")
    add(
        "--hidden",
        type=int,
        nargs="+",
        metavar="N",
        help="hidden units, mirrored in the decoder (swiss-roll 128 128, others 200)",
    )
    add("--beta", type=float, default=1.0, metavar="X", help="weight of the KL term (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint in DIR (off)")

    add = command(evaluate)
    add("folder", type=Path, metavar="DIR", help="folder that train wrote")
    add("--k", type=int, default=50, metavar="N", help="samples of the bound L_k (%(default)s)")
    add("--samples", type=int, default=5000, metavar="N", help="samples of the NLL (%(default)s)")
    add("--points", type=int, metavar="N", help="test points to use (all)")
    add("--seed", type=int, default=0, metavar="N", help="of the samples (%(default)s)")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to run (%(default)s)",
    )
    add("--json", action="store_true", help="print JSON (off)")

    add = command(sample)
    add("folder", type=Path, metavar="DIR", help="folder that train wrote")
    add("--out", type=Path, metavar="FILE", help="picture to write (DIR/samples.png)")
    add("--n", type=int, default=100, metavar="N", help="samples, or the most digits (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the samples (%(default)s)")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; an expected failure is one sentence and exit status 1."""
    args = parser().parse_args(argv)
    parallel = "WORLD_SIZE" in os.environ  # started by torchrun
    try:
        if parallel:
            gpu = torch.cuda.is_available() and getattr(args, "device", "auto") != "cpu"
            dist.init_process_group("nccl" if gpu else "gloo")
        args.run(args)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if parallel and dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
