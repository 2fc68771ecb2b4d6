"""Synthetic speakers: the same ones again, distinct from each other, and never half a corpus."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxanchor.audio import io, snr
from voxanchor.corpus import voices as voices_module
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.voices import ACCENTS, MARKER, Voice, draw_voice, generate, sentence, speak_speaker
from voxanchor.errors import MissingExtraError, OutputError, RecipeError, VoxanchorError
from voxanchor.rng import generator
from voxanchor.types import Waveform

pytest.importorskip("espeakng_loader")

SPEAKERS, UTTERANCES = 4, 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("voices"), SPEAKERS, UTTERANCES, seed=5)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.flac"))}


def test_a_corpus_is_a_folder_of_speakers(corpus: Path) -> None:
    found = scan(corpus)
    assert found.speakers == ("voice0000", "voice0001", "voice0002", "voice0003")
    assert len(found) == SPEAKERS * UTTERANCES
    assert not found.unusable
    for utterance in found.utterances:
        waveform = utterance.read()
        assert 3.0 <= len(waveform) / 16_000 <= 6.0
        assert -38.0 < snr.active_level_db(waveform) < -15.0
        assert np.abs(waveform).max() < 1.0
        assert io.probe(utterance.parts[0].path).sample_rate == 16_000


def test_the_same_parameters_give_the_same_files(corpus: Path, tmp_path: Path) -> None:
    assert contents(generate(tmp_path / "again", SPEAKERS, UTTERANCES, seed=5)) == contents(corpus)


def test_a_speaker_is_the_same_alone_and_after_others(corpus: Path, tmp_path: Path) -> None:
    speak_speaker(tmp_path, 2, UTTERANCES, seed=5)
    assert contents(tmp_path) == {k: v for k, v in contents(corpus).items() if k.startswith("voice0002")}


def test_another_seed_gives_other_voices(corpus: Path, tmp_path: Path) -> None:
    speak_speaker(tmp_path, 0, 1, seed=6)
    assert contents(tmp_path)["voice0000/000.flac"] != contents(corpus)["voice0000/000.flac"]


def test_a_finished_corpus_is_reused_at_once(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices_module, "engine_version", lambda: pytest.fail("a finished corpus needs no engine"))
    advanced: list[int] = []
    before = contents(corpus)
    assert generate(corpus, SPEAKERS, UTTERANCES, seed=5, progress=advanced.append) == corpus
    assert sum(advanced) == SPEAKERS * UTTERANCES
    assert contents(corpus) == before


def test_a_killed_run_goes_on_where_it_stopped(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    parameters = json.loads((corpus / MARKER).read_text()) | {"complete": False}
    folder.mkdir()
    (folder / MARKER).write_text(json.dumps(parameters))
    speak_speaker(folder, 1, UTTERANCES, seed=5)
    kept = (folder / "voice0001" / "000.flac").stat().st_mtime_ns
    (folder / ".voice0000").mkdir()  # cut off in the middle of a speaker
    (folder / ".voice0000" / "000.flac").write_bytes(b"half")
    advanced: list[int] = []
    generate(folder, SPEAKERS, UTTERANCES, seed=5, progress=advanced.append)
    assert contents(folder) == contents(corpus)
    assert (folder / "voice0001" / "000.flac").stat().st_mtime_ns == kept
    assert advanced[0] == UTTERANCES
    assert sum(advanced) == SPEAKERS * UTTERANCES
    assert json.loads((folder / MARKER).read_text())["complete"] is True


def test_other_parameters_are_not_mixed_in(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"speakers 4 \(asked: 5\)"):
        generate(corpus, 5, UTTERANCES, seed=5)
    with pytest.raises(OutputError, match=r"seed 5 \(asked: 0\)"):
        generate(corpus, SPEAKERS, UTTERANCES)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose an empty folder"):
        generate(tmp_path, 2, 2)
    with pytest.raises(OutputError, match="is a file"):
        generate(tmp_path / "thesis.txt", 2, 2)
    (tmp_path / MARKER).write_text("nonsense")
    with pytest.raises(OutputError, match="cannot be read"):
        generate(tmp_path, 2, 2)
    half = json.loads((corpus / MARKER).read_text()) | {"complete": False, "engine": "eSpeak NG 0.1"}
    (tmp_path / MARKER).write_text(json.dumps(half))
    with pytest.raises(OutputError, match=r"engine eSpeak NG 0\.1"):
        generate(tmp_path, SPEAKERS, UTTERANCES, seed=5)


@pytest.mark.parametrize(("speakers", "utterances"), [(0, 1), (1, 0), (-3, 1)])
def test_counts_below_one_are_refused(tmp_path: Path, speakers: int, utterances: int) -> None:
    with pytest.raises(RecipeError, match="at least 1"):
        generate(tmp_path / "none", speakers, utterances)
    assert not (tmp_path / "none").exists()


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"voxanchor\[synthetic\]"):
        generate(tmp_path / "new", 2, 2)
    assert not (tmp_path / "new").exists()


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(
        json.dumps(
            {
                "format": 1,
                "speakers": 2,
                "utterances_per_speaker": 1,
                "seed": 0,
                "engine": f"eSpeak NG {voices_module.engine_version()}",
                "complete": False,
            }
        )
    )
    (tmp_path / ".voice0001").write_text("a file where the folder should go")
    with pytest.raises(VoxanchorError, match=r"making synthetic voices in .* failed: .*voice0001"):
        generate(tmp_path, 2, 1)
    assert json.loads((tmp_path / MARKER).read_text())["complete"] is False


def test_importing_costs_no_engine() -> None:
    code = "import sys, voxanchor.corpus.voices; assert not {'espeakng_loader', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sentences_are_varied() -> None:
    random = generator(0, 0, 0, "sentences")
    texts = [sentence(random, 8) for _ in range(300)]
    assert len(set(texts)) == 300
    assert len({word.strip(".,?").lower() for text in texts for word in text.split()}) > 300
    assert all(8 <= len(text.split()) < 40 and text.endswith(".") and text[0].isupper() for text in texts)
    assert len({word for text in texts for word in text.lower().strip(".").split()}) > 300
    assert not any(f" a {vowel}" in text for text in texts for vowel in "aeiou")


def test_voices_differ_in_everything() -> None:
    voices = [draw_voice(generator(0, 0, k, "voice")) for k in range(300)]
    assert len({voice.variant() for voice in voices}) == 300
    assert {voice.accent for voice in voices} == set(ACCENTS)
    pitch = np.log([voice.pitch_hz[0] for voice in voices])
    tract = np.log([np.mean(voice.formants_percent) for voice in voices])
    rate = [voice.rate_wpm for voice in voices]
    assert pitch.std() > 0.25
    assert tract.std() > 0.06
    assert np.std(rate) > 15
    assert 0.3 < np.mean([voice.breath_percent > 0 for voice in voices]) < 0.7
    assert np.corrcoef(pitch, tract)[0, 1] > 0.4  # deep voices come from long vocal tracts
    assert all(voice.pitch_hz[1] > voice.pitch_hz[0] for voice in voices)


def test_a_speaker_varies_less_than_speakers_differ() -> None:
    voices = [draw_voice(generator(1, 0, k, "voice")) for k in range(60)]
    random = generator(1, 0, 0, "occasions")

    def features(voice: Voice) -> list[float]:
        return [np.log(voice.pitch_hz[0]), *voice.formants_percent, np.log(voice.rate_wpm)]

    occasions = np.array([[features(voice.vary(random)) for _ in range(10)] for voice in voices])
    within = occasions.std(axis=1).mean(axis=0)
    between = occasions.mean(axis=1).std(axis=0)
    assert (within > 0).all()
    assert (between > 1.5 * within).all()


def dominant_hz(waveform: Waveform) -> float:
    """Return the median pitch by autocorrelation of loud frames."""
    found = []
    for start in range(0, len(waveform) - 1024, 512):
        frame = waveform[start : start + 1024] - waveform[start : start + 1024].mean()
        if frame @ frame < 0.3 * 1024 * np.mean(waveform**2):
            continue
        power = np.fft.irfft(np.abs(np.fft.rfft(frame, 4096)) ** 2)[:267]
        power /= 1024 - np.arange(267)
        lag = 40 + int(power[40:].argmax())
        if power[lag] > 0.6 * power[0]:
            found.append(16_000 / lag)
    return float(np.median(found))


def test_the_engine_speaks_as_the_voice_says() -> None:
    voice = draw_voice(generator(2, 0, 0, "voice"))
    base = replace(voice, breath_percent=0.0, flutter=0.0, accent="en-us")
    low = replace(base, pitch_hz=(90.0, 120.0), rate_wpm=150.0)
    high = replace(base, pitch_hz=(200.0, 260.0), rate_wpm=200.0)
    text = "The old captain gave eleven golden rings to the nervous painter."
    with voices_module.Engine(seed=1) as engine:
        slow, fast = engine.speak(text, low), engine.speak(text, high)
    assert 75 < dominant_hz(slow) < 140
    assert 180 < dominant_hz(fast) < 300
    assert 1.15 < len(slow) / len(fast) < 1.6
    with voices_module.Engine(seed=1) as engine:
        np.testing.assert_array_equal(engine.speak(text, low), slow)


@pytest.mark.parametrize("accent", ACCENTS)
def test_every_accent_speaks(accent: str) -> None:
    voice = replace(draw_voice(generator(3, 0, 0, "voice")), accent=accent)
    with voices_module.Engine(seed=1) as engine:
        assert snr.active_s(engine.speak("Nobody knew that it was raining.", voice)) > 0.8


def test_an_unknown_accent_is_refused() -> None:
    voice = replace(draw_voice(generator(3, 0, 0, "voice")), accent="xx-none")
    with voices_module.Engine(seed=1) as engine, pytest.raises(VoxanchorError, match="xx-none"):
        engine.speak("Hello.", voice)
