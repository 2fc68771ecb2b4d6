"""What the figures were measured on and with."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = (
    "voxanchor",
    "torch",
    "numpy",
    "soundfile",
    "speechbrain",
    "Resemblyzer",
    "librosa",
    "kaldi_native_fbank",
    "scikit-learn",
    "audiomentations",
)


def describe(threads: int) -> dict[str, object]:
    """Return processor, memory, GPU, threads, load and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def slug(machine: dict[str, object]) -> str:
    """Return a name for a file."""
    words = [str(machine["gpu"] or machine["processor"]), f"{machine['cores']} cores"]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def load() -> float:
    """Return the machine's load of the last minute: processes that wanted to run. Above that of the benchmark: busy."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """Return the commit of the code that is measured, marked where the working tree differs from it."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "../src"], capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + ("+changes" if changed else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
