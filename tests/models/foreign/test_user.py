"""Modules of the user's, written to a folder and named as a user names them."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from voxanchor.errors import AudioError, ModelError, RecipeError
from voxanchor.models import registry
from voxanchor.models.backbone import InputConfig
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign import user
from voxanchor.models.foreign.user import UntrustedCodeError, UserModule

PAGE = Path(__file__).parents[3] / "docs" / "models" / "python.md"
OWN_MODEL = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]

START = """
import torch
from torch import nn
"""

Code = Callable[[str], str]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    """From the text of a module to its name; it lies in the working directory, and nothing of it is trusted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(user, "_trusted", set())
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"own_{tmp_path.name.replace('-', '_')}_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def module_of(encoder: SpeakerEncoder) -> UserModule:
    assert isinstance(encoder.network, UserModule)
    return encoder.network


def test_a_function_is_a_model(code: Code) -> None:
    name = code(OWN_MODEL)
    encoder = registry.load(f"python:{name}:build")
    assert not encoder.training
    assert encoder.embedding_dim == 24
    assert encoder.min_samples == 4_800
    assert encoder.config.options == {"target": f"{name}:build", "sample_rate": 16_000}
    waves = noise(3, 20_000)
    # it hears powers, so recordings are brought to one level before it
    assert encoder.config.input == InputConfig(-26.0, high_pass=True)
    expected = F.normalize(module_of(encoder).module(encoder.normalised(waves)), dim=1)
    torch.testing.assert_close(encoder(waves), expected)
    with pytest.raises(AudioError, match="too short"):
        encoder(noise(1, 4_000))


def test_the_class_itself_and_functions_inside_others_are_named_too(code: Code) -> None:
    name = code(OWN_MODEL + "\n\nclass Made:\n    @staticmethod\n    def other():\n        return build()\n")
    for target in ("MyModel", "Made.other"):
        assert registry.load(f"python:{name}:{target}").embedding_dim == 24


def test_the_path_of_modules_is_left_as_it_was(code: Code) -> None:
    helper = code("WIDTH = 24\n")
    late = OWN_MODEL.replace("    return MyModel()", f"    import {helper}\n    return MyModel()")
    assert late != OWN_MODEL
    before = [*sys.path]
    assert registry.load(f"python:{code(late)}:build").embedding_dim == 24
    assert helper in sys.modules
    assert sys.path == before
    with pytest.raises(ModelError, match="no module"):
        registry.load("python:nowhere_at_all:build")
    assert sys.path == before


def test_weights_that_torch_draws_are_the_same_every_time(code: Code) -> None:
    name = code(OWN_MODEL)
    torch.manual_seed(3)
    first = registry.load(f"python:{name}:build")
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    assert registry.load(f"python:{name}:build").fingerprint == first.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_saved_model_is_loaded_where_its_code_was_named(code: Code, tmp_path: Path) -> None:
    name = code(OWN_MODEL)
    encoder = registry.load(f"python:{name}:build")
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.1)
    encoder.save(tmp_path / "model")
    for ref in (f"python:{name}:build:{tmp_path / 'model'}", tmp_path / "model", f"python:{name}:build:model"):
        loaded = registry.load(ref)
        assert loaded.fingerprint == encoder.fingerprint
        assert torch.equal(loaded(noise(2, 8_000)), encoder(noise(2, 8_000)))
    assert registry.load(f"python:{name}:build").fingerprint != encoder.fingerprint


