"""References of every form: several inputs and outputs, trees, tokens, masks, repeated layers, attention, sequences.

Each form has a faithful port, which passes in every mode it is run in, and a port with one fault, which is found at its
very layer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import parity
from parity.converters import convert, transfer
from parity.frameworks import keras, tf, torch
from parity.pairs import Input, Pair
from parity.report import PASS

nn, layers, ops = torch.nn, keras.layers, keras.ops
RNG = np.random.default_rng(5)


def noise(*shape: int) -> Any:
    """Noise of both signs."""
    return RNG.standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A reference, what makes its port (with the fault or without), an input, and where the fault is."""

    reference: Callable[[], Any]
    port: Callable[[bool], Any]
    given: Input
    weights: dict[str, str]
    fault: str
    cause: str
    fires: int
    more: dict[str, Any] = field(default_factory=dict)

    def pair(self, *, wrong: bool) -> Pair:
        """The pair, both sides with the same weights."""
        torch.manual_seed(0)
        reference, port = self.reference().eval(), self.port(wrong)
        transfer(reference, port, self.weights)
        return Pair(name="form", reference=reference, port=port, **self.more)


# -- several inputs, one by keyword; a dataclass with a tuple in it, whole numbers -------------------------------------


@dataclass
class Answer:
    """What the network of two pictures returns."""

    flow: Any
    classes: Any
    more: tuple[Any, ...]


class TwoPictures(nn.Module):
    """Takes two pictures and a mask, which is given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
        self.flow, self.score = nn.Conv2d(10, 2, 3), nn.Conv2d(10, 7, 1)

    def forward(self, left: Any, right: Any, *, mask: Any) -> Answer:
        x = torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], 1).masked_fill(~mask, 0.0)
        score = self.score(x)
        return Answer(flow=self.flow(x), classes=score.argmax(1), more=(score, x.mean((2, 3))))


def two_pictures(wrong: bool) -> Any:
    """Wrong: the two are joined in the other order."""
    left, right = (keras.Input((7, 11, 3), name=name) for name in ("left", "right"))
    mask = keras.Input((7, 11, 1), name="mask", dtype="bool")
    both = [layers.ReLU()(layers.Conv2D(5, 3, padding="same", name=f"conv_{x.name}")(x)) for x in (left, right)]
    x = ops.where(mask, layers.Concatenate(name="cat")(both[::-1] if wrong else both), 0.0)
    score = layers.Conv2D(7, 1, name="score")(x)
    made = {"flow": layers.Conv2D(2, 3, name="flow")(x), "classes": ops.argmax(score, -1)}
    return keras.Model([left, right, mask], {**made, "more": (score, layers.GlobalAveragePooling2D()(x))})


# -- tokens and a mask, attention by hand, a dict ----------------------------------------------------------------------


class Tokens(nn.Module):
    """Attention over tokens, where the mask says which count."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(11, 6), nn.LayerNorm(6)
        self.q, self.k, self.v, self.out = (nn.Linear(6, size) for size in (6, 6, 6, 5))

    def forward(self, tokens: Any, mask: Any) -> dict[str, Any]:
        x = self.table(tokens)
        q, k, v = (layer(x).view(*tokens.shape, 2, 3).transpose(1, 2) for layer in (self.q, self.k, self.v))
        weights = (
            (q @ k.transpose(-1, -2) / math.sqrt(3)).masked_fill(~mask[:, None, None, :], float("-inf")).softmax(-1)
        )
        x = self.norm(x + (weights @ v).transpose(1, 2).reshape(x.shape))
        return {"logits": self.out(x), "pooled": x.mean(1)}


def tokens(wrong: bool) -> Any:
    """Wrong: Keras's own epsilon in the norm."""
    given, mask = keras.Input((7,), dtype="int32", name="tokens"), keras.Input((7,), dtype="bool", name="mask")
    x = layers.Embedding(11, 6, name="table")(given)
    q, k, v = (
        ops.transpose(ops.reshape(layers.Dense(6, name=name)(x), (-1, 7, 2, 3)), (0, 2, 1, 3))
        for name in ("q", "k", "v")
    )
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / math.sqrt(3)
    weights = ops.softmax(ops.where(ops.reshape(mask, (-1, 1, 1, 7)), scores, -1e30), -1)
    y = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 7, 6))
    x = layers.LayerNormalization(epsilon=1e-3 if wrong else 1e-5, name="norm")(x + y)
    return keras.Model([given, mask], {"logits": layers.Dense(5, name="out")(x), "pooled": ops.mean(x, 1)})


