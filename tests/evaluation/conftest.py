"""A strict reader of pages, and a comparison that never took place: six systems, three training seeds, two suites."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from voxanchor.evaluation.compare import run_name
from voxanchor.evaluation.compare_report import Budget, ComparedReport, TuningRow
from voxanchor.evaluation.plots import EmbeddingMap, TrainingCurve
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import GeometryRow, ResultRow
from voxanchor.scoring.metrics import det_curve

VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed, ids once, no script, no way out to the network, and both themes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.head = ""
        self.feed(document)
        assert self.open == []
        assert document.startswith("<!DOCTYPE html>")
        assert re.search(r"https?://(?!www\.w3\.org/)|@import|url\((?!#)", document) is None
        assert '<meta name="color-scheme" content="light dark">' in document
        light, _, dark = document.partition("@media (prefers-color-scheme: dark)")
        defined = re.compile(r"(--[\w-]+): #")
        assert set(defined.findall(light)) == set(defined.findall(dark)) != set()
        assert set(re.findall(r"var\((--[\w-]+)\)", document)) - {"--heat"} <= set(defined.findall(light))
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        self.tags.append(tag)
        if ("class", "scroll") in attrs or tag == "pre":
            assert ("tabindex", "0") in attrs  # the keyboard must reach what scrolls
        if tag == "th":
            self.head = ""
        for name, value in attrs:
            assert not name.startswith("on"), "a script in an attribute"
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith("#")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        assert tag != "th" or self.head.strip(), "a heading without words"

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        self.head += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


LEVELS = (0.0, 5.0, 10.0, 15.0, 20.0)
SUITES: dict[str, list[tuple[str, float | None]]] = {
    "noise": [(kind, level) for kind in ("noise", "music", "babble") for level in LEVELS],
    "unseen-noise": [(kind, level) for kind in ("traffic", "wind") for level in LEVELS],
    "rooms": [("reverb_0.3s", None), ("reverb_1s", None)],
}

ERRORS = {
    "base": (2.2, 1.0),
    "joint": (3.4, 0.55),
    "joint_consistency": (3.1, 0.5),
    "finetune": (2.0, 0.45),
    "anchored": (1.5, 0.38),
    "anchored_unlabelled": (1.9, 0.40),
}
"""System -> EER on clean speech in percent, and its errors in noise as a share of the base's."""

REPLICATES = 200


def outcome(
    suite: str = "noise",
    errors: Mapping[str, tuple[float, float]] = ERRORS,
    seeds: Sequence[int] = (1, 2, 3),
    *,
    single: Sequence[str] = (),
    noise_seeds: Sequence[int] = (0,),
    between_seeds: float = 0.06,
    with_curves: bool = True,
) -> Outcome:
    """Return an outcome in which all systems share the luck of the speakers, and seeds differ by a few percent.

    Args:
        single: systems with one run only, seed 0.
        between_seeds: standard deviation of the relative difference between training seeds.
    """
    draw = np.random.default_rng(7)
    common = draw.standard_normal(REPLICATES)
    found = Outcome()
    targets = np.arange(4000) < 400
    for system, (clean, share) in errors.items():
        own = draw.standard_normal(REPLICATES)
        for seed in (0,) if system in single else seeds:
            name = run_name(system, seed)
            factor = 1 + between_seeds * draw.standard_normal()
            for noise_seed in noise_seeds:
                for kind, level in [("", None), *SUITES[suite]]:
                    loud = (30 - (level or 0.0)) * (1.25 if kind == "babble" else 1.0) if kind else 0.0
                    eer = factor * (clean + share * loud * (1 + 0.02 * draw.standard_normal()))
                    condition = f"{kind}_{level:g}db" if level is not None else kind or "clean"
                    samples = eer * (1 + 0.12 * common + 0.03 * own + 0.02 * draw.standard_normal(REPLICATES))
                    samples = np.abs(samples)
                    low, high = np.percentile(samples, [2.5, 97.5])
                    found.replicates[name, condition, noise_seed] = samples
                    found.rows.append(
                        ResultRow(
                            name,
                            "clean-enrol",
                            suite,
                            condition,
                            kind,
                            level,
                            noise_seed,
                            48510,
                            1530,
                            float(eer),
                            float(low),
                            float(high),
                            min(1.0, eer / 12),
                            min(1.0, eer / 20),
                            None,
                            eer / 40,
                        )
                    )
                    loose = eer / 100
                    found.geometry.append(
                        GeometryRow(
                            name,
                            suite,
                            condition,
                            kind,
                            level,
                            noise_seed,
                            40,
                            400,
                            0.93 - loose,
                            0.05 + loose / 4,
                            0.35 + loose / 2,
                            (0.95 - loose / 4) / (0.07 + loose),
                            2 * loose if kind else 0.0,
                        )
                    )
            for panel, loud in (("clean", 0.0), ("all noise at 10 dB", 20.0), ("all noise at 0 dB", 30.0)):
                if with_curves:
                    apart = -2 * float(np.sqrt(2)) * np.log((clean + share * loud) / 50)
                    curve = det_curve(draw.standard_normal(targets.size) + apart / 2 * targets, targets)
                    found.det[name, panel] = (curve.p_miss, curve.p_fa)
    return found


