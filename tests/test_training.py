"""The training loop: against a plain loop, killed and continued, shared out, and fed rubbish."""

import math
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vaekit import data, models, storage, training
from vaekit.likelihoods import BernoulliLikelihood, binarize
from vaekit.models import VAE, Autoencoder, digits_vae, from_config, mlp, swiss_roll_vae
from vaekit.training import History, Objective, fit, fit_stored

X = binarize(data.digits().train)[:500]
SMALL = {"data_dim": 64, "hidden": [16], "latent": 3}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def small(**change) -> VAE:
    return from_config(SMALL | change)


def train(model, x=X, **options) -> History:
    return fit(model, x, **{"epochs": 2, "device": "cpu", "progress": False} | options)


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])


def test_what_was_stored_is_taken_by_the_same_call_only(tmp_path, monkeypatch):
    options = {"epochs": 2, "batch_size": 100, "validation": X[:50], "objective": Objective(0.5)}
    path = tmp_path / "weights.safetensors"
    trained = small()
    history = fit_stored(path, trained, X, progress=False, **options)
    stored = path.read_bytes()

    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = small()
    assert fit_stored(path, again, X, **options)["elbo"] == history["elbo"]
    assert torch.equal(weights(again), weights(trained))
    monkeypatch.undo()

    plain = small()
    fit(plain, X, progress=False, **options)
    assert torch.equal(weights(plain), weights(trained))

    for model, x, change in [
        (small(), X, {"lr": 2e-3}),
        (small(), X, {"objective": Objective(0.6)}),
        (small(), X, {"validation": X[50:100]}),
        (small(), X.flip(0), {}),
        (small(seed=1), X, {}),
        (small(latent=2), X, {}),
    ]:
        new = History([{"elbo": 0.0}])
        monkeypatch.setattr(training, "fit", lambda *_, new=new, **__: new)
        assert fit_stored(path, model, x, **options | change) is new, change
        assert path.read_bytes() == stored
    path.write_bytes(stored[:-1])
    with pytest.raises(ValueError, match="truncated"):
        fit_stored(path, small(), X, **options)
    nowhere = tmp_path / "none" / "weights.safetensors"
    fit_stored(nowhere, small(), X, **options)
    assert not nowhere.parent.exists()


@pytest.mark.parametrize(
    "objective",
    [Objective(), Objective(beta=0.3), Objective(warmup=3), Objective(free_bits=0.05)],
    ids=["elbo", "beta", "warmup", "free bits"],
)
def test_fit_is_a_plain_loop(objective):
    ours, plain = small().double(), small().double()
    x = X[:90].double()
    history = train(ours, x, batch_size=40, seed=7, lr=0.01, objective=objective)

    g = torch.Generator().manual_seed(7)
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    step, sums = 0, []
    for _ in range(2):
        total = torch.zeros(2)
        for rows in torch.randperm(90, generator=g).split(40):
            step += 1
            beta = objective.beta * min(1.0, step / (3 * objective.warmup or 1))
            epsilon = torch.randn(len(rows), 3, generator=g, dtype=torch.float64)
            q = plain.posterior(x[rows]).base_dist
            likelihood = plain.decode(q.mean + q.stddev * epsilon)
            reconstruction = likelihood.log_prob(x[rows]).mean()
            kl = 0.5 * (q.variance + q.mean**2 - q.variance.log() - 1)
            loss = beta * kl.mean(0).clamp(min=objective.free_bits).sum() - reconstruction
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += torch.stack([reconstruction * len(rows), kl.sum()]).detach()
        sums.append(total / 90)
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-6, atol=1e-7)
    for row, (reconstruction, kl) in zip(history.rows, sums, strict=True):
        assert row["reconstruction"] == pytest.approx(reconstruction.item(), rel=1e-5)
        assert row["kl"] == pytest.approx(kl.item(), rel=1e-5)
        assert row["elbo"] == pytest.approx((reconstruction - kl).item(), rel=1e-5)
    assert history["beta"] == pytest.approx(
        [objective.beta * min(1, e / (objective.warmup or 1)) for e in (1, 2)]
    )


