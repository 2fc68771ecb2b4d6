"""What a run adds around the loop: voices at other speeds, and the interpolation with the weights it started from."""

import pytest
import torch

from voxanchor.errors import RecipeError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.corpora import gather
from voxanchor.training.recipe import Data, Speech
from voxanchor.training.stage import Train
from voxanchor.training.task import interpolate


def encoder(seed: int) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=seed)


def test_interpolated_weights_lie_on_the_line_between_start_and_trained() -> None:
    start, trained = encoder(1), encoder(2)
    student = trained.copy()
    interpolate(student, start, 0.75)
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            expected = 0.25 * start.state_dict()[name] + 0.75 * trained.state_dict()[name]
            torch.testing.assert_close(value, expected)
    interpolate(trained, start, 1.0)
    assert trained.fingerprint == encoder(2).fingerprint


def test_only_a_stage_from_a_model_can_be_interpolated() -> None:
    assert Train(start="ge2e", steps=1, interpolation=0.8).interpolation == 0.8
    with pytest.raises(RecipeError, match="interpolation"):
        Train(start="scratch", steps=1, interpolation=0.8)
    with pytest.raises(RecipeError, match="interpolation"):
        Train(start="ge2e", steps=1, interpolation=0.0)


def test_other_speeds_add_speakers_to_the_training_alone(voices_folder: str) -> None:
    speech = (Speech(str(voices_folder), hold_out_speakers=2),)
    plain = gather(Data(speech, validation_speakers=2), seed=0)
    more = gather(Data(speech, validation_speakers=2, voice_speeds=(0.9, 1.1)), seed=0)
    assert len(more.train.speakers) == 3 * len(plain.train.speakers)
    assert len(more.train) == 3 * len(plain.train)
    assert more.train.utterances[: len(plain.train)] == plain.train.utterances
    assert more.train.fingerprint != plain.train.fingerprint
    assert more.validation == plain.validation
    assert more.held_out == plain.held_out


def test_a_validation_part_that_is_cut_is_said(voices_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    speech = (Speech(str(voices_folder)),)
    everyone = len(gather(Data(speech, validation_speakers=0), seed=0).train.speakers)
    gather(Data(speech, validation_speakers=everyone // 4), seed=0)
    assert "instead of" not in capsys.readouterr().err
    cut = gather(Data(speech, validation_speakers=everyone), seed=0)
    assert len(cut.validation.speakers) == everyone // 4
    assert f"validation: {everyone // 4} speakers instead of {everyone}" in capsys.readouterr().err


@pytest.mark.parametrize("speeds", [(1.0,), (0.4,), (3.0,)])
def test_speeds_that_make_no_other_voice_are_refused(speeds: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError, match="voice_speeds"):
        Data((Speech("x"),), voice_speeds=speeds)
