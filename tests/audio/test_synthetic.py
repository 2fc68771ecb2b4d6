"""Spectra of generated noise, measured with scipy, and what every generated source promises."""

import pickle

import numpy as np
import pytest
from scipy.signal import welch

from voxanchor.audio.noise import NoiseSource
from voxanchor.audio.snr import active_level_db, level_db
from voxanchor.audio.synthetic import COLOURS, TEXTURES, SyntheticMusic, SyntheticNoise, colour_gain, coloured, compose
from voxanchor.errors import CorpusError
from voxanchor.types import FloatArray


def density_db(colour: str, low_hz: float, high_hz: float) -> float:
    rng = np.random.default_rng(0)
    f, density = welch(coloured(colour, 16_000 * 60, rng), 16_000, nperseg=8192)
    return float(10 * np.log10(density[(f >= low_hz) & (f < high_hz)].mean()))


@pytest.mark.parametrize(("colour", "per_octave_db"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_colours_fall_as_they_should(colour: str, per_octave_db: float) -> None:
    for centre_hz in (125.0, 500.0, 2_000.0):
        low = density_db(colour, centre_hz * 0.95, centre_hz * 1.05)
        high = density_db(colour, 2 * centre_hz * 0.95, 2 * centre_hz * 1.05)
        assert high - low == pytest.approx(per_octave_db, abs=0.6)


def test_speech_shaped_noise_has_the_third_octave_levels_of_byrne() -> None:
    published_db = {125: 57.7, 250: 60.3, 500: 62.1, 1000: 53.7, 2000: 48.7, 4000: 45.6}
    measured: dict[int, float] = {}
    rng = np.random.default_rng(0)
    f, density = welch(coloured("speech_shaped", 16_000 * 60, rng), 16_000, nperseg=8192)
    for centre in published_db:
        band = (f >= centre * 2 ** (-1 / 6)) & (f < centre * 2 ** (1 / 6))
        measured[centre] = float(10 * np.log10(density[band].sum()))
    for centre, level in published_db.items():
        assert measured[centre] - measured[500] == pytest.approx(level - published_db[500], abs=1.5)


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_levelled_and_gaussian(colour: str) -> None:
    x = coloured(colour, 160_000, np.random.default_rng(0)).astype(np.float64)
    assert level_db(x) == pytest.approx(-20.0, abs=1.0)
    assert abs(x.mean()) < 1e-3
    # Bins are 0.1 Hz wide.
    below = np.abs(np.fft.rfft(x))[:150] ** 2
    assert below.mean() < 0.02 * np.abs(np.fft.rfft(x)[300:3_000] ** 2).mean()
    if colour == "white":
        assert np.mean(x**4) / np.mean(x**2) ** 2 == pytest.approx(3.0, abs=0.1)


def test_gain_is_zero_below_hearing() -> None:
    f: FloatArray = np.array([0.0, 10.0, 19.9, 20.0, 1_000.0])
    for colour in COLOURS:
        gain = colour_gain(colour, f)
        assert (gain[:3] == 0).all()
        assert (gain[3:] > 0).all()


SOURCES: dict[str, NoiseSource] = {
    "synthetic": SyntheticNoise(),
    "music": SyntheticMusic(pieces=3, piece_s=4.0),
    **{kind: SyntheticNoise((kind,)) for kind in TEXTURES},
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("length", [1_600, 23_456, 80_001])
def test_generated_noise_is_sound_of_the_length_asked_for(name: str, length: int) -> None:
    for seed in range(6):
        noise = SOURCES[name].draw(length, np.random.default_rng(seed))
        assert noise.waveform.shape == (length,)
        assert noise.waveform.dtype == np.float32
        assert -45.0 < active_level_db(noise.waveform) < 0.0
        assert noise.description


@pytest.mark.parametrize("name", SOURCES)
def test_draws_depend_on_the_generator_only(name: str) -> None:
    source = SOURCES[name]
    copy = pickle.loads(pickle.dumps(source))
    assert copy.fingerprint == source.fingerprint
    assert len(source.fingerprint) == 16
    first = source.draw(8_000, np.random.default_rng(1))
    for other in (source, copy):
        again = other.draw(8_000, np.random.default_rng(1))
        assert (again.waveform == first.waveform).all()
        assert again.description == first.description
    assert not (source.draw(8_000, np.random.default_rng(2)).waveform == first.waveform).all()


def test_every_kind_of_synthetic_noise_occurs_and_differs_from_the_others() -> None:
    rng = np.random.default_rng(0)
    source = SyntheticNoise()
    heard = " ".join(source.draw(1_600, rng).description for _ in range(300))
    assert all(kind in heard for kind in SyntheticNoise.KINDS)
    chosen = SyntheticNoise(("hum", "sweep"))
    assert {word for _ in range(30) for word in chosen.draw(1_600, rng).description.split()} == {
        "synthetic", "hum", "over", "sweep",
    }  # fmt: skip


def test_textures_move_where_colours_stand_still() -> None:
    """Spread over time of the level of 100 ms frames, on average over draws."""

    def spread_db(kind: str) -> float:
        rng = np.random.default_rng(0)
        draws = [SyntheticNoise((kind,)).draw(48_000, rng).waveform for _ in range(20)]
        return float(np.mean([np.std(10 * np.log10((x.reshape(30, -1) ** 2).mean(axis=1))) for x in draws]))

    assert spread_db("white") < 0.3
    assert all(spread_db(kind) > 1.0 for kind in ("gusts", "murmur", "impacts"))


def test_music_is_tonal_and_pieces_differ() -> None:
    def peakiness_db(x: FloatArray) -> float:
        _, density = welch(x, 16_000, nperseg=4096)
        return float(10 * np.log10(density.max() / np.median(density)))

    pieces = [compose(4.0, np.random.default_rng(seed)) for seed in range(6)]
    assert min(peakiness_db(x.astype(np.float64)) for x in pieces) > 20.0
    assert peakiness_db(coloured("white", 64_000, np.random.default_rng(0)).astype(np.float64)) < 5.0
    for piece in pieces:
        assert len(piece) == 64_000
        assert level_db(piece) == pytest.approx(-20.0, abs=0.01)
    correlation = np.corrcoef(np.stack(pieces))
    assert np.abs(correlation - np.eye(6)).max() < 0.2


def test_seeds_keep_training_and_evaluation_music_apart() -> None:
    train, test = SyntheticMusic(seed=0, pieces=2), SyntheticMusic(seed=1, pieces=2)
    assert train.fingerprint != test.fingerprint
    a, b = (source.draw(16_000, np.random.default_rng(0)).waveform for source in (train, test))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.3


def test_rendered_pieces_do_not_travel_to_workers() -> None:
    music = SyntheticMusic(pieces=1)
    music.draw(16_000, np.random.default_rng(0))
    assert len(pickle.dumps(music)) < 1_000


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(CorpusError, match="thunder"):
        SyntheticNoise(("thunder",))
    with pytest.raises(CorpusError, match="at least one piece"):
        SyntheticMusic(pieces=0)
    with pytest.raises(CorpusError, match="colour 'red'"):
        coloured("red", 100, np.random.default_rng(0))