def test_linear_vae_reaches_the_maximum_likelihood_of_ppca():
    g = torch.Generator().manual_seed(0)
    n, d, k = 500, 4, 1
    mixing = torch.randn(d, d, generator=g, dtype=torch.float64)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) @ mixing
    s = torch.cov(x.T, correction=0)
    eigenvalues = torch.linalg.eigvalsh(s).flip(0)
    variance = eigenvalues[k:].mean()
    log_det = eigenvalues[:k].log().sum() + (d - k) * variance.log()
    best = -0.5 * (d * math.log(2 * math.pi) + log_det + d)

    ppca = {"data_dim": d, "hidden": [], "latent": k, "likelihood": "gaussian"}
    vae = from_config(ppca | {"learn_variance": True}).double()
    for lr in (0.03, 0.003):
        train(vae, x, epochs=150, batch_size=100, lr=lr)
    w, noise = vae.decoder[0].weight, vae.likelihood.log_variance.exp()
    evidence = torch.distributions.MultivariateNormal(
        vae.decoder[0].bias, w @ w.T + noise * torch.eye(d, dtype=torch.float64)
    )
    reached = evidence.log_prob(x).mean()
    assert best - 0.01 < reached < best + 1e-9


def test_seeds_decide_and_the_global_generator_stays():
    before = torch.random.get_rng_state()
    a, b, other = small(), small(), small()
    train(a, seed=1)
    train(b, seed=1)
    train(other, seed=2)
    assert torch.equal(weights(a), weights(b)) and not torch.equal(weights(a), weights(other))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_number_of_threads_is_chosen_for_the_model_and_given_back():
    seen, results = [], []
    terms = VAE.terms

    class Watched(VAE):
        def terms(self, x, epsilon):
            seen.append(torch.get_num_threads())
            return terms(self, x, epsilon)

    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = digits_vae()
            model.__class__ = Watched
            train(model)
            assert torch.get_num_threads() == threads
            results.append(weights(model).numpy().tobytes())
            with pytest.raises(FloatingPointError):
                train(digits_vae(), lr=1e30)
            assert torch.get_num_threads() == threads
        assert set(seen) == {1} and results[0] == results[1]
        wide = VAE(mlp([64, 5000, 6]), mlp([3, 64]), BernoulliLikelihood())
        wide.__class__ = Watched
        seen.clear()
        train(wide, epochs=1, batch_size=128)
        assert set(seen) == {2}
    finally:
        torch.set_num_threads(before)


