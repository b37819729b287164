"""The ledger: every claim of the book, its check, and what that check would have caught.

Claims are the statements of kind `book.numbering.CLAIMS` in the chapters. Checks are the facts that
cells left in the metadata of their outputs. Each claim needs exactly one check, in its own chapter.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

from book.numbering import CLAIMS, chapter_number, docnames, number
from vaekit.display import power_of_ten

LEDGER = "chapters/ledger"
SEEDS = Path("chapters", "results", "seeds.json")  # what `make seeds` stored


def checks(notebook: Path) -> Iterator[dict]:
    """Yield the facts of each check in an executed notebook, in its order."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if facts := output.get("metadata", {}).get("vaekit", {}).get("claim"):
                yield facts


def ledger(root: Path, executed: Path) -> list[dict]:
    """Lay claims and checks side by side.

    Parameters
    ----------
    root : Path
        The folder of ``_toc.yml``.
    executed : Path
        The folder of the executed notebooks, laid out as the sources are.

    Returns
    -------
    list of dict
        One for each claim, in reading order: its ``label``, ``number``, ``title``, ``statement``
        (theorem, …), ``chapter`` and ``url``, and the facts of its check; ``seeds`` says how often
        the check was run with other seeds, and how often it gave an alarm, where that is stored.

    Raises
    ------
    ValueError
        Naming every claim without a check, check without a claim, second check of a claim, check
        that has not passed, and check that refutes nothing.
    """
    claims = {label: e for label, e in number(root).items() if e.kind in CLAIMS}
    stored = json.loads((root / SEEDS).read_text("utf-8")) if (root / SEEDS).exists() else {}
    seeds = {
        label: {"count": tried["runs"], "alarms": tried["alarms"]}
        for label, tried in stored.items()
    }
    rows, problems = [], []
    for docname in docnames(root):
        notebook = executed / f"{docname}.ipynb"
        found = list(checks(notebook)) if notebook.exists() else []
        by_label = {facts["label"]: facts for facts in found}
        for label, times in Counter(facts["label"] for facts in found).items():
            if label not in claims or claims[label].docname != docname:
                problems.append(f"{docname}: the check {label} belongs to no claim here")
            if times > 1:
                problems.append(f"{docname}: the claim {label} has {times} checks")
        for label, entry in claims.items():
            if entry.docname != docname:
                continue
            facts = by_label.get(label)
            if facts is None:
                problems.append(f"{docname}: the {entry.kind} {label} has no check")
                continue
            if facts["verdict"] != "passed":
                problems.append(f"{docname}: the check {label} is not passed: {facts['verdict']}")
            if not facts["refuted"]:
                problems.append(f"{docname}: the check {label} refutes no wrong version")
            rows.append(
                {
                    "label": label,
                    "number": entry.number,
                    "title": entry.title,
                    "statement": entry.kind,
                    "chapter": chapter_number(docname),
                    "url": f"{docname}.html#{entry.anchor}",
                    **facts,
                    "seeds": seeds.get(label),
                }
            )
    if problems:
        raise ValueError("claims and checks do not match:\n  " + "\n  ".join(problems))
    return rows


def of_build(app: Sphinx) -> list[dict]:
    """Return the ledger of the build that is running; a mismatch ends the build."""
    try:
        return ledger(Path(app.srcdir), Path(app.outdir).parent / "jupyter_execute")
    except ValueError as error:
        raise ExtensionError(str(error)) from None


def read_again(_app, env: BuildEnvironment, *_) -> set[str]:
    """Read the ledger's page in every build, since any chapter may have changed it."""
    return {LEDGER} & env.found_docs


def read_last(_app, _env, docnames: list[str]) -> None:
    """Read the ledger's page when the outputs of all chapters are there."""
    docnames.sort(key=lambda docname: docname == LEDGER)


def check(app: Sphinx, _env) -> None:
    """End the build, at each run of it, if claims and checks do not match."""
    of_build(app)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the tables where the source of the ledger's page says ``{ledger}``."""
    if docname == LEDGER:
        titles = {doc: title.astext() for doc, title in app.env.titles.items()}
        source[0] = source[0].replace("{ledger}", tables(of_build(app), titles))


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the ledger as ``ledger.json`` beside the pages."""
    if exception or app.builder.format != "html":
        return
    text = json.dumps(of_build(app), indent=1, ensure_ascii=False, allow_nan=False)
    (Path(app.outdir) / "ledger.json").write_text(text + "\n", encoding="utf-8")


def tables(rows: list[dict], titles: dict[str, str]) -> str:
    """Write the ledger as MyST: a table for each chapter, under its title."""
    refuted = sum(len(row["refuted"]) for row in rows)
    lines = [f"There are **{len(rows)}** claims; their checks refute **{refuted}** wrong versions."]
    for docname, group in groupby(rows, key=lambda row: row["url"].partition(".html")[0]):
        lines += ["", f"## {titles[docname]}", "", ":::{list-table}"]
        lines += [":class: vk-ledger", ":header-rows: 1", ":widths: 26 26 14 34", ""]
        for cells in [("Claim", "Checked by", "Notices", "Refuted"), *map(_cells, group)]:
            lines += ["* - " + "\n  - ".join(cells)]
        lines += [":::"]
    return "\n".join(lines)


def _cells(row: dict) -> tuple[str, ...]:
    return (
        f"{{prf:ref}}`{row['label']}` {row['title']}",
        "; ".join([", ".join(map(_plain, _routes(row))), *_tried(row)]),
        noticed(row),
        "; ".join(_plain(version["statement"]) for version in row["refuted"]),
    )


def _routes(row: dict) -> list[str]:
    """Name, once each, what was compared: routes, inequalities, and lines of a derivation."""
    found = []
    for group in row["groups"]:
        match group["kind"]:
            case "derivation":
                found.append(f"{len(group['routes'])} lines of the derivation")
            case "inequality":
                found.append("an inequality, where it is strict and where it is an equality")
            case _:
                found += [route["name"] for route in group["routes"]]
    return list(dict.fromkeys(found))


def _tried(row: dict) -> list[str]:
    settings = [f"{row['settings']} settings"] if row["settings"] > 1 else []
    if not row["seeds"]:
        return settings
    count, alarms = row["seeds"]["count"], row["seeds"]["alarms"]
    said = {0: "no alarm", 1: "1 alarm"}.get(alarms, f"{alarms} alarms")
    return [*settings, f"{count} other seeds: {said}"]


def noticed(row: dict) -> str:
    """Say in words how small an error a check would have noticed."""
    exact, sampled = row["resolution"], row["sampling"]
    words = [f"an error of {power_of_ten(exact)}"] if exact is not None else []
    if sampled is not None:
        words.append(f"by sampling {'' if words else 'an error of '}{power_of_ten(sampled)}")
    return "; ".join(words) or "the wrong order"


def _plain(text: str) -> str:
    """Keep Markdown from reading anything into a text."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>$~-])", r"\\\1", text)
