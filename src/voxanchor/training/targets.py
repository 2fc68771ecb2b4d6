"""What the anchor of an utterance is, made of the frozen table, and who may be alike."""

import numpy as np

from voxanchor.scoring.similarity import mean_cosine_apart
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.stage import AnchorKind
from voxanchor.types import Embeddings


def static_targets(table: AnchorTable, kind: AnchorKind) -> Embeddings:
    """Return (N, D) float32 unit vectors, the target of each row of the table.

    ``agreement`` weighs by w = max(0, cos(a, m)), where a is the anchor of the utterance and m the mean of its
    speaker's other anchors: target = w a + (1 - w) m, scaled to unit length. A recording whose embedding lies apart
    from those of the same speaker, being noisy or mislabelled, is trusted less. A speaker's only recording is its own
    anchor.

    Args:
        table: frozen anchors.
        kind: ``speaker`` and ``agreement`` need speakers in the table; the others take the table as it is.
    """
    if kind not in ("speaker", "agreement"):
        return table.embeddings
    speakers = tuple(dict.fromkeys(table.speakers))
    place = {speaker: i for i, speaker in enumerate(speakers)}
    rows = np.array([place[speaker] for speaker in table.speakers])
    if kind == "speaker":
        means: Embeddings = table.speaker_means(speakers)[rows]
        return means
    own = table.embeddings.astype(np.float64)
    sums = np.zeros((len(speakers), own.shape[1]))
    np.add.at(sums, rows, own)
    single = (np.bincount(rows)[rows] == 1)[:, None]
    others = _unit(np.where(single, own, sums[rows] - own))
    agreement = np.clip(np.sum(own * others, axis=1, keepdims=True), 0.0, 1.0)
    return _unit(np.where(single, own, agreement * own + (1.0 - agreement) * others))


def alike_from(embeddings: Embeddings, share: float) -> float:
    """Return the cosine past which two anchors may be of one speaker: `share` of the way from their mean cosine to 1.

    Args:
        embeddings: (N, D) unit vectors; the mean is over all pairs, which in a corpus of many speakers are nearly all
            of different ones.
        share: 1 takes no two to be of one.
    """
    mean = mean_cosine_apart(embeddings, np.arange(len(embeddings)))
    return mean + share * (1.0 - mean)


def _unit(vectors: np.ndarray) -> Embeddings:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Embeddings = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
