"""The command: a process with a port, what it refuses to start with, and how it ends."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from voxanchor.cli.main import run
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.service.backgrounds import backgrounds
from voxanchor.service.run import is_local

Recording = Callable[..., bytes]
Start = Callable[..., "Running"]
Answer = tuple[int, bytes]


class Running:
    """The command in a process, once it answers."""

    def __init__(self, model: Path, folder: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "voxanchor", "serve", "--model", str(model), "--port", "0", *flags]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        environment.pop("VOXANCHOR_API_KEYS", None)
        self.errors = folder / "errors"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"serving on (http://127\.0\.0\.1:(\d+))\n", line)
        assert found, (line, self.errors.read_text())
        self.url, self.port = found[1], int(found[2])

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def form(field: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    head = f'--limit\r\nContent-Disposition: form-data; name="{field}"; filename="a.wav"\r\n\r\n'.encode()
    return head + content + b"\r\n--limit--\r\n", {"Content-Type": "multipart/form-data; boundary=limit"}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(path)
    return path


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def make(*flags: str) -> Running:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Running(model, folder, *flags))
        return started[-1]

    yield make
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


def test_from_start_to_end(start: Start, recording: Recording, tmp_path: Path) -> None:
    store = tmp_path / "voices.db"
    running = start("--store", str(store), "--max-upload-mb", "1", "--timeout-s", "2")
    assert running.ask("GET", "/health")[0] == 200
    body, headers = form("recordings", recording(1, 1))
    assert running.ask("POST", "/v1/people/ada", body, headers)[0] == 201
    status, answer = running.ask("POST", "/v1/people/ada/verify", *form("recording", recording(1, 2)))
    assert (status, json.loads(answer)["decision"]) == (200, "uncalibrated")
    # a body that says how long it is, too long, is answered before it is sent
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        kind = form("recording", b"")[1]["Content-Type"]
        head = f"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 99000000\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    # one that never comes is given up
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head.replace("99000000", "1000").encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 504")
    # a request whose body is on its way when the signal comes is answered
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        body, headers = form("recording", recording(1, 2))
        head = f"POST /v1/people/ada/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {headers['Content-Type']}\r\n\r\n"
        connection.sendall(head.encode() + body[:1000])
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[1000:])
        answer = b""
        while block := connection.recv(10_000):
            answer += block
        assert answer.startswith(b"HTTP/1.1 200")
    assert running.wait() == 0
    with pytest.raises(OSError, match="refused"):
        running.ask("GET", "/health")
    lines = running.errors.read_text().splitlines()
    assert "no API keys: for this machine alone" in lines
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line["status"] for line in logged] == [200, 201, 200, 413, 504, 200]
    assert sorted(path.name for path in running.errors.parent.iterdir()) == ["errors"]  # no temporary file is left
    again = start("--store", str(store))
    assert json.loads(again.ask("GET", "/v1/people")[1])[0]["name"] == "ada"
    assert again.end(signal.SIGINT) == 0


def test_a_connection_on_which_no_request_comes_is_closed(start: Start) -> None:
    running = start("--store", ":memory:", "--timeout-s", "1")
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10)) for _ in range(3)
        ]
        for connection, begin in zip(connections, (b"", b"GET / HT", whole + b"GET"), strict=True):
            connection.sendall(begin)
        assert [connection.recv(10_000)[:12] for connection in connections] == [b"", b"", b"HTTP/1.1 200"]
        while connections[2].recv(10_000):
            pass
    # one whose requests come slowly, but come, is answered
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(whole[:20])
            time.sleep(0.6)
            connection.sendall(whole[20:])
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 200")
    assert running.end() == 0


def test_keys_from_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("door correct-horse-battery\n")
    running = start("--store", ":memory:", "--api-keys", str(tmp_path / "keys.txt"))
    assert running.ask("GET", "/v1/people")[0] == 401
    assert running.ask("GET", "/v1/people", headers={"X-API-Key": "correct-horse-battery"}) == (200, b"[]")
    assert running.end() == 0
    assert "correct-horse" not in running.errors.read_text()


def test_what_it_does_not_start_with(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOXANCHOR_API_KEYS", raising=False)
    arguments = ["serve", "--model", str(model), "--store", ":memory:"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for flags, words in (
            (["--host", "0.0.0.0"], "without API keys"),
            (["--api-keys", str(tmp_path / "none")], "cannot be read"),
            (["--max-duration-s", "0"], "max-duration-s"),
            (["--prior", "2"], "prior"),
            (["--noise", str(tmp_path / "none")], "none"),
            (["--port", str(taken.getsockname()[1])], "cannot listen"),
        ):
            assert run([*arguments, *flags]) in {2, 3}, flags
            assert words in capsys.readouterr().err


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_without_the_extra(package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run(["serve", "--model", "ge2e", "--store", ":memory:"]) == 6
    assert "pip install 'voxanchor[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),
        ("a.b", False),
    ],
)
def test_which_addresses_are_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_an_exported_model_is_served_without_pytorch(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert run(["export", str(model), "--out", str(tmp_path / "tiny.onnx")]) == 0
    code = (
        "import sys, voxanchor, voxanchor.cli.people, voxanchor.service.app as app, voxanchor.service.run\n"
        "from voxanchor.service.backgrounds import backgrounds\n"
        f"with voxanchor.load({str(tmp_path / 'tiny.onnx')!r}) as verifier, backgrounds([]) as noise:\n"
        "    app.make_app(verifier, noise=noise)\n"
        "    print(*noise.kinds, 'torch' in sys.modules)\n"
        "    print(type(noise.bank.source('noise')).__name__)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"(babble )?music noise False\nSyntheticNoise\n", found.stdout)


def test_noise_with_and_without_talkers(noise_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    with backgrounds([str(noise_path)]) as noise:
        assert noise.kinds == noise.bank.kinds == ("babble", "music", "noise")
        assert "8 speakers" in noise.bank.source("babble").summary
        assert "recorded" in noise.bank.source("noise").summary
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with backgrounds([str(noise_path)]) as noise:
        assert noise.kinds == noise.bank.kinds == ("music", "noise")
        assert "recorded" in noise.bank.source("music").summary
    with backgrounds([]) as noise:
        assert "synthetic" in noise.bank.source("noise").summary
