"""Fetching a corpus from a server of our own: whole, resumed, checked, unpacked safely, and only once."""

import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from voxanchor.cli.main import run
from voxanchor.corpus import download as fetching
from voxanchor.corpus import download as listed
from voxanchor.corpus import download as transferring
from voxanchor.corpus.download import MARKER, Download, Downloads, fetch, where_to_get
from voxanchor.errors import DownloadError, OutputError, RecipeError
from voxanchor.outputs import locked


@dataclass
class Server:
    """What a server holds and how it behaves."""

    content: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    break_after: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("Range", ""))
            if self.path != "/resources/7/tiny.tar.gz":
                self.send_error(404)
                return
            first, content = 0, state.content
            wanted = self.headers.get("Range")
            if wanted and state.ranges and self.headers.get("If-Range") == state.etag:
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            end = first + state.break_after if state.break_after else len(content)
            self.wfile.write(content[first:end])

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(transferring, "PAUSE_S", 0.0)
    monkeypatch.setattr(transferring, "_BLOCK", 1000)
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{web.server_address[1]}/resources"
    yield state
    web.shutdown()
    thread.join()
    web.server_close()


def tar(*entries: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for entry, content in entries:
            member = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            if member.isreg():
                member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return made.getvalue()


def noise(count: int) -> bytes:
    """Bytes that do not compress, so that an archive of them is about as long."""
    return b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(count // 32))


GOOD = tar(("Tiny/part/1/a.flac", noise(6400)), ("Tiny/part/1/b.flac", b"b"), ("Tiny/README.TXT", b"read me"))


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, server: Server) -> Callable[..., None]:
    """(content, md5) -> the server has a corpus `tiny`, listed with that sum; by default the right one."""

    def set_up(content: bytes = GOOD, md5: str | None = None) -> None:
        server.content = content
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest() if md5 is None else md5
        corpus = Download("7/tiny.tar.gz", len(content), "Tiny/part", "tiny voices", "CC0", "page", digest)
        known = Downloads(server.url, (), {"tiny": corpus}, ())
        for module in (listed, fetching):
            monkeypatch.setattr(module, "downloads", lambda: known)

    return set_up


def test_a_corpus_comes_whole_and_once(
    tmp_path: Path, server: Server, offer: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    offer()
    folder = fetch("tiny", tmp_path / "data")
    assert folder == tmp_path / "data" / "Tiny" / "part"
    assert (folder / "1" / "a.flac").read_bytes() == noise(6400)
    assert (tmp_path / "data" / "Tiny" / "README.TXT").read_text() == "read me"
    assert json.loads((folder / MARKER).read_text())["name"] == "tiny"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["Tiny"]
    assert "licence CC0" in capsys.readouterr().err
    fetch("tiny", tmp_path / "data")
    assert len(server.asked) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(
    tmp_path: Path, server: Server, offer: Callable[..., None]
) -> None:
    offer()
    server.break_after = 2500
    fetch("tiny", tmp_path)
    assert server.asked == ["", "bytes=2500-", "bytes=5000-"]


def test_the_next_command_goes_on_and_a_changed_file_begins_anew(
    tmp_path: Path, server: Server, offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer()
    monkeypatch.setattr(transferring, "ATTEMPTS", 1)
    server.break_after = 2500
    with pytest.raises(DownloadError, match="goes on at 2,500 bytes"):
        fetch("tiny", tmp_path)
    assert (tmp_path / "tiny.tar.gz.part").stat().st_size == 2500
    server.break_after = 0
    server.etag = '"two"'  # If-Range does not hold: the server sends all of it
    fetch("tiny", tmp_path)
    assert server.asked[-1] == "bytes=2500-"


def test_a_server_without_ranges_sends_everything_again(
    tmp_path: Path, server: Server, offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer()
    monkeypatch.setattr(transferring, "ATTEMPTS", 1)
    server.ranges, server.break_after = False, 2500
    with pytest.raises(DownloadError, match="broke 1 times"):
        fetch("tiny", tmp_path)
    server.break_after = 0
    assert (fetch("tiny", tmp_path) / "1" / "b.flac").read_bytes() == b"b"


def test_stopped_between_the_last_byte_and_the_new_name(
    tmp_path: Path, server: Server, offer: Callable[..., None]
) -> None:
    offer()
    (tmp_path / "tiny.tar.gz.part").write_bytes(GOOD)
    (tmp_path / "tiny.tar.gz.part.json").write_text(json.dumps({"mark": server.etag, "bytes": len(GOOD)}))
    fetch("tiny", tmp_path)
    assert server.asked == [f"bytes={len(GOOD)}-"]


def test_a_part_that_nothing_vouches_for_is_thrown_away(
    tmp_path: Path, server: Server, offer: Callable[..., None]
) -> None:
    offer()
    (tmp_path / "tiny.tar.gz.part").write_bytes(b"of something else")
    fetch("tiny", tmp_path)
    assert server.asked == [""]


def test_a_wrong_sum_is_refused_and_removed(tmp_path: Path, offer: Callable[..., None]) -> None:
    offer(md5="0" * 32)
    with pytest.raises(DownloadError, match="should be 00000"):
        fetch("tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "entries",
    [
        [("../escaped.txt", b"x")],
        [("/tmp/escaped.txt", b"x")],
        [("Tiny/part/../../../escaped.txt", b"x")],
        [(link("Tiny/part/away", "../../.."), b""), ("Tiny/part/away/escaped.txt", b"x")],
        [(link("Tiny/part/passwd", "/etc/passwd"), b"")],
        [(link("Tiny/part/hard", "../../../outside.txt", tarfile.LNKTYPE), b"")],
        [(link("Tiny/part/device", "", tarfile.CHRTYPE), b"")],
    ],
)
def test_nothing_leaves_the_folder_of_a_tar(
    tmp_path: Path, offer: Callable[..., None], entries: list[tuple[tarfile.TarInfo | str, bytes]]
) -> None:
    offer(tar(("Tiny/part/fine.txt", b"fine"), *entries))
    (tmp_path / "outside.txt").write_text("mine")
    with pytest.raises(DownloadError, match="unpack"):
        fetch("tiny", tmp_path / "deep" / "data")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "deep", "outside.txt", "tiny.tar.gz"]
    assert not Path("/tmp/escaped.txt").exists()


def zipped(name: str, mode: int = 0) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("Tiny/part/fine.txt", "fine")
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        file.writestr(entry, "../../..")
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../escaped.txt", 0),
        ("/escaped.txt", 0),
        ("Tiny\\..\\..\\escaped.txt", 0),
        ("C:/escaped.txt", 0),
        ("Tiny/part/away", 0o120777),
        ("Tiny/part/device", 0o020666),
    ],
)
def test_nothing_leaves_the_folder_of_a_zip(tmp_path: Path, offer: Callable[..., None], name: str, mode: int) -> None:
    offer(zipped(name, mode))
    with pytest.raises(DownloadError, match="not unpacked"):
        fetch("tiny", tmp_path / "data")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "tiny.tar.gz"]


