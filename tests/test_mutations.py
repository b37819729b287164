"""The tests notice what must not go wrong: each of these edits to vaekit makes them fail.

`make mutants` tries hundreds more. An edit is matched as syntax, whatever the layout of its line.
"""

import ast
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.mutants import ROOT, mutants, outcome, pool, put

# name: (module, function or nothing, what stands there, what is put in its place)
EDITS = {
    "dropped ½": ("divergence", "kl_gaussian", "0.5", "0"),
    "doubled ½": (
        "divergence",
        "kl_gaussian",
        "torch.log(q.stddev / p.stddev)",
        "torch.log(q.stddev / p.stddev) / 2",
    ),
    "arguments swapped": ("divergence", "kl_gaussian", "", ""),
    "quadrature swapped": ("divergence", "kl_quadrature", "", ""),
    "σ for σ²": ("divergence", "kl_gaussian", "p.variance", "p.stddev"),
    "σ for σ² in the other": ("divergence", "kl_gaussian", "q.variance", "q.stddev"),
    "σ for σ² in the term": ("divergence", "kl_term", "log_variance", "log_variance / 2"),
    "σ for σ² in log_density": ("gaussian", "log_density", "-log_variance", "-log_variance / 2"),
    "mean for sum": (
        "divergence",
        "kl_diagonal",
        "kl_standard_normal(mu, sigma).sum(-1)",
        "kl_standard_normal(mu, sigma).mean(-1)",
    ),
    "no square root": (
        "estimates",
        "_from_sums",
        "(squares / (n - 1) / n).sqrt()",
        "squares / (n - 1) / n",
    ),
    "no 1/n": ("estimates", "_from_sums", "squares / (n - 1) / n", "squares / (n - 1)"),
    "rounding × 1000": ("claims", "", "1e-12", "1e-9"),
    "false alarms never": ("claims", "", "1e-7", "1e-300"),
    "false alarms often": ("claims", "", "1e-7", "1e-4"),
    "trust in few": ("claims", "", "1000", "10"),
    "widths × 1000": ("claims", "of", "widths * error", "1000 * widths * error"),
    "declared resolution × 1000": ("claims", "claim", "1e-10", "1e-7"),
    "infinite tolerance": ("claims", "of", "value.abs().nan_to_num(posinf=1)", "value.abs()"),
    "quadrature error × 1000": ("claims", "of", "_flat(route.error)", "1000 * _flat(route.error)"),
}
# enough of each module's tests to notice these
SELECT = {
    "divergence": "by_hand or of_torch or general_formula or diagonal or quadrature_of_a_batch",
    "estimates": "standard_error_are_those and 1000",
    "claims": "caught or alarm_lies or coarse or infinity_and or thousand or rare or does_not_know",
    "gaussian": "scipy",
}


def edited(module: str, function: str, old: str, new: str) -> str:
    """Return a module's source with one expression replaced, or two arguments swapped."""
    tree = ast.parse((ROOT / "vaekit" / f"{module}.py").read_text(encoding="utf-8"))
    scope = tree
    if function:
        (scope,) = (
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
    if not old:
        scope.args.args[:2] = scope.args.args[1::-1]
    else:
        wanted = ast.dump(ast.parse(old, mode="eval").body)
        found = [node for node in ast.walk(scope) if ast.dump(node) == wanted]
        assert found, f"{old} does not stand in {function or module}"
        put(tree, found[0], ast.parse(new, mode="eval").body)
    return ast.unparse(tree)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> Iterator[dict[str, Future[int]]]:
    """Start every run at once, two at a time, each in a fresh process that has torch already."""
    jobs = {module: (module, None) for module in SELECT}
    jobs |= {name: (edit[0], edited(*edit)) for name, edit in EDITS.items()}
    with pool() as processes:
        yield {
            name: processes.submit(
                outcome, Path(tmp_path_factory.mktemp("copy")), module, source, SELECT[module]
            )
            for name, (module, source) in jobs.items()
        }


@pytest.mark.parametrize("module", SELECT)
def test_the_copy_without_an_edit_passes(module, outcomes):
    assert outcomes[module].result() == pytest.ExitCode.OK


@pytest.mark.parametrize("name", EDITS)
def test_the_edit_is_noticed(name, outcomes):
    assert outcomes[name].result() == pytest.ExitCode.TESTS_FAILED


def test_mutants_are_single_edits_of_what_is_computed():
    source = "def f(x, y):\n    '''Text 1.'''\n    return g(x, -y).sum() * 0.5 if x < 1 else h(2)\n"
    texts = {text.splitlines()[-1].strip() for _, text in mutants(source)}
    assert texts == {
        "return g(x, -y).sum() * 0.5 if not x < 1 else h(2)",
        "return g(x, -y).sum() * 0.5 if x <= 1 else h(2)",
        "return g(x, -y).sum() * 0.5 if x < 2 else h(2)",
        "return g(x, -y).sum() / 0.5 if x < 1 else h(2)",
        "return g(x, -y).mean() * 0.5 if x < 1 else h(2)",
        "return g(-y, x).sum() * 0.5 if x < 1 else h(2)",
        "return g(x, y).sum() * 0.5 if x < 1 else h(2)",
        "return g(x, -y).sum() * 1 if x < 1 else h(2)",
        "return g(x, -y).sum() * 0.5 if x < 1 else h(1)",
    }
    assert not list(mutants(source, ("k",)))
