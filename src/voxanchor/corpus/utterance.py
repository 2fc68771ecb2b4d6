"""One utterance of one speaker: stretches of one or more files, read as a single waveform."""

from dataclasses import dataclass, replace

import numpy as np

from voxanchor.audio.downmix import Channel
from voxanchor.audio.pcm import Pcm, Stored, encode, known_usable, load
from voxanchor.audio.resampling import rerated
from voxanchor.errors import CorpusError
from voxanchor.types import SAMPLE_RATE, Waveform

_FADE_SAMPLES = 80  # 5 ms: no click where two parts meet


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one recording.

    Attributes:
        path: the file; of a recording in a pack the name it is known by, below the pack's folder.
        start_s: where in the recording it starts.
        duration_s: how long it is; to the end of the recording when None.
        stored: where a pack keeps the recording, the whole of it; None for a file.
        channel: which channel of a file is heard.
    """

    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    stored: Stored | None = None
    channel: Channel = "mix"

    def pcm(self) -> Pcm:
        """Return the part in 16 bits, as `voxanchor.audio.pcm.load`."""
        return load(self.path, self.start_s, self.duration_s, self.stored, self.channel)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech by one speaker.

    Attributes:
        id: unique in its manifest; the path inside the corpus folder for a whole file.
        speaker: who speaks; empty when that is not known.
        duration_s: length in seconds.
        parts: what it is made of, in order. Several parts all state their duration.
        session: of the speaker: a video, a chapter, a sub-folder; empty when the layout has none.
        recording: the recording it was cut from. Comparing two pieces of one recording says little about the speaker.
        speed: how fast its parts are played, pitch and tempo together; `duration_s` is what then is heard.
    """

    id: str
    speaker: str
    duration_s: float
    parts: tuple[Part, ...]
    session: str = ""
    recording: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not self.parts:
            raise CorpusError(f"utterance {self.id} has no parts")
        if len(self.parts) > 1 and any(part.duration_s is None for part in self.parts):
            raise CorpusError(f"utterance {self.id}: of several parts each must state its duration_s")
        if not 0.5 <= self.speed <= 2.0:
            raise CorpusError(f"utterance {self.id}: a speed lies between 0.5 and 2, not at {self.speed}")

    def played_at(self, speed: float) -> "Utterance":
        """Return the utterance `speed` times as fast: another voice, and so another speaker, utterance and recording.

        Speaker augmentation by speed: pitch and formants move with the tempo.
        """
        mark = f"@{speed:g}"
        return replace(
            self,
            id=self.id + mark,
            speaker=self.speaker + mark if self.speaker else "",
            duration_s=self.duration_s / speed,
            recording=self.recording + mark if self.recording else "",
            speed=self.speed * speed,
        )

    def read(self, start_s: float = 0.0, duration_s: float | None = None) -> Waveform:
        """Return (T,) float32 at 16 kHz: the utterance, or a crop of it that decodes only the parts it needs.

        Recordings are heard in 16 bits (`voxanchor.audio.pcm.load`), from files as from a pack. Parts follow one
        another without a gap; where two meet, the first fades out and the second fades in over 5 ms.

        Args:
            start_s: where the crop begins, from the beginning of the utterance.
            duration_s: length of the crop; to the end of the utterance when None.

        Raises:
            AudioError: if a file cannot be read, or ends before the crop does.
            CorpusError: if the crop lies outside the utterance.
        """
        if self.speed == 1.0:
            return self._read(start_s, duration_s)
        source = self._read(start_s * self.speed, None if duration_s is None else duration_s * self.speed)
        played = rerated(source, self.speed, 1.0)
        return played if duration_s is None else np.resize(played, _samples(duration_s))

    def pcm(self) -> Pcm:
        """Return the utterance in 16 bits: a slice of a mapped file where it lies in one, and nothing is decoded.

        Raises:
            AudioError: if a file cannot be read.
        """
        if len(self.parts) == 1 and self.speed == 1.0:
            return self.parts[0].pcm()
        return encode(self.read())

    def _read(self, start_s: float, duration_s: float | None) -> Waveform:
        """Return the parts as recorded; times are those of the source."""
        only = self.parts[0]
        if only.duration_s is None:
            return replace(only, start_s=only.start_s + start_s, duration_s=duration_s).pcm().waveform()
        pieces = []
        for part, lead_samples, piece in self._within(start_s, duration_s):
            waveform = piece.pcm().waveform()
            at = np.arange(lead_samples, lead_samples + len(waveform), dtype=np.float32)
            length = _samples(part.duration_s)
            gain = np.ones(len(waveform), dtype=np.float32)
            if part is not self.parts[0]:
                gain = np.minimum(gain, (at + 0.5) / _FADE_SAMPLES)
            if part is not self.parts[-1]:
                gain = np.minimum(gain, np.maximum(length - at - 0.5, 0.0) / _FADE_SAMPLES)
            pieces.append((waveform * gain).astype(np.float32))
        return np.concatenate(pieces)

    def crop(self, start_s: float, duration_s: float) -> tuple[Part, ...]:
        """Return the parts of a stretch of the utterance, for an utterance cut out of this one.

        Raises:
            CorpusError: if the stretch lies outside the utterance.
        """
        only = self.parts[0]
        if only.duration_s is None and (start_s < 0.0 or start_s + duration_s > self.duration_s + 1.0 / SAMPLE_RATE):
            raise self._outside(start_s, duration_s)
        start_s, duration_s = start_s * self.speed, duration_s * self.speed
        if only.duration_s is None:
            return (replace(only, start_s=only.start_s + start_s, duration_s=duration_s),)
        return tuple(piece for _, _, piece in self._within(start_s, duration_s))

    def _within(self, start_s: float, duration_s: float | None) -> list[tuple[Part, int, Part]]:
        """Return (part, samples of it before the crop, the piece of it inside the crop) for every part touched."""
        first = _samples(start_s)
        total = sum(_samples(part.duration_s) for part in self.parts)
        end = total if duration_s is None else min(first + _samples(duration_s), total)
        asked = end if duration_s is None else first + _samples(duration_s)
        if first < 0 or end <= first or asked > total + 1:
            raise self._outside(start_s, duration_s)
        found, position = [], 0
        for part in self.parts:
            length = _samples(part.duration_s)
            low, high = max(first - position, 0), min(end - position, length)
            if low < high:
                start = part.start_s + low / SAMPLE_RATE
                found.append((part, low, replace(part, start_s=start, duration_s=(high - low) / SAMPLE_RATE)))
            position += length
        return found

    def _outside(self, start_s: float, duration_s: float | None) -> CorpusError:
        length = "the rest" if duration_s is None else f"{duration_s:.3f} s"
        return CorpusError(
            f"utterance {self.id} is {self.duration_s:.3f} s long: {length} from {start_s:.3f} s is outside"
        )


def read_known(utterance: Utterance) -> Waveform:
    """Return what `Utterance.read` does of an utterance that was usable when its corpus was scanned.

    Raises:
        AudioError: it cannot be read any more; says what to do.
    """
    with known_usable():
        return utterance.read()


def _samples(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * SAMPLE_RATE)
