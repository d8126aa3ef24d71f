"""`parity explain`: one layer by any of its names, what is said of it, and the page on which it is said."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import wrong_ports as small
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import UsageError
from parity.explanation import Explanation
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.render import explanation
from parity.verification import Verifier

layers = keras.layers


@pytest.fixture(scope="module")
def reference() -> small.Net:
    """The small network; no test changes it."""
    return small.net()


Explain = Callable[..., Explanation]


@pytest.fixture
def explain(reference: small.Net) -> Explain:
    """Explain a layer of a port with these parts."""

    def run(layer: str, mode: str = "eager", **parts: Any) -> Explanation:
        pair = small.pair(reference, small.port(reference, **parts))
        return Verifier(pair).explain(small.picture(), mode, layer)

    return run


def page(explained: Explanation, width: int = 80) -> str:
    """The page as one line, its wrapping undone."""
    return " ".join(explanation(explained, width=width).split())


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layer"), [("cat", "cat"), ("join", "cat"), ("mul", "mul"), ("scale", "mul")])
def test_a_layer_is_found_by_the_name_of_either_side(explain: Explain, name: str, layer: str) -> None:
    """The reference's name and the port's lead to the same layer."""
    explained = explain(name)
    assert (explained.layer, explained.cause) == (layer, None)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("thrid", "third"),
        pytest.param("joim", "join"),
    ],
)
def test_a_name_that_no_layer_has_is_refused_with_those_near_it(explain: Explain, name: str, suggested: str) -> None:
    """A misspelt name of either side is wrong use, and what may have been meant is said."""
    with pytest.raises(UsageError, match=f"no compared layer is called '{name}'; did you mean '{suggested}'"):
        explain(name)


def test_a_name_like_no_other_is_refused_without_a_guess(explain: Explain) -> None:
    """Where no name is near none is suggested."""
    with pytest.raises(UsageError, match=r"no compared layer is called 'xyzzy'$"):
        explain("xyzzy")


def test_a_layer_that_the_port_lacks_is_explained(reference: small.Net) -> None:
    """The command that a finding gives as its next step works where the finding is about a layer the port lacks."""
    verifier = Verifier(small.pair(reference, small.port(reference, activation=lambda: layers.Identity(name="none"))))
    finding = verifier.report(small.picture(), ("eager",)).findings[0]
    assert finding.layer == "slope"
    explained = verifier.explain(small.picture(), "eager", finding.layer)
    assert explained.cause == finding.cause


# --- exit codes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def invoke(reference: small.Net, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command on a pair whose second layer is wrong."""
    small.register(monkeypatch, lambda _: small.pair(reference, small.port(reference, second=small.same_padding)))
    return lambda *words: CliRunner().invoke(app, ["explain", "small", *words])


def test_a_right_layer_exits_0(invoke: Callable[..., Any]) -> None:
    """Where the layer is right the last line says PASS, though others of the port are wrong."""
    done = invoke("third")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "PASS: third introduces no more than rounding"


def test_quietly_there_is_the_last_line_alone(invoke: Callable[..., Any]) -> None:
    """-q prints the line on which the page ends, with the same exit code; -v every hypothesis, beside what is usual."""
    done, usual, all_of_it = (invoke("second", "--mode", "eager", *words) for words in (["-q"], [], ["-v"]))
    assert [each.exit_code for each in (done, usual, all_of_it)] == [1, 1, 1]
    assert done.stdout.splitlines() == usual.stdout.splitlines()[-1:]
    assert len(all_of_it.stdout.splitlines()) >= len(usual.stdout.splitlines())
    assert "more that leave as much" not in all_of_it.stdout


def test_a_faulty_layer_exits_1(invoke: Callable[..., Any]) -> None:
    """Where the layer is at fault the last line says DIVERGED, and why; the change is on the page."""
    done = invoke("second", "--input", "other", "--mode", "graph")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0] == "second -> second, input other, mode graph"
    assert done.stdout.splitlines()[-1] == "DIVERGED: second is at fault: padding"
    assert 'ZeroPadding2D(1) + padding="valid"' in " ".join(done.stdout.split())


def test_a_misspelt_layer_exits_2(invoke: Callable[..., Any]) -> None:
    """A name that no layer has is one sentence on stderr, nothing on stdout."""
    done = invoke("secnd")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "parity: no compared layer is called 'secnd'; did you mean 'second'?\n"


