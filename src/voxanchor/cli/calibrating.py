"""The command that gives a model its thresholds."""

from typing import Literal

from voxanchor.cli.shared import Folder, Folders, Json, Layout, Model, OutFolder, Share, Suite, loading, print_json


def calibrate(
    model: Model,
    speech: Folder,
    out: OutFolder,
    noise: Folders = (),
    rooms: Folders = (),
    cohort: Folder = "",
    normalise: bool = False,
    suite: Suite = "noise",
    seed: int = 0,
    layout: Layout = "auto",
    channel: str = "mix",
    max_unusable: Share = 0.2,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    json: Json = False,
) -> int:
    """Give a model its thresholds: scores become decisions.

    Fits what turns scores into log-likelihood ratios that know about short and noisy recordings. The model directory in
    --out gets calibration.json, with thresholds, and calibration.md, with what was measured on speakers that the fit
    did not hear. verify, serve and export use it from there.

    Example: voxanchor calibrate --model runs/robust --speech my-speech --noise my-noise --out runs/calibrated

    Args:
        model: the model to calibrate; `voxanchor models` lists what it may be.
        speech: folder of recordings, one sub-folder per speaker, or a list that names both (see --layout), of speakers
            that the model was not trained on.
        out: the model directory to make; that of --model itself gets the calibration added.
        noise: folder with noise/, music/ and speech/ (MUSAN layout). Without it the built-in kinds are used, and babble
            from the speech.
        rooms: folder of room impulse responses, for suites with measured rooms.
        cohort: folder of recordings of yet other speakers, those of the training for example. How much a recording is
            like these strangers is then taken into account; their embeddings are stored with the model.
        normalise: normalise scores by the cohort (AS-norm) instead.
        suite: the conditions, a named suite (noise, unseen-noise, unseen-recordings, reverb, telephone, clipping,
            combined, level, compatibility) or a YAML file.
        seed: of the noise.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        channel: which channel of the recordings is heard: mix (the mean of all), loudest, left, right, or its number.
        max_unusable: largest share of unusable recordings with which the rest still serves.
        precision: of the model's matrix products.
        json: print the calibration as JSON.
    """
    from math import log

    loading(model)
    from voxanchor.audio.downmix import channel_of
    from voxanchor.config import to_plain
    from voxanchor.evaluation.calibration_text import summary
    from voxanchor.scoring.judge import PRIOR
    from voxanchor.workflows.calibrate import Material
    from voxanchor.workflows.calibrate import calibrate as job

    record = job(
        model,
        Material(speech, noise, rooms, cohort, suite, seed),
        out,
        normalise=normalise,
        layout=layout,
        channel=channel_of(channel),
        max_unusable_share=max_unusable,
        precision=precision,
    )
    if json:
        print_json(to_plain(record))
        return 0
    print(f"calibrated model: {out}")
    print(summary(record))
    print(
        f"these replace thresholds on cosines; verify, verify-as and serve take {log((1 - PRIOR) / PRIOR):.2f}, that "
        f"for a prior of {100 * PRIOR:g} %, unless --false-acceptance names one of them"
    )
    return 0
