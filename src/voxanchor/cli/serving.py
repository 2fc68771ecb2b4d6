"""The command that serves a model over HTTP."""

from pathlib import Path

from voxanchor.cli.shared import (
    Device,
    Folders,
    Model,
    Percent,
    Probability,
    Seconds,
    SomeFile,
    Store,
    loading,
    no_empty_store,
    store_key,
)

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
    from voxanchor.progress import say
    from voxanchor.service.app import make_app
    from voxanchor.service.backgrounds import backgrounds
    from voxanchor.service.keys import Keys
    from voxanchor.service.running import is_local, run
    from voxanchor.service.settings import Settings

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
        verifier.judge.threshold(prior, false_acceptance)  # refuses a rate that the calibration does not know
        other = stack.enter_context(voxanchor.load(beside, device=device)) if beside else None
        bank = stack.enter_context(backgrounds(noise))
        if not verifier.calibrated:
            say("the model has no calibration: there are scores, and no decisions. Fit one with voxanchor calibrate")
        if not keys:
            say("no API keys: " + ("everybody who reaches the port may ask" if insecure else "for this machine alone"))

        def announce(address: str) -> None:
            print(f"serving on {address}", flush=True)

        run(make_app(verifier, settings, other, bank), host, port, timeout_s, announce)
    return 0
