"""Sounds in which nobody speaks, and people who are deleted while they are looked for."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.verification.by_hand import Angles, Said, line

from voxanchor.enrolments.records import Match
from voxanchor.enrolments.sqlite import SqliteStore
from voxanchor.errors import AudioError
from voxanchor.scoring.backend import ScoringBackend
from voxanchor.verification.people import OlderModel
from voxanchor.verification.verifier import Verifier

SECONDS = np.arange(48_000) / 16_000


@pytest.mark.parametrize(
    "sound",
    [
        lambda: 0.1 * np.random.default_rng(0).standard_normal(16_000),
        lambda: 0.1 * np.random.default_rng(1).standard_normal(48_000),
        lambda: 0.3 * np.sin(2 * np.pi * 440 * SECONDS),
    ],
)
def test_a_steady_sound_is_nobody_s_voice(sound: Callable[[], NDArray[np.float64]], said: Said) -> None:
    verifier, noise = Verifier(Angles(), ScoringBackend(line())), sound().astype(np.float32)
    for pair in ((noise, noise), (noise, said(0)), (said(0), noise)):
        found = verifier.verify(*pair)
        assert found.decision == "abstained"
        assert "steady sound" in found.reason
    with pytest.raises(AudioError, match="steady sound"):
        verifier.enroll("Ada", noise)
    assert verifier.identify(noise).decision == "abstained"


def test_an_offset_alone_is_silence(said: Said) -> None:
    found = Verifier(Angles(), ScoringBackend(line())).verify(said(0), np.full(48_000, 0.5, np.float32))
    assert found.decision == "abstained"
    assert "silent" in found.reason


def test_speech_as_loud_as_white_noise_is_heard(said: Said) -> None:
    wave = said(0, 4.0)
    noise = np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32) * wave.std()
    assert Verifier(Angles(), ScoringBackend(line())).verify(wave, wave + noise).decision != "abstained"


class Fleeting(SqliteStore):
    """A store in which whoever is found is deleted before anything else is asked."""

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        found = super().search(embedding, model, top)
        self.delete("Ada")
        return found


@pytest.mark.parametrize("older", [None, OlderModel("older", None, "keep")])
def test_somebody_deleted_during_a_search_is_not_found(older: OlderModel | None, said: Said) -> None:
    store = Fleeting(":memory:")
    model = older.fingerprint if older else "angles"
    with Verifier(Angles(model), ScoringBackend(line(model)), store) as before:
        before.enroll("Ada", said(0))
        before.enroll("Bob", said(0.05))
        found = Verifier(Angles(), ScoringBackend(line()), store, older).identify(said(0))
        assert [candidate.person for candidate in found.candidates] == ["Bob"]
