"""Many requests at once, too many of them, and those that take too long."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from tests.service.asking import Held, one, several

from voxanchor.service.app import make_app
from voxanchor.service.requests import Deadline, Refusal
from voxanchor.service.settings import Settings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier

Recording = Callable[..., bytes]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def metric(client: TestClient, line: str) -> float:
    text = client.get("/metrics").text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line + " ")), 0.0)


@pytest.fixture
def slow(held: Held) -> Iterator[Callable[..., TestClient]]:
    """Settings -> client of a service whose model waits until `held.go`."""
    opened = []

    def make(**settings: float) -> TestClient:
        verifier = Verifier(held)
        client = TestClient(make_app(verifier, Settings(**settings)))  # type: ignore[arg-type]
        client.__enter__()
        opened.append((client, verifier))
        return client

    yield make
    held.go.set()
    for client, verifier in opened:
        client.__exit__()
        verifier.close()


def test_concurrent_requests_each_get_their_own_answer(embedder: TorchEmbedder, recording: Recording) -> None:
    with Verifier(embedder) as verifier, TestClient(make_app(verifier)) as client, ThreadPoolExecutor(12) as pool:
        sent = [recording(speaker, 1, seconds) for speaker in range(6) for seconds in (1.0, 1.5, 2.0)]
        found = list(pool.map(lambda content: client.post("/v1/embed", files=one(content)).json(), sent))
        for content, answer in zip(sent, found, strict=True):
            wave = np.asarray(soundfile.read(io.BytesIO(content), dtype="float32")[0])
            np.testing.assert_allclose(answer["embedding"], verifier.embed(wave), atol=1e-5)


def test_more_requests_than_may_be_in_hand(slow: Callable[..., TestClient], held: Held, recording: Recording) -> None:
    client = slow(max_requests=2)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/v1/embed", files=one(recording(1, 1))) for _ in range(2)]
        until(lambda: metric(client, "voxanchor_requests_in_hand") == 2)
        refused = client.post("/v1/embed", files=one(recording(1, 1)))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert refused.headers["Retry-After"] == "1"
        assert client.get("/health").status_code == 200
        held.go.set()
        assert [future.result().status_code for future in waiting] == [200, 200]
    assert metric(client, "voxanchor_requests_in_hand") == 0
    assert metric(client, "voxanchor_refused_busy_total") == 1
    assert client.post("/v1/embed", files=one(recording(1, 1))).status_code == 200


def test_a_request_that_takes_too_long_changes_nothing(
    slow: Callable[..., TestClient], held: Held, recording: Recording
) -> None:
    client = slow(timeout_s=3.0)  # of which a busy machine may need one for those that ask nothing of the model
    answer = client.post("/v1/people/ada", files=several(recording(1, 1)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timed_out")
    assert held.began.is_set()
    held.go.set()
    time.sleep(0.2)  # the thread that was left goes on until it notices
    assert client.get("/v1/people").json() == []
    assert client.post("/v1/people/ada", files=several(recording(1, 1))).status_code == 201
    held.go.clear()
    assert client.post("/v1/people/ada/verify", files=one(recording(1, 1))).status_code == 504
    held.go.set()
    time.sleep(0.2)
    assert client.get("/v1/decisions").json() == []
    assert client.post("/v1/people/ada/verify", files=one(recording(1, 1))).status_code == 200
    assert len(client.get("/v1/decisions").json()) == 1


def test_a_change_that_has_begun_is_waited_for(
    embedder: TorchEmbedder, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()
    with Verifier(embedder) as verifier:
        enroll = verifier.store.enroll

        def slowly(*arguments: object) -> None:
            began.set()
            time.sleep(0.8)
            enroll(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(verifier.store, "enroll", slowly)
        with TestClient(make_app(verifier, Settings(timeout_s=0.5))) as client:
            client.post("/v1/embed", files=one(recording(1, 1)))  # the model's first run is slow
            assert client.post("/v1/people/ada", files=several(recording(1, 1))).status_code == 201
            assert began.is_set()
            assert [person["name"] for person in client.get("/v1/people").json()] == ["ada"]


def test_a_deadline_is_passed_or_kept_never_both() -> None:
    late = Deadline()
    assert late.give_up()
    with pytest.raises(Refusal), late.writing():
        pass
    writing = Deadline()
    with writing.writing():
        assert not writing.give_up()
    assert not writing.give_up()
    writing.check()