TOKENS = RNG.integers(0, 11, (2, 7))
MASK = np.array([[True] * 7, [True] * 4 + [False] * 3])


# -- repeated layers, in-place operations, control flow that looks at the values ---------------------------------------


class Repeated(nn.Module):
    """The same convolution and norm three times, and arithmetic in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        for _ in range(3):
            y = self.act(self.norm(self.conv(x)))
            if float(y.mean()) > 100:
                y = y * 2
            x = x + y
            x += 1
        return self.last(x)


def repeated(wrong: bool) -> Any:
    """Wrong: the last time it is another activation."""
    x = start = keras.Input((5, 7, 3))
    conv, norm = layers.Conv2D(3, 3, padding="same", name="conv"), layers.BatchNormalization(epsilon=1e-5, name="norm")
    for number in range(3):
        act = layers.ReLU(negative_slope=0.2 if wrong and number == 2 else 0.0, name=f"act{number}")
        x = ops.subtract(x + act(norm(conv(x))), -1.0)
    return keras.Model(start, layers.Conv2D(2, 1, name="last")(x))


# -- torch's own attention, as one layer -------------------------------------------------------------------------------


class Attention(nn.Module):
    """Self-attention and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.last = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        return self.last(x + self.attend(x, x, x, need_weights=False)[0])


def attention(wrong: bool) -> Any:
    """Wrong: no step sees what comes after it."""
    x = keras.Input((5, 6))
    y = layers.MultiHeadAttention(2, 3, name="attend")(x, x, use_causal_mask=wrong)
    return keras.Model(x, layers.Dense(4, name="last")(layers.Add(name="sum")([x, y])))


# -- sequences, batch first and time first, whose axes follow from the layer -------------------------------------------


class Sequence(nn.Module):
    """An LSTM and a product; (N, L, C), or (L, N, C) as torch has it by default."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(4, 6, batch_first=batch_first), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.lstm(x)[0])


def sequence(wrong: bool) -> Any:
    """Wrong: the gates are squashed by Keras's hard sigmoid."""
    x = keras.Input((7, 4))
    gates = "hard_sigmoid" if wrong else "sigmoid"
    y = layers.LSTM(6, return_sequences=True, recurrent_activation=gates, name="lstm")(x)
    return keras.Model(x, layers.Dense(3, name="last")(y))


# -- a tree of inputs in one argument, and a constant ------------------------------------------------------------------


