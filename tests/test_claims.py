"""A check passes what is right, catches what is wrong, and says how small an error it sees."""

import json
import math
import re

import pytest
import torch
from scipy.stats import norm

from vaekit.claims import ClaimError, claim, derivation
from vaekit.estimates import Approximation, Estimate, expectation


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


VALUES = double(0.3, 5.0, -200.0, 0.0)
SCALE = VALUES.abs().clamp(min=1)
ROUTES = {
    "exact": lambda value: value,
    "quadrature": lambda value: Approximation(value, 2e-11 * SCALE),
    "monte carlo": lambda value: Estimate(value, 1e-3 * SCALE, 100),
}


# what is caught


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize("setting", range(len(VALUES)))
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_error_above_the_stated_resolution_is_caught(kind, setting, sign):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    facts = checked.facts()["routes"][1]
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
    facts = claim("c").agree(reference=double(1.0, 1.0), route=route).facts()
    assert facts["routes"][1]["resolution"] == pytest.approx(6.4e-11)


def test_exact_routes_are_granted_some_thousand_roundings_and_no_more():
    claim("c").agree(a=VALUES, b=VALUES + 1e-13 * SCALE)
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c").agree(a=VALUES, b=VALUES + 1e-11 * SCALE)


@pytest.mark.parametrize("batch", [1, 20, 1000])
def test_chance_of_a_false_alarm_lies_below_one_in_a_million_for_the_whole_batch(batch):
    """P(any of `batch` true estimates is off by more than w SE) ≤ batch · 2 (1 − Φ(w))."""
    zero, error = torch.zeros(batch, dtype=torch.float64), double(1e-3).expand(batch)
    granted = zero.clone()
    granted[-1] = norm.isf(1e-6 / (2 * batch)) * 1e-3  # 10⁻⁶: what may be rejected at the most
    claim("c").agree(exact=zero, sampled=Estimate(granted, error, 100))
    granted[-1] = norm.isf(1e-8 / (2 * batch)) * 1e-3  # 10⁻⁸: far wider would see too little
    with pytest.raises(ClaimError, match="disagrees"):
        claim("c").agree(exact=zero, sampled=Estimate(granted, error, 100))


def test_true_estimates_pass_and_an_error_of_eight_standard_errors_does_not():
    p = torch.distributions.Normal(torch.zeros(200, dtype=torch.float64), 1.0)
    for seed in range(20):
        estimate = expectation(torch.square, p, 2000, seed=seed)
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
            claim("c", **allowed).agree(exact=1.0, route=Estimate(double(1.0), double(0.1), 10))


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_route_that_does_not_know_its_error_is_refused(error):
    for route in (
        Approximation(double(1.0), double(error)),
        Estimate(double(1.0), double(error), 9),
    ):
        with pytest.raises(ClaimError):
            claim("c", resolution=1e300, sampling=1e300).agree(exact=1.0, route=route)


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
    estimate = Estimate(double(1.0), double(1e-3), 10)
    with pytest.raises(ClaimError, match="first route must be exact"):
        claim("c").agree(sampled=estimate, exact=1.0)


def test_other_numbers_of_settings_are_refused():
    with pytest.raises(ClaimError, match="a has 2 values, b has 3"):
        claim("c").agree(a=torch.ones(2), b=torch.ones(3))


# refutation


@pytest.mark.parametrize("kind", ROUTES)
def test_a_wrong_version_is_refuted_by_each_kind_of_route(kind):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    wrong = VALUES + double(0, 0.5, 0, 0)
    refuted = checked.refute("half too much", wrong).facts()["refuted"]
    assert refuted == [
        {"statement": "half too much", "error": 0.5, "by": ["route"], "settings": 1, "of": 4}
    ]


@pytest.mark.parametrize("kind", ROUTES)
def test_a_wrong_version_that_passes_is_no_refutation(kind):
    checked = claim("c").agree(reference=VALUES, route=ROUTES[kind](VALUES))
    with pytest.raises(ClaimError, match="cannot tell the wrong version “the same” from the right"):
        checked.refute("the same", VALUES + 1e-13)
    with pytest.raises(ClaimError, match="is NaN"):
        checked.refute("no number", VALUES * math.nan)
    assert checked.verdict.startswith("incomplete")


