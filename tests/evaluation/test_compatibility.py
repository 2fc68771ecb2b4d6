"""Old and new enrolments on made-up embeddings, where the answer is known."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxanchor.audio.synthetic import SyntheticNoise
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import CorpusError, ModelError
from voxanchor.evaluation.compatibility import Examined, Findings, examine
from voxanchor.evaluation.compatibility_figures import PAIRS
from voxanchor.evaluation.compatibility_text import compatibility_markdown, plain, tables
from voxanchor.evaluation.compatibility_verdict import interval_words, span
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.evaluation.protocol import Setup
from voxanchor.evaluation.report import render_compatibility as render
from voxanchor.evaluation.results import CompatibilityRow, read_csv, write_csv
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.types import Embeddings, FloatArray

DIMENSION = 24
SUITE = Suite("small", (Condition(), Condition("noise", 0.0), Condition("noise", 10.0)))
OpenPage = Callable[[str], Any]
Spaces = Mapping[str, Embeddings]
"""Condition -> embeddings of all segments."""


def encoder(seed: int, dimension: int = DIMENSION) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 8, "embedding_dim": dimension}), seed=seed).eval()


OLD, NEW, CARRIED = encoder(1), encoder(2), encoder(3)


class Known(EmbeddingCache):
    """Holds embeddings that no model made: nothing is ever read or embedded."""

    def __init__(self, spaces: Mapping[str, Spaces]) -> None:
        super().__init__(Path("nowhere"))
        self.spaces = spaces

    def get(self, *key: str | int) -> Embeddings | None:
        return self.spaces[str(key[0])][str(key[2])]

    def put(self, embeddings: Embeddings, *key: str | int) -> None:
        raise AssertionError("embedded again")


def unit(rows: FloatArray) -> Embeddings:
    scaled: Embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def people(speakers: int = 40, takes: int = 4, labelled: bool = True) -> Manifest:
    return Manifest(
        tuple(
            Utterance(f"s{speaker:02d}/{take}", f"s{speaker:02d}" * labelled, 3.0, (Part("nowhere"),), "", f"{take}")
            for speaker in range(speakers)
            for take in range(takes)
        )
    )


def space(manifest: Manifest, hardiness: float = 1.0, seed: int = 0) -> dict[str, Embeddings]:
    """Embeddings around a centre per speaker, all of them without the last dimension; noise scatters them."""
    draw = np.random.default_rng(seed)
    names = sorted({utterance.id.split("/")[0] for utterance in manifest.utterances})
    centres = draw.standard_normal((len(names), DIMENSION - 1))
    owners = [names.index(utterance.id.split("/")[0]) for utterance in manifest.utterances]
    clean = centres[owners] + 0.75 * draw.standard_normal((len(owners), DIMENSION - 1))
    scatter = draw.standard_normal(clean.shape)
    rows = {
        "clean": clean,
        "noise_0db": clean + 1.5 / hardiness * scatter,
        "noise_10db": clean + 0.8 / hardiness * scatter,
    }
    return {name: unit(np.pad(values, ((0, 0), (0, 1)))) for name, values in rows.items()}


def scaled(spaces: Spaces, share: float) -> dict[str, Embeddings]:
    """The same embeddings with a part of each turned into the last dimension: cosines with the old fall to a share."""
    height = np.sqrt(1 - share**2)
    return {name: unit(share * rows + height * np.eye(DIMENSION)[-1]) for name, rows in spaces.items()}


BANK = NoiseBank({"noise": SyntheticNoise()})


def found(
    old: Spaces,
    new: Spaces,
    manifest: Manifest,
    *,
    trials: TrialList | None = None,
    labelled: bool = True,
    seeds: int = 1,
    upgraded: Spaces | None = None,
) -> Findings:
    setup = Setup(SUITE, noise_seeds=tuple(range(seeds)), replicates=100)
    if labelled and trials is None:
        trials = all_pairs(manifest)
    cache = Known({OLD.fingerprint: old, NEW.fingerprint: new, CARRIED.fingerprint: upgraded or {}})
    carried = CARRIED if upgraded else None
    return examine(Examined(OLD, NEW, manifest, trials, BANK, setup, ("ge2e", "robust"), upgraded=carried), cache)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return people()


@pytest.fixture(scope="module")
def same(manifest: Manifest) -> Findings:
    spaces = space(manifest)
    return found(spaces, spaces, manifest)


@pytest.fixture(scope="module")
def moved(manifest: Manifest) -> Findings:
    return found(space(manifest), scaled(space(manifest, hardiness=3.0), 0.8), manifest)


def test_a_model_that_is_the_old_one_changes_nothing(same: Findings) -> None:
    for figure in (*same.figures.values(), *same.conditions.values()):
        assert figure.old == figure.mixed == figure.new
        for change in (figure.mixed_minus_old, figure.mixed_minus_new, figure.new_minus_old):
            assert (change.points.value, change.points.low, change.points.high) == (0, 0, 0)
            assert change.percent is not None
            assert (change.percent.value, change.percent.low, change.percent.high) == (0, 0, 0)
    assert 0.5 < same.figures["clean"].old.value < 15
    assert same.drift.mean == pytest.approx(1.0)
    assert same.drift.p05 == pytest.approx(1.0)
    for point in same.thresholds:
        assert point.pairs["old"] == point.pairs["mixed"] == point.pairs["new"]
        assert point.pairs["mixed"].moved.value == 0
    verdict = same.verdict
    assert (verdict.decision, verdict.settled) == ("keep", True)
    assert verdict.lead == "Keep the old enrolments and the threshold."
    assert all(check.holds and check.settled for check in (*verdict.checks, *verdict.aim))
    assert "not settled" not in verdict.text


def test_voiceprints_that_can_be_carried_need_no_recording(manifest: Manifest) -> None:
    spaces = space(manifest)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIMENSION, DIMENSION)))[0]
    turned = {name: unit(rows @ turn) for name, rows in space(manifest, hardiness=3.0).items()}
    upgraded = {name: unit(rows @ turn) for name, rows in spaces.items()}
    findings = found(spaces, turned, manifest, upgraded=upgraded)
    clean, noisy = findings.figures["clean"], findings.figures["noisy"]
    assert clean.upgraded is not None
    assert noisy.upgraded is not None
    assert clean.upgraded.eer == clean.new
    assert clean.mixed.value > 30
    verdict = findings.verdict
    assert verdict.decision == "upgrade"
    assert "needs no recordings" in verdict.lead
    assert verdict.thresholds["1"] == findings.thresholds[0].pairs["upgraded"].threshold.value
    assert {row.pair for row in findings.rows} == {"old", "mixed", "upgraded", "new"}
    written = compatibility_markdown(findings)
    assert "| upgraded enrolment, new test (verdict) |" in written
    for row in ("new test instead of old", "old enrolment instead of new", "upgraded enrolment instead of new"):
        assert f"| {row} |" in written, row
    assert "upgraded enrolment, new test" in render(findings)
    assert plain(findings)["eer"]["clean"]["upgraded"]["eer"]["value"] == clean.new.value


def test_a_map_that_carries_them_nowhere_changes_no_decision(manifest: Manifest) -> None:
    spaces = space(manifest)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIMENSION, DIMENSION)))[0]
    turned = {name: unit(rows @ turn) for name, rows in spaces.items()}
    assert found(spaces, turned, manifest, upgraded=spaces).verdict.decision == "re-enrol"
    # where old enrolments serve as they are, upgraded ones only stand in the tables
    kept = found(spaces, spaces, manifest, upgraded=spaces)
    assert kept.verdict.decision == "keep"
    assert "| upgraded enrolment, new test |" in compatibility_markdown(kept)
    assert "aim: upgraded instead of new enrolment, on clean speech" in compatibility_markdown(kept)


def test_a_space_that_was_turned_asks_for_new_enrolments(manifest: Manifest) -> None:
    spaces = space(manifest)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIMENSION, DIMENSION)))[0]
    turned = {name: unit(rows @ turn) for name, rows in spaces.items()}
    findings = found(spaces, turned, manifest)
    clean = findings.figures["clean"]
    assert clean.new.value == pytest.approx(clean.old.value, abs=0.1)
    assert clean.mixed.value > 30
    assert (findings.verdict.decision, findings.verdict.settled) == ("re-enrol", True)
    assert findings.verdict.lead.startswith("Enrol everybody again")
    assert findings.verdict.thresholds["1"] == pytest.approx(findings.thresholds[0].pairs["new"].threshold.value)
    assert not findings.verdict.aim[0].holds
    row = next(
        row for row in tables(findings)[0].rows if row[0] == "aim: old instead of new enrolment, on clean speech"
    )
    assert row[2:] == ("at most +10 %", "no")


def test_scores_that_shrank_ask_for_a_new_threshold(manifest: Manifest, moved: Findings) -> None:
    old, mixed, new = (moved.thresholds[0].pairs[pair] for pair in PAIRS)
    assert mixed.threshold.value == pytest.approx(0.8 * old.threshold.value, abs=1e-4)
    assert mixed.moved.value == pytest.approx(-0.2 * old.threshold.value, abs=1e-4)
    assert new.threshold.value == pytest.approx(0.64 * old.threshold.value + 0.36, abs=1e-4)
    assert moved.figures["clean"].mixed.value == pytest.approx(moved.figures["clean"].old.value, abs=0.05)
    assert moved.drift.mean == pytest.approx(0.8, abs=1e-5)
    assert mixed.at_old["clean"].false_acceptance.value < 0.5
    assert mixed.more_rejected["clean"].value > 1
    assert mixed.at_own["clean"].false_acceptance.value == pytest.approx(1.0, abs=0.02)
    assert mixed.at_own["clean"].false_rejection.value == pytest.approx(
        old.at_own["clean"].false_rejection.value, abs=0.5
    )
    at_old, at_own = (errors["clean"].false_rejection.value for errors in (mixed.at_old, mixed.at_own))
    assert mixed.avoidable["clean"].value == pytest.approx(at_old - at_own)
    assert old.avoidable["clean"].value == 0
    assert (moved.verdict.decision, moved.verdict.settled) == ("new threshold", True)
    assert moved.verdict.thresholds["1"] == mixed.threshold.value
    assert f"{mixed.threshold.value:.3f} (1 % false acceptance)" in moved.verdict.lead
    rules, *_ = tables(moved)
    assert rules.rows[2][::3] == ("false acceptance at the threshold for 1 %", "no")
    assert rules.rows[2][2] == "0.5 to 2 times as many"
    assert rules.rows[2][1].startswith(f"{mixed.times_accepted['clean'].value:.2f} [")


def test_the_verdict_marks_the_errors_to_expect(same: Findings, moved: Findings) -> None:
    def marked(findings: Findings) -> list[str]:
        return [table.title for table in tables(findings) for row in table.rows if "(verdict)" in row[0]]

    assert all(title.endswith("while the old one stays") for title in marked(same))
    assert all(title.endswith("at the threshold of each row") for title in marked(moved))
    assert len(marked(same)) == len(marked(moved)) == 2  # 1 % and 0.1 %


def test_no_figure_is_left_out(manifest: Manifest) -> None:
    spaces, new = space(manifest), space(manifest, hardiness=3.0, seed=2)
    findings = found(spaces, new, manifest, upgraded=spaces)
    written = compatibility_markdown(findings)
    for part in findings.figures.values():
        if part is not findings.figures["overall"]:
            for change in (part.mixed_minus_old, part.mixed_minus_new, part.new_minus_old):
                assert span(change) in written
            for pair in part.pairs:
                assert interval_words(part.of(pair)) in written
    for point in findings.thresholds:
        for name, found_at in point.pairs.items():
            assert interval_words(found_at.threshold, 3) in written
            for rates in (*found_at.at_old.values(), *found_at.at_own.values()):
                assert interval_words(rates.false_acceptance) in written
                assert interval_words(rates.false_rejection) in written
            if name == "mixed":
                assert interval_words(found_at.times_accepted["clean"]) in written
                assert interval_words(found_at.more_rejected["clean"], sign="+") in written
                assert f"{found_at.avoidable['clean'].value:+.2f} avoidable" in written
    for reason in findings.verdict.reasons:
        assert reason in written


def test_errors_at_the_old_threshold_are_those_of_counting(manifest: Manifest, moved: Findings) -> None:
    trials = all_pairs(manifest)
    old, new = space(manifest), scaled(space(manifest, hardiness=3.0), 0.8)

    def scores(enrol: Spaces, test: Spaces, condition: str) -> FloatArray:
        one, other = enrol["clean"].astype(np.float64), test[condition].astype(np.float64)
        cosines: FloatArray = np.einsum("kd,kd->k", one[trials.enrol], other[trials.test])
        return cosines

    threshold = moved.thresholds[0].pairs["old"].threshold.value
    others = np.sort(scores(old, old, "clean")[~trials.target])[::-1]
    allowed = len(others) // 100
    assert others[allowed] < threshold < others[allowed - 1]
    noisy = []
    for condition in ("clean", "noise_0db", "noise_10db"):
        values = scores(old, new, condition)
        accepted, rejected = values[~trials.target] >= threshold, values[trials.target] < threshold
        row = next(row for row in moved.rows if (row.condition, row.pair) == (condition, "mixed"))
        assert row.false_acceptance_1 == pytest.approx(100 * accepted.mean(), abs=1e-9)
        assert row.false_rejection_1 == pytest.approx(100 * rejected.mean(), abs=1e-9)
        if condition != "clean":
            noisy.append(100 * rejected.mean())
    rates = moved.thresholds[0].pairs["mixed"].at_old["noisy"]
    assert rates.false_rejection.value == pytest.approx(np.mean(noisy))
    assert rates.false_rejection.low is not None
    assert rates.false_rejection.high is not None
    assert rates.false_rejection.low <= rates.false_rejection.value <= rates.false_rejection.high


def test_too_few_trials_for_a_rate_leave_it_out(manifest: Manifest) -> None:
    few = people(16)  # 64 segments, 1,920 pairs of different speakers
    spaces = space(few)
    findings = found(spaces, spaces, few)
    assert [bool(point.pairs) for point in findings.thresholds] == [True, False]
    assert findings.thresholds[1].remark == "1,920 different-speaker trials are too few for 0.1 %: it takes 10,000"
    assert "Whether the old threshold for 0.1 % serves is not known: 1,920" in findings.verdict.text
    assert "the threshold if it was set for about 1 % false acceptance" in findings.verdict.lead
    assert "0.1 % false acceptance on clean" not in compatibility_markdown(findings)
    row = findings.rows[0]
    assert row.false_acceptance_1 is not None
    assert (row.false_acceptance_01, row.false_rejection_01) == (None, None)
    assert not findings.verdict.settled
    assert "With 16 speakers the intervals themselves are unsure" in findings.verdict.text


def test_without_any_threshold_nothing_is_said_of_it() -> None:
    few = people(4)
    spaces = space(few)
    findings = found(spaces, spaces, few)
    assert not any(point.pairs for point in findings.thresholds)
    assert findings.verdict.lead == (
        "4 speakers are not enough to say: until more are measured, keep the old model and its threshold. Their "
        "figures say: keep the old enrolments."
    )
    assert "cosines" not in findings.verdict.text
    assert findings.verdict.thresholds == {}
    assert json.loads(json.dumps(plain(findings), allow_nan=False))["verdict"]["decision"] == "keep"


def test_two_speakers_whose_draws_hold_no_impostor_are_judged_by_the_figures() -> None:
    two = people(2)
    old = space(two)
    findings = found(old, {name: np.roll(rows, 5, axis=1) for name, rows in old.items()}, two)
    assert findings.verdict.settled is False
    assert compatibility_markdown(findings)


def test_noise_seeds_are_averaged_and_each_has_its_rows(manifest: Manifest) -> None:
    spaces = space(manifest)
    findings = found(spaces, spaces, manifest, seeds=2)
    assert [(row.condition, row.noise_seed, row.pair) for row in findings.rows][:6] == [
        ("clean", seed, pair) for seed in (0, 1) for pair in ("old", "mixed", "new")
    ]
    assert len(findings.rows) == 18
    single = found(spaces, spaces, manifest)
    assert findings.figures == single.figures
    for twice, once in zip(findings.thresholds, single.thresholds, strict=True):
        for pair in PAIRS:
            assert twice.pairs[pair].threshold == once.pairs[pair].threshold
            for part in ("clean", "noisy"):
                two, one = twice.pairs[pair].at_old[part], once.pairs[pair].at_old[part]
                assert two.false_acceptance.value == pytest.approx(one.false_acceptance.value)
                assert two.false_rejection.high == pytest.approx(one.false_rejection.high)
    assert "2 noise seeds" in compatibility_markdown(findings)


def test_where_nobody_says_who_speaks_there_is_drift_and_no_verdict(manifest: Manifest, open_page: OpenPage) -> None:
    strangers = people(labelled=False)
    findings = found(space(manifest), scaled(space(manifest), 0.9), strangers, labelled=False)
    assert findings.verdict.decision == "unknown"
    assert "error rates need to know who speaks" in findings.verdict.lead
    assert (findings.figures, findings.thresholds, findings.outcome) == ({}, (), None)
    assert findings.drift.mean == pytest.approx(0.9, abs=1e-5)
    assert set(findings.scores["mixed"]) == {"different recordings"}
    spread = findings.scores["mixed"]["different recordings"]
    assert spread.mean == pytest.approx(0.9 * findings.scores["old"]["different recordings"].mean, abs=1e-4)
    assert spread.quantiles["50"] == pytest.approx(
        0.9 * findings.scores["old"]["different recordings"].quantiles["50"], abs=1e-4
    )
    assert all(row.eer is None and row.trials == 0 for row in findings.rows)
    assert "Cosine of the clean enrolment" in compatibility_markdown(findings)
    assert "No verdict" in open_page(render(findings)).text


def test_scores_of_recordings_are_between_different_recordings(manifest: Manifest) -> None:
    one = Manifest(tuple(replace(utterance, recording="all") for utterance in people(labelled=False).utterances))
    findings = found(space(manifest), space(manifest), one, labelled=False)
    assert findings.scores == {}
    assert compatibility_markdown(findings)


def test_a_list_of_trials_needs_no_names(manifest: Manifest) -> None:
    strangers = people(labelled=False)
    trials = all_pairs(manifest)
    findings = found(space(manifest), space(manifest), strangers, trials=trials)
    assert findings.material.resampled == "trial"
    assert findings.figures["clean"].old.value > 0
    assert (findings.verdict.decision, findings.verdict.settled) == ("keep", False)
    assert "The speakers are unknown" in findings.verdict.text


def test_models_of_different_dimension_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    setup = Setup(SUITE)
    examined = Examined(OLD, encoder(3, 8), manifest, all_pairs(manifest), BANK, setup, ("ge2e", "small"))
    with pytest.raises(ModelError, match="ge2e has 24 dimensions and small 8"):
        examine(examined, EmbeddingCache(tmp_path))
    empty = replace(examined, new=NEW, segments=Manifest(()), trials=None)
    with pytest.raises(CorpusError, match="no recordings"):
        examine(empty, EmbeddingCache(tmp_path))


def test_what_is_written_says_the_same(moved: Findings, tmp_path: Path, open_page: OpenPage) -> None:
    content = json.loads(json.dumps(plain(moved), allow_nan=False))
    assert content["format"] == "voxanchor-compatibility"
    assert content["verdict"]["text"].startswith("Keep the old enrolments, and set the threshold")
    assert content["eer"]["clean"]["mixed"]["value"] == moved.figures["clean"].mixed.value
    assert set(content["eer"]["conditions"]) == {"clean", "noise_0db", "noise_10db"}
    assert content["thresholds"][0]["pairs"]["mixed"]["at_old"]["noisy"]["false_rejection"]["low"] is not None
    assert content["rules"]["tolerated_clean_percent"] == 10
    write_csv(tmp_path / "table.csv", moved.rows)
    assert read_csv(tmp_path / "table.csv", CompatibilityRow) == moved.rows
    written = compatibility_markdown(moved)
    assert written.startswith(f"**{moved.verdict.lead}**\n\n")
    assert "| old enrolment, new test |" in written
    assert "||" not in written
    assert "| |" not in written.replace("| | ", "|", 1)  # no column without a name
    own = moved.thresholds[0].pairs["mixed"].at_own["noisy"].false_acceptance
    assert own.value != moved.thresholds[0].pairs["mixed"].at_old["noisy"].false_acceptance.value
    assert f"{own.value:.2f} [" in written  # errors at the threshold to set, not only at the old one
    at_own, at_old = tables(moved, intervals=False)[2:4]
    assert at_own.head == ("enrolment and test", "threshold", "moves by", "clean", "in noise")
    assert at_own.rows[1][0] == "old enrolment, new test (verdict)"
    assert at_own.rows[1][4].startswith(f"{own.value:.2f} / ")
    assert at_old.rows[1][0] == "old enrolment, new test"
    assert f"{moved.figures['noisy'].mixed.value:.2f} [" in written
    assert all(line.count("|") == written.splitlines()[4].count("|") for line in written.splitlines()[4:15] if line)
    page = open_page(render(moved))
    assert moved.verdict.lead in page.text
    assert all(reason in page.text for reason in moved.verdict.reasons)
    for words in (word for row in tables(moved)[0].rows for word in row):
        assert words in page.text
    assert page.tags.count("svg") >= 2


def test_nothing_from_outside_is_taken_for_markup(moved: Findings, open_page: OpenPage) -> None:
    evil = '<script>alert("x")</script>'
    model = replace(moved.old, reference=evil)
    material, verdict = replace(moved.material, note=evil), replace(moved.verdict, lead=evil, reasons=(evil,))
    findings = replace(
        moved, old=model, new=model, suite=evil, where=evil, material=material, verdict=verdict, remarks=(evil,)
    )
    assert open_page(render(findings)).text.count(evil) > 8  # fails on any element from a name that was not escaped
    nobody = replace(findings, figures={}, outcome=None, similarity={evil: moved.similarity["clean"]})
    assert evil in open_page(render(nobody)).text
