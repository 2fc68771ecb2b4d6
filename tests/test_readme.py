"""The snippets of the README run as they stand, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(folder)
    return folder


def test_there_are_three_snippets() -> None:
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet: str, model: Path, voices_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {
        "MODEL": str(model),
        "RECORDING": str(voices_folder / "s00" / "0.flac"),
        "OTHER": str(voices_folder / "s01" / "0.flac"),
    }
    exec(snippet, names)
    if "print" in snippet:
        printed = capsys.readouterr().out.split()[0]
        if "snr_db=5.0" in snippet:
            assert float(printed) == pytest.approx(5.0, abs=0.01)
        else:
            assert printed == "uncalibrated"
    else:
        assert names["embeddings"].shape == (2, 16)  # type: ignore[attr-defined]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
