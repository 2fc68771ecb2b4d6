"""The model card: what a model is, what it was made from, what it can do, and its licence."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import voxanchor
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import ModelError
from voxanchor.evaluation.calibration_text import calibration_markdown
from voxanchor.files import write_text
from voxanchor.models.exported import SUFFIX, ExportedEncoder
from voxanchor.models.references import GE2E_PACKAGE
from voxanchor.runtime import counted
from voxanchor.scoring.calibration import TEXT_FILE, CalibrationRecord
from voxanchor.training.guard import near_chance
from voxanchor.types import SAMPLE_RATE
from voxanchor.verification.verifier import HEARS_LEVEL

if TYPE_CHECKING:
    from voxanchor.models.encoder import SpeakerEncoder
    from voxanchor.training.stage import Train


_FILES = ("LICENSE", "LICENSE.txt", "LICENCE", "LICENSE.md", "COPYING")
_CLASSIFIER = "License :: OSI Approved :: "


def licence_of(reference: str) -> tuple[str, str]:
    """Return the licence of a model reference and where that was read; two empty texts where nothing says.

    A model directory or file is asked for the ``license`` at the head of the README.md beside it, as model hubs keep
    it, then for the first line of a licence file; ``ge2e`` for what its package declares.
    """
    if reference == "ge2e":
        return _of_package(GE2E_PACKAGE)
    path = Path(reference)
    if not path.exists():
        path = Path(reference.partition(":")[2].partition("::")[0] or "\0")
    try:
        folder = path if path.is_dir() else path.parent if path.is_file() else None
    except (OSError, ValueError):
        folder = None
    if folder is None:
        return "", ""
    named = _of_card(folder / "README.md")
    if named:
        return named, "README.md"
    for name in _FILES:
        if line := _first_line(folder / name):
            return line, name
    return "", ""


def _of_package(package: str) -> tuple[str, str]:
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return "", ""
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith(_CLASSIFIER):
            return classifier.removeprefix(_CLASSIFIER), f"the package {package}"
    return "", ""


def _of_card(path: Path) -> str:
    try:
        _, fence, rest = path.read_text(encoding="utf-8").partition("---\n")
        head, end, _ = rest.partition("\n---")
        values = yaml.safe_load(head) if fence and end else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    return str(values.get("license") or "") if isinstance(values, dict) else ""


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:80] for line in lines if line.strip()), "")


# The model card: what a model is, what it was made from and how, what it can do, and what is not known about it.

CARD_FILE = "README.md"

FEW_SPEAKERS = 100
"""With fewer the pull on embeddings alone costs clean accuracy; that on frames keeps most of it (docs/results.md)."""


@dataclass(frozen=True)
class Making:
    """What a robust model was made of.

    Attributes:
        base: reference of the model it started from, and
        base_fingerprint: its fingerprint.
        train: recordings of the training, voices at other speeds among them.
        speakers: of these, without those voices.
        validation: recordings that training was watched by.
        sources: names of the folders of speech and noise.
        noise: what noise was there, a line each.
        stage: how it was trained.
        guard: how that came out, as `voxanchor.training.run.Guarded.to_dict` has it; None where it was not watched.
        compatibility: in Markdown, may old enrolments be kept; empty where it was not measured.
    """

    base: str
    base_fingerprint: str
    train: Manifest
    speakers: int
    validation: Manifest
    sources: Mapping[str, Sequence[str]]
    noise: Sequence[str]
    stage: "Train"
    guard: Mapping[str, Any] | None
    compatibility: str = ""


def read_card(folder: str | Path) -> str:
    """Return the model card of a model directory, with its calibration; without a card, what its configuration says.

    Of an exported file: what it says of itself.

    Raises:
        ModelError: not a model directory, nor an exported file.
        MissingExtraError: onnxruntime is not installed, and an exported file was given.
    """
    if Path(folder).suffix == SUFFIX and not Path(folder).is_dir():
        return _card_of_file(Path(folder))
    path, calibration = (Path(folder) / name for name in (CARD_FILE, TEXT_FILE))
    added = "\n" + calibration.read_text(encoding="utf-8") if calibration.is_file() else ""
    added = _warned(Path(folder)) + added
    if path.is_file():
        return path.read_text(encoding="utf-8") + added
    if not Path(folder).is_dir():
        raise ModelError(f"{folder}: no such directory. A card belongs to a model directory, as robustify makes it.")
    from voxanchor.models.encoder import SpeakerEncoder

    encoder = SpeakerEncoder.load(folder)
    name = Path(folder).resolve().name
    return "\n".join([f"# {name}", "", *_what(encoder), "", "This model has no card.", ""]) + added


def _warned(folder: Path) -> str:
    """Return a paragraph about a model that hears level; nothing about any other."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    before = config.get("architecture") == "ge2e" and "input" not in config
    return f"\n**Level**: {HEARS_LEVEL}.\n" if before else ""


