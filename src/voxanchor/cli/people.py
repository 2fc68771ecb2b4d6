"""The commands about people: enroll, verify, verify-as, identify, people, serve."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from voxanchor.cli.arguments import (
    Device,
    File,
    Folders,
    Group,
    Json,
    Model,
    Name,
    Percent,
    Probability,
    Recording,
    Recordings,
    Seconds,
    SomeFile,
    Store,
    existing_store,
    key_file,
    loading,
    no_empty_store,
    print_json,
    store_key,
)
from voxanchor.errors import RecipeError
from voxanchor.runtime import counted

if TYPE_CHECKING:
    from voxanchor.enrolments.store import Store as People
    from voxanchor.scoring.calibration import SearchRate
    from voxanchor.verification.result import Identification, Side, Verification


def everybody(store: Store, key: SomeFile = None, json: Json = False) -> int:
    """List everybody who is enrolled.

    Example: voxanchor people list --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.people()
    if json:
        print_json([asdict(person) for person in found])
        return 0
    for person in found:
        recordings = f"{person.recordings} recording{'s' * (person.recordings > 1)}"
        print(
            f"{person.name}  {recordings}, last {person.updated[:10]}, "
            f"model{'s' * (len(person.models) > 1)} {', '.join(person.models)}"
        )
    print(f"{len(found)} {'person' if len(found) == 1 else 'people'}")
    return 0


def show(name: Positional[Name], store: Store, key: SomeFile = None, json: Json = False) -> int:
    """List a person's recordings, their quality and their model.

    Example: voxanchor people show "Ada Lovelace" --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: the person.
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.enrolments(name)
    if json:
        print_json([asdict(enrolment) for enrolment in found])
        return 0
    for item in found:
        by = f" by {item.by}" if item.by else ""
        audio = ", audio kept" if item.keeps_audio else ""
        source = f"{item.source}: " if item.source else ""
        print(
            f"{item.created[:19]}{by}  {source}{item.speech_s:.1f} s, {item.snr_db:.0f} dB, model {item.model}{audio}"
        )
    return 0


def delete(name: Positional[Name], store: Store, key: SomeFile = None) -> int:
    """Delete a person for good.

    Voiceprint and audio are gone from the file, and the name from the log.

    Example: voxanchor people delete "Ada Lovelace" --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: the person.
    """
    with _opened(store, key) as opened:
        count = opened.delete(name)
    print(f"{name}: {count} recording{'s' * (count > 1)} deleted")
    return 0


def export(out: File, store: Store, key: SomeFile = None, out_key: SomeFile = None) -> int:
    """Write everybody to one file that another store can import.

    The file is in clear unless --out-key is given.

    Example: voxanchor people export --out people.export --store people.db --out-key key

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        out: the file.
        out_key: file with a key to encrypt it with.
    """
    with _opened(store, key) as opened:
        count = opened.export_to(out, key_file(out_key))
    print(f"{counted(count, 'recording')} written to {out}" + ("" if out_key else ", in clear"))
    return 0


def import_people(file: Positional[File], store: Store, key: SomeFile = None, file_key: SomeFile = None) -> int:
    """Add everybody in a file that export wrote: all or none.

    Example: voxanchor people import people.export --store other.db --file-key key

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        file: what export wrote.
        file_key: file with the key that it was encrypted with.
    """
    with no_empty_store(store), _opened(store, key, new=True) as opened:
        found = opened.import_from(file, key_file(file_key))
    print(f"{counted(found.recordings, 'recording')} added, {found.skipped:,} there already")
    return 0


def backup(out: File, store: Store) -> int:
    """Copy a store to a new file while others may have it open.

    An encrypted store stays so, and needs no key.

    Example: voxanchor people backup --store people.db --out backup.db

    Args:
        out: the file; an existing one is never replaced.
        store: an SQLite file. Of a database with pgvector pg_dump makes a copy.
    """
    from voxanchor.enrolments.sqlite import back_up

    if "://" in store:
        raise RecipeError("people backup: copies an SQLite file. Of a PostgreSQL database pg_dump makes a copy")
    count = back_up(Path(existing_store(store)), out)
    print(f"{count} recording{'s' * (count != 1)} in {out}")
    return 0


def upgrade(model: Model, store: Store, key: SomeFile = None) -> int:
    """Carry voiceprints of an old model over to its robust copy.

    Nobody has to be recorded again; docs/compatibility.md says what that gains and what it costs.

    Example: voxanchor people upgrade --model runs/robust --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        model: the directory of the new model.
    """
    from voxanchor.models.mapping import EnrolmentMap

    carrier = EnrolmentMap.load(model)
    with _opened(store, key) as opened:
        count = opened.carry(carrier.old, carrier.new, carrier.apply)
    print(f"{counted(count, 'recording')} of the model {carrier.old} carried over to {carrier.new}")
    return 0


def reembed(model: Model, store: Store, key: SomeFile = None, device: Device = "auto", json: Json = False) -> int:
    """Embed kept audio anew, with another model.

    People whose audio was not kept stay as they are, and are listed.

    Example: voxanchor people reembed --model runs/new --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        model: the new model; `voxanchor models` lists what it may be.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print what was done.
    """
    loading(model)
    import voxanchor
    from voxanchor.verification.verifier import reembed as job

    with voxanchor.load(model, store=existing_store(store), key=store_key(key), device=device) as verifier:
        found = job(verifier)
    if json:
        print_json(asdict(found))
        return 0
    print(f"{counted(found.done, 'recording')} embedded anew")
    if found.without_audio:
        print(f"without audio, so they have to enrol again: {', '.join(found.without_audio)}")
    for name, reason in found.failed:
        print(f"{name}: {reason}")
    return 0


def log(store: Store, key: SomeFile = None, name: Name = "", limit: int = 20, json: Json = False) -> int:
    """Print what was decided lately, newest first.

    Example: voxanchor people log --store people.db --name "Ada Lovelace"

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: decisions about this person alone.
        limit: how many to print.
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.decisions(name or None, limit)
    if json:
        print_json([asdict(decision) for decision in found])
        return 0
    for item in found:
        number = f" llr {item.llr:.2f}" if item.llr is not None else ""
        asked = f" asked by {item.by}" if item.by else ""
        print(f"{item.at[:19]}  {item.kind}  {item.person or '-'}  {item.decision}{number}{asked}")
    return 0


