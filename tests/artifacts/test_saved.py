"""SavedModels: run by the signature that they are served with, seen through a frozen copy of it."""

from pathlib import Path
from typing import Any

import frozen_net
import numpy as np
import pytest
from frozen_net import HEIGHT, LAYERS, WEIGHTED, WIDTH

import parity
from parity.artifacts.tensorflow.saved import opened
from parity.errors import ArtifactError
from parity.export import FORMATS, served, write
from parity.frameworks import tf


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a SavedModel; it is not to be changed."""
    path = tmp_path_factory.mktemp("net") / "net.saved_model"
    write(FORMATS["saved_model"], served(frozen_net.port(), free=True), path)
    return path


def test_a_faithful_saved_model_passes_layer_by_layer(net: Path) -> None:
    """Every layer with weights is located; the report says that layers are those of a frozen copy."""
    report = parity.verify(frozen_net.pair(net))
    assert report.passed
    assert {name: report.coverage.matched[name] for name in WEIGHTED} == {name: LAYERS[name] for name in WEIGHTED}
    assert [run.mode for run in report.runs] == ["saved_model"]
    assert "frozen copy of the signature 'serving_default'" in report.settings["seen"]
    assert report.environment["engine"] == f"TensorFlow {tf.__version__}, tf.saved_model.load"


def test_a_fault_in_a_saved_model_is_found(tmp_path: Path) -> None:
    """What is wrong in the model that was saved is found in what was saved."""
    model = frozen_net.port()
    layer = model.get_layer("down")
    layer.set_weights([1.01 * layer.get_weights()[0], layer.get_weights()[1]])
    write(FORMATS["saved_model"], served(model), tmp_path / "faulty")
    report = parity.verify(frozen_net.pair(tmp_path / "faulty"), [frozen_net.given().changed(lambda _, a: a[:1])])
    assert [(finding.layer, finding.cause.slug) for finding in report.findings] == [("down", "scale")]


def test_what_runs_whole_is_the_signature_and_not_the_copy(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the two different, a run would tell: what is watched is held against what is not."""
    engine: Any = opened(net)
    right = engine._signature
    monkeypatch.setattr(engine, "_signature", lambda **given: {k: v + 1 for k, v in right(**given).items()})
    given = {"image:0": np.zeros((1, HEIGHT, WIDTH, 3), np.float32)}
    given = dict.fromkeys(engine.program.inputs.values(), given["image:0"])
    (whole,) = engine.whole(given).values()
    (seen,) = engine.watched(given, list(engine.program.outputs.values())).values()
    np.testing.assert_allclose(whole, seen + 1, rtol=1e-6)


class Served(tf.Module):  # type: ignore[misc]
    """Two functions of a map."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def doubled(self, x: Any) -> Any:
        """Twice the map."""
        return {"twice": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def squared(self, x: Any) -> Any:
        """Its square."""
        return {"square": x * x}


def saved(folder: Path, *names: str) -> Path:
    """A SavedModel of these signatures."""
    module = Served()
    tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in names} or None)
    return folder


def test_the_only_signature_is_taken_whatever_its_name(tmp_path: Path) -> None:
    """Nobody has to call it serving_default."""
    engine = opened(saved(tmp_path / "one", "squared"))
    assert list(engine.program.outputs) == ["square"]
    assert engine.program.format == "saved_model"


@pytest.mark.parametrize(
    ("names", "said"),
    [(("doubled", "squared"), "has the signatures doubled, squared, and none called serving_default"),
     ((), "has no signature to be run by")],
)  # fmt: skip
def test_a_saved_model_of_no_clear_signature_is_refused(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    """In one sentence, which names those that there are."""
    with pytest.raises(ArtifactError, match=said):
        opened(saved(tmp_path / "some", *names))


def test_a_folder_that_tensorflow_cannot_load_is_one_sentence(net: Path, tmp_path: Path) -> None:
    """Its variables are gone."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes((net / "saved_model.pb").read_bytes())
    with pytest.raises(ArtifactError) as error:
        opened(tmp_path)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3
