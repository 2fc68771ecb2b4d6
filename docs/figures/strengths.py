"""Put a model that `robustify` made at another strength, as `--strength` would have ended it; its map is fitted anew.

python docs/figures/strengths.py ge2e runs/ge2e-robust-0 0.5 runs/ge2e-half-0

The weights lie on the line between those of the base model and the trained ones; the default ends 90 % of the way.
"""

import sys
from pathlib import Path

import torch

from voxanchor.corpus.manifest import Manifest
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.workflows.compatibility import fit_enrolment_map

MADE_AT = 0.9


def main(model: str, made: Path, strength: float, out: Path) -> None:
    """Write the model directory `out`, map included."""
    base, robust = registry.load(model), SpeakerEncoder.load(made)
    start = base.state_dict()
    state = {
        name: torch.lerp(start[name], end, strength / MADE_AT) if end.is_floating_point() else end
        for name, end in robust.state_dict().items()
    }
    robust.load_state_dict(state)
    robust.save(out)
    moved = SpeakerEncoder.load(out)
    fit_enrolment_map(base, moved, Manifest.load(made / "run" / "data" / "train.jsonl"), "bfloat16").save(out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
