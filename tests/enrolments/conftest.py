"""Stores of each kind, every one empty: in a file, in a file with a key, in PostgreSQL started once for the session."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import Store, open_store

D = 8


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a database that is started for this session and removed after it."""
    if importlib.util.find_spec("pgserver") is None:
        pytest.skip("pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # not pytest's: a socket's path must be short
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", os.environ.get("XDG_RUNTIME_DIR", str(folder / "run")))
        from pgserver.postgres_server import get_server

        server = get_server(folder / "data", cleanup_mode="delete")
    folder.chmod(0o755)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """Address of that database with no store in it."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS voxanchor CASCADE")
    return postgres_server


@pytest.fixture(params=["sqlite", "sealed", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens one and the same place again and again."""
    if request.param == "postgres":
        address = request.getfixturevalue("postgres")
        return lambda: open_store(address)
    key = new_key() if request.param == "sealed" else None
    return lambda: open_store(tmp_path / "voices.db", key)


@pytest.fixture
def store(opener: Callable[[], Store]) -> Iterator[Store]:
    with opener() as opened:
        yield opened


@pytest.fixture(scope="session")
def vectors() -> Callable[..., np.ndarray]:
    """(count, seed, dimension) -> that many unit vectors."""

    def draw(count: int, seed: int = 0, dimension: int = D) -> np.ndarray:
        drawn = np.random.default_rng(seed).standard_normal((count, dimension))
        unit: np.ndarray = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return draw


@pytest.fixture(scope="session")
def prints(vectors: Callable[..., np.ndarray]) -> Callable[..., list[EnrolmentEmbedding]]:
    """(count, seed, dimension, audio) -> recordings, of 3 s and 20 dB, with audio or without."""

    def draw(count: int, seed: int = 0, dimension: int = D, audio: bool = False) -> list[EnrolmentEmbedding]:
        drawn = vectors(count, seed, dimension)
        return [
            EnrolmentEmbedding(
                vector, 3.0, 20.0, f"{seed}-{place}.flac", f"audio {seed} {place}".encode() if audio else None
            )
            for place, vector in enumerate(drawn)
        ]

    return draw
