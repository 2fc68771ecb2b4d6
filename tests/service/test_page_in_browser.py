"""The page in a browser, with a microphone that plays a recording: every button does what it says."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from tests.service import chromium

from voxanchor.audio.bank import NoiseBank
from voxanchor.models.torch_embedder import TorchEmbedder
from voxanchor.service.app import make_app
from voxanchor.service.keys import Keys
from voxanchor.service.settings import Settings
from voxanchor.verification.verifier import Verifier

pytestmark = pytest.mark.skipif(
    chromium.executable() is None or os.name != "posix", reason="there is no chromium to show the page in"
)

KEY = "correct-horse-battery"


@pytest.fixture
def address(calibrated: Verifier, other_embedder: TorchEmbedder, noise: NoiseBank) -> Iterator[str]:
    settings = Settings(keys=Keys.parse(f"page {KEY}", "keys"), labels=("robust", "base"))
    app = make_app(calibrated, settings, Verifier(other_embedder), noise)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_the_page(address: str, recording: Callable[..., bytes], tmp_path: Path) -> None:
    microphone, file = tmp_path / "microphone.wav", tmp_path / "ada.wav"
    microphone.write_bytes(recording(1, 2, 4.0))
    file.write_bytes(recording(1, 1, 4.0))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        chromium.browser(Path(profile), microphone) as tab,
    ):
        tab.call("Page.navigate", url=address)
        tab.wait("document.getElementById('ask').open")
        assert tab.run("document.getElementById('key-wrong').textContent") == ""
        tab.run("document.getElementById('key').value = 'wrong'; document.querySelector('#ask button').click()")
        tab.wait("document.getElementById('ask').open && document.getElementById('key-wrong').textContent")
        tab.run(f"document.getElementById('key').value = '{KEY}'; document.querySelector('#ask button').click()")
        tab.wait("document.getElementById('about').textContent.includes('robust')")

        def click(name: str) -> None:
            tab.wait(f"!document.getElementById('{name}').disabled")
            tab.run(f"document.getElementById('{name}').click()")

        def answer(words: str, place: str = "answer") -> None:
            tab.wait(f"document.getElementById('{place}').innerText.includes('{words}')")

        assert tab.run("document.getElementById('enrol').disabled")
        tab.choose_file("#file", file)
        tab.run("document.getElementById('name').value = 'Ada <b>'; document.getElementById('name').oninput()")
        tab.run("document.getElementById('enrol').focus()")
        click("enrol")
        answer("Ada <b> is enrolled")
        tab.wait("document.activeElement.id === 'enrol'")
        for name in ("a/b", ".."):
            tab.run(f"document.getElementById('name').value = '{name}'; document.getElementById('name').oninput()")
            click("verify")
            answer("A name with a slash, or of dots alone")
        tab.run("document.getElementById('name').value = 'Ada <b>'; document.getElementById('name').oninput()")
        click("keep")
        click("record")
        answer("Recording, 2", "state")
        click("record")
        answer("Recorded", "state")
        click("verify")
        answer("s of speech")
        tab.wait("document.querySelector('#answer svg[aria-label*=\"threshold\"]')")
        click("identify")
        answer("It is Ada <b>")
        answer("1 person was searched; the threshold on the log-likelihood ratio is")
        click("compare")
        answer("reference")
        tab.run("document.getElementById('kind').value = 'music'")
        click("try")
        answer("base", "tried")
        assert tab.run("document.querySelectorAll('#tried svg').length") == 2
        answer("Not calibrated", "tried")
        tab.wait("document.getElementById('noisy').duration > 1.5")
        click("sweep")
        answer("0 dB", "chart")
        assert tab.run("document.querySelectorAll('#chart circle').length") == 6
        assert tab.run("document.querySelectorAll('#chart polyline').length") == 2
        for width in (1100, 390, 320):
            tab.screenshot(tmp_path / f"{width}.png", width)
            assert tab.run("document.documentElement.scrollWidth") <= width
        tab.wait("!document.getElementById('record').disabled")
        tab.run("setTimeout(() => document.querySelector('#people button').click())")
        answer("is deleted")
        answer("Nobody yet", "people")
        complaints = [text for text in tab.complaints if "401" not in text]  # before the key was given
        assert complaints == []
        elsewhere = [url for url in tab.fetched if not url.startswith((address, "blob:", "data:", "about:"))]
        assert elsewhere == []
