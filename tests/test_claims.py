"""A check passes what is right, catches what is wrong, and says how small an error it sees."""

import json
import math

import pytest
import torch
from scipy.stats import norm

from vaekit.claims import ClaimError, claim, derivation
from vaekit.estimates import Approximation, Estimate, expectation, generator


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sampled(value: torch.Tensor, error: torch.Tensor | float, trust: float = 1e4) -> Estimate:
    return Estimate(value, torch.as_tensor(error), 10**5, torch.full_like(value, trust))


def routes(checked) -> list[dict]:
    return [route for group in checked.facts()["groups"] for route in group["routes"]]


VALUES = double(0.3, 5.0, -200.0, 0.0)
SCALE = VALUES.abs().clamp(min=1)
ROUTES = {
    "exact": lambda value: value,
    "quadrature": lambda value: Approximation(value, 2e-11 * SCALE),
    "monte carlo": lambda value: sampled(value, 1e-3 * SCALE),
}


# what is caught


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize("setting", range(len(VALUES)))
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_error_above_the_stated_resolution_is_caught(kind, setting, sign):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    facts = routes(checked)[1]
    assert facts["kind"] == kind
    # The route itself is exact here, so what is caught begins at half the resolution, which leaves
    # the other half to the error that the route may have.
    error = sign * facts["resolution"] / 2 * SCALE
    error[torch.arange(len(VALUES)) != setting] = 0
    claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES + 0.99 * error))
    with pytest.raises(
        ClaimError, match=f"route disagrees with reference in setting {setting + 1}"
    ):
        claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES + 1.01 * error))


def test_the_stated_resolution_is_that_of_the_worst_setting():
    route = Approximation(double(1.0, 1.0), double(1e-12, 3e-11))
    checked = claim("c").agree(reference=double(1.0, 1.0), route=route)
    assert routes(checked)[1]["resolution"] == pytest.approx(6.4e-11)
    assert checked.facts()["resolution"] == routes(checked)[1]["resolution"]


def test_exact_routes_are_granted_some_thousand_roundings_and_no_more():
    claim("c").agree(a=VALUES, b=VALUES + 1e-13 * SCALE)
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c").agree(a=VALUES, b=VALUES + 1e-11 * SCALE)


def test_float32_is_granted_its_own_rounding_which_only_a_coarse_claim_allows():
    single = VALUES.float()
    claim("c", resolution=1e-4).agree(a=VALUES, b=single * (1 + 2e-6))
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c", resolution=1e-4).agree(a=VALUES, b=single * (1 + 2e-5))
    with pytest.raises(ClaimError, match="too weak"):
        claim("c").agree(a=VALUES, b=single)


def test_whole_numbers_are_compared_as_exactly_as_others():
    whole = torch.tensor([1, 2, 3])
    checked = claim("c").agree(a=whole, b=whole.double()).refute({"one more": whole + 1})
    assert 0 < checked.facts()["resolution"] < 1e-10
    assert checked._repr_mimebundle_()


@pytest.mark.parametrize("batch", [1, 20, 1000])
def test_chance_of_a_false_alarm_lies_below_one_in_a_million_for_the_whole_batch(batch):
    """P(any of `batch` true estimates is off by more than w SE) ≤ batch · 2 (1 − Φ(w))."""
    zero, error = torch.zeros(batch, dtype=torch.float64), double(1e-3).expand(batch)
    granted = zero.clone()
    granted[-1] = norm.isf(1e-6 / (2 * batch)) * 1e-3  # 10⁻⁶: what may be rejected at the most
    claim("c").agree(exact=zero, sampled=sampled(granted, error))
    granted[-1] = norm.isf(1e-8 / (2 * batch)) * 1e-3  # 10⁻⁸: far wider would see too little
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c").agree(exact=zero, sampled=sampled(granted, error))


def test_true_estimates_pass_and_an_error_of_eight_standard_errors_does_not():
    p = torch.distributions.Normal(torch.zeros(200, dtype=torch.float64), 1.0)
    for seed in range(10):  # of x² one in fifteen counts
        estimate = expectation(torch.square, p, 25_000, seed=seed)
        one = torch.ones(200, dtype=torch.float64)
        claim("c", sampling=1.0).agree(exact=one, sampled=estimate)
        one[0] = estimate.value[0] + 8 * estimate.standard_error[0]
        with pytest.raises(ClaimError, match="disagrees"):
            claim("c", sampling=1.0).agree(exact=one, sampled=estimate)


