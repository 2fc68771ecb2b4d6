"""Printing what a recipe will do."""

from typing import Any

from voxanchor.cli.shared import print_json
from voxanchor.config import to_plain
from voxanchor.workflows.plan_data import Looked
from voxanchor.workflows.planned import Plan, StagePlan

MISSING_STATUS = 3
"""Of a plan whose data are not all there: recordings unusable, as for the run itself."""


def show(plan: Plan) -> None:
    """Print a plan for a person."""
    print(f"{plan.name}: what its recipe needs")
    for place in plan.looked:
        print(f"  {'MISSING' if place.problem else 'ok     '} {place.use}: {place.path}: {_said(place)}")
        if place.remedy:
            print(f"          {place.remedy}")
    print(f"stages, measured on {plan.device}")
    for stage in plan.stages:
        print(f"  {stage.name}: {_work(stage)}")
    for note in plan.notes:
        print(f"note: {note}")
    memory = f"{plan.memory_bytes / 1e9:.1f} GB of memory"
    memory += f", of {plan.machine_bytes / 1e9:.0f} GB here" if plan.machine_bytes else ""
    print(f"together: about {clock(plan.seconds)}, at most about {memory}")
    print("times are those of the network alone: noise, rooms and validation add to them")
    if plan.missing:
        print(f"{len(plan.missing)} of {len(plan.looked)} places cannot serve; times leave out what depends on them")


def answer(plan: Plan, as_json: bool) -> int:
    """Print a plan, and return the exit status."""
    if as_json:
        print_json(facts(plan))
    else:
        show(plan)
    return MISSING_STATUS if plan.missing else 0


def facts(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values for JSON."""
    totals = {"seconds": plan.seconds, "memory_bytes": plan.memory_bytes, "missing": len(plan.missing)}
    return {**to_plain(plan), **totals}


def clock(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``12 min``, ``3.5 h``, ``16 days``."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _said(place: Looked) -> str:
    if place.problem:
        return place.problem
    if place.use == "trials":
        return f"{place.files:,} trials"
    parts = [f"{place.files:,} recordings"]
    if place.speakers:
        parts.append(f"{place.speakers:,} speakers")
    about = "" if place.packed or place.opened == place.files else "about "
    parts.append(f"{about}{place.hours:.1f} h" if place.hours >= 1 else f"{about}{60 * place.hours:.1f} min")
    if place.layout:
        parts.append(place.layout)
    if place.unusable_share:
        parts.append(f"{about}{100 * place.unusable_share:.0f} % unusable")
    if about:
        parts.append(f"from {place.opened} of them")
    return ", ".join(parts)


def _work(stage: StagePlan) -> str:
    if stage.hours is None:
        return f"{stage.kind}; how long is not known while the data are missing"
    parts = []
    if stage.steps:
        epochs = "" if stage.epochs is None else f" ({stage.epochs:.1f} epochs)"
        parts.append(f"{stage.steps:,} steps of {stage.batch_size} x {stage.crop_s:g} s{epochs}")
    parts.append(f"{stage.hours:,.1f} h of audio")
    if stage.seconds is not None:
        parts.append(f"about {clock(stage.seconds)}")
    if stage.memory_bytes:
        parts.append(f"{stage.memory_bytes / 1e9:.1f} GB")
    if stage.times > 1:
        parts.append(f"{stage.times} times")
    return f"{stage.kind}: " + ", ".join(parts)
