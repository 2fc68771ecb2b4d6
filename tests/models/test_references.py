import json
from pathlib import Path

import pytest

from voxanchor.errors import ModelError
from voxanchor.models import registry
from voxanchor.models.references import available

SCHEMES = {reference.ref.partition(":")[0] for reference in available() if ":" in reference.ref}


def test_every_source_is_listed() -> None:
    assert set(registry.SOURCES) <= SCHEMES
    assert {"speechbrain", "wespeaker", "3dspeaker", "transformers", "python"} == SCHEMES


@pytest.mark.parametrize(
    ("ref", "near"),
    [
        ("ge2", "ge2e"),
        ("pyton:my_model:build", "python:my_model:build"),
        ("transformer:wavlm", "transformers:wavlm"),
        ("speech-brain:folder", "speechbrain:folder"),
    ],
)
def test_the_nearest_is_named_and_then_the_list(ref: str, near: str) -> None:
    with pytest.raises(ModelError) as caught:
        registry.load(ref)
    said = str(caught.value)
    assert f"model '{ref}': no such model or directory. Did you mean '{near}'?" in said
    assert all(reference.ref in said for reference in available())
    assert said.endswith("(see `voxanchor models`).")


def test_what_is_near_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model or directory\. A model reference is one of ge2e, DIR,"):
        registry.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (("hyperparams.yaml", "embedding_model.ckpt"), "speechbrain"),
        (("config.yaml", "avg_model.pt"), "wespeaker"),
    ],
)
def test_directories_of_toolkits(tmp_path: Path, names: tuple[str, ...], scheme: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for load in (registry.load, registry.load_embedder):
        with pytest.raises(ModelError, match=f"not a model directory of voxanchor.*: name it {scheme}:{tmp_path}"):
            load(tmp_path)


def test_a_directory_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm", "architectures": ["WavLMForXVector"]}))
    with pytest.raises(ModelError, match=f"name it transformers:{tmp_path}"):
        registry.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("campplus_cn_common.bin", "name it 3dspeaker:{}"),
        ("pretrained_eres2net.ckpt", "name it 3dspeaker:{}"),
        ("my_model.py", "name it python:my_model:FUNCTION"),
        ("weights.pt", "Weights alone do not say which network they are of"),
    ],
)
def test_bare_files(tmp_path: Path, name: str, advice: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is a file. .*" + advice.format(path)):
        registry.load(path)