def test_a_zip_is_unpacked(tmp_path: Path, offer: Callable[..., None]) -> None:
    offer(zipped("Tiny/part/more.txt", 0o100644))
    folder = fetch("tiny", tmp_path, keep_archive=True)
    assert (folder / "fine.txt").read_text() == "fine"
    assert (tmp_path / "tiny.tar.gz").exists()


@pytest.mark.parametrize("content", [b"this is no archive" * 100, GOOD[:-2000]])
def test_damage_without_a_sum_is_seen_when_unpacking(
    tmp_path: Path, offer: Callable[..., None], content: bytes
) -> None:
    offer(content, md5="")
    with pytest.raises(DownloadError, match="Remove it and fetch it again"):
        fetch("tiny", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.tar.gz"]


def test_an_archive_of_something_else_is_refused(tmp_path: Path, offer: Callable[..., None]) -> None:
    offer(tar(("Other/a.flac", b"a")))
    with pytest.raises(DownloadError, match="holds no folder Tiny/part"):
        fetch("tiny", tmp_path)


def test_a_folder_that_was_there_is_left_alone(tmp_path: Path, server: Server, offer: Callable[..., None]) -> None:
    offer()
    (tmp_path / "Tiny" / "part").mkdir(parents=True)
    with pytest.raises(OutputError, match="not fetched by this command"):
        fetch("tiny", tmp_path)
    assert server.asked == []


def test_two_at_once_do_not_mix(tmp_path: Path, server: Server, offer: Callable[..., None]) -> None:
    offer()
    with locked(tmp_path / ".tiny.tar.gz.lock", tmp_path), pytest.raises(OutputError, match="another run is at work"):
        fetch("tiny", tmp_path)
    assert server.asked == []
    fetch("tiny", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Tiny"]


def test_room_is_looked_for_before(
    tmp_path: Path, server: Server, offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="are free"):
        fetch("tiny", tmp_path)
    assert server.asked == []


def test_what_the_network_does_not_give(tmp_path: Path, server: Server, offer: Callable[..., None]) -> None:
    offer()
    with pytest.raises(DownloadError, match="404"):
        fetch("tiny", tmp_path, mirror=f"{server.url}/404")
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch("tiny", tmp_path, mirror="http://127.0.0.1:1/")
    with pytest.raises(DownloadError, match="only http"):
        fetch("tiny", tmp_path, mirror="file:///etc")
    with pytest.raises(RecipeError, match="Did you mean 'tiny'"):
        fetch("tini", tmp_path)


def test_the_command(
    tmp_path: Path, offer: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer()
    assert run(["data", "fetch", "tiny", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "Tiny" / "part")
    assert run(["data", "fetch"]) == 0
    assert "tiny: tiny voices; 1 MB; licence CC0" in capsys.readouterr().out
    assert run(["data", "fetch", "tiny", "--list", "--json"]) == 0
    assert "tiny" in json.loads(capsys.readouterr().out)


def test_the_list_itself() -> None:
    known = listed.downloads()
    assert {"librispeech-train-clean-100", "librispeech-test-clean", "musan", "rirs-noises"} <= set(known.downloads)
    for corpus in known.downloads.values():
        assert len(corpus.md5) in (0, 32)
        assert corpus.licence
    assert where_to_get("/x/musan/noise").startswith("get it with: voxanchor data fetch musan --out /x (")
    assert "fetch rirs-noises --out data" in where_to_get("data/RIRS_NOISES/real_rirs_isotropic_noises")
    assert "ask its publisher" in where_to_get("data/voxceleb1/dev/wav")
    assert where_to_get("data/mine") == ""
