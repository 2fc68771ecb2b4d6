"""The run of the first issue, GE2E robustified in 300 steps, by an earlier commit and by the working tree in turn."""

import recordings
from measure import Answer, Settings
from whole import row

FIRST_RUN = (
    "stages.anchored.train.steps=300",
    "data.voice_speeds=[]",
    "stages.anchored.train.interpolation=1",
    "stages.anchored.train.learning_rate.peak=5e-4",
)
"""Settings with which `robustify` makes that run again, as commit 91180cd does without any."""


def measure(settings: Settings) -> Answer:
    heard = recordings.load(settings.recordings)
    command = ["robustify", "--model", "ge2e", "--speech", heard.manifest.root, "--noise", str(heard.noise), "--json"]
    few = ["stages.anchored.train.steps=4"] if settings.quick else []
    now, then = [*command, "--set", *FIRST_RUN, *few], [*command, *(["--set", *few] if few else [])]
    return Answer([row("robustify, the first issue's run", now, then, settings, goal="at least 2")])
