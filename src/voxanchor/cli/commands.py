"""The commands, thin: each names its arguments, calls one workflow, and prints what a person or a program reads.

What a command needs is imported inside it, so that ``--help`` answers at once.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

Settings = Annotated[tuple[str, ...], arg(name="set", metavar="KEY=VALUE")]
Json = Annotated[bool, arg(help="print the result as JSON on standard output")]


def quickstart(
    out: Path = Path("runs/quickstart"),
    settings: Settings = (),
    workers: int = 1,
    json: Json = False,
) -> int:
    """See the whole path on synthetic voices: three stages, joint training beside them, table and report.

    Needs the extras ``train``, ``synthetic`` and, for the figures, ``report``. About five minutes on two cores.

    Example: voxanchor quickstart --out runs/quickstart

    Args:
        out: output folder; the same command resumes there.
        settings: changes to the recipe, for example stages.base.train.steps=300.
        workers: threads that prepare batches.
        json: print the summary as JSON.
    """
    from voxanchor.workflows.quickstart import quickstart as job

    return _report(job(out, settings=settings, workers=workers), json)


def train(
    recipe: Positional[Path],
    out: Path,
    settings: Settings = (),
    workers: int = 1,
    json: Json = False,
) -> int:
    """Run the stages of a recipe, and its evaluation when it has one.

    Example: voxanchor train recipes/real-small.yaml --out runs/real-small --set seed=1

    Args:
        recipe: a YAML file; docs/recipes.md lists its keys.
        out: output folder; the same command resumes there.
        settings: changes to the recipe, dotted keys.
        workers: threads that prepare batches.
        json: print the summary as JSON.
    """
    from voxanchor.training.recipe import read_recipe
    from voxanchor.workflows.train import train as job

    return _report(job(read_recipe(recipe, settings), out, workers), json)


def robustify(
    model: str,
    speech: UseAppendAction[tuple[str, ...]],
    out: Path,
    noise: UseAppendAction[tuple[str, ...]] = (),
    unlabelled: bool = False,
    settings: Settings = (),
    workers: int = 1,
    json: Json = False,
) -> int:
    """Make a model you have robust to noise: anchors from it, then a copy of it fine-tuned towards them.

    Example: voxanchor robustify --model ge2e --speech my-speech --noise my-noise --out runs/robust

    Args:
        model: a model directory, or ge2e.
        speech: folder of recordings, one sub-folder per speaker; may be given several times.
        out: the model directory to make; the same command resumes there.
        noise: folder with noise/, music/ and speech/ (MUSAN layout); may be given several times. Without it the
            built-in kinds of noise are used, and babble from the speech.
        unlabelled: the recordings need not say who speaks: train with the anchor term alone.
        settings: changes to the recipe, for example stages.anchored.train.steps=800.
        workers: threads that prepare batches.
        json: print before and after as JSON.
    """
    from voxanchor.workflows.robustify import robustify as job

    made = job(model, speech, noise, out, unlabelled=unlabelled, settings=settings, workers=workers)
    if json:
        _print_json({"model": str(made.folder), "before": dict(made.before), "after": dict(made.after)})
        return 0
    print(f"robust model: {made.folder}")
    for name, value in made.after.items():
        unit = " %" if name.endswith("_eer") else ""
        print(f"  {name.replace('_', ' ')} on speech kept aside: {made.before[name]:g} -> {value:g}{unit}")
    print(
        f"measure it on speakers and noise it never heard: voxanchor evaluate --model {model} --model {made.folder} ..."
    )
    return 0


def evaluate(
    model: UseAppendAction[tuple[str, ...]],
    speech: str,
    out: Path,
    trials: str = "",
    noise: UseAppendAction[tuple[str, ...]] = (),
    suite: str = "noise",
    protocol: Literal["clean-enrol", "both-noisy"] = "clean-enrol",
    segment_s: float | None = None,
    max_segments: int = 4,
    noise_seeds: int = 1,
    eer: Literal["linear", "convex_hull"] = "linear",
    enrol_model: str = "",
    layout: Literal["auto", "speakers", "voxceleb", "librispeech"] = "auto",
    max_unusable: float = 0.2,
    cache: Path | None = None,
    json: Json = False,
) -> int:
    """Compare models over noise conditions, all on the same audio, and write tables and a report.

    Example: voxanchor evaluate --model ge2e --model runs/robust --speech test-speech --noise test-noise --out runs/eval

    Args:
        model: a model directory, or ge2e; may be given several times.
        speech: folder of recordings, one sub-folder per speaker.
        out: output folder; gets results.csv, geometry.csv, summary.json and report.html.
        trials: a trial list, "1 a.wav b.wav" a line; without it all pairs are compared.
        noise: folder with noise/, music/ and speech/ (MUSAN layout); may be given several times. Without it the
            built-in kinds are used. Without speech/ the babble is made of the recordings themselves, played faster or
            slower so that nobody is heard in the background of their own trials.
        suite: a named suite of conditions, or a YAML file.
        protocol: clean-enrol (noise in the test only) or both-noisy.
        segment_s: cut recordings into segments of so many seconds; 0 for whole recordings. Default 3, with --trials 0.
        max_segments: at most so many segments from one recording.
        noise_seeds: how many draws of the noise to average over; five or more for a figure to publish.
        eer: how the points of the ROC are joined.
        enrol_model: enrol with this (older) model instead of the one under test.
        layout: how the folder names its speakers.
        max_unusable: largest share of unusable recordings with which the rest is still evaluated.
        cache: folder of embeddings that several evaluations share; by default each keeps its own.
        json: print the summary as JSON.
    """
    from voxanchor.workflows.evaluate import Comparison, evaluate_folder, system_names

    if segment_s is None:
        segment_s = 0.0 if trials else 3.0
    comparison = Comparison(
        models=system_names(model),
        noise=noise,
        trials=trials,
        suite=suite,
        protocol=protocol,
        segment_s=segment_s,
        max_segments=max_segments,
        noise_seeds=noise_seeds,
        eer_method=eer,
        enrol_model=enrol_model,
    )
    evaluate_folder(comparison, speech, out, layout=layout, max_unusable_share=max_unusable, cache=cache)
    return _report(out, json)


def embed(
    files: Positional[tuple[str, ...]],
    model: str,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Embed recordings as unit vectors.

    Example: voxanchor embed a.wav b.flac --model ge2e --out embeddings.safetensors

    Args:
        files: recordings of any rate and channel count.
        model: a model directory, or ge2e.
        out: a safetensors file to write: one tensor per recording, named by its path.
        json: print a list of {"id", "embedding"}.
    """
    import voxanchor
    from voxanchor.errors import RecipeError

    if not files or not (out or json):
        raise RecipeError("embed: name at least one recording, and say where to: --out FILE.safetensors or --json")
    verifier = voxanchor.load(model)
    embeddings = verifier.embed(files)
    if out is not None:
        from safetensors.numpy import save

        from voxanchor.files import write_bytes

        tensors = dict(zip(files, embeddings, strict=True))
        write_bytes(out, save(tensors, {"model": verifier.fingerprint, "format": "voxanchor-embeddings-1"}))
    if json:
        _print_json([{"id": name, "embedding": row.tolist()} for name, row in zip(files, embeddings, strict=True)])
    else:
        print(f"{len(files)} embeddings of {embeddings.shape[1]} dimensions written to {out}")
    return 0


