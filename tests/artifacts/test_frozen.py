"""Frozen graphs: run by a Session as they are, located layer by layer, faults in the file found where they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import frozen_net
import numpy as np
import pytest
from frozen_net import BIAS, HEIGHT, KERNEL, LAYERS, WEIGHTED, WIDTH, attribute, constant, rerouted

import parity
from parity.artifacts.lifting import lifted
from parity.artifacts.tensorflow.frozen import opened
from parity.artifacts.tensorflow.rules import RULES
from parity.converters import transfer
from parity.errors import ArtifactError, UsageError
from parity.export import FORMATS, served, write
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.models import Settings, load
from parity.models.flownet import layer_map
from parity.pairs import Input, Pair
from parity.repair import repair
from parity.report import PASS, Report
from parity.verification import Verifier

Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a frozen graph; it is not to be changed."""
    return frozen_net.frozen(frozen_net.port(), tmp_path_factory.mktemp("net") / "net.pb")


def engine_of(path: Path) -> Any:
    """The engine of a file."""
    return opened(path)


def in_the_port(given: Input) -> np.ndarray[Any, Any]:
    """An input in the layout of the file."""
    return np.ascontiguousarray(given.array.transpose(0, 2, 3, 1))


def causes(report: Report) -> list[tuple[str, str]]:
    """Where something is at fault, and why."""
    return [(finding.layer, finding.cause.slug) for finding in report.findings]


# -- a faithful file ---------------------------------------------------------------------------------------------------


def test_a_faithful_graph_passes_and_every_layer_is_located_without_a_map(net: Path) -> None:
    """Layers are found by their weights and their place; the only mode is the file's, and the engine is on record."""
    report = parity.verify(frozen_net.pair(net))
    assert report.passed
    assert {name: report.coverage.matched[name] for name in WEIGHTED} == {name: LAYERS[name] for name in WEIGHTED}
    assert not report.coverage.unmatched_reference
    assert not report.coverage.unmatched_port
    assert [run.mode for run in report.runs] == ["pb"]
    assert report.environment["engine"] == f"TensorFlow {tf.__version__}, tf.compat.v1.Session"


def test_the_names_of_a_map_for_the_keras_model_are_the_taps_of_its_frozen_graph(net: Path) -> None:
    """Keras's layers are taps under their own names; a name that the file has lost is left to alignment."""
    report = parity.verify(frozen_net.pair(net, layers={**LAYERS, "relu": "a layer that no file kept"}))
    assert report.passed
    assert report.coverage.matched["relu"] == "relu1"
    assert report.coverage.reasons["deep"] == "given"
    assert report.coverage.reasons["relu"] != "given"


def test_what_is_watched_and_what_is_cut_is_what_runs(net: Path) -> None:
    """The watched output is the plain one, as far as optimisers allow, and each layer on the values before it gives its
    own, bit for bit."""
    subject = Verifier(frozen_net.pair(net)).subject(frozen_net.given())
    port, arrays = subject.port, {"input": in_the_port(frozen_net.given())}
    port.feeds = {"input": "input"}
    every = port.every_value(arrays, "pb")
    (plain,) = port.plain(arrays, "pb").values()
    np.testing.assert_allclose(every[port.output_taps["output"]], plain, rtol=1e-5)
    segments = port.segments({name: name for name in every})
    for segment, value in port.introduce(segments, {**every, **arrays}, "pb"):
        assert np.array_equal(value, every[segment.layer]), segment.layer


def test_a_graph_takes_any_size_that_it_leaves_open(net: Path) -> None:
    """The same file is verified on inputs of several batches."""
    inputs = [noise((batch, 3, HEIGHT, WIDTH), seed=batch) for batch in (1, 3)]
    report = parity.verify(frozen_net.pair(net), [*inputs, inputs[0].changed(lambda _, a: a, name="again")])
    assert report.passed
    assert [run.input for run in report.runs] == [inputs[0].name, inputs[1].name, "again"]


