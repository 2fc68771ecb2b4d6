"""Cutting and joining recordings, on files whose speech is a tone between silences."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.snr import active_s
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.segments import join_short, segment
from voxanchor.errors import RecipeError

RATE = 16_000


def tone(path: Path, *stretches: tuple[float, float]) -> Utterance:
    """Write (silence, sound) stretches in seconds and return the utterance ``<speaker>/<stem>``."""
    pieces = []
    for silence_s, sound_s in stretches:
        pieces.append(np.zeros(round(silence_s * RATE)))
        pieces.append(0.3 * np.sin(2 * np.pi * 220 * np.arange(round(sound_s * RATE)) / RATE))
    samples = np.concatenate(pieces)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return Utterance(path.stem, path.stem.split("-")[0], len(samples) / RATE, (Part(str(path)),), recording=path.stem)


def test_a_long_recording_becomes_consecutive_segments(tmp_path: Path) -> None:
    long = tone(tmp_path / "a-1.wav", (0.0, 10.0))
    found = segment(Manifest((long,)), 3.0)
    assert [u.id for u in found.utterances] == ["a-1#0", "a-1#1", "a-1#2"]  # the last second is too short
    assert {u.recording for u in found.utterances} == {"a-1"}
    assert {u.speaker for u in found.utterances} == {"a"}
    joined = np.concatenate([u.read() for u in found.utterances])
    np.testing.assert_array_equal(joined, long.read()[: 9 * RATE])
    assert not found.unusable


def test_the_end_is_kept_when_long_enough(tmp_path: Path) -> None:
    found = segment(Manifest((tone(tmp_path / "a-1.wav", (0.0, 4.9)),)), 3.0)
    assert [u.duration_s for u in found.utterances] == pytest.approx([3.0, 1.9])
    assert [len(u.read()) for u in found.utterances] == [48_000, 30_400]


def test_exactly_one_segment(tmp_path: Path) -> None:
    found = segment(Manifest((tone(tmp_path / "a-1.wav", (0.0, 3.0)),)), 3.0)
    assert [u.duration_s for u in found.utterances] == [3.0]


def test_at_most_so_many_from_one_recording(tmp_path: Path) -> None:
    whole = Manifest((tone(tmp_path / "a-1.wav", (0.0, 6.5)), tone(tmp_path / "b-1.wav", (0.0, 3.5))))
    found = segment(whole, 1.0, max_per_recording=4)
    assert [u.id for u in found.utterances] == [f"a-1#{k}" for k in range(4)] + [f"b-1#{k}" for k in range(3)]


def test_a_pause_as_long_as_a_segment_is_no_segment(tmp_path: Path) -> None:
    found = segment(Manifest((tone(tmp_path / "a-1.wav", (0.0, 3.0), (3.1, 2.9)),)), 3.0)
    assert [u.id for u in found.utterances] == ["a-1#0", "a-1#2"]
    assert [(u.path, u.reason) for u in found.unusable] == [("a-1#1", "hardly any speech from 3.0 s to 6.0 s")]
    first_two = segment(Manifest((tone(tmp_path / "a-1.wav", (3.1, 8.0)),)), 3.0, max_per_recording=2)
    assert [u.id for u in first_two.utterances] == ["a-1#1", "a-1#2"]  # the pause does not count


def test_words_are_joined_without_their_silence(tmp_path: Path) -> None:
    words = tuple(tone(tmp_path / f"a-{k}.wav", (0.8, 0.6), (0.6, 0.0)) for k in range(7))
    found = join_short(Manifest(words), 2.0)
    assert [u.id for u in found.utterances] == ["a-0+a-2", "a-3+a-5", "a-6"]
    assert [u.duration_s for u in found.utterances] == pytest.approx([2.1, 2.1, 0.7], abs=0.05)  # 0.6 + 2 x 0.05 each
    for utterance in found.utterances:
        waveform = utterance.read()
        assert len(waveform) == round(utterance.duration_s * RATE)
        assert active_s(waveform) == pytest.approx(0.6 / 0.7 * utterance.duration_s, rel=0.06)  # frames of 20 ms
    segments = segment(Manifest(words), 2.0)
    assert [u.id for u in segments.utterances] == ["a-0+a-2#0", "a-3+a-5#0"]
    assert [u.recording for u in segments.utterances] == ["a-0", "a-3"]  # words of two utterances are two recordings
    assert [u.path for u in segments.unusable] == ["a-6"]
    assert "too short" in segments.unusable[0].reason


def test_only_one_speaker_and_session_are_joined(tmp_path: Path) -> None:
    base = [tone(tmp_path / f"{s}-{k}.wav", (0.0, 0.9)) for s in "ab" for k in range(4)]
    utterances = tuple(
        Utterance(u.id, u.speaker, u.duration_s, u.parts, session=str(k % 2), recording=u.id)
        for k, u in enumerate(base)
    )
    found = join_short(Manifest(utterances), 1.5)
    assert [u.id for u in found.utterances] == ["a-0+a-2", "a-1+a-3", "b-0+b-2", "b-1+b-3"]
    assert [u.session for u in found.utterances] == ["0", "1", "0", "1"]


def test_long_and_unlabelled_recordings_pass_unchanged(tmp_path: Path) -> None:
    long = tone(tmp_path / "a-1.wav", (1.0, 2.0))
    unknown = tuple(
        Utterance(u.id, "", u.duration_s, u.parts)
        for u in (tone(tmp_path / "x.wav", (0.0, 0.5)), tone(tmp_path / "y.wav", (0.0, 0.5)))
    )
    whole = Manifest((long, *unknown))
    assert join_short(whole, 3.0).utterances[1:] == unknown
    assert join_short(whole, 2.0).utterances == whole.utterances  # 2 s of sound and 50 ms before it
    assert join_short(whole, 0.9).utterances == whole.utterances


def test_a_silent_or_unreadable_word_is_listed(tmp_path: Path) -> None:
    good = tone(tmp_path / "a-1.wav", (0.0, 0.9))
    silent = tone(tmp_path / "a-2.wav", (0.9, 0.0))
    gone = Utterance("a-3", "a", 0.9, (Part(str(tmp_path / "a-3.wav")),))
    found = join_short(Manifest((good, silent, gone)), 3.0)
    assert [u.id for u in found.utterances] == ["a-1"]
    assert [(u.path, "silent" in u.reason or "no such" in u.reason) for u in found.unusable] == [
        ("a-2", True),
        ("a-3", True),
    ]


def test_a_long_recording_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    gone = Utterance("a", "a", 9.0, (Part(str(tmp_path / "a.wav")),))
    found = segment(Manifest((gone,)), 3.0)
    assert (len(found), [u.path for u in found.unusable]) == (0, ["a"])


@given(st.lists(st.floats(0.35, 4.0), min_size=1, max_size=6), st.floats(0.5, 2.5))
@settings(max_examples=15, deadline=None)
def test_segments_have_the_length_asked_for(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[float], segment_s: float
) -> None:
    folder = tmp_path_factory.mktemp("lengths")
    whole = Manifest(tuple(tone(folder / f"a-{k}.wav", (0.0, length)) for k, length in enumerate(lengths)))
    found = segment(whole, segment_s)
    for utterance in found.utterances:
        assert 0.6 * segment_s - 1e-4 <= utterance.duration_s <= segment_s + 1e-4
        assert abs(len(utterance.read()) - utterance.duration_s * RATE) <= 1
    assert found.hours <= whole.hours + 1e-9
    assert segment(whole, segment_s).fingerprint == found.fingerprint


@pytest.mark.parametrize(("segment_s", "most"), [(0.0, None), (-1.0, None), (3.0, 0)])
def test_impossible_lengths_are_refused(segment_s: float, most: int | None) -> None:
    with pytest.raises(RecipeError, match="above 0"):
        segment(Manifest(()), segment_s, most)
    if most is None:
        with pytest.raises(RecipeError, match="above 0"):
            join_short(Manifest(()), segment_s)
