"""What is refused, with which status and words, and how early."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.service.asking import encoded, one, several

from voxanchor.errors import RecipeError
from voxanchor.service import app as app_module
from voxanchor.service.app import make_app
from voxanchor.service.settings import Keys, Settings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.people import People
from voxanchor.verification.verifier import Verifier

Recording = Callable[..., bytes]


def refusal(answer: Any) -> tuple[int, str]:
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["message"]
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"nonsense", "this is no recording: WAV, FLAC"),
        (encoded(np.zeros(16_000)), "silent"),
        (encoded(np.ones(16_000))[:20_000], "the recording is truncated"),
    ],
    ids=["empty", "text", "silent", "cut"],
)
def test_what_cannot_be_heard(client: TestClient, temporary: Path, content: bytes, words: str) -> None:
    answer = client.post("/v1/people/ada", files=several(content))
    assert refusal(answer) == (422, "unusable_audio")
    assert words in answer.json()["error"]["message"]
    assert str(temporary) not in answer.text
    assert "voxanchor-" not in answer.text
    assert client.get("/v1/people").json() == []
    assert list(temporary.iterdir()) == []


def test_one_bad_recording_of_two_enrols_nobody(client: TestClient, recording: Recording, temporary: Path) -> None:
    answer = client.post("/v1/people/ada", files=several(recording(1, 1), b"x" * 2_000_000))
    assert refusal(answer) == (422, "unusable_audio")
    assert answer.json()["error"]["message"].startswith("recording 2 is not one: WAV, FLAC")
    assert client.get("/v1/people").json() == []
    assert list(temporary.iterdir()) == []


def test_people_and_numbers_that_are_not(client: TestClient, recording: Recording) -> None:
    wave = one(recording(1, 1))
    assert refusal(client.post("/v1/people/bob/verify", files=wave)) == (404, "unknown_person")
    assert refusal(client.get("/v1/people/bob")) == (404, "unknown_person")
    assert refusal(client.delete("/v1/people/bob")) == (404, "unknown_person")
    assert refusal(client.post("/v1/people/%20/verify", files=wave)) == (422, "bad_name")
    assert refusal(client.post(f"/v1/people/{'x' * 201}", files=several(recording(1, 1)))) == (422, "bad_name")
    for fields in ({"prior": "0"}, {"prior": "text"}, {"false_acceptance": "3"}, {"false_acceptance": "0.01"}):
        answer = client.post("/v1/verify", files={"first": wave["recording"], "second": wave["recording"]}, data=fields)
        assert refusal(answer) == (422, "bad_request"), fields
    assert refusal(client.post("/v1/verify", files={"first": wave["recording"]})) == (422, "bad_request")
    assert refusal(client.post("/v1/embed", data={"recording": "text"})) == (422, "bad_request")
    assert refusal(client.post("/v1/embed", content=b"{}")) == (422, "bad_request")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refusal(client.post("/v1/embed", content=b"broken", headers=broken))[0] in {400, 422}
    assert refusal(client.get("/v1/nothing")) == (404, "not_found")
    assert refusal(client.put("/v1/people")) == (405, "method_not_allowed")
    assert refusal(client.get("/v1/decisions", params={"limit": 0})) == (422, "bad_request")


def test_names_that_nobody_could_be_asked_for_again(client: TestClient, recording: Recording) -> None:
    # bytes that are not UTF-8 arrive as one character: two people would be one
    assert refusal(client.post("/v1/people/J%F6rg", files=several(recording(1, 1)))) == (422, "bad_name")
    assert refusal(client.get("/v1/decisions?person=J%F6rg")) == (422, "bad_name")
    for name in ("%2E", "%2E%2E"):
        assert refusal(client.post(f"/v1/people/{name}", files=several(recording(1, 1)))) == (422, "bad_name")
    assert client.get("/v1/people").json() == []


def test_words_for_common_mistakes(client: TestClient) -> None:
    answer = client.post("/v1/embed", data={"recording": "test.wav"})  # curl -F recording=test.wav
    assert "@FILE" in answer.json()["error"]["message"]


def test_methods_and_slashes(client: TestClient) -> None:
    answer = client.put("/v1/people/ada")
    assert refusal(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, POST"
    assert client.post("/").headers["Allow"] == "GET, HEAD"
    answer = client.head("/v1/verify")  # POST alone
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, "POST", b"")
    for path in ("/v1/people/", "/metrics/"):  # no redirection: behind a proxy it would lead to plain HTTP
        assert refusal(client.get(path, follow_redirects=False)) == (404, "not_found")


def test_somebody_deleted_while_a_voice_is_looked_for(
    client: TestClient, recording: Recording, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ada", "bob"):
        client.post(f"/v1/people/{name}", files=several(recording(1, 1)))
    found = People.nearest

    def racing(self: People, *arguments: Any) -> Any:
        if any(person.name == "bob" for person in self.store.people()):
            client.delete("/v1/people/bob")
            self.enrolment("bob")
        return found(self, *arguments)

    monkeypatch.setattr(People, "nearest", racing)
    answer = client.post("/v1/identify", files=one(recording(1, 2)))
    assert (answer.status_code, answer.json()["person"]) == (200, "ada")

    def hopeless(self: People, *arguments: Any) -> Any:
        self.enrolment("bob")

    monkeypatch.setattr(People, "nearest", hopeless)
    assert refusal(client.post("/v1/identify", files=one(recording(1, 2)))) == (503, "store_unavailable")
    fields = [getattr(record, "fields", {}) for record in caplog.records]
    assert "ada" not in str(fields)
    assert "bob" not in str(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "rain", "person": "ada", "snr_db": "5"},
        {"kind": "noise", "snr_db": "5"},
        {"kind": "noise", "person": "ada"},
        {"kind": "noise", "person": "ada", "snr_db": "500"},
        {"kind": "noise", "person": "ada", "snr_db": ["1"] * 13},
    ],
)
def test_noise_that_cannot_be(client: TestClient, recording: Recording, fields: dict[str, str]) -> None:
    assert refusal(client.post("/v1/try", files=one(recording(1, 1)), data=fields)) == (422, "bad_request")


def test_a_person_of_another_model(
    embedder: TorchEmbedder, other_embedder: TorchEmbedder, recording: Recording
) -> None:
    with Verifier(embedder) as verifier:
        with TestClient(make_app(verifier)) as client:
            client.post("/v1/people/ada", files=several(recording(1, 1)))
        with TestClient(make_app(Verifier(other_embedder, store=verifier.store))) as client:
            assert refusal(client.post("/v1/people/ada/verify", files=one(recording(1, 1)))) == (409, "other_model")
            assert refusal(client.post("/v1/identify", files=one(recording(1, 1)))) == (409, "other_model")
            assert not client.get("/v1/people/ada").json()["comparable"]


def test_a_store_that_fails_is_not_the_callers_fault(
    client: TestClient, recording: Recording, calibrated: Verifier
) -> None:
    client.post("/v1/people/ada", files=several(recording(1, 1)))
    calibrated.close()
    for answer in (
        client.get("/v1/people"),
        client.get("/v1/people/ada"),
        client.get("/v1/decisions"),
        client.delete("/v1/people/ada"),
        client.post("/v1/people/ada", files=several(recording(1, 1))),
        client.post("/v1/people/ada/verify", files=one(recording(1, 1))),
        client.post("/v1/identify", files=one(recording(1, 1))),
    ):
        assert refusal(answer) == (503, "store_unavailable")
        assert "closed" not in answer.text


def test_a_defect_says_nothing_of_itself(
    calibrated: Verifier, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a secret")

    with TestClient(make_app(calibrated)) as client:
        monkeypatch.setattr(Verifier, "embed", broken)
        answer = client.post("/v1/embed", files=one(recording(1, 1)))
        assert refusal(answer) == (500, "internal_error")
        assert "secret" not in answer.text
        assert answer.headers["X-Request-ID"] in answer.text
        assert answer.headers["Content-Security-Policy"]


def test_sizes(calibrated: Verifier, recording: Recording, temporary: Path) -> None:
    limits = Settings(max_upload_bytes=400_000, max_duration_s=3, max_recordings=2, max_decoded_bytes=600_000)
    with TestClient(make_app(calibrated, limits)) as client:
        assert refusal(client.post("/v1/embed", files=one(bytes(500_000)))) == (413, "too_large")
        assert refusal(client.post("/v1/embed", files=one(recording(1, 1, 3.5)))) == (413, "too_long")
        assert refusal(client.post("/v1/people/a", files=several(*3 * [recording(1, 1)]))) == (413, "too_large")
        # a few kilobytes of FLAC that are 8 channels of 3 s
        wide = encoded(np.zeros((3 * 16_000, 8)), "FLAC")
        assert len(wide) < 10_000
        assert refusal(client.post("/v1/embed", files=one(wide))) == (413, "too_large")
        assert client.post("/v1/embed", files=one(recording(1, 1, 2.9))).status_code == 200
    assert list(temporary.iterdir()) == []


def test_a_container_that_says_it_is_short(calibrated: Verifier, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * 16_000), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler("fltp", "mono", 16_000, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    for box in (b"mvhd", b"mdhd", b"tkhd"):  # the durations in the headers: 0.1 s
        place = content.index(box) + (24 if box == b"tkhd" else 20)
        content[place : place + 4] = (100).to_bytes(4, "big")
    with TestClient(make_app(calibrated, Settings(max_duration_s=5))) as client:
        assert refusal(client.post("/v1/embed", files=one(bytes(content), "a.m4a"))) == (413, "too_long")
        assert client.post("/v1/embed", files=one(b"junk", "a.m4a")).status_code == 422


def test_lengths_that_are_not_stated_are_limits_all_the_same(calibrated: Verifier) -> None:
    unsized = bytearray(encoded(np.zeros((8 * 16_000, 2)), "FLAC"))
    unsized[21:26] = bytes([unsized[21] & 0xF0, 0, 0, 0, 0])  # as FLAC is when written to a pipe
    with TestClient(make_app(calibrated, Settings(max_duration_s=5))) as client:
        assert refusal(client.post("/v1/embed", files=one(bytes(unsized), "a.flac"))) == (413, "too_long")


def test_channels_that_are_not_there(client: TestClient, recording: Recording) -> None:
    for channel, words in (("right", "has 1 channel, and so no channel right"), ("middle", "choose mix, loudest")):
        answer = client.post("/v1/embed", files=one(recording(1, 1)), data={"channel": channel})
        assert answer.status_code == 422
        assert words in answer.json()["error"]["message"]


def test_an_endless_body_is_refused_at_the_limit(calibrated: Verifier, temporary: Path) -> None:
    app = make_app(calibrated, Settings(max_upload_bytes=1_000_000))
    begin = b'--x\r\nContent-Disposition: form-data; name="recording"; filename="a.wav"\r\n\r\n'
    status, body, blocks = asyncio.run(asked(app, "/v1/embed", begin, 100_000))
    assert (status, body["error"]["code"]) == (413, "too_large")
    assert blocks == 11
    assert list(temporary.iterdir()) == []


async def asked(app: FastAPI, path: str, begin: bytes, block: int, **headers: str) -> tuple[int, Any, int]:
    """Send a body without an end; return status, answer, and how many blocks were taken."""
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": begin if taken == 1 else bytes(block), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost", "content-type": "multipart/form-data; boundary=x", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent)), taken


KEY = "correct-horse-battery"


@pytest.fixture
def locked(calibrated: Verifier) -> FastAPI:
    return make_app(calibrated, Settings(keys=Keys.parse(f"door {KEY}\nshop other-key-of-the-shop", "keys")))


def test_keys(locked: FastAPI, recording: Recording, calibrated: Verifier) -> None:
    with TestClient(locked) as client:
        for path in ("/v1/people", "/v1/model", "/metrics", "/v1/nothing"):
            answer = client.get(path)
            assert refusal(answer) == (401, "bad_key")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for headers in ({"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": ""}):
            assert client.get("/v1/people", headers=headers).status_code == 401
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}):
            assert client.get("/v1/people", headers=headers).status_code == 200
        for path in ("/", "/health", "/openapi.json", "/docs", "/page/app.js"):
            assert client.get(path).status_code == 200
        client.post("/v1/people/ada", files=several(recording(1, 1)), headers={"X-API-Key": KEY})
        client.post("/v1/people/ada/verify", files=one(recording(1, 1)), headers={"X-API-Key": KEY})
        assert client.get("/openapi.json").json()["components"]["securitySchemes"]
    assert [item.by for item in calibrated.store.enrolments("ada")] == ["door"]
    assert [item.by for item in calibrated.store.decisions()] == ["door"]


def test_without_a_key_no_byte_of_the_body_is_taken(locked: FastAPI) -> None:
    status, _, blocks = asyncio.run(asked(locked, "/v1/embed", b"x", 10))
    assert (status, blocks) == (401, 0)


@pytest.mark.parametrize(
    "text", ["name", "name short", "a correct-horse-battery\na another-key-of-16-at", f"a {KEY}\nb {KEY}", f"a {KEY} x"]
)
def test_lists_of_keys_that_cannot_be(text: str) -> None:
    with pytest.raises(RecipeError, match="line") as raised:
        Keys.parse(text, "keys.txt")
    assert KEY not in str(raised.value)


def test_where_keys_come_from(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"# those who may\n\ndoor {KEY}  # the door\n")
    assert Keys.read(path, {}).name_of(KEY) == "door"
    assert Keys.read(None, {"VOXANCHOR_API_KEYS": f"a {KEY},b another-key-of-16-at"}).name_of(KEY) == "a"
    assert not Keys.read(None, {})
    path.write_text("# nobody\n")
    for wrong in (path, tmp_path / "none.txt", tmp_path):
        with pytest.raises(RecipeError, match=wrong.name):
            Keys.read(wrong, {})


def test_pages_of_other_sites_are_refused(calibrated: Verifier, recording: Recording) -> None:
    with TestClient(make_app(calibrated, Settings(local_only=True)), base_url="http://127.0.0.1:8010") as client:
        assert client.get("/v1/people").status_code == 200
        assert client.get("/v1/people", headers={"Origin": "http://127.0.0.1:8010"}).status_code == 200
        wrong = [{"Origin": origin} for origin in ("https://evil.example", "null", "http://[::1", "")]
        for headers in (*wrong, {"Host": "evil.example:8010"}, {"Host": "[::1"}):
            assert refusal(client.get("/v1/people", headers=headers)) == (403, "forbidden")
        answer = client.post(
            "/v1/people/eve", files=several(recording(1, 1)), headers={"Origin": "https://evil.example"}
        )
        assert refusal(answer) == (403, "forbidden")


@pytest.mark.parametrize(
    "limits",
    [{"max_upload_bytes": 0}, {"timeout_s": -1}, {"workers": 0}, {"prior": 1.0}, {"max_duration_s": float("inf")}],
)
def test_limits_that_cannot_be(limits: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="serve"):
        Settings(**limits)


def test_health_does_not_wait_for_a_store_that_says_nothing(
    client: TestClient, calibrated: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    monkeypatch.setattr(app_module, "HEALTH_S", 0.1)
    monkeypatch.setattr(calibrated.store, "models", lambda: away.wait(20))
    answer = client.get("/health")
    away.set()
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "store": False})


@pytest.mark.parametrize("size", [1000, 3_000_000], ids=["kept in memory", "put down while it comes"])
def test_no_room_for_an_upload(
    size: int, client: TestClient, recording: Recording, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "absent"))
    answer = client.post("/v1/people/ada", files=several(recording(1, 1) + bytes(size)))
    assert refusal(answer) == (503, "no_room")
    assert str(temporary) not in answer.text
