"""Rooms that are made have the reverberation time that was asked for."""

import numpy as np
import pytest

from voxanchor.audio.rooms import rt60_s, synthetic_room
from voxanchor.errors import RecipeError

RATE = 16_000


@pytest.mark.parametrize("asked", [0.1, 0.2, 0.3, 0.6, 1.0, 2.0, 3.0])
def test_the_measured_reverberation_time_is_the_one_asked_for(asked: float) -> None:
    for seed in range(12):
        made = synthetic_room(asked, np.random.default_rng(seed))
        for fall_db in (20.0, 30.0):
            assert rt60_s(made.taps.astype(np.float64), fall_db) == pytest.approx(asked, rel=0.1)
        assert made.rt60_s == pytest.approx(asked, rel=0.05)
        assert made.taps[0] > 0
        assert len(made.taps) <= 3 * RATE


def test_a_room_depends_on_its_generator_alone_and_rooms_differ() -> None:
    one, same, other = (synthetic_room(0.4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.taps, same.taps)
    assert not np.array_equal(one.taps, other.taps)
    clarity = [synthetic_room(0.6, np.random.default_rng(seed)).c50_db for seed in range(30)]
    assert max(clarity) - min(clarity) > 3  # near and far talkers


def test_longer_reverberation_is_less_clear() -> None:
    means = [np.mean([synthetic_room(t, np.random.default_rng(s)).c50_db for s in range(20)]) for t in (0.3, 0.6, 1.2)]
    assert means[0] > means[1] > means[2]


def test_reflections_grow_dense_and_are_duller_than_the_direct_sound() -> None:
    made = [synthetic_room(0.6, np.random.default_rng(seed)).taps for seed in range(20)]
    late = np.mean([np.abs(np.fft.rfft(taps[800:8000])) for taps in made], axis=0)
    assert late[:450].mean() > 1.5 * late[-450:].mean()
    # how much of the energy of 5 ms lies in its loudest sample: most of sparse reflections, little of dense ones
    sparse, dense = (np.mean([_loudest(taps[at : at + 80]) for taps in made]) for at in (40, 4000))
    assert sparse > 2 * dense


def _loudest(taps: np.ndarray) -> float:
    return float(np.square(taps).max() / np.square(taps).sum())


@pytest.mark.parametrize("asked", [0.0, 0.05, 3.5, float("nan"), -1.0])
def test_times_that_no_room_has_are_refused(asked: float) -> None:
    with pytest.raises(RecipeError, match=r"from 0\.1 to 3 s"):
        synthetic_room(asked, np.random.default_rng(0))
