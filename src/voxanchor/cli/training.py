"""The commands that train: quickstart, train, compare, recipes, robustify."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from voxanchor.cli.arguments import (
    Folders,
    Json,
    Model,
    OutFolder,
    Recipe,
    Settings,
    SomeFile,
    SomeFolder,
    flat,
    loading,
    print_json,
    report,
)
from voxanchor.config import to_plain
from voxanchor.errors import RecipeError
from voxanchor.runtime import log_line

if TYPE_CHECKING:
    from voxanchor.workflows.plan import Looked, Plan, StagePlan

MISSING_STATUS = 3
"""Of a plan whose data are not all there: recordings unusable, as for the run itself."""


def show(plan: "Plan") -> None:
    """Print a plan for a person."""
    print(f"{plan.name}: what its recipe needs")
    for place in plan.looked:
        print(f"  {'MISSING' if place.problem else 'ok     '} {place.use}: {place.path}: {_said(place)}")
        if place.remedy:
            print(f"          {place.remedy}")
    print(f"stages, measured on {plan.device}")
    for stage in plan.stages:
        print(f"  {stage.name}: {_work(stage)}")
    for note in plan.notes:
        print(f"note: {note}")
    memory = f"{plan.memory_bytes / 1e9:.1f} GB of memory"
    memory += f", of {plan.machine_bytes / 1e9:.0f} GB here" if plan.machine_bytes else ""
    print(f"together: about {clock(plan.seconds)}, at most about {memory}")
    print("times are those of the network alone: noise, rooms and validation add to them")
    if plan.missing:
        print(f"{len(plan.missing)} of {len(plan.looked)} places cannot serve; times leave out what depends on them")


def answer(plan: "Plan", as_json: bool) -> int:
    """Print a plan, and return the exit status."""
    if as_json:
        print_json(facts(plan))
    else:
        show(plan)
    return MISSING_STATUS if plan.missing else 0


def facts(plan: "Plan") -> dict[str, Any]:
    """Return a plan as plain values for JSON."""
    totals = {"seconds": plan.seconds, "memory_bytes": plan.memory_bytes, "missing": len(plan.missing)}
    return {**to_plain(plan), **totals}


def clock(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``12 min``, ``3.5 h``, ``16 days``."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _said(place: "Looked") -> str:
    if place.problem:
        return place.problem
    if place.use == "trials":
        return f"{place.files:,} trials"
    parts = [f"{place.files:,} recordings"]
    if place.speakers:
        parts.append(f"{place.speakers:,} speakers")
    about = "" if place.packed or place.opened == place.files else "about "
    parts.append(f"{about}{place.hours:.1f} h" if place.hours >= 1 else f"{about}{60 * place.hours:.1f} min")
    if place.layout:
        parts.append(place.layout)
    if place.unusable_share:
        parts.append(f"{about}{100 * place.unusable_share:.0f} % unusable")
    if about:
        parts.append(f"from {place.opened} of them")
    return ", ".join(parts)


def _work(stage: "StagePlan") -> str:
    if stage.hours is None:
        return f"{stage.kind}; how long is not known while the data are missing"
    parts = []
    if stage.steps:
        epochs = "" if stage.epochs is None else f" ({stage.epochs:.1f} epochs)"
        parts.append(f"{stage.steps:,} steps of {stage.batch_size} x {stage.crop_s:g} s{epochs}")
    parts.append(f"{stage.hours:,.1f} h of audio")
    if stage.seconds is not None:
        parts.append(f"about {clock(stage.seconds)}")
    if stage.memory_bytes:
        parts.append(f"{stage.memory_bytes / 1e9:.1f} GB")
    if stage.times > 1:
        parts.append(f"{stage.times} times")
    return f"{stage.kind}: " + ", ".join(parts)


# The commands, thin: each names its arguments, calls one workflow, and prints what a person or a program reads.
#
# What a command needs is imported inside it, so that ``--help`` answers at once.


def quickstart(
    out: OutFolder = Path("runs/quickstart"),
    settings: Settings = (),
    workers: int | None = None,
    json: Json = False,
) -> int:
    """See the whole path on synthetic voices, in five minutes.

    Trains a base model, makes it robust, trains a joint opponent beside it, measures all three in noise, and writes a
    table and a report. Needs the extras ``train``, ``synthetic`` and, for the figures, ``report``.

    Example: voxanchor quickstart --out runs/quickstart

    Args:
        out: output folder; the same command resumes there.
        settings: values to change in the recipe, such as stages.base.train.steps=300.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        json: print the summary as JSON.
    """
    log_line(f"synthetic voices, three trainings and a report, in {out} ...")
    from voxanchor.workflows.train import quickstart as job

    return report(job(out, settings=flat(settings), workers=workers), json)


def train(
    recipe: Positional[Recipe],
    out: SomeFolder = None,
    settings: Settings = (),
    workers: int | None = None,
    plan: bool = False,
    json: Json = False,
) -> int:
    """Train as a recipe says, stage by stage, and measure.

    Example: voxanchor train voxceleb1 --plan

    Example: voxanchor train my-recipe.yaml --out runs/mine --set seed=1

    Args:
        recipe: one that comes with voxanchor (`voxanchor recipes` lists them), or a YAML file; docs/recipes.md lists
            its keys.
        out: output folder; the same command resumes there. Only --plan needs none.
        settings: values to change in the recipe, its keys joined by dots, such as stages.base.train.steps=300 or
            root=/mnt/corpora.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        plan: run nothing and write nothing: look at the data, say what is missing and where to get it, and estimate
            time and memory on this machine. Exit status 3 when something is missing.
        json: print the summary, or the plan, as JSON.
    """
    loading(recipe)
    from voxanchor.training.recipe import read_recipe

    chosen = read_recipe(recipe, flat(settings))
    if plan:
        from voxanchor.workflows.plan import make_plan

        return answer(make_plan(chosen), json)
    if out is None:
        raise RecipeError("train: give the output folder with --out, or --plan to look before")
    from voxanchor.workflows.train import train as job

    return report(job(chosen, out, workers), json)


def compare(
    recipe: Positional[Recipe],
    out: SomeFolder = None,
    systems: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="STAGE")] = (),
    seeds: int | None = None,
    taken: Annotated[UseAppendAction[tuple[str, ...]], arg(name="from", metavar="STAGE=MODEL")] = (),
    settings: Settings = (),
    workers: int | None = None,
    plan: bool = False,
    json: Json = False,
) -> int:
    """Train rival methods under equal conditions and compare them.

    Every system of the recipe is trained with several seeds, and all are measured on the same audio.

    Example: voxanchor compare librispeech-musan --plan

    Example: voxanchor compare compare-ge2e --out runs/compare --seeds 5

    Args:
        recipe: one that comes with voxanchor (`voxanchor recipes` lists them), or a YAML file with 'evaluation' and
            'comparison'; docs/recipes.md lists its keys.
        out: output folder; the same command resumes there, and more seeds or systems may be added. Only --plan needs
            none.
        systems: those to compare; base and ours are always among them. By default all.
        seeds: training seeds; by default those of the recipe.
        taken: a model that exists in the place of a training stage, for example base=ge2e; what trained from scratch
            beside it then starts from it, with the budget that is left.
        settings: values to change in the recipe, its keys joined by dots, such as stages.base.train.steps=300 or
            root=/mnt/corpora.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        plan: run nothing and write nothing: look at the data, say what is missing and where to get it, and estimate
            time and memory on this machine. Exit status 3 when something is missing.
        json: print the summary, or the plan, as JSON.
    """
    loading(recipe)
    from voxanchor.training.recipe import read_recipe
    from voxanchor.workflows.compare import compare as job
    from voxanchor.workflows.compare import plan_comparison

    chosen = read_recipe(recipe, flat(settings))
    if plan:
        return answer(plan_comparison(chosen, systems=systems, seeds=seeds, taken=taken), json)
    if out is None:
        raise RecipeError("compare: give the output folder with --out, or --plan to look before")
    return report(job(chosen, out, systems=systems, seeds=seeds, taken=taken, workers=workers), json)


def recipes(name: Positional[Recipe] = "", out: SomeFile = None, json: Json = False) -> int:
    """List the recipes that come with voxanchor, print or copy one.

    Example: voxanchor recipes

    Example: voxanchor recipes voxceleb1 --out my-recipe.yaml

    Args:
        name: the recipe to print; without it all are listed.
        out: file to copy it to, for changes of your own. One that exists is never replaced.
        json: print the list as JSON.
    """
    from voxanchor.files import write_text
    from voxanchor.training.recipe import about, packaged_recipe, packaged_recipes

    if not name and out is not None:
        raise RecipeError("recipes: say which recipe to copy, for example: voxanchor recipes robustify --out my.yaml")
    if name and json:
        raise RecipeError("recipes: --json is for the list; a recipe is YAML, which --out FILE copies")
    if not name:
        known = {entry: about(path) for entry, path in packaged_recipes().items()}
        if json:
            print_json(known)
        else:
            print("\n".join(f"{entry:28} {text}" for entry, text in known.items()))
        return 0
    text = packaged_recipe(name).read_text(encoding="utf-8")
    if out is None:
        print(text, end="")
        return 0
    write_text(out, text, new=True)
    print(f"{name} copied to {out}. Its folders start from that file's place, or from --set root=DIR")
    return 0


def robustify(
    model: Model,
    speech: Folders,
    out: OutFolder,
    noise: Folders = (),
    rooms: Folders = (),
    channels: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CHANNEL")] = (),
    channel: str = "mix",
    unlabelled: bool = False,
    strength: float | None = None,
    force: bool = False,
    settings: Settings = (),
    workers: int | None = None,
    json: Json = False,
) -> int:
    """Make a model you have robust to noise.

    Its embeddings of clean speech become the anchors; a copy of it is then fine-tuned, in noise, towards them.

    Example: voxanchor robustify --model ge2e --speech my-speech --noise my-noise --out runs/robust

    Example: voxanchor robustify --model ge2e --speech my-speech --rooms my-responses --out runs/robust

    Example: voxanchor robustify --model ge2e --speech my-speech --channels gsm --channels mulaw --out runs/robust

    Args:
        model: the model to start from; `voxanchor models` lists what it may be.
        speech: folder of recordings, one sub-folder per speaker; or a list that names both (see --layout).
        out: the model directory to make; the same command resumes there.
        noise: folder with noise/, music/ and speech/ (MUSAN layout). DIR::even and DIR::odd are its halves by the
            number in a file's name. Without it the built-in kinds of noise are used, and babble from the speech.
        rooms: folder of room impulse responses. With it 40 % of the inputs are heard in rooms, half of these synthetic;
            --set stages.anchored.train.rooms.share=0.2 says otherwise, and needs no folder.
        channels: what recordings come through where the model is used: telephone, mulaw, gsm, opus_12k, clipped_6db. 40
            % of the inputs then go through one of them.
        channel: which channel of the speech is heard: mix (the mean of all), loudest, left, right, or its number.
        unlabelled: the recordings need not say who speaks: tell recordings apart instead of speakers, but for those
            that the base model takes for the same voice.
        strength: how far the model moves from its base: 1 is as far as training took it, 0.5 half the way. Less leaves
            scores and thresholds closer to what they were and gains less in noise; docs/compatibility.md has the curve.
            By default the recipe's, 0.9.
        force: write the model even if it came out worse than its base on speakers kept aside. Without it such a model
            is not written, and the exit status is 9.
        settings: values to change in its recipe (`voxanchor recipes robustify` prints it), such as
            stages.anchored.train.steps=800.
        workers: threads that prepare batches; by default none on a processor, which is quicker, and 2 for an
            accelerator.
        json: print before and after as JSON.
    """
    loading(model)
    from voxanchor.evaluation.compatibility_verdict import COSINES
    from voxanchor.training.guard import near_chance
    from voxanchor.workflows.robustify import change, validation_figures
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
    for name, value in validation_figures(made.after).items():
        print(f"  {change(name, made.before[name], value)} on speech kept aside")
    if warning := near_chance(made.before):
        print(f"  warning: {warning}")
    if made.guard is not None and made.guard["faults"]:
        print(f"  written because of --force, although {' and '.join(made.guard['faults'])}")
    if made.verdict:
        print(f"  old enrolments: {made.verdict} See compatibility.html there.")
    print("next, with recordings of speakers that it never heard as test-speech, and other noise as test-noise:")
    unheard = ["--speech", "test-speech", "--noise", "test-noise"]
    place = str(made.folder).rstrip("/")
    print(
        "  "
        + shlex.join(["voxanchor", "evaluate", "--model", model, "--model", place, *unheard, "--out", f"{place}-eval"])
    )
    print("  " + shlex.join(["voxanchor", "calibrate", "--model", place, *unheard, "--out", f"{place}-calibrated"]))
    if made.verdict:
        print(COSINES)
    return 0
