"""What a training stage does: its inputs, objectives and schedule. Part of a recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from voxanchor import config
from voxanchor.audio.rooms import check_rt60
from voxanchor.audio.snr import SnrLevels
from voxanchor.conditions.spec import Channel, names
from voxanchor.errors import RecipeError
from voxanchor.objectives.anchored import Distance
from voxanchor.objectives.losses import LOSSES
from voxanchor.runtime import Precision
from voxanchor.training.guard import ForgettingGuard


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up to `peak`, then half a cosine down to `final_share` of it at the last step."""

    peak: float = 1e-3
    warmup_steps: int = 50
    final_share: float = 0.05

    def __post_init__(self) -> None:
        if not (self.peak > 0 and self.warmup_steps >= 0 and 0 <= self.final_share <= 1):
            raise RecipeError("learning_rate needs peak > 0, warmup_steps >= 0 and final_share from 0 to 1")

    def at(self, step: int, steps: int) -> float:
        """Return the rate of step `step` (0 to steps - 1)."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        past = (step - self.warmup_steps) / max(1, steps - 1 - self.warmup_steps)
        return self.peak * (self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(past, 1.0))) / 2)


@dataclass(frozen=True)
class Margin:
    """An angular margin in radians that grows linearly from 0 over `warmup_steps` and then stays."""

    value: float = 0.2
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.value < math.pi / 2 and self.warmup_steps >= 0):
            raise RecipeError("margin needs value from 0 to pi/2 and warmup_steps >= 0")

    def at(self, step: int) -> float:
        """Return the margin of step `step`."""
        return self.value * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.value


# What a training stage does: its inputs, its objectives, and how it steps. Part of a recipe.

SCRATCH = "scratch"
"""As `start` of a stage: fresh weights of the recipe's encoder."""

AnchorKind = Literal["utterance", "crop", "agreement"]


@dataclass(frozen=True)
class Noise:
    """The mixtures training draws from.

    Attributes:
        kinds: of noise, with weights.
        snr_db: range of the ratio, drawn uniformly in dB.
        snr: what the ratio lies between: ``active`` levels, or those of the ``whole`` crops.
    """

    kinds: dict[str, float] = field(default_factory=lambda: {"noise": 1.0, "music": 1.0, "babble": 1.0})
    snr_db: tuple[float, float] = (0.0, 20.0)
    snr: SnrLevels = field(default="active", metadata=config.LATER)


@dataclass(frozen=True)
class Rooms:
    """Reverberation: rooms that training speech is heard in, before noise is added to it.

    Attributes:
        share: of the inputs of a batch; they are among those that do not stay clean.
        rt60_s: lowest and highest reverberation time of the synthetic rooms.
    """

    share: float = 0.0
    rt60_s: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise RecipeError("rooms.share is a share from 0 to 1")
        for end in self.rt60_s:
            check_rt60(end)
        if self.rt60_s[0] > self.rt60_s[1]:
            raise RecipeError("rooms.rt60_s is a range, lowest first")


@dataclass(frozen=True)
class Channels:
    """The channels that training inputs go through, after their room and their noise.

    Attributes:
        share: of the inputs of a batch; they are among those that do not stay clean.
        kinds: names of channels, such as ``gsm`` and ``clipped_6db``, with their weights.
    """

    share: float = 0.0
    kinds: dict[str, float] = field(default_factory=lambda: {"telephone": 1.0, "mulaw": 1.0, "gsm": 1.0})

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise RecipeError("channels.share is a share from 0 to 1")
        for name in self.kinds:
            channel = Channel.parse(name)
            if channel is None:
                raise RecipeError(f"channels.kinds: '{name}' is not a channel: there is {names()}")
            if channel.name != name:
                raise RecipeError(f"channels.kinds: write '{channel.name}', not '{name}'")
        weights = list(self.kinds.values())
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise RecipeError("channels.kinds: weights are finite, not negative and not all zero")


