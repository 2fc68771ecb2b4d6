"""Embeddings of recordings in every condition, cached on disk."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from voxanchor.audio import channels
from voxanchor.audio.quality import VERSION as QUALITY_VERSION
from voxanchor.audio.quality import Quality
from voxanchor.audio.snr import VERSION as MIX_VERSION
from voxanchor.audio.snr import SnrLevels
from voxanchor.conditions.bank import NoiseBank, voices
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.config import fingerprint
from voxanchor.corpus.manifest import Manifest, Utterance, WaveStore, read_known
from voxanchor.errors import AudioError, VoxanchorError
from voxanchor.files import write_bytes
from voxanchor.models.batches import by_length, pad, refuse_short, side_by_side
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.registry import Embedder
from voxanchor.rng import generator
from voxanchor.runtime import track
from voxanchor.types import Embeddings, IntArray, Waveform

Read = Callable[[Utterance], Waveform]


def embed(
    encoder: SpeakerEncoder, utterances: Sequence[Utterance], *, label: str, read: Read = read_known
) -> Embeddings:
    """Return (N, D) float32 unit vectors, row i for utterance i.

    Args:
        encoder: put into evaluation mode while it works, and left as it was found.
        utterances: N of them.
        label: what the progress display calls the job.
        read: gives an utterance's waveform; a condition is rendered here.

    Raises:
        AudioError: a recording shorter than the encoder can embed.
    """
    return embed_with([encoder], utterances, label=label, read=read)[0]


def embed_with(
    encoders: Sequence[Embedder],
    utterances: Sequence[Utterance],
    *,
    label: str,
    read: Read = read_known,
    precision: str = "float32",
) -> list[Embeddings]:
    """Return one (N, D) array per encoder; every recording is read, and its noise rendered, once for all of them.

    `precision` is that of the matrix products, as in `forward`.
    """
    results = [np.empty((len(utterances), encoder.embedding_dim), np.float32) for encoder in encoders]
    networks = [encoder for encoder in encoders if isinstance(encoder, SpeakerEncoder)]
    modes = [network.training for network in networks]
    shortest = max((encoder.min_samples for encoder in encoders), default=0)

    def long_enough(utterance: Utterance) -> Waveform:
        wave = read(utterance)
        refuse_short(utterance.id, wave, shortest)
        return wave

    try:
        for network in networks:
            network.eval()
        with track(label, len(utterances)) as advance:

            def work(batch: tuple[list[int], list[Waveform | VoxanchorError]]) -> None:
                places, loaded = batch
                padded, lengths = pad([_or_raise(wave) for wave in loaded], on_grid=True)
                for encoder, result in zip(encoders, results, strict=True):
                    result[places] = forward(encoder, padded, lengths, precision)
                advance(len(places))

            device = next(networks[0].parameters()).device if networks else torch.device("cpu")
            side_by_side(work, read_batches(utterances, long_enough), device)
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
    return results


def embeddings_key(encoder: Embedder, precision: str = "float32") -> str:
    """Return what embeddings by an encoder are kept under: another name for whatever embeds otherwise."""
    if isinstance(encoder, ExportedEncoder):
        return f"{encoder.fingerprint}/onnx-{encoder.described['sha256'][:16]}"
    return encoder.fingerprint if precision == "float32" else f"{encoder.fingerprint}/{precision}"


def forward(
    encoder: Embedder, padded: NDArray[np.float32], lengths: IntArray, precision: str = "float32"
) -> Embeddings:
    """Return (B, D) float32 unit vectors in memory, computed where the encoder lies, of a batch that `pad` made.

    Args:
        encoder: in evaluation mode.
        padded: (B, T).
        lengths: (B,).
        precision: ``bfloat16`` for the matrix products of a torch model; an exported one keeps its own.
    """
    if isinstance(encoder, ExportedEncoder):
        return encoder.embed(padded, lengths)
    device = next(encoder.parameters()).device
    waves, samples = torch.from_numpy(padded).to(device), torch.from_numpy(lengths)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        embeddings: Embeddings = encoder(waves, samples).float().cpu().numpy()
    return embeddings


def read_batches(
    utterances: Sequence[Utterance], read: Read, readers: int = 1
) -> Iterator[tuple[list[int], list[Waveform | VoxanchorError]]]:
    """Yield the places of a batch's utterances and their waveforms, or in a waveform's place why there is none.

    Args:
        utterances: batched by the lengths they state.
        read: gives an utterance's waveform.
        readers: threads that read; so many batches and one more are under way while the model works.
    """

    def load(group: list[int]) -> list[Waveform | VoxanchorError]:
        return [_attempt(read, utterances[place]) for place in group]

    groups = by_length([utterance.duration_s for utterance in utterances])
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        upcoming = deque(pool.submit(load, group) for group in groups[: readers + 1])
        try:
            for i, group in enumerate(groups):
                loaded = upcoming.popleft().result()
                if i + readers + 1 < len(groups):
                    upcoming.append(pool.submit(load, groups[i + readers + 1]))
                yield group, loaded
        finally:
            for future in upcoming:
                future.cancel()


def _attempt(read: Read, utterance: Utterance) -> Waveform | VoxanchorError:
    try:
        return read(utterance)
    except VoxanchorError as error:
        return error
    except (OSError, MemoryError) as error:  # a disk or a network that fails in the midst of a file
        return AudioError.of(utterance.id, error)


def _or_raise(loaded: Waveform | VoxanchorError) -> Waveform:
    if isinstance(loaded, VoxanchorError):
        raise loaded
    return loaded


# Embeddings kept on disk by what they are a pure function of: model, recordings, condition, noise and seed.

FORMAT = 1


class EmbeddingCache:
    """A folder of embeddings; an interrupted evaluation finds there what it had finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, *key: str | int) -> Embeddings | None:
        """Return the (N, D) embeddings stored under `key`, or None; a damaged file counts as none."""
        try:
            return np.asarray(load_file(self._path(key))["embeddings"])
        except (OSError, SafetensorError, KeyError):
            return None

    def put(self, embeddings: Embeddings, *key: str | int) -> None:
        """Store (N, D) embeddings under `key`."""
        write_bytes(self._path(key), save({"embeddings": embeddings}, {"key": " ".join(map(str, key))}))

    def _path(self, key: tuple[str | int, ...]) -> Path:
        return self.folder / f"{fingerprint(FORMAT, list(key))}.safetensors"


