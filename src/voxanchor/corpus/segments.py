"""Cutting long recordings into segments, and joining short ones, so that utterances have the length a trial needs."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

import numpy as np

from voxanchor.audio.snr import FRAME_SAMPLES, active_frames
from voxanchor.corpus.manifest import Manifest, Part, Unusable, Utterance
from voxanchor.errors import RecipeError, VoxanchorError
from voxanchor.runtime import track
from voxanchor.types import SAMPLE_RATE

SHORTEST_SHARE = 0.6
"""Shortest segment that is kept, as a share of the length asked for."""

SHORTEST_SPEECH = 0.1
"""Least active speech in a segment that is kept, as a share of its length."""

_LOOKED_INTO = 3.0  # times the target: a longer file is taken to hold enough speech
_SILENCE_KEPT_S = 0.05
_THREADS = 8


def _trimmed(utterance: Utterance) -> tuple[Part, ...] | str:
    """Return the parts from 50 ms before the first active frame to 50 ms after the last; or why there are none."""
    try:
        waveform = utterance.read()
        active = np.flatnonzero(active_frames(waveform))
        if len(active) == 0:
            return "silent"
        start_s = max(int(active[0]) * FRAME_SAMPLES / SAMPLE_RATE - _SILENCE_KEPT_S, 0.0)
        end = min((int(active[-1]) + 1) * FRAME_SAMPLES / SAMPLE_RATE + _SILENCE_KEPT_S, len(waveform) / SAMPLE_RATE)
        return utterance.crop(start_s, end - start_s)
    except VoxanchorError as error:
        return str(error)


def _length_s(parts: Sequence[Part]) -> float:
    return sum(part.duration_s or 0.0 for part in parts)


def _joined(members: list[Utterance], parts: list[Part]) -> Utterance:
    first, last = members[0], members[-1]
    name = first.id if first is last else f"{first.id}+{last.id.rpartition('/')[2]}"
    recording = first.recording or first.id
    return Utterance(name, first.speaker, _length_s(parts), tuple(parts), first.session, recording)


def _groups(members: Sequence[tuple[Utterance, tuple[Part, ...]]], target_s: float) -> Iterator[Utterance]:
    gathered: list[Utterance] = []
    parts: list[Part] = []
    for utterance, trimmed in members:
        gathered.append(utterance)
        parts += trimmed
        if _length_s(parts) >= target_s:
            yield _joined(gathered, parts)
            gathered, parts = [], []
    if gathered:
        yield _joined(gathered, parts)


def join_short(manifest: Manifest, target_s: float) -> Manifest:
    """Return a manifest in which recordings with less than ``target_s`` of sound are joined until each holds that much.

    Consecutive recordings of one speaker and session are joined, each trimmed of the silence around its speech but
    for 50 ms: a 2 s file of a single word holds 0.6 s between its first and last sound, and that is what counts.
    Longer recordings (those above three times ``target_s`` are not even looked into) and recordings of unknown speakers
    pass unchanged. What is left at the end of a session stays as a shorter utterance.

    Args:
        manifest: the recordings; their order decides which are consecutive.
        target_s: shortest length wanted.

    Raises:
        RecipeError: if ``target_s`` is not above 0.
    """
    if not target_s > 0.0:
        raise RecipeError(f"recordings cannot be joined to {target_s} s; the length must be above 0")
    candidates = [u for u in manifest.utterances if u.speaker and u.duration_s < _LOOKED_INTO * target_s]
    trimmed: dict[str, tuple[Part, ...]] = {}
    unusable: dict[str, Unusable] = {}
    with track("looking for short recordings", len(candidates)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for utterance, outcome in zip(candidates, pool.map(_trimmed, candidates), strict=True):
            if isinstance(outcome, str):
                unusable[utterance.id] = Unusable(utterance.id, outcome)
            elif _length_s(outcome) < target_s:
                trimmed[utterance.id] = outcome
            advance(1)
    result = [u for u in manifest.utterances if u.id not in trimmed and u.id not in unusable]
    short = sorted((u for u in candidates if u.id in trimmed), key=lambda u: (u.speaker, u.session))  # order stays
    for _, members in groupby(short, key=lambda u: (u.speaker, u.session)):
        result += _groups([(u, trimmed[u.id]) for u in members], target_s)
    in_order = tuple(sorted(result, key=lambda u: u.id))
    return replace(manifest, utterances=in_order, unusable=(*manifest.unusable, *unusable.values()))


def _spans(utterance: Utterance, segment_s: float) -> list[tuple[float, float]]:
    """Return (start, length) in seconds of the segments, the last one perhaps shorter."""
    whole = int((utterance.duration_s + 1.0 / SAMPLE_RATE) // segment_s)
    spans = [(index * segment_s, segment_s) for index in range(whole)]
    start_s = whole * segment_s
    if utterance.duration_s - start_s >= SHORTEST_SHARE * segment_s:
        spans.append((start_s, utterance.duration_s - start_s))
    return [(start, min(length, utterance.duration_s - start)) for start, length in spans]


def _spoken(utterance: Utterance, spans: list[tuple[float, float]]) -> list[bool] | str:
    """Return for each span whether at least a tenth of it is active speech; or why the recording cannot be read."""
    if len(utterance.parts) > 1:
        return [True] * len(spans)  # joined recordings were trimmed to their speech
    try:
        waveform = utterance.read()
    except VoxanchorError as error:
        return str(error)
    active = active_frames(waveform)
    frames_per_s = SAMPLE_RATE / FRAME_SAMPLES
    return [
        bool(active[round(start * frames_per_s) : round((start + length) * frames_per_s)].mean() >= SHORTEST_SPEECH)
        for start, length in spans
    ]


def _cut(utterance: Utterance, segment_s: float, most: int | None) -> tuple[list[Utterance], list[Unusable]]:
    """Return the segments of a recording, and what of it has to be left out."""
    spans = _spans(utterance, segment_s)
    if not spans:
        reason = f"too short: {utterance.duration_s:.2f} s of the {segment_s:g} s of a segment"
        return [], [Unusable(utterance.id, reason)]
    spoken = _spoken(utterance, spans)
    if isinstance(spoken, str):
        return [], [Unusable(utterance.id, spoken)]
    segments: list[Utterance] = []
    unusable: list[Unusable] = []
    for index, ((start_s, length_s), enough) in enumerate(zip(spans, spoken, strict=True)):
        name = f"{utterance.id}#{index}"
        if not enough:
            unusable.append(Unusable(name, f"hardly any speech from {start_s:.1f} s to {start_s + length_s:.1f} s"))
        elif most is None or len(segments) < most:
            parts = utterance.crop(start_s, length_s)
            recording = utterance.recording or utterance.id
            segments.append(replace(utterance, id=name, duration_s=length_s, parts=parts, recording=recording))
    return segments, unusable


def segment(manifest: Manifest, segment_s: float, max_per_recording: int | None = None) -> Manifest:
    """Return consecutive segments of ``segment_s`` seconds, which do not overlap, called ``<id>#0``, ``<id>#1``, ...

    Recordings shorter than a segment are first joined (`join_short`). The end of a recording is a segment of its own
    when it reaches 60 % of the length; a recording of which nothing reaches that is listed as unusable, and so is
    every segment of which less than a tenth is active speech.

    Args:
        manifest: the recordings.
        segment_s: length of a segment.
        max_per_recording: most segments taken from one recording, from its beginning; all when None.

    Raises:
        RecipeError: if a length or count is not above 0.
    """
    if not segment_s > 0.0 or (max_per_recording is not None and max_per_recording < 1):
        raise RecipeError(
            f"cannot cut {max_per_recording} segments of {segment_s} s per recording; both must be above 0"
        )
    joined = join_short(manifest, segment_s)
    segments: list[Utterance] = []
    unusable = list(joined.unusable)
    with track("cutting segments", len(joined)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for found, left_out in pool.map(lambda u: _cut(u, segment_s, max_per_recording), joined.utterances):
            segments += found
            unusable += left_out
            advance(1)
    return replace(joined, utterances=tuple(segments), unusable=tuple(unusable))