@pytest.mark.parametrize("allowed", [{}, {"resolution": 1e-9}, {"sampling": 10.0}])
def test_a_route_too_coarse_for_the_claim_is_refused(allowed):
    fine, coarse = double(1e-9), double(1e-8)
    with pytest.raises(ClaimError, match="too weak"):
        claim("c", **allowed).agree(exact=1.0, route=Approximation(double(1.0), coarse))
    if "resolution" not in allowed:
        with pytest.raises(ClaimError, match="too weak"):
            claim("c", **allowed).agree(exact=1.0, route=Approximation(double(1.0), fine))
    if "sampling" not in allowed:
        with pytest.raises(ClaimError, match="too weak"):
            claim("c", **allowed).agree(exact=1.0, route=sampled(double(1.0), 0.1))


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_route_that_does_not_know_its_error_is_refused(error):
    for route in (
        Approximation(double(1.0), double(error)),
        sampled(double(1.0), error),
    ):
        for exact in (1.0, math.inf):
            with pytest.raises(ClaimError, match="c: route does not know its error"):
                claim("c", resolution=1e300, sampling=1e300).agree(exact=exact, route=route)


@pytest.mark.parametrize("other", [math.inf, -math.inf, math.nan, 5.0])
@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf, 5.0])
def test_nan_agrees_with_nothing_and_infinity_with_itself(value, other):
    if value == other:
        claim("c").agree(a=double(1.0, value), b=double(1.0, other))
    else:
        with pytest.raises(ClaimError, match="disagrees"):
            claim("c").agree(a=double(1.0, value), b=double(1.0, other))


def test_python_floats_keep_their_digits():
    claim("c").agree(a=0.1, b=double(0.1))
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c").agree(a=0.1, b=0.1 + 1e-10)


def test_gradients_and_shapes_do_not_matter():
    a = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    assert claim("c").agree(a=a, b=a.detach()).facts()["settings"] == 6


# what is no check


@pytest.mark.parametrize("routes", [{}, {"only": 1.0}])
def test_one_route_alone_is_refused(routes):
    with pytest.raises(ClaimError, match="one route alone"):
        claim("c").agree(**routes)


def test_the_reference_must_not_be_sampled():
    estimate = sampled(double(1.0), 1e-3)
    with pytest.raises(ClaimError, match="first route must be exact"):
        claim("c").agree(sampled=estimate, exact=1.0)


def test_other_numbers_of_settings_are_refused():
    with pytest.raises(ClaimError, match="c: a has 2 values, b has 3"):
        claim("c").agree(a=torch.ones(2), b=torch.ones(3))


@pytest.mark.parametrize("single", [5.0, math.inf])
def test_a_single_number_stands_for_every_setting(single):
    batch = double(single, single, single)
    for pair in ((single, batch), (batch, single), (double(single), batch)):
        checked = claim("c").agree(a=pair[0], b=pair[1]).refute({"less": 4.0})
        assert checked.facts()["settings"] == 3
        assert checked.facts()["refuted"][0]["settings"] == 3
        with pytest.raises(ClaimError, match="setting 3 of 3"):
            claim("c").agree(a=single, b=double(single, single, 4.0))


# standard errors that deserve no trust


def heavy(name: str, n: int, settings: int) -> torch.Tensor:
    """Samples whose mean has a finite or an infinite variance that few of them carry."""
    random = generator(3)
    u = torch.rand(n, settings, dtype=torch.float64, generator=random)
    z = torch.randn(n, settings, dtype=torch.float64, generator=random)
    return {
        "cauchy": torch.tan(math.pi * (u - 0.5)),
        "pareto, infinite variance": u ** (-1 / 1.5),
        "pareto, infinite fourth moment": u ** (-1 / 2.5),
        "lognormal": torch.exp(2 * z),
        # N(0, 1) weighed to N(0, 3²): E w² is infinite from a ratio of √2 on
        "importance weights, infinite variance": torch.exp(z**2 / 2 * (1 - 1 / 9)) / 3,
        "importance weights, just finite": torch.exp(z**2 / 2 * (1 - 1 / 1.9)) / math.sqrt(1.9),
        "a rare event": (u < 1e-3).double(),
        "a frequent one": (u < 0.3).double(),
        "gaussian": z,
        "uniform": u,
        "exponential": -u.log(),
        "importance weights, light": torch.exp(z**2 / 2 * (1 - 1 / 1.1)) / math.sqrt(1.1),
    }[name]


