"""The house stands as docs/architecture.md says: imports go down, nothing goes round, one idea is one file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "voxanchor"

TIERS = [
    {"errors", "types", "rng", "files", "extras"},
    {"config", "runtime", "outputs", "plugins"},
    {"audio", "scoring"},
    {"corpus", "models", "objectives", "enrolments"},
    {"conditions"},
    {"evaluation", "export"},
    {"training", "verification"},
    {"workflows", "service"},
    {"cli", "__main__"},
]
"""Lowest first. Packages on one tier do not know each other, but for those that are single files."""

SINGLE_FILES = TIERS[0] | TIERS[1] | {"__main__", "cli"}

MOST_LINES = 700
MOST_FUNCTION_LINES = 80

CHOOSERS = {"voxanchor.cli.main", "voxanchor.enrolments.store", "voxanchor.service.app"}
"""Modules whose work is to choose among others: commands, kinds of database, routes. What they alone import is one of
several alternatives, and no page of theirs."""


def name_of(path: Path) -> str:
    return "voxanchor." + ".".join(path.relative_to(SOURCE).with_suffix("").parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"}


def package_of(module: str) -> str:
    return module.split(".")[1]


def folder_of(module: str) -> str:
    return module.rpartition(".")[0]


def tier_of(package: str) -> int:
    return next(i for i, packages in enumerate(TIERS) if package in packages)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules of this package imported anywhere in a file, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names & MODULES.keys())


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own = package_of(module)
    for other in map(package_of, imported(MODULES[module])):
        beside = len({own, other} & SINGLE_FILES) == 2 and tier_of(other) == tier_of(own)
        assert other == own or tier_of(other) < tier_of(own) or beside, f"{own} must not import {other}"


def test_no_circles() -> None:
    edges = {module: set(imported(path)) for module, path in MODULES.items()}
    while free := [module for module, needs in edges.items() if not needs & edges.keys()]:
        for module in free:
            del edges[module]
    assert not edges, f"these modules import each other: {sorted(edges)}"


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_a_page_of_its_neighbour(module: str) -> None:
    users = [other for other, path in MODULES.items() if module in imported(path)]
    alone = len(users) == 1 and folder_of(users[0]) == folder_of(module) and module.count(".") > 1
    assert not alone or users[0] in CHOOSERS, f"only {users[0]} imports it: it belongs there"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for function in functions(parsed(MODULES[module])):
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1 - _documentation_lines(function)
        assert lines <= MOST_FUNCTION_LINES, f"{function.name} has {lines} lines besides its docstring"


def _documented(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(function) is not None


def _documentation_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    return (first.end_lineno or 0) - first.lineno + 1 if _documented(function) else 0


def test_scoring_is_numbers_only() -> None:
    for path in (SOURCE / "scoring").glob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path


def test_package_files_are_empty() -> None:
    for path in SOURCE.rglob("__init__.py"):
        if path.parent != SOURCE:
            assert path.read_text(encoding="utf-8") == "", path


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, voxanchor, voxanchor.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tests_are_named_after_what_they_test() -> None:
    tests = Path(__file__).parent
    for path in tests.glob("*/**/test_*.py"):
        folder = SOURCE / path.parent.relative_to(tests)
        if not folder.is_dir() or folder.name == "cli":  # the commands are tested as a whole
            continue
        names = [module.stem for module in folder.glob("*.py")]
        assert any(re.match(rf"test_{name}(_|\.)", path.name) for name in names), path
