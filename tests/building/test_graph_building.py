"""Whole networks: traced step by step, built with their weights, named by torch's paths, refused all at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from layers_on_trial import build, on_noise
from reloading import same_when_loaded
from zoo import ZOO, made

import parity
from parity.building import BUILDERS, builds, built
from parity.building.naming import plain_name
from parity.building.registry import _BUILDERS
from parity.building.steps import size_of
from parity.building.values import Batch
from parity.conversion import input_layouts, made_up
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case
from parity.layers import tried
from parity.models import Settings, load
from parity.models.flownet.pair import networks
from parity.models.flownet.reference import seeded
from parity.pairs import INPUT, Input

nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves


def case(name: str) -> Case:
    """A network of the zoo on noise, its inputs' axes as their readers say."""
    module = made(name)
    given = made_up(module, ZOO[name][1])
    return Case(module=module, given=given, layouts=input_layouts(module, given))


# -- whole networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ZOO)
def test_networks_as_collections_have_them(name: str, data_format: str) -> None:
    """Each layer of what is built answers to the tap of its name, and each passes."""
    found = case(name)
    port = built(found.module, found.given, found.layouts, data_format)
    report = parity.verify(port.pair(name), [found.given], modes=("eager",))
    assert report.passed, report.findings or report.coverage
    assert report.coverage.weighted > 0
    given = {layer for layer, why in report.coverage.reasons.items() if why == "given"}
    inside = {layer for layer in report.coverage.matched if ".layers." in layer}  # of a kind that has layers of its own
    assert given | inside == set(report.coverage.matched)


@pytest.mark.parametrize("name", ["siamese", "vision transformer", "text"])
def test_networks_survive_a_file_and_compilers(name: str, tmp_path: Path) -> None:
    """Their files need Keras alone; as a graph and compiled they are the same."""
    found = case(name)
    assert same_when_loaded(found, "channels_last", tmp_path)
    for mode in ("graph", "xla"):
        assert all(outcome.passed for outcome in tried(found, "channels_last", mode).values())


@pytest.mark.parametrize(
    "name", ["mlp", "residual", "depthwise", "unet", "upscaler", "encoder", "tagger"]
)  # fmt: skip
def test_the_small_networks_of_the_benchmark(name: str) -> None:
    """The references of the small networks are converted, and pass, at the pairs' own inputs."""
    pair, (given,) = load(name, Settings())
    module = pair.reference()
    port = built(module, given, {INPUT: pair.axes.of(INPUT, given.array.ndim)[0]})
    report = parity.verify(port.pair(name), [given], modes=("eager",))
    assert report.passed, report.findings or report.coverage


@pytest.mark.parametrize("data_format", FORMATS)
def test_flownet_equals_the_port_by_hand(data_format: str) -> None:
    """FlowNet2-SD converted gives the flow of the hand-written port, within the rounding of both. At 192 pixels Keras
    adds no bias along the width."""
    size = (192, 64)
    reference, port = networks(Settings(size=size, data_format=data_format))
    pictures = (parity.inputs.noise((1, 3, 2, 64, 192)), parity.inputs.motorcycle(size))
    found = built(reference, pictures[0], {INPUT: "NCTHW"}, data_format)
    assert len(found.layers) == 59
    assert found.model.count_params() == port.count_params() == 45_371_666
    for given in pictures:
        frames = given.array if data_format == "channels_first" else np.transpose(given.array, (0, 2, 3, 4, 1))
        ours, theirs = (np.asarray(model(frames), np.float64) for model in (found.model, port))
        assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)) < 5e-6


def test_flownet_passes_layer_by_layer() -> None:
    """Every layer of the converted FlowNet2-SD is within the noise floor of torch, on pixels."""
    given = parity.inputs.motorcycle((64, 64))
    report = parity.verify(built(seeded(0), given, {INPUT: "NCTHW"}).pair("flownet"), [given], modes=("eager",))
    assert report.passed
    assert len(report.coverage.matched) == 59
    assert not report.coverage.unmatched_port


# -- names and weights -------------------------------------------------------------------------------------------------


def layers(module: nn.Module, shape: tuple[int, ...] = (2, 3, 5, 7)) -> Any:
    """The model of a module."""
    found = on_noise(module, shape)
    return built(found.module, found.given, found.layouts).model