LIGHT = ["a frequent one", "gaussian", "uniform", "exponential", "importance weights, light"]


@pytest.mark.parametrize("n", [20_000, 200_000])
@pytest.mark.parametrize(
    "name",
    [
        "cauchy",
        "pareto, infinite variance",
        "pareto, infinite fourth moment",
        "lognormal",
        "importance weights, infinite variance",
        "importance weights, just finite",
        "a rare event",
    ],
)
def test_a_heavy_tail_is_refused_before_it_is_compared(name, n):
    estimate = Estimate.of(heavy(name, n, 5))
    with pytest.raises(ClaimError, match=f"c: mean: its standard error .* of {n} samples"):
        claim("c", sampling=math.inf).agree(exact=estimate.value, mean=estimate)
    with pytest.raises(ClaimError, match="deserves no trust"):
        claim("c").agree(a=0.0, b=0.0).refute({"wrong": estimate})
    with pytest.raises(ClaimError, match="deserves no trust"):
        claim("c").at_least("x", math.inf, estimate, equal=(1.0, 1.0))


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_tail_is_trusted(name):
    estimate = Estimate.of(heavy(name, 40_000, 5))
    claim("c").agree(exact=estimate.value, mean=estimate)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e12, 1e30])
def test_trust_does_not_depend_on_the_unit(unit):
    """In float32, where fourth powers of such numbers overflow or vanish."""
    light = torch.randn(9000, generator=generator(0))
    heavy = (3 * light[:500]).exp()
    for values in (light, heavy):
        scaled, plain = Estimate.of(unit * values), Estimate.of(values)
        torch.testing.assert_close(scaled.contributions, plain.contributions, rtol=1e-3, atol=0)
        torch.testing.assert_close(scaled.error / unit, plain.error, rtol=1e-3, atol=0)
    tail = Estimate.of(unit * heavy)
    with pytest.raises(ClaimError, match="deserves no trust"):
        claim("c", sampling=math.inf).agree(exact=tail.value, mean=tail)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("unit", [1.0, 1e-12, 1e9])
def test_rare_events_deserve_no_trust(unit, seed):
    """In float32; the first of the pieces in which samples are drawn may not show one."""

    def bump(x):
        return unit * (-(((x - 4.5) / 0.05) ** 2) / 2).exp()

    rare = expectation(bump, torch.distributions.Normal(0.0, 1.0), 500_000, seed=seed)
    with pytest.raises(ClaimError, match="deserves no trust"):
        claim("c", sampling=math.inf).agree(exact=rare.value, mean=rare)


def test_no_settings_are_no_check():
    nothing = torch.ones(0)
    with pytest.raises(ClaimError, match="has no settings"):
        claim("c").agree(a=nothing, b=nothing)


def test_skewed_estimates_that_are_trusted_raise_no_alarm():
    """Fifty claims of 200 settings each, near the fewest samples with which they are trusted."""
    n, settings = 10_000, 200  # an exponential's kurtosis is 9: about 1100 of them count
    trusted = 0
    for seed in range(50):
        draws = torch.empty(n, settings, dtype=torch.float64)
        estimate = Estimate.of(draws.exponential_(generator=generator(seed)))
        enough = estimate.contributions >= 1000
        trusted += int(enough.sum())
        kept = Estimate(
            *(x[enough] for x in (estimate.value, estimate.error)),
            n,
            estimate.contributions[enough],
        )
        claim("c").agree(exact=1.0, mean=kept)
    assert trusted > 8000


# refutation


@pytest.mark.parametrize("kind", ROUTES)
def test_a_wrong_version_is_refuted_by_each_kind_of_route(kind):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    wrong = VALUES + double(0, 0.5, 0, 0)
    refuted = checked.refute({"half too much": wrong, "all": VALUES + 9}).facts()["refuted"]
    assert refuted[0] == {
        "statement": "half too much",
        "group": 0,
        "error": 0.5,
        "by": ["route"],
        "settings": 1,
        "of": 4,
        "values": wrong.tolist(),
    }
    assert [version["settings"] for version in refuted] == [1, 4]


