"""How a check shows itself: a picture, a sentence and a table, made from its facts alone.

The facts are those of `vaekit.claims.Claim.facts`. Text for terminals and for nbval holds no number
that a machine could round differently. HTML carries its few styles with it, because notebook
interfaces have none, and takes its colours from the page where the page has them.
"""

from __future__ import annotations

import html
import math
from typing import Any

from vaekit.estimates import with_error

Facts = dict[str, Any]

WIDTH, HEIGHT = 640, 120  # of the picture, in its own units
NEAR = 0.02  # below this relative distance the picture's scale is linear, above it logarithmic
COLUMNS = 160  # settings drawn at the most


def bundle(facts: Facts) -> dict[str, str]:
    """Return what a notebook shows, by MIME type.

    A derivation is Markdown, so that every reader typesets its formulas; else it is HTML.
    """
    derived = any(group["kind"] == "derivation" for group in facts["groups"])
    rich = {"text/markdown": markdown(facts)} if derived else {"text/html": as_html(facts)}
    return {"text/plain": text(facts)} | rich


def text(facts: Facts) -> str:
    """Return the check in a few lines that are the same on every machine."""
    lines = [head(facts)]
    for group in facts["groups"]:
        names = [route["name"] for route in group["routes"]]
        said = {
            "agreement": " = ".join(names),
            "inequality": "larger ≥ smaller, strictly; equal where claimed",
            "derivation": f"{len(names)} lines, each equal to the one before",
        }[group["kind"]]
        lines.append("  " + ": ".join(filter(None, [group["case"], said])))
    return "\n".join(lines + [f"  refuted: {wrong['statement']}" for wrong in facts["refuted"]])


def head(facts: Facts) -> str:
    """Return label, verdict and number of settings."""
    many = f", in {facts['settings']} settings" if facts["settings"] > 1 else ""
    return f"{facts['label']}: {facts['verdict']}{many}"


def sentence(facts: Facts) -> str:
    """Say in words what was compared, what would have shown, and what was refuted."""
    sizes = []
    if facts["resolution"] is not None:
        sizes.append(f"an error of {power_of_ten(facts['resolution'])}")
    if facts["sampling"] is not None:
        size = power_of_ten(facts["sampling"])
        sizes.append(f"{'one' if sizes else 'an error'} of {size} by sampling")
    wrong = len(facts["refuted"])
    parts = []
    if sizes:
        parts.append(f"All agree. In any setting {' or '.join(sizes)} would have shown.")
    if wrong:
        tried = "One wrong version was" if wrong == 1 else f"{wrong} wrong versions were"
        parts.append(f"{tried} tried, and {'it was' if wrong == 1 else 'each was'} caught.")
    return " ".join(parts)


def power_of_ten(x: float, digits: int = 1) -> str:
    """Write a positive number to a digit or two: 2.3e-13 as 2·10⁻¹³, and 0.02 as it is."""
    digit, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    if -4 < int(exponent) < 4:
        return f"{float(f'{x:.{digits - 1}e}'):g}"
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{float(digit):g}·10{raised}"


def rows(group: Facts) -> list[tuple[str, str, str]]:
    """Return (route, its value in the first setting, what was found) for each row of a group.

    Of an inequality the value is the smallest gap of all settings.
    """
    if group["kind"] == "inequality":
        larger, smaller, left, right = group["routes"]
        gaps = [
            a - b for a, b in zip(*_broadcast(larger["values"], smaller["values"]), strict=True)
        ]
        return [
            ("larger − smaller", _number(min(gaps)), f"the smallest of {len(gaps)}"),
            ("where equal", f"{_shown(left)} = {_shown(right)}", _agreement(right)),
        ]
    return [(route["name"], _shown(route), _agreement(route)) for route in group["routes"]]


def refutations(facts: Facts) -> list[str]:
    """Say of each wrong version where it is wrong, and by how much."""
    found = []
    for wrong in facts["refuted"]:
        if wrong["values"] is None:
            how = "a counterexample"
        else:
            error = float(wrong["error"])
            finite = math.isfinite(error)
            how = f"wrong by up to {power_of_ten(error, 2)}" if finite else "infinitely wrong"
        where = f" (in {wrong['settings']} of {wrong['of']} settings)" if wrong["of"] > 1 else ""
        found.append(f"{wrong['statement']}: {how}{where}")
    return found