# Models that listen to the segments of an evaluation in one condition after the other.

_LEVELS: dict[SnrLevels, str] = {"active": "", "whole": "/whole"}  # what was kept before there were two has no mark

Qualities: TypeAlias = NDArray[np.float64]
"""(N, 5): seconds of speech, estimated signal-to-noise ratio in dB, active level in dB of full scale, highest frequency
with sound in Hz, share of clipped samples; NaN where there is no such figure, as of silence."""

ENROL = "\0enrolment"
"""Name of the model that enrols, where it is not one under test: no system can be called so."""


class ConditionEmbedder:
    """Every model that listens, so that each recording is rendered once for all of them.

    Args:
        systems: models by name.
        enrol: the model that enrols, where it is not one of them.
        manifest: the segments.
        bank: noise and rooms.
        cache: where embeddings and qualities are kept.
        precision: of the models' matrix products.
        with_quality: measure the quality of the segments while they are rendered, since `quality` will be asked.
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

    def load_audio(self, condition: Condition, seed: int) -> dict[str, Embeddings]:
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
                    measured[utterance.id] = _quality_row(wave)
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
        """Return the quality measures of all segments in a condition: (N, 5), as `Qualities` says."""
        found = self.cache.get("quality", QUALITY_VERSION, *self.heard_as(condition, seed))
        if found is None:  # embedded before anybody asked
            rows = []
            with track(f"quality, {condition.name}", len(self.manifest.utterances)) as advance:
                for utterance in self.manifest.utterances:
                    rows.append(_quality_row(self.render(utterance, condition, seed)))
                    advance(1)
            found = self._keep(rows, condition, seed)
        return found.astype(np.float64)

    def _keep(self, rows: Sequence[tuple[float, ...]], condition: Condition, seed: int) -> NDArray[np.float32]:
        kept = np.array(rows, dtype=np.float32)
        self.cache.put(kept, "quality", QUALITY_VERSION, *self.heard_as(condition, seed))
        return kept


def _quality_row(wave: Waveform) -> tuple[float, ...]:
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
