"""The commands that measure: evaluate, compatibility, calibrate."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voxanchor.cli.arguments import (
    Folder,
    Folders,
    Json,
    Layout,
    Model,
    Models,
    OutFolder,
    Share,
    SomeFolder,
    Suite,
    loading,
    print_json,
    report,
    taking,
)
from voxanchor.evaluation.settings import ComparisonSettings, Examination, TrialSettings
from voxanchor.runtime import console

if TYPE_CHECKING:
    from voxanchor.evaluation.compatibility import Findings


@taking(ComparisonSettings)
def evaluate(
    model: Models,
    speech: Folder,
    out: OutFolder,
    settings: dict[str, Any],
    layout: Layout = "auto",
    channel: str = "mix",
    max_unusable: Share = 0.2,
    cache: SomeFolder = None,
    json: Json = False,
) -> int:
    """Measure models in noise, rooms and channels, side by side.

    All models hear the same audio; tables and a report are written.

    Example: voxanchor evaluate --model ge2e --model runs/robust --speech test-speech --noise test-noise --out runs/eval

    Example: voxanchor evaluate --model ge2e --speech test-speech --suite reverb --rooms my-responses --out runs/rooms

    Args:
        model: a model to measure; `voxanchor models` lists what it may be.
        speech: folder of recordings, one sub-folder per speaker; or a list that names both (see --layout).
        out: output folder; gets results.csv, geometry.csv, summary.json and report.html, and decisions.csv where a
            model has a calibration.
        settings: what is measured, and how.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        channel: which channel of the recordings is heard: mix (the mean of all), loudest, left, right, or its number.
        max_unusable: largest share of unusable recordings with which the rest is still evaluated.
        cache: folder of embeddings that several evaluations share; by default each keeps its own.
        json: print the summary as JSON.
    """
    loading(*model, *([settings["enrol_model"]] if settings["enrol_model"] else []))
    from voxanchor.audio.downmix import channel_of
    from voxanchor.workflows.evaluate import Comparison, evaluate_folder, system_names

    evaluate_folder(
        Comparison(models=system_names(model), **_with_length(settings)),
        speech,
        out,
        layout=layout,
        channel=channel_of(channel),
        max_unusable_share=max_unusable,
        cache=cache,
    )
    return report(out, json)


def _with_length(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of trials with the length of the segments that is usual for them, where none is given."""
    if settings["segment_s"] is not None:
        return settings
    return {**settings, "segment_s": 0.0 if settings["trials"] else TrialSettings.segment_s}


@taking(Examination)
def compatibility(
    old: Model,
    new: Model,
    speech: Folder,
    out: OutFolder,
    settings: dict[str, Any],
    layout: Layout = "auto",
    max_unusable: Share = 0.2,
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
        settings: what is measured, and how.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        max_unusable: largest share of unusable recordings with which the rest is still used.
        cache: folder of embeddings that several commands share; by default each keeps its own.
        json: print the content of compatibility.json.
    """
    loading(old, new)
    from voxanchor.evaluation.compatibility_text import plain
    from voxanchor.workflows.compatibility import compatibility_folder

    examination = Examination(**_with_length(settings))
    findings = compatibility_folder(
        old, new, speech, out, examination, layout=layout, max_unusable_share=max_unusable, cache=cache
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
            table.add_column(
                name, justify="right" if place and not entry.words else "left", no_wrap=not (place or entry.words)
            )
        for row in entry.rows:
            table.add_row(*row)
        screen.print(table)
    screen.print(findings.verdict.lead, style="bold", markup=False, highlight=False)
    for reason in findings.verdict.reasons:
        screen.print(Padding(Text(reason), (0, 0, 0, 2)))
    if (folder / "compatibility.html").exists():  # not without Jinja2
        screen.print(f"report: {folder / 'compatibility.html'}", soft_wrap=True, markup=False, highlight=False)


# The command that gives a model its thresholds.


def calibrate(
    model: Model,
    speech: Folder,
    out: OutFolder,
    noise: Folders = (),
    rooms: Folders = (),
    cohort: Folder = "",
    normalise: bool = False,
    suite: Suite = "noise",
    seed: int = 0,
    layout: Layout = "auto",
    channel: str = "mix",
    max_unusable: Share = 0.2,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    json: Json = False,
) -> int:
    """Give a model its thresholds: scores become decisions.

    Fits what turns scores into log-likelihood ratios that know about short and noisy recordings. The model directory in
    --out gets calibration.json, with thresholds, and calibration.md, with what was measured on speakers that the fit
    did not hear. verify, serve and export use it from there.

    Example: voxanchor calibrate --model runs/robust --speech my-speech --noise my-noise --out runs/calibrated

    Args:
        model: the model to calibrate; `voxanchor models` lists what it may be.
        speech: folder of recordings, one sub-folder per speaker, or a list that names both (see --layout), of speakers
            that the model was not trained on.
        out: the model directory to make; that of --model itself gets the calibration added.
        noise: folder with noise/, music/ and speech/ (MUSAN layout). Without it the built-in kinds are used, and babble
            from the speech.
        rooms: folder of room impulse responses, for suites with measured rooms.
        cohort: folder of recordings of yet other speakers, those of the training for example. How much a recording is
            like these strangers is then taken into account; their embeddings are stored with the model.
        normalise: normalise scores by the cohort (AS-norm) instead.
        suite: the conditions, a named suite (noise, unseen-noise, unseen-recordings, reverb, telephone, clipping,
            combined, level, compatibility) or a YAML file.
        seed: of the noise.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        channel: which channel of the recordings is heard: mix (the mean of all), loudest, left, right, or its number.
        max_unusable: largest share of unusable recordings with which the rest still serves.
        precision: of the model's matrix products.
        json: print the calibration as JSON.
    """
    from math import log

    loading(model)
    from voxanchor.audio.downmix import channel_of
    from voxanchor.config import to_plain
    from voxanchor.evaluation.calibration_text import summary
    from voxanchor.scoring.backend import PRIOR
    from voxanchor.workflows.calibrate import Material
    from voxanchor.workflows.calibrate import calibrate as job

    record = job(
        model,
        Material(speech, noise, rooms, cohort, suite, seed),
        out,
        normalise=normalise,
        layout=layout,
        channel=channel_of(channel),
        max_unusable_share=max_unusable,
        precision=precision,
    )
    if json:
        print_json(to_plain(record))
        return 0
    print(f"calibrated model: {out}")
    print(summary(record))
    print(
        f"these replace thresholds on cosines; verify, verify-as and serve take {log((1 - PRIOR) / PRIOR):.2f}, that "
        f"for a prior of {100 * PRIOR:g} %, unless --false-acceptance names one of them"
    )
    return 0