def as_html(facts: Facts) -> str:
    """Return picture, sentence and table as HTML."""
    left = 'style="text-align: left"'
    body = []
    for group in facts["groups"]:
        of = f"the first of {group['settings']}" if group["settings"] > 1 else "value"
        if group["kind"] == "inequality":
            of = ""
        case = html.escape(group["case"] or "route")
        body.append(
            f'<tr><th class="vk-case" {left}>{case}</th><th {left}>{of}</th><th {left}></th></tr>'
        )
        body += [
            "<tr>" + "".join(f"<td {left}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows(group)
        ]
    refuted = "".join(f"<li>{html.escape(said)}</li>" for said in refutations(facts))
    passed = facts["verdict"] == "passed"
    mood = "vk-pass" if passed else "vk-incomplete"
    return (
        f'<div class="vk-claim"><p class="vk-claim-head {mood}">'
        f"<strong>{'✓ ' if passed else ''}{html.escape(head(facts))}</strong></p>"
        f"{picture(facts)}<p>{html.escape(sentence(facts))}</p>"
        f'<table class="vk-table"><tbody>{"".join(body)}</tbody></table>'
        + (f'<p>Caught:</p><ul class="vk-refuted">{refuted}</ul>' if refuted else "")
        + "</div>"
    )


def markdown(facts: Facts) -> str:
    """Return a derivation as a table of its lines, and the other comparisons below it."""
    lines = [f"**{'✓ ' if facts['verdict'] == 'passed' else ''}{head(facts)}**", ""]
    for group in facts["groups"]:
        if group["kind"] == "derivation":
            of = f"the first of {group['settings']}" if group["settings"] > 1 else "value"
            lines += [f"| line | {of} | because |", "|:---|:---|:---|"]
            for number, route in enumerate(group["routes"]):
                formula = _in_table(f"$\\displaystyle {route['formula']}$")
                sign, reason = "= " if number else "", _in_table(route["reason"])
                lines.append(f"| {sign}{formula} | {_shown(route)} | {reason} |")
        else:
            lines += [f"| {_in_table(group['case'] or 'route')} | | |", "|:---|:---|:---|"]
            lines += [f"| {' | '.join(map(_in_table, row))} |" for row in rows(group)]
        lines.append("")
    lines.append(sentence(facts))
    caught = [f"- ✗ {said}" for said in refutations(facts)]
    return "\n".join(lines + (["", "Caught:", "", *caught] if caught else []))


def picture(facts: Facts) -> str:
    """Draw how far every route and every wrong version lies from the reference, as inline SVG.

    One column is one setting. The height is (value − reference) / max(1, |reference|) on a scale
    that is linear near zero and logarithmic beyond. Of an inequality the gap is drawn.
    """
    marks = {"agree": [], "gap": [], "wrong": []}  # (column, distance)
    start, edges = 0, []
    for number in range(len(facts["groups"])):
        series = _series(facts, number)
        for role, distances in series:
            marks[role] += [(start + i, d) for i, d in enumerate(distances)]
        start += max((len(distances) for _, distances in series), default=0)
        edges.append(start)
    if not start:
        return ""
    step = max(1, math.ceil(start / COLUMNS))
    finite = [abs(d) for points in marks.values() for _, d in points if math.isfinite(d)]
    most = math.asinh(max([*finite, 0.5]) / NEAR)
    middle, reach = HEIGHT / 2, HEIGHT / 2 - 12

    def place(column: int, distance: float) -> str:
        x = 92 + (WIDTH - 100) * (column + 0.5) / start
        part = math.asinh(distance / NEAR) / most if math.isfinite(distance) else distance
        return f"M{x:.0f} {middle - reach * max(-1, min(1, part)):.0f}"

    def path(role: str, drawn: str, style: str) -> str:
        shown = [(i, d) for i, d in marks[role] if i % step == 0]
        points = "".join(dict.fromkeys(place(i, d) + drawn for i, d in shown))
        return f'<path d="{points}" fill="none" style="{style}"/>' if points else ""

    rules = "".join(
        f'<path d="M{92 + (WIDTH - 100) * edge / start:.0f} 8V{HEIGHT - 8}" '
        'style="stroke: currentColor; opacity: 0.25"/>'
        for edge in edges[:-1]
    )
    label = 'x="0" font-size="12" fill="currentColor" font-family="sans-serif"'
    names = {0: "too large", 1: "agreement", 2: "too small"}
    words = "".join(
        f'<text {label} y="{y:.0f}">{names[i]}</text>'
        for i, y in enumerate((20, middle + 4, HEIGHT - 12))
        if i == 1 or marks["wrong"] or marks["gap"]
    )
    blue, red = "var(--vk-claim, #2b83c6)", "var(--vk-slip, #d0603a)"
    return (
        f'<svg class="vk-dial" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'style="max-width: 100%; height: auto" aria-label="{html.escape(_seen(facts))}">'
        f'<path d="M92 {middle:.0f}H{WIDTH - 8}" style="stroke: currentColor; opacity: 0.5"/>'
        + rules
        + path("wrong", "m-3-3l6 6m0-6l-6 6", f"stroke: {red}; stroke-width: 1.4")
        + path("gap", "h0", f"stroke: {blue}; stroke-width: 4; stroke-linecap: round; opacity: 0.5")
        + path("agree", "h0", f"stroke: {blue}; stroke-width: 6; stroke-linecap: round")
        + words
        + "</svg>"
    )


def _seen(facts: Facts) -> str:
    """Say in words what the picture shows."""
    of = f"in {facts['settings']} settings" if facts["settings"] > 1 else "here"
    wrong = sum(version["values"] is not None for version in facts["refuted"])
    off = f" Crosses for {wrong} wrong version{'s' * (wrong != 1)} lie off it." if wrong else ""
    return f"Dots for the routes lie on the line of agreement {of}.{off}"


def _series(facts: Facts, number: int) -> list[tuple[str, list[float]]]:
    """Return the relative distances of one group's routes and wrong versions, by role."""
    group = facts["groups"][number]
    if group["kind"] == "inequality":
        larger, smaller, left, right = (route["values"] for route in group["routes"])
        return [("gap", _distances(larger, smaller)), ("agree", _distances(left, right))]
    reference, *others = (route["values"] for route in group["routes"])
    series = [("agree", _distances(values, reference)) for values in others]
    for wrong in facts["refuted"]:
        if wrong["group"] == number and wrong["values"] is not None:
            series.append(("wrong", _distances(wrong["values"], reference)))
    return series


def _broadcast(a: list, b: list) -> tuple[list[float], list[float]]:
    """Return both lists as numbers, a list of one as long as the other."""
    long = max(len(a), len(b))
    return tuple([float(v) for v in (c * long if len(c) == 1 else c)] for c in (a, b))


def _distances(a: list, b: list) -> list[float]:
    """Return (a − b) / max(1, |b|), zero where both are the same infinity."""
    pairs = zip(*_broadcast(a, b), strict=True)
    return [
        0.0 if v == w else (v - w) / max(1, abs(w)) if math.isfinite(w) else v - w for v, w in pairs
    ]


def _agreement(route: Facts) -> str:
    if route["resolution"] is None:
        return "the reference"
    if route["kind"] == "monte carlo":
        return f"agrees, within {route['resolution']:.1g}"
    return f"agrees, to {math.floor(-math.log10(route['resolution']))} digits"


def _shown(route: Facts) -> str:
    value = float(route["values"][0])
    if route["standard_errors"]:
        return with_error(value, float(route["standard_errors"][0]))
    return _number(value)


def _number(x: float) -> str:
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    # rounding first: what is left of an exact zero must not be printed
    return f"{round(x, 9) + 0.0:.6g}".replace("-", "−")


def _in_table(text: str) -> str:
    """Keep a bar from ending the table's column: in a formula it has a name, in words a stroke."""
    pieces = " ".join(text.split()).split("$")
    pieces[::2] = [words.replace("|", r"\|") for words in pieces[::2]]
    pieces[1::2] = [
        formula.replace(r"\|", r"\Vert ").replace("|", r"\vert ") for formula in pieces[1::2]
    ]
    return "$".join(pieces)