def verify(first: Positional[str], second: Positional[str], model: str, json: Json = False) -> int:
    """Score whether two recordings are of one speaker: the cosine of their embeddings, or the reason to abstain.

    Exit status 8 when the verifier abstains. Where to put the threshold depends on model and conditions: see evaluate.

    Example: voxanchor verify enrolment.wav test.wav --model runs/robust

    Args:
        first: a recording.
        second: another.
        model: a model directory, or ge2e.
        json: print {"score", "speech_s", "reason"}.
    """
    import voxanchor

    result = voxanchor.load(model).verify(first, second)
    if json:
        _print_json({"score": result.score, "speech_s": list(result.speech_s), "reason": result.reason})
    elif result.score is None:
        print(f"abstained: {result.reason}")
    else:
        print(f"{result.score:.4f}")
    return 0 if result.score is not None else 8


def models(json: Json = False) -> int:
    """List what a model reference may be, and what is installed.

    Example: voxanchor models

    Args:
        json: print the list as JSON.
    """
    from voxanchor.models.registry import available

    found = available()
    if json:
        _print_json([vars(reference) for reference in found])
        return 0
    print("A model reference is a model directory (config.json and model.safetensors), or one of:")
    for reference in found:
        state = "installed" if reference.installed else f"not installed: {reference.install_hint}"
        print(f"  {reference.ref}: {reference.description} ({state})")
    return 0


def _report(folder: Path, as_json: bool) -> int:
    summary_path = folder / "summary.json"
    if not summary_path.exists():
        print(f"done: {folder}")
        return 0
    summary: dict[str, dict[str, Any]] = json.loads(summary_path.read_text(encoding="utf-8"))
    if as_json:
        _print_json(summary)
        return 0
    from rich.console import Console
    from rich.table import Table

    columns = [name for name in ("clean", "avg15", "avg16") if any(name in entry for entry in summary.values())]
    columns = columns or ["clean", "avg_noisy", "avg_all"]
    table = Table(title="EER in %", title_justify="left")
    table.add_column("system")
    for column in columns:
        table.add_column(column, justify="right")
    for name, entry in summary.items():
        table.add_row(name, *(f"{entry[column]:.2f}" if column in entry else "" for column in columns))
    console = Console()
    console.print(table)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return 0


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
