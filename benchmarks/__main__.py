"""The command line: `python -m benchmarks [--only NAME] [--device cpu|cuda] [--quick]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
from pathlib import Path

import torch

from benchmarks import evidence, expectation, training
from benchmarks.measure import THREADS, Goal, Measurement, machine, spread

HERE = Path(__file__).parent
MEASURES = {
    "training": training.measure,
    "expectation": expectation.measure,
    "log-evidence": evidence.measure,
}
START, END = "<!-- results -->\n", "<!-- end of results -->\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=MEASURES, help="one measurement; others stay as stored")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="default: the CPU, then a GPU where there is one"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs (default: 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.json, README.md")
    options = parser.parse_args(arguments)

    torch.set_num_threads(THREADS)
    load = os.getloadavg()[0]  # of others: the measurements themselves add two
    devices = [options.device] if options.device else ["cpu", "cuda"]
    file = options.out / "results.json"
    stored = json.loads(file.read_text()) if file.exists() else {}
    for device in devices:
        for name, measure in MEASURES.items():
            if options.only not in (None, name) or (device == "cuda" and name != "training"):
                continue
            if device == "cuda" and not torch.cuda.is_available():
                print(f"skipped: {name} on a GPU, since torch sees none here")
                continue
            result: Measurement = measure(device, rounds=options.rounds, quick=options.quick)
            result.facts = machine(device) | {"load": load}
            processor = result.facts.get("gpu") or result.facts["processor"]
            here = stored.setdefault(processor, {})
            here[f"{name}-{device}"] = dataclasses.asdict(result)
            print(section(here[f"{name}-{device}"]))
            if not (options.quick and options.out == HERE):  # tiny sizes say nothing about speed
                write(options.out, stored)


def write(folder: Path, stored: dict[str, dict[str, dict]]) -> None:
    """Write the results by processor, and this folder's README.md with their tables in it."""
    (folder / "results.json").write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    before, rest = (HERE / "README.md").read_text().split(START)
    after = rest.split(END)[1]
    (folder / "README.md").write_text(before + START + table(stored) + END + after)


def table(stored: dict[str, dict[str, dict]]) -> str:
    """Return the headlines, all stored measurements, and what could not be measured."""
    results = [
        stored[p][key]
        for key in sorted(set().union(*stored.values()))
        for p in sorted(stored)
        if key in stored[p]
    ]
    parts = [headlines(stored), *map(section, results)]
    if not any("training-cuda" in measured for measured in stored.values()):
        parts.append("Not measured: training on a GPU, for want of one.\n")
    return "\n".join(parts)


def headlines(stored: dict[str, dict[str, dict]]) -> str:
    """Return a table of the goals, each on the processor where it came out least favourable."""
    worst: dict[str, tuple[float, Goal]] = {}
    for processor in sorted(stored):
        for result in stored[processor].values():
            for goal in (Goal(**goal) for goal in result["goals"]):
                if goal.wanted is None:
                    continue
                sign = -1 if goal.at_most else 1
                score = sign * statistics.median(goal.measured)
                label = f"{result['title']}: {goal.statement}"
                if label not in worst or score < worst[label][0]:
                    named = dataclasses.replace(goal, statement=f"{label}, {processor}")
                    worst[label] = score, named
    count = "one processor" if len(stored) == 1 else f"{len(stored)} processors"
    lines = [f"### The least favourable of {count}", ""]
    lines += ["| | wanted | median (min–max) | |", "|---|---:|---:|---|"]
    return "\n".join([*lines, *(_goal(worst[label][1]) for label in sorted(worst)), ""])


def section(stored: dict) -> str:
    """Return one measurement as two tables in Markdown: speeds, then ratios and goals."""
    facts, unit = stored["facts"], stored["unit"]
    where = (
        f"{facts['date']}, commit {facts['commit']}; {facts.get('gpu') or facts['processor']},"
        f" {facts['cores']} cores, {facts['threads']} threads, load before the run"
        f" {facts['load']:.2f}; Python {facts['python']}, torch {facts['torch']}."
    )
    lines = [f"### {stored['title']}", "", f"{stored['settings']}.", "", where, ""]
    lines += [f"| | {unit}, median (min–max) |", "|---|---:|"]
    lines += [f"| {name} | {spread(values)} |" for name, values in stored["runs"].items()]
    lines += ["", "| | wanted | median (min–max) | |", "|---|---:|---:|---|"]
    lines += [_goal(Goal(**goal)) for goal in stored["goals"]]
    lines += [""] + [f"Skipped: {reason}.\n" for reason in stored["skipped"]]
    return "\n".join(lines)


def _goal(goal: Goal) -> str:
    median = statistics.median(goal.measured)
    if goal.wanted is None:
        wanted = verdict = ""
    else:
        wanted = f"{'≤' if goal.at_most else '≥'} {goal.wanted:.3g}"
        reached = median <= goal.wanted if goal.at_most else median >= goal.wanted
        verdict = "reached" if reached else "**missed**"
    return f"| {goal.statement} | {wanted} | {spread(goal.measured)} | {verdict} |"


if __name__ == "__main__":
    main()
