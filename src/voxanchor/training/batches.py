"""Training batches: crops of speech, a stated share of them mixed with noise, each a pure function of its step."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.level import FRAME_SAMPLES, active_frames, active_s
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition, NoiseMix
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.store import WaveStore
from voxanchor.corpus.utterance import Utterance
from voxanchor.evaluation.background import voices
from voxanchor.rng import generator
from voxanchor.training.recipe import Train
from voxanchor.types import SAMPLE_RATE, Waveform

CLEAN = Condition(None, None)
CROP_TRIES = 6
MIN_ACTIVE_SHARE = 0.4
"""A crop with less speech than this is drawn again, up to `CROP_TRIES` times; the best of them is taken."""


class Batch(NamedTuple):
    """What one optimiser step sees.

    Attributes:
        waves: (B, T) float32 inputs, clean or mixed.
        lengths: (B,) int64, all T: crops are equally long, so no padding reaches batch normalisation.
        utterances: (B,) int64 positions in the training manifest, which find the anchors.
        labels: (B,) int64 positions among the manifest's speakers.
        noisy: (B,) bool.
    """

    waves: Tensor
    lengths: Tensor
    utterances: Tensor
    labels: Tensor
    noisy: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return Batch(*(field.to(device, non_blocking=True) for field in self))


class Batches:
    """The batches of one training stage; ``render(step)`` is the same whoever asks, whenever, in whatever order."""

    def __init__(self, manifest: Manifest, bank: NoiseBank, stage: Train, seed: int) -> None:
        self.utterances = manifest.utterances
        classes = {speaker: i for i, speaker in enumerate(manifest.speakers)}
        self.labels = np.array([classes.get(utterance.speaker, 0) for utterance in self.utterances], dtype=np.int64)
        self.bank = bank
        self.stage = stage
        self.seed = seed
        self.mix = NoiseMix(tuple(stage.noise.kinds.items()), stage.noise.snr_db)
        self.crop_samples = round(stage.crop_s * SAMPLE_RATE)
        self.store = WaveStore()

    def render(self, step: int) -> Batch:
        """Return the batch of a step."""
        size, count = self.stage.batch_size, len(self.utterances)
        clean = self._clean_count(step + 1) - self._clean_count(step)
        waves = np.empty((size, self.crop_samples), dtype=np.float32)
        chosen = np.empty(size, dtype=np.int64)
        orders = {
            epoch: self._order(epoch) for epoch in range(step * size // count, (step * size + size - 1) // count + 1)
        }
        for row in range(size):
            epoch, place = divmod(step * size + row, count)
            chosen[row] = orders[epoch][place]
            waves[row] = self._example(int(chosen[row]), epoch, place, row < clean)
        return Batch(
            waves=torch.from_numpy(waves),
            lengths=torch.full((size,), self.crop_samples, dtype=torch.int64),
            utterances=torch.from_numpy(chosen),
            labels=torch.from_numpy(self.labels[chosen]),
            noisy=torch.arange(size) >= clean,
        )

    def _clean_count(self, steps: int) -> int:
        # counted over all steps, so that a share of 15 % of 48 is kept in the long run: 7, 7, 7, 7, 8, ...
        return int(np.floor(steps * self.stage.batch_size * self.stage.clean_share + 1e-9))

    def _order(self, epoch: int) -> np.ndarray:
        return generator(self.seed, epoch, 0, "order").permutation(len(self.utterances))

    def _example(self, chosen: int, epoch: int, place: int, clean: bool) -> Waveform:
        utterance = self.utterances[chosen]
        wave = self._crop(utterance, generator(self.seed, epoch, place, "crop"))
        noise = generator(self.seed, epoch, place, "noise")
        condition = CLEAN if clean else self.mix.draw(noise)
        wave = render(wave, condition, self.bank, noise, exclude=voices(utterance)).waveform
        if self.stage.gain_db == (0.0, 0.0):
            return wave
        gain_db = generator(self.seed, epoch, place, "gain").uniform(*self.stage.gain_db)
        return wave * np.float32(10 ** (gain_db / 20))

    def _crop(self, utterance: Utterance, draw: np.random.Generator) -> Waveform:
        whole = self.store.get(utterance.id, utterance.read)
        if len(whole) <= self.crop_samples:
            start = int(draw.integers(len(whole)))
            repeats = -(-self.crop_samples // len(whole)) + 1
            return np.tile(whole, repeats)[start : start + self.crop_samples]
        last = len(whole) - self.crop_samples
        best, best_s = whole[: self.crop_samples], 0.0
        for _ in range(CROP_TRIES):
            start = int(draw.integers(last + 1))
            crop = whole[start : start + self.crop_samples]
            speech_s = active_s(crop)
            if speech_s > best_s:
                best, best_s = crop, speech_s
            if speech_s >= MIN_ACTIVE_SHARE * self.stage.crop_s:
                break
        if best_s == 0:  # little speech in a long silence: aim at it
            active = np.flatnonzero(active_frames(whole))
            middle = int(active[draw.integers(len(active))]) * FRAME_SAMPLES
            start = min(max(middle - self.crop_samples // 2, 0), last)
            best = whole[start : start + self.crop_samples]
        return best


def prefetch(render: Callable[[int], Batch], steps: range, workers: int, ahead: int = 4) -> Iterator[Batch]:
    """Yield the batch of each step in order, rendered by `workers` threads at most `ahead` steps early.

    Threads suffice, and share one store of decoded audio: decoding, FFTs and large array operations release the
    interpreter. With 0 workers each batch is rendered when it is asked for; the batches are the same.
    """
    if workers == 0:
        yield from map(render, steps)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="render") as pool:
        waiting: list[Future[Batch]] = []
        upcoming = iter(steps)
        try:
            for step in upcoming:
                waiting.append(pool.submit(render, step))
                if len(waiting) > max(ahead, workers):
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
