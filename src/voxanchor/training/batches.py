"""Training batches: crops of speech in rooms, in noise and over channels, pure functions of the step."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor import runtime
from voxanchor.audio.arrays import sent
from voxanchor.audio.downmix import Channel
from voxanchor.audio.noise import weighted
from voxanchor.audio.pcm import Indices, Pcm, Pool, PoolBuilder, known_usable
from voxanchor.audio.rooms import RirSampler
from voxanchor.audio.snr import FRAME_SAMPLES, active_frames, measure
from voxanchor.audio.speed import gather_played, source_samples
from voxanchor.conditions.bank import MixtureComponents, NoiseAugmenter, NoiseBank, voices
from voxanchor.conditions.render import render_rows
from voxanchor.conditions.spec import Channel as SpeechChannel
from voxanchor.conditions.spec import NoiseMix
from voxanchor.corpus.manifest import Manifest, Utterance
from voxanchor.rng import generator
from voxanchor.training.stage import Channels, Train
from voxanchor.types import SAMPLE_RATE

CPU = torch.device("cpu")

TRIES = 6
MIN_ACTIVE_SHARE = 0.4
"""A crop with less speech than this is drawn again, up to `TRIES` times; the best of them is taken."""


class Crops:
    """Equally long crops of utterances, at each utterance's own speed.

    Args:
        utterances: U of them.
        builder: gets their recordings; voices that differ in speed alone share one.
        crop_samples: T, the length of a crop.

    Attributes:
        source_samples: longest stretch of a recording that is gathered for a crop.
    """

    DRAWS = TRIES

    def __init__(self, utterances: Sequence[Utterance], builder: PoolBuilder, crop_samples: int) -> None:
        self.crop_samples = crop_samples
        self._items = np.array([builder.add(_key(utterance), partial(_load, utterance)) for utterance in utterances])
        self._speeds = np.array([utterance.speed for utterance in utterances])
        self.source_samples = max(source_samples(crop_samples, speed) for speed in np.unique(self._speeds).tolist())

    def recording(self, utterance: int) -> tuple[int, float]:
        """Return the place in the pool of an utterance's recording, and the speed at which it is played."""
        return int(self._items[utterance]), float(self._speeds[utterance])

    def gather(
        self, pool: Pool, chosen: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, Indices]:
        """Return (n, T) float32 crops, and (n,) where they start in their recordings.

        Args:
            pool: filled from the shelf.
            chosen: (n,) utterances.
            draws: (n, `DRAWS`) uniform numbers from 0 to 1.
            device: where the crops are wanted.
        """
        waves, starts = self._cut(pool, chosen, draws[:, 0], device)
        enough = MIN_ACTIVE_SHARE * self.crop_samples
        speech = measure(waves).samples.cpu().numpy().copy()
        for attempt in range(1, TRIES):
            rows = np.flatnonzero(speech < enough)
            if len(rows) == 0:
                return waves, starts
            others, places = self._cut(pool, chosen[rows], draws[rows, attempt], device)
            found = measure(others).samples.cpu().numpy()
            better = found > speech[rows]
            starts[rows[better]], speech[rows[better]] = places[better], found[better]
            # by places, not by a mask: how many rows a mask chooses the processor would have to wait for
            waves[sent(rows[better], device)] = others[sent(np.flatnonzero(better), device)]
        for row in np.flatnonzero(speech == 0):  # little speech in a long silence: aim at it
            starts[row] = self._aim(pool, int(chosen[row]), float(draws[row, 0]))
            waves[row] = self._at(pool, chosen[[row]], starts[[row]], device)[0]
        return waves, starts

    def _cut(
        self, pool: Pool, chosen: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, Indices]:
        starts = np.empty(len(chosen), dtype=np.int64)
        for value in np.unique(self._speeds[chosen]).tolist():
            rows = np.flatnonzero(self._speeds[chosen] == value)
            starts[rows] = pool.start(self._items[chosen[rows]], source_samples(self.crop_samples, value), draws[rows])
        return self._at(pool, chosen, starts, device), starts

    def _at(self, pool: Pool, chosen: Indices, starts: Indices, device: torch.device) -> Tensor:
        def gather(rows: Indices, length: int) -> Tensor:
            return pool.gather(self._items[chosen[rows]], starts[rows], length, device)

        return gather_played(gather, self._speeds[chosen], self.crop_samples)

    def _aim(self, pool: Pool, utterance: int, draw: float) -> int:
        """Return where a crop starts that has some active frame of the recording in its middle."""
        item, length = int(self._items[utterance]), source_samples(self.crop_samples, float(self._speeds[utterance]))
        active = np.flatnonzero(active_frames(pool.recording(item).waveform()))
        if len(active) == 0:
            return 0
        middle = int(active[int(draw * len(active))]) * FRAME_SAMPLES
        return min(max(middle - length // 2, 0), max(int(pool.lengths[item]) - length, 0))


def _key(utterance: Utterance) -> tuple[tuple[str, float, float | None, Channel], ...]:
    return tuple((part.path, part.start_s, part.duration_s, part.channel) for part in utterance.parts)


def _load(utterance: Utterance) -> Pcm:
    with known_usable():
        return replace(utterance, speed=1.0).pcm()


# Training batches: crops of speech, stated shares in rooms, in noise and over channels, pure functions of the step.
#
# A batch is drawn as numbers first and then made at once, without a loop over its rows: crops are gathered, levels
# measured, and rooms and noise added for all of them together, in torch, where the model runs.


class Batch(NamedTuple):
    """What one optimiser step sees.

    Attributes:
        waves: (B, T) float32 inputs, clean or mixed.
        lengths: (B,) int64, all T: crops are equally long, so no padding reaches batch normalisation. They stay on the
            processor, which looks at them at every step.
        utterances: (B,) int64 positions in the training manifest, which find the anchors.
        labels: (B,) int64 positions among the manifest's speakers.
        noisy: (B,) bool, with noise in it.
        clean: (B, T) float32, the same crops before rooms and noise; None where the stage does not ask for them.
    """

    waves: Tensor
    lengths: Tensor
    utterances: Tensor
    labels: Tensor
    noisy: Tensor
    clean: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`, but for the lengths."""
        return self._map(lambda field: field.to(device, non_blocking=True))._replace(lengths=self.lengths)

    def parts(self, count: int) -> "list[Batch]":
        """Return `count` batches that together hold the rows of this one, clean and noisy rows in each alike."""
        if count == 1:
            return [self]
        return [self._map(partial(_every, first=first, step=count)) for first in range(count)]

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            change(self.waves),
            change(self.lengths),
            change(self.utterances),
            change(self.labels),
            change(self.noisy),
            None if self.clean is None else change(self.clean),
        )


def _every(field: Tensor, first: int, step: int) -> Tensor:
    return field[first::step]


@dataclass(frozen=True)
class Composition:
    """What a batch was made of, row by row.

    Attributes:
        starts: (B,) first sample of each crop in its recording.
        kinds: (B,) position of the noise among the library's kinds; -1 for clean.
        snr_db: (B,) ratio that was set; nan for clean.
        layers: of the noise; rows count through the noisy rows of the batch.
        gains: (B,) factor on the whole input.
        rooms: (B,) place of the room's response in the pool; -1 for none.
        channels: (B,) position among the stage's channels; -1 for none.
    """

    starts: Indices
    kinds: Indices
    snr_db: NDArray[np.float64]
    layers: MixtureComponents | None
    gains: NDArray[np.float64]
    rooms: Indices
    channels: Indices


class ChannelSampler:
    """The channels of a stage, ready to be drawn for batches."""

    def __init__(self, channels: Channels) -> None:
        self.channels = [channel for name in channels.kinds if (channel := SpeechChannel.parse(name)) is not None]
        self._weights = list(channels.kinds.values())

    def draw(self, seed: int, step: int, clean: int, count: int, size: int) -> Indices:
        """Return (size,) the channel of each row of a batch among `channels`; -1 for none.

        Args:
            seed: of the run.
            step: of the batch.
            clean: rows at the beginning of the batch that stay clean.
            count: rows to choose from the others; all of them at most.
            size: rows of the batch.
        """
        draw = generator(seed, 0, step, "channels")
        # any of the rows: were they the last ones, as those in rooms are, each of these would have its channel
        rows = clean + draw.permutation(size - clean)[:count]
        kinds = weighted(draw.random(size), self._weights)
        chosen = np.full(size, -1)
        chosen[rows] = kinds[rows]
        return chosen


class Batches:
    """The batches of one training stage; ``render(step)`` is the same whoever asks, whenever, in whatever order.

    Speech, and noise where the stage has any, are decoded at once. Of a job of several processes each renders its rows
    of the batch, those of its rank and every so many further, so that together they see what one would see alone.

    Args:
        manifest: the training speech.
        bank: noise and rooms.
        stage: sizes, shares and mixtures.
        seed: of every draw.
        device: where batches are made; may be set later.
    """

    def __init__(
        self, manifest: Manifest, bank: NoiseBank, stage: Train, seed: int, device: torch.device = CPU
    ) -> None:
        self.stage, self.seed, self.device = stage, seed, device
        self.share = slice(runtime.rank(), None, runtime.world())
        self.mix = NoiseMix(tuple(stage.noise.kinds.items()), stage.noise.snr_db)
        self.crop_samples = round(stage.crop_s * SAMPLE_RATE)
        classes = {speaker: i for i, speaker in enumerate(manifest.speakers)}
        self.labels = np.array([classes.get(utterance.speaker, 0) for utterance in manifest.utterances])
        builder = PoolBuilder()
        self.crops = Crops(manifest.utterances, builder, self.crop_samples)
        self.library: NoiseAugmenter | None = None
        longest = self.crops.source_samples
        if stage.clean_share < 1:
            self.library = NoiseAugmenter(bank, builder, self.crop_samples, [voices(u) for u in manifest.utterances])
            longest = max(longest, self.library.source_samples)
        self.rooms: RirSampler | None = None
        if stage.rooms.share > 0:
            self.rooms = RirSampler(bank.rooms, stage.rooms.rt60_s, builder, self.crops.source_samples)
        self.channels = ChannelSampler(stage.channels) if stage.channels.share > 0 else None
        self.pool = Pool(builder, longest, "reading speech and noise")
        self._order = lru_cache(maxsize=2)(self._permutation)

    def render(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self.compose(step)[0]

    def compose(self, step: int) -> tuple[Batch, Composition]:
        """Return the batch of a step, and what it was made of."""
        size = self.stage.batch_size
        chosen = self._chosen(step * size, size)[self.share]
        clean = self._count(step, self.stage.clean_share)
        noisy = (np.arange(size) >= clean)[self.share]
        draws = generator(self.seed, 0, step, "batch").random((size, Crops.DRAWS + 3 + NoiseAugmenter.DRAWS))[
            self.share
        ]
        size = len(chosen)
        waves, starts = self.crops.gather(self.pool, chosen, draws[:, : Crops.DRAWS], self.device)
        untouched = waves.clone() if self.stage.needs_clean_pair else None
        responses, rooms = self._draw_rooms(noisy, waves.shape[1], step)
        own = draws[:, Crops.DRAWS :]
        kinds, snr_db = np.full(size, -1), np.full(size, np.nan)
        noise = layers = ratios = None
        # clean rows come first: those with noise, and among them those in rooms, are the last ones
        rows = np.flatnonzero(noisy)
        if self.library is not None and len(rows):
            kinds[rows], snr_db[rows] = self._conditions(self.library, own[rows, 0], own[rows, 1])
            noise, layers = self.library.draw(self.pool, kinds[rows], chosen[rows], own[rows, 3:], self.device)
            ratios = sent(snr_db[rows], self.device)
        channels = self._draw_channels(clean, step)
        waves, added = render_rows(
            waves,
            responses=responses,
            noise=noise,
            snr_db=ratios,
            snr=self.stage.noise.snr,
            channels=self.channels.channels if self.channels is not None else (),
            through=channels,
        )
        if added is not None:  # where speech or noise is silent there is none
            silent = rows[(added.gains == 0.0).cpu().numpy()]
            noisy[silent], kinds[silent], snr_db[silent] = False, -1, np.nan
        gains = 10.0 ** ((self.stage.gain_db[0] + own[:, 2] * np.ptp(self.stage.gain_db)) / 20.0)
        if self.stage.gain_db != (0.0, 0.0):
            for heard in (waves,) if untouched is None else (waves, untouched):
                heard *= sent(gains.astype(np.float32), self.device).unsqueeze(1)
        batch = Batch(
            waves=waves,
            lengths=torch.full((size,), self.crop_samples, dtype=torch.int64),
            utterances=sent(chosen, self.device),
            labels=sent(self.labels[chosen], self.device),
            noisy=sent(noisy, self.device),
            clean=untouched,
        )
        return batch, Composition(starts, kinds, snr_db, layers, gains, rooms, channels)

    def _draw_rooms(self, noisy: NDArray[np.bool_], length: int, step: int) -> tuple[Tensor | None, Indices]:
        """Return the responses of the last rows of the batch, of those that are `noisy`, and where they lie."""
        size = self.stage.batch_size
        rooms = np.full(len(noisy), -1)
        if self.rooms is None:
            return None, rooms
        rows = np.flatnonzero((np.arange(size) >= size - self._count(step, self.stage.rooms.share))[self.share] & noisy)
        if not len(rows):
            return None, rooms
        draws = generator(self.seed, 0, step, "rooms").random((size, RirSampler.DRAWS))[self.share][rows]
        responses, rooms[rows] = self.rooms.draw(self.pool, length, draws, self.device)
        return responses, rooms

    def _draw_channels(self, clean: int, step: int) -> Indices:
        if self.channels is None:
            return np.full(self.stage.batch_size, -1)[self.share]
        count = self._count(step, self.stage.channels.share)
        return self.channels.draw(self.seed, step, clean, count, self.stage.batch_size)[self.share]

    def _conditions(
        self, library: NoiseAugmenter, kind: NDArray[np.float64], ratio: NDArray[np.float64]
    ) -> tuple[Indices, NDArray[np.float64]]:
        places = np.array([library.kinds.index(name) for name, _ in self.mix.kinds])
        chosen, snr_db = self.mix.choose(kind, ratio)
        return places[chosen], snr_db

    def _count(self, step: int, share: float) -> int:
        """Return how many rows of the batch of a step make a share."""

        # counted over all steps, so that a share of 15 % of 48 is kept in the long run: 7, 7, 7, 7, 8, ...
        def before(steps: int) -> int:
            return int(np.floor(steps * self.stage.batch_size * share + 1e-9))

        return before(step + 1) - before(step)

    def _chosen(self, first: int, size: int) -> Indices:
        """Return (size,) utterances: places `first` and following of all epochs one after the other."""
        epochs, places = np.divmod(np.arange(first, first + size), len(self.labels))
        return np.concatenate([self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])

    def _permutation(self, epoch: int) -> Indices:
        return generator(self.seed, epoch, 0, "order").permutation(len(self.labels))


class _OfThread(threading.local):
    """The CUDA stream on which a worker makes its batches."""

    stream: Any = None


class _Apart:
    """Batches made on CUDA streams apart from the model's, one a worker.

    What a maker has to wait for, the level of a crop for example, would otherwise come after all the work of the model
    that was queued before it, and nothing would be made ahead.
    """

    def __init__(self, render: Callable[[int], Batch], device: torch.device) -> None:
        self.render, self.device = render, device
        self._own = _OfThread()

    def made(self, step: int) -> tuple[Batch, Any]:
        """Return the batch of a step, and the event after which it is there; called by a worker."""
        if self.device.type != "cuda":
            return self.render(step), None
        if self._own.stream is None:
            self._own.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._own.stream):
            return self.render(step), self._own.stream.record_event()

    def received(self, made: tuple[Batch, Any]) -> Batch:
        """Return the batch for the stream of the caller, which waits for it there; the processor does not."""
        batch, ready = made
        if ready is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(ready)
            for field in batch:
                if field is not None and field.device.type == "cuda":
                    field.record_stream(stream)  # its memory is not given to the next batch before it was used here
        return batch


def prefetch(
    render: Callable[[int], Batch], steps: range, workers: int, ahead: int = 4, device: torch.device = CPU
) -> Iterator[Batch]:
    """Yield the batch of each step in order, rendered by `workers` threads at most `ahead` steps early.

    With 0 workers each batch is rendered when it is asked for; the batches are the same. A worker takes one thread of
    torch, and a CUDA stream of its own, so that it does not stand in the way of the model.

    Args:
        render: gives the batch of a step.
        steps: in order.
        workers: threads.
        ahead: batches that may be finished before they are asked for.
        device: where batches are made.
    """
    if workers == 0:
        yield from map(render, steps)
        return
    apart = _Apart(render, device)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, "render", initializer=lambda: torch.set_num_threads(1)) as pool:
        waiting: list[Future[tuple[Batch, Any]]] = []
        upcoming = iter(steps)
        try:
            for step in upcoming:
                waiting.append(pool.submit(apart.made, step))
                if len(waiting) > max(ahead, workers):
                    yield apart.received(waiting.pop(0).result())
            while waiting:
                yield apart.received(waiting.pop(0).result())
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)
