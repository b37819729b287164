"""What every chapter owes its readers, read off the sources."""

import json
import re
from pathlib import Path

import pytest

from book.myst import directives
from book.numbering import CLAIMS

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(ROOT.glob("chapters/[0-9][0-9]_*.md"))
PAGES = [*CHAPTERS, *map(ROOT.joinpath, ("index.md", "chapters/notation.md", "chapters/ledger.md"))]
PROSE = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)

# labels that the course has promised
PROMISED = {
    "01": """expectation-discrete expectation-continuous expectation-lotus expectation-linearity
    jensen mc-unbiased mc-standard-error importance-sampling""".split(),
    "02": """gaussian-normalised gaussian-moments gaussian-interval gaussian-log-density
    gaussian-mle gaussian-least-squares gaussian-affine gaussian-diagonal gaussian-entropy
    gaussian-product""".split(),
    "03": """kl-as-expectation kl-nonnegative kl-asymmetric kl-support kl-cross-entropy kl-mle
    kl-gaussian kl-standard-normal kl-diagonal kl-additive kl-chain-rule kl-invariance
    kl-monte-carlo""".split(),
    "04": """bayes-rule evidence-marginal likelihood-is-not-a-density-of-z bayes-linear-gaussian
    evidence-monte-carlo evidence-log-bias evidence-curse density-by-flow""".split(),
    "05": """mle-log-likelihood em-decomposition em-e-step em-m-step em-monotone em-gmm-updates
    em-to-vae""".split(),
    "06": """elbo-kl-decomposition elbo-jensen elbo-importance elbo-bound elbo-two-terms
    elbo-entropy-form elbo-discrete elbo-q-step elbo-joint-kl elbo-surgery""".split(),
    "07": """forward-kl-moments forward-kl-zero-avoiding reverse-kl-zero-forcing
    reverse-kl-mode-seeking reverse-kl-needs-q-samples mean-field-variance""".split(),
    "08": """reparam-same-distribution reparam-gradient score-function-gradient score-mean-zero
    reparam-variance reparam-inverse-cdf reparam-discrete-fails""".split(),
    "09": """loss-kl-term loss-gaussian-decoder loss-sigma-is-beta loss-reduction-is-beta
    loss-optimal-sigma loss-bernoulli loss-bce-logits loss-continuous-bernoulli
    loss-minibatch-unbiased kl-analytic-variance""".split(),
    "10": """linear-vae-ppca swiss-roll-two-sample""".split(),
}


def cells(path):
    """Return each cell of a chapter, with its options."""
    return list(directives(path.read_text("utf-8"), "code-cell"))


def prose(path):
    """Return the text without code and formulas."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    return re.sub(r"\$[^$]*\$|`[^`]*`", "", text)


@each_chapter
def test_code_fits_the_page(path):
    lines = [line for cell in cells(path) for line in cell.body.splitlines()]
    assert lines
    assert not [line for line in lines if len(line) > 76]


@each_chapter
def test_every_figure_is_described(path):
    # the widget draws itself
    draws = [cell for cell in cells(path) if re.search(r"plt\.(subplots|figure)\(", cell.body)]
    assert draws
    for cell in draws:
        mystnb = cell.options.get("mystnb", {})
        place = f"in the cell that begins {cell.body[:200]}"
        assert mystnb.get("image", {}).get("alt"), f"no alternative text {place}"
        assert mystnb.get("figure", {}).get("caption"), f"no caption {place}"
        assert mystnb["figure"].get("name", "").startswith("fig-"), f"no name {place}"


@each_chapter
def test_parts_of_a_chapter(path):
    text = path.read_text()
    for part in (
        "What you will learn",
        "need first",
        "## Exercises",
        "## Summary",
        "## What to read",
    ):
        assert part in text, part
    summary = re.search(r"^## Summary\n(.*?)^## ", text, re.S | re.M)[1]
    assert 1 <= len(re.findall(r"^- ", summary, re.M)) <= 7
    exercises = {d.options["label"] for d in directives(text, "exercise", "exercise-start")}
    solutions = {d.argument for d in directives(text, "solution", "solution-start")}
    assert len(exercises) >= 4
    assert solutions == exercises
    assert "class: slip" in text


@each_chapter
def test_promised_claims_are_there(path):
    claims = directives(path.read_text("utf-8"), *(f"prf:{kind}" for kind in CLAIMS))
    assert set(PROMISED.get(path.stem[:2], [])) <= {claim.options["label"] for claim in claims}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_words(path):
    banned = r"simply|obviously|trivially|easy to see|of course|clearly|needless to say"
    american = r"\w*iz(?:e|es|ed|ing|ation)|color\w*|behavior\w*|center\w*|modeling"
    fine = {"size", "sizes", "sized", "prize", "prizes", "seize", "resize"}
    text = prose(path)
    if path.name == "CONTRIBUTING.md":  # it names them
        text = re.sub(r"“[^”]*”|\"[^\"]*\"", "", text)
    assert not re.findall(rf"\b(?:{banned})\b", text, re.I)
    assert not set(map(str.lower, re.findall(rf"\b(?:{american})\b", text, re.I))) - fine


def test_sample_check_on_the_landing_page_is_real():
    sample = re.search(r"```text\n(.*?)```", (ROOT / "index.md").read_text(), re.S)[1]
    notebook = json.loads((ROOT / "chapters/03_kl_divergence.ipynb").read_text())
    outputs = [
        "".join(output["data"]["text/plain"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "text/plain" in output.get("data", {})
    ]
    check = next(text for text in outputs if text.startswith("kl-gaussian:"))
    assert set(sample.splitlines()) <= set(check.splitlines())