def test_layers_have_torchs_paths() -> None:
    """A layer is called by its path, an operation by torch's name with the number of its call; pads by their layer."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.body(x) + 1
            return (x + 2).mean(1)

    assert [each.name for each in layers(Net()).operations] == [
        "input", "body.0_pad", "body.0", "body.1", "add", "add_2", "mean",
    ]  # fmt: skip


def test_names_do_not_depend_on_what_was_built_before() -> None:
    """Keras numbers what has no name in each process; a second conversion has the names of the first."""
    first, second = (layers(made("shufflenet"), (2, 3, 6, 10)) for _ in range(2))
    assert [each.name for each in first.operations] == [each.name for each in second.operations]
    assert plain_name("_blocks.0.cat#2") == "blocks.0.cat_2"


def test_a_module_that_is_called_twice_is_one_layer() -> None:
    """Its weights are there once, and both calls are compared."""
    port = built(*_parts(case("pyramid")))
    assert [each.name for each in port.model.layers].count("head") == 1
    assert {"head", "head#2"} <= set(port.layers)
    assert port.model.count_params() == sum(each.numel() for each in made("pyramid").parameters())


def _parts(found: Case) -> tuple[Any, ...]:
    return found.module, found.given, found.layouts


def test_parameters_are_weights() -> None:
    """What a module multiplies by is a weight of the model, that can be trained; a buffer is a constant."""
    port = built(*_parts(case("vision transformer")))
    assert {"token", "positions", "scale.gamma"} <= {each.name for each in port.model.layers}
    assert port.model.count_params() == sum(each.numel() for each in made("vision transformer").parameters())
    decoder = built(*_parts(case("decoder")))
    assert decoder.model.count_params() == sum(each.numel() for each in made("decoder").parameters())


def test_any_batch_is_taken() -> None:
    """A model built for two samples takes one and five."""
    found = case("vision transformer")
    port = built(*_parts(found))
    image = np.random.default_rng(0).standard_normal((5, 3, 12, 16)).astype(np.float32)
    with torch.no_grad():
        expected = found.module(torch.from_numpy(image)).numpy()
    for count in (1, 5):
        actual = np.asarray(port.model(np.transpose(image[:count], (0, 2, 3, 1))))
        np.testing.assert_allclose(actual, expected[:count], rtol=1e-4, atol=1e-5)


def test_a_network_of_one_batch_keeps_it() -> None:
    """A view that names the batch works for that batch only, in torch and in the model."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(2, -1) * 2

    found = on_noise(Net(), (2, 3, 5, 7))
    port = built(*_parts(found))
    assert not port.free
    assert port.model.input_shape == (2, 5, 7, 3)


def test_sizes_that_follow_the_batch_are_told_from_numbers() -> None:
    """A size is a number, a multiple of the batch, or neither."""
    assert size_of((6, 6), 2) == 6
    assert size_of((6, 9), 2) == Batch(3)
    assert size_of((3, 4), 2) is None


def test_what_is_none_is_left_out() -> None:
    """A module that returns None among tensors is a model of the tensors, each compared with its own."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
            y = self.conv(x)
            return None, y, None, y.mean((2, 3))

    found = on_noise(Net(), (2, 3, 5, 7))
    report = parity.verify(built(*_parts(found)).pair("net"), [found.given], modes=("eager",))
    assert report.passed


# -- kinds of a user's -------------------------------------------------------------------------------------------------


class Polynomial(nn.Module):
    """A layer that no library has, with Python that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(x).all():
            raise ValueError("not finite")
        return self.factors[0] * x + self.factors[1] * x * x


class WithPolynomial(nn.Module):
    """A network that has one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bend = Polynomial()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bend(self.conv(x)).mean(1)


def test_a_kind_of_the_users_is_a_step() -> None:
    """Without a builder, the line that cannot be traced is named; with one, the module is built by it."""
    found = on_noise(WithPolynomial(), (2, 3, 6, 8))
    with pytest.raises(ConversionError, match=r"bend \(.*isfinite.*decides by the values of a tensor"):
        built(*_parts(found))
    builds(Polynomial, layout="any")(
        lambda layer, site, x: x * layer.factors[0].item() + x * x * layer.factors[1].item()
    )
    try:
        assert Polynomial in BUILDERS
        port = built(*_parts(found))
        assert "bend" in port.layers
        assert all(outcome.passed for outcome in tried(found, "channels_last").values())
    finally:
        del _BUILDERS[Polynomial]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_builder_that_makes_another_size_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a builder makes has torch's sizes, or the step is refused by its path, before anything is compared."""
    wrong = replace(BUILDERS[nn.ReLU], function=lambda layer, site, x: x[:, 1:] * 2)
    monkeypatch.setitem(_BUILDERS, nn.ReLU, wrong)
    with pytest.raises(ConversionError, match=r"1 \(torch.nn.ReLU\): its builder makes \(N, 5, 4, 7\).*\(N, 5, 5, 7\)"):
        build(on_noise(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU()), (2, 3, 5, 7)))