class Tree(nn.Module):
    """Takes a dict of pictures and a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, pictures: dict[str, Any], factor: float) -> Any:
        return self.last(torch.tanh(self.conv(pictures["after"] - pictures["before"]) * factor))


def tree(wrong: bool) -> Any:
    """Wrong: `same` pads the other side at stride 2."""
    pictures = {name: keras.Input((6, 8, 3), name=name) for name in ("before", "after")}
    x = layers.Subtract(name="change")([pictures["after"], pictures["before"]])
    x = x if wrong else layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(5, 3, strides=2, padding="same" if wrong else "valid", name="conv")(x)
    return keras.Model(pictures, layers.Conv2D(2, 1, name="last")(ops.tanh(x * 0.5)))


def named(*names: str) -> dict[str, str]:
    """Layers that are called the same on both sides."""
    return dict(zip(names, names, strict=True))


FORMS = {
    "two pictures, a mask, a dataclass": Form(
        reference=TwoPictures, port=two_pictures, fault="cat", cause="concat-order", fires=4,
        weights={**named("flow", "score"), "left": "conv_left", "right": "conv_right"},
        more={"axes": {"output.classes": "NHW"}},
        given=Input(name="noise", args=(noise(2, 3, 7, 11), noise(2, 3, 7, 11)),
                    kwargs={"mask": RNG.random((2, 1, 7, 11)) > 0.3}),
    ),
    "tokens and a mask, a dict": Form(
        reference=Tokens, port=tokens, fault="norm", cause="norm-epsilon", fires=6,
        weights=named("table", "norm", "q", "k", "v", "out"), given=Input(name="tokens", args=(TOKENS, MASK)),
    ),
    "repeated layers": Form(
        reference=Repeated, port=repeated, fault="act#3", cause="activation-slope", fires=7,
        weights=named("conv", "norm", "last"), given=Input(name="noise", array=noise(2, 3, 5, 7)),
    ),
    "attention": Form(
        reference=Attention, port=attention, fault="attend[0]", cause="unknown", fires=2,
        weights=named("attend", "last"), given=Input(name="noise", array=noise(2, 5, 6)),
    ),
    "batch first": Form(
        reference=lambda: Sequence(batch_first=True), port=sequence, fault="lstm[0]", cause="activation-kind", fires=2,
        weights=named("lstm", "last"), given=Input(name="noise", array=noise(2, 7, 4)),
    ),
    "time first": Form(
        reference=lambda: Sequence(batch_first=False), port=sequence, fault="lstm[0]", cause="activation-kind", fires=2,
        weights=named("lstm", "last"), given=Input(name="noise", array=noise(7, 2, 4)),
    ),
    "a tree of pictures and a constant": Form(
        reference=Tree, port=tree, fault="conv", cause="padding", fires=2, weights=named("conv", "last"),
        given=Input(name="noise", args=({"before": noise(2, 3, 6, 8), "after": noise(2, 3, 6, 8)}, 0.5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_faithful_port_passes(name: str) -> None:
    """Without a map, eagerly and compiled, with every layer and every output compared."""
    form = FORMS[name]
    report = parity.verify(form.pair(wrong=False), [form.given], modes=("eager", "xla"))
    assert report.passed, report.to_json()
    assert report.coverage.weighted == form.fires
    assert report.coverage.complete


@pytest.mark.parametrize("name", FORMS)
def test_a_fault_is_found_at_its_layer(name: str) -> None:
    """The port with one fault diverges, nothing else is found, and the cause is named and proven."""
    form = FORMS[name]
    report = parity.verify(form.pair(wrong=True), [form.given], modes=("eager",))
    assert not report.passed
    assert [finding.layer for finding in report.findings] == [form.fault]
    assert report.findings[0].cause.slug == form.cause
    assert (report.findings[0].cause.residual_after is None) == (form.cause == "unknown")


def test_every_output_has_its_verdict() -> None:
    """Of several outputs each has its own measure, by its name; those that a fault does not reach pass."""
    form = FORMS["tokens and a mask, a dict"]
    right = parity.verify(form.pair(wrong=False), [form.given], modes=("eager",)).runs[0]
    wrong = parity.verify(form.pair(wrong=True), [form.given], modes=("eager",)).runs[0]
    assert set(right.outputs) == {"output.logits", "output.pooled"}
    assert right.verdict == PASS
    assert not any(output.passed for output in wrong.outputs.values())


def test_the_user_says_which_end_is_which() -> None:
    """Where names do not tell and the order misleads, `input_map` and `output_map` do; no other name goes."""
    form = FORMS["a tree of pictures and a constant"]
    torch.manual_seed(0)
    reference = form.reference().eval()
    first, second = keras.Input((6, 8, 3), name="b"), keras.Input((6, 8, 3), name="a")
    x = layers.ZeroPadding2D(1)(layers.Subtract()([first, second]))
    x = ops.tanh(layers.Conv2D(5, 3, strides=2, name="conv")(x) * 0.5)
    port = keras.Model([first, second], layers.Conv2D(2, 1, name="last")(x))
    transfer(reference, port, form.weights)
    pair = Pair(name="crossed", reference=reference, port=port)
    assert not parity.verify(pair, [form.given], modes=("eager",)).passed
    crossed = {"before": "a", "after": "b"}
    mapped = Pair(name="crossed", reference=reference, port=port, input_map=crossed)
    assert parity.verify(mapped, [form.given], modes=("eager",)).passed
    wrong = Pair(name="crossed", reference=reference, port=port, input_map={"middle": "a"})
    with pytest.raises(parity.errors.PairError, match="the reference has no input 'middle'"):
        parity.verify(wrong, [form.given], modes=("eager",))


class Difference(nn.Module):
    """Takes two vectors by order, which its parameters name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x: Any, y: Any) -> Any:
        return self.first(x) - self.second(y)


@pytest.mark.parametrize(("names", "passed"), [("yx", True), ("yz", False), ("uv", False)])
def test_names_that_all_agree_say_more_than_the_order(names: str, passed: bool) -> None:
    """A port that has its inputs in another order is given them by name, however the reference is given its own."""
    torch.manual_seed(0)
    reference = Difference().eval()
    second, first = (keras.Input((5,), name=name) for name in names)
    port = keras.Model([second, first], layers.Dense(4, name="first")(first) - layers.Dense(4, name="second")(second))
    transfer(reference, port, {"first": "first", "second": "second"})
    given = parity.inputs.from_signature([parity.inputs.Slot(name=name, shape=(3, 5), kind="float") for name in "xy"])
    assert parity.verify(Pair(name="difference", reference=reference, port=port), [given], ["eager"]).passed == passed


