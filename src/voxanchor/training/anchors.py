"""The anchor table: the base model's embeddings of clean speech, frozen, and the targets made of them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from voxanchor import runtime
from voxanchor.config import fingerprint
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import ModelError
from voxanchor.evaluation.embed import embed
from voxanchor.files import write_bytes
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.scoring.scores import mean_cosine_apart
from voxanchor.training.stage import AnchorKind
from voxanchor.types import Embeddings


@dataclass(frozen=True)
class AnchorTable:
    """One fixed embedding per utterance, in the order of the manifest it was made from.

    Attributes:
        ids: utterance ids, N of them.
        speakers: speaker of each; empty names where the speech has no labels.
        embeddings: (N, D) float32 unit vectors of whole clean utterances.
        model: fingerprint of the base model.
        corpus: fingerprint of the manifest.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    embeddings: Embeddings
    model: str
    corpus: str

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over model, corpus and every embedding."""
        content = hashlib.sha256(np.ascontiguousarray(self.embeddings).tobytes()).hexdigest()
        return fingerprint(self.model, self.corpus, list(self.ids), content)

    def speaker_means(self, speakers: tuple[str, ...]) -> Embeddings:
        """Return the (C, D) mean anchor of each of `speakers`, scaled to unit length."""
        place = {speaker: i for i, speaker in enumerate(speakers)}
        sums = np.zeros((len(speakers), self.embeddings.shape[1]))
        for speaker, embedding in zip(self.speakers, self.embeddings, strict=True):
            sums[place[speaker]] += embedding
        means: Embeddings = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return means

    def save(self, path: str | Path) -> None:
        """Write the table as safetensors, its ids and fingerprints as metadata."""
        metadata = {
            "format": "voxanchor-anchors-1",
            "ids": json.dumps(self.ids),
            "speakers": json.dumps(self.speakers),
            "model": self.model,
            "corpus": self.corpus,
            "fingerprint": self.fingerprint,
        }
        write_bytes(path, save({"anchors": self.embeddings}, metadata))

    @classmethod
    def load(cls, path: str | Path) -> "AnchorTable":
        """Return the table in a file.

        Raises:
            ModelError: missing, not an anchor table, or changed since it was written.
        """
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
            table = cls(
                ids=tuple(json.loads(metadata["ids"])),
                speakers=tuple(json.loads(metadata["speakers"])),
                embeddings=load_file(path)["anchors"],
                model=metadata["model"],
                corpus=metadata["corpus"],
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: not an anchor table ({error}). Run the anchors stage again.") from None
        if table.fingerprint != metadata.get("fingerprint"):
            raise ModelError(f"{path}: the anchors were changed after they were frozen. Run the anchors stage again.")
        return table


def extract(encoder: SpeakerEncoder, manifest: Manifest) -> AnchorTable:
    """Return the anchors of a manifest: each whole clean utterance embedded by the fixed base model.

    Several processes embed their share each, and every one returns the whole table.
    """
    own = manifest.utterances[runtime.rank() :: runtime.world()]
    embeddings = runtime.gather_rows(embed(encoder, own, label="anchors"), len(manifest))
    return AnchorTable(
        ids=tuple(utterance.id for utterance in manifest.utterances),
        speakers=tuple(utterance.speaker for utterance in manifest.utterances),
        embeddings=embeddings,
        model=encoder.fingerprint,
        corpus=manifest.fingerprint,
    )


# What the anchor of an utterance is, made of the frozen table, and who may be alike.


def static_targets(table: AnchorTable, kind: AnchorKind) -> Embeddings:
    """Return (N, D) float32 unit vectors, the target of each row of the table.

    ``agreement`` weighs by w = max(0, cos(a, m)), where a is the anchor of the utterance and m the mean of its
    speaker's other anchors: target = w a + (1 - w) m, scaled to unit length. A recording whose embedding lies apart
    from those of the same speaker, being noisy or mislabelled, is trusted less. A speaker's only recording is its own
    anchor.

    Args:
        table: frozen anchors.
        kind: ``agreement`` needs speakers in the table; the others take the table as it is.
    """
    if kind != "agreement":
        return table.embeddings
    speakers = tuple(dict.fromkeys(table.speakers))
    place = {speaker: i for i, speaker in enumerate(speakers)}
    rows = np.array([place[speaker] for speaker in table.speakers])
    own = table.embeddings.astype(np.float64)
    sums = np.zeros((len(speakers), own.shape[1]))
    np.add.at(sums, rows, own)
    single = (np.bincount(rows)[rows] == 1)[:, None]
    others = _unit(np.where(single, own, sums[rows] - own))
    agreement = np.clip(np.sum(own * others, axis=1, keepdims=True), 0.0, 1.0)
    return _unit(np.where(single, own, agreement * own + (1.0 - agreement) * others))


def same_speaker_cosine(embeddings: Embeddings, share: float) -> float:
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
