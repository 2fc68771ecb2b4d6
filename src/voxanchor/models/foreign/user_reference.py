"""References to code of the user's: ``python:module:function``, and with the weights of a saved model behind it."""

from collections.abc import Mapping

from torch import Tensor

from voxanchor.errors import ModelError, RecipeError
from voxanchor.models import artefact
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.foreign.user import trust

SCHEME = "python"
ARCHITECTURE = "python"

_NETWORK = "network."


def read(rest: str) -> tuple[EncoderConfig, Mapping[str, Tensor] | None]:
    """Return what ``module:function`` or ``module:function:DIR`` names: naming code is to trust it.

    Returns:
        What the encoder is made of, and the weights of its network, none where they are those the function returns.

    Raises:
        ModelError: another form, or a directory of a model that another code makes.
    """
    target, folder = _split(rest)
    config, state = EncoderConfig(ARCHITECTURE, {"target": target}), None
    if folder:
        values, tensors = artefact.read(folder)
        try:
            config = EncoderConfig.stored(values)
        except RecipeError as error:
            raise ModelError(f"{folder}: {error}") from None
        made_by = config.options.get("target") if config.architecture == ARCHITECTURE else None
        if made_by is None:
            raise ModelError(f"{folder}: a model of architecture '{config.architecture}'. Name it alone: {folder}")
        if made_by != target:
            raise ModelError(f"{folder}: this model is made by the code {made_by}, not by {target}")
        state = {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items()}
    trust(target)
    return config, state


def name(reference: str) -> None:
    """Trust the code that a reference names, if it names any: models made from it can then be loaded again."""
    scheme, _, rest = reference.partition(":")
    if scheme == SCHEME:
        trust(_split(rest)[0])


def _split(rest: str) -> tuple[str, str]:
    """Return ``module:function`` and the directory, empty where there is none."""
    module, _, behind = rest.partition(":")
    function, _, folder = behind.partition(":")
    if not module or not function:
        raise ModelError(
            f"model '{SCHEME}:{rest}': expected {SCHEME}:module:function, for example {SCHEME}:my_model:build"
        )
    if module.endswith(".py") or "/" in module:
        raise ModelError(
            f"model '{SCHEME}:{rest}': '{module}' is a file, expected is the name of a module: my_model for my_model.py"
            " in the working directory"
        )
    return f"{module}:{function}", folder
