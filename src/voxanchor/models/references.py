"""What a person may write where a model is asked for, and what they may have meant."""

import importlib.metadata
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from voxanchor.config import nearest
from voxanchor.extras import install_line, is_installed
from voxanchor.models.exported import SUFFIX

GE2E_PACKAGE = "resemblyzer"
GE2E_INSTALL = "pip install --no-deps resemblyzer==0.1.4"


@dataclass(frozen=True)
class Reference:
    """A form that a model reference may have."""

    ref: str
    description: str
    installed: bool = True
    install_hint: str = ""


def ge2e_weights() -> Path | None:
    """Return where the package that publishes GE2E keeps its weights, or None when it is not installed."""
    try:
        distribution = importlib.metadata.distribution(GE2E_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file("resemblyzer/pretrained.pt")))
    return path if path.is_file() else None


def available() -> list[Reference]:
    """Return all forms, and whether what each needs is installed."""
    return [
        Reference(
            "ge2e",
            "GE2E speaker encoder of resemblyzer 0.1.4: 3 x LSTM 256, 256 dimensions, 1.6 s windows",
            ge2e_weights() is not None,
            GE2E_INSTALL,
        ),
        Reference("DIR", "a model directory of voxanchor: config.json and model.safetensors"),
        Reference("speechbrain:DIR", "a pretrained speaker model of SpeechBrain: hyperparams.yaml and its .ckpt files"),
        Reference("wespeaker:DIR", "a model of WeSpeaker: config.yaml and avg_model.pt"),
        Reference("3dspeaker:FILE", "weights of 3D-Speaker, a .bin or .ckpt file"),
        Reference(
            "transformers:DIR",
            "an x-vector model of Hugging Face transformers (WavLM, wav2vec2 ...), as save_pretrained writes it",
            is_installed("transformers"),
            install_line("transformers"),
        ),
        Reference(
            "python:module:function",
            "a torch module that a function of yours returns; with :DIR behind it the weights are those of a model "
            "directory made from it. Runs that code",
        ),
        Reference(
            f"FILE{SUFFIX}",
            "a file that `voxanchor export` wrote, to embed, verify and evaluate with",
            is_installed("onnxruntime"),
            install_line("onnxruntime"),
        ),
    ]


def unknown(ref: str) -> str:
    """Return the message for a reference that names nothing: what is nearest, and what it may be."""
    forms = [reference.ref for reference in available()]
    schemes = {form.partition(":")[0]: form for form in forms if ":" in form}
    scheme, colon, rest = ref.partition(":")
    what = "is a file" if Path(ref).is_file() else "no such model or directory"
    meant = guess(ref)
    if not meant and colon:
        meant = _close(scheme, schemes).replace("'?", f":{rest}'?")
    elif not meant:
        meant = _close(ref, ["ge2e"])
    listed = f"A model reference is one of {', '.join(forms)} (see `voxanchor models`)."
    return " ".join(filter(None, (f"model '{ref}': {what}.", meant, listed)))


def guess(ref: str | Path) -> str:
    """Return how to name a directory or file of another toolkit, if it looks like one's; otherwise nothing."""
    place = Path(ref)
    for looks_so, advice in _DIRECTORIES if place.is_dir() else _FILES if place.is_file() else ():
        if looks_so(place):
            return advice.format(ref=ref, stem=place.stem)
    return ""


def _close(name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    return found if found.startswith("Did you mean") else ""


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).is_file() for name in names)


def _ends(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix in suffixes


def _is_transformers(folder: Path) -> bool:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "model_type" in values and "architecture" not in values


_DIRECTORIES = (
    (_has("hyperparams.yaml", "embedding_model.ckpt"), "It looks like one of SpeechBrain: name it speechbrain:{ref}"),
    (_has("config.yaml", "avg_model.pt"), "It looks like one of WeSpeaker: name it wespeaker:{ref}"),
    (_is_transformers, "It looks like one of transformers: name it transformers:{ref}"),
)

_FILES = (
    (_ends(".bin", ".ckpt"), "If it holds weights of 3D-Speaker, name it 3dspeaker:{ref}"),
    (_ends(".py"), "For a function in it that returns a torch module, name it python:{stem}:FUNCTION"),
    (
        _ends(".pt", ".pth", ".safetensors"),
        "Weights alone do not say which network they are of: give a toolkit's directory, or a function of yours that "
        "loads them, python:module:function",
    ),
)
