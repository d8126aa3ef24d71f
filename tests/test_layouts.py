"""Axes follow from the layers: each reference's tensors, moved as derived, have the shapes of a port built by hand."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, Axes, move
from parity.errors import PairError
from parity.frameworks import keras, torch
from parity.layouts import derived, derived_for, in_format_of, layouts
from parity.layouts.letters import broadcast, fresh, inserted, merged, reshaped
from parity.models.small import NETWORKS
from parity.pairs import Input, Pair
from parity.runners.calls import Call, Read
from parity.runners.torch_module import TorchModule

nn, functional, layers, ops = torch.nn, torch.nn.functional, keras.layers, keras.ops
Made = Mapping[str, Any]


class Network(nn.Module):
    """A network whose forward is a function of it and its inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._run = forward
        for name, part in parts.items():
            setattr(self, name, part)
        self.eval()

    def forward(self, *arrays: torch.Tensor) -> Any:
        """What the function makes of them."""
        return self._run(self, *arrays)


def floats(*shapes: tuple[int, ...]) -> Input:
    """Noise of these shapes, in the reference's layout."""
    generator = np.random.default_rng(0)
    return Input(name="noise", args=tuple(generator.random(shape, dtype=np.float32) for shape in shapes))


def tokens(*shape: int) -> Input:
    """Tokens below 11."""
    return Input(name="tokens", array=np.random.default_rng(0).integers(11, size=shape))


def axes_of(reference: nn.Module, given: Input, axes: Any = None) -> Axes:
    """The axes derived for a run."""
    pair = Pair(name="net", reference=reference, port=None, axes=axes if axes is not None else Axes())
    return derived_for(pair, TorchModule(reference), given).axes


def layouts_of(reference: nn.Module, given: Input, *names: str, axes: Any = None) -> list[tuple[str, str]]:
    """The layouts of some taps or inputs on either side."""
    found = axes_of(reference, given, axes).by_name
    return [found[name] for name in names]  # type: ignore[misc]


def check(reference: nn.Module, given: Input, port: Made, axes: Any = None) -> None:
    """Every tensor of the port, by the name of the tap it answers to, has the shape of the reference's value, moved."""
    found = axes_of(reference, given, axes)
    values = TorchModule(reference).values(given, port)
    shapes = {name: move(value, *found.of(name, value.ndim)).shape[1:] for name, value in values.items()}
    assert shapes == {name: tuple(tensor.shape)[1:] for name, tensor in port.items()}


# -- images -----------------------------------------------------------------------------------------------------------


def test_an_image_network() -> None:
    """Convolutions, pooling and norms have channels first, what is flattened has none but channels."""
    reference = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 5)
    )
    x = keras.Input((6, 8, 3))
    conv = layers.Conv2D(4, 3)(x)
    pool = layers.MaxPooling2D(2)(conv)
    flat = layers.Flatten()(pool)
    port = {"input": x, "0": conv, "1": conv, "2": conv, "3": pool, "4": flat, "5": layers.Dense(5)(flat)}
    check(reference.eval(), floats((2, 3, 6, 8)), port)


def test_a_unet_with_a_skip() -> None:
    """What is concatenated along dim 1 has the axes of its parts, and so has what is enlarged."""
    reference = Network(
        lambda m, x: m.out(torch.cat([m.first(x), functional.interpolate(m.down(x), scale_factor=2.0)], 1)),
        first=nn.Conv2d(3, 4, 1),
        down=nn.Conv2d(3, 5, 2, stride=2),
        out=nn.Conv2d(9, 2, 1),
    )
    x = keras.Input((6, 8, 3))
    first, down = layers.Conv2D(4, 1)(x), layers.Conv2D(5, 2, strides=2)(x)
    resized = layers.UpSampling2D(2)(down)
    both = layers.Concatenate()([first, resized])
    port = {"input": x, "down": down, "interpolate": resized, "cat": both, "out": layers.Conv2D(2, 1)(both)}
    check(reference, floats((2, 3, 6, 8)), port)