def test_a_saved_model_runs_nothing_where_its_code_was_not_named(
    code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = code(OWN_MODEL)
    registry.load(f"python:{name}:build").save("model")
    monkeypatch.setattr(user, "_trusted", {f"{name}:other"})
    sys.modules.pop(name)
    (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    message = f"model: this model is made by the code {name}:build. If you trust that code, name it: "
    for load in (registry.load, SpeakerEncoder.load):
        with pytest.raises(UntrustedCodeError) as caught:
            load("model")
        assert str(caught.value) == f"{message}python:{name}:build:model"
    with pytest.raises(ModelError, match=f"made by the code {name}:build"):
        registry.build(EncoderConfig("python", {"target": f"{name}:build"}))
    assert name not in sys.modules


def test_a_directory_of_another_model_is_refused(code: Code) -> None:
    name = code(OWN_MODEL + "\n\ndef other():\n    return MyModel()\n")
    registry.load(f"python:{name}:build").save("model")
    with pytest.raises(ModelError, match=f"made by the code {name}:build, not by {name}:other"):
        registry.load(f"python:{name}:other:model")
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 12})).save("ecapa")
    with pytest.raises(ModelError, match=r"architecture 'ecapa'\. Name it alone: ecapa"):
        registry.load(f"python:{name}:build:ecapa")
    with pytest.raises(ModelError, match="not a model directory"):
        registry.load(f"python:{name}:build:nowhere")


def test_a_saved_model_whose_code_changed(code: Code, tmp_path: Path) -> None:
    name = code(OWN_MODEL)
    registry.load(f"python:{name}:build").save("model")
    for old, new, message in (
        ("Linear(64, 24)", "Linear(64, 24, bias=False)", r"not the weights of this network: unexpected module\.embed"),
        ("Linear(64, 24)", "Linear(64, 25)", "asks for dimension 24"),
        ("super().__init__()", "super().__init__(); self.sample_rate = 8000", "hears 8000 Hz, the model was stored"),
    ):
        sys.modules.pop(name)
        (tmp_path / f"{name}.py").write_text(OWN_MODEL.replace(old, new) + f"# {new}\n")
        with pytest.raises(ModelError, match=message):
            registry.load(f"python:{name}:build:model")


UNMASKED = "x.mean(dim=2)"
MASKED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 400, stride=160, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 12)

    def forward(self, waves, LENGTHS):
        waves = waves if lengths is None else waves * (torch.arange(waves.shape[1]) < lengths[:, None])
        x = torch.relu(self.norm(self.conv(waves[:, None])))
        frames = x.new_full((len(x),), x.shape[2]) if lengths is None else (lengths - 400) // 160 + 1
        own = torch.arange(x.shape[2]) < frames[:, None]
        return self.out((x * OWN).sum(2) / frames[:, None])