def key(out: File) -> int:
    """Make a key to encrypt a store with.

    Keep it apart from the store: without it nobody reads the voiceprints.

    Example: voxanchor people key --out people.key

    Args:
        out: file to write, for its owner alone; an existing one is never replaced.
    """
    from voxanchor.enrolments.encryption import new_key
    from voxanchor.files import write_private

    write_private(out, f"{new_key()}\n".encode("ascii"), new=True)
    print(f"key written to {out}")
    return 0


def _opened(store: Store, key: SomeFile, new: bool = False) -> "People":
    from voxanchor.enrolments.store import open_store

    return open_store(store if new else existing_store(store), store_key(key))


GROUP = Group(
    """List, show, delete, back up, export or import who is enrolled.

    Voiceprints are biometric data: give a key when the store is made, and delete who no longer needs to be there. Exit
    status: 10 when nobody of that name is enrolled, or the store cannot be opened.
    """,
    {
        "list": everybody,
        "show": show,
        "delete": delete,
        "export": export,
        "import": import_people,
        "backup": backup,
        "upgrade": upgrade,
        "reembed": reembed,
        "log": log,
        "key": key,
    },
)


# The commands that decide who speaks: enroll, verify, verify-as, identify.

STATUS = {"accepted": 0, "uncalibrated": 8, "abstained": 8, "rejected": 11}
"""Exit status by decision: 0 lets somebody in, and nothing else is 0."""