def _card_of_file(path: Path) -> str:
    found = ExportedEncoder.load(path)
    lines = [
        f"# {path.name}",
        "",
        f"A speaker encoder in one file, exported from `{_called(found.name)}`: recordings at "
        f"{SAMPLE_RATE / 1000:g} kHz of at least {found.min_samples / SAMPLE_RATE:.2f} s in, unit vectors of "
        f"{found.embedding_dim} dimensions out; two are compared by their cosine. Network "
        f"`{found.described['architecture']}`, precision `{found.precision}`. Fingerprint `{found.fingerprint}`, "
        f"SHA-256 `{found.described['sha256']}`.",
        "",
    ]
    lines += [f"**Level**: {HEARS_LEVEL}.", ""] if found.hears_level else []
    if "loss" in found.described:
        loss = json.loads(found.described["loss"])
        lines += [
            f"Beside the model, on {loss['trials']:,} trials of {loss['speakers']} speakers, EER in %:",
            "",
            "| | model | this file |",
            "|---|---|---|",
            *(f"| {name} | {rate:g} | {loss['file_eer'][name]:g} |" for name, rate in loss["model_eer"].items()),
            "",
        ]
    if "calibration" in found.described:
        record = CalibrationRecord.parse(found.described["calibration"], str(path))
        lines += ["", calibration_markdown(record).rstrip(), ""]
    else:
        lines += ["It has no calibration: it gives scores, and no decisions.", ""]
    return "\n".join(lines)


def write_card(folder: Path, encoder: "SpeakerEncoder", making: Making) -> None:
    """Write the card of a robust model into its directory."""
    import torch

    licence, where = licence_of(making.base)
    head = {
        **({"license": licence.lower()} if where == CARD_FILE else {}),
        "library_name": "voxanchor",
        "tags": ["speaker-verification", "speaker-recognition", "noise-robustness", "voxanchor"],
        "base_model": Path(making.base).name,
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {folder.resolve().name}: {_called(making.base)} made robust to noise",
        "",
        *_what(encoder),
        "",
        *_section("Made from", _made_from(making, licence, where)),
        *_section("Trained on", _trained_on(making)),
        *_section("How", _how(making)),
        *_section("What was measured", _measured(making)),
        *(_section("Old enrolments", [making.compatibility.strip()]) if making.compatibility else []),
        *_section("Limits", _limits(making)),
        "## Use",
        "",
        "```",
        f"voxanchor verify enrolment.wav test.wav --model {folder.name}",
        f"voxanchor evaluate --model {folder.name} --speech your-speech --noise your-noise --out runs/evaluation",
        "```",
        "",
        f"Written by voxanchor {voxanchor.__version__} with torch {torch.__version__} on {datetime.now(UTC):%Y-%m-%d}.",
        "",
    ]
    write_text(folder / CARD_FILE, "\n".join(lines))


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _called(reference: str) -> str:
    scheme, colon, rest = reference.partition(":")
    name = Path(rest.partition("::")[0]).name if colon else Path(reference).name
    return f"{scheme} {name}" if colon else name


def _what(encoder: "SpeakerEncoder") -> list[str]:
    size = sum(parameter.numel() for parameter in encoder.parameters())
    return [
        f"A speaker encoder: recordings at {encoder.config.sample_rate / 1000:g} kHz of at least "
        f"{encoder.min_samples / encoder.config.sample_rate:.2f} s in, unit vectors of {encoder.embedding_dim} "
        f"dimensions out; two are compared by their cosine. Network `{encoder.config.architecture}`, {size:,} "
        f"parameters. {encoder.config.input} Fingerprint `{encoder.fingerprint}`.",
    ]