@dataclass(frozen=True)
class Classification:
    """The classification term (AAM-softmax); weight 0 leaves it out.

    Without labels every recording can be a class of its own. Recordings of one speaker would then be pushed apart, so
    those that the base model takes for the same speaker, by their anchors, are left out of the comparison.

    Attributes:
        classes: ``speakers``, or ``recordings``, which needs anchors and no labels.
        same_speaker_threshold: of ``recordings``: two count as the same speaker's where the cosine of their anchors is
            past this share of the way from the mean cosine of all anchors to 1.
        centres: where the class centres start: drawn at random, or at the mean anchor of each speaker.
        sampled: speakers that a step compares with, the others of the training left out of it; 0 for all.
    """

    weight: float = 1.0
    scale: float = 30.0
    margin: Margin = field(default_factory=Margin)
    centres: Literal["random", "anchors"] = "random"
    sampled: int = field(default=0, metadata=config.LATER)
    classes: Literal["speakers", "recordings"] = field(default="speakers", metadata=config.LATER)
    same_speaker_threshold: float = field(default=0.4, metadata={**config.LATER, **config.formerly("alike")})

    def __post_init__(self) -> None:
        if self.sampled < 0:
            raise RecipeError("classification.sampled is a number of speakers, or 0 for all")
        if not 0 < self.same_speaker_threshold <= 1:
            raise RecipeError(
                "classification.same_speaker_threshold is a share above 0 and at most 1, where nothing is left out"
            )


@dataclass(frozen=True)
class AnchorTerm:
    """The pull towards the fixed anchor; used by stages that name an anchor table.

    Attributes:
        distance: `voxanchor.objectives.anchored.anchor_loss` has them.
        kind: what the anchor of an input is. ``utterance``: the base model's embedding of its whole clean recording.
            ``crop``: that of the same crop, clean, computed anew in every step. ``agreement``: between that of the
            recording and the mean of its speaker's others, nearer to the former the better the two agree.
        temperature: of ``info_nce``.
        frame_weight: of the pull inside the network: the frame-level outputs that it pools towards those of the base
            model for the same crop without noise, computed anew in every step; 0 for none.
    """

    weight: float = 10.0
    distance: Distance = "cosine"
    kind: AnchorKind = field(default="utterance", metadata=config.LATER)
    temperature: float = field(default=0.1, metadata=config.LATER)
    frame_weight: float = field(default=0.0, metadata=config.LATER)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RecipeError("anchor.temperature must be above 0")
        if self.weight < 0 or self.frame_weight < 0:
            raise RecipeError("anchor.weight and anchor.frame_weight must not be negative")


@dataclass(frozen=True)
class Consistency:
    """The distance between the embeddings of an input and of the same crop without noise; both of them move.

    The clean crops are heard besides the batch, by this term alone.
    """

    weight: float = 0.0
    distance: Literal["cosine"] = "cosine"


# Options that earlier versions had, and that gained nothing in the ablations.


@dataclass(frozen=True)
class Removed:
    """An option of a training stage that there was.

    Attributes:
        key: its dotted place in the stage.
        neutral: the value that asked for nothing, which old recipes may have written out; it is passed over.
        choice: the one value that went, where the key stays with others; None where the whole key went.
        why: what the ablation showed, and what to use.
    """

    key: str
    neutral: Any = None
    choice: str | None = None
    why: str = ""


_EUCLIDEAN = "between unit vectors it is exactly twice the cosine distance. Use cosine, with twice the weight"

REMOVED = (
    Removed(
        "average",
        neutral=0,
        why="their mean did no better than the last weights (clean 1.69 and 1.69, noise 4.09 and 4.02 % EER). "
        "Use 'interpolation' for a step back towards the start",
    ),
    Removed(
        "noise.easing_share",
        neutral=0,
        why="faint noise first did worse in noise (4.11 and 4.50 against 3.97 % EER), and a lower "
        "learning rate gains as much on clean speech. Use 'noise.snr_db' and 'learning_rate.peak'",
    ),
    Removed(
        "classification.fixed",
        neutral=False,
        why="fixed centres changed nothing (clean 1.69 and 1.69, noise 4.07 and 3.97 % EER). "
        "Use 'classification.centres: anchors', where they may move",
    ),
    Removed(
        "anchor.kind",
        choice="speaker",
        why="the mean of a speaker's anchors did no better than the recording's own (noise 3.73 and 3.69 % EER). "
        "Use 'utterance', or 'agreement' where recordings may be poor",
    ),
    Removed(
        "anchor.kind",
        choice="class_centre",
        why="which anchor an input is pulled to made no difference, and classification pulls to the centres already. "
        "Use 'utterance'",
    ),
    Removed("anchor.distance", choice="squared_euclidean", why=_EUCLIDEAN),
    Removed("consistency.distance", choice="squared_euclidean", why=_EUCLIDEAN),
)
"""All that was removed, with the figures of docs/archive.md."""


