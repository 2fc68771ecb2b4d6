"""The snippets of the README run as they stand, its commands are understood, and its links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxanchor.cli.arguments import Group, parse
from voxanchor.cli.main import find
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


def command_lines(text: str) -> Iterator[list[str]]:
    """Give the words behind every ``voxanchor`` in the blocks that are for a shell."""
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip(), comments=True)
            while words and re.match(r"(time|[A-Z_]+=.*)$", words[0]):
                words = words[1:]
            if words[:1] == ["voxanchor"]:
                end = next(
                    (place for place, word in enumerate(words) if word in (">", "|", "&", "&&", ";")), len(words)
                )
                yield words[1:end]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_are_understood(page: Path) -> None:
    for words in command_lines(page.read_text(encoding="utf-8")):
        if words[0].startswith("-") or words[-1] == "--help":
            continue
        name, command, rest = find(words)
        assert not isinstance(command, Group), words
        parse(name, command, rest)


def test_the_readme_shows_commands() -> None:
    assert len(list(command_lines(README))) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