@pytest.mark.parametrize(
    ("shape", "said"), [((1, 3, HEIGHT, WIDTH + 2), "(any, 14, 22, 3)"), ((3, HEIGHT, WIDTH), "any, 14, 22, 3")]
)
def test_an_input_that_does_not_fit_is_one_sentence(net: Path, shape: tuple[int, ...], said: str) -> None:
    """What the file takes and what it is given are both said, and nothing is verified."""
    pair = frozen_net.pair(net, reference=torch.nn.Conv2d(3, 3, 1).eval())
    with pytest.raises(ArtifactError) as error:
        parity.verify(pair, [noise(shape, seed=0)])
    assert said in str(error.value)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)


def test_an_input_of_another_dtype_is_one_sentence(net: Path) -> None:
    """Tokens are no picture."""
    tokens = Input(name="tokens", array=np.zeros((1, 3, HEIGHT, WIDTH), np.int32))
    with pytest.raises(ArtifactError, match=r"takes 'image' as float32 .* given int32"):
        parity.verify(frozen_net.pair(net, reference=torch.nn.Hardtanh().eval()), [tokens])


# -- what is asked of it -----------------------------------------------------------------------------------------------


def test_a_mode_of_keras_is_refused(net: Path) -> None:
    """A file has one way to run; asking for another is wrong use, in one sentence."""
    with pytest.raises(UsageError, match=r"mode xla is for Keras models; .*net\.pb is run by an engine of its own"):
        parity.verify(frozen_net.pair(net), modes=("xla",))


def test_a_file_is_neither_repaired_nor_differentiated(net: Path) -> None:
    """Both say where to do it instead, or that there is nothing to do."""
    with pytest.raises(UsageError, match=r"net\.pb is a file that ships \(pb\), and is not repaired"):
        repair(frozen_net.pair(net), [frozen_net.given()])
    with pytest.raises(UsageError, match=r"gradients cannot be compared with .*: a file that ships has none"):
        parity.verify(frozen_net.pair(net), gradients=True)


def test_a_layer_of_a_file_is_explained_and_its_alignment_mapped(net: Path) -> None:
    """What there is to say of a layer, by either side's name."""
    verifier = Verifier(frozen_net.pair(net))
    explained = verifier.explain(frozen_net.given(), "pb", "deep")
    assert explained.cause is None
    assert "DepthwiseConv2D" in str(explained)
    assert verifier.alignment(frozen_net.given()).matched["up"] == "up"


def test_a_recorded_reference_judges_a_file_as_the_reference_itself_does(net: Path, tmp_path: Path) -> None:
    """The original runs once; the file is held against what was recorded."""
    pair, recording = frozen_net.pair(net), tmp_path / "net.safetensors"
    parity.record(pair, [frozen_net.given()], recording)
    faulty = frozen_net.changed(net, tmp_path / "faulty.pb", constant(KERNEL.format("down"), lambda k: 1.01 * k))
    for path, expected in ((net, []), (faulty, [("down", "scale")])):
        report = parity.verify(frozen_net.pair(path, reference=recording), [frozen_net.given()])
        assert causes(report) == expected