def outcomes(**changes: object) -> dict[str, Outcome]:
    """Return both suites."""
    return {suite: outcome(suite, **changes) for suite in ("noise", "unseen-noise")}  # type: ignore[arg-type]


DESCRIBED = {
    "base": "Trained on clean speech alone.",
    "joint": "Trained from scratch on clean and noisy speech together.",
    "joint_consistency": "As joint, and the embeddings of clean and noisy versions of a crop are pulled together.",
    "finetune": "The base model trained on with noisy speech; nothing holds it to what it knew.",
    "anchored": "The base model trained on with noisy speech, pulled to its own fixed embeddings of them.",
    "anchored_unlabelled": "As anchored, with the pull alone: it needs no names of speakers.",
}


def _curves(system: str) -> list[TrainingCurve]:
    draw = np.random.default_rng(3)
    stages = {"joint": 1500, "joint_consistency": 1500}.get(system)
    lengths = {system: stages} if stages else {"base": 1000} | ({} if system == "base" else {system: 500})
    found = []
    for seed in (1, 2, 3):
        for stage, length in lengths.items():
            steps = np.arange(10, length + 1, 10)
            losses = 6 * np.exp(-steps / length * 2) + 0.2 * draw.standard_normal(steps.size) + 1
            checks = [
                (int(step), float(12 * np.exp(-step / length) + draw.random()), float(25 * np.exp(-step / length) + 4))
                for step in range(0, length + 1, 100)
            ]
            found.append(TrainingCurve(system, seed, stage, steps.tolist(), losses.tolist(), checks))
    return found


def report(**changes: object) -> ComparedReport:
    """Return everything a page can show."""
    draw = np.random.default_rng(5)
    names = list(ERRORS)
    centres = 4 * draw.standard_normal((10, 2))
    speakers = np.tile(np.repeat(np.arange(10), 8), 2)
    points = centres[speakers] + draw.standard_normal((160, 2))
    whole = ComparedReport(
        title="Do fixed anchors help?",
        question="Six ways to teach a small speaker-verification model to bear noise, with the same data and time.",
        outcomes=outcomes(),
        base="base",
        ours="anchored",
        described=DESCRIBED,
        plans={
            "base": ["1000 steps on clean speech"],
            "anchored": ["base", "anchors", "500 steps towards the anchors"],
        },
        budgets=[
            Budget(name, ["base", name] if "joint" not in name else [name], 1500, 33120, 38880, 32.0, 1234.5, 812_345)
            for name in names
        ],
        unequal=["joint_consistency hears every crop twice, clean and noisy, so a step takes it twice as long."],
        tuning=[
            TuningRow(name, {"learning_rate": rate, "weight": 10}, 2 + rate, 9 + rate, 11 + 2 * rate, rate == 0.001)
            for name in names[1:]
            for rate in (0.0003, 0.001)
        ],
        curves=[curve for name in names for curve in _curves(name)],
        maps=[EmbeddingMap(name, points, speakers, np.arange(160) > 79) for name in names],
        facts=[("speech", "LibriSpeech test-clean, 40 speakers"), ("noise seeds", "0, 1, 2"), ("threads", "1")],
        notes=["Made up: no model was trained for this page."],
        recipe="\n".join(
            f"name: {name}\nstages:\n  base: {{train: {{start: scratch, steps: 1000}}}}" for name in names
        ),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture
def open_page() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def made_up_outcome() -> Callable[..., Outcome]:
    return outcome


@pytest.fixture
def made_up_report() -> Callable[..., ComparedReport]:
    return report
