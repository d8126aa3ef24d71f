"""Repairing: what is proven is undone in a copy, what is not is left and named, and the original stays as it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_ports as small

from parity.axes import CHANNELS_FIRST, Axes
from parity.errors import ArtifactError, RepairError, ReportFolderError, UsageError
from parity.frameworks import keras, torch
from parity.pairs import Pair
from parity.repair import Repaired, changes_in_words, repair, save
from parity.switches import allow_channels_first
from parity.verification import verify

allow_channels_first()

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves


@pytest.fixture(scope="module")
def reference() -> small.Net:
    """The small network; no test changes it."""
    return small.net()


Repair = Callable[..., tuple[Pair, Repaired]]


@pytest.fixture
def repaired(reference: small.Net) -> Repair:
    """Repair a port with these parts; the pair, and what became of it."""

    def run(**parts: Any) -> tuple[Pair, Repaired]:
        pair = small.pair(reference, small.port(reference, **parts))
        return pair, repair(pair, [small.picture()])

    return run


def causes(result: Repaired) -> dict[str, str]:
    """What was changed, as layer -> cause."""
    return {change.layer: change.cause.slug for change in result.changes}


EVERYTHING = {
    "activation": small.steep,
    "second": small.same_padding,
    "join": lambda a, b: keras.layers.Concatenate(name="join")([b, a]),
    "kernel": lambda kernel: kernel[::-1],
    "scale": 1.0,
}


# --- what is repaired ------------------------------------------------------------------------------------------------


def test_several_faults_are_undone_at_once(repaired: Repair) -> None:
    """A slope, a padding, an order, a flipped kernel and a lost factor in one port: every layer of the copy passes."""
    _, result = repaired(**EVERYTHING)
    assert causes(result) == {
        "slope": "activation-slope", "second": "padding", "cat": "concat-order", "third": "kernel-flip", "mul": "scale",
    }  # fmt: skip
    assert result.whole
    assert (result.left, result.before.passed) == ((), False)


def test_the_copy_passes_on_what_it_was_not_repaired_on(repaired: Repair) -> None:
    """The repair is of the port, not of the one input: other values pass in every mode too."""
    pair, result = repaired(**EVERYTHING)
    copy = small.pair(pair.reference, result.model)
    assert verify(copy, [small.picture(seed=7), small.picture(seed=8)]).passed


def test_a_layer_map_fits_the_copy(repaired: Repair) -> None:
    """What makes a layer's value has the same name in the copy, whatever was put before or after it."""
    pair, result = repaired(**EVERYTHING)
    assert pair.layers is not None
    assert dict(result.report.coverage.matched) == dict(pair.layers)
    assert result.model.name == pair.port.name


def test_a_faithful_port_is_not_changed(repaired: Repair) -> None:
    """Where every layer is right there is nothing to change and nothing to leave."""
    _, result = repaired()
    assert result.whole
    assert (result.changes, result.left) == ((), ())


def test_what_cannot_be_repaired_is_left_and_the_rest_is_repaired(repaired: Repair) -> None:
    """A layer that no cause describes stays at fault and is named once; the faults beside it are undone."""
    _, result = repaired(activation=lambda: small.Uneven(name="slope"), second=small.same_padding, scale=1.0)
    assert causes(result) == {"second": "padding", "mul": "scale"}
    assert [(left.layer, left.cause.slug) for left in result.left] == [("slope", "unknown")]
    assert not result.whole
    assert {finding.layer for finding in result.report.findings} == {"slope"}


@pytest.mark.parametrize("mapped", [True, False])
def test_a_factor_lost_at_the_very_end_is_found_and_repaired(reference: small.Net, *, mapped: bool) -> None:
    """Where the port ends a step too early, that step is the finding, and the copy has it."""
    port = small.port(reference)
    early = keras.Model(port.input, port.get_layer("third").output)
    pair = (
        small.pair(reference, early)
        if mapped
        else Pair(name="small", reference=reference, port=early, layers=small.LAYERS)
    )
    result = repair(pair, [small.picture()])
    assert [(finding.layer, finding.cause.slug) for finding in result.before.findings] == [("mul", "scale")]
    assert result.whole


