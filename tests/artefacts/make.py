"""Writes the folder of artefacts beside this file with the version of voxanchor that is at hand: see README.md.

It was run once, at the commit that gives the folder its name, and reaches into modules of that commit. Later versions
read what it wrote; they never write it again.

    PYTHONPATH=src OMP_NUM_THREADS=1 python tests/artefacts/make.py FOLDER
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

from voxanchor.cli import main
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.level import AS_IT_COMES
from voxanchor.training.packaged import packaged_recipe, packaged_recipes

RATE = 16_000
HERE = "@HERE@"
"""Stands in text files for the folder that everything was made in."""

TINY: dict[str, Any] = {
    "channels": 8,
    "mfa_channels": 24,
    "embedding_dim": 16,
    "se_bottleneck": 8,
    "attention_bottleneck": 8,
    "fbank": {"n_mels": 24},
}
STEPS: dict[str, Any] = {"steps": 4, "batch_size": 4, "crop_s": 0.6, "validate_every": 2, "checkpoint_every": 1}
KILLED_AFTER = 2
SUITE = "name: small\nconditions: [clean, noise_5db, babble_5db]\n"
ROOMS = "name: rooms\nconditions: [clean, reverb, reverb_0.3s, gsm]\n"
CLASSES = "name: classes\nconditions: [clean]\neach_class: [0]\n"


def voice(speaker: int, take: int, seconds: float) -> NDArray[np.float32]:
    """A buzz with a pitch and formants of its own per speaker, coarsely rounded so that FLAC makes it small."""
    draw, person = np.random.default_rng([speaker, take]), np.random.default_rng([speaker, 10_000])
    pitch_hz = person.uniform(80, 260) * draw.uniform(0.95, 1.05)
    formants_hz = person.uniform([300, 900, 2200], [900, 2200, 3600])
    time_s = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros(len(time_s))
    for k in range(1, int(7000 / pitch_hz)):
        gain = sum(np.exp(-(((k * pitch_hz - f) / 250) ** 2)) for f in formants_hz) + 0.01
        wave += gain * np.sin(2 * np.pi * k * pitch_hz * time_s + draw.uniform(0, 6.28))
    wave *= np.clip(0.6 + 0.7 * np.sin(2 * np.pi * draw.uniform(2, 3) * time_s + draw.uniform(0, 6.28)), 0, None)
    coarse: NDArray[np.float32] = (np.round(24 * wave / np.abs(wave).max()) / 64).astype(np.float32)
    return coarse


def write_voices(folder: Path, speakers: range, takes: int, seconds: float) -> None:
    for speaker in speakers:
        for take in range(takes):
            path = folder / f"s{speaker:02d}" / f"{take}.flac"
            if seconds < 2:  # in sessions: short ones of one session are joined, and then nothing is left to compare
                path = path.with_suffix("") / "a.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(speaker, take, seconds), RATE)


def write_sounds() -> None:
    write_voices(Path("speech"), range(10), 2, 1.85)
    write_voices(Path("people"), range(20, 23), 2, 2.4)
    draw = np.random.default_rng(1)
    for kind in ("noise", "music"):
        Path("noise", kind).mkdir(parents=True)
        for clip in range(2):
            wave = np.cumsum(draw.standard_normal(RATE // 2)) if kind == "noise" else voice(50 + clip, 0, 0.5)
            soundfile.write(f"noise/{kind}/clip-{clip}.flac", np.round(40 * wave / np.abs(wave).max()) / 256, RATE)
    Path("rooms").mkdir()
    time_s = np.arange(RATE // 4) / RATE
    response = 0.1 * draw.standard_normal(len(time_s)) * 10.0 ** (-3.0 * time_s / 0.2)
    response[0] = 0.9
    soundfile.write("rooms/room.flac", np.round(response * 512) / 512, RATE)
    for name, text in (("small", SUITE), ("rooms", ROOMS), ("classes", CLASSES)):
        write(f"recipes/{name}.yaml", text)


def write_lists() -> None:
    """Trial lists of both kinds, and lists of corpora."""
    files = [f"s{speaker}/{take}" for speaker in (20, 21, 22) for take in (0, 1)]
    pairs = [(a, b) for i, a in enumerate(files) for b in files[i + 1 :]]
    write("trials/voxceleb.txt", "".join(f"{int(a[:3] == b[:3])} {a}.flac {b}.flac\n" for a, b in pairs))
    kinds = ("nontarget", "target")
    kaldi = "".join(f"{a} {b} {kinds[a[:3] == b[:3]]}\n" for a, b in pairs)
    write("trials/kaldi.txt", kaldi.replace("/", "-"))
    head = "modelid,segmentid,targettype\n"
    write("trials/sre.csv", head + "".join(f"{a},{b},{kinds[a[:3] == b[:3]]}\n" for a, b in pairs))
    write("lists/kaldi/wav.scp", "".join(f"{name.replace('/', '-')} {HERE}/people/{name}.flac\n" for name in files))
    write("lists/kaldi/utt2spk", "".join(f"{name.replace('/', '-')} {name[:3]}\n" for name in files))
    rows = [{"audio_filepath": f"../people/{name}.flac", "speaker": name[:3]} for name in files]
    write("lists/nemo.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def write_recipes() -> None:
    """A recipe of every key, one of options that may go one day, one with a trial list, and copies of the packaged."""
    train: dict[str, Any] = {
        **STEPS,
        "accumulate": 2,
        "clean_share": 0.25,
        "noise": {"kinds": {"noise": 1, "music": 1, "babble": 1}, "snr_db": [-5, 20]},
        "gain_db": [-3, 3],
        "learning_rate": {"peak": 2.0e-3, "warmup_steps": 1, "final_share": 0.1},
        "weight_decay": 1.0e-3,
        "clip_norm": 4,
        "precision": "float32",
        "compile": False,
        "batch_norm": "auto",
    }
    classification = {"weight": 1, "scale": 25, "margin": {"value": 0.1, "warmup_steps": 2}}
    guard = {"watch": True, "clean_eer_rise": 90, "clean_eer_rise_share": 0.5, "identity_kept": 0.1, "stop_at": 3}
    guard |= {"retries": 1, "retry_rate": 0.5, "patience": 2}
    anchored = {
        **train,
        "start": "base",
        "anchors": "anchors",
        "blend": 0.9,
        "rooms": {"share": 0.25, "rt60_s": [0.2, 0.6]},
        "channels": {"share": 0.25, "kinds": {"gsm": 1, "mulaw": 1, "telephone": 2}},
        "classification": {**classification, "centres": "anchors", "classes": "recordings", "alike": 0.5},
        "anchor": {"weight": 5, "distance": "cosine", "kind": "utterance", "frame_weight": 1},
        "consistency": {"weight": 0.5, "distance": "cosine"},
        "frozen": ["stem."],
        "guard": guard,
    }
    shared = {
        "name": "shared",
        "seed": 3,
        "root": "..",
        "data": {
            "speech": [
                {"path": "speech", "layout": "speakers", "name": "few", "hold_out_speakers": 2, "channel": "left"}
            ],
            "noise": [{"path": "noise", "part": "even"}],
            "rooms": ["rooms"],
            "built_in_share": 0,
            "join_s": 1,
            "voice_speeds": [0.9],
            "validation_speakers": 2,
            "max_unusable_share": 0.5,
        },
        "encoder": {"architecture": "ecapa", "options": TINY},
        "stages": {
            "base": {
                "train": {
                    **train,
                    "start": "scratch",
                    "batch_norm": "update",
                    "classification": {**classification, "centres": "random", "classes": "speakers", "sampled": 3},
                }
            },
            "anchors": {"anchors": {"of": "base"}},
            "anchored": {"train": anchored},
            "unwanted": {"like": "anchored"},
        },
    }
    write_yaml("shared", shared)
    full = {
        "like": "shared.yaml",
        "name": "full",
        "root": "..",
        "stages": {
            "published": {"take": "models/resnet"},
            "unwanted": None,
            "agreeing": {
                "like": "anchored",
                "train": {
                    "steps": 2,
                    "blend": 0.5,
                    "guard": None,
                    "frozen": [],
                    "anchor": {"kind": "agreement", "frame_weight": None},
                    "classification": {"classes": None, "alike": None},
                    "batch_norm": "keep",
                },
            },
        },
        "evaluation": {
            "systems": ["base", "published", "anchored", "agreeing"],
            "noise": ["noise::odd"],
            "rooms": ["rooms"],
            "suite": "small.yaml",
            "protocol": "clean-enrol",
            "speakers": "held_out",
            "precision": "float32",
            "segment_s": 1,
            "max_segments": 2,
            "noise_seeds": 2,
            "note": "Made of buzzes.\nNothing can be learnt from them.",
            "suites": {
                "far": {
                    "suite": "rooms.yaml",
                    "noise": ["noise"],
                    "rooms": ["rooms"],
                    "protocol": "both-noisy",
                    "noise_seeds": 1,
                }
            },
        },
        "contest": {
            "base": "base",
            "ours": "anchored",
            "seeds": 2,
            "tuning": {"learning_rates": [1e-3, 2e-3], "weights": [2, 5]},
        },
    }
    write_yaml("full", full)
    listed: dict[str, Any] = {
        "speech": "people",
        "trials": "trials/voxceleb.txt",
        "segment_s": 0,
        "protocol": "both-noisy",
    }
    write_yaml(
        "trials", {"like": "full.yaml", "root": "..", "evaluation": {**listed, "systems": ["base"], "suites": None}}
    )
    changes: dict[str, Any] = {
        "crop": {"anchor": {"kind": "crop"}},
        "speaker": {"anchor": {"kind": "speaker"}},
        "class_centre": {"anchor": {"kind": "class_centre"}, "classification": {"classes": "speakers"}},
        "squared": {"anchor": {"distance": "squared_euclidean"}, "consistency": {"distance": "squared_euclidean"}},
        "info_nce": {"anchor": {"distance": "info_nce", "temperature": 0.2}},
        "easing": {"noise": {"easing_share": 0.5}},
        "average": {"average": 0.9},
        "fixed": {"classification": {"classes": "speakers", "fixed": True}},
    }
    variants = {name: {"like": "anchored", "train": change} for name, change in changes.items()}
    write_yaml("options", {"like": "shared.yaml", "name": "options", "stages": {"unwanted": None, **variants}})
    compared = {
        "like": "shared.yaml",
        "name": "compared",
        "root": "..",
        "data": {"voice_speeds": None},
        "stages": {"unwanted": None, "anchored": {"train": {"guard": None}}},
        "evaluation": {"systems": ["base", "anchored"], "noise": ["noise"], "suite": "small.yaml", "segment_s": 1},
        "contest": {"seeds": 1, "tuning": {"learning_rates": [1e-3, 2e-3]}},
    }
    write_yaml("compared", compared)
    for name in packaged_recipes():
        write(f"recipes/packaged/{name}.yaml", packaged_recipe(name).read_text(encoding="utf-8"))


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def write_yaml(name: str, values: dict[str, Any]) -> None:
    write(f"recipes/{name}.yaml", yaml.safe_dump(values, sort_keys=False))


def run(command: str, status: int = 0) -> str:
    """Run a command line, blanks between its words, and return what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = main.run([word.replace("~", " ") for word in command.split()])
    assert found == status, f"{command}: {found}\n{out.getvalue()}"
    return out.getvalue()


