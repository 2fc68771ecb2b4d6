"""The commands, thin: each names its arguments, calls one workflow, and prints what a person or a program reads.

What a command needs is imported inside it, so that ``--help`` answers at once.
"""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from voxanchor.cli.shared import Json, Settings, flat, print_json, report
from voxanchor.errors import RecipeError


def quickstart(
    out: Path = Path("runs/quickstart"),
    settings: Settings = (),
    workers: int | None = None,
    json: Json = False,
) -> int:
    """See the whole path on synthetic voices: three stages, joint training beside them, table and report.

    Needs the extras ``train``, ``synthetic`` and, for the figures, ``report``. About five minutes on two cores.

    Example: voxanchor quickstart --out runs/quickstart

    Args:
        out: output folder; the same command resumes there.
        settings: changes to the recipe, for example stages.base.train.steps=300.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        json: print the summary as JSON.
    """
    from voxanchor.workflows.quickstart import quickstart as job

    return report(job(out, settings=flat(settings), workers=workers), json)


def train(
    recipe: Positional[Path],
    out: Path | None = None,
    settings: Settings = (),
    workers: int | None = None,
    plan: bool = False,
    json: Json = False,
) -> int:
    """Run the stages of a recipe, and its evaluation when it has one.

    Example: voxanchor train recipes/real-small.yaml --out runs/real-small --set seed=1

    Example: voxanchor train recipes/voxceleb1.yaml --plan

    Args:
        recipe: a YAML file; docs/recipes.md lists its keys.
        out: output folder; the same command resumes there. Only --plan needs none.
        settings: changes to the recipe, dotted keys.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        plan: run nothing and write nothing: look at the data, say what is missing and where to get it, and estimate
            time and memory on this machine. Exit status 3 when something is missing.
        json: print the summary, or the plan, as JSON.
    """
    from voxanchor.training.recipe import read_recipe

    if plan:
        from voxanchor.cli.plan import answer
        from voxanchor.workflows.plan import make_plan

        return answer(make_plan(read_recipe(recipe, flat(settings))), json)
    if out is None:
        raise RecipeError("train: give the output folder with --out, or --plan to look before")
    from voxanchor.workflows.train import train as job

    return report(job(read_recipe(recipe, flat(settings)), out, workers), json)


def compare(
    recipe: Positional[Path],
    out: Path | None = None,
    systems: UseAppendAction[tuple[str, ...]] = (),
    seeds: int | None = None,
    taken: Annotated[UseAppendAction[tuple[str, ...]], arg(name="from", metavar="STAGE=MODEL")] = (),
    settings: Settings = (),
    workers: int | None = None,
    plan: bool = False,
    json: Json = False,
) -> int:
    """Train the systems of a recipe with several seeds under equal conditions, and report which is better.

    Example: voxanchor compare recipes/compare-ge2e.yaml --out runs/compare-ge2e

    Example: voxanchor compare recipes/compare-small.yaml --out runs/compare --from base=runs/small/base --seeds 5

    Args:
        recipe: a YAML file with 'evaluation' and 'contest'; docs/recipes.md lists its keys.
        out: output folder; the same command resumes there, and more seeds or systems may be added. Only --plan needs
            none.
        systems: those to compare, may be given several times; base and ours are always among them. By default all.
        seeds: training seeds; by default those of the recipe.
        taken: a model that exists in the place of a training stage, for example base=ge2e; what trained from scratch
            beside it then starts from it, with the budget that is left.
        settings: changes to the recipe, dotted keys.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        plan: run nothing and write nothing: look at the data, say what is missing and where to get it, and estimate
            time and memory on this machine. Exit status 3 when something is missing.
        json: print the summary, or the plan, as JSON.
    """
    from voxanchor.training.recipe import read_recipe
    from voxanchor.workflows.compare import compare as job
    from voxanchor.workflows.compare import plan_comparison

    chosen = read_recipe(recipe, flat(settings))
    if plan:
        from voxanchor.cli.plan import answer

        return answer(plan_comparison(chosen, systems=systems, seeds=seeds, taken=taken), json)
    if out is None:
        raise RecipeError("compare: give the output folder with --out, or --plan to look before")
    return report(job(chosen, out, systems=systems, seeds=seeds, taken=taken, workers=workers), json)


