"""Models are found by name, and listing them is cheap."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from parity import models
from parity.errors import UnknownModelError, UsageError
from parity.models import MODELS, Settings, load, names, register


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that a test may add to."""
    monkeypatch.setattr(models, "_MODELS", dict(models._MODELS))


def test_listing_loads_no_framework() -> None:
    """In a fresh process, importing the registry and listing the models imports neither torch nor TensorFlow."""
    program = (
        "import sys, parity.models; assert 'flownet' in parity.models.names(); "
        "print([name for name in ('torch', 'tensorflow', 'keras') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_flownet_is_registered() -> None:
    """The seed's network is known, with one line about it."""
    assert "flownet" in names()
    assert "FlowNet2-SD" in MODELS["flownet"].description


def test_small_networks_are_registered() -> None:
    """So are the small networks, each with a line of its own and a builder that can be imported."""
    small = [name for name, entry in MODELS.items() if entry.builder.startswith("parity.models.small.")]
    assert small == ["residual", "unet", "depthwise", "mlp", "upscaler", "tagger", "encoder"]
    assert len({MODELS[name].description for name in small}) == len(small)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flownett", "no model is called 'flownett'; did you mean 'flownet'. known models: .*flownet"),
        ("zebra", "no model is called 'zebra'; known models: .*flownet"),
    ],
)
def test_unknown_names_list_the_known(name: str, message: str) -> None:
    """A name that is not registered gives the known ones, and the nearest where one is near."""
    with pytest.raises(UnknownModelError, match=message):
        load(name)


@pytest.mark.usefixtures("own_registry")
def test_registering_twice_is_an_error() -> None:
    """A second model of a name is refused, and the first one's builder named."""
    with pytest.raises(UsageError, match=r"'flownet' is registered already, as parity\.models\.flownet:build"):
        register("flownet", "another", "elsewhere:build")


@pytest.mark.usefixtures("own_registry")
def test_builder_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder that was registered is imported on loading, and called with the settings as they are."""
    module = types.ModuleType("toy_models")
    module.build = lambda settings: ("pair", [settings])  # type: ignore[attr-defined]
    register("toy", "a toy", "toy_models:build")
    with pytest.raises(ModuleNotFoundError):
        load("toy")
    monkeypatch.setitem(sys.modules, "toy_models", module)
    settings = Settings(seed=5, checkpoint=Path("weights.pth"))
    assert load("toy", settings) == ("pair", [settings])
    assert load("toy") == ("pair", [Settings()])


def test_models_cannot_be_changed_in_passing() -> None:
    """The mapping of models is read-only: `register` is the only way in."""
    with pytest.raises(TypeError):
        MODELS["flownet"] = None  # type: ignore[index]


def test_wrong_settings_are_refused() -> None:
    """A size of nothing and an unknown data format are refused with their values."""
    with pytest.raises(UsageError, match=r"size=\(0, 64\): width and height must be positive"):
        Settings(size=(0, 64))
    with pytest.raises(UsageError, match="data_format='NCHW'; give one of channels_first, channels_last"):
        Settings(data_format="NCHW")