KILL = """
import os, sys
from voxanchor.cli import main
from voxanchor.training import loop

save, saved = loop.save_state, 0

def killed(path, state):
    global saved
    save(path, state)
    saved += 1
    if saved == int(sys.argv[1]):
        os._exit(137)

loop.save_state = killed
main.run(sys.argv[2:])
"""


def run_killed(saves: int, command: str) -> None:
    """Run a command in a process that ends, as if it were killed, once it has saved its state so often."""
    done = subprocess.run([sys.executable, "-c", KILL, str(saves), *command.split()], check=False)
    assert done.returncode == 137, done.returncode


ANSWERED = [
    ("card runs/robust", 0),
    ("data check packs/speech --json", 0),
    ("data check packs/noise --json", 0),
    ("embed people/s20/0.flac people/s21/1.flac --model models/resnet --json", 0),
    ("embed people/s20/0.flac people/s21/1.flac --model models/as-it-comes --json", 0),
    ("embed people/s20/0.flac people/s21/1.flac --model runs/full/anchored --json", 0),
    ("embed people/s20/0.flac people/s21/1.flac --model models/calibrated --json", 0),
    ("verify people/s20/0.flac people/s20/1.flac --model runs/robust --json", 8),
    ("verify people/s20/0.flac people/s20/1.flac --model models/calibrated --json", None),
    ("verify people/s20/0.flac people/s22/1.flac --model models/calibrated --json", None),
    ("verify people/s20/0.flac people/s22/1.flac --model models/as-norm --json", None),
    ("people list --store people.db --json", 0),
    ("people show Ada~Lovelace --store people.db --json", 0),
    ("people log --store people.db --json", 0),
    ("people list --store sealed.db --key people.key --json", 0),
    ("people show Bo --store sealed.db --key people.key --json", 0),
    ("people log --store sealed.db --key people.key --json", 0),
    ("verify-as Ada~Lovelace people/s20/1.flac --model models/calibrated --store people.db --json", None),
    ("verify-as Bo people/s21/1.flac --model models/calibrated --store sealed.db --key people.key --json", None),
    ("identify people/s22/1.flac --model models/calibrated --store people.db --json", None),
    ("identify people/s21/1.flac --model models/calibrated --store sealed.db --key people.key --json", None),
    ("evaluate --model runs/full/base --model models/calibrated --speech people --trials trials/voxceleb.txt"
     " --noise noise --suite recipes/small.yaml --out out --json", 0),
    ("evaluate --model runs/full/base --speech lists/kaldi --trials trials/kaldi.txt --noise packs/noise"
     " --suite recipes/small.yaml --out out --json", 0),
    ("evaluate --model runs/full/base --speech lists/nemo.jsonl --trials trials/sre.csv --noise noise"
     " --suite recipes/small.yaml --out out --json", 0),
    ("evaluate --model runs/full/base --speech speech --rooms rooms --suite recipes/rooms.yaml --segment-s 1"
     " --noise noise --out out --json", 0),
    ("evaluate --model runs/full/base --speech packs/speech --noise packs/noise --suite recipes/classes.yaml"
     " --segment-s 1 --out out --json", 0),
    # finished before: the tables are made again from what is there
    ("train recipes/full.yaml --out runs/full --json", 0),
    ("robustify --model runs/full/base --speech speech --noise noise --out runs/robust --force --set"
     " {settings} --json", 0),
    ("compare recipes/compared.yaml --out runs/compared --json", 0),
    ("evaluate --model runs/full/base --model runs/robust --speech people --noise noise --suite recipes/small.yaml"
     " --segment-s 1 --out runs/evaluated --json", 0),
    ("compatibility --old runs/full/base --new runs/robust --speech people --noise noise --suite recipes/small.yaml"
     " --segment-s 1 --out runs/compatible --json", 0),
    ("embed --speech speech --model runs/robust --out embeddings/corpus --shard-size 6 --json", 0),
]  # fmt: skip
"""Commands of which the answer is kept, with the exit status; None where the decision says it."""


