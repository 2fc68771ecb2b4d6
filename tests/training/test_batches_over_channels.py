"""Training inputs over channels: which rows they are, what is drawn beside, and each row as it is alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from voxanchor import config
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Channel
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import RecipeError
from voxanchor.training.batches import Batches
from voxanchor.training.stage import Channels, Rooms, Train

ALL = {"telephone": 1.0, "mulaw": 1.0, "gsm": 1.0, "opus_6k": 1.0, "clipped_3db": 1.0}
HALF = Channels(0.5, ALL)


@pytest.mark.parametrize(("share", "clean"), [(0.1, 0.25), (0.5, 0.15), (0.75, 0.25), (1.0, 0.0)])
def test_the_share_is_kept_and_clean_inputs_stay_clean(
    manifest: Manifest, bank: NoiseBank, stage: Train, share: float, clean: float
) -> None:
    channels = Channels(share, {"telephone": 1, "clipped_3db": 3})
    stage = replace(stage, batch_size=8, clean_share=clean, channels=channels)
    batches = Batches(manifest, bank, stage, 0)
    made = [batches.compose(step)[1] for step in range(30)]
    chosen = np.array([composition.channels for composition in made])
    assert (chosen >= 0).sum() == pytest.approx(share * chosen.size, abs=1)
    assert not (chosen[np.array([composition.kinds for composition in made]) < 0] >= 0).any()
    if share > 0.4:
        assert np.mean(chosen[chosen >= 0] == 1) == pytest.approx(0.75, abs=0.15)


def test_nothing_else_is_drawn_otherwise(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = replace(stage, batch_size=8, rooms=Rooms(0.4), gain_db=(-6.0, 6.0))
    plain, coded = (Batches(manifest, bank, replace(stage, channels=c), 0) for c in (Channels(), HALF))
    for step in range(4):
        (one, was), (two, made) = plain.compose(step), coded.compose(step)
        assert (was.channels == -1).all()
        for name in ("starts", "kinds", "snr_db", "gains", "rooms"):
            np.testing.assert_array_equal(getattr(was, name), getattr(made, name))
        dry = made.channels < 0
        assert torch.equal(one.waves[dry], two.waves[dry])
        assert not dry.all()
        for row in np.flatnonzero(~dry):
            assert not torch.equal(one.waves[row], two.waves[row])


def test_a_row_over_a_channel_is_what_it_is_alone(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = replace(stage, batch_size=16, rooms=Rooms(0.3))
    plain, coded = (Batches(manifest, bank, replace(stage, channels=c), 0) for c in (Channels(), HALF))
    seen: set[int] = set()
    for step in range(5):
        before, (after, made) = plain.render(step), coded.compose(step)
        for row in np.flatnonzero(made.channels >= 0):
            channel = Channel.parse(list(ALL)[made.channels[row]])
            assert channel is not None
            seen.add(int(made.channels[row]))
            expected = channel.apply(before.waves[row].numpy())
            np.testing.assert_allclose(after.waves[row], expected, atol=1e-6 * np.abs(expected).max() + 1e-9)
    assert seen == set(range(len(ALL)))


def test_rows_in_rooms_and_over_channels_are_drawn_apart(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = replace(stage, batch_size=16, clean_share=0.0, rooms=Rooms(0.5), channels=Channels(0.5))
    made = [Batches(manifest, bank, stage, 0).compose(step)[1] for step in range(10)]
    room = np.array([composition.rooms >= 0 for composition in made])
    channel = np.array([composition.channels >= 0 for composition in made])
    assert {(bool(r), bool(c)) for r, c in zip(room.flat, channel.flat, strict=True)} == {
        (r, c) for r in (True, False) for c in (True, False)
    }


def test_processes_together_hear_what_one_would_hear(
    manifest: Manifest, bank: NoiseBank, stage: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = replace(stage, batch_size=12, channels=Channels(0.5, {"telephone": 1, "mulaw": 1, "clipped_0db": 1}))
    alone, made = Batches(manifest, bank, stage, 0).compose(2)
    for rank in range(3):
        monkeypatch.setattr("voxanchor.runtime.rank", lambda rank=rank: rank)
        monkeypatch.setattr("voxanchor.runtime.world", lambda: 3)
        batch, part = Batches(manifest, bank, stage, 0).compose(2)
        np.testing.assert_array_equal(part.channels, made.channels[rank::3])
        same = part.channels != 1  # where mu-law rounds the other way a sample is a step off
        torch.testing.assert_close(batch.waves[same], alone.waves[rank::3][same], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(batch.waves, alone.waves[rank::3], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"share": 1.5}, "share from 0 to 1"),
        ({"kinds": {"fax": 1}}, "'fax' is not a channel: there is telephone"),
        ({"kinds": {"opus_2k": 1}}, "goes from 6k"),
        ({"kinds": {"opus_6.0k": 1}}, "write 'opus_6k'"),
        ({"kinds": {"gsm": -1}}, "weights"),
        ({"kinds": {"gsm": 0}}, "weights"),
        ({"kinds": {}}, "weights"),
        ({"kind": {"gsm": 1}}, "Did you mean 'kinds'"),
        ({"share": 0.9}, "channels.share make at most 1"),
    ],
)
def test_a_stage_says_what_is_wrong_with_its_channels(values: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        config.build(Train, {"start": "scratch", "steps": 1, "channels": values}, "stage")


def test_a_stage_without_channels_keeps_its_fingerprint(stage: Train) -> None:
    assert "channels" not in config.dump(stage)
    assert config.build(Train, config.to_plain(replace(stage, channels=HALF))).channels == HALF
