"""Every claim holds under other seeds, and a sweep names and counts the one that does not."""

import json
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal

from book.seeds import STEP, main, needed, read_cells, run, shifted
from vaekit.estimates import expectation, generator, seeded

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(ROOT.glob("chapters/[0-9]*.md"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_claims_of_a_chapter_hold_under_another_seed(path):
    """A seed for each chapter; `make seeds` runs a hundred, and the claims that need training."""
    text = path.read_text(encoding="utf-8")
    labels, alarms = run(text, STEP * (1 + CHAPTERS.index(path)), path.parent, training=False)
    assert labels or "fit(" in text
    assert not alarms


def chapter(*cells: str) -> str:
    head = "---\njupytext: {text_representation: {extension: .md, format_name: myst}}\n---\n"
    return head + "".join(f"\n```{{code-cell}}\n{cell}\n```\n" for cell in cells)


SMALL = chapter(
    "%matplotlib inline\nimport torch\nfrom vaekit.claims import claim",
    "seen = []\nfrom vaekit.estimates import Estimate, generator",
    "raise SystemExit('no claim needs this')",
    "def draw(seed, n=10_000):\n    return Estimate.of(torch.rand(n, generator=generator(seed)))",
    'seen.append(1)\nclaim("half").agree(exact=0.5, mean=draw(1)).refute({"one": 1.0})',
    # the smallest of 100 numbers lies below 0.01 in 63 of 100 runs
    "low = torch.rand(100, generator=generator(seen[0])).min()",
    'claim("lucky").agree(a=0.0, b=(low > 0.01).double()).refute({"two": 2.0})\nlater = 1.0',
    "later = 1.0",
    'claim("last").agree(a=1.0, b=later).refute({"three": 3.0})',
)


def test_a_claim_that_holds_by_luck_is_named_counted_and_stored(tmp_path, capsys):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01_small.md").write_text(SMALL, encoding="utf-8")
    assert main(["--seeds", "12", "--jobs", "2"], tmp_path) == 1
    claims = json.loads((tmp_path / "chapters" / "results" / "seeds.json").read_text())
    assert all({"commit", "date"} < set(row) for row in claims.values())
    unlucky = claims.pop("lucky")
    counts = {label: (row["runs"], row["alarms"]) for label, row in claims.items()}
    assert counts == {"half": (12, 0), "last": (12, 0)}
    assert unlucky["runs"] == 12 > unlucky["alarms"] > 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == unlucky["alarms"] + 2
    for line in said[:-2]:
        assert line.startswith("lucky: seeds shifted by ")
        assert "b disagrees with a" in line
    assert said[-1] == f"3 claims, 12 seeds each, {unlucky['alarms']} alarms"


def test_chapters_that_are_named_alone_are_stored_beside_the_others(tmp_path):
    (tmp_path / "chapters").mkdir()
    for name in ("a", "b"):
        cell = f'from vaekit.claims import claim\nclaim("{name}").agree(a=1.0, b=1.0)'
        (tmp_path / "chapters" / f"01_{name}.md").write_text(chapter(cell), encoding="utf-8")
    path = tmp_path / "chapters" / "results" / "seeds.json"

    def runs(*arguments):
        assert main([*arguments, "--jobs", "1"], tmp_path) == 0
        return {label: row["runs"] for label, row in json.loads(path.read_text()).items()}

    assert runs("01_a", "--seeds", "1") == {"a": 1}
    assert runs("01_b", "--seeds", "2") == {"a": 1, "b": 2}
    assert runs("01_a", "--seeds", "3") == {"a": 3, "b": 2}
    (tmp_path / "chapters" / "01_b.md").unlink()
    assert runs("--seeds", "3") == {"a": 3}


def test_a_sweep_goes_on_where_it_stopped_until_the_code_changes(tmp_path):
    """Each run of the claim leaves a mark; text may change, the code may not."""
    cells = (
        "import torch\nfrom pathlib import Path",
        (
            "from vaekit.claims import claim\n"
            "made = torch.Generator().manual_seed(0).initial_seed()\n"
            "Path('marks').open('a').write(f'{made} ')\n"
            'claim("a").agree(a=1.0, b=1.0)'
        ),
    )
    path = tmp_path / "chapters" / "01_a.md"
    path.parent.mkdir()
    path.write_text(chapter(*cells), encoding="utf-8")

    def marks(seeds):
        assert main(["--seeds", str(seeds), "--jobs", "1"], tmp_path) == 0
        marks = tmp_path / "chapters" / "marks"
        found = marks.read_text().split() if marks.exists() else []
        marks.unlink(missing_ok=True)
        return [int(mark) // STEP for mark in found]

    assert marks(2) == [1, 2]
    path.write_text(path.read_text("utf-8") + "\nMore text.\n", encoding="utf-8")
    assert marks(4) == [3, 4]
    assert marks(4) == []
    path.write_text(path.read_text("utf-8").replace("b=1.0", "b=2 / 2"), encoding="utf-8")
    assert marks(1) == [1]


def test_a_cell_that_breaks_fails_every_claim_after_it(tmp_path):
    text = chapter(
        'from vaekit.claims import claim\nclaim("before").agree(a=1.0, b=1.0)',
        "x = 1 / 0",
        'claim("after").agree(a=x, b=x)',
    )
    labels, alarms = run(text, 0, tmp_path)
    assert labels == ["before", "after"]
    assert [alarm.label for alarm in alarms] == ["after"]
    assert "ZeroDivisionError" in alarms[0].message


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        (["x = 1", "y = 2", "claim('c', x)"], [0, 2]),
        (["x = 1", "x = 2", "claim('c', x)"], [1, 2]),
        (["x = 1", "x += 2", "claim('c', x)"], [0, 1, 2]),
        (["x = []", "x.append(2)", "claim('c', x)"], [0, 1, 2]),
        (["x = {}", "x[1] = 2", "claim('c', x)"], [0, 1, 2]),
        (["x = f(0)", "x.mul_(2)", "claim('c', x)"], [0, 1, 2]),
        (["m = f(0)", "h = fit(m)", "claim('c', m)"], [0, 1, 2]),
        (["m = f(0)", "h = fit(m)", "claim('c', 1)"], [2]),
        (["m = f(0)", "x = 1", "plt.plot(x)", "claim('c', x)"], [1, 3]),
        (["plt.plot(1)\nx = 1", "claim('c', x)"], [0, 1]),
        (["n = 1", "def f():\n    return n", "n = 2", "claim('c', f())"], [0, 1, 2, 3]),
        (["x = 1", "for i in range(3):\n    x = i", "claim('c', x)"], [0, 1, 2]),
        (["x = 1", "g = [x for x in range(3)]", "claim('c', g)"], [1, 2]),
        (["import a", "import b", "f = lambda t: a.g(t)", "claim('c', f)"], [0, 2, 3]),
        (["x = 1", "claim('c', x)", "y = x", "claim('d', x)"], [0, 1, 3]),
    ],
)
def test_only_the_cells_that_claims_rest_on_are_run(cells, kept):
    read = read_cells(chapter(*cells))
    assert needed(read, [i for i, cell in enumerate(read) if cell.labels]) == kept


def test_claims_that_need_training_can_be_left_out(tmp_path):
    text = chapter(
        "from vaekit.claims import claim\nx = 1.0",
        "y = x\ny = fit(y)",
        'claim("quick").agree(a=x, b=x)',
        'claim("slow").agree(a=y, b=y)',
    )
    assert run(text, 0, tmp_path, training=False) == (["quick"], [])


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: torch.rand(3, generator=torch.Generator().manual_seed(seed)),
        lambda seed: torch.rand(3, generator=generator(seed)),
        lambda seed: expectation(lambda x: x, Normal(torch.zeros(3), 1.0), 9, seed=seed).value,
        lambda seed: torch.manual_seed(seed) and torch.rand(3),
    ],
)
def test_every_seed_of_torch_is_shifted_inside_the_block_alone(draw):
    plain, other = draw(7), draw(7 + STEP)
    with shifted(STEP):
        assert torch.equal(draw(7), other)
    assert torch.equal(draw(7), plain)


def test_the_block_of_a_seed_is_shifted():
    with seeded(3 + STEP):
        other = torch.rand(3)
    with shifted(STEP), seeded(3):
        assert torch.equal(torch.rand(3), other)