def test_only_the_routes_that_reject_are_named():
    checked = claim("c").agree(
        exact=1.0, sampled=Estimate(double(1.0), double(1e-3), 10), other=double(1.0)
    )
    refuted = checked.refute("a little too much", 1.0001).facts()["refuted"]
    assert refuted[0]["by"] == ["other"]


def test_infinity_and_a_number_refute_each_other():
    assert claim("c").agree(a=math.inf, b=math.inf).refute("finite", 5.0).verdict == "passed"
    assert claim("c").agree(a=5.0, b=5.0).refute("infinite", math.inf).verdict == "passed"


def test_values_are_refuted_only_after_a_comparison():
    ordered = claim("c").agree(a=1.0, b=1.0).at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    for empty in (claim("c"), derivation("c"), derivation("c").line("x", 1.0), ordered):
        with pytest.raises(ClaimError, match="after a comparison"):
            empty.refute("wrong", 2.0)


def test_an_order_is_refuted_by_one_counterexample():
    ordered = claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    ordered.refute("always greater", double(2.0, 1.0), above=double(1.0, 1.0))
    assert ordered.verdict == "passed"
    with pytest.raises(ClaimError, match="cannot tell"):
        ordered.refute("greater", double(2.0, 1.1), above=1.0)


def test_noise_is_no_counterexample():
    noisy = Estimate(double(0.99), double(0.1), 10)
    ordered = claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0))
    for value, above in ((1.0, noisy), (noisy, 1.0)):
        with pytest.raises(ClaimError, match="cannot tell"):
            ordered.refute("greater", value, above=above)


# verdict


def test_nothing_passes_without_a_comparison_and_a_refutation():
    checked = claim("c")
    assert checked.verdict == "incomplete: nothing was compared"
    assert derivation("c").line("x", 1.0).verdict == "incomplete: nothing was compared"
    checked.agree(a=1.0, b=1.0)
    assert checked.verdict == "incomplete: no wrong version was refuted"
    assert checked.refute("2", 2.0).verdict == "passed"


# inequalities


def test_an_inequality_needs_a_strict_case_and_an_equal_one():
    facts = claim("c").at_least("x", double(3, 2), 1.0, equal=(4.0, 4.0)).facts()
    assert facts["kind"] == "inequality"
    names = [route["name"] for route in facts["routes"]]
    assert names == [
        "larger side",
        "smaller side",
        "equality case, left",
        "equality case, right",
    ]


@pytest.mark.parametrize("larger", [1.0, 1.0 + 1e-13, 0.5, math.nan])
def test_no_gap_is_not_strict(larger):
    with pytest.raises(ClaimError, match="setting 2 of 2 the gap is"):
        claim("c").at_least("x", double(2.0, larger), 1.0, equal=(1.0, 1.0))


def test_a_gap_within_the_noise_is_not_strict():
    noisy = Estimate(double(1.4), double(0.1), 10)
    with pytest.raises(ClaimError, match="gap"):
        claim("c").at_least("x", noisy, 1.0, equal=(1.0, 1.0))
    clear = Estimate(double(1.6), double(0.1), 10)
    claim("c").at_least("x", clear, 1.0, equal=(1.0, 1.0))


def test_an_infinite_side_is_larger():
    claim("c").at_least("x", math.inf, 1.0, equal=(1.0, 1.0))


def test_an_equality_case_that_is_not_equal_is_caught():
    with pytest.raises(ClaimError, match="right disagrees with left"):
        claim("c").at_least("x", 2.0, 1.0, equal=(1.0, 1.0 + 1e-10))


# derivations


def steps():
    return (
        derivation("steps")
        .line(r"\ln p(x)", VALUES)
        .line(r"\mathrm{KL}(q\,\|\,p) + \left|x\right|", VALUES, r"since $p(x|z)$, $\|x\|$")
        .line("z", Approximation(VALUES, 1e-12 * SCALE), "by quadrature")
        .refute("half", VALUES / 2)
    )