@pytest.mark.xfail(
    strict=True, reason="a replay of pooling reads the reference's value: a tie, and pooling stands first"
)
def test_an_activation_that_is_left_out_is_put_back(reference: small.Net) -> None:
    """Both layers that read the activation lack it: that is their cause, whatever kind they are, and it is undone."""
    pair = small.pair(reference, small.port(reference, activation=lambda: keras.layers.Identity(name="none")))
    result = repair(pair, [small.picture()])
    assert [finding.cause.slug for finding in result.before.findings] == ["activation-missing"] * 2
    assert [finding.cause.tied for finding in result.before.findings] == [(), ()]
    assert not result.report.findings


def test_every_input_and_mode_counts(reference: small.Net) -> None:
    """A copy is verified on all inputs in all modes, and on one more; a layer at fault in all of them is one change."""
    pair = small.pair(reference, small.port(reference, second=small.same_padding))
    result = repair(pair, [small.picture(), small.picture(seed=1, name="other")], ("eager", "xla"))
    assert len(result.before.findings) == 4
    assert causes(result) == {"second": "padding"}
    assert [(run.input, run.mode) for run in result.report.runs] == [
        (name, mode) for name in ("noise", "other", "noise, turned round") for mode in ("eager", "xla")
    ]
    assert result.whole


def test_a_port_that_is_a_file_is_repaired_in_a_copy(reference: small.Net, tmp_path: Path) -> None:
    """A `.keras` file is read, not written: it is the same bytes after its repair."""
    file = tmp_path / "port.keras"
    small.port(reference, scale=1.0).save(file)
    before = file.read_bytes()
    assert causes(repair(small.pair(reference, file), [small.picture()])) == {"mul": "scale"}
    assert file.read_bytes() == before
    assert small.left_in(tmp_path) == ["port.keras"]


def test_no_inputs_are_refused(reference: small.Net) -> None:
    """Nothing can be repaired that nothing shows."""
    with pytest.raises(UsageError, match="no inputs given"):
        repair(small.pair(reference, small.port(reference)), [])


# --- the original ----------------------------------------------------------------------------------------------------


def state(model: Any, image: Any) -> tuple[str, list[bytes], bytes]:
    """Everything a model is: its configuration, its weights, and what it computes, bit for bit."""
    weights = [np.asarray(weight).tobytes() for weight in model.weights]
    return json.dumps(model.get_config(), default=str), weights, np.asarray(model(image)).tobytes()


@pytest.mark.parametrize("parts", [EVERYTHING, {"activation": lambda: small.Uneven(name="slope")}, {}])
def test_the_original_is_untouched(reference: small.Net, parts: dict[str, Any]) -> None:
    """Configuration, weights and output of the port are the same bits after its repair, and the reference's too."""
    port = small.port(reference, **parts)
    image = np.moveaxis(small.picture(seed=5).array, 1, -1)
    before, weights = state(port, image), [weight.clone() for weight in reference.parameters()]
    result = repair(small.pair(reference, port), [small.picture()], ("eager", "xla"))
    assert state(port, image) == before
    assert all(torch.equal(*both) for both in zip(reference.parameters(), weights, strict=True))
    shared = {id(weight) for weight in port.weights} & {id(weight) for weight in result.model.weights}
    assert not shared or not result.changes


def test_flownet_is_untouched_and_repaired() -> None:
    """The 45 million weights of a FlowNet2-SD port with two faults stay as they are; its copy passes."""
    from parity.inputs import noise
    from parity.models import Settings
    from parity.models.flownet.pair import networks, pair_from

    reference, port = networks(Settings(size=(128, 64)))
    for name in ("conv3", "deconv3"):
        kernel, bias = port.get_layer(name).get_weights()
        port.get_layer(name).set_weights([kernel[::-1].copy(), bias])
    given = noise((1, 3, 2, 64, 128), seed=3)
    image = np.einsum("bcthw->bthwc", given.array)
    before = state(port, image)
    result = repair(pair_from(reference, port), [given])
    assert state(port, image) == before
    assert causes(result) == {"conv3.0": "kernel-flip", "deconv3.0": "kernel-flip"}
    assert result.whole