def test_frozen_parameters_stay_and_the_model_is_left_ordinary():
    model = swiss_roll_vae(hidden=[8])
    before = model.likelihood.log_variance.clone()
    train(model, data.swiss_roll(200))
    assert torch.equal(model.likelihood.log_variance, before)
    storages = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(storages) == len(list(model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_autoencoder_is_trained_by_the_same_fit():
    model = Autoencoder(mlp([64, 16, 3]), mlp([3, 16, 64]), BernoulliLikelihood())
    history = train(model, epochs=10, lr=0.01)
    assert history["kl"] == [0] * 10
    assert history["elbo"][-1] > history["elbo"][0] + 10


def test_binarize_draws_new_pixels_at_each_epoch():
    grey = data.digits().train
    model = small()
    with pytest.raises(ValueError, match="outside the Bernoulli's support"):
        train(model, grey)
    history = train(model, grey, epochs=8, lr=0.01, binarize=True)
    assert history["elbo"][-1] > history["elbo"][0] + 10
    half = torch.full((200, 64), 0.5)
    assert train(small(), half, epochs=40, lr=0.01, binarize=True)["elbo"][-1] < -64 * math.log(2)


def test_early_stopping_puts_the_best_weights_back():
    train_x, valid = X[:40], X[40:240]
    model = small(hidden=[64])
    history = train(
        model, train_x, epochs=500, batch_size=40, lr=0.01, validation=valid, patience=5
    )
    bounds = history["validation"]
    assert len(history) < 500 and bounds.index(max(bounds)) == len(history) - 1 - 5
    again = small(hidden=[64])
    train(again, train_x, epochs=len(history) - 5, batch_size=40, lr=0.01)
    assert torch.equal(weights(model), weights(again))
    assert model.elbo(valid).mean().item() == pytest.approx(max(bounds), abs=1.0)


def test_history_is_saved_and_draws_itself(tmp_path):
    history = train(small(), validation=X[:50])
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json").rows == history.rows
    for damaged, message in (("[{", "is damaged"), ('{"elbo": 1}', "holds no history")):
        (tmp_path / "history.json").write_text(damaged)
        with pytest.raises(ValueError, match=message):
            History.load(tmp_path / "history.json")
    with pytest.raises(ValueError, match="nothing to plot"):
        History().plot()
    figure = history.plot()
    lines = [line.get_ydata().tolist() for axes in figure.axes for line in axes.lines]
    wanted = [history["elbo"], history["validation"], history["reconstruction"], history["kl"]]
    wanted[2] = [-r for r in wanted[2]]
    assert lines == wanted
    assert all(axes.get_ylabel() == "nats per point" for axes in figure.axes)


def test_the_bar_shows_both_terms(capsys):
    history = train(small(), progress=True)
    shown = capsys.readouterr().err
    assert f"reconstruction={history['reconstruction'][-1]:.2f}" in shown
    assert f"kl={history['kl'][-1]:.2f}" in shown


def test_the_loop_asks_the_device_for_nothing():
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function == torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    counts = []
    for batch_size in (100, 10):  # 5 steps or 50
        with Reads() as reads:
            train(small(), epochs=1, batch_size=batch_size)
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_bfloat16_learns_as_float32_does():
    elbos = {}
    for precision in ("float32", "bfloat16"):
        model = digits_vae()
        elbos[precision] = train(model, epochs=15, precision=precision)["elbo"][-1]
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert elbos["float32"] != elbos["bfloat16"]
    assert abs(elbos["float32"] - elbos["bfloat16"]) < 0.3


# stopping and going on


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_continued_run_is_bit_identical(tmp_path, precision):
    options = {"batch_size": 100, "validation": X[:100], "patience": 50, "binarize": True}
    options["precision"] = precision
    whole = small()
    history = train(whole, epochs=7, **options)
    for epochs in (2, 3, 7):
        parts = small()
        last = train(parts, epochs=epochs, checkpoint=tmp_path, resume=True, **options)
    assert torch.equal(weights(whole), weights(parts))
    assert [r["elbo"] for r in last.rows] == history["elbo"]
    assert torch.equal(weights(models.load(tmp_path / "model.safetensors")), weights(whole))


WORKER = """
import sys, torch
from tests.test_training import small, train
torch.set_num_threads(1)
train(small(), epochs=60, batch_size=50, checkpoint=sys.argv[1], resume=True)
"""


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = small()
    seconds = sum(train(whole, epochs=60, batch_size=50)["seconds"])
    torch.set_num_threads(threads)
    g = torch.Generator().manual_seed(0)
    killed = 0
    path = tmp_path / "model.safetensors"
    for attempt in range(5):
        run = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], stderr=subprocess.DEVNULL)
        if attempt < 1:
            before = path.stat().st_mtime_ns if path.exists() else 0
            while run.poll() is None and not (path.exists() and path.stat().st_mtime_ns > before):
                time.sleep(0.001)
            time.sleep(torch.rand((), generator=g).item() * seconds / 2)
            run.send_signal(signal.SIGKILL)
        code = run.wait()
        killed += code == -signal.SIGKILL
        storage.read(path)  # whole at every moment
        if code == 0:
            break
    assert killed >= 1 and code == 0
    tensors, facts = storage.read(path)
    assert len(facts["history"]) == 60
    for name, tensor in whole.state_dict().items():
        assert tensors[name].numpy().tobytes() == tensor.numpy().tobytes(), name