class Cache:
    """What networks keep of earlier tokens: it can be read like a list, and is none."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Any:
        return self.parts[place]

    def __iter__(self) -> Any:
        return iter(self.parts)


class Positions(nn.Module):
    """Tokens with positions that are there for each of the batch, and what is kept of them."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place, self.head = nn.Embedding(11, 6), nn.Embedding(7, 6), nn.Linear(6, 3)

    def forward(self, ids: Any) -> Any:
        places = torch.arange(ids.shape[1]).expand(ids.shape)
        value = torch.tanh(self.token(ids) + self.place(places))
        return {"logits": self.head(value), "cache": Cache((value, value * 2), (value * 3, value * 5))}


def counted(ids: Any) -> Any:
    """Positions counted along the first tokens."""
    return ops.cumsum(ops.ones_like(ids[0])) - 1


def constant(ids: Any) -> Any:
    """Positions that are the same for all inputs."""
    return ops.arange(ids.shape[1])


def port_of_positions(cached: Callable[[Any], Any], places: Callable[[Any], Any] = counted) -> Any:
    """Its port, where the positions have no batch."""

    class Port(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.token = layers.Embedding(11, 6, name="token")
            self.place = layers.Embedding(7, 6, name="place")
            self.head = layers.Dense(3, name="head")

        def call(self, ids: Any) -> Any:
            value = ops.tanh(self.token(ids) + self.place(places(ids)))
            return {"logits": self.head(value), "cache": cached(value)}

    port = Port()
    port(np.zeros((2, 5), np.int32))
    return port


def cached_alike(value: Any) -> Any:
    """The cache as nested tuples."""
    return ((value, value * 2), (value * 3, value * 5))


def cached_stacked(value: Any) -> Any:
    """The cache with a layer's two parts in one tensor."""
    return (ops.stack([value, value * 2]), ops.stack([value * 3, value * 5]))


@pytest.mark.parametrize("cached", [cached_alike, cached_stacked])
def test_a_cache_is_compared_or_waived(cached: Callable[[Any], Any]) -> None:
    """What a list-like object holds are outputs; where both sides cut them otherwise, all are waived by one name."""
    torch.manual_seed(0)
    reference, port = Positions().eval(), port_of_positions(cached)
    transfer(reference, port, {"token": "token", "place": "place", "head": "head"})
    given = Input(name="ids", array=RNG.integers(0, 11, (2, 5)))

    def report(*waived: str) -> Any:
        pair = Pair(name="cache", reference=reference, port=port, waived=frozenset(waived))
        return parity.verify(pair, [given], modes=("eager",))

    assert report().passed is (cached is cached_alike)
    assert report("output.cache").passed
    assert report().coverage.matched["place"] == "place"
    if cached is cached_stacked:
        assert not report("output.cach").passed


def test_a_layer_of_constants_is_a_layer() -> None:
    """What a port's embedding makes of constant positions is compared, and a fault in it is found there."""
    torch.manual_seed(0)
    reference, port = Positions().eval(), port_of_positions(cached_alike, constant)
    transfer(reference, port, {"token": "token", "place": "place", "head": "head"})
    given, pair = Input(name="ids", array=RNG.integers(0, 11, (2, 5))), Pair(name="p", reference=reference, port=port)
    report = parity.verify(pair, [given], modes=("eager", "xla"))
    assert report.passed
    assert report.coverage.matched["place"] == "place"
    port.place.embeddings.assign(port.place.embeddings * 1.5)
    (found,) = parity.verify(pair, [given], modes=("eager",)).findings
    assert found.layer in ("place", "add")


class Patches(nn.Module):
    """A class token, positions and a factor for each channel, none of which is in a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, 5), nn.Linear(5, 2)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 5)), nn.Parameter(torch.randn(1, 8, 5))
        self.gamma = nn.Parameter(torch.rand(5))

    def forward(self, x: Any) -> Any:
        """The token in front of the patches."""
        x = self.embed(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(x * self.gamma)


class Prepended(layers.Layer):
    """The token and the positions as a layer of Keras."""

    def build(self, shape: Any) -> None:
        """Both are weights."""
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.places = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), name="places")

    def call(self, x: Any) -> Any:
        """The token in front of the patches."""
        return ops.concatenate([ops.repeat(self.token, ops.shape(x)[0], axis=0), x], axis=1) + self.places


class LayerScale(layers.Layer):
    """A factor for each channel as a layer of Keras."""

    def build(self, shape: Any) -> None:
        """Ones, until they are loaded."""
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x: Any) -> Any:
        """Each channel times its factor."""
        return x * self.gamma


@pytest.mark.parametrize("extra", [False, True])
def test_layers_for_weights_that_no_layer_of_the_reference_holds(*, extra: bool) -> None:
    """They are compared with the layer after them, for their weights are those that the reference's functions compute
    with; one whose weights are not stays unmatched, though no value shows it."""
    torch.manual_seed(0)
    net, start = Patches().eval(), keras.Input((7, 3))
    prepended, scale = Prepended(name="prepended"), LayerScale(name="scale")
    value = scale(prepended(layers.Dense(5, name="embed")(start)))
    value = LayerScale(name="ones")(value) if extra else value
    port = keras.Model(start, layers.Dense(2, name="head")(value))
    for name in ("embed", "head"):
        port.get_layer(name).set_weights(convert(getattr(net, name), name))
    prepended.set_weights([net.token.detach().numpy(), net.places.detach().numpy()])
    scale.set_weights([net.gamma.detach().numpy()])
    pair = Pair(name="patches", reference=net, port=port, axes={"input": "NLC"})
    report = parity.verify(pair, inputs=[Input(name="noise", array=noise(2, 7, 3))], modes=("eager",))
    assert (report.passed, report.coverage.unmatched_port) == (not extra, ("ones",) if extra else ())
    assert report.runs[0].verdict == PASS


class Scored(nn.Module):
    """Scores over a sequence, and their mean: an output of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        """The scores are softened before the last layer."""
        y = self.last(torch.softmax(self.first(x) / math.sqrt(2), -1))
        return y, y.mean()


class ScoredPort(keras.Model):
    """Its port, which takes the mean in float64, by functions of TensorFlow."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size
        self.first, self.last = layers.Dense(5, name="first"), layers.Dense(2, name="last")

    def call(self, x: Any) -> Any:
        """NumPy's float64 does not make a tensor one."""
        y = tf.cast(self.last(tf.nn.softmax(self.first(x) / np.sqrt(self.size))), tf.float64)
        return y, tf.reduce_mean(y)


@pytest.mark.parametrize("wrong", [False, True])
def test_one_number_and_a_port_that_ends_in_float64(*, wrong: bool) -> None:
    """A number without axes is an output like any other, and what computes in float64 is run on values in float64."""
    torch.manual_seed(0)
    net, port = Scored().eval(), ScoredPort(3.0 if wrong else 2.0)
    port(noise(1, 7, 3))
    transfer(net, port, {"first": port.first, "last": port.last})
    pair = Pair(name="scored", reference=net, port=port, axes={"input": "NLC"})
    report = parity.verify(pair, inputs=[Input(name="noise", array=noise(2, 7, 3))], modes=("eager",))
    assert {name: each.compared for name, each in report.runs[0].outputs.items()} == {"output[0]": 28, "output[1]": 1}
    assert (report.passed, len(report.findings)) == (not wrong, wrong)


def test_an_output_that_only_one_side_has_is_not_passed_over() -> None:
    """A port that returns less than its reference fails, and what it lacks is named."""
    form = FORMS["tokens and a mask, a dict"]
    pair = form.pair(wrong=False)
    less = keras.Model(pair.port.inputs, {"logits": pair.port.output["logits"]})
    report = parity.verify(Pair(name="less", reference=pair.reference, port=less), [form.given], modes=("eager",))
    assert not report.passed
    assert "output.pooled" in report.coverage.unmatched_reference


def test_a_device_that_is_not_there_is_refused() -> None:
    """A device that torch does not have is said to be missing, with what there is; the CPU by name is as usual."""
    form = FORMS["attention"]
    with pytest.raises(parity.errors.UsageError, match=r"device 'xla9' cannot be used: .* has cpu"):
        parity.verify(form.pair(wrong=False), [form.given], modes=("eager",), device="xla9")
    assert parity.verify(form.pair(wrong=False), [form.given], modes=("eager",), device="cpu").passed