def robustify(
    model: str,
    speech: UseAppendAction[tuple[str, ...]],
    out: Path,
    noise: UseAppendAction[tuple[str, ...]] = (),
    rooms: UseAppendAction[tuple[str, ...]] = (),
    channels: UseAppendAction[tuple[str, ...]] = (),
    channel: str = "mix",
    unlabelled: bool = False,
    strength: float | None = None,
    force: bool = False,
    settings: Settings = (),
    workers: int | None = None,
    json: Json = False,
) -> int:
    """Make a model you have robust to noise: anchors from it, then a copy of it fine-tuned towards them.

    Example: voxanchor robustify --model ge2e --speech my-speech --noise my-noise --out runs/robust

    Example: voxanchor robustify --model ge2e --speech my-speech --rooms my-responses --out runs/robust

    Example: voxanchor robustify --model ge2e --speech my-speech --channels gsm --channels mulaw --out runs/robust

    Args:
        model: a model reference (see `voxanchor models`).
        speech: folder of recordings, one sub-folder per speaker; may be given several times.
        out: the model directory to make; the same command resumes there.
        noise: folder with noise/, music/ and speech/ (MUSAN layout); may be given several times. DIR::even and
            DIR::odd are its halves by the number in a file's name. Without it the built-in kinds of noise are used,
            and babble from the speech.
        rooms: folder of room impulse responses; may be given several times. With it 40 % of the inputs are heard in
            rooms, half of these synthetic; --set stages.anchored.train.rooms.share=0.2 says otherwise, and needs no
            folder.
        channels: what recordings come through where the model is used: telephone, mulaw, gsm, opus_12k, clipped_6db;
            may be given several times. 40 % of the inputs then go through one of them.
        channel: which channel of the speech is heard: mix (the mean of all), loudest, left, right, or its number.
        unlabelled: the recordings need not say who speaks: tell recordings apart instead of speakers, but for those
            that the base model takes for the same voice.
        strength: how far the model moves from its base: 1 is as far as training took it, 0.5 half the way. Less leaves
            scores and thresholds closer to what they were and gains less in noise; docs/compatibility.md has the
            curve. By default the recipe's, 0.9.
        force: write the model even if it came out worse than its base on speakers kept aside. Without it such a model
            is not written, and the exit status is 9.
        settings: changes to the recipe, for example stages.anchored.train.steps=800.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        json: print before and after as JSON.
    """
    from voxanchor.workflows.robustify import change, told
    from voxanchor.workflows.robustify import robustify as job

    made = job(
        model,
        speech,
        noise,
        out,
        rooms=rooms,
        channels=channels,
        channel=channel,
        unlabelled=unlabelled,
        strength=strength,
        settings=flat(settings),
        workers=workers,
        force=force,
    )
    if json:
        figures = {
            "before": dict(made.before),
            "after": dict(made.after),
            "guard": made.guard,
            "enrolments": made.verdict,
        }
        print_json({"model": str(made.folder), **figures})
        return 0
    print(f"robust model: {made.folder}")
    for name, value in told(made.after).items():
        print(f"  {change(name, made.before[name], value)} on speech kept aside")
    if made.guard is not None and made.guard["faults"]:
        print(f"  written because of --force, although {' and '.join(made.guard['faults'])}")
    if made.verdict:
        print(f"  old enrolments: {made.verdict} See compatibility.html there.")
    print(
        f"measure it on speakers and noise it never heard: voxanchor evaluate --model {model} --model {made.folder} ..."
    )
    print(f"give it thresholds, by other such speakers: voxanchor calibrate --model {made.folder} --speech DIR ...")
    return 0


