"""Draws EER against SNR, a panel per noise kind: ``python docs/figures/make.py OUT.svg RESULTS.csv [RESULTS.csv ...]``.

The first system of a table is drawn in grey, the others in colour. Of several tables (folds) the mean is drawn; their
systems are taken to be the same in the same order, and called as in the first.
"""

import sys
from dataclasses import replace

import matplotlib

from voxanchor.evaluation.results import ResultRow, read_csv, summarise

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "voxanchor"  # the same table gives the same file
COLOURS = ("#777777", "#0b6bb0", "#d1662b")


def read(tables: list[str]) -> list[ResultRow]:
    """Return the rows of all tables, a fold taken as a draw of the noise."""
    rows: list[ResultRow] = []
    names: list[str] = []
    for fold, table in enumerate(tables):
        found = read_csv(table, ResultRow)
        own = list(dict.fromkeys(row.system for row in found))
        names = names or own
        rows += [
            replace(row, system=names[own.index(row.system)], noise_seed=1000 * fold + row.noise_seed) for row in found
        ]
    return rows


def main(out: str, tables: list[str]) -> None:
    """Read the tables and write the picture."""
    from matplotlib import pyplot

    summaries = summarise(read(tables))
    kinds = list(next(iter(summaries.values())).curves)
    figure, panels = pyplot.subplots(1, len(kinds), figsize=(9, 3), sharey=True, layout="constrained")
    for panel, kind in zip(panels, kinds, strict=True):
        for (name, summary), colour in zip(summaries.items(), COLOURS, strict=False):
            curve = summary.curves[kind]
            panel.plot(curve.snr_db, curve.eer, "o-", color=colour, label=name, markersize=4)
            if "clean" in summary.figures:
                panel.axhline(summary.figures["clean"].value, color=colour, linewidth=0.8, linestyle=":")
        panel.set_title(kind, loc="left", fontsize=11)
        panel.set_xlabel("SNR (dB)")
        panel.set_xticks(list(curve.snr_db))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)  # after all are drawn: the panels share the axis
    panels[0].set_ylabel("EER (%)")
    panels[0].legend(frameon=False)
    figure.savefig(out, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
