"""The commands about models: models, embed, export, card, upgrade."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from voxanchor.cli.arguments import (
    Device,
    File,
    Folder,
    Folders,
    Json,
    Layout,
    Model,
    OutFolder,
    Recordings,
    Share,
    SomeFile,
    SomeSeconds,
    loading,
    print_json,
)
from voxanchor.runtime import counted


def embed(
    model: Model,
    files: Positional[Recordings] = (),
    out: Annotated[Path | None, arg(metavar="FILE|DIR")] = None,
    speech: Folder = "",
    manifest: SomeFile = None,
    layout: Layout = "auto",
    channel: str = "mix",
    processes: int = 1,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    shard_size: int = 4096,
    longest_s: SomeSeconds = None,
    device: Device = "auto",
    max_unusable: Share = 0.2,
    json: Json = False,
) -> int:
    """Turn recordings into embeddings, unit vectors.

    A few recordings go into one file, a corpus of any size into a folder of shards.

    Example: voxanchor embed a.wav b.flac --model ge2e --out embeddings.safetensors

    Example: voxanchor embed --speech my-speech --model ge2e --processes 2 --out runs/embeddings

    Args:
        model: the model to embed with; `voxanchor models` lists what it may be.
        files: recordings of any rate and channel count.
        out: a safetensors file to write: one tensor per recording, named by its path. For a corpus a folder: shards of
            embeddings, index.json and failures.jsonl; the same command resumes there.
        speech: a corpus: folder of recordings, one sub-folder per speaker.
        manifest: a corpus as a manifest file, of any length.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number; of a manifest the
            one that it names.
        processes: of a corpus, workers; they share the processor, and take GPUs in turn.
        precision: of a corpus, arithmetic of the model; bfloat16 is faster where the device multiplies it, and its
            embeddings differ a little from those in float32.
        shard_size: recordings of a shard.
        longest_s: longest recording. Of a corpus 600 s unless given: a longer one is listed as a failure, which bounds
            the memory. Of files 6 hours: they are embedded in blocks, and a longer one is an error.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor. All
            GPUs serve a corpus under auto, in turn.
        max_unusable: largest share of recordings without an embedding that is no error; the others are written anyway.
        json: print a list of {"id", "embedding"}; of a corpus its index.
    """
    import voxanchor
    from voxanchor.audio.downmix import channel_of
    from voxanchor.errors import RecipeError
    from voxanchor.verification.recordings import LONGEST_S as LONGEST_FILE_S

    heard = channel_of(channel)
    if speech or manifest is not None:
        from voxanchor.workflows.embed import LONGEST_S, embed_corpus

        if files or out is None:
            raise RecipeError("embed: a corpus goes alone, and needs a folder for its embeddings: --out DIR")
        loading(model)
        index = embed_corpus(
            model,
            out,
            manifest=manifest,
            speech=speech,
            layout=layout,
            processes=processes,
            precision=precision,
            shard_size=shard_size,
            channel=heard,
            longest_s=LONGEST_S if longest_s is None else longest_s,
            max_unusable_share=max_unusable,
            device=device,
        )
        if json:
            print_json(index)
        else:
            shards = counted(len(index["shards"]), "shard")
            print(f"{_embeddings(index['embeddings'], index['dimension'])} written to {out} in {shards}")
        return 0
    if not files or not (out or json):
        raise RecipeError(
            "embed: name at least one recording and say where to, --out FILE.safetensors or --json; or a corpus, "
            "--speech DIR or --manifest FILE, and --out DIR"
        )
    loading(model, job=False)
    verifier = voxanchor.load(model, longest_s=LONGEST_FILE_S if longest_s is None else longest_s, device=device)
    recordings = verifier.load_audio(files, heard)
    for recording in recordings:
        for warning in recording.warnings:
            print(f"warning: {recording.name}: {warning}", file=sys.stderr)
    embeddings = verifier.embed(recordings)
    if out is not None:
        from safetensors.numpy import save

        from voxanchor.files import printable, write_bytes
        from voxanchor.workflows.compatibility import EMBEDDINGS_FORMAT

        tensors = dict(zip(map(printable, files), embeddings, strict=True))
        write_bytes(out, save(tensors, {"model": verifier.fingerprint, "format": EMBEDDINGS_FORMAT}))
    if json:
        print_json([{"id": name, "embedding": row.tolist()} for name, row in zip(files, embeddings, strict=True)])
    else:
        print(f"{_embeddings(*embeddings.shape)} written to {out}")
    return 0


def _embeddings(count: int, dimension: int) -> str:
    return f"{count} embedding{'s' * (count != 1)} of {dimension} dimensions"


def export(
    model: Positional[Model],
    out: File,
    precision: Literal["float32", "float16", "int8"] = "float32",
    speech: Folder = "",
    noise: Folders = (),
    json: Json = False,
) -> int:
    """Write a model as one ONNX file, which needs no torch.

    Waveforms of any length and number go in, embeddings come out; the front-end is inside. The file is compared with
    the model before it gets its name. Needs the extra ``onnx``.

    Example: voxanchor export runs/robust --out robust.onnx

    Example: voxanchor export runs/robust --out small.onnx --precision int8 --speech test-speech --noise test-noise

    Args:
        model: the model to export; `voxanchor models` lists what it may be.
        out: the file, ending in .onnx; embed, verify and evaluate take it as --model.
        precision: float16 halves the file and is as fast; int8 makes it a fourth, for ge2e two fifths, and products of
            matrices faster. Embeddings differ a little.
        speech: folder of recordings, one sub-folder per speaker, to measure the loss in EER on, clean and in noise; the
            file keeps the figures. In int8 a fifth of the speakers set the ranges of convolutions instead, which makes
            wide networks of them (resnet, eres2net) faster; without it only their weights are smaller.
        noise: folder with noise/, music/ and speech/ (MUSAN layout) for that. Without it the built-in kinds are used.
        json: print {"path", "precision", "size_bytes", "compared_on", "max_difference", "min_cosine", "loss"}.
    """
    loading(model)
    from voxanchor.workflows.export import export_model

    made = export_model(model, out, precision, speech=speech, noise=noise)
    file, loss = made.export, made.loss
    if json:
        print_json({**vars(file), "path": str(file.path), "loss": loss and vars(loss)})
        return 0
    print(f"{file.path}: {file.size_bytes / 2**20:.1f} MiB")
    heard = f"{file.compared_on} of the recordings" if file.compared_on else "generated recordings of 0.5, 3 and 20 s"
    print(f"beside the model, on {heard}, alone and in a padded batch:")
    print(f"  largest difference {file.max_difference:.1e}, smallest cosine {file.min_cosine:.6f}")
    if loss is not None:
        print(f"EER in %, model -> file, {loss.trials:,} trials of {loss.speakers} speakers:")
        for condition, rate in loss.model_eer.items():
            print(f"  {condition:12} {rate:6.2f} -> {loss.file_eer[condition]:.2f}")
        print(f"  cosine {loss.mean_cosine:.5f} on average, {loss.min_cosine:.5f} at least")
    return 0


def upgrade(embeddings: Positional[File], model: Model, out: File) -> int:
    """Carry stored voiceprints of a model over to its robust copy.

    Nobody has to be recorded again. docs/compatibility.md says what that gains and what it costs.

    Example: voxanchor upgrade voiceprints.safetensors --model runs/robust --out upgraded.safetensors

    Args:
        embeddings: what embed wrote with the old model, or an array (N, D) in a .npy file.
        model: the directory that robustify made from the old model.
        out: file to write, of the same kind.
    """
    from voxanchor.workflows.compatibility import upgrade as job

    print(f"{job(embeddings, model, out)} voiceprints for {model} written to {out}")
    return 0


def card(model: Positional[OutFolder]) -> int:
    """Print what a model was made from, how it measures, its licence.

    Example: voxanchor card runs/robust

    Args:
        model: a model directory.
    """
    from voxanchor.workflows.card import read_card

    print(read_card(model).rstrip())
    return 0


def models(json: Json = False) -> int:
    """List the kinds of models it works with, and what is installed.

    Example: voxanchor models

    Args:
        json: print the list as JSON.
    """
    from voxanchor.models.references import available

    found = available()
    if json:
        print_json([vars(reference) for reference in found])
        return 0
    print("A model reference is one of:")
    width = max(len(reference.ref) for reference in found)
    for reference in found:
        state = "" if reference.installed else f" (not installed: {reference.install_hint})"
        print(f"  {reference.ref:{width}}  {reference.description}{state}")
    print("All can be evaluated, and all but an .onnx file robustified. docs/models/ says more.")
    return 0
