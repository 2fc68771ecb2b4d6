"""Rooms drawn one at a time and in batches: recorded, made, and both."""

import pickle

import numpy as np
import pytest
import soundfile
import torch

from voxanchor.audio.noise import Clip
from voxanchor.audio.pcm import Pool, PoolBuilder
from voxanchor.audio.rooms import PIECES, RirSampler, Rooms, load_room
from voxanchor.errors import CorpusError

RATE = 16_000
LENGTH = 6_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("rooms")
    made = []
    for number, rt60 in enumerate((0.2, 0.5, 0.9)):
        time_s = np.arange(round(rt60 * RATE)) / RATE
        wave = 0.1 * np.random.default_rng(number).standard_normal(len(time_s)) * 10.0 ** (-3.0 * time_s / rt60)
        wave[0] = 0.9
        path = folder / f"{number}.wav"
        soundfile.write(path, np.concatenate([np.zeros(100), wave]), RATE, subtype="PCM_16")
        made.append(Clip(str(path), "", 0.0, (len(wave) + 100) / RATE))
    return made


def stock(rooms: Rooms, length: int = LENGTH, longest: int = LENGTH) -> tuple[RirSampler, Pool]:
    builder = PoolBuilder()
    found = RirSampler(rooms, (0.2, 0.6), builder, longest)
    return found, Pool(builder, longest, "test")


def test_recorded_rooms_are_drawn_equally_and_synthetic_ones_where_a_time_is_stated(clips: list[Clip]) -> None:
    rooms = Rooms(clips)
    generator = np.random.default_rng(0)
    names = [rooms.draw(None, generator).name for _ in range(300)]
    assert min(names.count(f"{number}.wav") for number in range(3)) > 70
    assert rooms.draw(0.4, generator).rt60_s == pytest.approx(0.4, rel=0.05)
    assert pickle.loads(pickle.dumps(rooms)).draw(None, np.random.default_rng(0)).name == names[0]
    assert rooms.summary == "recorded, 3 rooms"


def test_without_recordings_only_synthetic_rooms_can_be_drawn() -> None:
    rooms = Rooms()
    assert rooms.draw(0.4, np.random.default_rng(0)).name == "synthetic room"
    with pytest.raises(CorpusError, match="--rooms"):
        rooms.draw(None, np.random.default_rng(0))
    assert rooms.summary == "synthetic rooms alone"


def test_fingerprints_tell_what_would_be_heard(clips: list[Clip]) -> None:
    assert Rooms(clips).fingerprint_of(None) == Rooms(clips[::-1]).fingerprint_of(None)
    assert Rooms(clips).fingerprint_of(None) != Rooms(clips[:2]).fingerprint_of(None)
    assert Rooms(clips).fingerprint_of(0.3) == Rooms().fingerprint_of(0.3) != Rooms().fingerprint_of(0.4)


@pytest.mark.parametrize("longest", [LENGTH, LENGTH + 500])
def test_a_batch_holds_the_recorded_responses_with_zeros_behind_them(clips: list[Clip], longest: int) -> None:
    found, pool = stock(Rooms(clips), longest=longest)
    assert len(pool) == 3
    draws = np.random.default_rng(0).random((40, RirSampler.DRAWS))
    responses, items = found.draw(pool, LENGTH, draws, torch.device("cpu"))
    assert responses.shape == (40, LENGTH)
    assert set(items.tolist()) == {0, 1, 2}
    for response, item in zip(responses.numpy(), items.tolist(), strict=True):
        taps = load_room(clips[item]).taps[:LENGTH]
        np.testing.assert_allclose(response[: len(taps)], taps, atol=float(np.abs(taps).max()) / 32_000)
        assert not response[len(taps) :].any()


def test_made_and_recorded_rooms_have_their_shares(clips: list[Clip]) -> None:
    found, pool = stock(Rooms(clips, 0.25))
    assert len(pool) == 3 + PIECES
    _, items = found.draw(pool, LENGTH, np.random.default_rng(0).random((2000, RirSampler.DRAWS)), torch.device("cpu"))
    assert (items >= 3).mean() == pytest.approx(0.25, abs=0.03)
    assert len(np.unique(items)) > 100
    alone, pool = stock(Rooms())
    assert len(pool) == PIECES
    one, _ = alone.draw(pool, LENGTH, np.full((1, RirSampler.DRAWS), 0.999), torch.device("cpu"))
    other, other_pool = stock(Rooms())
    again, _ = other.draw(other_pool, LENGTH, np.full((1, RirSampler.DRAWS), 0.999), torch.device("cpu"))
    np.testing.assert_array_equal(one.numpy(), again.numpy())
