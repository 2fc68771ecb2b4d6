"""The house stands as docs/architecture.md says: imports go down, nothing goes round, files stay small."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "voxanchor"

TIERS = [
    {"errors", "types", "rng", "files", "heap", "extras"},
    {"config", "processes", "progress", "outputs"},
    {"audio", "scoring"},
    {"conditions", "corpus", "models", "objectives", "enrolments"},
    {"evaluation", "export"},
    {"training", "verification"},
    {"workflows", "service"},
    {"cli", "__main__"},
]
"""Lowest first. Rooms on one tier do not know each other, but for those that are single files."""

SINGLE_FILES = TIERS[0] | TIERS[1] | {"__main__", "cli"}

MOST_LINES = 700


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def tier_of(room: str) -> int:
    return next(i for i, rooms in enumerate(TIERS) if room in rooms)


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imported(path: Path) -> set[str]:
    """Modules of this package imported anywhere in a file, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.startswith("voxanchor.")}


def name_of(path: Path) -> str:
    return "voxanchor." + ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    own = room_of(path)
    for name in imported(path):
        room = name.split(".")[1]
        if room in {own, "__version__"}:
            continue
        below = tier_of(room) < tier_of(own)
        beside = len({own, room} & SINGLE_FILES) == 2 and tier_of(room) == tier_of(own)
        assert below or beside, f"{own} must not import {name}"


def test_no_circles() -> None:
    known = {name_of(path): path for path in modules()}
    edges = {name: {other for other in imported(path) if other in known} for name, path in known.items()}
    while free := [name for name, needs in edges.items() if not needs & edges.keys()]:
        for name in free:
            del edges[name]
    assert not edges, f"these modules import each other: {sorted(edges)}"


def test_scoring_is_numbers_only() -> None:
    for path in (SOURCE / "scoring").glob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_package_files_are_empty() -> None:
    for path in SOURCE.rglob("__init__.py"):
        if path.parent != SOURCE:
            assert path.read_text(encoding="utf-8") == "", path


def test_importing_the_package_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, voxanchor, voxanchor.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
