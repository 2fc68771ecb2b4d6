"""Every route, asked as a client asks."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.audio.mutations import by_ffmpeg
from tests.service.asking import encoded, one, several

from voxanchor.service.app import make_app
from voxanchor.service.settings import Settings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier

Recording = Callable[..., bytes]


def enrol(client: TestClient, name: str, *recordings: bytes) -> None:
    answer = client.post(f"/v1/people/{name}", files=several(*recordings))
    assert answer.status_code == 201, answer.text


def test_a_person_from_enrolment_to_deletion(client: TestClient, recording: Recording, calibrated: Verifier) -> None:
    answer = client.post("/v1/people/Ada%20L", files=several(recording(1, 1), recording(1, 2, kind="FLAC")))
    assert answer.status_code == 201
    assert answer.json() | {"side": {}} == {"person": "Ada L", "recordings": 2, "side": {}}
    assert answer.json()["side"]["speech_s"] == pytest.approx(4, abs=0.2)
    assert [(one["name"], one["recordings"]) for one in client.get("/v1/people").json()] == [("Ada L", 2)]
    detail = client.get("/v1/people/Ada%20L").json()
    assert detail["comparable"]
    assert [item["model"] for item in detail["enrolments"]] == 2 * [calibrated.fingerprint]
    found = client.post("/v1/people/Ada%20L/verify", files=one(recording(1, 3))).json()
    expected = calibrated.verify_as("Ada L", np.asarray(soundfile.read(io.BytesIO(recording(1, 3)))[0]))
    assert found["decision"] == expected.decision == "accepted"
    assert found["llr"] == pytest.approx(expected.llr, abs=1e-3)
    assert found["threshold"] == pytest.approx(np.log(99))
    assert [side["recordings"] for side in found["sides"]] == [2, 1]
    assert client.delete("/v1/people/Ada%20L").json() == {"person": "Ada L", "recordings": 2, "remark": ""}
    assert client.get("/v1/people").json() == []
    assert {line["person"] for line in client.get("/v1/decisions").json()} == {None}


def test_names_are_composed_and_may_be_of_any_script(client: TestClient, recording: Recording) -> None:
    enrol(client, "Zoe\u0308 美", recording(1, 1))
    assert client.get("/v1/people").json()[0]["name"] == "Zo\u00eb 美"
    assert client.post("/v1/people/Zo\u00eb 美/verify", files=one(recording(1, 2))).status_code == 200


def test_two_recordings(client: TestClient, recording: Recording) -> None:
    files = {"first": ("a.wav", recording(1, 1)), "second": ("b.wav", recording(1, 1))}
    found = client.post("/v1/verify", files=files).json()
    assert (found["decision"], found["prior"]) == ("accepted", 0.01)
    assert found["score"] == pytest.approx(1, abs=1e-4)
    assert client.post("/v1/verify", files=files, data={"prior": "0.5"}).json()["threshold"] == 0
    found = client.post("/v1/verify", files=files, data={"false_acceptance": "1"}).json()
    assert (found["threshold"], found["prior"]) == (2.0, None)
    assert client.get("/v1/decisions").json() == []


def test_too_little_speech_is_an_abstention_and_no_error(client: TestClient, recording: Recording) -> None:
    enrol(client, "ada", recording(1, 1))
    answer = client.post("/v1/people/ada/verify", files=one(recording(1, 1, 0.3)))
    assert answer.status_code == 200
    assert answer.json()["decision"] == "abstained"
    assert answer.json()["score"] is None
    assert "0.3" in answer.json()["reason"]
    assert client.post("/v1/identify", files=one(recording(1, 1, 0.3))).json()["decision"] == "abstained"


def test_whose_voice_it_is(client: TestClient, recording: Recording) -> None:
    assert client.post("/v1/identify", files=one(recording(1, 2))).json()["reason"] == "nobody is enrolled"
    enrol(client, "ada", recording(1, 1))
    enrol(client, "grace", recording(2, 1))
    found = client.post("/v1/identify", files=one(recording(1, 1)), data={"top": "1", "certainty": "0.1"}).json()
    assert (found["decision"], found["person"]) == ("accepted", "ada")
    assert len(found["candidates"]) == 1
    total = found["nobody"] + sum(
        candidate["probability"]
        for candidate in client.post("/v1/identify", files=one(recording(1, 1))).json()["candidates"]
    )
    assert total == pytest.approx(1)
    log = client.get("/v1/decisions", params={"person": "ada", "limit": 1}).json()
    assert [(line["kind"], line["person"]) for line in log] == [("identify", "ada")]


def test_a_search_goes_by_the_threshold_of_a_claim_and_states_the_rate_of_the_list(
    client: TestClient, recording: Recording
) -> None:
    enrol(client, "ada", recording(1, 1))
    enrol(client, "grace", recording(2, 1))

    def found(**data: str) -> Any:
        return client.post("/v1/identify", files=one(recording(1, 1)), data=data).json()

    usual, claim = found(), client.post("/v1/people/ada/verify", files=one(recording(1, 1))).json()
    assert (usual["threshold"], usual["prior"], usual["people"]) == (claim["threshold"], claim["prior"], 2)
    assert usual["false_acceptance"]["kind"] == "extrapolated"
    assert usual["false_acceptance"]["rate"] == 2.0
    assert usual["candidates"][0]["warning"] == "the same recording as the other side's: was it played again?"
    assert usual["candidates"][1]["warning"] == ""
    assert found(prior="0.5")["threshold"] == 0.0
    whole = found(false_acceptance="2")
    assert (whole["threshold"], whole["prior"]) == (2.0, None)
    assert found(false_acceptance="1")["error"]["code"] == "bad_request"
    unsure = found(certainty="0.999999999")
    assert (unsure["decision"], unsure["person"]) == ("rejected", None)
    assert unsure["remark"].startswith("verified as ada it would be accepted")


def test_an_embedding(client: TestClient, recording: Recording, calibrated: Verifier) -> None:
    found = client.post("/v1/embed", files=one(recording(3, 1))).json()
    assert found["model"] == calibrated.fingerprint
    assert np.linalg.norm(found["embedding"]) == pytest.approx(1, abs=1e-5)


def test_the_model_and_the_limits(client: TestClient, calibrated: Verifier) -> None:
    found = client.get("/v1/model").json()
    assert found["model"]["fingerprint"] == calibrated.fingerprint
    assert found["model"]["threshold"] == pytest.approx(np.log(99))
    assert [(item["false_acceptance"], item["llr"]) for item in found["model"]["thresholds"]] == [(1, 2), (0.01, None)]
    assert found["beside"]["embedding_dim"] == 8
    assert found["noise"] == ["music", "noise"]
    assert found["limits"]["duration_s"] == 120


@pytest.mark.parametrize("kind", ["noise", "music"])
def test_noise_on_a_recording_of_a_person(client: TestClient, recording: Recording, kind: str) -> None:
    enrol(client, "ada", recording(1, 1))
    fields = {"person": "ada", "kind": kind, "snr_db": ["10", "0"], "audio": "true"}
    found = client.post("/v1/try", files=one(recording(1, 2)), data=fields).json()
    assert [point["snr_db"] for point in (found["clean"], *found["noisy"])] == [None, 10, 0]
    verified = client.post("/v1/people/ada/verify", files=one(recording(1, 2))).json()
    assert found["clean"]["served"]["llr"] == pytest.approx(verified["llr"], abs=1e-3)
    assert found["clean"]["beside"]["score"] != pytest.approx(found["clean"]["served"]["score"], abs=1e-6)
    assert found["noisy"][1]["side"]["snr_db"] < found["clean"]["side"]["snr_db"]
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(found["audio"])))
    assert (rate, len(wave)) == (16_000, 32_000)
    assert client.post("/v1/try", files=one(recording(1, 2)), data=fields).json() == found
    other = client.post("/v1/try", files=one(recording(1, 2)), data=fields | {"seed": "1"}).json()
    assert other["audio"] != found["audio"]
    assert len(client.get("/v1/decisions").json()) == 1  # the verification alone


def test_noise_against_a_reference(client: TestClient, recording: Recording) -> None:
    files = one(recording(1, 2)) | {"reference": ("b.wav", recording(1, 1))}
    found = client.post("/v1/try", files=files, data={"kind": "noise", "snr_db": "5"}).json()
    assert found["noisy"][0]["beside"]["decision"] in {"accepted", "rejected"}
    assert found["audio"] is None


def test_the_other_model_knows_nobody_after_a_restart(
    calibrated: Verifier, other_embedder: TorchEmbedder, app: FastAPI, recording: Recording, client: TestClient
) -> None:
    calibrated.enroll("ada", np.asarray(soundfile.read(io.BytesIO(recording(1, 1)))[0]))  # not through the service
    found = client.post(
        "/v1/try", files=one(recording(1, 2)), data={"person": "ada", "kind": "noise", "snr_db": "5"}
    ).json()
    assert found["noisy"][0]["served"]["score"] is not None
    assert found["noisy"][0]["beside"] is None
    assert "enrol again" in found["beside_remark"]


def test_a_model_without_calibration_gives_scores(embedder: TorchEmbedder, recording: Recording) -> None:
    with Verifier(embedder) as verifier, TestClient(make_app(verifier)) as client:
        enrol(client, "ada", recording(1, 1))
        found = client.post("/v1/people/ada/verify", files=one(recording(1, 1))).json()
        assert (found["decision"], found["llr"], found["threshold"]) == ("uncalibrated", None, None)
        assert found["score"] == pytest.approx(1, abs=1e-4)
        assert not client.get("/v1/model").json()["model"]["calibrated"]
        assert client.get("/v1/model").json()["noise"] == []


def test_audio_is_kept_only_where_the_operator_says_so(embedder: TorchEmbedder, recording: Recording) -> None:
    for keep in (False, True):
        with Verifier(embedder) as verifier, TestClient(make_app(verifier, Settings(keep_audio=keep))) as client:
            enrol(client, "ada", recording(1, 1))
            enrolments = client.get("/v1/people/ada").json()["enrolments"]
            assert [item["keeps_audio"] for item in enrolments] == [keep]
            assert [item.source for item in verifier.store.enrolments("ada")] == [""]  # no file names


def test_any_rate_and_channels(client: TestClient, recording: Recording) -> None:
    wave = np.random.default_rng(0).standard_normal((44_100, 2)).astype(np.float32) * 0.1
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        assert client.post("/v1/embed", files=one(encoded(wave, kind, 44_100), "x")).status_code == 200, kind


def test_every_answer_has_a_type(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            success = next(status for status in route["responses"] if status.startswith("2"))
            content = route["responses"][success].get("content", {})
            assert path == "/metrics" or content["application/json"]["schema"], (path, method)
            refusal = route["responses"]["422"]["content"]["application/json"]["schema"]
            assert refusal == {"$ref": "#/components/schemas/Error"}, (path, method)


SIDE = "duration_s speech_s snr_db clipped level_db dc bandwidth_hz peak recordings warnings"
KEYS = {
    "Side": SIDE,
    "Verification": "decision score llr threshold prior sides reason",
    "Candidate": "person score llr probability warning",
    "SearchRate": "rate kind low high highest condition remark",
    "Identification": "decision person candidates nobody side threshold prior people false_acceptance reason remark",
    "Enrolled": "person recordings side",
    "Person": "name recordings models created updated",
    "PersonDetail": "name comparable enrolments",
    "Enrolment": "id model created by speech_s snr_db keeps_audio",
    "Deleted": "person recordings remark",
    "Embedding": "model embedding",
    "Decision": "person kind decision score llr threshold model reason by at",
    "Threshold": "false_acceptance llr false_rejection remark",
    "Scored": "decision score llr threshold reason",
    "Point": "snr_db served beside side",
    "NoiseTrial": "kind noise clean noisy beside_remark audio",
}
"""Clients read these keys: one that is renamed or left out breaks them."""


def test_the_keys_of_every_answer_stay(client: TestClient, recording: Recording) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, keys in KEYS.items():
        assert list(schemas[name]["properties"]) == keys.split(), name
        assert sorted(schemas[name]["required"]) == sorted(keys.split()), name
    answers = {"Enrolled": client.post("/v1/people/ada", files=several(recording(1, 1))).json()}
    answers["Side"] = answers["Enrolled"]["side"]
    wave = one(recording(1, 2))
    answers["Verification"] = client.post("/v1/people/ada/verify", files=wave).json()
    answers["Identification"] = client.post("/v1/identify", files=wave).json()
    (answers["Candidate"],) = answers["Identification"]["candidates"]
    answers["SearchRate"] = answers["Identification"]["false_acceptance"]
    (answers["Person"],) = client.get("/v1/people").json()
    answers["PersonDetail"] = client.get("/v1/people/ada").json()
    (answers["Enrolment"],) = answers["PersonDetail"]["enrolments"]
    answers["Decision"] = client.get("/v1/decisions").json()[0]
    asked = {"person": "ada", "kind": "noise", "snr_db": "5"}
    answers["NoiseTrial"] = client.post("/v1/try", files=wave, data=asked).json()
    answers["Point"] = answers["NoiseTrial"]["clean"]
    answers["Scored"] = answers["Point"]["beside"]
    for name, answer in answers.items():
        assert list(answer) == KEYS[name].split(), name
    enrolled, heard = answers["Verification"]["sides"]
    assert (enrolled["level_db"], enrolled["peak"]) == (None, None)
    assert (heard["recordings"], heard["warnings"]) == (1, [])


def test_fields_are_described_by_the_docstrings_of_what_is_answered(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    llr = schemas["Verification"]["properties"]["llr"]["description"]
    assert llr.startswith("Natural-log likelihood ratio")
    assert "null without a calibration" in llr
    assert llr in client.get("/docs").text


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/page/app.js", "/health", "/metrics", "/v1/model", "/v1/people"]
)
def test_head_is_answered_as_get_without_the_body(client: TestClient, path: str) -> None:
    asked, got = client.head(path), client.get(path)
    assert (asked.status_code, asked.content) == (200, b"")
    same = ("Content-Type", "Content-Security-Policy") + (() if path == "/metrics" else ("Content-Length",))
    assert [asked.headers[name] for name in same] == [got.headers[name] for name in same]
    assert client.head("/nowhere").status_code == 404


def test_health(client: TestClient, calibrated: Verifier) -> None:
    assert client.get("/health").json() == {"status": "ok", "store": True}
    calibrated.close()
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")


@pytest.mark.parametrize("kind", ["webm", "m4a"])
def test_what_browsers_send_is_told_by_its_content(client: TestClient, recording: Recording, kind: str) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    enrol(client, "ada", recording(1, 1))
    wave = soundfile.read(io.BytesIO(recording(1, 2)), dtype="float32")[0]
    content = by_ffmpeg(kind, wave, 16_000)
    scores = []
    for name, type_ in (
        ("blob", "audio/webm"),
        ("blob", ""),
        ("audio.wav", "audio/wav"),
        ("x.webm;codecs=opus", "a/b"),
    ):
        answer = client.post("/v1/people/ada/verify", files={"recording": (name, content, type_)})
        assert answer.status_code == 200, answer.text
        scores.append(answer.json()["score"])
    assert np.ptp(scores) < 1e-5


def test_a_channel_of_a_call_is_chosen(client: TestClient, recording: Recording) -> None:
    one_side, other = (soundfile.read(io.BytesIO(recording(speaker, 1)))[0] for speaker in (1, 2))
    turn = np.arange(len(one_side)) // 8_000 % 2 == 0
    call = encoded(np.stack((one_side * turn, other * ~turn), axis=1))
    files = {"first": ("a.wav", call), "second": ("b.wav", encoded(other * ~turn))}
    found = client.post("/v1/verify", files=files, data={"channel": "right,mix"}).json()
    assert found["score"] == pytest.approx(1, abs=1e-3)
    mixed = client.post("/v1/verify", files=files).json()
    assert mixed["score"] < 0.999
    assert any("different voices" in warning for warning in mixed["sides"][0]["warnings"])
    assert not any("different voices" in warning for warning in found["sides"][0]["warnings"])
