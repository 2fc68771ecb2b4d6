"""A service with a tiny model, and recordings to send to it."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.service.asking import Held, backend_of, encoded

from voxanchor.audio.synthetic import SyntheticMusic, SyntheticNoise
from voxanchor.conditions.bank import NoiseBank
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.service.app import make_app
from voxanchor.service.backgrounds import Backgrounds
from voxanchor.service.settings import Settings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier


@pytest.fixture(scope="session")
def embedder() -> TorchEmbedder:
    return TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})))


@pytest.fixture(scope="session")
def other_embedder() -> TorchEmbedder:
    return TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 8})))


@pytest.fixture
def calibrated(embedder: TorchEmbedder) -> Iterator[Verifier]:
    with Verifier(embedder, backend_of(embedder.fingerprint)) as verifier:
        yield verifier


@pytest.fixture
def held(embedder: TorchEmbedder) -> Iterator[Held]:
    held = Held(embedder)
    yield held
    held.go.set()


@pytest.fixture(scope="session")
def noise() -> Backgrounds:
    bank = NoiseBank({"noise": SyntheticNoise(("white", "pink")), "music": SyntheticMusic(seed=1)})
    return Backgrounds(bank.kinds, lambda: bank)


@pytest.fixture
def app(calibrated: Verifier, other_embedder: TorchEmbedder, noise: Backgrounds) -> FastAPI:
    beside = Verifier(other_embedder, backend_of(other_embedder.fingerprint))
    return make_app(calibrated, Settings(), beside, noise)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="session")
def recording(voice: Callable[..., np.ndarray]) -> Callable[..., bytes]:
    """(speaker, take, seconds) -> bytes of a WAV file."""

    def made(speaker: int, take: int, seconds: float = 2.0, kind: str = "WAV") -> bytes:
        return encoded(voice(speaker, take, seconds), kind)

    return made