def without_removed(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a training stage without the options that there are no more and that ask for nothing.

    Raises:
        RecipeError: one that asks for something; says why it went and what to use.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for option in REMOVED:
        *parents, key = option.key.split(".")
        owner: Any = result
        for name in parents:
            owner = owner.get(name) if isinstance(owner, dict) else None
        if not isinstance(owner, dict) or key not in owner:
            continue
        named = f"{where}.{option.key}"
        if option.choice is not None and owner[key] == option.choice:
            raise RecipeError(f"{named}: '{option.choice}' was removed: {option.why} (docs/archive.md)")
        if option.choice is None and owner.pop(key) != option.neutral:
            raise RecipeError(f"{named} was removed: {option.why} (docs/archive.md)")
    return result


@dataclass(frozen=True)
class Train:
    """A stage that optimises an encoder.

    Attributes:
        start: ``scratch``, an earlier stage, or a model reference.
        steps: optimiser steps.
        anchors: the anchors stage whose table holds the targets; empty for none.
        accumulate: equal parts a batch is worked through in, one after the other, to need less memory; batch
            normalisation sees one part at a time.
        clean_share: share of each batch that stays clean.
        noise: what is mixed into the others; the SNR is that against the speech as heard in its room.
        rooms: what a share of the inputs is heard in.
        channels: what a share of the inputs goes through after that.
        gain_db: level change of every input, uniform in dB; mixtures keep their SNR.
        precision: of matrix products; ``auto`` is bfloat16 where the device multiplies it natively.
        compile: let torch compile the network: steps get shorter, the first one takes minutes.
        interpolation: of the weights, between those of the start (0) and the trained ones (1), for the model that the
            stage ends with (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
        frozen: beginnings of the names of parameters of the network that stay as they are, such as ``blocks.0.``.
        consistency: used by stages that give it a weight.
        losses: further terms by their names, each with its ``weight`` (1 unless given) and options of its own
            (`voxanchor.objectives.losses.register_loss`).
        guard: whether the stage is watched for forgetting; it ends with the best state that the watch saw.
        batch_norm: running statistics of batch normalisation: ``keep`` those that the stage starts with, and normalise
            by them in training, too; ``update`` them by the batches. ``auto`` keeps those of a model and updates those
            of fresh weights: statistics of noisy crops are not those of the recordings that the model is used on.
    """

    start: str
    steps: int
    anchors: str = ""
    batch_size: int = 48
    accumulate: int = 1
    crop_s: float = 1.6
    clean_share: float = 0.15
    noise: Noise = Noise()
    gain_db: tuple[float, float] = (0.0, 0.0)
    learning_rate: LearningRate = field(default_factory=LearningRate)
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    precision: Precision = "auto"
    compile: bool = field(default=False, metadata=config.LATER)
    interpolation: float = field(default=1.0, metadata=config.formerly("blend"))
    classification: Classification = Classification()
    anchor: AnchorTerm = AnchorTerm()
    validate_every: int = 200
    checkpoint_every: int = 50
    rooms: Rooms = field(default=Rooms(), metadata=config.LATER)
    frozen: tuple[str, ...] = field(default=(), metadata=config.LATER)
    consistency: Consistency = field(default=Consistency(), metadata=config.LATER)
    channels: Channels = field(default=Channels(), metadata=config.LATER)
    losses: dict[str, dict[str, Any]] = field(default_factory=dict, metadata=config.LATER)
    guard: ForgettingGuard = field(default=ForgettingGuard(), metadata=config.LATER)
    batch_norm: Literal["auto", "keep", "update"] = field(default="auto", metadata=config.LATER)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.crop_s < 0.2:
            raise RecipeError("a training stage needs steps >= 1, batch_size >= 2 and crop_s >= 0.2")
        if self.accumulate < 1 or self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise RecipeError("accumulate divides batch_size into equal parts of at least 2")
        if not self.gain_db[0] <= self.gain_db[1]:
            raise RecipeError("gain_db is a range, lowest first")
        if not 0 <= self.clean_share <= 1:
            raise RecipeError("clean_share is a share from 0 to 1")
        if self.rooms.share + self.clean_share > 1 + 1e-9:
            raise RecipeError("clean inputs stay outside rooms: clean_share and rooms.share make at most 1 together")
        if self.channels.share + self.clean_share > 1 + 1e-9:
            raise RecipeError("clean inputs stay off channels: clean_share and channels.share make at most 1 together")
        if not 0 < self.interpolation <= 1 or (self.interpolation < 1 and self.start == SCRATCH):
            raise RecipeError("interpolation lies above 0 and at most at 1, and at 1 for fresh weights")
        if self.guard.watch and self.start == SCRATCH:
            raise RecipeError("guard watches over what a model knows already; fresh weights know nothing")
        if self.checkpoint_every < 1 or self.validate_every < 0:
            raise RecipeError("checkpoint_every must be at least 1, validate_every at least 0 (0: never)")
        self._check_objectives()

    def _check_objectives(self) -> None:
        for name in self.losses:
            self.loss_options(name)
            if "targets" in LOSSES.require(name).inputs and not self.anchors:
                raise RecipeError(f"losses.{name} takes the anchors as targets: name a stage in anchors")
        own = any(self.loss_options(name)[0] for name in self.losses)
        if not own and not self.has_anchor_loss and not self.has_frame_loss and not self.classification.weight:
            raise RecipeError("without anchors and without classification there is nothing to learn")
        if self.classification.centres == "anchors" and not self.anchors:
            raise RecipeError("classification.centres: anchors needs a stage named in anchors")
        if self.classification.weight and self.classification.classes == "recordings" and not self.anchors:
            raise RecipeError("classification.classes: recordings needs a stage named in anchors")

    def loss_options(self, name: str) -> tuple[float, dict[str, Any]]:
        """Return the weight and the options of one of `losses`.

        Raises:
            RecipeError: a loss that is not registered, or options that it does not take.
        """
        values, where = dict(self.losses[name]), f"losses.{name}"
        weight = config.convert(float, values.pop("weight", 1.0), f"{where}.weight")
        if not 0 <= weight < math.inf:
            raise RecipeError(f"{where}.weight must not be negative")
        return weight, LOSSES.require(name).options(values, where)

    @property
    def keeps_statistics(self) -> bool:
        """Whether batch normalisation stays as the stage found it."""
        return self.batch_norm == "keep" or (self.batch_norm == "auto" and self.start != SCRATCH)

    @property
    def has_anchor_loss(self) -> bool:
        """Whether there is an anchor term."""
        return bool(self.anchors) and self.anchor.weight > 0

    @property
    def labelled(self) -> bool:
        """Whether the stage must know who speaks."""
        named = self.classification.weight > 0 and self.classification.classes == "speakers"
        own = any("labels" in LOSSES.require(name).inputs for name in self.losses)
        return named or own or (self.has_anchor_loss and self.anchor.kind == "agreement")

    @property
    def has_frame_loss(self) -> bool:
        """Whether there is a pull on the frame-level outputs."""
        return bool(self.anchors) and self.anchor.frame_weight > 0

    @property
    def needs_teacher(self) -> bool:
        """Whether the model that made the anchors hears the clean crop of every input."""
        return self.has_frame_loss or (self.has_anchor_loss and self.anchor.kind == "crop")

    @property
    def needs_clean_pair(self) -> bool:
        """Whether the clean crop of every input is heard besides."""
        return self.consistency.weight > 0 or self.needs_teacher
