"""Log-mel features, 80 filters, on one thread: our convolution against the FFTs of Kaldi and SpeechBrain."""

import numpy as np
import recordings
import torch
from measure import Answer, Measure, Row, Settings, Side, attempt, in_turn, seconds

from voxanchor.models.frontend import Fbank, FbankConfig
from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

BATCH = 64


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(1)
    waves = recordings.load(settings.recordings).waves(settings.pick(BATCH, 8), 2.0)
    together = torch.from_numpy(np.stack(waves))
    total_s = together.numel() / SAMPLE_RATE
    fbank = Fbank(FbankConfig())

    @torch.inference_mode()
    def ours() -> float:
        return total_s / seconds(lambda: fbank(together), least_s=0.2)

    sides = in_turn(
        {
            "voxanchor Fbank": ours,
            "kaldi-native-fbank": attempt(lambda: _kaldi(waves, total_s)),
            "SpeechBrain Fbank": attempt(lambda: _speechbrain(together, total_s)),
        },
        settings.repeats,
    )
    what = f"log-mel features, {len(waves)} x 2 s, one thread"
    rows = [
        Row(what, "s of audio/s", sides["voxanchor Fbank"], sides[name], note=note)
        for name, note in (("kaldi-native-fbank", "one recording at a time, no batches"), ("SpeechBrain Fbank", ""))
    ]
    if sides["kaldi-native-fbank"].values:
        plain = Fbank(FbankConfig(mean_normalise=False))(together)[0].numpy()
        difference = max(float(np.abs(_kaldi_features(w) - p).max()) for w, p in zip(waves, plain, strict=True))
        worst = Side("voxanchor", (difference,))
        rows.append(
            Row("largest difference to Kaldi's features", "ln power", worst, goal="at most 0.001", better="lower")
        )
    return Answer(rows)


def _kaldi_features(wave: Waveform) -> FloatArray:
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = 80
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(SAMPLE_RATE, wave * 32768.0)
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


def _kaldi(waves: list[Waveform], total_s: float) -> Measure:
    _kaldi_features(waves[0])
    return lambda: total_s / seconds(lambda: [_kaldi_features(wave) for wave in waves], least_s=0.2)


def _speechbrain(waves: torch.Tensor, total_s: float) -> Measure:
    from peers import brain

    fbank = brain.Fbank(n_mels=80)

    @torch.inference_mode()
    def measure() -> float:
        return total_s / seconds(lambda: fbank(waves), least_s=0.2)

    return measure
