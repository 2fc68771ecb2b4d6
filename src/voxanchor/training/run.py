"""A recipe's stages, one after the other: each leaves a folder, and a finished one is never done again."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import voxanchor
from voxanchor import config, processes
from voxanchor.audio.babble import Babble
from voxanchor.audio.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError, ModelError, RecipeError
from voxanchor.evaluation.background import noise_bank, voices
from voxanchor.files import write_text
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign.user_reference import name as name_code
from voxanchor.models.precision import best_device, resolve
from voxanchor.progress import crowded, say
from voxanchor.rng import torch_seed
from voxanchor.training.anchors import AnchorTable, extract
from voxanchor.training.corpora import Corpora, gather, is_labelled
from voxanchor.training.job import Job
from voxanchor.training.recipe import Recipe, Stage
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.training.validation import Validation

ANCHORS_FILE = "anchors.safetensors"
TRAINING_FOLDER = "training"
DONE_FILE = "done.json"


@dataclass(frozen=True)
class Run:
    """What a run works with and where its results lie.

    Attributes:
        folder: one sub-folder per stage: a model directory for a training stage, a table for an anchors stage.
        seed: of weights, crops and noise. The recipe's own seed parts the speakers and draws the noise by which
            training is watched, so that runs that differ in this seed alone can be compared.
        elsewhere: folders of stages that lie apart from the others.
    """

    recipe: Recipe
    folder: Path
    corpora: Corpora
    bank: NoiseBank
    workers: int | None = None
    seed: int = 0
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def stage_folder(self, name: str) -> Path:
        """Where a stage leaves its result."""
        return self.elsewhere.get(name, self.folder / name)

    def model(self, name: str) -> str:
        """Return the reference of the model that a stage ends with, or the name itself when it is no stage's."""
        stage = self.recipe.stages.get(name)
        if stage is None:
            return name
        return stage.take or str(self.stage_folder(name))


