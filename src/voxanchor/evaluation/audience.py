"""Models that listen to the segments of an evaluation in one condition after the other."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio import channels
from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.level import SnrLevels
from voxanchor.audio.mix import VERSION as MIX_VERSION
from voxanchor.audio.quality import VERSION as QUALITY_VERSION
from voxanchor.audio.quality import Quality
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.store import WaveStore
from voxanchor.corpus.utterance import Utterance, read_known
from voxanchor.evaluation.background import voices
from voxanchor.evaluation.cache import EmbeddingCache
from voxanchor.evaluation.decisions import Qualities
from voxanchor.evaluation.embed import embed_with, embeddings_key
from voxanchor.models.registry import Embedder
from voxanchor.progress import track
from voxanchor.rng import generator
from voxanchor.types import Embeddings, Waveform

_LEVELS: dict[SnrLevels, str] = {"active": "", "whole": "/whole"}  # what was kept before there were two has no mark

ENROL = "\0enrolment"
"""Name of the model that enrols, where it is not one under test: no system can be called so."""


class Audience:
    """Every model that listens, so that each recording is rendered once for all of them.

    Args:
        systems: models by name.
        enrol: the model that enrols, where it is not one of them.
        manifest: the segments.
        bank: noise and rooms.
        cache: where embeddings and qualities are kept.
        precision: of the models' matrix products.
        with_quality: measure what the segments are worth while they are rendered, since `quality` will be asked.
    """

    def __init__(
        self,
        systems: Mapping[str, Embedder],
        enrol: Embedder | None,
        manifest: Manifest,
        bank: NoiseBank,
        cache: EmbeddingCache,
        precision: str,
        with_quality: bool = False,
    ) -> None:
        self.models = {**systems, **({} if enrol is None else {ENROL: enrol})}
        self.precision, self.with_quality = precision, with_quality
        self.fingerprints = {name: embeddings_key(model, precision) for name, model in self.models.items()}
        self.manifest, self.bank, self.cache = manifest, bank, cache
        self.corpus = manifest.fingerprint
        self.store = WaveStore()

    def render(self, utterance: Utterance, condition: Condition, seed: int) -> Waveform:
        """Return a segment as it sounds in a condition."""
        wave = self.store.get(utterance.id, lambda: read_known(utterance))
        draw = generator(seed, 0, utterance.id, f"condition/{condition.name}")
        return render(wave, condition, self.bank, draw, exclude=voices(utterance)).waveform

    def heard_as(self, condition: Condition, seed: int) -> tuple[str | int, ...]:
        """Return what the sound of all segments in a condition depends on, as a key."""
        drawn = _drawn_from(condition, self.bank)
        return self.corpus, condition.name, drawn, seed if condition.room or condition.noise else 0

    def hear(self, condition: Condition, seed: int) -> dict[str, Embeddings]:
        """Return each model's embeddings of all segments in a condition."""
        sound = self.heard_as(condition, seed)
        keys = {name: (mark, *sound) for name, mark in self.fingerprints.items()}
        heard = {name: self.cache.get(*key) for name, key in keys.items()}
        missing = [name for name, embeddings in heard.items() if embeddings is None]
        if missing:
            measured: dict[str, tuple[float, ...]] = {}

            def read(utterance: Utterance) -> Waveform:
                wave = self.render(utterance, condition, seed)
                if self.with_quality:
                    measured[utterance.id] = _worth(wave)
                return wave

            label = condition.name if condition.is_clean else f"{condition.name}, noise seed {seed}"
            models: Sequence[Embedder] = [self.models[name] for name in missing]
            made = embed_with(models, self.manifest.utterances, label=label, read=read, precision=self.precision)
            for name, embeddings in zip(missing, made, strict=True):
                self.cache.put(embeddings, *keys[name])
                heard[name] = embeddings
            if self.with_quality:
                self._keep([measured[utterance.id] for utterance in self.manifest.utterances], condition, seed)
        return {name: embeddings for name, embeddings in heard.items() if embeddings is not None}

    def quality(self, condition: Condition, seed: int) -> Qualities:
        """Return what all segments are worth in a condition: (N, 5), as `Qualities` says."""
        found = self.cache.get("quality", QUALITY_VERSION, *self.heard_as(condition, seed))
        if found is None:  # embedded before anybody asked
            rows = []
            with track(f"quality, {condition.name}", len(self.manifest.utterances)) as advance:
                for utterance in self.manifest.utterances:
                    rows.append(_worth(self.render(utterance, condition, seed)))
                    advance(1)
            found = self._keep(rows, condition, seed)
        return found.astype(np.float64)

    def _keep(self, rows: Sequence[tuple[float, ...]], condition: Condition, seed: int) -> NDArray[np.float32]:
        kept = np.array(rows, dtype=np.float32)
        self.cache.put(kept, "quality", QUALITY_VERSION, *self.heard_as(condition, seed))
        return kept


def _worth(wave: Waveform) -> tuple[float, ...]:
    quality = Quality.of(wave)
    unknown = float("nan")
    level_db = unknown if quality.level_db is None else quality.level_db
    bandwidth_hz = unknown if quality.bandwidth_hz is None else quality.bandwidth_hz
    return quality.speech_s, quality.snr_db, level_db, bandwidth_hz, quality.clipped


def _drawn_from(condition: Condition, bank: NoiseBank) -> str:
    """Return what the sound of a condition depends on beside recording, name and seed; nothing when it is clean."""
    parts = [
        bank.rooms.fingerprint_of(condition.room.rt60_s) if condition.room else "",
        f"{bank.fingerprint}/{MIX_VERSION}{_LEVELS[condition.snr]}" if condition.noise else "",
        channels.fingerprint(condition.channel.kind) if condition.channel else "",
    ]
    return "+".join(part for part in parts if part)