# --- shared layers, modes --------------------------------------------------------------------------------------------


class Twice(torch.nn.Module):
    """One convolution that fires twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.slope = torch.nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.slope(self.shared(x)))


def test_a_shared_layer_is_repaired_once_and_stays_shared() -> None:
    """A layer that fires twice with wrong weights is one layer in the copy, with the reference's weights."""
    reference = Twice().eval()
    kernel, bias = (value.detach().numpy() for value in reference.shared.parameters())
    image = keras.Input((7, 10, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    port = keras.Model(image, shared(keras.layers.LeakyReLU(negative_slope=0.1, name="slope")(shared(image))))
    shared.set_weights([np.einsum("oihw->whio", kernel), bias])
    result = repair(Pair(name="twice", reference=reference, port=port), [small.picture(size=(7, 10))])
    assert result.whole
    assert {change.cause.slug for change in result.changes} == {"kernel-axes"}
    convolutions = [layer for layer in result.model.layers if layer.weights]
    assert len(convolutions) == 1
    np.testing.assert_array_equal(convolutions[0].get_weights()[0], np.einsum("oihw->hwio", kernel))


def bias_axis_pair(filters: int = 8, height: int = 5) -> Pair:
    """A faithful channels_first convolution, as wide as it has filters: Keras adds its bias along the width."""
    torch.manual_seed(0)
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, filters, 3, padding=1)).eval()
    image = keras.Input((3, height, filters))
    layer = keras.layers.Conv2D(filters, 3, padding="same", data_format="channels_first", name="conv")
    port = keras.Model(image, layer(image))
    weight, bias = (value.detach().numpy() for value in reference[0].parameters())
    layer.set_weights([np.einsum("oihw->hwio", weight), bias])
    axes = Axes(reference=CHANNELS_FIRST, port=CHANNELS_FIRST)
    return Pair(name="convolution", reference=reference, port=port, layers={"0": "conv"}, axes=axes)


def test_the_bias_axis_of_keras_is_repaired(tmp_path: Path) -> None:
    """The defect of Keras itself is worked around in the copy: right in every mode, and once more after loading it."""
    pair, given = bias_axis_pair(), small.picture(size=(5, 8))
    result = repair(pair, [given], ("xla",))
    if result.before.passed:
        pytest.skip(f"Keras {keras.__version__} adds the bias along the channels: the defect is gone")
    assert causes(result) == {"0": "bias-axis"}
    assert result.whole
    file = tmp_path / "fixed.keras"
    assert save(result, file, pair, [given], ("xla",)).passed
    copy = Pair(name="copy", reference=pair.reference, port=file, layers=pair.layers, axes=pair.axes)
    assert verify(copy, [given]).passed


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_file_and_its_list_of_changes_are_written(repaired: Repair, tmp_path: Path) -> None:
    """The copy is loaded, verified and put in place; beside it is what was changed, layer by layer."""
    pair, result = repaired(**EVERYTHING)
    file = tmp_path / "new" / "fixed.keras"
    assert save(result, file, pair, [small.picture()], ("eager",)).passed
    assert small.left_in(tmp_path) == ["new", "new/fixed.changes.md", "new/fixed.keras"]
    assert verify(small.pair(pair.reference, file), [small.picture(seed=9)]).passed
    text = file.with_suffix(".changes.md").read_text()
    assert text == changes_in_words(result, "small", "fixed.keras")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## slope (`slope`): activation-slope", "## second (`second`): padding", "## cat (`join`): concat-order",
        "## third (`third`): kernel-flip", "## mul (`scale`): scale",
    ]  # fmt: skip
    assert text.endswith("Verified: every layer passes.\n")