SHARED = """
import sys, torch, torch.distributed as dist
from tests.test_training import X, Objective, small, train, weights
torch.set_num_threads(1)
dist.init_process_group("gloo")
for name, objective in {"elbo": Objective(), "free": Objective(free_bits=0.05)}.items():
    model = small()
    history = train(model, batch_size=90, objective=objective)
    if dist.get_rank() == 0:
        torch.save((weights(model), history["elbo"]), f"{sys.argv[1]}/{name}")
dist.destroy_process_group()
"""


def test_two_processes_match_one(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(SHARED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*torchrun, "--nproc-per-node", "2", worker, tmp_path],
        check=True,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
    )
    for name, objective in {"elbo": Objective(), "free": Objective(free_bits=0.05)}.items():
        one = small()
        history = train(one, batch_size=90, objective=objective)  # the last batch holds 50
        shared, elbo = torch.load(tmp_path / name)
        torch.testing.assert_close(shared, weights(one), rtol=1e-4, atol=1e-5)
        assert elbo == pytest.approx(history["elbo"], rel=1e-6)


@cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graph_and_plain_steps_agree_on_a_gpu(monkeypatch, precision):
    graphed, plain = small().cuda(), small().cuda()
    options = {"device": "cuda", "batch_size": 60, "epochs": 5, "precision": precision}
    train(graphed, **options)
    monkeypatch.setattr("vaekit.training._graphed", lambda step, g: step)
    train(plain, **options)
    torch.testing.assert_close(weights(graphed), weights(plain), rtol=1e-4, atol=1e-5)


@cuda
def test_a_model_trained_on_a_gpu_comes_back():
    here, there = small(), small().cuda()
    for model, place in ((here, "cpu"), (there, "cuda")):
        train(model, device="cuda")
        assert weights(model).device.type == place


@cuda
def test_steps_on_a_gpu_never_wait_for_it():
    run = training._Run(
        small(), X, Objective(free_bits=0.1), 50, 1e-3, 0, torch.device("cuda", 0), "float32", False
    )
    run.epoch(0)  # the graph has been recorded
    x, beta = run.data[:50], torch.ones((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in (run.step, run.full_step):
            step(x, beta)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@cuda
def test_a_continued_run_is_bit_identical_on_a_gpu(tmp_path):
    whole = small()
    train(whole, device="cuda", epochs=6, batch_size=50)
    for epochs in (2, 6):
        parts = small()
        train(parts, device="cuda", epochs=epochs, batch_size=50, checkpoint=tmp_path, resume=True)
    assert torch.equal(weights(whole), weights(parts))


# bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x": X * math.nan}, ValueError, "data holds NaN or infinite"),
        ({"x": X / 3}, ValueError, "outside the Bernoulli's support"),
        ({"x": X[:, :9]}, ValueError, r"data must have shape \(N, 64\), got \(500, 9\)"),
        ({"x": X.long()}, TypeError, "data has dtype torch.int64"),
        ({"x": X[:0]}, ValueError, "data is empty"),
        ({"validation": X * math.inf}, ValueError, "validation data holds NaN or infinite"),
        ({"validation": X.double()}, TypeError, "validation data has dtype"),
        ({"x": 2 * X, "binarize": True}, ValueError, r"outside the likelihood's support \[0, 1\]"),
        ({"batch_size": 501}, ValueError, "batch_size 501 is larger than the data, 500 points"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number of 1 or more"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number of 1 or more"),
        ({"epochs": 1.5}, ValueError, "epochs must be a whole number of 1 or more"),
        ({"lr": 0.0}, ValueError, "lr must be positive and finite"),
        ({"lr": -1e-3}, ValueError, "lr must be positive and finite"),
        ({"lr": math.nan}, ValueError, "lr must be positive and finite"),
        ({"precision": "float16"}, ValueError, "precision must be"),
        ({"patience": 3}, ValueError, "needs validation data"),
    ],
)
def test_bad_arguments_change_nothing(options, error, message, tmp_path):
    model = small()
    before = weights(model)
    with pytest.raises(error, match=message):
        train(model, **{"checkpoint": tmp_path / "run"} | options)
    assert torch.equal(weights(model), before) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"free_bits": math.nan}, {"warmup": -2}])
