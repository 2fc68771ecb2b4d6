"""Make an existing model robust: anchors from it, then a copy of it fine-tuned on noise towards them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voxanchor import config, runtime
from voxanchor.audio.downmix import channel_of
from voxanchor.errors import CorpusError, ForgettingError, RecipeError
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_text import compatibility_markdown
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.files import replacing
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.mapping import EnrolmentMap
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import best_device, log_line, resolve
from voxanchor.training.recipe import Recipe, fill_recipe, packaged_recipe
from voxanchor.training.run import ANCHORS_FILE, DONE_FILE, TRAINING_FOLDER, Run
from voxanchor.workflows.card import FEW_SPEAKERS, Making, write_card
from voxanchor.workflows.compatibility import QUICK, compatibility, fit_enrolment_map, write_findings
from voxanchor.workflows.evaluate import CACHE_FOLDER
from voxanchor.workflows.train import run_recipe

RUN_FOLDER = "run"
STAGE = "anchored"

ROOM_SHARE = 0.4
"""Of the inputs, once there are recorded rooms to hear them in."""

CHANNEL_SHARE = 0.4
"""Of the inputs, once there are channels to send them over."""

FRAME_WEIGHT = 20
"""Of the pull on frames, where there is one."""

FRAMES = f"stages.{STAGE}.train.anchor.frame_weight={FRAME_WEIGHT}"
"""The setting that adds the pull on frames."""


@dataclass(frozen=True)
class Robustified:
    """What a robustify run made.

    Attributes:
        folder: the model directory; ``run/`` inside it keeps recipe, metrics and resume state.
        before: the base model on the validation speakers: error rates in percent, agreement as cosine.
        after: the new model on the same audio.
        guard: how training came out (`voxanchor.training.run.Guarded.to_dict`); None where there was no validation.
        verdict: whether old enrolments may be kept; empty where that was not measured.
    """

    folder: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    guard: Mapping[str, Any] | None
    verdict: str

    def __repr__(self) -> str:
        figures = [change(name, self.before[name], value) for name, value in validation_figures(self.after).items()]
        lines = [f"Robustified({str(self.folder)!r})", *figures, *([self.verdict] if self.verdict else [])]
        return "\n  ".join(lines)


def robustify(
    model: str,
    speech: Sequence[str],
    noise: Sequence[str],
    out: Path,
    *,
    rooms: Sequence[str] = (),
    channels: Sequence[str] = (),
    channel: str = "mix",
    unlabelled: bool = False,
    strength: float | None = None,
    settings: Sequence[str] = (),
    workers: int | None = None,
    force: bool = False,
) -> Robustified:
    """Run or resume stages 2 and 3 from `model`, and return where the robust model lies.

    Args:
        model: reference of the base model.
        speech: folders of recordings; sub-folders are speakers.
        noise: folders in MUSAN layout; without any, the built-in kinds and babble from the speech.
        out: the model directory to make.
        rooms: folders of room impulse responses; with any, a share of the inputs is heard in rooms.
        channels: names of channels, such as ``gsm``; with any, a share of the inputs goes through one of them.
        channel: which channel of the speech is heard.
        unlabelled: use no speaker labels: recordings are told apart instead of speakers, but for those whose anchors
            are alike, and where the network shows its frames, they are pulled, too.
        strength: how far from the base's weights to the trained ones the model ends, above 0 and at most 1; the
            recipe's `interpolation` unless given.
        settings: ``key=value`` changes to the recipe, for example ``stages.anchored.train.steps=800``.
        workers: threads that prepare batches.
        force: write the model even if the guard found it worse than its base.

    Raises:
        OutputError: `out` holds something else.
        RecipeError: a strength out of range, or a setting that the recipe does not know.
        ModelError: a model that cannot be loaded, or whose frames are to be pulled and that shows none.
        ForgettingError: the model came out worse than its base, and was not written.
    """
    base = registry.load(model)
    recipe = make_recipe(
        model,
        speech,
        noise,
        rooms=rooms,
        channels=channels,
        channel=channel,
        unlabelled=unlabelled,
        frames=unlabelled and base.shows_frames,
        strength=strength,
        settings=settings,
    )
    stage = recipe.stages[STAGE].train
    if stage is not None and stage.has_frame_loss:
        base.require_frames()
    with lock_run_dir(out, "robustify", {"recipe": recipe, "model": base.fingerprint}):
        run = run_recipe(recipe, out / RUN_FOLDER, workers)
        if base.shows_frames:
            advise(recipe, len(run.corpora.train.speakers) // (1 + len(recipe.data.voice_speeds)))
        made = run.stage_folder(STAGE)
        verdict = ""
        done = json.loads((made / DONE_FILE).read_text(encoding="utf-8"))
        guard = done.get("guard")
        if guard is not None and not guard["accepted"] and not force:
            raise ForgettingError(_refusal(guard, made))
        for name in (ANCHORS_FILE, "model.safetensors", "config.json") if runtime.first() else ():
            with replacing(out / name) as temporary:
                shutil.copyfile(made / name, temporary)
        if runtime.first():
            robust = SpeakerEncoder.load(out)
            findings = _old_enrolments(base, robust, run, out)
            verdict = findings.verdict.lead if findings else ""
            _describe(out, recipe, model, base, robust, run, guard, findings)
        runtime.wait()
        before = _first_validation(made / TRAINING_FOLDER / "metrics.jsonl")
    return Robustified(out, before, done.get("validation", {}), guard, verdict)


def _old_enrolments(base: SpeakerEncoder, robust: SpeakerEncoder, run: Run, out: Path) -> Findings | None:
    """Fit the map for stored voiceprints, measure what they are worth, and write both; None where that cannot be."""
    device = best_device()
    base, robust = base.to(device), robust.to(device)
    precision = resolve("auto", device)
    carrier = EnrolmentMap.between(base.fingerprint, robust.fingerprint, out)
    if carrier is None:
        carrier = fit_enrolment_map(base, robust, run.corpora.train, precision)
        carrier.save(out)
    cache = EmbeddingCache(out / RUN_FOLDER / CACHE_FOLDER)
    aside = run.corpora.validation
    examination = replace(QUICK, precision=precision)
    try:
        findings = compatibility(
            base, robust, aside, run.bank, cache, examination, ("base", out.resolve().name), carrier
        )
    except (CorpusError, RecipeError) as error:  # one speaker kept aside, or nobody; a kind of noise that is not there
        log_line(f"old enrolments were not measured: {error}")
        return None
    write_findings(findings, out)
    return findings


def _describe(
    out: Path,
    recipe: Recipe,
    base_reference: str,
    base: SpeakerEncoder,
    robust: SpeakerEncoder,
    run: Run,
    guard: Mapping[str, Any] | None,
    findings: Findings | None,
) -> None:
    """Write the model card."""
    stage, data = recipe.stages[STAGE].train, recipe.data
    assert stage is not None
    folders = {
        "speech": [source.path for source in data.speech],
        "noise": data.noise,
        "rooms": data.rooms,
    }
    making = Making(
        base=base_reference,
        base_fingerprint=base.fingerprint,
        train=run.corpora.train,
        speakers=len(run.corpora.train.speakers) // (1 + len(data.voice_speeds)),
        validation=run.corpora.validation,
        # what folders are called; where they lie is nobody else's business
        sources={kind: [Path(path).resolve().name for path in paths] for kind, paths in folders.items()},
        noise=run.bank.describe(),
        stage=stage,
        guard=guard,
        compatibility=compatibility_markdown(findings) if findings else "",
    )
    write_card(out, robust, making)


def advise(recipe: Recipe, speakers: int) -> None:
    """Say what helps where few speakers were trained on, unless it was done."""
    train = recipe.stages[STAGE].train
    if train is not None and not train.has_frame_loss and 1 < speakers < FEW_SPEAKERS:
        log_line(
            f"trained on {speakers} speakers: with fewer than {FEW_SPEAKERS} clean accuracy suffers less with "
            f"--set {FRAMES} (measure both on speakers that neither has heard)"
        )


def make_recipe(
    model: str,
    speech: Sequence[str],
    noise: Sequence[str],
    *,
    rooms: Sequence[str] = (),
    channels: Sequence[str] = (),
    channel: str = "mix",
    unlabelled: bool,
    frames: bool = False,
    strength: float | None = None,
    settings: Sequence[str] = (),
) -> Recipe:
    """Return the packaged recipe filled in for a model and its data, with the pull on frames if so asked."""
    if strength is not None and not 0 < strength <= 1:
        raise RecipeError(f"--strength {strength:g}: it lies above 0 and at most at 1, which is all the way")
    values = config.read_yaml(packaged_recipe("robustify"))
    source = {"channel": str(channel_of(channel)), **({"layout": "flat"} if unlabelled else {})}
    values["data"]["speech"] = [{"path": path, **source} for path in speech]
    values["data"]["noise"] = list(noise)
    values["stages"]["anchors"]["anchors"]["of"] = model
    stage = values["stages"][STAGE]["train"]
    stage["start"] = model
    if rooms:
        values["data"]["rooms"] = list(rooms)
        stage["rooms"] = {"share": ROOM_SHARE}
    if channels:
        stage["channels"] = {"share": CHANNEL_SHARE, "kinds": dict.fromkeys(channels, 1.0)}
    if unlabelled:
        stage["classification"]["classes"] = "recordings"
    if frames:
        stage["anchor"]["frame_weight"] = FRAME_WEIGHT
    if strength is not None:
        stage["interpolation"] = strength
    return fill_recipe(values, settings)


def _first_validation(path: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return next((line["validation"] for line in lines if "validation" in line), {})


def _refusal(guard: Mapping[str, Any], made: Path) -> str:
    """Say what the guard found, and what may be done about it."""
    rates = " and then ".join(f"{attempt['learning_rate']:.3g}" for attempt in guard["attempts"])
    figures = ", ".join(
        change(name, guard["before"][name], value) for name, value in validation_figures(guard["after"]).items()
    )
    return (
        f"the new model is worse than the one it was made from, and was not written: {' and '.join(guard['faults'])} "
        f"({figures}; learning rate {rates}). Train with a lower learning rate (--set "
        f"stages.{STAGE}.train.learning_rate.peak=...), on more speakers or on cleaner recordings, in a new folder; or "
        f"write it all the same with --force. The best state that there was lies in {made}"
    )


def validation_figures(measured: Mapping[str, float]) -> dict[str, float]:
    """Return what a person reads of a validation: error rates, or agreement where there are no labels."""
    ending = "_eer" if "clean_eer" in measured else "_agreement"
    return {name: value for name, value in measured.items() if name.endswith(ending)}


def change(name: str, before: float, after: float) -> str:
    """Return a figure before and after in words: ``clean EER 2.1 -> 1.4 %``."""
    if name.endswith("_eer"):
        return f"{name.removesuffix('_eer')} EER {before:.2f} -> {after:.2f} %"
    return f"{name.replace('_', ' ')} {before:.3f} -> {after:.3f}"
