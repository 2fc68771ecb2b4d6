"""What is known about the licence of a model that somebody published."""

import importlib.metadata
from pathlib import Path

import yaml

from voxanchor.models.references import GE2E_PACKAGE

_FILES = ("LICENSE", "LICENSE.txt", "LICENCE", "LICENSE.md", "COPYING")
_CLASSIFIER = "License :: OSI Approved :: "


def licence_of(reference: str) -> tuple[str, str]:
    """Return the licence of a model reference and where that was read; two empty texts where nothing says.

    A model directory or file is asked for the ``license`` at the head of the README.md beside it, as model hubs keep
    it, then for the first line of a licence file; ``ge2e`` for what its package declares.
    """
    if reference == "ge2e":
        return _of_package(GE2E_PACKAGE)
    path = Path(reference)
    if not path.exists():
        path = Path(reference.partition(":")[2].partition("::")[0] or "\0")
    try:
        folder = path if path.is_dir() else path.parent if path.is_file() else None
    except (OSError, ValueError):
        folder = None
    if folder is None:
        return "", ""
    named = _of_card(folder / "README.md")
    if named:
        return named, "README.md"
    for name in _FILES:
        if line := _first_line(folder / name):
            return line, name
    return "", ""


def _of_package(package: str) -> tuple[str, str]:
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return "", ""
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith(_CLASSIFIER):
            return classifier.removeprefix(_CLASSIFIER), f"the package {package}"
    return "", ""


def _of_card(path: Path) -> str:
    try:
        _, fence, rest = path.read_text(encoding="utf-8").partition("---\n")
        head, end, _ = rest.partition("\n---")
        values = yaml.safe_load(head) if fence and end else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    return str(values.get("license") or "") if isinstance(values, dict) else ""


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:80] for line in lines if line.strip()), "")
