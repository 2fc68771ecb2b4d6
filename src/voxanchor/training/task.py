"""The speaker part of training as one object: student, fixed anchors and objectives in, a dictionary of losses out."""

import torch
from torch import Tensor, nn

from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.objectives.anchored import anchor_loss
from voxanchor.objectives.margin import AAMSoftmax
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch
from voxanchor.training.recipe import Train


class SpeakerTask(nn.Module):
    """What a stage optimises.

    Args:
        student: the encoder to train; stage 3 gives a copy of the base model.
        stage: weights, margin and distance.
        speakers: the training speakers in the order of the labels.
        anchors: table whose rows follow the training manifest, or None for a stage without anchors.
    """

    anchors: Tensor | None

    def __init__(
        self, student: SpeakerEncoder, stage: Train, speakers: tuple[str, ...], anchors: AnchorTable | None
    ) -> None:
        super().__init__()
        self.student = student
        self.stage = stage
        self.head: AAMSoftmax | None = None
        if stage.classification.weight:
            terms = stage.classification
            self.head = AAMSoftmax(student.config.embedding_dim, len(speakers), terms.scale, terms.sampled)
            if stage.classification.centres == "anchors" and anchors is not None:
                self.head.start_at(torch.from_numpy(anchors.speaker_means(speakers)))
        # a buffer that is never saved: the frozen table on disk is the truth, and it follows the task to its device
        table = None if anchors is None else torch.from_numpy(anchors.embeddings)
        self.register_buffer("anchors", table, persistent=False)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return ``loss`` to minimise and its parts: ``aam``, ``accuracy``, ``anchor`` as the stage has them."""
        embeddings = self.student(batch.waves, batch.lengths)
        parts: dict[str, Tensor] = {}
        total = embeddings.new_zeros(())
        terms = self.stage.classification
        if self.head is not None:
            parts["aam"], hits = self.head(embeddings, batch.labels, terms.margin.at(step))
            parts["accuracy"] = hits.float().mean()
            total = total + terms.weight * parts["aam"]
        if self.anchors is not None and self.stage.anchor.weight:
            targets = self.anchors[batch.utterances]
            parts["anchor"] = anchor_loss(embeddings, targets, self.stage.anchor.distance)
            total = total + self.stage.anchor.weight * parts["anchor"]
        return {"loss": total, **parts}