def settings() -> str:
    values = {f"stages.anchored.train.{key}": value for key, value in STEPS.items()}
    values |= {"data.validation_speakers": 2, "data.voice_speeds": "[]", "data.built_in_share": 0}
    values |= {"stages.anchored.train.learning_rate.peak": 0.003, "stages.anchored.train.precision": "float32"}
    return " ".join(f"{key}={value}" for key, value in values.items())


def make() -> None:
    """Write everything into the working directory."""
    write_sounds()
    write_lists()
    write_recipes()
    options = {"m_channels": 2, "blocks": [1, 1, 1, 1], "embedding_dim": 16, "fbank": {"n_mels": 24}}
    registry.build(EncoderConfig("resnet", options), 5).save("models/resnet")
    registry.build(EncoderConfig("ecapa", TINY, input=AS_IT_COMES), 6).save("models/as-it-comes")

    run("train recipes/full.yaml --out runs/full")
    run_killed(KILLED_AFTER, "train recipes/full.yaml --out runs/full-killed")
    robustify = "robustify --model runs/full/base --speech speech --noise noise --force --set " + settings()
    run(f"{robustify} --out runs/robust")
    run_killed(KILLED_AFTER, f"{robustify} --out runs/robust-killed")
    run("compare recipes/compared.yaml --out runs/compared")
    shared = "--speech people --noise noise --suite recipes/small.yaml --segment-s 1"
    run(f"evaluate --model runs/full/base --model runs/robust {shared} --out runs/evaluated")
    run(f"compatibility --old runs/full/base --new runs/robust {shared} --out runs/compatible")

    with tempfile.TemporaryDirectory() as folder:  # a calibration needs more voices than are kept here
        write_voices(Path(folder, "many"), range(100, 116), 3, 4)
        write_voices(Path(folder, "cohort"), range(200, 204), 1, 2)
        shared = f"--model runs/robust --speech {folder}/many --noise noise --suite recipes/small.yaml"
        run(f"calibrate {shared} --cohort {folder}/cohort --out models/calibrated")
        run(f"calibrate {shared} --cohort {folder}/cohort --normalise --out models/as-norm")

    run("embed people/s20/0.flac people/s21/1.flac --model runs/full/base --out embeddings/few.safetensors")
    few = load_file("embeddings/few.safetensors")
    np.save("embeddings/few.npy", np.stack([few[name] for name in sorted(few)]))
    run("embed --speech speech --model runs/robust --out embeddings/corpus --shard-size 6")
    write_voices(Path("few"), range(30, 33), 2, 0.7)
    run("data pack --speech few --out packs/speech")
    shutil.rmtree("few")
    run("data pack --noise noise --out packs/noise")

    run("people key --out people.key")
    run("people key --out other.key")
    write("api-keys.txt", "# keys of a test\ndesk 0123456789abcdef0123456789abcdef\n")
    for store in ("--store people.db", "--store sealed.db --key people.key"):
        new, old = f"--model models/calibrated {store}", f"--model runs/full/base {store}"
        run(f"enroll Ada~Lovelace people/s20/0.flac {new} --by desk~4")
        run(f"enroll Ada~Lovelace people/s20/0.flac {old}")
        run(f"enroll Bo people/s21/0.flac {new} --keep-audio")
        run(f"enroll Zoë people/s22/0.flac people/s22/1.flac {old}")
        for command in (f"verify-as Bo people/s21/1.flac {new}", f"identify people/s20/1.flac {new} --by desk~1"):
            with contextlib.redirect_stdout(io.StringIO()):
                main.run([word.replace("~", " ") for word in command.split()])
        run(f"people list {store}")
    run("people export --store people.db --out people.export")
    run("people export --store sealed.db --key people.key --out sealed.export --out-key other.key")


