"""Channels by name: gain, length, determinism, rows, silence, and what clipping cuts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.channels import AMOUNTS, PLAIN, apply_channel, clip, fingerprint
from voxanchor.audio.snr import active_level_db
from voxanchor.types import Waveform

CHANNELS = [("telephone", None), ("mulaw", None), ("gsm", None), ("opus", 6.0), ("opus", 12.0), ("clipped", 3.0)]


def talk(seed: int, length: int) -> Waveform:
    rng = np.random.default_rng(seed)
    wave = 0.05 * rng.standard_normal(length) * (np.arange(length) % 4_000 < 3_000)
    return wave.astype(np.float32)


def alone(wave: Waveform, kind: str, amount: float | None) -> torch.Tensor:
    return apply_channel(torch.from_numpy(wave).unsqueeze(0), kind, amount)[0]


def test_there_are_no_others() -> None:
    assert {kind for kind, _ in CHANNELS} | {"gain", "dc", "dead_channel"} == {*PLAIN, *AMOUNTS}


@given(gain_db=st.floats(-60, 20), offset=st.floats(-0.5, 0.5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_a_recorder_keeps_16_bits_of_what_it_hears(gain_db: float, offset: float, seed: int) -> None:
    wave = talk(seed, 2_000)
    louder = alone(wave, "gain", gain_db).numpy().astype(np.float64)
    np.testing.assert_allclose(louder, wave * 10.0 ** (gain_db / 20), atol=0.5001 / 32_768)
    shifted = alone(wave, "dc", offset).numpy().astype(np.float64)
    np.testing.assert_allclose(shifted, wave + offset, atol=0.5001 / 32_768)
    for kept in (louder, shifted, 2 * alone(wave, "dead_channel", None).numpy().astype(np.float64)):
        assert np.array_equal(kept * 32_768, np.rint(kept * 32_768))


@pytest.mark.parametrize(("kind", "amount"), CHANNELS)
@given(exponent=st.integers(-12, 4), seed=st.integers(0, 3))
@settings(max_examples=5, deadline=None)
def test_a_gain_that_rounds_nothing_changes_nothing_else(
    kind: str, amount: float | None, exponent: int, seed: int
) -> None:
    wave, gain = talk(seed, 5_000), 2.0**exponent
    assert torch.equal(alone(np.float32(gain) * wave, kind, amount), gain * alone(wave, kind, amount))


@pytest.mark.parametrize(("kind", "amount"), CHANNELS)
@given(gain_db=st.floats(-50, 20))
@settings(max_examples=5, deadline=None)
def test_the_error_of_a_channel_does_not_depend_on_gain(kind: str, amount: float | None, gain_db: float) -> None:
    wave, gain = talk(0, 16_000), 10 ** (gain_db / 20)
    one, two = alone(wave, kind, amount), alone(np.float32(gain) * wave, kind, amount) / gain
    errors = [10 * np.log10(float((heard - torch.from_numpy(wave)).square().mean())) for heard in (one, two)]
    assert errors[0] == pytest.approx(errors[1], abs=0.5)


@pytest.mark.parametrize(("kind", "amount"), CHANNELS)
@given(length=st.integers(1, 2_000), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_what_comes_out_is_as_long_and_the_same_again(kind: str, amount: float | None, length: int, seed: int) -> None:
    wave = talk(seed, length)
    heard = alone(wave, kind, amount)
    assert heard.shape == (length,)
    assert heard.dtype == torch.float32
    assert bool(torch.isfinite(heard).all())
    assert torch.equal(heard, alone(wave, kind, amount))


@pytest.mark.parametrize(("kind", "amount"), CHANNELS)
def test_a_row_of_a_batch_is_what_it_is_alone(kind: str, amount: float | None) -> None:
    waves = [talk(seed, 8_000) * 10.0**-seed for seed in range(4)]
    waves = [np.asarray(wave, dtype=np.float32) for wave in [*waves, np.zeros(8_000)]]
    batch = apply_channel(torch.from_numpy(np.stack(waves)), kind, amount)
    for wave, heard in zip(waves, batch, strict=True):
        np.testing.assert_allclose(heard, alone(wave, kind, amount), atol=1e-5 * np.abs(wave).max())
    assert (batch[-1] == 0).all()


@given(ceiling_db=st.floats(-10, 20), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_clipping_cuts_at_its_ceiling_and_nowhere_else(ceiling_db: float, seed: int) -> None:
    wave = talk(seed, 8_000)
    ceiling = 10 ** ((active_level_db(wave) + ceiling_db) / 20)
    heard = clip(torch.from_numpy(wave).unsqueeze(0), ceiling_db)[0].numpy()
    np.testing.assert_allclose(heard, np.clip(wave, -ceiling, ceiling), rtol=1e-6)
    kept = np.abs(wave) < ceiling * (1 - 1e-6)
    assert (heard[kept] == wave[kept]).all()


def test_the_codecs_of_a_machine_are_in_their_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [fingerprint(kind) for kind in ("gsm", "opus", "mulaw")]
    monkeypatch.setattr("soundfile.__libsndfile_version__", "9.9")
    after = [fingerprint(kind) for kind in ("gsm", "opus", "mulaw")]
    assert [one == two for one, two in zip(before, after, strict=True)] == [False, False, True]


def test_what_is_no_channel_is_an_error() -> None:
    for kind, amount in (("fax", None), ("opus", None), ("gsm", 3.0)):
        with pytest.raises(KeyError):
            apply_channel(torch.zeros(1, 10), kind, amount)
