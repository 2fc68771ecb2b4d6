"""Print what `pyproject.toml` allows, in its lowest versions, for pip: a line a package.

python .ci/lowest.py > requirements.txt
"""

import tomllib
from pathlib import Path

# the tools that tests are run with may be newer: nobody who uses the package needs them
TOOLS = ("test", "dev")


def lowest() -> list[str]:
    """Return the requirements of the package and of all its extras, ``>=`` turned into ``==``."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: group for name, group in project["optional-dependencies"].items() if name not in TOOLS}
    found = [*project["dependencies"], *(item for group in extras.values() for item in group)]
    return [item.replace(">=", "==") for item in found if not item.startswith("voxanchor[")]


if __name__ == "__main__":
    print("\n".join(lowest()))
