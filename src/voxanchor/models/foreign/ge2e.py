"""GE2E: the public speaker encoder that the package `resemblyzer` 0.1.4 ships, rebuilt here and fine-tunable.

An LSTM trained with the generalised end-to-end loss (Wan et al., ICASSP 2018, arXiv 1710.10467) on VoxCeleb and
LibriSpeech-other. Only the weights are read from the package, as data; none of its code is imported.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import MissingExtraError, ModelError
from voxanchor.models.backbone import InputConfig
from voxanchor.models.frontend import Analysis, MelSpectrum, slaney_mel
from voxanchor.models.layers import frame_mask, is_exporting
from voxanchor.models.references import GE2E_INSTALL, GE2E_PACKAGE, ge2e_weights
from voxanchor.runtime import multiplies_bfloat16
from voxanchor.types import SAMPLE_RATE

INSTALL_HINT = GE2E_INSTALL
weights_path = ge2e_weights

_FRAME_SAMPLES = 400
_HOP_SAMPLES = 160
_WINDOW_FRAMES = 160
_WINDOW_STEP_FRAMES = 77  # 1.3 windows a second, rounded to whole frames
_WINDOW_SAMPLES = _WINDOW_FRAMES * _HOP_SAMPLES
_MIN_COVERAGE = 0.75
_STEP_SAMPLES = _WINDOW_STEP_FRAMES * _HOP_SAMPLES
_FIRST_STEP_SAMPLES = _STEP_SAMPLES - round(_MIN_COVERAGE * _WINDOW_SAMPLES)
"""The rule of `windows` in one division: a window is added where three quarters of it are filled."""


@dataclass(frozen=True)
class GE2EConfig:
    """GE2E has no settings: its shape is that of the published weights."""


class GE2E(nn.Module):
    """3 x LSTM 256 over windows of 1.6 s, then linear, ReLU and unit length, averaged over the windows.

    The features are 40 mel powers without logarithm (librosa's defaults: Slaney's filters, periodic Hann window of 400,
    hop 160, frames centred, zero padding). A recording is cut into windows by the package's rule: one every 77 frames,
    the last one kept when at least three quarters of it are filled. In training, a crop of 1.6 s is one window.
    """

    MIN_SAMPLES = 4_800
    """0.3 s: a shorter recording would be a window of more than four fifths silence."""

    WANTED_INPUT = InputConfig(level_db=-30.0, high_pass=True)
    """Its features are powers, without a logarithm whose mean could be taken away."""

    HEARS_LEVEL = True

    def __init__(self, _config: GE2EConfig) -> None:
        super().__init__()
        self.embedding_dim = 256
        n_fft = _FRAME_SAMPLES
        periodic_hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
        self.spectrum = MelSpectrum(Analysis(periodic_hann, n_fft), slaney_mel(40, n_fft, SAMPLE_RATE), _HOP_SAMPLES)
        self.lstm = nn.LSTM(40, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, self.embedding_dim)

    def forward(
        self, waves: Tensor, lengths: Tensor | None = None, with_frames: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return embeddings (B, 256) float32, none negative, not yet of unit length.

        Args:
            waves: (B, T) float, full scale 1.0, 16 kHz.
            lengths: (B,) int64 samples of each recording, only where they differ from T.
            with_frames: return also what the last layer of the LSTM gives at every frame of every window,
                (windows, 160, 256).
        """
        if lengths is not None and is_exporting():
            return self._forward_any_shape(waves, lengths)
        batch, total = waves.shape
        counts = [windows(total)] * batch if lengths is None else [windows(int(n)) for n in lengths.tolist()]
        if lengths is not None:
            # Frames are centred: those at a recording's end look past it, where the package sees zeros.
            waves = waves.masked_fill(~frame_mask(lengths, total).squeeze(2), 0.0)
        mel = self._mel(waves, max(counts))
        owner = torch.repeat_interleave(torch.arange(batch), torch.tensor(counts)).to(waves.device)
        starts = torch.cat([torch.arange(n) for n in counts]).to(waves.device) * _WINDOW_STEP_FRAMES
        frames = starts.unsqueeze(1) + torch.arange(_WINDOW_FRAMES, device=waves.device)
        outputs, partial = self._embed_windows(mel[owner.unsqueeze(1), frames])
        embeddings = partial.new_zeros(batch, self.embedding_dim).index_add(0, owner, partial)
        return (embeddings, outputs) if with_frames else embeddings

    def _forward_any_shape(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """Return what `forward` does; only values, never a shape, depend on the lengths.

        Every recording is cut into as many windows as T allows, and those that it does not fill count nothing.
        """
        batch, total = waves.shape
        waves = waves.masked_fill(~frame_mask(lengths, total).squeeze(2), 0.0)
        most: int = torch.sym_max(1, (total + _FIRST_STEP_SAMPLES) // _STEP_SAMPLES)  # type: ignore[no-untyped-call]
        starts = torch.arange(most, device=waves.device) * _WINDOW_STEP_FRAMES
        frames = starts.unsqueeze(1) + torch.arange(_WINDOW_FRAMES, device=waves.device)
        mel = self._mel(waves, most)
        partial = self._embed_windows(mel[:, frames].flatten(0, 1))[1].view(batch, most, -1)
        counts = torch.div(lengths + _FIRST_STEP_SAMPLES, _STEP_SAMPLES, rounding_mode="floor").clamp(min=1)
        own = frame_mask(counts, most)
        return partial.masked_fill(~own, 0.0).sum(dim=1)

    def _mel(self, waves: Tensor, count: int) -> Tensor:
        frames = (count - 1) * _WINDOW_STEP_FRAMES + _WINDOW_FRAMES
        needed = (frames - 1) * _HOP_SAMPLES + _FRAME_SAMPLES
        left = _FRAME_SAMPLES // 2
        mel: Tensor = self.spectrum(F.pad(waves, (left, needed - left - waves.shape[1])))
        return mel

    def _embed_windows(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        kind = mel.device.type
        # Processors without instructions for bfloat16 have no such LSTM at all.
        rounded = torch.is_autocast_enabled(kind) and multiplies_bfloat16(mel.device)
        with torch.autocast(kind, enabled=rounded):
            outputs, (hidden, _) = self.lstm(mel)
        return outputs, F.normalize(F.relu(self.linear(hidden[-1])).float(), dim=1)


def windows(length_samples: int) -> int:
    """Return how many windows of 1.6 s a recording is cut into; at least 1."""
    frames = length_samples // _HOP_SAMPLES + 1
    count = math.ceil(max(1, frames - _WINDOW_FRAMES + _WINDOW_STEP_FRAMES + 1) / _WINDOW_STEP_FRAMES)
    filled = (length_samples - (count - 1) * _WINDOW_STEP_FRAMES * _HOP_SAMPLES) / _WINDOW_SAMPLES
    return count - 1 if filled < _MIN_COVERAGE and count > 1 else count


def pretrained_weights() -> dict[str, Tensor]:
    """Return the published weights, named as the `state_dict` of `GE2E`.

    Raises:
        MissingExtraError: the package is not installed.
        ModelError: its file of weights cannot be read or holds something else.
    """
    path = weights_path()
    if path is None:
        raise MissingExtraError(GE2E_PACKAGE, "the model 'ge2e'", INSTALL_HINT)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        # The other two are scale and bias of the loss it was trained with.
        return {name: value.float() for name, value in state.items() if name.startswith(("lstm.", "linear."))}
    except Exception as error:
        raise ModelError(
            f"{path}: not the weights of resemblyzer 0.1.4 ({error}). Reinstall: {INSTALL_HINT}"
        ) from error