# -- faults in the file ------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Change, str, str]] = {
    "rows and columns of a square kernel": (
        constant(KERNEL.format("head"), lambda k: k.transpose(1, 0, 2, 3)), "head", "kernel-axes",
    ),
    "one kernel scaled": (constant(KERNEL.format("stem"), lambda k: 1.01 * k), "stem", "scale"),
    "a kernel turned round": (
        constant("net_1/up_1/conv_transpose/ReadVariableOp/resource", lambda k: k[::-1, ::-1]), "up", "kernel-flip",
    ),
    "a bias of zeros": (constant(BIAS.format("down"), np.zeros_like), "down", "bias-missing"),
    "a bias that is not added": (
        rerouted("net_1/leaky_1/LeakyRelu", "net_1/down_1/convolution"), "down", "bias-missing",
    ),
    "a slope": (attribute("net_1/leaky_1/LeakyRelu", "alpha", f=0.2), "leaky_relu", "activation-slope"),
    "padding on one side": (
        constant("net_1/pad_1/Const", lambda p: np.array([[0, 0], [0, 2], [0, 2], [0, 0]], p.dtype)), "down", "padding",
    ),
    "an epsilon": (constant("net_1/bn_1/batchnorm/add/y", lambda e: 0 * e + 0.1), "bn", "norm-epsilon"),
    "operands of a join": (
        rerouted("net_1/join_1/concat", "net_1/up_1/BiasAdd", "net_1/relu1_1/Relu"), "cat", "concat-order",
    ),
    "a factor": (constant("net_1/times_1/Cast/x", lambda x: x / 2), "mul", "scale"),
    "a dense kernel's rows": (
        constant("net_1/out_1/Cast/ReadVariableOp/resource", lambda k: k[::-1]), "out", "channel-permutation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_file_is_found_at_its_layer_with_its_cause(net: Path, tmp_path: Path, name: str) -> None:
    """The Keras model is right; only the file is not, and it is the file that is run."""
    change, layer, slug = FAULTS[name]
    report = parity.verify(frozen_net.pair(frozen_net.changed(net, tmp_path / "faulty.pb", change)))
    assert [finding.layer for finding in report.findings] == [layer]
    (finding,) = report.findings
    assert slug in finding.cause.ranked[:1], finding.cause
    assert finding.cause.residual_after is not None
    assert finding.cause.residual_after < 1e-3 * finding.error


def test_a_bias_missing_after_a_map_that_the_file_flattens_in_its_own_order(tmp_path: Path) -> None:
    """Rows that are in the order of the file's own flattening are right: only the bias is at fault."""
    torch.manual_seed(0)
    reference = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2 * 6 * 4, 7)
    ).eval()
    conv, dense = keras.layers.Conv2D(2, 3, activation="relu"), keras.layers.Dense(7)
    model = keras.Sequential([keras.Input((8, 6, 3)), conv, keras.layers.Flatten(), dense])
    conv.set_weights([reference[0].weight.detach().numpy().transpose(2, 3, 1, 0), reference[0].bias.detach().numpy()])
    kernel = reference[3].weight.detach().numpy().reshape(7, 2, 24).swapaxes(1, 2).reshape(7, -1).T
    for bias, found in ((reference[3].bias.detach().numpy(), []), (np.zeros(7), [("3", "bias-missing")])):
        dense.set_weights([kernel, bias])
        path = frozen_net.frozen(model, tmp_path / f"{len(found)}.pb")
        image = noise((2, 3, 8, 6), seed=0, low=-1, high=1)
        report = parity.verify(Pair(name="flat", reference=reference, port=path, inputs=[image]))
        assert causes(report) == found
        assert all(finding.cause.also == () for finding in report.findings)


def test_two_faults_in_a_file_are_two_findings(net: Path, tmp_path: Path) -> None:
    """Each layer is judged on the reference's values, so one fault does not hide another."""

    def both(graph: Any) -> None:
        constant(KERNEL.format("stem"), lambda k: 1.01 * k)(graph)
        attribute("net_1/leaky_1/LeakyRelu", "alpha", f=0.3)(graph)

    report = parity.verify(frozen_net.pair(frozen_net.changed(net, tmp_path / "faulty.pb", both)))
    assert causes(report) == [("stem", "scale"), ("leaky_relu", "activation-slope")]


