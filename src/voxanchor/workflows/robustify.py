"""Make an existing model robust: anchors from it, then a copy of it fine-tuned on noise towards them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxanchor import config, processes
from voxanchor.files import replacing
from voxanchor.models import registry
from voxanchor.outputs import claim
from voxanchor.progress import say
from voxanchor.training.recipe import Recipe
from voxanchor.training.run import ANCHORS_FILE, DONE_FILE, TRAINING_FOLDER
from voxanchor.workflows.packaged import packaged_recipe
from voxanchor.workflows.train import run_recipe

RUN_FOLDER = "run"
STAGE = "anchored"

ROOM_SHARE = 0.4
"""Of the inputs, once there are recorded rooms to hear them in."""

CHANNEL_SHARE = 0.4
"""Of the inputs, once there are channels to send them over."""

FEW_SPEAKERS = 100
"""With fewer the pull on embeddings alone costs clean accuracy; that on frames keeps most of it (docs/results.md)."""

FRAMES = f"stages.{STAGE}.train.anchor.frame_weight=20"
"""The setting that adds the pull on frames."""


@dataclass(frozen=True)
class Robustified:
    """What a robustify run made.

    Attributes:
        folder: the model directory; ``run/`` inside it keeps recipe, metrics and resume state.
        before: the base model on the speakers kept aside: error rates in percent, agreement as cosine.
        after: the new model on the same audio.
    """

    folder: Path
    before: Mapping[str, float]
    after: Mapping[str, float]


def robustify(
    model: str,
    speech: Sequence[str],
    noise: Sequence[str],
    out: Path,
    *,
    rooms: Sequence[str] = (),
    channels: Sequence[str] = (),
    unlabelled: bool = False,
    settings: Sequence[str] = (),
    workers: int | None = None,
) -> Robustified:
    """Run or resume stages 2 and 3 from `model`, and return where the robust model lies.

    Args:
        model: reference of the base model.
        speech: folders of recordings; sub-folders are speakers.
        noise: folders in MUSAN layout; without any, the built-in kinds and babble from the speech.
        out: the model directory to make.
        rooms: folders of room impulse responses; with any, a share of the inputs is heard in rooms.
        channels: names of channels, such as ``gsm``; with any, a share of the inputs goes through one of them.
        unlabelled: use no speaker labels: the anchor term alone.
        settings: ``key=value`` changes to the recipe, for example ``stages.anchored.train.steps=800``.
        workers: threads that prepare batches.

    Raises:
        OutputError: `out` holds something else.
        ModelError: a model that cannot be loaded, or whose frames are to be pulled and that shows none.
    """
    recipe = make_recipe(model, speech, noise, rooms=rooms, channels=channels, unlabelled=unlabelled, settings=settings)
    base = registry.load(model)
    stage = recipe.stages[STAGE].train
    if stage is not None and stage.frames_pulled:
        base.require_frames()
    if not noise:
        say("no --noise folder: the built-in noise and music are used, and babble from the speech itself")
    with claim(out, "robustify", {"recipe": recipe, "model": base.fingerprint}):
        run = run_recipe(recipe, out / RUN_FOLDER, workers)
        if base.shows_frames:
            advise(recipe, len(run.corpora.train.speakers) // (1 + len(recipe.data.voice_speeds)))
        made = run.stage_folder(STAGE)
        for name in (ANCHORS_FILE, "model.safetensors", "config.json") if processes.first() else ():
            with replacing(out / name) as temporary:
                shutil.copyfile(made / name, temporary)
        before = _first_validation(made / TRAINING_FOLDER / "metrics.jsonl")
        after = json.loads((made / DONE_FILE).read_text(encoding="utf-8")).get("validation", {})
    return Robustified(out, before, after)


def advise(recipe: Recipe, speakers: int) -> None:
    """Say what helps where few speakers were trained on, unless it was done."""
    train = recipe.stages[STAGE].train
    if train is not None and not train.frames_pulled and 1 < speakers < FEW_SPEAKERS:
        say(
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
    unlabelled: bool,
    settings: Sequence[str] = (),
) -> Recipe:
    """Return the packaged recipe filled in for a model and its data."""
    values = packaged_recipe("robustify")
    values["data"]["speech"] = [{"path": path, **({"layout": "flat"} if unlabelled else {})} for path in speech]
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
        stage["classification"] = {"weight": 0}
    return config.build(Recipe, config.override(values, settings), "recipe")


def _first_validation(path: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return next((line["validation"] for line in lines if "validation" in line), {})
