"""The speaker part of training as one object: student, fixed anchors and objectives in, a dictionary of losses out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from voxanchor.config import nearest
from voxanchor.errors import RecipeError
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.objectives.anchored import anchor_loss, cosine_distance, frame_loss
from voxanchor.objectives.losses import LOSSES
from voxanchor.objectives.margin import AAMSoftmax
from voxanchor.training.anchors import AnchorTable, same_speaker_cosine, static_targets
from voxanchor.training.batches import Batch
from voxanchor.training.loop import Task
from voxanchor.training.stage import Train


class SpeakerTask(Task):
    """What a stage optimises.

    Args:
        student: the encoder to train; stage 3 gives a copy of the base model.
        stage: weights, margin and distance.
        speakers: the training speakers in the order of the labels.
        anchors: table whose rows follow the training manifest, or None for a stage without anchors.
        teacher: the model that made the anchors, for a stage in which it hears the clean crops.

    Raises:
        RecipeError: `stage.frozen` names parameters that the network does not have, or frames are pulled towards those
            of another network.
        ModelError: frames are to be pulled, and the network shows none.
    """

    anchors: Tensor | None

    def __init__(
        self,
        student: SpeakerEncoder,
        stage: Train,
        speakers: tuple[str, ...],
        anchors: AnchorTable | None,
        teacher: SpeakerEncoder | None = None,
    ) -> None:
        super().__init__()
        if stage.has_frame_loss:
            student.require_frames()
        self.student = student
        self.stage = stage
        targets = None if anchors is None else static_targets(anchors, stage.anchor.kind)
        # buffers that are never saved: the frozen table on disk is the truth, and it follows the task to its device
        self.register_buffer("anchors", None if targets is None else torch.from_numpy(targets), persistent=False)
        self.head: AAMSoftmax | None = None
        terms = stage.classification
        if terms.weight:
            own = targets if terms.classes == "recordings" else None
            classes = len(speakers) if own is None else len(own)
            self.head = AAMSoftmax(student.config.embedding_dim, classes, terms.scale, terms.sampled)
            if terms.centres == "anchors" and anchors is not None:
                self.head.start_at(torch.from_numpy(anchors.speaker_means(speakers) if own is None else own))
            self._same_speaker = 1.0 if own is None else same_speaker_cosine(own, terms.same_speaker_threshold)
        # after the head, whose draws they must not change
        sizes = {"embedding_dim": student.config.embedding_dim, "classes": len(speakers)}
        options = {name: stage.loss_options(name) for name in stage.losses}
        self.weights = {name: weight for name, (weight, _) in options.items()}
        self.losses = nn.ModuleDict({name: LOSSES.require(name).make(own, sizes) for name, (_, own) in options.items()})
        self._frozen = freeze(student.network, stage.frozen)
        if stage.needs_teacher and teacher is None:
            raise RecipeError("anchors of crops and of frames need the model that made the anchors")
        if stage.has_frame_loss and teacher is not None and teacher.config != student.config:
            raise RecipeError(
                "anchor.frame_weight compares frames inside two networks, which must be alike: the stage starts from "
                f"'{student.config.architecture}', its anchors are of '{teacher.config.architecture}' with its options"
            )
        # of a module of the user's nothing is known: it may keep a classifier, or draw which layers it runs
        self.leaves_out = bool(getattr(student.network, "MAY_LEAVE_OUT", False))
        # past Module's own attributes: it is no part of what is trained or saved
        self.__dict__["_teacher"] = None if teacher is None else teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "SpeakerTask":
        """Set the mode; what is frozen keeps its statistics, and so does a model that the stage starts from."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        if self.stage.keeps_statistics:
            for module in self.student.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return ``loss`` to minimise and its parts, as the stage has them.

        These are ``aam`` and ``accuracy``, ``anchor``, ``frames``, ``consistency``, and registered losses by name.
        """
        embeddings, frames, twins = self._embed(batch)
        crops, crop_frames = self._teach(batch)
        parts: dict[str, Tensor] = {}
        total = embeddings.new_zeros(())
        terms = self.stage.classification
        if self.head is not None:
            recordings = terms.classes == "recordings"
            own, left_out = (batch.utterances, self._same_speakers(batch)) if recordings else (batch.labels, None)
            parts["aam"], hits = self.head(embeddings, own, terms.margin.at(step), left_out)
            parts["accuracy"] = hits.float().mean()
            total = total + terms.weight * parts["aam"]
        if self.stage.has_anchor_loss:
            anchor = self.stage.anchor
            labels = batch.labels if self.stage.labelled else None
            targets = self._targets(batch, crops)
            parts["anchor"] = anchor_loss(embeddings, targets, anchor.distance, labels, anchor.temperature)
            total = total + anchor.weight * parts["anchor"]
        if frames is not None and crop_frames is not None:
            parts["frames"] = frame_loss(frames, crop_frames)
            total = total + self.stage.anchor.frame_weight * parts["frames"]
        if twins is not None:
            parts["consistency"] = cosine_distance(embeddings, twins)
            total = total + self.stage.consistency.weight * parts["consistency"]
        for name, term in self.losses.items():
            fixed = None if self.anchors is None else self._targets(batch, crops)
            parts[name] = term(embeddings, fixed, batch.labels)
            total = total + self.weights[name] * parts[name]
        return {"loss": total, **parts}

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return embeddings of the inputs, their frames where these are pulled, and embeddings of the clean crops."""
        waves, lengths, frames = batch.waves, batch.lengths, None
        clean = batch.clean if self.stage.consistency.weight else None
        if clean is not None:
            # in one pass, so that batch normalisation sees both sides alike
            waves, lengths = torch.cat([waves, clean]), torch.cat([lengths, lengths])
        if self.stage.has_frame_loss:
            embeddings, frames = self.student.with_frames(waves, lengths)
        else:
            embeddings = self.student(waves, lengths)
        if clean is None:
            return embeddings, frames, None
        embeddings, twins = embeddings.chunk(2)
        return embeddings, None if frames is None else frames.chunk(2)[0], twins

    @torch.no_grad()
    def _teach(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return the base model's embeddings and frames of the clean crops, where the stage has a use for them."""
        teacher: SpeakerEncoder | None = self.__dict__["_teacher"]
        if not self.stage.needs_teacher or teacher is None or batch.clean is None:
            return None, None
        teacher.to(batch.clean.device)
        if self.stage.has_frame_loss:
            return teacher.with_frames(batch.clean, batch.lengths)
        return teacher(batch.clean, batch.lengths), None

    def _same_speakers(self, batch: Batch) -> Callable[[Tensor | None], Tensor]:
        """Return which recordings may be of the speaker of each of the batch, by the anchors of both."""
        anchors = self.anchors
        assert anchors is not None

        def same(chosen: Tensor | None) -> Tensor:
            others = anchors if chosen is None else anchors[chosen]
            return anchors[batch.utterances] @ others.T > self._same_speaker

        return same

    def _targets(self, batch: Batch, crops: Tensor | None) -> Tensor:
        if self.stage.anchor.kind == "crop" and crops is not None:
            return crops
        assert self.anchors is not None
        return self.anchors[batch.utterances]


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> list[nn.Module]:
    """Keep the parameters whose names begin with one of `prefixes` from training; return the modules wholly frozen.

    Raises:
        RecipeError: a prefix of no parameter.
    """
    names = [name for name, _ in network.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            parts = dict.fromkeys(name.split(".")[0] + "." * ("." in name) for name in names)
            raise RecipeError(f"frozen: no parameter of the network begins with '{prefix}'. {nearest(prefix, parts)}")
    for name, parameter in network.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RecipeError("frozen: nothing of the network is left to train")
    frozen = []
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            frozen.append(module)
    return frozen


@torch.no_grad()
def interpolate(trained: nn.Module, start: nn.Module, share: float) -> None:
    """Move weights and statistics back towards where training started, to `share` of the way; counters stay."""
    state = start.state_dict()
    for name, value in trained.state_dict().items():
        if value.is_floating_point():
            value.lerp_(state[name].to(value.device), 1.0 - share)
