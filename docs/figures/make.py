"""Draws EER against SNR, a panel per noise kind: ``python docs/figures/make.py RESULTS.csv OUT.svg``.

The first system of the table is drawn in grey, the others in colour.
"""

import sys

import matplotlib

from voxanchor.evaluation.results import ResultRow, read_csv
from voxanchor.evaluation.summary import summarise

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "voxanchor"  # the same table gives the same file
COLOURS = ("#777777", "#0b6bb0", "#d1662b")


def main(table: str, out: str) -> None:
    """Read the table and write the picture."""
    from matplotlib import pyplot

    summaries = summarise(read_csv(table, ResultRow))
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
    main(*sys.argv[1:])
