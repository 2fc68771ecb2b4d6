"""Each package is pinned once: pip refuses two pins, and `make bench` reads both files."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("constraints.txt", "benchmarks/constraints.txt")

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="a source distribution has no benchmarks")


def pinned(file: str) -> list[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
    return [re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins]  # as PEP 503 compares names


def test_each_package_is_pinned_once() -> None:
    counts = Counter(name for file in FILES for name in pinned(file))
    assert counts["torch"] == counts["librosa"] == 1
    assert [name for name, count in counts.items() if count > 1] == []