def test_all_that_cannot_be_converted_is_said_at_once() -> None:
    """Each step without a builder, each that a builder refuses, by its path and kind; those between them are passed."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.threshold = nn.RReLU()
            self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.FractionalMaxPool2d(2, output_ratio=0.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.lgamma(self.stem(x).double())
            return self.head(y.float() * x.shape[0])

    found = on_noise(Net(), (2, 3, 6, 8))
    with pytest.raises(ConversionError) as refused:
        built(*_parts(found))
    lines = str(refused.value).splitlines()
    assert lines[0] == "4 steps cannot be converted; nothing was built:"
    assert "Tensor.double" in lines[1]
    assert "float64" in lines[1]
    assert "lgamma (torch.lgamma): No builder" in lines[2]
    assert "mul" in lines[3]
    assert "size of the batch" in lines[3]
    assert "head.1 (torch.nn.FractionalMaxPool2d): No builder" in lines[4]


class Traced(nn.Module):
    """A convolution, and a function of its result and the module that torch.fx may not follow."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.conv(x))


def _decides(y: torch.Tensor) -> torch.Tensor:
    return y if y.sum() > 0 else -y


def _writes(y: torch.Tensor) -> torch.Tensor:
    y[:, 0] = 0
    return y


def _writes_into_a_view(y: torch.Tensor) -> torch.Tensor:
    y[:, 0].mul_(2)
    return y


def _loops(y: torch.Tensor) -> torch.Tensor:
    return torch.stack([each * 2 for each in y])


def _counts(y: torch.Tensor) -> torch.Tensor:
    return y * len(y)


def _breaks(y: torch.Tensor) -> torch.Tensor:
    return y.numpy()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (_decides, "decides by the values of a tensor"),
        (_writes, "writes into a part of a tensor"),
        (_writes_into_a_view, "writes into the memory of conv, which is returned after it"),
        (_loops, "loops over the batch"),
        (_counts, "takes its length"),
        (_breaks, "leaves torch for NumPy"),
        (lambda y: y * 2 if y.shape[0] > 8 else y, "decides, or counts, by the size of the batch"),
        (lambda y: y[: y.shape[0] // 2], "decides, or counts, by the size of the batch"),
        (lambda y: y * y.max().item(), "takes a number of the values"),
        (lambda y: y * (2 if y.mean().item() * 2 < 9 else 1), "by the size of the batch"),
        (lambda y: 3, "returns 3"),
        (lambda y: (y, y.shape[0]), "returns something of type int, which is no tensor"),
        (lambda y: torch.nn.utils.rnn.pack_padded_sequence(y[0, 0], torch.full((6,), y.shape[3])), "cannot be traced"),
    ],
)
def test_what_cannot_be_traced_is_named_with_its_line(function: Any, why: str) -> None:
    """The sentence says what stopped the trace, and in which line."""
    found = on_noise(Traced(function), (2, 3, 6, 8))
    with pytest.raises(ConversionError, match=why) as refused:
        built(*_parts(found))
    assert "test_graph_building.py, line" in str(refused.value) or "conv" in str(refused.value) or "returns" in why


class Keeping(nn.Module):
    """A module that keeps what it computes, and writes into its buffer where it is told to; its input is changed."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.seen: torch.Tensor | None = None
        self.writes = writes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = x
        x += 1
        self.seen = self.conv(before)
        if self.writes:
            self.calls += 1
        return self.seen * self.calls.clamp(1, 2)


def test_what_a_module_writes_into_its_buffers_is_refused() -> None:
    """Such a module is another after each call; the sentence names the buffer."""
    with pytest.raises(ConversionError, match="it writes into calls; a module that is another after each call"):
        built(*_parts(on_noise(Keeping(writes=True), (2, 3, 6, 8))))


def test_a_module_keeps_nothing_of_a_trace() -> None:
    """What its Python keeps is torch's own, nothing of the trace; what it does in place is done in the port, too."""
    found = on_noise(Keeping(writes=False), (2, 3, 6, 8))
    built(*_parts(found))
    assert isinstance(found.module.seen, torch.Tensor)
    assert all(outcome.passed for outcome in tried(found).values())