def test_the_list_names_what_is_left(repaired: Repair) -> None:
    """What could not be repaired is in the list, and the last line does not claim that all is well."""
    _, result = repaired(activation=lambda: small.Uneven(name="slope"), scale=1.0)
    text = changes_in_words(result, "small", "fixed.keras")
    assert "## Left as it is\n\n- slope (`slope`): unknown, " in text
    assert text.endswith("Verified: not every layer passes.\n")


def test_a_file_is_as_readable_as_any_other(repaired: Repair, tmp_path: Path) -> None:
    """The file has the mode that the user's mask gives, not that of a temporary file."""
    pair, result = repaired(scale=1.0)
    file = tmp_path / "fixed.keras"
    save(result, file, pair, [small.picture()], ("eager",))
    (tmp_path / "plain").touch()
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert set(modes.values()) == {modes["plain"]}


def broken_save(error: BaseException) -> Callable[..., None]:
    """What Keras does when it fails halfway: a part of the file is there."""

    def write(self: Any, path: Path, *args: Any, **kwargs: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), RepairError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_nothing_half_written_is_left(
    repaired: Repair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
) -> None:
    """Where saving fails or is interrupted there is no new file, and an old one is as it was."""
    pair, result = repaired(scale=1.0)
    file = tmp_path / "fixed.keras"
    file.write_bytes(b"an older one")
    monkeypatch.setattr(keras.Model, "save", broken_save(error))
    with pytest.raises(raised):
        save(result, file, pair, [small.picture()], ("eager",))
    assert small.left_in(tmp_path) == ["fixed.keras"]
    assert file.read_bytes() == b"an older one"


def test_a_failed_save_says_where_and_why(repaired: Repair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the file and the reason."""
    pair, result = repaired(scale=1.0)
    monkeypatch.setattr(keras.Model, "save", broken_save(OSError(28, "No space left on device")))
    with pytest.raises(RepairError, match=r"fixed\.keras: .*No space left on device"):
        save(result, tmp_path / "fixed.keras", pair, [small.picture()], ("eager",))


def test_an_interruption_while_the_file_is_verified_leaves_nothing(
    repaired: Repair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file takes its place only when it has been verified."""
    pair, result = repaired(scale=1.0)

    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("parity.repair.Verifier", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(result, tmp_path / "fixed.keras", pair, [small.picture()], ("eager",))
    assert small.left_in(tmp_path) == []


def test_a_copy_that_loads_as_something_else_is_not_written(
    repaired: Repair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose verification comes out otherwise than the copy's is refused."""
    pair, result = repaired(scale=1.0)
    faulty = pair.port
    monkeypatch.setattr(type(result.model), "save", lambda self, path: keras.saving.save_model(faulty, path))
    with pytest.raises(RepairError, match="another one after saving and loading"):
        save(result, tmp_path / "fixed.keras", pair, [small.picture()], ("eager",))
    assert small.left_in(tmp_path) == []


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file/below"])
def test_a_folder_that_cannot_be_written_is_refused(repaired: Repair, tmp_path: Path, folder: str) -> None:
    """A read-only place and a file in the way are parity's own error, in one sentence with the path."""
    pair, result = repaired(scale=1.0)
    (tmp_path / "file").touch()
    file = tmp_path / folder / "fixed.keras"
    with pytest.raises((RepairError, ReportFolderError), match=r"fixed\.keras"):
        save(result, file, pair, [small.picture()], ("eager",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(repaired: Repair, tmp_path: Path) -> None:
    """Permissions too."""
    pair, result = repaired(scale=1.0)
    tmp_path.chmod(0o500)
    with pytest.raises((RepairError, ReportFolderError), match=r"fixed\.keras"):
        save(result, tmp_path / "fixed.keras", pair, [small.picture()], ("eager",))


def test_a_port_that_is_no_model_is_refused(reference: small.Net) -> None:
    """What Keras cannot load is said in one sentence."""
    with pytest.raises(ArtifactError, match=r"cannot read nowhere\.keras"):
        repair(small.pair(reference, Path("nowhere.keras")), [small.picture()])