@pytest.mark.parametrize(
    "words", [["second", "--mode", "fast"], ["second", "--size", "12"], ["second", "--seed", "-1"]]
)
def test_wrong_use_exits_2(invoke: Callable[..., Any], words: list[str]) -> None:
    """The options are read as by `parity verify`, and refused in one sentence."""
    done = invoke(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("parity: ")
    assert done.stderr.count("\n") == 1


# --- what is said ----------------------------------------------------------------------------------------------------


def test_both_sides_are_shown_as_their_code_has_them(explain: Explain) -> None:
    """The torch module, the Keras layers from the padding on, and the weights with what they are to each other."""
    explained = explain("second")
    assert explained.reference == "Conv2d(4, 5, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))"
    assert [text.split("(")[0] for text in explained.port] == ["ZeroPadding2D", "Conv2D"]
    assert [(each.name, each.shape, each.relation) for each in explained.weights] == [
        ("kernel", (3, 3, 4, 5), "equal"), ("bias", (5,), "equal"),
    ]  # fmt: skip


def test_a_right_layer_has_no_picture(explain: Explain) -> None:
    """What is rounding is not drawn."""
    explained = explain("second")
    assert explained.introduced.passed
    assert "|" not in page(explained)
    assert "#" not in page(explained)


def test_a_weight_that_differs_says_how(explain: Explain) -> None:
    """A flipped kernel is called that beside its name; the bias is equal."""
    explained = explain("third", kernel=lambda kernel: kernel[::-1])
    kernel, bias = explained.weights
    assert (bias.relation, bias.distance) == ("equal", 0.0)
    assert kernel.distance > 0.1
    assert "reversed along kh" in kernel.relation
    assert "kernel (3, 3, 9, 2) differs by" in page(explained)


def test_an_error_of_negative_values_only_says_so(explain: Explain) -> None:
    """A wrong slope shows only where the reference is negative."""
    explained = explain("slope", activation=small.steep)
    assert explained.shape is not None
    assert "only where the reference's values are negative" in explained.shape.words
    assert explained.cause is not None
    assert explained.cause.slug == "activation-slope"


def test_a_constant_factor_says_so(explain: Explain) -> None:
    """A lost factor shows as one ratio of all values."""
    explained = explain("mul", scale=1.0)
    assert explained.shape is not None
    assert "every value is 0.05 times what it should be" in explained.shape.words


def test_the_constants_of_an_operation_are_shown(explain: Explain) -> None:
    """An operation of the reference is shown with what it reads and with its numbers: there the factor is."""
    explained = explain("mul", scale=1.0)
    assert explained.reference.startswith("mul(third")
    assert "20" in explained.reference


def test_a_functional_operation_shows_what_it_reads(explain: Explain) -> None:
    """A concatenation of the reference is shown with the names of its operands and its axis."""
    explained = explain("cat", join=lambda a, b: layers.Concatenate(name="join")([b, a]))
    assert explained.reference == "cat(second, pool, dim=1)"
    assert explained.port == ('Concatenate("join", axis=-1)',)
    assert explained.weights == ()
    assert explained.cause is not None
    assert explained.cause.slug == "concat-order"


def test_what_no_cause_explains_is_unknown_with_its_evidence(explain: Explain) -> None:
    """`unknown` comes with where the error is greatest and what was tried, and with no proof and no change."""
    explained = explain("slope", activation=lambda: small.Uneven(name="slope"))
    assert explained.cause is not None
    assert (explained.cause.slug, explained.cause.residual_after, explained.cause.change) == ("unknown", None, "")
    text = page(explained)
    assert "greatest difference" in text
    assert "proof" not in text
    assert text.endswith("DIVERGED: slope is at fault: unknown")


def test_nan_is_explained_without_a_number(explain: Explain) -> None:
    """A NaN in a kernel is non-finite, and the page says which weight holds it."""

    def spoilt(kernel: Any) -> Any:
        return np.where(np.arange(kernel.size).reshape(kernel.shape) == 77, np.nan, kernel)

    explained = explain("third", kernel=spoilt)
    assert explained.cause is not None
    assert explained.cause.slug == "non-finite"
    for width in (60, 80, 120):
        assert "kernel holds 1" in page(explained, width)


# --- ranks, shapes, borders ------------------------------------------------------------------------------------------


class Reflecting(torch.nn.Module):
    """A convolution that pads by reflection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.only = torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.only(x)


def test_an_error_of_the_border_is_drawn_at_the_border() -> None:
    """Zeros for reflection: shades in the outermost cells and blanks in all others, and the words say the same."""
    reference = Reflecting().eval()
    image = keras.Input((9, 12, 3))
    port = keras.Model(image, layers.Conv2D(4, 3, padding="same", name="only")(image))
    weight, bias = (value.detach().numpy() for value in reference.only.parameters())
    port.get_layer("only").set_weights([np.einsum("oihw->hwio", weight), bias])
    pair = Pair(name="border", reference=reference, port=port, layers={"only": "only"})
    explained = Verifier(pair).explain(small.picture(size=(9, 12)), "eager", "only")
    assert explained.shape is not None
    assert (explained.shape.height, explained.shape.width, explained.shape.axes) == (9, 12, "HW")
    assert "only within two places of the border" in explained.shape.words
    drawn = [line.strip()[1:-1] for line in explanation(explained, width=80).splitlines() if line.strip()[:1] == "|"]
    assert len(drawn) == 9
    assert all(" " not in row for row in (drawn[0], drawn[-1]))
    assert all(row[0] != " " != row[-1] and not row[1:-1].strip() for row in drawn[1:-1])


class Flat(torch.nn.Module):
    """A convolution over time, a mean over it, and a dense layer: taps of rank 3 and 2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv1d(3, 4, 3, padding=1)
        self.dense = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(torch.nn.functional.relu(self.conv(x)).mean(2))


def flat_pair(*, length: int = 9, axis: int = 1, kernel: float = 1.0, late: bool = False) -> Pair:
    """It and its port, with the mean over `axis`, the dense kernel by a factor, or the padding on one side."""
    reference = Flat().eval()
    steps = keras.Input((length, 3))
    before, padding = (layers.ZeroPadding1D((2, 0)), "valid") if late else (layers.Identity(), "same")
    x = layers.ReLU(name="relu")(layers.Conv1D(4, 3, padding=padding, name="conv")(before(steps)))
    mean = keras.ops.mean(x, axis=axis)
    mean._keras_history.operation.name = "mean"
    port = keras.Model(steps, layers.Dense(5, name="dense")(mean))
    weight, bias = (value.detach().numpy() for value in reference.conv.parameters())
    port.get_layer("conv").set_weights([np.einsum("oik->kio", weight), bias])
    weight, bias = (value.detach().numpy() for value in reference.dense.parameters())
    port.get_layer("dense").set_weights([weight.T * kernel, bias])
    return Pair(name="flat", reference=reference, port=port, layers={"conv": "conv", "mean": "mean", "dense": "dense"})


STEPS = Input(name="noise", array=noise((2, 3, 9), seed=1, low=-1, high=1).array)


def test_a_layer_over_time_is_drawn_as_one_row() -> None:
    """A value of rank 3 has one axis to draw along: its length."""
    explained = Verifier(flat_pair(late=True)).explain(STEPS, "eager", "conv")
    assert explained.shape is not None
    assert (explained.shape.height, explained.shape.width, explained.shape.axes) == (1, 9, "L")
    assert explained.cause is not None
    assert explained.cause.slug == "padding"
    assert "the error over 9 (L)" in page(explained)


def test_a_dense_layer_is_drawn_by_channel() -> None:
    """A value of rank 2 has no space: each cell is a channel."""
    explained = Verifier(flat_pair(kernel=1.01)).explain(STEPS, "eager", "dense")
    assert explained.shape is not None
    assert (explained.shape.height, explained.shape.width, explained.shape.axes) == (1, 5, "C")
    assert "the kernel is 1.01 times the reference's" in page(explained)


def test_a_mean_over_the_wrong_axis_is_explained() -> None:
    """An operation without weights is explained like a layer: its axes on both sides, and what to change."""
    steps = Input(name="noise", array=noise((2, 3, 4), seed=1, low=-1, high=1).array)  # as many steps as channels
    explained = Verifier(flat_pair(length=4, axis=2)).explain(steps, "eager", "mean")
    assert explained.reference.startswith("mean(")
    assert "dim=2" in explained.reference
    assert explained.port[-1].startswith('Mean("mean", axis=2')
    assert explained.cause is not None
    assert explained.cause.slug == "reduction-axis"
    assert explained.cause.change


class Strided(torch.nn.Module):
    """A convolution that halves the size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.only = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.only(x)


def test_a_value_of_another_shape_is_explained_without_a_picture() -> None:
    """Where the shapes differ both are given, nothing is drawn, and a cause is found all the same."""
    reference = Strided().eval()
    image = keras.Input((9, 12, 3))
    port = keras.Model(image, layers.Conv2D(4, 3, name="only")(image))
    weight, bias = (value.detach().numpy() for value in reference.only.parameters())
    port.get_layer("only").set_weights([np.einsum("oihw->hwio", weight), bias])
    pair = Pair(name="shapes", reference=reference, port=port, layers={"only": "only"})
    explained = Verifier(pair).explain(small.picture(size=(9, 12)), "eager", "only")
    assert explained.shape is None
    text = page(explained)
    assert "error shape (1, 7, 10, 4), but should be (1, 9, 12, 4)" in text
    assert explained.cause is not None
    assert explained.cause.slug == "padding"
    assert "+--" not in text


def test_a_tie_is_said_to_be_one(explain: Explain) -> None:
    """Two causes that explain an error equally well are both on the page."""
    explained = explain("mul", scale=1.0)
    assert explained.cause is not None
    tied = replace(explained, cause=replace(explained.cause, tied=("norm-epsilon",)))
    assert "tie explained equally well by norm-epsilon; no probe could tell them apart" in page(tied, 120)


# --- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "width",
    [
        pytest.param(60),
        pytest.param(80),
        120,
    ],
)
def test_nothing_is_wider_than_the_terminal(explain: Explain, width: int) -> None:
    """On a narrow terminal every line fits, the picture and what stands below it too."""
    explained = explain("second", second=small.same_padding)
    assert max(map(len, explanation(explained, width=width).splitlines())) <= width