def answer(place: Path) -> None:
    """Keep what commands answer about the artefacts, each asked of a copy of its own."""
    kept: dict[str, Any] = {}
    for entry, status in ANSWERED:
        command = entry.format(settings=settings())
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            shutil.copytree(place, copy)
            for path in copy.rglob("*"):
                if path.suffix in TEXT and path.is_file():
                    path.write_text(path.read_text("utf-8").replace(HERE, str(copy)), encoding="utf-8")
            with contextlib.chdir(copy):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    found = main.run([word.replace("~", " ") for word in command.split()])
        assert status in (None, found), f"{command}: {found}"
        text = out.getvalue().replace(str(copy), HERE)
        kept[command] = {"status": found, "answer": json.loads(text) if "--json" in command else text}
    write(str(place / "answers.json"), json.dumps(kept, indent=1) + "\n")


TEXT = {".json", ".jsonl", ".yaml", ".txt", ".md", ".scp", ""}


def tidy(place: Path, made: Path) -> None:
    """Take out what no version reads, or what would be large, and where it all lay on this machine."""
    for path in sorted(place.rglob("*")):
        here = path.relative_to(place)
        if not path.exists():
            continue
        finished = path.suffix == ".pt" and not any("killed" in part for part in here.parts)
        ended = path.name == "state.pt" and (path.parent / "attempt-2").exists()
        cache = here.parts[0] == "runs" and path.name == "embeddings"
        if path.suffix == ".html" or path.name in (".lock", "tuning") or finished or ended or cache:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.is_file() and path.suffix in TEXT and here.parts[0] != "packs":  # those are read wherever they lie
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(str(made), HERE), encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    assert not target.exists(), f"{target} is history: nothing writes it again"
    made = Path("/tmp/voxanchor-artefacts")  # packs keep the place they were made in
    if not made.exists():
        made.mkdir()
        os.chdir(made)
        make()
    os.chdir("/")
    shutil.copytree(made, target)
    tidy(target, made)
    answer(target)