def evaluate(
    model: UseAppendAction[tuple[str, ...]],
    speech: str,
    out: Path,
    trials: str = "",
    noise: UseAppendAction[tuple[str, ...]] = (),
    rooms: UseAppendAction[tuple[str, ...]] = (),
    heard_noise: UseAppendAction[tuple[str, ...]] = (),
    suite: str = "noise",
    protocol: Literal["clean-enrol", "both-noisy"] = "clean-enrol",
    segment_s: float | None = None,
    max_segments: int = 4,
    noise_seeds: int = 1,
    eer: Literal["linear", "convex_hull"] = "linear",
    enrol_model: str = "",
    cohort: str = "",
    layout: Literal["auto", "speakers", "voxceleb", "librispeech"] = "auto",
    channel: str = "mix",
    max_unusable: float = 0.2,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    cache: Path | None = None,
    json: Json = False,
) -> int:
    """Compare models over noise, rooms and channels, all on the same audio, and write tables and a report.

    Example: voxanchor evaluate --model ge2e --model runs/robust --speech test-speech --noise test-noise --out runs/eval

    Example: voxanchor evaluate --model ge2e --speech test-speech --suite reverb --rooms my-responses --out runs/rooms

    Args:
        model: a model reference (see `voxanchor models`); may be given several times.
        speech: folder of recordings, one sub-folder per speaker.
        out: output folder; gets results.csv, geometry.csv, summary.json and report.html, and decisions.csv where a
            model has a calibration.
        trials: a trial list, "1 a.wav b.wav" a line; without it all pairs are compared.
        noise: folder with noise/, music/ and speech/ (MUSAN layout); may be given several times. DIR::even and
            DIR::odd are its halves by the number in a file's name, DIR::odd being the field's test part of MUSAN.
            Without it the built-in kinds are used. Without speech/ the babble is made of the recordings themselves,
            played faster or slower so that nobody is heard in the background of their own trials.
        rooms: folder of room impulse responses, for suites with measured rooms; may be given several times.
        heard_noise: noise folder that a model was trained with; may be given several times. The suite unseen-noise
            leaves its classes of noise out.
        suite: a named suite of conditions (noise, unseen-noise, reverb, telephone, clipping, combined,
            compatibility), or a YAML file.
        protocol: clean-enrol (noise in the test only) or both-noisy.
        segment_s: cut recordings into segments of so many seconds; 0 for whole recordings. Default 3, with --trials 0.
        max_segments: at most so many segments from one recording.
        noise_seeds: how many draws of the noise to average over; five or more for a figure to publish.
        eer: how the points of the ROC are joined.
        enrol_model: enrol with this (older) model instead of the one under test.
        cohort: folder of recordings of other speakers: scores are normalised by how either side scores with those of
            them that are most like it (AS-norm).
        layout: how the folder names its speakers.
        channel: which channel of the recordings is heard: mix (the mean of all), loudest, left, right, or its number.
        max_unusable: largest share of unusable recordings with which the rest is still evaluated.
        precision: of the models' matrix products; auto is bfloat16 where the device has it, which is quicker and
            moves the error rate of a single condition by some tenths of a percent.
        cache: folder of embeddings that several evaluations share; by default each keeps its own.
        json: print the summary as JSON.
    """
    from voxanchor.audio.downmix import channel_of
    from voxanchor.workflows.evaluate import Comparison, evaluate_folder, system_names

    if segment_s is None:
        segment_s = 0.0 if trials else 3.0
    comparison = Comparison(
        models=system_names(model),
        noise=noise,
        rooms=rooms,
        heard_noise=heard_noise,
        trials=trials,
        suite=suite,
        protocol=protocol,
        segment_s=segment_s,
        max_segments=max_segments,
        noise_seeds=noise_seeds,
        eer_method=eer,
        enrol_model=enrol_model,
        cohort=cohort,
        precision=precision,
    )
    evaluate_folder(
        comparison,
        speech,
        out,
        layout=layout,
        channel=channel_of(channel),
        max_unusable_share=max_unusable,
        cache=cache,
    )
    return report(out, json)