@pytest.mark.parametrize("kind", ROUTES)
def test_a_wrong_version_that_passes_is_no_refutation(kind):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    with pytest.raises(ClaimError, match="cannot tell the wrong version “the same” from the right"):
        checked.refute({"the same": VALUES + 1e-13})
    with pytest.raises(ClaimError, match="is NaN"):
        checked.refute({"no number": VALUES * math.nan})
    assert checked.verdict.startswith("incomplete")


def test_only_the_routes_that_reject_are_named():
    checked = claim("c").agree(exact=1.0, sampled=sampled(double(1.0), 1e-3), other=double(1.0))
    refuted = checked.refute({"a little too much": 1.0001, "far": 2.0}).facts()["refuted"]
    assert [version["by"] for version in refuted] == [["other"], ["sampled", "other"]]


def test_a_wrong_version_is_held_against_the_last_comparison():
    checked = claim("c").agree("one", a=1.0, b=1.0).agree("two", a=2.0, b=2.0)
    assert checked.refute({"one": 1.0}).facts()["refuted"][0]["group"] == 1
    with pytest.raises(ClaimError, match="cannot tell"):
        checked.refute({"two": 2.0})


def test_infinity_and_a_number_refute_each_other():
    assert claim("c").agree(a=math.inf, b=math.inf).refute({"finite": 5.0}).verdict == "passed"
    assert claim("c").agree(a=5.0, b=5.0).refute({"infinite": math.inf}).verdict == "passed"


def test_values_are_refuted_only_after_a_comparison():
    ordered = claim("c").agree(a=1.0, b=1.0).at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    for empty in (claim("c"), derivation("c"), derivation("c").line("x", 1.0), ordered):
        with pytest.raises(ClaimError, match="after a comparison"):
            empty.refute({"wrong": 2.0})


def test_an_order_is_refuted_by_one_counterexample():
    ordered = claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    ordered.refute({"always greater": double(2.0, 1.0)}, above=double(1.0, 1.0))
    assert ordered.verdict == "passed"
    assert ordered.facts()["refuted"][0]["values"] is None
    with pytest.raises(ClaimError, match="cannot tell"):
        ordered.refute({"greater": double(2.0, 1.1)}, above=1.0)


def test_a_counterexample_says_how_far_the_order_is_off():
    ordered = claim("order").at_least("part", double(2.0), double(1.0), equal=(1.0, 1.0))
    ordered.refute({"greater": double(3.0, -1.25)}, above=double(1.0, -1.0))
    (version,) = ordered.facts()["refuted"]
    assert version["settings"] == 1 and version["error"] == 0.25


def test_samples_that_all_agree_agree_with_their_value():
    mean = sampled(VALUES + 5e-13 * SCALE, torch.zeros(4))  # but for rounding
    claim("constant").agree(exact=VALUES, mean=mean).refute({"one": 1.0})


def test_noise_is_no_counterexample():
    noisy = sampled(double(0.99), 0.1)
    ordered = claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    for value, above in ((1.0, noisy), (noisy, 1.0)):
        with pytest.raises(ClaimError, match="cannot tell"):
            ordered.refute({"greater": value}, above=above)


# verdict


def test_nothing_passes_without_a_comparison_and_a_refutation():
    checked = claim("c")
    assert checked.verdict == "incomplete: nothing was compared"
    assert derivation("c").line("x", 1.0).verdict == "incomplete: nothing was compared"
    checked.agree(a=1.0, b=1.0)
    assert checked.verdict == "incomplete: no wrong version was refuted"
    assert checked.refute({"2": 2.0}).verdict == "passed"


# inequalities


def test_an_inequality_needs_a_strict_case_and_an_equal_one():
    checked = claim("c").at_least("x", double(3, 2), 1.0, equal=(4.0, 4.0))
    (group,) = checked.facts()["groups"]
    assert (group["kind"], group["case"], group["settings"]) == ("inequality", "x", 2)
    roles = [route["role"] for route in group["routes"]]
    assert roles == ["larger", "smaller", "left", "right"]
    assert checked.facts()["resolution"] == group["routes"][3]["resolution"] < 1e-10


@pytest.mark.parametrize("larger", [1.0, 1.0 + 1e-13, 0.5, math.nan])
def test_no_gap_is_not_strict(larger):
    with pytest.raises(ClaimError, match="setting 2 of 2 the gap is"):
        claim("c").at_least("x", double(2.0, larger), 1.0, equal=(1.0, 1.0))


