"""The command that says whether old voiceprints may stay when a new model comes."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from voxanchor.cli.shared import (
    Folder,
    Folders,
    Json,
    Layout,
    Model,
    OutFolder,
    Share,
    SomeFolder,
    SomeSeconds,
    Suite,
    Trials,
    loading,
    print_json,
)
from voxanchor.progress import console

if TYPE_CHECKING:
    from voxanchor.evaluation.compatibility import Findings


def compatibility(
    old: Model,
    new: Model,
    speech: Folder,
    out: OutFolder,
    noise: Folders = (),
    rooms: Folders = (),
    heard_noise: Folders = (),
    trials: Trials = "",
    suite: Suite = "noise",
    noise_seeds: int = 1,
    segment_s: SomeSeconds = None,
    max_segments: int = 4,
    layout: Layout = "auto",
    max_unusable: Share = 0.2,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    cache: SomeFolder = None,
    json: Json = False,
) -> int:
    """Say whether old voiceprints may stay under a new model.

    Measures enrolments of the old model against tests of the new one, and which threshold that needs.

    Example: voxanchor compatibility --old ge2e --new runs/robust --speech test-speech --noise test-noise --out runs/old

    Args:
        old: the model that made the voiceprints: a model directory, or ge2e.
        new: the model that would hear the tests.
        speech: folder of recordings, one sub-folder per speaker, none of whom the new model was trained on. Where
            nobody says who speaks (--layout flat), only how far embeddings and scores move is measured.
        out: output folder; gets compatibility.json, .csv, .md and .html.
        noise: folder with noise/, music/ and speech/ (MUSAN layout). As for evaluate.
        rooms: folder of room impulse responses, for suites with measured rooms.
        heard_noise: noise folder that the new model was trained with. The suite unseen-noise leaves its classes of
            noise out.
        trials: a trial list, "1 a.wav b.wav" a line, the enrolment first; without it all pairs are compared.
        suite: a named suite of conditions (noise, compatibility, unseen-noise, unseen-recordings, reverb,
            telephone, clipping, combined, level), or a YAML file. compatibility is the quick one: noise, music and
            babble at 0 and 10 dB.
        noise_seeds: how many draws of the noise to average over; five or more for a figure to publish.
        segment_s: cut recordings into segments of so many seconds; 0 for whole recordings. Default 3, with --trials 0.
        max_segments: at most so many segments from one recording.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        max_unusable: largest share of unusable recordings with which the rest is still used.
        precision: of the models' matrix products.
        cache: folder of embeddings that several commands share; by default each keeps its own.
        json: print the content of compatibility.json.
    """
    loading(old, new)
    from voxanchor.evaluation.compatibility_text import plain
    from voxanchor.workflows.compatibility import Examination, compatibility_folder

    if segment_s is None:
        segment_s = 0.0 if trials else 3.0
    examination = Examination(
        suite=suite,
        trials=trials,
        segment_s=segment_s,
        max_segments=max_segments,
        noise_seeds=noise_seeds,
        rooms=rooms,
        heard_noise=heard_noise,
        precision=precision,
    )
    findings = compatibility_folder(
        old, new, speech, noise, out, examination, layout=layout, max_unusable_share=max_unusable, cache=cache
    )
    if json:
        print_json(plain(findings))
    else:
        show(findings, out)
    return 0


def show(findings: "Findings", folder: Path) -> None:
    """Print tables and verdict for a person."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from voxanchor.evaluation.compatibility_text import tables

    screen = console()
    for entry in tables(findings, intervals=False):
        table = Table(title=entry.title, title_justify="left")
        for place, name in enumerate(entry.head):
            table.add_column(name, justify="right" if place else "left", no_wrap=not place)
        for row in entry.rows:
            table.add_row(*row)
        screen.print(table)
    screen.print(findings.verdict.lead, style="bold", markup=False, highlight=False)
    for reason in findings.verdict.reasons:
        screen.print(Padding(Text(reason), (0, 0, 0, 2)))
    screen.print(f"report: {folder / 'compatibility.html'}", soft_wrap=True, markup=False, highlight=False)
