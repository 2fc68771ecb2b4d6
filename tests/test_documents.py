"""Files that the documents name exist: who reads on from a page must find what it speaks of."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "voxanchor"
NOT_CHECKED = {"CHANGELOG.md"}  # tells of what was
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CHECKED = [page for page in PAGES if page.name not in NOT_CHECKED]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source distribution does not have all files")

_FOLDERS = ("src", "tests", "docs", "benchmarks", ".ci", ".github")
_MADE_LATER = ("benchmarks/.venv",)


def named(text: str) -> Iterator[str]:
    """Give the files and folders of this repository that are named in code spans, commands in them left out."""
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        for word in span.split():
            path = word.partition("::")[0].rstrip(".,:;")
            if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", path) is None or "NAME" in path or path.startswith(_MADE_LATER):
                continue
            first, slash, _ = path.partition("/")
            if slash and (first in _FOLDERS or (path.endswith(".py") and (PACKAGE / first).is_dir())):
                yield path


def exists(path: str) -> bool:
    return (ROOT / path).exists() or (PACKAGE / path).exists()


def test_paths_are_found_in_a_text() -> None:
    text = "See `audio/gone.py`, `python docs/figures/snr.py runs/x`, `tests/test_rng.py::test` and `a/b.wav`."
    assert list(named(text)) == ["audio/gone.py", "docs/figures/snr.py", "tests/test_rng.py"]
    assert [exists(path) for path in named(text)] == [False, True, True]


@pytest.mark.parametrize("page", CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    assert [path for path in named(page.read_text(encoding="utf-8")) if not exists(path)] == []


def test_the_page_of_the_house_names_every_module_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Every file")[2]
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent == PACKAGE]
    assert sorted(re.findall(r"^\* `([^`]+)`: ", text, flags=re.MULTILINE)) == sorted(
        str(path.relative_to(PACKAGE)) for path in modules
    )


def test_documents_name_files() -> None:
    assert sum(len(list(named(page.read_text(encoding="utf-8")))) for page in CHECKED) >= 30