"""


@pytest.mark.parametrize("lengths", ["lengths", "lengths=None", "lengths: torch.Tensor | None = None"])
@pytest.mark.parametrize(("own", "known"), [("own[:, None]", True), ("1", False)])
def test_a_padded_batch_gives_what_each_recording_gets_alone(code: Code, lengths: str, own: str, known: bool) -> None:
    # where it counts all frames, padding is silent only as long as the normalisation has no offset
    name = code(START + MASKED.replace("LENGTHS", lengths).replace("OWN", own))
    encoder = registry.load(f"python:{name}:Net")
    assert module_of(encoder).knows_lengths is known
    with torch.no_grad():
        module_of(encoder).module.get_parameter("norm.bias").add_(0.5)
    check_padding(encoder)


@pytest.mark.parametrize("argument", ["", ", augment=False", ", *more", ", *, lengths=None"])
def test_modules_without_lengths_hear_those_of_one_length_at_a_time(code: Code, argument: str) -> None:
    name = code(OWN_MODEL.replace("self, waves", f"self, waves{argument}"))
    encoder = registry.load(f"python:{name}:build")
    assert not module_of(encoder).knows_lengths
    check_padding(encoder)


def test_scripted_and_traced_modules(code: Code) -> None:
    made = "\n\ndef scripted():\n    return torch.jit.script(MyModel())\n"
    made += "\n\ndef traced():\n    return torch.jit.trace(MyModel().eval(), torch.randn(2, 9000))\n"
    name = code(
        "import warnings\nwarnings.simplefilter('ignore')\n" + OWN_MODEL.replace("self, waves)", "self, waves)") + made
    )
    for target in ("scripted", "traced"):
        check_padding(registry.load(f"python:{name}:{target}"))


def check_padding(encoder: SpeakerEncoder) -> None:
    waves, lengths = noise(5, 23_000), torch.tensor([16_000, 22_000, 16_000, 5_001, 9_999])
    with torch.no_grad():
        together = encoder(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def test_training_wants_crops_of_one_length(code: Code) -> None:
    encoder = registry.load(f"python:{code(OWN_MODEL)}:build").train()
    encoder(noise(2, 8_000), torch.tensor([8_000, 8_000])).sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    with pytest.raises(ModelError, match="same length"):
        encoder(noise(2, 8_000), torch.tensor([8_000, 7_000]))


@pytest.mark.parametrize("stated", ["", "; self.min_samples = 1600"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_telephone_model_hears_8_khz(code: Code, masked: bool, stated: str) -> None:
    text = START + MASKED.replace("LENGTHS", "lengths=None").replace("OWN", "own[:, None]") if masked else OWN_MODEL
    text = text.replace("super().__init__()", f"super().__init__(); self.sample_rate = 8000{stated}")
    encoder = registry.load(f"python:{code(text)}:{'Net' if masked else 'MyModel'}")
    assert encoder.config.sample_rate == 16_000
    assert encoder.config.options["sample_rate"] == 8_000
    assert encoder.min_samples == (3_200 if stated else 4_800)
    assert module_of(encoder).knows_lengths is masked
    check_padding(encoder)
    heard: list[torch.Size] = []
    module_of(encoder).module.register_forward_pre_hook(lambda _module, given: heard.append(given[0].shape))
    waves = noise(2, 16_001).requires_grad_()
    encoder(waves).sum().backward()
    assert heard == [(2, 8_001)]
    assert waves.grad is not None
    assert waves.grad.isfinite().all()


def test_weights_of_two_names_are_saved(code: Code, tmp_path: Path) -> None:
    tied = OWN_MODEL.replace(
        "        self.embed = nn.Linear(64, 24)\n",
        "        self.embed = nn.Linear(64, 24)\n        self.again = nn.Linear(64, 24)\n"
        "        self.again.weight = self.embed.weight\n",
    )
    encoder = registry.load(f"python:{code(tied)}:build")
    encoder.save(tmp_path / "model")
    assert len(load_file(tmp_path / "model" / "model.safetensors")) == len(encoder.state_dict())
    assert registry.load(tmp_path / "model").fingerprint == encoder.fingerprint


def test_lazy_layers(code: Code) -> None:
    encoder = registry.load(f"python:{code(OWN_MODEL.replace('nn.Linear(64, 24)', 'nn.LazyLinear(24)'))}:build")
    assert encoder.embedding_dim == 24
    encoder.save("model")
    assert registry.load("model").fingerprint == encoder.fingerprint


def test_no_frames_and_no_export(code: Code) -> None:
    encoder = registry.load(f"python:{code(OWN_MODEL)}:build")
    assert not encoder.shows_frames
    with pytest.raises(ModelError, match=r"shows no frames, which anchor\.frame_weight pulls on: set it to 0"):
        encoder.with_frames(noise(2, 8_000))


def test_robustify_refuses_frames_before_it_does_anything(code: Code) -> None:
    from voxanchor.workflows.robustify import FRAMES, robustify

    name = code(OWN_MODEL)
    with pytest.raises(ModelError, match="shows no frames"):
        robustify(f"python:{name}:build", ["nowhere"], [], Path("out"), settings=[FRAMES])
    assert not Path("out").exists()


def test_what_the_code_prints_is_no_result(code: Code, capsys: pytest.CaptureFixture[str]) -> None:
    registry.load(f"python:{code('print(1)' + chr(10) + OWN_MODEL)}:build")
    assert capsys.readouterr() == ("", "1\n")


WRAPPED = "def build():\n    return nn.Sequential({})\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def build(size):\n    return nn.Linear(size, 2)",
            r"takes arguments, \(size\)\. Expected is a function without",
        ),
        ("def build():\n    return 1 / 0", r"raised ZeroDivisionError: division by zero \(.*own_.*\.py, line 5\)"),
        ("def build():\n    raise SystemExit", r"raised SystemExit \(.*line 5\)"),
        ("def build():\n    pass", "returned nothing. Expected is a function"),
        ("def build():\n    return {'model': 1}", "returned a dict"),
        ("build = 3", "is a int. Expected is a function"),
        ("build = nn.Linear(2, 2)", "is a Linear. Expected is a function"),
        ("def built():\n    return 1", r"has no 'build'\. Did you mean 'built'\?"),
        ("import no_such_package", r"importing own_.* raised ModuleNotFoundError.*no_such_package.*line 4"),
        ("1 / 0", r"importing own_.* raised ZeroDivisionError.*line 4"),
        ("def build(:", r"importing own_.* raised SyntaxError"),
        (WRAPPED.format("nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400)"), r"returned \(2, 4, 15601\) torch\.float32"),
        (WRAPPED.format("nn.Linear(3, 4)"), r"the module raised RuntimeError.*given waveforms \(2, 16000\)"),
        (
            WRAPPED.format("nn.Unflatten(1, (-1, 10)), nn.LSTM(10, 4, batch_first=True)"),
            "returned a tuple for waveforms",
        ),
        (WRAPPED.format("nn.LazyLinear(4), nn.Flatten(0)"), r"returned \(8,\) torch.float32 for waveforms"),
        (WRAPPED.format("nn.LazyLinear(4), nn.Threshold(9, float('nan'))"), "low noise is not finite"),
        (WRAPPED.format("nn.LazyLinear(4), nn.Threshold(9, 0)"), "low noise is all 0"),
        (WRAPPED.format("nn.LazyLinear(4), nn.Softmax(0)"), "another embedding in a batch than alone"),
        (WRAPPED.format("nn.Unflatten(1, (-1, 10)), nn.Flatten()"), "no parameters"),
        (OWN_MODEL.replace("MyModel()", "MyModel().double()"), "the module raised RuntimeError"),
        (OWN_MODEL.replace("MyModel()", "MyModel().half()"), "the module raised RuntimeError"),
        (WRAPPED.format("nn.LazyLinear(4), nn.ParameterDict({'a': 1})"), "raised"),
    ],
)
def test_what_cannot_serve_says_what_was_expected(code: Code, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        registry.load(f"python:{code(START + text)}:build")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("self.sample_rate = 44100", "sample_rate 44100 Hz. A module hears 16000 or 8000 Hz"),
        ("self.sample_rate = '16k'", "sample_rate is '16k', expected a whole number"),
        ("self.min_samples = -1", "min_samples is -1"),
        ("self.embedding_dim = 25", "says embedding_dim 25, and returned 24"),
        ("self.register_buffer('b', torch.zeros(1, dtype=torch.bfloat16))", r"'b' is torch\.bfloat16"),
        ("self.p = nn.Parameter(torch.zeros(1).double())", r"the weight 'p' is torch\.float64. Return module\.float"),
        ("type(self).get_extra_state = lambda self: 'x'", "expected a tensor"),
    ],
)
def test_attributes_and_weights_that_cannot_serve(code: Code, stated: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        registry.load(f"python:{code(OWN_MODEL.replace('super().__init__()', f'super().__init__(); {stated}'))}:build")


def test_the_error_of_the_module_is_the_cause(code: Code) -> None:
    name = code(START + "def build():\n    return 1 / 0")
    with pytest.raises(ModelError) as caught:
        registry.load(f"python:{name}:build")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_in_training_names_the_code(code: Code) -> None:
    failing = OWN_MODEL.replace(
        "        x = self.norm(x)\n", "        x = self.norm(x)\n        assert not self.training\n"
    )
    encoder = registry.load(f"python:{code(failing)}:build").train()
    with pytest.raises(
        ModelError, match=r"the module raised AssertionError \(.*own_.*line 15\), given waveforms \(2, 8000\)"
    ):
        encoder(noise(2, 8_000))


@pytest.mark.parametrize("given", ["MODEL", "nn.Sequential(MODEL)"])
def test_the_same_weights_twice_are_refused(code: Code, given: str) -> None:
    name = code(OWN_MODEL.replace("return MyModel()", f"return {given}") + "\n\nMODEL = MyModel()\n")
    encoder = registry.load(f"python:{name}:build")
    with pytest.raises(ModelError, match=r"returned the weight '.*frames.weight' a second time"):
        registry.load(f"python:{name}:build")
    encoder.copy()


def test_names_that_lead_nowhere(code: Code, tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(OWN_MODEL)
    with pytest.raises(ModelError, match=r"no module 'my_modell' in .*Did you mean 'my_model'\?"):
        registry.load("python:my_modell:build")
    with pytest.raises(ModelError, match=r"no module 'nothing\.like'"):
        registry.load("python:nothing.like:build")
    for rest in ("my_model", "my_model:", ":build", ""):
        with pytest.raises(ModelError, match="expected python:module:function, for example python:my_model:build"):
            registry.load(f"python:{rest}")
    with pytest.raises(ModelError, match=r"'my_model\.py' is a file, expected is the name of a module"):
        registry.load("python:my_model.py:build")
    with pytest.raises(ModelError, match="unknown key"):
        SpeakerEncoder(EncoderConfig("python", {"targett": "a:b"}))


def test_workers_that_load_it_by_reference(code: Code, voices_folder: Path) -> None:
    from voxanchor.workflows.embed import embed_corpus

    name = code(OWN_MODEL)
    registry.load(f"python:{name}:build").save("model")
    one = embed_corpus(f"python:{name}:build", Path("one"), speech=str(voices_folder), shard_size=16)
    two = embed_corpus(f"python:{name}:build:model", Path("two"), speech=str(voices_folder), shard_size=16, processes=2)
    assert one["embeddings"] == two["embeddings"] == 48
    assert one["model"] == two["model"]
    for shard in one["shards"]:
        first, second = (load_file(Path(folder) / shard["file"])["embeddings"] for folder in ("one", "two"))
        torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


RANDOM = "import numpy as np\n" + OWN_MODEL.replace(
    "return MyModel()",
    "model = MyModel()\n    model.embed.weight.data += float(np.random.default_rng().uniform())\n    return model",
)


def test_weights_that_are_others_in_every_call_are_noticed(code: Code, voices_folder: Path) -> None:
    from voxanchor.workflows.embed import embed_corpus
    from voxanchor.workflows.robustify import robustify

    name = code(RANDOM)
    with pytest.raises(ModelError, match="gave other weights when it was loaded again"):
        embed_corpus(f"python:{name}:build", Path("out"), speech=str(voices_folder))
    steps = ["stages.anchored.train.steps=2", "stages.anchored.train.batch_size=4", "data.voice_speeds=[]"]
    with pytest.raises(ModelError, match="gave other weights than those that the anchors were made with"):
        robustify(f"python:{name}:build", [str(voices_folder)], [], Path("robust"), settings=steps)


def test_a_resumed_run_knows_the_code_that_its_recipe_names(
    code: Code, voices_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages are finished, so nothing but the recipe names the code."""
    from voxanchor import config
    from voxanchor.training.recipe import Recipe
    from voxanchor.training.run import prepare, run_stages

    name = code(OWN_MODEL)
    step = {"start": f"python:{name}:build", "steps": 1, "batch_size": 4, "crop_s": 0.6, "validate_every": 0}
    values = {"name": "r", "data": {"speech": [{"path": str(voices_folder)}]}, "stages": {"tuned": {"train": step}}}
    recipe = config.build(Recipe, values)
    run_stages(prepare(recipe, Path("run")))
    monkeypatch.setattr(user, "_trusted", set())
    with pytest.raises(UntrustedCodeError):
        registry.load("run/tuned")
    run = prepare(recipe, Path("run"))
    assert registry.load(run.model("tuned")).fingerprint == json.loads(Path("run/tuned/done.json").read_text())["model"]
    with pytest.raises(RecipeError):
        config.build(Recipe, {**values, "encoder": {"architecture": 3}})
