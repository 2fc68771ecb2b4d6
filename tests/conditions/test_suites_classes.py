"""Classes of noise as kinds of an evaluation, less those that training heard."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.conditions.bank import noise_bank
from voxanchor.conditions.suites import class_kind, noise_classes, refuse_unclassed, suite, with_classes
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError, RecipeError


def folder(path: Path, *names: str) -> str:
    (path / "noise").mkdir(parents=True)
    for number, name in enumerate(names):
        wave = 0.1 * np.random.default_rng(number).standard_normal(8_000)
        soundfile.write(path / "noise" / f"{name}.wav", wave, 16_000)
    return str(path)


@pytest.fixture(scope="module")
def manifest(voices_folder: Path) -> Manifest:
    return scan(voices_folder)


def test_classes_are_kinds_only_where_they_are_asked_for(manifest: Manifest, tmp_path: Path) -> None:
    held = folder(tmp_path, "rain-1", "rain-2", "noise1", "gsm-1")
    plain, by_class = (
        noise_bank([held], manifest, built_in_share=0.0, for_evaluation=True, by_class=by_class)
        for by_class in (False, True)
    )
    assert plain.kinds == ("babble", "music", "noise")
    assert by_class.kinds == ("babble", "gsm-noise", "music", "noise", "noise-noise", "rain")
    assert plain.fingerprint != by_class.fingerprint
    assert plain.source("noise").fingerprint == by_class.source("noise").fingerprint
    heard = {by_class.draw("rain", 100, np.random.default_rng(seed)).description for seed in range(20)}
    assert heard == {"rain-1.wav", "rain-2.wav"}


def test_what_the_training_heard_is_left_out(tmp_path: Path) -> None:
    test, train = folder(tmp_path / "a", "rain-1", "wind-1", "gsm-1"), folder(tmp_path / "b", "rain-7", "bells")
    classes = noise_classes([test])
    assert classes == ("gsm", "rain", "wind")
    whole, left_out = with_classes(suite("unseen-noise"), classes, [train])
    assert left_out == ("rain",)
    assert {c.noise for c in whole.noisy} == {"gsm-noise", "wind"}
    assert len(whole.noisy) == 10
    with pytest.raises(CorpusError, match="the training heard gsm, rain, wind"):
        with_classes(suite("unseen-noise"), classes, [test])
    assert with_classes(suite("noise"), classes, [test]) == (suite("noise"), ())


def test_without_folders_there_are_no_classes() -> None:
    with pytest.raises(RecipeError, match="--noise"):
        refuse_unclassed(suite("unseen-noise"), ())
    refuse_unclassed(suite("noise"), ())
    with pytest.raises(CorpusError, match="no class of noise is left"):
        with_classes(suite("unseen-noise"), (), ())


@pytest.mark.parametrize("name", ["clean", "noise", "babble", "gsm", "opus_6k"])
def test_a_class_that_is_called_like_something_else_gets_a_name_of_its_own(name: str) -> None:
    assert class_kind(name) == f"{name}-noise"
    assert class_kind("rain") == "rain"
