"""Synthetic music: short pieces composed from a seed."""

from typing import Any

import numpy as np

from voxanchor.audio.clips import at_speed, digest, fit, source_length
from voxanchor.audio.instruments import INSTRUMENTS, Instrument, hat, kick, play, snare
from voxanchor.audio.level import active_frames, level_db
from voxanchor.audio.sources import Noise
from voxanchor.errors import CorpusError
from voxanchor.rng import generator as named_generator
from voxanchor.types import SAMPLE_RATE, BoolArray, Waveform

_VERSION = 1
_LEVEL_DB = -20.0
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (5, 3, 0, 4), (0, 3, 0, 4), (1, 4, 0, 5), (0, 6, 5, 4), (0, 2, 3, 4),
)  # fmt: skip
_STYLES = ("held", "broken", "struck")


class SyntheticMusic:
    """Crops of short composed pieces, each played a little faster or slower, higher or lower.

    Pieces are rendered when first drawn (about 10 ms each) and kept; what a draw returns depends on its generator only.

    Args:
        seed: which pieces: training and evaluation take different seeds, so that no piece is heard in both.
        pieces: how many there are.
        piece_s: length of each.

    Raises:
        CorpusError: no pieces, or pieces of less than a second.
    """

    def __init__(self, seed: int = 0, pieces: int = 48, piece_s: float = 12.0) -> None:
        if pieces < 1 or piece_s < 1.0:
            raise CorpusError(f"synthetic music needs at least one piece of at least 1 s, not {pieces} of {piece_s} s")
        self.seed, self.pieces, self.piece_s = seed, pieces, piece_s
        self._rendered: dict[int, tuple[Waveform, BoolArray]] = {}

    def draw(
        self,
        length: int,
        generator: np.random.Generator,
        exclude: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Noise:
        """Return music described by its piece; nobody is heard in it, so `exclude` changes nothing."""
        index = int(generator.integers(self.pieces))
        if index not in self._rendered:
            piece = compose(self.piece_s, named_generator(self.seed, 0, index, f"music/{_VERSION}"))
            self._rendered[index] = (piece, active_frames(piece))
        piece, active = self._rendered[index]
        speed = float(generator.uniform(0.85, 1.18))
        crop = fit(piece, source_length(length, speed), generator, active=active)
        return Noise(at_speed(crop, speed, length), f"synthetic music, piece {index}")

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the seed, the number and length of pieces, and the version of the composer."""
        return digest("synthetic music", _VERSION, self.seed, self.pieces, self.piece_s)

    @property
    def summary(self) -> str:
        """How many pieces, from which seed."""
        return f"synthetic, {self.pieces} pieces of {self.piece_s:g} s (seed {self.seed})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rendered": {}}


def compose(duration_s: float, generator: np.random.Generator) -> Waveform:
    """Return (T,) float32 at -20 dBFS RMS: chords, bass, often a tune and drums, in a key and tempo of their own."""
    length = round(duration_s * SAMPLE_RATE)
    out = np.zeros(length + 2 * SAMPLE_RATE, dtype=np.float32)
    beat = int(60.0 / generator.uniform(70.0, 150.0) * SAMPLE_RATE)
    scale = _SCALES[int(generator.integers(len(_SCALES)))]
    root = int(generator.integers(41, 53))
    progression = _PROGRESSIONS[int(generator.integers(len(_PROGRESSIONS)))]
    names = tuple(INSTRUMENTS)
    chords, tune = (INSTRUMENTS[names[int(i)]] for i in generator.integers(0, len(names), 2))
    style = _STYLES[int(generator.integers(len(_STYLES)))]
    with_tune, with_drums, with_bass = generator.random(3) < (0.7, 0.5, 0.8)
    degree = 7
    for bar, start in enumerate(range(0, length, 4 * beat)):
        steps = [progression[bar % len(progression)] + third for third in (0, 2, 4)]
        _chord(out, start, beat, chords, [_hz(root + 12, scale, step) for step in steps], style, generator)
        if with_bass:
            for half in (0, 2):
                note = play(INSTRUMENTS["plucked"], _hz(root - 12, scale, steps[0]), 2 * beat, generator)
                _add(out, start + half * beat, note, 0.7)
        if with_tune:
            at = 0.0
            while at < 4.0:
                beats = float(generator.choice((0.5, 0.5, 1.0, 1.0, 2.0)))
                degree = int(np.clip(degree + generator.integers(-2, 3), 3, 14))
                if generator.random() < 0.85:
                    note = play(tune, _hz(root + 12, scale, degree), int(beats * beat), generator)
                    _add(out, start + int(at * beat), note, 0.6)
                at += beats
        if with_drums:
            for eighth in range(8):
                hit = hat if eighth % 2 else (kick if eighth % 4 == 0 else snare)
                _add(out, start + eighth * beat // 2, hit(generator), 0.5)
    piece = out[:length]
    return piece * np.float32(10.0 ** ((_LEVEL_DB - level_db(piece)) / 20.0))


def _chord(
    out: Waveform,
    start: int,
    beat: int,
    instrument: Instrument,
    pitches_hz: list[float],
    style: str,
    generator: np.random.Generator,
) -> None:
    """Add one bar of a chord: held, broken into single notes, or struck on every beat."""
    if style == "broken":
        for eighth in range(8):
            pitch_hz = pitches_hz[eighth % 3]
            _add(out, start + eighth * beat // 2, play(instrument, pitch_hz, beat, generator), 0.5)
        return
    beats = 4 if style == "held" else 1
    for at in range(0, 4, beats):
        for pitch_hz in pitches_hz:
            _add(out, start + at * beat, play(instrument, pitch_hz, beats * beat, generator), 0.35)


def _add(out: Waveform, start: int, sound: Waveform, gain: float) -> None:
    end = min(len(out), start + len(sound))
    if end > start:
        out[start:end] += np.float32(gain) * sound[: end - start]


def _hz(root: int, scale: tuple[int, ...], degree: int) -> float:
    """Return the frequency of a step of the scale above a MIDI note."""
    octave, step = divmod(degree, len(scale))
    return float(440.0 * 2.0 ** ((root + scale[step] + 12 * octave - 69) / 12.0))
