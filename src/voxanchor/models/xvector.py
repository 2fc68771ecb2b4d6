"""The x-vector network of transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from voxanchor.audio.snr import USUAL_LEVEL_DB
from voxanchor.config import nearest
from voxanchor.errors import ModelError
from voxanchor.extras import missing
from voxanchor.models.backbone import AS_IT_COMES, InputConfig
from voxanchor.models.batches import in_equal_lengths
from voxanchor.models.layers import is_exporting

MODEL_TYPES = ("wavlm", "wav2vec2", "unispeech-sat", "data2vec-audio")
"""Those with an x-vector head that hear waveforms and whose weights all serve. HuBERT has no such head."""

UNUSED = ("classifier.", "objective.")
"""Parts of the package's model that no embedding depends on."""

MASK = "masked_spec_embed"
"""What its model puts in the place of frames that it masks; nothing is masked here."""

_SHORTEST = 4_800


@dataclass(frozen=True)
class XVectorConfig:
    """A model's configuration.

    Attributes:
        config: that of the package, ``model_type`` among it, as its config.json has it.
        do_normalize: whether every recording is brought to mean 0 and variance 1.
    """

    config: dict[str, Any]
    do_normalize: bool = True


class XVector(nn.Module):
    """The package's model without its classifier.

    In training nothing is masked, no layer is skipped and nothing dropped: an anchor is what the whole network says of
    a recording, and a network with parts missing would be pulled towards it for what it lacks, not for the noise.

    Its normalisation over time sees padding: recordings of different lengths are run those of one length at a time.

    Raises:
        MissingExtraError: the package is not installed.
        ModelError: a configuration that it cannot make a network of.
    """

    MAY_LEAVE_OUT = True
    """Whether parameters may take no part in an embedding: what each of the package's kinds does is its own affair."""

    def __init__(self, options: XVectorConfig) -> None:
        super().__init__()
        self.model = _make(options.config)
        self.normalises = options.do_normalize
        self.HEARS_LEVEL = not self.normalises
        self.WANTED_INPUT = AS_IT_COMES if self.normalises else InputConfig(USUAL_LEVEL_DB, high_pass=True)
        self.embedding_dim = int(self.model.config.xvector_output_dim)
        self.MIN_SAMPLES = max(_SHORTEST, fewest_samples(self.model.config))

    def forward(
        self, waves: Tensor, lengths: Tensor | None = None, with_frames: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return embeddings (B, D) float32 of `waves` (B, T); `lengths` (B,) int64 only where they differ from T.

        With `with_frames` return also the frames that the pooling sees, (B, F, C).

        Raises:
            ModelError: lengths in training mode, or together with frames.
        """
        if is_exporting():
            raise ModelError("a model of transformers cannot be exported by voxanchor")
        if lengths is None:
            return self._with_frames(waves) if with_frames else self._embed(waves)
        if self.training or with_frames:
            raise ModelError("in training every crop of a batch must have the same length")
        return in_equal_lengths(self._embed, waves, lengths)

    def _embed(self, waves: Tensor) -> Tensor:
        if self.normalises:
            variance, mean = torch.var_mean(waves, dim=1, keepdim=True, correction=0)
            waves = (waves - mean) / torch.sqrt(variance + 1e-7)
        embeddings: Tensor = self.model(waves).embeddings
        return embeddings.float()

    def _with_frames(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        frames: list[Tensor] = []
        hook = self.model.tdnn[-1].register_forward_hook(lambda _layer, _inputs, output: frames.append(output))
        try:
            embeddings = self._embed(waves)
        finally:
            hook.remove()
        return embeddings, frames[0]


def fewest_samples(config: Any) -> int:
    """Return the length of the shortest recording that leaves two frames to pool."""
    samples = 2 + sum((k - 1) * d for k, d in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))
    # some kinds keep the word without having the thing
    if getattr(config, "add_adapter", False) and hasattr(config, "adapter_stride"):
        for _ in range(config.num_adapter_layers):
            samples = (samples - 1) * config.adapter_stride + config.adapter_kernel_size - 2
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return int(samples)


def _make(values: Mapping[str, Any]) -> Any:
    """Return the package's model of a configuration, with fresh weights, without the parts that are not used."""
    try:
        from transformers import AutoConfig, AutoModelForAudioXVector
    except ImportError:
        raise missing("transformers", "an x-vector model of transformers") from None
    kind = values.get("model_type")
    if kind not in MODEL_TYPES:
        raise ModelError(f"model_type '{kind}' of transformers is not among those with x-vectors. {_known(kind)}")
    try:
        # others could name code for the package to fetch, as attn_implementation may
        known = {name for name in AutoConfig.for_model(kind).to_dict() if not name.startswith("_")}
        config = AutoConfig.for_model(**{name: value for name, value in values.items() if name in known})
        config.apply_spec_augment = False
        for name in vars(config):
            if name == "layerdrop" or name.endswith("dropout"):
                setattr(config, name, 0.0)
        model = AutoModelForAudioXVector.from_config(config)
    except Exception as error:  # the package raises classes of several others
        raise ModelError(f"transformers cannot make a '{kind}' of this configuration: {error}") from error
    for name in UNUSED:
        delattr(model, name.rstrip("."))
    # the head's forward asks for it
    model.classifier = nn.Identity()
    body = getattr(model, model.base_model_prefix)
    if hasattr(body, MASK):
        delattr(body, MASK)
    return model.float()


def _known(kind: object) -> str:
    return nearest(str(kind), MODEL_TYPES)
