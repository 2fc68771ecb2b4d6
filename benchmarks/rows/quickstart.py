"""The whole quickstart, by an earlier commit and by the working tree in turn."""

from measure import Answer, Settings
from whole import row


def measure(settings: Settings) -> Answer:
    command = ["quickstart", "--json"]
    if settings.quick:
        command += ["--set", *(f"stages.{stage}.train.steps=4" for stage in ("base", "anchored", "joint"))]
    return Answer([row("quickstart", command, command, settings)])
