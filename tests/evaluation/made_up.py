"""A comparison that never took place: six systems, three training seeds, two suites, from a seeded generator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from voxanchor.evaluation.compared_report import Budget, ComparedReport, TrainingCurve, TuningRow
from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import GeometryRow, ResultRow
from voxanchor.evaluation.seeded import run_name
from voxanchor.scoring.det import det_curve

LEVELS = (0.0, 5.0, 10.0, 15.0, 20.0)
NOISES = {"noise": ("noise", "music", "babble"), "unseen-noise": ("traffic", "wind")}

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
                for kind, level in [("", None), *((k, s) for k in NOISES[suite] for s in LEVELS)]:
                    loud = 0.0 if level is None else (30 - level) * (1.0 if kind != "babble" else 1.25)
                    eer = factor * (clean + share * loud * (1 + 0.02 * draw.standard_normal()))
                    condition = "clean" if level is None else f"{kind}_{level:g}db"
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
                            0.0 if level is None else 2 * loose,
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
    return {suite: outcome(suite, **changes) for suite in NOISES}  # type: ignore[arg-type]


DESCRIBED = {
    "base": "Trained on clean speech alone.",
    "joint": "Trained from scratch on clean and noisy speech together.",
    "joint_consistency": "As joint, and the embeddings of clean and noisy versions of a crop are pulled together.",
    "finetune": "The base model trained on with noisy speech; nothing holds it to what it knew.",
    "anchored": "The base model trained on with noisy speech, pulled to its own fixed embeddings of the clean recordings.",
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