def test_a_derivation_shows_every_line_with_value_and_reason():
    checked = steps()
    assert checked.verdict == "passed"
    markdown = checked._repr_mimebundle_()[0]["text/markdown"]
    table = [row for row in markdown.splitlines() if row.startswith("|")]
    assert len(table) == 5
    for row in table:  # a bar in a formula would be a fourth column
        assert row.count("|") == 4
    assert r"\mathrm{KL}(q\,\Vert \,p) + \left\vert x\right\vert $ | 0.3 | since" in table[3]
    assert r"$p(x\vert z)$, $\Vert x\Vert $" in table[3]
    assert table[4].endswith("| 0.3 | by quadrature |")
    assert "- ✗ half: off by up to 1e+02, seen in 3 of 4 settings" in markdown


def test_a_line_that_is_not_equal_to_the_one_before_is_caught():
    with pytest.raises(ClaimError, match="line 3 disagrees with line 2 in setting 4"):
        derivation("c").line("a", VALUES).line("b", VALUES).line(
            "c", VALUES + double(0, 0, 0, 1e-9)
        )


def test_a_sampled_line_may_stand_anywhere():
    noisy = Estimate(double(1.001), double(1e-3), 10)
    assert derivation("c").line("a", noisy).line("b", 1.0).line("c", noisy).facts()["settings"] == 1
    with pytest.raises(ClaimError, match="too weak"):
        derivation("c", sampling=1e-3).line("a", noisy).line("b", 1.0)


# what the cell shows, and what the ledger reads


def checked():
    noisy = expectation(torch.square, torch.distributions.Normal(0.0, torch.ones(1)), 20_000)
    return (
        claim("a-claim", sampling=0.2)
        .agree("a < b", closed_form=double(1.0), monte_carlo=noisy)
        .agree(infinite=double(math.inf), also=double(math.inf))
        .refute("it is <finite>", 1.0)
    )


def test_facts_are_plain_json():
    bundle, metadata = checked()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    facts = metadata["vaekit"]["claim"]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts == checked().facts()
    assert set(facts) == {
        *("label", "kind", "settings", "routes", "resolution", "declared_resolution"),
        *("declared_sampling", "refuted", "verdict"),
    }
    closed, sampled, infinite, _ = facts["routes"]
    assert closed == {
        "name": "closed form",
        "kind": "exact",
        "value": [1.0],
        "standard_error": None,
        "resolution": None,
    }
    assert sampled["kind"] == "monte carlo"
    assert sampled["standard_error"] == pytest.approx([0.01], rel=0.05)  # Var x² = 2
    assert 0.1 < sampled["resolution"] < 0.12  # twice 5.3 standard errors
    assert infinite["value"] == ["inf"]
    assert facts["refuted"][0]["error"] == "inf"
    assert facts["resolution"] == sampled["resolution"]  # the coarser of the two comparisons


def test_what_is_shown_is_the_same_at_every_run():
    assert checked()._repr_mimebundle_() == checked()._repr_mimebundle_()
    assert steps()._repr_mimebundle_() == steps()._repr_mimebundle_()
    assert repr(checked()) == str(checked())
    assert "0x" not in str(checked())


def test_text_and_html_say_the_same():
    bundle, _ = checked()._repr_mimebundle_()
    for text in bundle.values():
        for part in ("a-claim: passed", "closed form", "reference", "±", "off by up to inf"):
            assert part in text
    assert "it is &lt;finite&gt;" in bundle["text/html"]
    assert "a &lt; b" in bundle["text/html"]
    classes = set(re.findall(r'class="([^"]+)"', bundle["text/html"]))
    assert {"vk-claim", "vk-claim-head vk-pass", "vk-table", "vk-refuted"} <= classes


def test_an_incomplete_check_does_not_look_like_a_passed_one():
    page = claim("c").agree(a=1.0, b=1.0)._repr_mimebundle_()[0]["text/html"]
    assert "incomplete: no wrong version was refuted" in page
    assert "vk-pass" not in page


def test_rounding_left_over_is_not_printed():
    near = claim("c").agree(a=1.0 + 1e-15, b=-1e-16 + 1.0).refute("zero", -1e-15)
    assert str(near) == str(claim("c").agree(a=1.0, b=1.0).refute("zero", 0.0))
    assert "-0" not in str(claim("c").agree(a=-1e-15, b=0.0))


def test_a_small_refuted_error_is_shown_as_it_is():
    assert "off by up to 2e-10" in str(claim("c").agree(a=0.0, b=0.0).refute("x", 2e-10))