def _made_from(making: Making, licence: str, where: str) -> list[str]:
    rights = (
        f"Licence of the base: {licence}, as {where} says. It binds this model too."
        if licence
        else "Licence of the base: not stated where it lies. Ask its publisher before you pass this model on."
    )
    return [f"`{_called(making.base)}`, fingerprint `{making.base_fingerprint}`. {rights}"]


def _trained_on(making: Making) -> list[str]:
    voices = len(making.train.speakers) - making.speakers
    lines = [f"* {kind}: {', '.join(names)}" for kind, names in making.sources.items() if names]
    lines.append(f"* recordings: {making.train.describe()}, fingerprint `{making.train.fingerprint}`")
    if voices > 0:
        lines.append(f"* of these speakers {voices:,} are others played faster or slower")
    return [*lines, *(f"* {line}" for line in making.noise)]


def _how(making: Making) -> list[str]:
    stage, guard = making.stage, making.guard
    low, high = stage.noise.snr_db
    levels = "" if stage.noise.snr == "active" else " between whole-signal levels"
    rate = guard["attempts"][guard["attempt"] - 1]["learning_rate"] if guard else stage.learning_rate.peak
    anchor, classes = stage.anchor, stage.classification
    return [
        "A copy of the base was fine-tuned on noisy speech towards the base's own embeddings of the clean recordings "
        "(Gu et al., arXiv 2510.18530).",
        "",
        f"* {stage.steps:,} steps of {stage.batch_size} crops of {stage.crop_s:g} s, {stage.clean_share:.0%} of them "
        f"clean, the others at {low:g} to {high:g} dB{levels}; learning rate {rate:.3g}",
        f"* pull to the anchors: weight {anchor.weight:g}, {anchor.distance}; on frames {anchor.frame_weight:g}; "
        + (f"classification of {classes.classes}: weight {classes.weight:g}" if classes.weight else "no classification")
        + ("" if stage.labelled else "; no speaker labels"),
        *(f"* further loss `{name}`: weight {stage.loss_options(name)[0]:g}" for name in stage.losses),
        f"* ends {stage.interpolation:.0%} of the way from the base's weights",
        "* the whole recipe: `run/recipe.yaml`",
    ]


def _measured(making: Making) -> list[str]:
    guard = making.guard
    if guard is None:
        return ["Nothing: no speech was kept aside."]
    aside = making.validation
    kept = counted(len(aside.speakers), "speaker") if aside.speakers else counted(len(aside), "recording")
    lines = [
        f"On {kept} kept aside, in noise like that of the training (clean, and at 5 dB), before and after:",
        "",
        "| | base | this model |",
        "|---|---|---|",
    ]
    for name, after in guard["after"].items():
        unit = " %" if name.endswith("_eer") else ""
        label = name.replace("_eer", " EER").replace("_", " ")
        lines.append(f"| {label} | {guard['before'][name]:.3g}{unit} | {after:.3g}{unit} |")
    lines += [
        "",
        "Agreement is the mean cosine to the base's embedding of the same clean recording; identity is its share of "
        "the way from different recordings (0) to the same one (1).",
    ]
    if len(guard["attempts"]) > 1:
        rates = ", ".join(f"{attempt['learning_rate']:.3g}" for attempt in guard["attempts"])
        lines += ["", f"Training fell and began anew at a lower rate ({rates}); attempt {guard['attempt']} is kept."]
    if warning := near_chance(guard["before"]):
        lines += ["", f"**Warning: {warning}.**"]
    if guard["faults"]:
        lines += ["", f"**Written by force, although {' and '.join(guard['faults'])}.**"]
    return lines


def _limits(making: Making) -> list[str]:
    lines = [
        "* The figures above come from the corpus and the noise of the training. Measure on your own speakers, rooms "
        "and noise before you rely on it.",
        "* A cosine is not a probability: `voxanchor calibrate` gives log-likelihood ratios, and thresholds on "
        "them, which replace any threshold on cosines.",
        "* Rare noise, unlike anything heard in training, is where least is gained.",
    ]
    if 0 < making.speakers < FEW_SPEAKERS:
        lines.append(
            f"* Trained on {making.speakers} speakers: with fewer than {FEW_SPEAKERS} clean accuracy may suffer."
        )
    if not making.sources.get("noise"):
        lines.append("* Trained with built-in noise alone, no recordings of any.")
    if not making.stage.rooms.share:
        lines.append("* Trained without reverberation.")
    if not making.stage.channels.share:
        lines.append("* Trained without telephone channels and codecs.")
    return lines
