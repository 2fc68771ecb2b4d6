"""What the codecs keep, what they cost, and that they are not late."""

from collections.abc import Callable

import numpy as np
import pytest

from voxanchor.audio.channels import gsm_file, opus_file
from voxanchor.conditions.spec import Channel
from voxanchor.types import Waveform

CODED = ["mulaw", "gsm", "opus_6k", "opus_12k", "opus_24k"]

Voice = Callable[..., Waveform]


def lateness(sent: Waveform, heard: Waveform) -> int:
    """Samples by which the cross-correlation is highest."""
    size = 2 * len(sent)
    match = np.fft.irfft(np.conj(np.fft.rfft(sent, size)) * np.fft.rfft(heard, size), size)
    place = int(np.argmax(match))
    return place if place < len(sent) else place - size


def above_db(wave: Waveform, hz: float) -> float:
    power = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    return float(10 * np.log10(power[np.fft.rfftfreq(len(wave), 1 / 16_000) > hz].sum() / power.sum() + 1e-20))


def snr_db(sent: Waveform, heard: Waveform) -> float:
    return float(10 * np.log10(np.square(sent).sum() / np.square(sent - heard).sum()))


@pytest.mark.parametrize("name", ["telephone", *CODED, "clipped_3db"])
@pytest.mark.parametrize("length", [8_001, 31_000])
def test_a_channel_is_not_late(name: str, length: int) -> None:
    # in bursts, and not periodic as a voice is
    bursts = 0.5 + 0.5 * np.sin(np.arange(length) / 700)
    wave = (0.05 * bursts * np.random.default_rng(1).standard_normal(length)).astype(np.float32)
    band = Channel("telephone").apply(wave)
    channel = Channel.parse(name)
    assert channel is not None
    assert abs(lateness(band if name in ("telephone", "mulaw", "gsm") else wave, channel.apply(wave))) <= 1


@pytest.mark.parametrize(("name", "least_db"), [("mulaw", 20), ("gsm", 3)])
def test_what_a_line_passes_is_near_its_band(name: str, least_db: float, voice: Voice) -> None:
    for speaker in range(3):
        wave = voice(speaker, 0)
        assert snr_db(Channel("telephone").apply(wave), Channel(name).apply(wave)) > least_db


@pytest.mark.parametrize(("name", "hz"), [("telephone", 3_600), ("mulaw", 3_600), ("gsm", 3_600), ("opus_6k", 4_300)])
def test_narrow_band_codecs_end_below_4_khz(name: str, hz: float) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    channel = Channel.parse(name)
    assert channel is not None
    assert above_db(noise, hz) > -4
    assert above_db(channel.apply(noise), hz) < -30


def test_more_bits_are_nearer_to_the_speech(voice: Voice) -> None:
    wave = voice(2, 0)
    near = [snr_db(wave, Channel("opus", kbits).apply(wave)) for kbits in (6, 12, 24, 64)]
    assert near == sorted(near)


@pytest.mark.parametrize("kbits", [6, 8, 12, 24])
def test_opus_takes_the_bits_it_was_asked_for(kbits: float) -> None:
    noisy = np.random.default_rng(0).standard_normal(320_000) * (1 + np.sin(np.arange(320_000) / 4_000))
    samples = (1_500 * noisy).astype(np.int16)
    # two lengths, so that the file's header does not count
    more, less = (len(opus_file(samples[:length], kbits)) for length in (320_000, 160_000))
    assert 8 * (more - less) / 10 / 1_000 == pytest.approx(kbits, rel=0.15)


def test_gsm_takes_13_kbits() -> None:
    more, less = (len(gsm_file(np.zeros(length, np.int16))) for length in (160_000, 80_000))
    assert 8 * (more - less) / 10 / 1_000 == pytest.approx(13, abs=0.1)