@pytest.mark.parametrize("number", [lambda n: n > 0, lambda n: n * 6 % 3, lambda n: n == n, lambda n: n * 4 // n])
def test_numbers_that_hold_for_any_batch_decide(number: Any) -> None:
    """A number of the batch that is the same whatever the batch is may decide, and count."""
    found = on_noise(Traced(lambda y: y * 2 + int(number(y.shape[0]))), (2, 3, 6, 8))
    assert built(*_parts(found)).free


class Twice(NamedTuple):
    """A value, and another."""

    first: torch.Tensor
    second: torch.Tensor


@pytest.mark.parametrize(
    "function", [lambda y: Twice(y, y * 2), lambda y: (Twice(y, y * 2).second, Twice(y.flatten(1).max(1).values, y))]
)
def test_named_tuples_are_tuples(function: Any) -> None:
    """They may be returned, and be made on the way."""
    assert all(outcome.passed for outcome in tried(on_noise(Traced(function), (2, 3, 6, 8))).values())


class Bare(nn.Module):
    """A convolution whose weight is a parameter of the network itself, and is scaled: to a run, one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight * torch.rsqrt(self.weight.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8)
        return torch.relu(F.conv2d(x, weight, padding=1))


def test_a_network_without_layers_is_compared_as_one() -> None:
    """What it returns is all that a run names of it."""
    found = on_noise(Bare(), (2, 3, 6, 8))
    report = parity.verify(built(*_parts(found)).pair("bare"), [found.given], modes=("eager",))
    assert report.passed, report.coverage


class Idle(nn.Module):
    """A network with layers that have no part in what it returns, and one that reads none of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.last = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.places = nn.Embedding(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        self.last(y)
        steps = y.flatten(2).transpose(1, 2)
        self.attention(steps, steps, steps)
        return y + self.places(torch.arange(4))[..., None]


def test_layers_without_a_part_in_the_output_are_waived() -> None:
    """They run in torch and are not in the port: that is said of each, and the rest is compared."""
    found = on_noise(Idle(), (2, 3, 6, 8))
    pair = built(*_parts(found)).pair("idle")
    assert {"last.0", "last.1", "places"} < set(pair.waived)
    report = parity.verify(pair, [found.given], modes=("eager",))
    assert report.passed
    assert set(report.coverage.matched) == {"conv", "add"}


def test_torch_is_left_as_it_was() -> None:
    """After a trace, refused or not, torch's functions and the module have nothing of it."""
    own = torch.zeros, nn.Module.__call__
    module = on_noise(Traced(lambda y: y + torch.tensor(2.0)), (2, 3, 6, 8))
    before = set(vars(module.module))
    built(*_parts(module))
    with pytest.raises(ConversionError):
        built(*_parts(on_noise(Traced(_decides), (2, 3, 6, 8))))
    assert (torch.zeros, nn.Module.__call__) == own
    assert set(vars(module.module)) == before


def test_an_activation_in_place_is_seen_by_all_who_read_its_input() -> None:
    """`relu_(y)` without an assignment changes y, and what is read of it afterwards."""

    def inplace(y: torch.Tensor) -> torch.Tensor:
        F.relu_(y)
        F.leaky_relu(y, 0.2, inplace=True)
        y.add_(1)
        return y

    assert all(outcome.passed for outcome in tried(on_noise(Traced(inplace), (2, 3, 6, 8)), "channels_last").values())


def test_inputs_by_name_and_in_structures() -> None:
    """Arrays in tuples and keywords are inputs of the model, each answering to its own."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, images: Any, *, scale: torch.Tensor, flag: bool = True) -> torch.Tensor:
            first, second = images
            y = self.conv(first) * scale[:, None, None, None]
            return y - self.conv(second) if flag else y

    generator = np.random.default_rng(0)
    images = tuple(np.asarray(generator.standard_normal((2, 3, 5, 7)), np.float32) for _ in range(2))
    given = Input(name="two", args=(images,), kwargs={"scale": np.asarray([2.0, 3.0], np.float32)})
    layouts = {"input[0][0]": "NCHW", "input[0][1]": "NCHW", "input.scale": "N"}
    port = built(Net().eval(), given, layouts)
    assert len(keras.tree.flatten(port.model.input)) == 3
    report = parity.verify(port.pair("two"), [given], modes=("eager",))
    assert report.passed


class Padded(nn.Module):
    """Attention that does not look at some tokens, and is asked for its weights: in Keras, of several layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> Any:
        steps = self.embedding(tokens)
        return self.attention(steps, steps, steps, key_padding_mask=tokens == 3)[0].mT.to(steps.mT.dtype)


def test_layers_of_which_one_module_is_built_answer_to_none() -> None:
    """The whole is compared, and nothing is said to be left over."""
    module = Padded().eval()
    given = made_up(module, (2, 9))
    report = parity.verify(built(module, given, {INPUT: "NL"}).pair("padded"), [given], modes=("eager",))
    assert report.passed, report.coverage


class Parts(nn.Module):
    """A convolution of an image's channels, each scaled by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor) -> Any:
        return self.conv(torch.cat([torch.unsqueeze(image[:, i], 1) * (i + 1) for i in range(3)], 1))


def test_an_image_that_is_read_by_parts_has_its_channels_last() -> None:
    """Its first axis after the batch is the channels, whatever a part of it is for those that read that."""
    module = Parts().eval()
    assert input_layouts(module, made_up(module, (2, 3, 6, 8))) == {INPUT: "NCHW"}
