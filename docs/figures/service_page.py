"""The picture of the service's page in docs/service.md: two people enrol, one is verified, and babble is added.

    python -m docs.figures.service_page ROBUST BASE ADA ADA_AGAIN GRACE docs/figures/service-page.png

From the root of the repository, with Chromium. ROBUST and BASE are calibrated models; the others are recordings, the
first two of one speaker.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.service import chromium

WIDTH = 1100


def main(robust: str, base: str, ada: Path, again: Path, grace: Path, out: Path) -> None:
    """Serve the models, visit the page, and write the picture."""
    command = [sys.executable, "-m", "voxanchor", "serve", "--model", robust, "--beside", base, "--port", "0"]
    service = subprocess.Popen([*command, "--store", ":memory:"], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        found = re.match(r"serving on (\S+)", service.stdout.readline())
        assert found, "the service did not start"
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
            chromium.browser(Path(profile), again) as tab,
        ):
            visit(tab, found[1], ada, again, grace)
            tab.screenshot(out, WIDTH)
    finally:
        service.terminate()
        service.wait(30)


def visit(tab: chromium.Tab, address: str, ada: Path, again: Path, grace: Path) -> None:
    """Do on the page what the picture shows."""

    def click(name: str) -> None:
        tab.wait(f"!document.getElementById('{name}').disabled")
        tab.run(f"document.getElementById('{name}').click()")

    def write(name: str, value: str) -> None:
        tab.wait(f"!document.getElementById('{name}').disabled")
        field = f"document.getElementById('{name}')"
        change = "".join(
            f"{field}.dispatchEvent(new Event('{kind}', {{bubbles: true}}));" for kind in ("input", "change")
        )
        tab.run(f"{field}.value = '{value}'; {change}")

    tab.call("Page.navigate", url=address)
    tab.wait("document.getElementById('about').textContent.includes('dimensions')")
    tab.wait("!document.getElementById('record').disabled")
    for name, file in (("Grace", grace), ("Ada", ada)):
        tab.wait("!document.getElementById('file').disabled")
        tab.choose_file("#file", file.resolve())
        write("name", name)
        click("enroll")
        tab.wait(f"document.getElementById('answer').innerText.includes('{name} is enrolled')")
    tab.choose_file("#file", again.resolve())
    write("name", "Ada")
    click("verify")
    tab.wait("document.querySelector('#answer .verdict svg, #answer .accepted, #answer .rejected')")
    write("against", "person:Ada")
    write("kind", "babble")
    write("snr", "5")
    click("try")
    tab.wait("document.querySelectorAll('#tried svg').length >= 2")
    click("sweep")
    tab.wait("document.querySelectorAll('#tried tr, #chart tr').length > 6")


if __name__ == "__main__":
    main(*sys.argv[1:3], *(Path(argument) for argument in sys.argv[3:]))
