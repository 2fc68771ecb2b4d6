"""The page in a browser, with a microphone that plays a recording: every button does what it says."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from tests.service import chromium

from voxanchor.service.app import make_app
from voxanchor.service.backgrounds import Backgrounds
from voxanchor.service.settings import Keys, Settings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier

pytestmark = pytest.mark.skipif(
    chromium.executable() is None or os.name != "posix", reason="there is no chromium to show the page in"
)

KEY = "correct-horse-battery"


@pytest.fixture
def address(calibrated: Verifier, other_embedder: TorchEmbedder, noise: Backgrounds) -> Iterator[str]:
    settings = Settings(keys=Keys.parse(f"page {KEY}", "keys"), labels=("robust", "base"))
    app = make_app(calibrated, settings, Verifier(other_embedder), noise)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(chromium.PATIENCE_S)
    assert not thread.is_alive()


class Visitor:
    """Somebody at the page, who waits for what may be pressed and for what is answered: the machine may be busy."""

    def __init__(self, tab: chromium.Tab, address: str) -> None:
        self.tab = tab
        tab.call("Page.navigate", url=address)
        tab.wait("document.getElementById('ask').open")

    def give_key(self, key: str) -> None:
        self.tab.run(f"document.getElementById('key').value = '{key}'; document.querySelector('#ask button').click()")

    def enter(self) -> None:
        self.give_key(KEY)
        self.tab.wait("document.getElementById('about').textContent.includes('robust')")
        self.ready("record")

    def ready(self, name: str) -> None:
        self.tab.wait(f"!document.getElementById('{name}').disabled")

    def click(self, name: str) -> None:
        self.ready(name)
        self.tab.run(f"document.getElementById('{name}').click()")

    def focus(self, name: str) -> None:
        self.ready(name)  # what is disabled cannot be focused
        self.tab.run(f"document.getElementById('{name}').focus()")
        self.tab.wait(f"document.activeElement.id === '{name}'")

    def write(self, name: str, value: str) -> None:
        self.ready(name)
        field = f"document.getElementById('{name}')"
        self.tab.run(f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    def choose(self, file: Path) -> None:
        self.ready("file")
        self.tab.choose_file("#file", file)

    def reads(self, words: str, place: str = "answer") -> None:
        self.tab.wait(f"document.getElementById('{place}').innerText.includes('{words}')")

    def text(self, place: str) -> str:
        return str(self.tab.run(f"document.getElementById('{place}').innerText"))


@pytest.fixture
def visitor(address: str, recording: Callable[..., bytes], tmp_path: Path) -> Iterator[Visitor]:
    microphone = tmp_path / "microphone.wav"
    microphone.write_bytes(recording(1, 2, 4.0))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        chromium.browser(Path(profile), microphone) as tab,
    ):
        yield Visitor(tab, address)


def test_the_page(visitor: Visitor, address: str, recording: Callable[..., bytes], tmp_path: Path) -> None:
    tab, click, reads = visitor.tab, visitor.click, visitor.reads
    file = tmp_path / "ada.wav"
    file.write_bytes(recording(1, 1, 4.0))
    assert tab.run("document.getElementById('key-wrong').textContent") == ""
    visitor.give_key("wrong")
    tab.wait("document.getElementById('ask').open && document.getElementById('key-wrong').textContent")
    visitor.enter()
    assert tab.run("document.getElementById('enroll').disabled")
    visitor.choose(file)
    visitor.write("name", "Ada <b>")
    visitor.focus("enroll")
    click("enroll")
    reads("Ada <b> is enrolled")
    tab.wait("document.activeElement.id === 'enroll'")
    for name in ("a/b", ".."):
        visitor.write("name", name)
        click("verify")
        reads("A name with a slash, or of dots alone")
    visitor.write("name", "Ada <b>")
    click("keep")
    click("record")
    tab.wait("Number(/Recording, ([0-9.]+)/.exec(document.getElementById('state').innerText)[1]) >= 2")
    click("record")
    reads("Recorded", "state")
    click("verify")
    reads("s of speech")
    tab.wait("document.querySelector('#answer svg[aria-label*=\"threshold\"]')")
    click("identify")
    reads("It is Ada <b>")
    reads("1 person was searched; the threshold on the log-likelihood ratio is")
    click("compare")
    reads("reference")
    visitor.write("kind", "music")
    click("try")
    reads("base", "tried")
    assert tab.run("document.querySelectorAll('#tried svg').length") == 2
    reads("Not calibrated", "tried")
    tab.wait("document.getElementById('noisy').duration > 1.5")
    click("sweep")
    reads("0 dB", "chart")
    assert tab.run("document.querySelectorAll('#chart circle').length") == 6
    assert tab.run("document.querySelectorAll('#chart polyline').length") == 2
    for width in (1100, 390, 320):
        tab.screenshot(tmp_path / f"{width}.png", width)
        assert tab.run("document.documentElement.scrollWidth") <= width
    visitor.ready("record")
    tab.run("setTimeout(() => document.querySelector('#people button').click())")
    reads("is deleted")
    reads("Nobody yet", "people")
    complaints = [text for text in tab.complaints if "401" not in text]  # before the key was given
    assert complaints == []
    elsewhere = [url for url in tab.fetched if not url.startswith((address, "blob:", "data:", "about:"))]
    assert elsewhere == []


def test_no_answer_outlives_what_it_is_about(visitor: Visitor, recording: Callable[..., bytes], tmp_path: Path) -> None:
    tab = visitor.tab
    for speaker, name in ((1, "ada"), (2, "grace")):
        (tmp_path / f"{name}.wav").write_bytes(recording(speaker, 1, 3.0))
    (tmp_path / "text.mp3").write_text("no sound, but words " * 200)
    visitor.enter()
    visitor.choose(tmp_path / "ada.wav")
    visitor.write("name", "ada")
    visitor.click("enroll")
    visitor.reads("is enrolled")

    def verified() -> None:
        visitor.write("name", "ada")
        visitor.click("verify")
        tab.wait("document.querySelector('#answer .verdict svg, #answer .accepted, #answer .rejected')")
        visitor.reads("s of speech")
        visitor.ready("record")

    verified()
    visitor.write("name", "adam")
    visitor.reads("Not asked yet since")
    assert not tab.run("document.querySelector('#answer .verdict')")
    verified()
    visitor.choose(tmp_path / "grace.wav")
    visitor.reads("Not asked yet since")
    visitor.click("identify")
    tab.wait("document.querySelector('#answer .verdict')")
    visitor.write("name", "somebody")  # whose voice it is does not depend on the name
    assert tab.run("Boolean(document.querySelector('#answer .verdict'))")
    visitor.click("keep")
    visitor.reads("Not asked yet since")
    verified()
    visitor.click("record")
    visitor.reads("Not asked yet since")
    visitor.reads("Recording", "state")
    visitor.click("record")
    visitor.reads("Recorded", "state")
    visitor.choose(tmp_path / "ada.wav")

    def tried() -> None:
        visitor.click("try")
        tab.wait("document.querySelectorAll('#tried .verdict').length === 2")
        visitor.click("sweep")
        tab.wait("document.querySelector('#chart svg')")
        visitor.ready("record")

    tried()
    visitor.write("snr", "0")  # all ratios are in the chart, which stays
    assert tab.run("document.getElementById('tried').children.length") == 0
    assert tab.run("document.getElementById('noisy').hidden")
    assert tab.run("Boolean(document.querySelector('#chart svg'))")
    for name, value in (("kind", "music"), ("seed", "3"), ("against", "reference")):
        tried()
        visitor.write(name, value)
        assert tab.run("document.getElementById('tried').children.length") == 0, name
        assert tab.run("document.getElementById('chart').children.length") == 0, name

    visitor.choose(tmp_path / "text.mp3")
    visitor.click("identify")
    visitor.reads("This is no recording: WAV, FLAC")
    assert "pipe" not in visitor.text("answer")
    assert [text for text in tab.complaints if "401" not in text and "422" not in text] == []


def test_the_keyboard_stays_where_it_is_needed(
    visitor: Visitor, recording: Callable[..., bytes], tmp_path: Path
) -> None:
    tab = visitor.tab
    (tmp_path / "ada.wav").write_bytes(recording(1, 1, 3.0))
    visitor.enter()
    visitor.choose(tmp_path / "ada.wav")
    for name in ("ada", "bob", "cleo"):
        visitor.write("name", name)
        visitor.click("enroll")
        visitor.reads(f"{name} is enrolled")
    visitor.write("name", "bob")
    visitor.ready("verify")
    visitor.focus("name")
    for kind in ("rawKeyDown", "char", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    visitor.reads("Accepted")
    tab.wait("document.activeElement.id === 'name'")

    def delete(place: int) -> None:
        visitor.ready("record")
        button = f"document.querySelectorAll('#people button')[{place}]"
        name = tab.run(f"{button}.getAttribute('aria-label')").removeprefix("Delete ")
        tab.run(f"{button}.focus(); setTimeout(() => {button}.click())")
        visitor.reads(f"{name} is deleted")  # not the one before

    delete(1)
    tab.wait("document.activeElement.getAttribute('aria-label') === 'Delete cleo'")
    delete(1)
    tab.wait("document.activeElement.getAttribute('aria-label') === 'Delete ada'")
    delete(0)
    tab.wait("document.activeElement.id === 'h-enrolled'")


TICKS = {
    (-3.1, 11.2): ["-5", "0", "5", "10", "15"],
    (0.41, 0.97): ["0.4", "0.6", "0.8", "1.0"],
    (0.412, 0.4123): ["0.41", "0.42"],
    (-0.02, 0.0): ["-0.02", "-0.01", "0.00"],
    (2.0, 2.0): ["2.00", "2.01"],
}


def test_axes_have_round_ticks(visitor: Visitor) -> None:
    def drawn(code: str) -> list[str]:
        found = visitor.tab.run(f"import('/page/draw.js').then((draw) => {code})")
        return [words.replace("\N{MINUS SIGN}", "-") for words in found]

    for (low, high), ticks in TICKS.items():
        made = f"draw.rounded({low}, {high})"
        assert drawn(f"{made}.ticks.map((tick) => draw.shown(tick, {made}.digits))") == ticks
    assert drawn("[draw.shown(-0.04), draw.shown(-0.06), draw.shown(-0, 0)]") == ["0.0", "-0.1", "0"]
