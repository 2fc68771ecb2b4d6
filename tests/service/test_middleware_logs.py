"""What the service writes down of a request, and what not."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.service.asking import one, several

from voxanchor.service import middleware
from voxanchor.service.app import make_app
from voxanchor.verification.verifier import Verifier

Recording = Callable[..., bytes]

NAME, FILE = "Ada Countess of Lovelace", "ada-lovelace-monday.wav"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The log of the service, and all that goes to other loggers."""
    stream = io.StringIO()
    loggers = [logging.getLogger(name) for name in (middleware.LOGGER.name, "uvicorn", "psycopg", "python_multipart")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    middleware.write_to(stream)
    other = logging.StreamHandler(stream)
    logging.getLogger().addHandler(other)
    yield stream
    logging.getLogger().removeHandler(other)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_line_for_each_request_and_nobody_in_it(
    client: TestClient, recording: Recording, written: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    wave = {"recording": (FILE, recording(1, 1))}
    answers = [
        client.post(f"/v1/people/{NAME}", files=[("recordings", (FILE, recording(1, 1)))]),
        client.post(f"/v1/people/{NAME}/verify", files=wave),
        client.post(f"/v1/people/{NAME}/verify", files={"recording": (FILE, b"junk")}),
        client.post(f"/v1/people/{NAME}x/verify", files=wave),
        client.post("/v1/identify", files=wave),
        client.post("/v1/try", files=wave, data={"person": NAME, "kind": "noise", "snr_db": "5"}),
        client.get("/v1/decisions", params={"person": NAME}),
        client.get(f"/{NAME}"),
        client.delete(f"/v1/people/{NAME}"),
    ]
    lines = [json.loads(line) for line in written.getvalue().splitlines() if '"event": "request"' in line]
    assert [line["status"] for line in lines] == [answer.status_code for answer in answers]
    assert [line["id"] for line in lines] == [answer.headers["X-Request-ID"] for answer in answers]
    assert lines[1] | {"id": "", "ms": 0, "time": ""} == {
        "time": "",
        "level": "info",
        "event": "request",
        "id": "",
        "method": "POST",
        "route": "/v1/people/{name}/verify",
        "status": 200,
        "ms": 0,
        "by": "",
        "audio_s": 2.0,
        "decision": "accepted",
    }
    assert 0 < lines[1]["ms"] < 10_000
    for words in ("Ada", "Lovelace", "lovelace", "junk", "embedding"):
        assert words not in written.getvalue()
    assert capfd.readouterr().out == ""


def test_a_defect_leaves_its_place_and_not_its_message(
    calibrated: Verifier, recording: Recording, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError(NAME)

    monkeypatch.setattr(Verifier, "embed", broken)
    with TestClient(make_app(calibrated)) as client:
        client.post("/v1/embed", files=one(recording(1, 1)))
    (line,) = [json.loads(line) for line in written.getvalue().splitlines() if "request" in line]
    assert line["level"] == "error"
    assert line["problem"].startswith("ZeroDivisionError at ")
    assert NAME not in written.getvalue()


def test_a_store_that_fails_is_described_without_names(
    client: TestClient, calibrated: Verifier, recording: Recording, written: io.StringIO
) -> None:
    calibrated.close()
    client.post(f"/v1/people/{NAME}", files=several(recording(1, 1)))
    (line,) = [json.loads(line) for line in written.getvalue().splitlines() if "request" in line]
    assert "the store was closed" in line["problem"]
    assert NAME not in written.getvalue()


def test_libraries_write_json_or_nothing(client: TestClient, written: io.StringIO) -> None:
    logging.getLogger("psycopg.pool").warning("error connecting:\nno such file")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/embed", content=b"--broken", headers=broken).status_code == 400
    lines = [json.loads(line) for line in written.getvalue().splitlines() if "HTTP Request" not in line]
    assert [line["event"] for line in lines] == ["error connecting:\nno such file", "request"]


def test_metrics_count_what_was_asked(client: TestClient, recording: Recording) -> None:
    client.post("/v1/people/ada", files=several(recording(1, 1), recording(1, 2)))
    client.post("/v1/people/ada/verify", files=one(recording(1, 1)))
    client.post("/v1/people/ada/verify", files=one(recording(1, 1, 0.3)))
    client.post("/v1/identify", files=one(recording(1, 1)))
    client.get("/v1/people/bob")
    client.request("BREW", "/v1/people")
    text = client.get("/metrics").text
    for line in (
        'voxanchor_decisions_total{decision="accepted",kind="verify"} 1.0',
        'voxanchor_decisions_total{decision="abstained",kind="verify"} 1.0',
        'voxanchor_decisions_total{decision="accepted",kind="identify"} 1.0',
        'voxanchor_requests_total{method="POST",route="/v1/people/{name}/verify",status="200"} 2.0',
        'voxanchor_requests_total{method="GET",route="/v1/people/{name}",status="404"} 1.0',
        "voxanchor_enrolled_recordings_total 2.0",
        'voxanchor_embedding_queue{model="served"} 0.0',
        "voxanchor_requests_in_hand 0.0",
    ):
        assert line in text
    assert "voxanchor_audio_seconds_total 8.3" in text
    assert 'voxanchor_batch_recordings_count{model="beside"}' in text
    assert 'method="other"' in text
    assert "BREW" not in text
    assert "bob" not in text


def test_two_services_in_one_process_count_apart(app: FastAPI, calibrated: Verifier) -> None:
    with TestClient(app) as one_client, TestClient(make_app(calibrated)) as other:
        one_client.get("/health")
        assert 'route="/health"' not in other.get("/metrics").text


PRINTING = """
import ctypes, sys
from voxanchor.service import middleware

with middleware.alone_on_stderr() as stream:
    middleware.write_to(stream)
    libc = ctypes.CDLL(None)
    libc.dprintf(2, b"Note: Trying to resync...\\n\\n\\xe9\\n")  # as a library in C does
    print("from Python", file=sys.stderr)
    middleware.LOGGER.info("request", extra={"fields": {"name": "é"}})
print("afterwards", file=sys.stderr)
middleware.LOGGER.info("last")
"""


def test_what_libraries_print_becomes_lines_of_the_log() -> None:
    command = [sys.executable, "-c", PRINTING]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stderr.splitlines()
    printed.remove("afterwards")
    found = [json.loads(line) for line in printed]
    told = [line["text"] for line in found if line["event"] == "printed"]
    assert [text for text in told if text] == ["Note: Trying to resync...", "\\xe9", "from Python"]
    assert [line["name"] for line in found if line["event"] == "request"] == ["é"]
    assert found[-1]["event"] == "last"


def test_a_stream_that_is_no_file_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with middleware.alone_on_stderr() as given:
        assert given is stream