def test_nothing_is_proven_on_a_layer_that_is_not_what_the_file_computes(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the lifted layer, unchanged, gives something else than the file's engine, the cause is unknown, and why."""
    right = RULES["LeakyRelu"]

    def wrong(step: Any, view: Any) -> Any:
        made = right(step, view)
        assert made is not None
        object.__setattr__(made, "call", keras.layers.LeakyReLU(negative_slope=0.7))
        return made

    monkeypatch.setitem(RULES, "LeakyRelu", wrong)
    change = attribute("net_1/leaky_1/LeakyRelu", "alpha", f=0.2)
    report = parity.verify(frozen_net.pair(frozen_net.changed(net, tmp_path / "faulty.pb", change)))
    (finding,) = report.findings
    assert (finding.layer, finding.cause.slug) == ("leaky_relu", "unknown")
    assert "the file's engine computes something else there than LeakyReLU" in finding.cause.detail
    assert parity.verify(frozen_net.pair(net)).passed


# -- the bias along another axis ---------------------------------------------------------------------------------------


class Up(torch.nn.Module):
    """Two convolutions; the second makes maps that are as wide as they have channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 5, 3, padding=1)
        self.up = torch.nn.ConvTranspose2d(5, 8, 4, stride=2, padding=1)

    def forward(self, x: Any) -> Any:
        """(B, 3, H, W) to (B, 8, 2 H, 2 W)."""
        return self.up(torch.nn.functional.relu(self.first(x)))


@pytest.mark.parametrize(("width", "expected", "idle"), [(4, [("up", "bias-axis")], ""), (5, [], "first"), (6, [], "")])
def test_a_bias_that_keras_adds_along_the_width_is_found_in_the_file(
    tmp_path: Path, width: int, expected: list[tuple[str, str]], idle: str
) -> None:
    """channels_first: where the output is as wide as it has channels, Keras writes the wrong axis into the graph.

    Of a plain convolution the optimiser of TensorFlow puts it right, which other engines need not do: that is told.
    """
    torch.manual_seed(5)
    reference = Up().eval()
    image = keras.Input((3, 6, width), name="image")
    options = {"padding": "same", "data_format": "channels_first"}
    x = keras.layers.ReLU(name="relu")(keras.layers.Conv2D(5, 3, name="first", **options)(image))
    model = keras.Model(image, keras.layers.Conv2DTranspose(8, 4, strides=2, name="up", **options)(x), name="net")
    transfer(reference, model, {"first": "first", "up": "up"})
    path = tmp_path / "net.pb"
    write(FORMATS["pb"], served(model, free=True), path)
    axes = parity.Axes(reference={4: "NCHW"}, port={4: "NCHW"})
    report = parity.verify(
        Pair(name="up", reference=reference, port=path, axes=axes), [noise((1, 3, 6, width), seed=1)]
    )
    assert causes(report) == expected
    told = [warning for warning in report.runs[0].warnings if "along another axis than the channels" in warning]
    assert [f"the bias of {idle} " in warning for warning in told] == [True] * bool(idle)


# -- graphs of other hands ---------------------------------------------------------------------------------------------


def by_hand(build: Callable[[Any], Any], path: Path) -> Path:
    """A graph as TensorFlow 1 writes one, of a function of its only input."""
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [None, 6, 9, 2], name="image")
        build(image)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_names_of_a_graph_by_hand_stay_as_they_are(tmp_path: Path) -> None:
    """Only where every scope has the number that Keras adds is it taken off."""

    def network(image: Any) -> None:
        for name in ("conv1", "conv1_1"):
            kernel = tf.constant(np.ones((3, 3, 2, 2), np.float32), name=f"{name}/weights")
            image = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME", name=f"{name}/Conv2D"), name=f"{name}/Relu")

    engine = opened(by_hand(network, tmp_path / "net.pb"))
    graph = lifted(engine, engine.shaped({"image:0": (1, 6, 9, 2)})).graph
    assert [node.name for node in graph.nodes] == ["conv1", "conv1/Relu", "conv1_1", "conv1_1/Relu"]


def test_outputs_are_what_nothing_reads_or_the_identities_among_these(tmp_path: Path) -> None:
    """What is left over from something else does not count where outputs are written as all tools do."""

    def two(image: Any) -> None:
        tf.abs(image, name="left")
        tf.exp(image, name="right")

    def marked(image: Any) -> None:
        tf.abs(image, name="left")
        tf.identity(tf.exp(image), name="out")

    assert list(opened(by_hand(two, tmp_path / "two.pb")).program.outputs) == ["left", "right"]
    assert list(opened(by_hand(marked, tmp_path / "marked.pb")).program.outputs) == ["out"]


class Two(torch.nn.Module):
    """Two outputs of one input."""

    def forward(self, x: Any) -> Any:
        """The exponential, and the absolute value."""
        return torch.exp(x), torch.abs(x)


def test_the_user_says_which_output_is_which(tmp_path: Path) -> None:
    """By the names of the operations; in the file's own order the two would be the other way round."""

    def two(image: Any) -> None:
        tf.abs(image, name="left")
        tf.exp(image, name="right")

    path = by_hand(two, tmp_path / "two.pb")
    given = [noise((1, 2, 6, 9), seed=0, low=-1, high=1)]
    said = Pair(name="two", reference=Two().eval(), port=path, output_map={"output[0]": "right", "output[1]": "left"})
    assert parity.verify(said, given).passed
    assert not parity.verify(Pair(name="two", reference=Two().eval(), port=path), given).passed


class Odd(torch.nn.Module):
    """An operation that parity lifts to nothing, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(2, 3, 1)
        self.second = torch.nn.Conv2d(3, 2, 1)

    def forward(self, x: Any) -> Any:
        """(B, 2, H, W) to the same."""
        return self.second(torch.asinh(self.first(x)))


def test_an_operation_that_parity_does_not_know_is_run_by_the_files_engine(tmp_path: Path) -> None:
    """It lies within a layer that is compared, and a fault behind it is found as any other."""
    torch.manual_seed(3)
    reference = Odd().eval()
    first, second = (
        [each.detach().numpy() for each in layer.parameters()] for layer in (reference.first, reference.second)
    )

    def network(factor: float) -> Callable[[Any], None]:
        def build(image: Any) -> None:
            for kernel, bias in (first, second):
                weights = tf.constant(kernel.transpose(2, 3, 1, 0))
                image = tf.nn.bias_add(tf.nn.conv2d(image, weights, 1, "VALID"), tf.constant(bias))
                image = tf.asinh(image) if kernel is first[0] else image * factor

        return build

    given = [noise((1, 2, 6, 9), seed=0, low=-1, high=1)]
    for factor, expected in ((1.0, []), (2.0, ["second"])):
        path = by_hand(network(factor), tmp_path / "net.pb")
        report = parity.verify(Pair(name="odd", reference=reference, port=path), given)
        assert [finding.layer for finding in report.findings] == expected


@pytest.mark.parametrize("lowered", [False, True])
def test_a_loop_is_one_step(tmp_path: Path, lowered: bool) -> None:
    """A recurrent layer is compared where its loop ends, in the newer form and in that of cycles."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    torch.manual_seed(2)
    reference = torch.nn.LSTM(3, 4, batch_first=True).eval()
    sequence = keras.Input((5, 3), name="sequence")
    model = keras.Model(sequence, keras.layers.LSTM(4, return_sequences=True, name="lstm")(sequence), name="net")

    class Only(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = reference

        def forward(self, x: Any) -> Any:
            return self.lstm(x)[0]

    whole = Only().eval()
    transfer(whole, model, {"lstm": "lstm"})
    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((None, 5, 3), tf.float32, name="sequence"))
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=lowered)
    path = tmp_path / "net.pb"
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    assert ("Enter" in {node.op for node in frozen_net.graph_in(path).node}) is lowered
    axes = parity.Axes(reference={3: "NLC"}, port={3: "NLC"})
    report = parity.verify(Pair(name="lstm", reference=whole, port=path, axes=axes), [noise((2, 5, 3), seed=0)])
    assert report.passed
    assert report.coverage.matched