def test_volumes() -> None:
    """A Conv3d has frames, height and width after its channels."""
    reference = nn.Sequential(nn.Conv3d(2, 3, 3), nn.MaxPool3d((1, 2, 2)), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    x = keras.Input((5, 6, 8, 2))
    conv = layers.Conv3D(3, 3)(x)
    pool = layers.MaxPooling3D((1, 2, 2))(conv)
    mean = layers.GlobalAveragePooling3D(keepdims=True)(pool)
    port = {"input": x, "0": conv, "1": pool, "2": mean, "3": layers.Flatten()(mean)}
    check(reference.eval(), floats((2, 2, 5, 6, 8)), port)


def test_global_pooling_and_a_gate_of_channels() -> None:
    """A mean over dims 2 and 3 leaves channels; with two new axes these are a map of one pixel, channels last."""
    reference = Network(lambda m, x: m.conv(x) * m.gate(m.conv(x).mean((2, 3)))[:, :, None, None],
                        conv=nn.Conv2d(3, 4, 1), gate=nn.Linear(4, 4))  # fmt: skip
    x = keras.Input((5, 7, 3))
    conv = layers.Conv2D(4, 1)(x)
    mean = ops.mean(conv, (1, 2))
    gate = ops.reshape(layers.Dense(4)(mean), (-1, 1, 1, 4))
    check(reference, floats((2, 3, 5, 7)), {"mean": mean, "getitem": gate, "mul": conv * gate})


def test_a_channel_shuffle() -> None:
    """Channels that are split into groups before the pixels are split after them in the port."""

    def shuffled(net: Any, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        return net.conv(x.view(batch, 3, 2, height, width).transpose(1, 2).reshape(batch, channels, height, width))

    x = keras.Input((5, 7, 6))
    groups = ops.reshape(x, (-1, 5, 7, 3, 2))
    across = ops.transpose(groups, (0, 1, 2, 4, 3))
    port = {"input": x, "view": groups, "transpose": across, "reshape": ops.reshape(across, (-1, 5, 7, 6))}
    check(Network(shuffled, conv=nn.Conv2d(6, 4, 1)), floats((2, 6, 5, 7)), port)


def test_a_pixel_shuffle_by_hand() -> None:
    """Parts of the channels that are moved between the pixels stay there, and merge with them."""

    def shuffled(net: Any, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = (x := net.conv(x)).shape
        x = x.view(batch, 3, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(batch, 3, 2 * height, 2 * width)

    conv = layers.Conv2D(12, 1)(keras.Input((5, 7, 3)))
    parts = ops.reshape(conv, (-1, 5, 7, 3, 2, 2))
    mixed = ops.transpose(parts, (0, 1, 4, 2, 5, 3))
    port = {"conv": conv, "view": parts, "permute": mixed, "reshape": ops.reshape(mixed, (-1, 10, 14, 3))}
    check(Network(shuffled, conv=nn.Conv2d(3, 12, 1)), floats((2, 3, 5, 7)), port)


def test_frames_that_are_stacked_and_views_that_are_not() -> None:
    """Maps stacked after their channels are frames; maps of a batch of views have their channels last, view by view."""
    stacked = Network(lambda m, a, b: m.conv(torch.stack([a, b], 2)), conv=nn.Conv3d(3, 4, (2, 1, 1)))
    assert layouts_of(stacked, floats((2, 3, 5, 7), (2, 3, 5, 7)), "stack") == [("NCTHW", "NTHWC")]
    views = Network(lambda m, x: m.conv(x.flatten(0, 1)).mean((2, 3)), conv=nn.Conv2d(3, 4, 1))
    (source, target), *rest = layouts_of(views, floats((2, 6, 3, 5, 7)), "input", "flatten", "mean")
    assert [source.index(letter) for letter in target] == [0, 1, 3, 4, 2]
    assert rest == [("NCHW", "NHWC"), ("NC", "NC")]


def test_channels_first_ports() -> None:
    """A port of channels_first has its images as torch has, and its sequences as well."""
    axes = Axes(port=CHANNELS_FIRST)
    assert layouts_of(nn.Conv2d(3, 4, 1).eval(), floats((2, 3, 5, 7)), "input", axes=axes) == [("NCHW", "NCHW")]
    assert layouts_of(nn.GRU(3, 4).eval(), floats((5, 2, 3)), "input", axes=axes) == [("LNC", "NLC")]


@pytest.mark.parametrize("formats", [("channels_first",) * 2, ("channels_first", "channels_last")])
def test_a_port_says_its_format(formats: tuple[str, str]) -> None:
    """Images have their channels first where all layers that see images say so, however deep they are in the port."""
    conv, pool = (
        kind(2, data_format=each) if kind is layers.MaxPooling2D else kind(4, 3, data_format=each)
        for kind, each in zip((layers.Conv2D, layers.MaxPooling2D), formats, strict=True)
    )
    inner = keras.Sequential([conv])
    port = keras.Sequential([inner, layers.ReLU(), pool, layers.Flatten()])
    pair = in_format_of(Pair(name="net", reference=None, port=None), port)
    assert pair.axes.channels_last == (formats[1] == "channels_last")
    declared = Axes(port={4: "NWHC"})
    assert in_format_of(Pair(name="net", reference=None, port=None, axes=declared), port).axes == declared


def test_a_map_that_a_dense_layer_works_on() -> None:
    """Channels brought to the end for a LayerNorm and a Linear, and back, are last in the port all the way."""
    reference = Network(
        lambda m, x: x + m.narrow(torch.relu(m.widen(m.norm(m.deep(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2),
        deep=nn.Conv2d(4, 4, 1),
        norm=nn.LayerNorm(4),
        widen=nn.Linear(4, 6),
        narrow=nn.Linear(6, 4),
    )
    x = keras.Input((5, 7, 4))
    wide = layers.Dense(6)(x)
    port = {"input": x, "permute": x, "norm": x, "widen": wide, "relu": wide, "narrow": x, "permute#2": x, "add": x}
    check(reference, floats((2, 4, 5, 7)), port)


# -- sequences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_tagger(batch_first: bool) -> None:
    """Tokens, their embeddings and an LSTM's outputs are in the order of batch_first; the port has the batch first."""
    reference = Network(
        lambda m, x: torch.softmax(m.head(m.rnn(m.embed(x))[0]), -1),
        embed=nn.Embedding(11, 3),
        rnn=nn.LSTM(3, 4, batch_first=batch_first, bidirectional=True),
        head=nn.Linear(8, 6),
    )
    x = keras.Input((5,))
    embedded = layers.Embedding(11, 3)(x)
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(embedded)
    head = layers.Dense(6)(both)
    port = {"input": x, "embed": embedded, "rnn[0]": both, "head": head, "softmax": head}
    check(reference, tokens(2, 5) if batch_first else tokens(5, 2), port)


def test_the_last_state_of_a_gru() -> None:
    """States are (layers, batch, channels); the last layer's is a vector for each of the batch."""
    reference = Network(lambda m, x: m.rnn(x)[1][-1], rnn=nn.GRU(3, 4, num_layers=2, batch_first=True))
    x = keras.Input((5, 3))
    check(reference, floats((2, 5, 3)), {"input": x, "getitem": layers.GRU(4)(x)})


def test_convolutions_before_an_lstm() -> None:
    """A Conv1d has channels first; transposed, its value is the sequence that the LSTM reads."""
    reference = Network(
        lambda m, x: m.rnn(torch.relu(m.conv(x)).transpose(1, 2))[0][:, -1],
        conv=nn.Conv1d(3, 4, 3),
        rnn=nn.LSTM(4, 6, batch_first=True),
    )
    x = keras.Input((9, 3))
    conv = layers.Conv1D(4, 3)(x)
    sequence = layers.LSTM(6, return_sequences=True)(conv)
    port = {"input": x, "relu": conv, "transpose": conv, "rnn[0]": sequence, "getitem": sequence[:, -1]}
    check(reference, floats((2, 3, 9)), port)


def test_an_image_read_column_by_column() -> None:
    """Of a map that is permuted to (batch, width, channels, height) and flattened, the width is the time."""
    reference = Network(
        lambda m, x: m.rnn(m.conv(x).permute(0, 3, 1, 2).flatten(2))[0],
        conv=nn.Conv2d(1, 3, 1),
        rnn=nn.GRU(15, 4, batch_first=True),
    )
    x = keras.Input((5, 7, 1))
    columns = ops.reshape(ops.transpose(layers.Conv2D(3, 1)(x), (0, 2, 3, 1)), (-1, 7, 15))
    port = {"input": x, "flatten": columns, "rnn[0]": layers.GRU(4, return_sequences=True)(columns)}
    check(reference, floats((2, 1, 5, 7)), port)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_encoder(batch_first: bool) -> None:
    """Its attention, norms, layers and sums have the order of batch_first."""
    reference = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first).eval()
    x = keras.Input((5, 8))
    wide = layers.Dense(16)(x)
    port = {"input": x, "self_attn[0]": x, "add": x, "norm1": x, "linear1": wide, "relu": wide, "norm2": x}
    check(reference, floats((3, 5, 8) if batch_first else (5, 3, 8)), port)


def test_attention_written_by_hand() -> None:
    """Heads are split from channels that come last; scores, transposes and products stay as the reference has them."""

    def attend(net: Any, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        query, key, value = net.all(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        looked_up = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        return net.merge(looked_up.transpose(1, 2).reshape(batch, length, 8))

    x = keras.Input((5, 3))
    split = ops.reshape(layers.Dense(24)(x), (-1, 5, 3, 2, 4))
    query, key, value = (ops.transpose(split[:, :, part], (0, 2, 1, 3)) for part in range(3))
    across = ops.transpose(key, (0, 1, 3, 2))
    scores = ops.softmax(ops.matmul(query, across))
    looked_up = ops.matmul(scores, value)
    back = ops.transpose(looked_up, (0, 2, 1, 3))
    port = {
        "input": x, "reshape": split, "unbind[0]": query, "transpose": across, "softmax": scores,
        "matmul#2": looked_up, "transpose#2": back, "reshape#2": ops.reshape(back, (-1, 5, 8)),
    }  # fmt: skip
    check(Network(attend, all=nn.Linear(3, 24), merge=nn.Linear(8, 6)), floats((2, 5, 3)), port)


def test_attention_over_the_pixels_of_a_map() -> None:
    """Pixels in a row are a length; a product of matrices over them is a length by a length."""

    def attend(net: Any, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        query = net.query(x).view(batch, -1, height * width).permute(0, 2, 1)
        looks = torch.softmax(torch.bmm(query, net.key(x).view(batch, -1, height * width)), -1)
        return torch.bmm(x.flatten(2), looks.permute(0, 2, 1)).view(batch, channels, height, width) + x

    x = keras.Input((3, 5, 6))
    query, key = (ops.reshape(layers.Conv2D(2, 1)(x), (-1, 15, 2)) for _ in range(2))
    looks = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
    looked_up = ops.matmul(looks, ops.reshape(x, (-1, 15, 6)))
    port = {"permute": query, "view#2": key, "softmax": looks, "bmm#2": looked_up, "view#3": x, "add": x}
    check(Network(attend, query=nn.Conv2d(6, 2, 1), key=nn.Conv2d(6, 2, 1)), floats((2, 6, 3, 5)), port)


def test_a_mixer() -> None:
    """A sequence transposed for a dense layer over its steps has that order in the port too, until it comes back."""
    reference = Network(
        lambda m, x: m.out(x + m.back(torch.relu(m.mix(m.norm(x).transpose(1, 2)))).transpose(1, 2)),
        norm=nn.LayerNorm(3),
        mix=nn.Linear(5, 7),
        back=nn.Linear(7, 5),
        out=nn.Linear(3, 2),
    )
    x = keras.Input((5, 3))
    across = ops.transpose(x, (0, 2, 1))
    mixed = layers.Dense(7)(across)
    port = {"input": x, "norm": x, "transpose": across, "mix": mixed, "relu": mixed, "transpose#2": x, "add": x}
    check(reference, floats((2, 5, 3)), port)


def test_patches_and_a_class_token() -> None:
    """A map of patches, flattened and transposed, is a sequence; so is the token that is put before it."""
    reference = Network(
        lambda m, x: m.norm(torch.cat([m.token.expand(2, -1, -1), m.patch(x).flatten(2).transpose(1, 2)], 1))[:, 0],
        patch=nn.Conv2d(3, 4, 4, stride=4),
        norm=nn.LayerNorm(4),
        token=nn.Parameter(torch.zeros(1, 1, 4)),
    )
    x = keras.Input((8, 12, 3))
    patches = ops.reshape(layers.Conv2D(4, 4, strides=4)(x), (-1, 6, 4))
    long = keras.KerasTensor((None, 7, 4))
    check(reference, floats((2, 3, 8, 12)), {"transpose": patches, "cat": long, "norm": long, "getitem": long[:, 0]})


def test_einsum_and_fused_attention() -> None:
    """Indices of an einsum take the axes of its operands; fused attention has those of its query."""
    reference = Network(
        lambda m, x: torch.einsum("blc,bmc->blm", m.a(x), x) @ functional.scaled_dot_product_attention(x, x, x),
        a=nn.Linear(3, 3),
    )
    x = keras.Input((5, 3))
    square = ops.einsum("blc,bmc->blm", x, x)
    check(reference, floats((2, 5, 3)), {"input": x, "einsum": square, "scaled_dot_product_attention": x, "matmul": x})


# -- inputs -----------------------------------------------------------------------------------------------------------


def test_an_input_is_what_reads_it() -> None:
    """Through sums and transposes an input is what the first layers take: a sequence, or channels first."""
    sequence = Network(lambda m, x: m.rnn(x - 0.5)[0], rnn=nn.GRU(3, 4, batch_first=True))
    assert layouts_of(sequence, floats((2, 5, 3)), "input", "sub") == [("NLC", "NLC")] * 2
    turned = Network(lambda m, x: m.conv(x.transpose(1, 2)), conv=nn.Conv1d(3, 4, 1))
    assert layouts_of(turned, floats((2, 5, 3)), "input", "transpose") == [("NLC", "NLC"), ("NCL", "NLC")]
    picture = Network(lambda m, x: m.conv(x.unsqueeze(1)), conv=nn.Conv2d(1, 4, 1))
    assert layouts_of(picture, floats((2, 5, 7)), "input", "unsqueeze") == [("NHW", "NHW"), ("NCHW", "NHWC")]


@pytest.mark.parametrize("pick", [lambda x, k: x[:, k], lambda x, k: x.select(1, k), lambda x, k: x.unbind(1)[k]])
def test_an_input_of_which_one_frame_is_taken(pick: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    """The axis that a place is taken of is that of the frames of images, or the length of a sequence."""
    clip = Network(lambda m, x: m.conv(pick(x, 0)) + m.conv(pick(x, 1)), conv=nn.Conv2d(3, 4, 1))
    assert layouts_of(clip, floats((2, 3, 3, 5, 7)), "input") == [("NTCHW", "NTHWC")]
    last = Network(lambda m, x: m.head(pick(x, -1)), head=nn.Linear(3, 4))
    assert layouts_of(last, floats((2, 5, 3)), "input") == [("NLC", "NLC")]


def test_a_place_taken_of_the_batch_or_of_channels() -> None:
    """The first axis is the batch; of an image with frames one channel is no frame, and its rank decides."""
    first = Network(lambda m, x: m.conv(x[0]), conv=nn.Conv2d(3, 4, 1))
    assert layouts_of(first, floats((2, 3, 5, 7)), "input") == [("NCHW", "NHWC")]
    channel = Network(lambda m, x: m.conv(x[:, 0].unsqueeze(1)), conv=nn.Conv3d(1, 4, 1))
    assert layouts_of(channel, floats((2, 3, 4, 5, 7)), "input") == [("NCTHW", "NTHWC")]


def test_sizes_do_not_decide() -> None:
    """A sequence of as many steps as features is one all the same, whatever its axes' lengths would fit."""
    assert layouts_of(nn.GRU(5, 4, batch_first=True).eval(), floats((5, 5, 5)), "input") == [("NLC", "NLC")]
    assert layouts_of(nn.Conv1d(5, 4, 1).eval(), floats((5, 5, 5)), "input") == [("NCL", "NLC")]


def test_readers_that_differ_leave_the_rank() -> None:
    """What a batch_first and another LSTM read is taken by its rank; a convolution is believed before a Linear."""
    both = Network(lambda m, x: m.a(x)[0].sum() + m.b(x)[0].sum(), a=nn.LSTM(3, 4), b=nn.LSTM(3, 4, batch_first=True))
    assert layouts_of(both, floats((5, 2, 3)), "input") == [("NCL", "NLC")]
    firm = Network(lambda m, x: m.a(x).sum() + m.b(x).sum(), a=nn.Conv1d(3, 4, 1), b=nn.Linear(5, 2))
    assert layouts_of(firm, floats((2, 3, 5)), "input") == [("NCL", "NLC")]


def test_where_a_layout_came_from() -> None:
    """Declared, a layer's kind, what a layer reads, or no more than the rank."""
    reference = Network(lambda m, x, y: m.conv(x).relu() * y.exp(), conv=nn.Conv2d(3, 4, 1))
    given = floats((2, 3, 5, 7), (2, 4, 5, 7))
    trace = TorchModule(reference).taps(given)
    shapes = {tap.name: tap.shape for tap in trace.taps}
    inputs = {name: array.shape for name, array in given.arrays.items()}
    found = layouts(Axes.given({"mul": "NCHW"}), TorchModule(reference).calls(given), shapes, inputs)  # type: ignore[arg-type]
    assert {name: layout.origin for name, layout in found.items()} == {
        "input[0]": "Conv2d",
        "input[1]": "mul's",
        "conv": "Conv2d",
        "relu": "mul's",
        "exp": "mul's",
        "mul": "declared",
    }
    plain = layouts(Axes(), TorchModule(reference).calls(given), shapes, inputs)  # type: ignore[arg-type]
    assert (plain["relu"].origin, plain["input[1]"].origin) == ("conv's", "rank")


# -- declarations -----------------------------------------------------------------------------------------------------


def test_steps_and_batch_that_are_merged_for_a_dense_layer() -> None:
    """Axes that were merged into one and are split again are those they were, in their order."""

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        steps, _ = m.rnn(x)
        t, b, c = steps.shape
        return torch.log_softmax(torch.relu(m.head(steps.view(t * b, c))).view(t, b, -1), 2)

    crnn = Network(forward, rnn=nn.LSTM(3, 4), head=nn.Linear(4, 5))
    found = layouts_of(crnn, floats((7, 2, 3)), "head", "view#2", "log_softmax")
    assert found == [("NC", "NC"), ("LNC", "NLC"), ("LNC", "NLC")]


def test_what_is_declared_wins() -> None:
    """A layout by name stands, and what reads it follows; an output is declared under its own name."""
    reference = Network(lambda m, x: m.conv(x).relu(), conv=nn.Conv2d(3, 4, 1))
    given = floats((2, 3, 5, 7))
    axes = Axes.given({"conv": ("NCWH", "NHWC"), "output": ("NCWH", "NCWH")})
    assert layouts_of(reference, given, "input", "conv", "relu", axes=axes) == [
        ("NCHW", "NHWC"),
        ("NCWH", "NHWC"),
        ("NCWH", "NCWH"),
    ]


def test_a_rank_with_another_layout_than_usual_is_declared() -> None:
    """Where the user says that rank 3 is a sequence, it is, whatever the layers say; other ranks are derived."""
    axes = Axes(reference={**CHANNELS_FIRST, 3: "NLC"}, port={**CHANNELS_LAST, 3: "NLC"})
    reference = Network(lambda m, x: m.rnn(m.conv(x).flatten(2))[0], conv=nn.Conv2d(3, 4, 1), rnn=nn.GRU(35, 2))
    assert layouts_of(reference, floats((2, 3, 5, 7)), "conv", "flatten", "rnn[0]", axes=axes) == [
        ("NCHW", "NHWC"),
        ("NLC", "NLC"),
        ("NLC", "NLC"),
    ]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"input": "NLC"}, r"layout 'NLC' of 'input' has 3 axes, the tensor has 4: \(2, 3, 5, 7\)"),
        ({"inptu": "NCHW"}, "axes are declared for 'inptu', which is no input, output or layer; did you mean 'input'"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(axes: Any, message: str) -> None:
    """A layout for another number of axes, or for a tensor that is not there, is an error that names it."""
    with pytest.raises(PairError, match=message):
        axes_of(nn.Conv2d(3, 4, 1).eval(), floats((2, 3, 5, 7)), axes)


def test_a_tensor_nothing_is_known_of_is_left_undeclared() -> None:
    """Of six axes that no layer explains none is named: to compare them they must be declared."""
    reference = Network(lambda m, x: x.reshape(3, 2, 1, 5, 2, 7).exp())
    axes = axes_of(reference, floats((2, 3, 10, 7)))
    with pytest.raises(PairError, match=r"axes of 'exp' \(rank 6\) are not declared"):
        axes.of("exp", 6)


@pytest.mark.parametrize("name", [*NETWORKS])
def test_the_small_networks_need_no_declaration(name: str) -> None:
    """Every tensor that the small networks' layer maps name moves as what they declare says."""
    network = NETWORKS[name]
    pair, (given,) = network.pair()
    found = axes_of(pair.reference, given)
    for tap, value in TorchModule(pair.reference).values(given, {"input", *network.layers}).items():
        ours, theirs = (axes.of(tap, value.ndim) for axes in (found, pair.axes))
        np.testing.assert_array_equal(move(value, *ours), move(value, *theirs), err_msg=tap)


def test_another_axis_order_would_be_seen() -> None:
    """The check can fail: a sequence taken for channels first does not have the port's shapes."""
    x = keras.Input((5, 3))
    reference = nn.GRU(3, 4, batch_first=True).eval()
    with pytest.raises(AssertionError):
        check(reference, floats((2, 5, 3)), {"input": x}, axes={"input": ("NCL", "NLC")})


def test_calls_without_a_run_are_enough() -> None:
    """`derived` keeps what the axes declare beside what it finds."""
    reference = TorchModule(nn.Conv2d(3, 4, 1).eval())
    given = floats((2, 3, 5, 7))
    tap = reference.taps(given).taps[-1]
    axes = derived(
        replace(Axes(), by_name={"output": "NCHW"}),
        reference.calls(given),
        {tap.name: tap.shape},  # type: ignore[dict-item]
        {"input": (2, 3, 5, 7)},
        {"output": tap.name},
    )
    assert {name: axes.of(name, 4) for name in ("input", "output", tap.name)} == dict.fromkeys(
        ("input", "output", tap.name), ("NCHW", "NHWC")
    )


def test_a_call_of_another_form_says_nothing() -> None:
    """Arguments that a rule does not know leave a tensor to its rank, and are no error."""
    unknown = Call(function=torch.transpose, args=(Read("input"), "N", "C"), kwargs={})
    found = layouts(Axes(), {"transpose": unknown}, {"transpose": (3, 2, 5)}, {"input": (2, 3, 5)})
    assert (found["transpose"].reference, found["transpose"].origin) == ("NCL", "rank")


@pytest.mark.parametrize(
    ("function", "layout"),
    [
        (lambda x: x.movedim((1, 2), (-1, 1)), "NHWC"),
        (lambda x: x.permute([0, 3, 1, 2]), "NWCH"),
        (lambda x: x.select(2, 0), "NCW"),
        (lambda x: x[..., 0], "NCH"),
        (lambda x: x[:, [2, 0]], "NCHW"),
        (lambda x: x[None, 0], "ACHW"),
        (lambda x: x[:, :1].squeeze(1), "NHW"),
        (lambda x: x.std(dim=(2, 3), keepdim=True), "NCHW"),
        (lambda x: x.max(dim=1)[0], "NHW"),
        (lambda x: torch.linalg.vector_norm(x, dim=-1), "NCH"),
        (lambda x: x.chunk(3, 1)[2], "NCHW"),
        (lambda x: x.unbind(3)[1], "NCH"),
        (lambda x: x.unfold(3, 2, 1), "NCHWM"),
        (lambda x: functional.unfold(x, 2), "NCL"),
        (lambda x: x[:1].expand(4, 2, -1, -1, -1), "ANCHW"),
        (lambda x: x @ x.transpose(2, 3), "NAHW"),
    ],
)
def test_what_functions_do_to_an_image(function: Callable[[torch.Tensor], torch.Tensor], layout: str) -> None:
    """Functions of torch move, drop and add letters as they do axes."""
    reference = Network(lambda m, x: function(m.conv(x)), conv=nn.Conv2d(3, 3, 1))
    axes = axes_of(reference, floats((2, 3, 5, 7)))
    tap = TorchModule(reference).taps(floats((2, 3, 5, 7))).output_taps["output"]
    assert axes.of(tap, len(layout))[0] == layout


# -- letters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "before", "after", "result"),
    [
        ("NCHW", (2, 3, 5, 7), (2, 3, 35), "NCL"),
        ("NCL", (2, 3, 35), (2, 3, 5, 7), "NCHW"),
        ("NLC", (2, 5, 6), (10, 6), "NC"),
        ("NC", (10, 6), (2, 5, 6), "NLC"),
        ("NCHW", (2, 3, 1, 1), (2, 3), "NC"),
        ("NALC", (2, 3, 5, 4), (2, 3, 20), "NAC"),
        ("NHWC", (2, 6, 4, 3), (2, 3, 2, 2, 2, 3), "NHPWQC"),
        ("NLC", (2, 6, 4), (2, 8, 3), None),
        ("NLC", (2, 6, 4), (2, 6, 5), None),
    ],
)
def test_what_a_reshape_does_to_the_letters(layout: str, before: Any, after: Any, result: str | None) -> None:
    """Axes that are kept, merged or split are named; where they are mixed, none is."""
    assert reshaped(layout, before, after) == result


def test_letters_are_never_used_twice() -> None:
    """A new letter is of the kind that is asked for, as long as there is one."""
    assert [fresh("C", used) for used in ("", "NC", "NCGDEF")] == ["C", "G", "A"]
    assert merged("AC", (2, 4)) == "C"
    assert merged("CHW", (1, 1, 7)) == "W"
    assert [inserted("NCHW", at) for at in (0, 1, 2)] == ["ANCHW", "NACHW", "NCTHW"]
    assert broadcast([("NCAX", (2, 3, 1, 1)), ("NCHW", (2, 3, 5, 7))]) == "NCHW"


class Conv1D(torch.nn.Module):  # type: ignore[misc]
    """A dense layer under another name, its kernel as Keras has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.randn(5, 4)), torch.nn.Parameter(torch.randn(4))

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


def test_a_name_does_not_make_a_layer() -> None:
    """A module of one's own that is called like a layer of torch has the axes of what it reads."""
    net = torch.nn.Sequential(torch.nn.Embedding(11, 5), Conv1D(), torch.nn.LayerNorm(4)).eval()
    given = Input(name="ids", array=np.array([[1, 2, 3], [4, 5, 6]]))
    axes = derived_for(Pair(name="own", reference=net, port=None), TorchModule(net), given).axes
    assert axes.of("1", 3) == axes.of("2", 3) == ("NLC", "NLC")