def test_a_gap_within_the_noise_is_not_strict():
    noisy = sampled(double(1.4), 0.1)
    with pytest.raises(ClaimError, match="gap"):
        claim("c").at_least("x", noisy, 1.0, equal=(1.0, 1.0))
    clear = sampled(double(1.6), 0.1)
    claim("c").at_least("x", clear, 1.0, equal=(1.0, 1.0))


def test_an_infinite_side_is_larger():
    claim("c").at_least("x", math.inf, 1.0, equal=(1.0, 1.0))


def test_an_equality_case_that_is_not_equal_is_caught():
    with pytest.raises(ClaimError, match="right disagrees with left"):
        claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0 + 1e-10))


# derivations


def steps(values=VALUES):
    return (
        derivation("steps")
        .line("a", values)
        .line("b", values, "a reason")
        .line("c", Approximation(values, 1e-12 * SCALE), "by quadrature")
        .refute({"half": values / 2})
    )


def test_a_derivation_keeps_formula_reason_and_resolution_of_every_line():
    assert steps().verdict == "passed"
    assert [r["formula"] for r in routes(steps())] == ["a", "b", "c"]
    assert [r["reason"] for r in routes(steps())] == ["", "a reason", "by quadrature"]
    assert [r["resolution"] is None for r in routes(steps())] == [True, False, False]


def test_a_line_that_is_not_equal_to_the_one_before_is_caught():
    with pytest.raises(ClaimError, match="line 3 disagrees with line 2 in setting 4"):
        derivation("c").line("a", VALUES).line("b", VALUES).line(
            "c", VALUES + double(0, 0, 0, 1e-9)
        )


def test_a_sampled_line_may_stand_anywhere():
    noisy = sampled(double(1.001), 1e-3)
    assert derivation("c").line("a", noisy).line("b", 1.0).line("c", noisy).facts()["settings"] == 1
    with pytest.raises(ClaimError, match="too weak"):
        derivation("c", sampling=1e-3).line("a", noisy).line("b", 1.0)


def test_lines_after_another_comparison_begin_a_derivation():
    mixed = claim("c").agree(a=5.0, b=5.0).line("a", 1.0).line("b", 1.0)
    groups = mixed.agree(a=2.0, b=2.0).line("a", 3.0).facts()["groups"]
    kinds = [(group["kind"], len(group["routes"])) for group in groups]
    assert kinds == [("agreement", 2), ("derivation", 2), ("agreement", 2), ("derivation", 1)]


# what the ledger reads


def checked():
    noisy = expectation(torch.square, torch.distributions.Normal(0.0, torch.ones(1)), 20_000)
    return (
        claim("a-claim")
        .agree("a < b", closed_form=double(1.0), monte_carlo=noisy)
        .agree(infinite=double(math.inf), also=double(math.inf))
        .refute({"it is finite": 1.0})
        .at_least("order", math.inf, double(1, 2), equal=(1.0, 1.0))
        .refute({"never infinite": 5.0}, above=math.inf)
    )


def test_facts_are_plain_json():
    facts = checked()._repr_mimebundle_()[1]["vaekit"]["claim"]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts == checked().facts()
    assert set(facts) == {
        *("label", "verdict", "settings", "resolution", "sampling", "declared", "groups"),
        "refuted",
    }
    assert (facts["label"], facts["verdict"], facts["settings"]) == ("a-claim", "passed", 2)
    assert facts["declared"] == {"resolution": 1e-10, "sampling": 0.2}
    assert [group["case"] for group in facts["groups"]] == ["a < b", "", "order"]
    closed, noisy, infinite, *_ = routes(checked())
    assert closed == {
        "name": "closed form",
        "role": "reference",
        "kind": "exact",
        "values": [1.0],
        "standard_errors": None,
        "resolution": None,
    }
    assert (noisy["role"], noisy["kind"]) == ("route", "monte carlo")
    assert noisy["standard_errors"] == pytest.approx([0.01], rel=0.05)  # Var x² = 2
    widths = norm.isf(1e-7 / 2)  # of one setting, on both sides
    wanted = 2 * widths * noisy["standard_errors"][0]
    assert noisy["resolution"] == facts["sampling"] == pytest.approx(wanted, rel=1e-3)
    assert facts["resolution"] < 1e-10
    assert infinite["values"] == ["inf"]
    assert [wrong["error"] for wrong in facts["refuted"]] == ["inf", "inf"]