# -- FlowNet2-SD -------------------------------------------------------------------------------------------------------


def test_all_taps_of_flownet_are_located_in_its_frozen_graph(flownet_graph: Path) -> None:
    """At least 40 were asked for; every one that the reference has is there, the 30 with weights under their names."""
    pair, given = load("flownet", Settings(port=flownet_graph, size=(64, 64), inputs=("noise",)))
    report = parity.verify(pair, given)
    assert report.passed
    assert len(report.coverage.matched) == len(layer_map())
    assert len(report.coverage.matched) >= 40
    weighted = {layer.layer: layer.port_layer for layer in report.runs[0].layers if layer.weighted}
    assert len(weighted) == 30
    assert report.runs[0].mode == "pb"
    assert weighted == {layer: layer_map()[layer] for layer in weighted}


def test_a_fault_in_the_frozen_flownet_is_found(flownet_graph: Path, tmp_path: Path) -> None:
    """Rows for columns in one kernel of 181 MB."""
    name = "flownet2sd_1/conv3_1_2/convolution/ReadVariableOp/resource"
    faulty = frozen_net.changed(
        flownet_graph, tmp_path / "faulty.pb", constant(name, lambda k: k.transpose(1, 0, 2, 3))
    )
    pair, given = load("flownet", Settings(port=faulty, size=(64, 64), inputs=("noise",)))
    report = parity.verify(pair, given)
    assert causes(report) == [("conv3_1.0", "kernel-axes")]
    assert report.runs[0].verdict != PASS
