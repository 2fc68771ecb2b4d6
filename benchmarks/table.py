"""The table of a file of results, as Markdown."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from measure import Row, Side

BEGIN, END = "<!-- benchmarks: begin, written by benchmarks/run.py -->", "<!-- benchmarks: end -->"


def row_of(values: Mapping[str, Any]) -> Row:
    """Return a row that was read from JSON."""
    sides = {
        name: None if values[name] is None else Side(**(values[name] | {"values": tuple(values[name]["values"])}))
        for name in ("ours", "peer")
    }
    return Row(**(dict(values) | sides))


def markdown(results: Mapping[str, Any]) -> str:
    """Return the whole generated part: what it was measured on and with, then the rows."""
    machine = results["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in machine["versions"].items())
    lines = [
        f"Measured {results['date']} on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB{gpu}; "
        f"{machine['threads']} threads unless a row says otherwise, {machine['system']}, Python {machine['python']}.",
        f"Versions: {versions}.",
        f"Audio: {results['audio']}.",
        "",
        "| what | unit | voxanchor | against | ratio | aim |",
        "|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for item in results["items"].values():
        lines += [_line(row_of(values), notes) for values in item["rows"]]
    lines += ["", *(f"{number}. {note}." for number, note in enumerate(notes, start=1)), ""]
    runs = (
        f"{name} {item['took_s']:.0f} s ({item['repeats']} repeats, commit {item['commit']}, load {item['load']:g})"
        for name, item in results["items"].items()
    )
    lines.append(f"Each part, what it took, and the machine's load before it: {'; '.join(runs)}.")
    return "\n".join(lines) + "\n"


def write(page: Path, text: str) -> None:
    """Put the generated part between the marks of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: the marks {BEGIN} and {END} are missing")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def _line(row: Row, notes: list[str]) -> str:
    what = row.what
    if row.note:
        if row.note not in notes:
            notes.append(row.note)
        what += f" ({notes.index(row.note) + 1})"
    ratio, ratios = row.ratio(), row.ratios()
    compared = "" if ratio is None else f"**{_number(ratio)}** ({_number(min(ratios))} to {_number(max(ratios))})"
    against = "" if row.peer is None else f"{row.peer.name}: {_side(row.peer)}"
    name = "" if row.ours.name == "voxanchor" else f"{row.ours.name.removeprefix('voxanchor').lstrip(', ')}: "
    return f"| {what} | {row.unit} | {name}{_side(row.ours)} | {against} | {compared} | {row.goal} |"


def _side(side: Side) -> str:
    if not side.values:
        return side.reason.replace("|", "/")
    if len(side.values) == 1:
        return _number(side.values[0])
    return f"{_number(median(side.values))} ({_number(min(side.values))} to {_number(max(side.values))})"


def _number(value: float) -> str:
    """Return three digits, in plain notation where that stays short."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return digits if "e" not in digits else f"{value:.0f}"
    return f"{value:.1e}"
