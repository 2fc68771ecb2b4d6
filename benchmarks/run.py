"""Measure voxanchor and its peers side by side and write the table. `make bench` runs it in the peers' environment.

python benchmarks/run.py --only pairs,step --quick     for development: small sizes, nothing written into docs/
python benchmarks/run.py --only robustify --before 91180cd
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import recordings
import table
from measure import Settings

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
ITEMS = {
    "pairs": "clean/noisy pairs ready for the model",
    "step": "a training step of ECAPA-512",
    "parts": "where the time of a training step goes",
    "options": "a training step of ECAPA-512 compiled, and with freed memory given back",
    "anchor": "what the anchor term costs",
    "embedding": "embedding with ECAPA-512",
    "ge2e": "embedding with GE2E",
    "features": "log-mel features",
    "metrics": "EER and minDCF",
    "scaling": "cost against work",
    "loss": "the loss in bf16 against fp32",
    "memory": "memory of training on a packed corpus of 50 GB",
    "robustify": "the first issue's run of robustify, before and after",
    "quickstart": "quickstart, before and after",
}
ONLY_WHEN_ASKED = ("options", "loss", "memory", "robustify", "quickstart")
_TIMEOUT_S = 3 * 3600


def main() -> int:
    options = _options()
    if options.worker:
        _work(options.worker, json.loads(options.settings), Path(options.answer))
        return 0
    chosen = options.only.split(",") if options.only else [name for name in ITEMS if name not in ONLY_WHEN_ASKED]
    if unknown := [name for name in chosen if name not in ITEMS]:
        raise SystemExit(f"no benchmark called {', '.join(unknown)}: choose among {', '.join(ITEMS)}")
    if options.repeats < 5 and not options.quick:
        _say("fewer than five repeats: the spread says little")
    here = machine.describe(options.threads)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    target = HERE / "results" / ("quick.json" if options.quick else f"{day}-{machine.slug(here)}.json")
    failed = []
    with tempfile.TemporaryDirectory(prefix="voxanchor-bench-") as folder:
        _say("preparing the audio")
        heard = recordings.prepare(Path(options.data), Path(folder))
        results: dict[str, Any] = {"date": day, "machine": here, "audio": heard, "items": {}}
        if target.exists() and not options.quick:
            earlier = json.loads(target.read_text(encoding="utf-8"))
            if (earlier["machine"], earlier["audio"]) == (here, heard):
                results["items"] = earlier["items"]  # parts measured again replace themselves alone
        settings = Settings(folder, options.repeats, options.threads, options.quick, options.model, options.before)
        for name in chosen:
            answer = _measure(name, settings)
            if answer is None:
                failed.append(name)
                continue
            results["items"][name] = answer
            results["items"] = {known: results["items"][known] for known in ITEMS if known in results["items"]}
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = table.markdown(results)
    if not options.quick:
        table.write(PAGE, text)
    print(text)
    _say(f"results: {target}" + ("" if options.quick else f", table: {PAGE}"))
    if failed:
        _say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _measure(name: str, settings: Settings) -> dict[str, Any] | None:
    """Return what a process of its own measured, so that no part inherits the threads, caches or memory of another."""
    _say(f"{name}: {ITEMS[name]}")
    load, began = machine.load(), time.perf_counter()
    answer = Path(settings.recordings) / f"answer-{name}.json"
    command = [sys.executable, "-W", "ignore", __file__, "--worker", name]
    command += ["--settings", json.dumps(asdict(settings)), "--answer", str(answer)]
    environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=_TIMEOUT_S)
    if done.returncode != 0 or not answer.exists():
        _say(f"{name}: failed with status {done.returncode}\n{done.stderr[-3000:]}")
        return None
    took_s = time.perf_counter() - began
    _say(f"{name}: {took_s:.0f} s")
    about = {"commit": machine.commit(), "repeats": settings.repeats, "load": load, "took_s": round(took_s, 1)}
    return about | json.loads(answer.read_text(encoding="utf-8"))


def _work(name: str, settings: dict[str, Any], answer: Path) -> None:
    found = importlib.import_module(f"rows.{name}").measure(Settings(**settings))
    answer.write_text(json.dumps(asdict(found)), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = "\n".join(f"{name}: {what}" for name, what in ITEMS.items())
    parser.add_argument("--only", default="", help=f"parts, joined by commas; {', '.join(ONLY_WHEN_ASKED)} run only so")
    parser.add_argument("--repeats", type=int, default=5, help="values per side (5)")
    cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=cores, help="threads of torch (OMP_NUM_THREADS, or all cores)")
    parser.add_argument("--data", default=str(HERE.parents[1] / "shared" / "data"), help="folder of recordings")
    parser.add_argument("--quick", action="store_true", help="small sizes; results go to results/quick.json")
    parser.add_argument("--model", default="", help="trained model whose EER in bf16 is compared (part embedding)")
    parser.add_argument("--before", default="", help="commit that robustify and quickstart are compared with")
    for internal in ("--worker", "--settings", "--answer"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    parser.epilog = parts
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