def prepare(recipe: Recipe, folder: Path, workers: int | None = None) -> Run:
    """Scan the recipe's data and write what the run is made of: recipe, environment, lists of recordings.

    The caller holds the folder (`voxanchor.outputs.claim`).
    """
    for stage in recipe.stages.values():
        for reference in (*stage.needs, stage.take):
            name_code(reference)
    if best_device().type == "cpu" and torch.get_num_threads() > 1 and (remark := crowded()):
        say(remark)
    corpora = gather(recipe.data, recipe.seed)
    for name, stage in recipe.stages.items():
        _require_labels(name, stage, corpora.train)
    if not recipe.data.noise:
        say("no folder of noise: built-in noise and music are used, and babble from the speech itself")
    share = recipe.data.built_in_share
    bank = noise_bank(
        recipe.data.noise, corpora.train, built_in_share=share, for_evaluation=False, rooms=recipe.data.rooms
    )
    for line in bank.describe():
        say(f"training noise, {line}")
    for name, stage in recipe.stages.items():
        if stage.train is not None:
            _require_noise(name, stage.train, bank, corpora.train)
    if processes.first():
        write_text(folder / "recipe.yaml", config.dump(recipe))
        write_text(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
        for name in ("train", "validation", "held_out"):
            getattr(corpora, name).save(folder / "data" / f"{name}.jsonl")
    return Run(recipe, folder, corpora, bank, workers, recipe.seed)


def run_stages(run: Run) -> None:
    """Run every stage of the recipe that is not finished yet."""
    for name, stage in run.recipe.stages.items():
        run_stage(run, name, stage)


def run_stage(run: Run, name: str, stage: Stage) -> None:
    """Run a stage, unless it is finished; those that it needs are."""
    folder = run.stage_folder(name)
    if (folder / DONE_FILE).exists():
        say(f"{name}: finished before, kept")
        return
    if stage.train is not None:
        _train(run, name, stage.train)
    elif stage.anchors is not None:
        encoder = start(run, stage.anchors.of).to(best_device())
        table = extract(encoder, run.corpora.train)
        if processes.first():
            table.save(folder / ANCHORS_FILE)
            write_text(folder / DONE_FILE, json.dumps({"anchors": table.fingerprint, "model": table.model}) + "\n")
    processes.wait()


def start(run: Run, reference: str) -> SpeakerEncoder:
    """Return the model a stage starts from: fresh weights, an earlier stage's model, or a published one."""
    if reference == SCRATCH:
        # from the seed alone, so that every stage from scratch starts at the same weights
        encoder = run.recipe.encoder
        return registry.build(EncoderConfig(encoder.architecture, encoder.options), torch_seed(run.seed, 0, "init"))
    return registry.load(run.model(reference))


def environment() -> dict[str, str]:
    """Return what the results may depend on: versions and machine."""
    return {
        "voxanchor": voxanchor.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        "processes": str(processes.world()),
        "device": str(best_device()),
    }


def _require_labels(name: str, stage: Stage, manifest: Manifest) -> None:
    if stage.train is not None and stage.train.labelled and not is_labelled(manifest):
        raise CorpusError(
            f"stage {name}: the recordings have no speaker labels, which the classification term and anchors of "
            "speakers need. Arrange them in one folder per speaker, or train without (robustify --unlabelled; in a "
            "recipe, classification.classes: recordings)."
        )


def _require_noise(name: str, stage: Train, bank: NoiseBank, manifest: Manifest) -> None:
    """Refuse noise that cannot be drawn, before the stages that lead to this one have taken their time."""
    if unknown := sorted(set(stage.noise.kinds) - set(bank.kinds)):
        raise RecipeError(f"stage {name}: unknown noise '{unknown[0]}'. " + config.nearest(unknown[0], bank.kinds))
    babble = bank.source("babble")
    if not stage.noise.kinds.get("babble") or not isinstance(babble, Babble) or len(babble.speakers) > 1:
        return
    if stage.clean_share < 1 and any(voices(utterance) >= set(babble.speakers) for utterance in manifest.utterances):
        raise CorpusError(
            f"stage {name}: there is only one speaker, and nobody talks behind their own voice. Give recordings of "
            "other speakers, or their folder as --noise (a folder speech/ in it is babble)."
        )


def _train(run: Run, name: str, stage: Train) -> None:
    recipe, manifest = run.recipe, run.corpora.train
    table = AnchorTable.load(run.stage_folder(stage.anchors) / ANCHORS_FILE) if stage.anchors else None
    if table is not None and table.corpus != manifest.fingerprint:
        raise CorpusError(f"stage {name}: the anchors were made from other recordings. Run in a new folder.")
    device = best_device()
    batches = f"{stage.steps:,} steps of {stage.batch_size} x {stage.crop_s:g} s"
    say(f"{name}: {batches}, {resolve(stage.precision, device)} on {device}")
    origin = start(run, stage.start)
    same = table is not None and recipe.stages[stage.anchors].needs == (stage.start,)
    if table is not None and same and origin.fingerprint != table.model:
        raise ModelError(
            f"stage {name}: '{stage.start}' gave other weights than those that the anchors were made with. Code that "
            "makes a model must give the same weights in every call; if the model was changed, run in a new folder."
        )
    validation = None
    if stage.validate_every and run.corpora.validation.utterances:
        reference = None if stage.start == SCRATCH else origin
        validation = Validation(run.corpora.validation, run.bank, reference, recipe.seed)
    teacher = start(run, *recipe.stages[stage.anchors].needs) if stage.taught else None
    folder = run.stage_folder(name)
    data = manifest, run.bank, run.seed, run.workers
    job = Job(name, stage, folder / TRAINING_FOLDER, *data, table, origin, teacher, validation)
    if stage.guard.watch and validation is None:
        say(f"{name}: not watched for forgetting, because there is no validation")
    made = job.guarded() if stage.guard.watch and validation is not None else job.plain()
    if made is None:
        return
    encoder, done = made
    encoder.save(folder)
    if table is not None:
        table.save(folder / ANCHORS_FILE)
    write_text(folder / DONE_FILE, json.dumps({"model": encoder.fingerprint, "steps": stage.steps, **done}) + "\n")