def verify(
    first: Positional[Recording],
    second: Positional[Recording],
    model: Model,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Decide whether two recordings are of one speaker.

    A model without a calibration gives the score alone. Exit status: 0 accepted, 11 rejected, 8 no decision: a
    recording holds too little speech to say, or a score alone.

    Example: voxanchor verify enrolment.wav test.wav --model runs/calibrated

    Args:
        first: the one recording.
        second: the other.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        prior: probability of one speaker before anything was heard.
        false_acceptance: take the threshold at this rate in percent instead, one of those in calibration.md.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number. Two of them, as in
            mix,right, are for the first recording and the second.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, score, llr, threshold and the quality of both sides.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channels_of

    one, other = channels_of(channel, 2)
    verifier = voxanchor.load(model, longest_s=longest_s, device=device)
    return _answer(verifier.verify(first, second, prior, false_acceptance, (one, other)), json)


def enroll(
    name: Positional[Name],
    files: Positional[Recordings],
    model: Model,
    store: Store,
    key: SomeFile = None,
    by: str = "",
    keep_audio: bool = False,
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Enrol a person with one or several recordings.

    All of them are enrolled, or none. `voxanchor enrol` is the same command.

    Example: voxanchor enroll "Ada Lovelace" a.wav b.wav --model runs/calibrated --store people.db

    Args:
        name: the person, who need not be new.
        files: recordings of the person, several and from several days if there are.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        by: your name, to be noted with the enrolment.
        keep_audio: keep the recordings in the store, so that another model can embed them anew; up to 600 s
            each.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print what was enrolled.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with no_empty_store(store), voxanchor.load(model, store, store_key(key), longest_s, device) as verifier:
        made = verifier.enroll(name, files, by, keep_audio, heard)
    if json:
        quality = vars(made.side.quality)
        print_json({"person": made.person, "recordings": made.recordings, **quality, "warnings": made.side.warnings})
        return 0
    print(f"{made.person}: {made.recordings} recording{'s' * (made.recordings > 1)} enrolled, {_words(made.side)}")
    _warn(made.side.warnings)
    return 0


def verify_as(
    name: Positional[Name],
    recording: Positional[Recording],
    model: Model,
    store: Store,
    key: SomeFile = None,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    by: str = "",
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Decide whether a recording is of a person who is enrolled.

    The decision goes into the store's log. Exit status: 0 accepted, 11 rejected, 8 no decision: too little speech to
    say, or a model without a calibration; 10 nobody of that name.

    Example: voxanchor verify-as "Ada Lovelace" call.wav --model runs/calibrated --store people.db

    Args:
        name: whose voice it is claimed to be.
        recording: what was heard.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        prior: probability that the claim is true before anything was heard.
        false_acceptance: take the threshold at this rate in percent instead, one of those in calibration.md.
        by: your name, to be noted in the store's log.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, score, llr, threshold and quality.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with voxanchor.load(model, existing_store(store), store_key(key), longest_s, device) as verifier:
        return _answer(verifier.verify_as(name, recording, prior, false_acceptance, by, heard), json)


def identify(
    recording: Positional[Recording],
    model: Model,
    store: Store,
    key: SomeFile = None,
    top: int = 5,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    certainty: Probability = 0.5,
    by: str = "",
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Say whose voice it is, of all who are enrolled, or nobody's.

    It is the likeliest person where verify-as, with the same options, would accept that claim, too. The answer goes
    into the store's log.

    Exit status: 0 somebody, 11 nobody, 8 no decision: too little speech to say, or a model without a calibration.

    Example: voxanchor identify call.wav --model runs/calibrated --store people.db

    Args:
        recording: what was heard.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        top: how many candidates to list.
        prior: probability of one speaker before anything was heard, of the recording and any one person.
        false_acceptance: take the threshold at which at most so many strangers, in percent, are taken for somebody on
            the whole list instead; it rises with the number of people.
        certainty: the likeliest is the answer when more probable than this, all others and nobody taken into account.
        by: your name, to be noted in the store's log.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, candidates, probabilities, threshold, rate of false acceptance and quality.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with voxanchor.load(model, existing_store(store), store_key(key), longest_s, device) as verifier:
        found = verifier.identify(
            recording,
            top,
            prior=prior,
            false_acceptance=false_acceptance,
            certainty=certainty,
            by=by,
            channel=heard,
        )
    if json:
        print_json(found.to_dict())
    else:
        _tell(found)
    return STATUS[found.decision]


def _answer(found: "Verification", as_json: bool) -> int:
    if as_json:
        print_json({"accepted": found.accepted, **found.to_dict()})
    elif found.decision == "abstained":
        print(f"abstained: {found.reason}")
    elif found.llr is None or found.threshold is None:
        print(f"{found.score:.4f}")
        print(f"no decision: {found.reason}", file=sys.stderr)
    else:
        asked = _asked(found.threshold, found.prior)
        print(f"{found.decision}: log-likelihood ratio {found.llr:.2f}, {asked}")
        print(f"score {found.score:.4f}; " + "; ".join(_words(side) for side in found.sides))
    if not as_json:
        _warn(found.warnings)
    return STATUS[found.decision]


def _tell(found: "Identification") -> None:
    if found.decision == "abstained":
        print(f"abstained: {found.reason}")
        _warn(found.side.warnings)
        return
    print(found.person or ("nobody" if found.decision == "rejected" else "no decision"))
    for item in found.candidates:
        chance = "" if item.probability is None else f"  probability {item.probability:.3f}, llr {item.llr:.2f}"
        print(f"  {item.person}  score {item.score:.4f}{chance}")
    if found.nobody is not None:
        print(f"  nobody  probability {found.nobody:.3f}")
    if found.threshold is not None and found.people:
        searched = f"{found.people} {'person' if found.people == 1 else 'people'} searched"
        print(f"{searched}, {_asked(found.threshold, found.prior)}; {_rate(found.false_acceptance)}")
    if found.remark:
        print(f"note: {found.remark}")
    if found.reason:
        print(f"({found.reason})", file=sys.stderr)
    _warn((*found.side.warnings, *(f"{item.person}: {item.warning}" for item in found.candidates if item.warning)))


def _asked(threshold: float, prior: float | None) -> str:
    return f"threshold {threshold:.2f}" + ("" if prior is None else f" for a prior of {prior:g}")


def _rate(found: "SearchRate") -> str:
    if found.rate is None:
        return f"the share of strangers who are taken for somebody is not stated: {found.remark}"
    most = "" if found.highest is None else f" over all conditions, {found.highest:.2g} % in {found.condition}"
    return f"of strangers at most {found.rate:.2g} % are taken for somebody{most} ({found.remark})"


def _words(side: "Side") -> str:
    return f"{side.quality.speech_s:.1f} s of speech, about {side.quality.snr_db:.0f} dB above the noise"


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


# The command that serves a model over HTTP.

HIGHEST_PORT = 65_535


def serve(
    model: Model,
    store: Store,
    beside: Model = "",
    key: SomeFile = None,
    api_keys: SomeFile = None,
    noise: Folders = (),
    host: str = "127.0.0.1",
    port: int = 8010,
    insecure: bool = False,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    keep_audio: bool = False,
    max_upload_mb: float = 25.0,
    max_duration_s: Seconds = 120.0,
    max_requests: int = 64,
    timeout_s: Seconds = 30.0,
    device: Device = "auto",
    model_threads: int = 1,
    batch_s: Seconds = 120.0,
) -> int:
    """Serve a model over HTTP, with a page to try it on.

    People enrol, are verified, identified and deleted over HTTP; the page does it with a microphone. Needs the extra
    ``serve``. docs/service.md describes the routes. SIGTERM ends it when running requests are done.

    Example: voxanchor serve --model runs/calibrated --store people.db --beside runs/ge2e-calibrated

    Example: voxanchor serve --model runs/calibrated --store people.db --api-keys keys.txt --host 0.0.0.0

    Args:
        model: the model to serve, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, made where it is missing; postgresql://...; or :memory:.
        beside: another model to show on the page, so that both can be seen in the same noise: best the one that the
            robust model was made from, calibrated, too.
        key: file with the key that encrypts the store.
        api_keys: file with API keys, 'name key' in each line; else the environment variable VOXANCHOR_API_KEYS.
        noise: folder with noise/, music/ and speech/ (MUSAN layout) for the page. What is missing there is built in.
        host: address to listen on; without API keys one of this machine alone.
        port: 0 for any that is free.
        insecure: listen on other addresses without API keys, too: whoever reaches the port can enrol and delete.
        prior: probability of one voice before anything was heard, for requests that give none.
        false_acceptance: in percent, in place of the prior: the calibration's threshold at this rate.
        keep_audio: keep enrolled recordings, so that another model can embed them anew.
        max_upload_mb: largest body of a request.
        max_duration_s: longest recording.
        max_requests: how many requests with recordings are worked on at once; more are refused.
        timeout_s: how long a request may take, its upload included.
        device: where the models run: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        model_threads: threads that run the model; it may use several cores in each of them (docs/service.md).
        batch_s: padded seconds of audio that are embedded at once; 0 embeds each recording alone.
    """
    from voxanchor.extras import require

    require(("fastapi", "uvicorn", "python_multipart", "prometheus_client"), "the service")
    loading(model, *([beside] if beside else []))
    import contextlib

    import voxanchor
    from voxanchor.errors import RecipeError
    from voxanchor.runtime import log_line
    from voxanchor.service.app import make_app
    from voxanchor.service.backgrounds import backgrounds
    from voxanchor.service.run import is_local, run
    from voxanchor.service.settings import Keys, Settings

    if not 0 <= port <= HIGHEST_PORT:
        raise RecipeError(f"serve: {port} is no port; they are 0 (any that is free) to {HIGHEST_PORT}")
    keys = Keys.read(api_keys)
    if not keys and not is_local(host) and not insecure:
        raise RecipeError(
            f"serve: without API keys everybody who reaches {host} could enrol and delete. Give keys with --api-keys, "
            "listen on 127.0.0.1, or say --insecure"
        )
    settings = Settings(
        keys=keys,
        local_only=not keys and is_local(host),
        max_upload_bytes=round(max_upload_mb * 2**20),
        max_duration_s=max_duration_s,
        timeout_s=timeout_s,
        max_requests=max_requests,
        model_threads=model_threads,
        batch_s=batch_s,
        prior=prior,
        false_acceptance=false_acceptance,
        labels=(Path(model).name, Path(beside).name),
        keep_audio=keep_audio,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_empty_store(store))
        verifier = stack.enter_context(voxanchor.load(model, store, store_key(key), device=device))
        verifier.backend.threshold(prior, false_acceptance)  # refuses a rate that the calibration does not know
        other = stack.enter_context(voxanchor.load(beside, device=device)) if beside else None
        bank = stack.enter_context(backgrounds(noise))
        if not verifier.calibrated:
            log_line(
                "the model has no calibration: there are scores, and no decisions. Fit one with voxanchor calibrate"
            )
        if not keys:
            log_line(
                "no API keys: " + ("everybody who reaches the port may ask" if insecure else "for this machine alone")
            )

        def announce(address: str) -> None:
            print(f"serving on {address}", flush=True)

        run(make_app(verifier, settings, other, bank), host, port, timeout_s, announce)
    return 0