def test_bad_objectives(wrong):
    with pytest.raises(ValueError, match="must be finite and not negative"):
        Objective(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match="torch sees 0 GPUs"):
        train(small(), device="cuda")


@pytest.mark.parametrize("device", ["banana", "meta", "mps"])
def test_a_device_of_another_kind_is_refused(device):
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda'"):
        train(small(), device=device)


def test_what_cannot_be_trained_is_named():
    with pytest.raises(ValueError, match="needs a model in float32"):
        train(small().double(), x=X.double(), precision="bfloat16")
    with pytest.raises(ValueError, match="nothing to train"):
        train(small().requires_grad_(False))


@torch.no_grad()
def test_it_trains_where_gradients_are_off():
    model = small()
    before = weights(model)
    train(model)
    assert not torch.equal(weights(model), before) and not torch.is_grad_enabled()


def test_a_diverged_run_is_reported_and_its_checkpoint_stays(tmp_path):
    with pytest.raises(FloatingPointError, match=r"training diverged in epoch 1: .* below 1e\+30"):
        train(small(), lr=1e30, checkpoint=tmp_path)
    assert models.load(tmp_path / "model.safetensors").elbo(X).isfinite().all()


def test_an_unwritable_folder_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    model = small()
    before = weights(model)
    with pytest.raises(OSError, match=r"could not write .*nothing was changed"):
        train(model, checkpoint=tmp_path / "file" / "run")
    assert torch.equal(weights(model), before)


def test_a_run_is_not_overwritten_by_accident(tmp_path):
    train(small(), checkpoint=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="pass resume"):
        train(small(), checkpoint=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    train(small(), epochs=2, checkpoint=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # the write stops half-way
    try:
        with pytest.raises(OSError, match=r"could not write .*nothing was changed"):
            train(small(), epochs=4, checkpoint=tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "history.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"hidden": [17]}}, r"another architecture: encoder.0.weight is \(16, 64\)"),
        ({"model": {"hidden": [16, 16]}}, "another architecture"),
        ({"batch_size": 50}, "another run: batch_size was 128, now it is 50"),
        ({"lr": 0.1}, "another run: lr"),
        ({"objective": Objective(beta=2.0)}, "another run: objective"),
        ({"x": X.flip(0)[:400]}, "another run: data"),
        ({"model": {"activation": "Tanh"}}, "another run: model"),
        ({"model": {"likelihood": "continuous-bernoulli"}}, "another run: model"),
        ({"validation": X[:50]}, "another run: validation"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message, tmp_path):
    train(small(), checkpoint=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = small(**change.pop("model", {}))
    with pytest.raises(ValueError, match=message):
        train(model, checkpoint=tmp_path, resume=True, **change)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_list_of_variances_may_be_a_tuple(tmp_path):
    config = {"data_dim": 64, "hidden": [4], "latent": 2, "likelihood": "gaussian"}
    for epochs in (1, 2):
        model = from_config(config | {"variance": (0.1,) * 64})
        train(model, epochs=epochs, checkpoint=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train(small(), checkpoint=tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-100], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"truncated|SHA-256"):
            train(small(), checkpoint=tmp_path, resume=True)
        assert path.read_bytes() == damaged
