"""Attention, encoders and decoders of torch in Keras: every setting on a case of its own, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import noise
from reloading import same_when_loaded

import parity
from parity.building import built
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case, seeded
from parity.layers import tried
from parity.pairs import INPUT, Input

MODES = ("eager", "graph", "xla")
KERAS_SAVES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
NESTED = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
ALL_ALIKE = pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")

functional = torch.nn.functional


def on(module: torch.nn.Module, args: Any, layouts: Any, **kwargs: Any) -> Case:
    """A case of the module, its weights drawn; the layouts of masks follow from how many axes they have."""
    inputs = Input(name="noise", args=args, kwargs=kwargs)
    letters = dict(zip(inputs.arrays, layouts, strict=False))
    for name, array in inputs.arrays.items():
        letters.setdefault(name, {2: "NL" if "padding" in name else "LM", 3: "NLM", 4: "NALM"}[array.ndim])
    return Case(module=seeded(module, 1), given=inputs, layouts=letters)


def passed(case: Case, mode: str = "eager") -> bool:
    """Whether every output of a case is torch's."""
    outcomes = tried(case, mode=mode)
    return bool(outcomes) and all(each.passed for each in outcomes.values())


PADDING = np.arange(5) >= np.array([[5], [3]])
"""(N, S): of the second sequence three steps count."""
SCATTERED = np.array([[False, True, False, False, True], [False, False, False, True, False]])
CAUSAL = ~np.tri(3, 5, dtype=bool)
"""(L, S)."""


def numbers(mask: Any) -> Any:
    """The mask as numbers to be added, of which not all are minus infinity or 0."""
    return np.where(mask, np.float32(-np.inf), noise(*mask.shape, seed=3))


def of_heads(*shape: int) -> Any:
    """A mask for each head of each sequence; the first step is left to all."""
    mask = np.random.default_rng(4).random(shape) < 0.4
    mask[..., 0] = False
    return mask


# -- MultiheadAttention ------------------------------------------------------------------------------------------------


def asked(batch_first: bool = True, width: int = 6, **settings: Any) -> Case:
    """Three steps of each of two sequences that ask five steps of another, six features in two heads."""
    called = ("key_padding_mask", "attn_mask", "need_weights", "average_attn_weights")
    kwargs = {name: settings.pop(name) for name in called if name in settings}
    sizes = {} if width == 6 else {"kdim": width, "vdim": width + 1}
    module = torch.nn.MultiheadAttention(6, 2, batch_first=batch_first, **sizes, **settings)
    arrays = [noise(2, 3, 6), noise(2, 5, module.kdim, seed=1), noise(2, 5, module.vdim, seed=2)]
    if not batch_first:
        arrays = [array.swapaxes(0, 1) for array in arrays]
    return on(module, tuple(arrays), ["NLC" if batch_first else "LNC"] * 3, **kwargs)


SETTINGS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "the batch second": {"batch_first": False},
    "no biases": {"bias": False},
    "other widths": {"width": 4},
    "no weights": {"need_weights": False},
    "weights of each head": {"average_attn_weights": False},
    "a mask of keys": {"key_padding_mask": PADDING, "need_weights": False},
    "a mask of keys, and weights": {"key_padding_mask": PADDING},
    "a mask of pairs": {"attn_mask": CAUSAL, "need_weights": False},
    "a mask for each head": {"attn_mask": of_heads(4, 3, 5), "need_weights": False},
    "both masks": {"attn_mask": CAUSAL, "key_padding_mask": SCATTERED, "need_weights": False},
    "both masks, and weights of each head": {
        "attn_mask": of_heads(4, 3, 5),
        "key_padding_mask": SCATTERED,
        "average_attn_weights": False,
    },
    "numbers": {"attn_mask": numbers(CAUSAL), "key_padding_mask": numbers(PADDING), "need_weights": False},
    "numbers for each head": {"attn_mask": numbers(of_heads(4, 3, 5))},
    "biases of keys": {"add_bias_kv": True},
    "biases of keys, none of projections": {"add_bias_kv": True, "bias": False},
    "a key of zeros": {"add_zero_attn": True, "width": 4},
    "both under both masks": {
        "add_bias_kv": True,
        "add_zero_attn": True,
        "attn_mask": CAUSAL,
        "key_padding_mask": PADDING,
        "batch_first": False,
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_multihead_attention(name: str) -> None:
    """What is attended to, and the weights, are torch's in every setting."""
    assert passed(asked(**SETTINGS[name]))


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["no weights", "a mask of keys", "both under both masks"])
def test_multihead_attention_in_graphs(name: str, mode: str) -> None:
    """So they are in the graph and under XLA, of Keras's layer and of what is composed."""
    assert passed(asked(**SETTINGS[name]), mode)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("no weights", True),
        ("both masks", True),
        ("nothing else", False),
        ("numbers", False),
        ("a mask of keys, and weights", False),
        ("biases of keys", False),
    ],
)
def test_keras_has_a_layer_for_it(name: str, layer: bool) -> None:
    """It is Keras's own layer wherever that computes the same."""
    case = asked(**SETTINGS[name])
    model = built(case.module, case.given, case.layouts).model
    assert any(isinstance(each, keras.layers.MultiHeadAttention) for each in model.layers) == layer


def test_scores_below_what_keras_masks_with() -> None:
    """Where asked for weights Keras's layer gives what is masked a score of -1e9: above these, and nothing is left."""
    case = asked(key_padding_mask=np.array([[False, True], [False, True]]), width=6)
    query = np.full((2, 1, 6), 1e6, np.float32)
    key = np.stack([np.full((2, 6), -1e6, np.float32), np.zeros((2, 6), np.float32)], axis=1)
    module = case.module
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([torch.eye(6)] * 3))
        module.in_proj_bias.zero_()
    inputs = Input(name="far", args=(query, key, key), kwargs=dict(case.given.kwargs))
    assert passed(
        Case(module=module, given=inputs, layouts=dict(zip(inputs.arrays, ["NLC"] * 3 + ["NL"], strict=True)))
    )


class Twice(torch.nn.Module):
    """Attention that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x, _ = self.attention(x, x, x, need_weights=False)
        return x


def test_attention_that_is_used_twice_has_its_weights_once() -> None:
    """A module that is called again is the same layer, called again."""
    case = on(Twice(), (noise(2, 5, 6),), ["NLC"])
    assert len(built(case.module, case.given, case.layouts).model.weights) == 8
    assert passed(case)


def test_as_many_heads_as_steps() -> None:
    """Heads of one feature have their biases added along the steps by Keras's layer, where those are as many."""
    module = torch.nn.MultiheadAttention(3, 3, batch_first=True)
    assert passed(on(module, [noise(2, 3, 3, seed=seed) for seed in range(3)], ["NLC"] * 3))


# -- scaled_dot_product_attention --------------------------------------------------------------------------------------


class Attending(torch.nn.Module):
    """The function, with settings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(*args, **kwargs, **self.settings)


def by_head(keys: int = 4, steps: int = 3, **settings: Any) -> Case:
    """Three steps that ask five, of four heads; values of another width."""
    masks = {"attn_mask": settings.pop("attn_mask")} if "attn_mask" in settings else {}
    args = (noise(2, 4, steps, 7), noise(2, keys, 5, 7, seed=1), noise(2, keys, 5, 6, seed=2))
    return on(Attending(**settings), args, ["NALC"] * 3, **masks)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": ~CAUSAL},
        {"attn_mask": numbers(of_heads(2, 4, 3, 5))},
        {"attn_mask": noise(4, 1), "steps": 4},
        {"attn_mask": ~of_heads(2, 1, 1, 5)},
        {"enable_gqa": True, "keys": 2},
    ],
)
def test_scaled_dot_product_attention(settings: dict[str, Any], mode: str) -> None:
    """Its scale, its masks, which say what may be attended to, and keys that several heads share."""
    assert passed(by_head(**settings), mode)


def test_dropping_in_inference_is_refused() -> None:
    """The function drops whenever it is asked to."""
    case = by_head(dropout_p=0.5)
    with pytest.raises(ConversionError, match=r"dropout_p=0\.5 drops at random in inference too"):
        built(case.module, case.given, case.layouts)


# -- encoders and decoders ---------------------------------------------------------------------------------------------


def encoded(module: Any, **masks: Any) -> Case:
    """Five steps of two sequences of six features."""
    layer = module if isinstance(module, torch.nn.TransformerEncoderLayer) else module.layers[0]
    batch_first = layer.self_attn.batch_first
    source = noise(2, 5, 6) if batch_first else noise(5, 2, 6)
    return on(module, (source,), ["NLC" if batch_first else "LNC"], **masks)


def encoder_layer(**settings: Any) -> Any:
    """A layer of two heads, with its batch first."""
    return torch.nn.TransformerEncoderLayer(6, 2, 7, **{"batch_first": True, **settings})


SQUARE = ~np.tri(5, dtype=bool)


@pytest.mark.parametrize("masks", [{}, {"src_mask": SQUARE}, {"src_key_padding_mask": SCATTERED, "src_mask": SQUARE}])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_first": False},
        {"norm_first": True, "activation": "gelu"},
        {"activation": functional.silu, "layer_norm_eps": 0.1},
        {"activation": torch.nn.LeakyReLU(0.3), "bias": False},
        {"activation": torch.nn.GELU("tanh"), "batch_first": False},
    ],
)
def test_encoder_layers(settings: dict[str, Any], masks: dict[str, Any]) -> None:
    """Norms before or after, any activation that has a builder, with masks and without, on either path of torch's."""
    assert passed(encoded(encoder_layer(**settings), **masks))


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_encoder_layers_in_graphs(mode: str) -> None:
    """The same in the graph and under XLA."""
    assert passed(encoded(encoder_layer(norm_first=True), src_mask=SQUARE), mode)


def test_numbers_off_the_fast_path() -> None:
    """A mask of numbers is added where torch has no fast path that would take them for True."""
    assert passed(encoded(encoder_layer(batch_first=False), src_mask=numbers(SQUARE)))


class Causal(torch.nn.Module):
    """An encoder layer under torch's own causal mask, which is of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = encoder_layer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=x.dtype))


def test_a_constant_mask_of_minus_infinity() -> None:
    """It means the same on either path, so it is taken."""
    assert passed(on(Causal(), (noise(2, 5, 6),), ["NLC"]))


@NESTED
@pytest.mark.parametrize("padding", [PADDING, SCATTERED])
def test_padding_of_encoders(padding: Any) -> None:
    """What is padded at the end becomes 0 as in torch, which leaves it out; another mask leaves every step as it is."""
    module = torch.nn.TransformerEncoder(encoder_layer(), 2, torch.nn.LayerNorm(6))
    assert module.use_nested_tensor
    case = encoded(module, src_key_padding_mask=padding)
    with torch.no_grad():
        last = module(torch.from_numpy(case.given.array), src_key_padding_mask=torch.from_numpy(padding))[1, 4]
    assert torch.equal(last, module.norm.bias) == (padding is PADDING)
    assert passed(case)


def test_encoders_without_nested_tensors() -> None:
    """Told to use none, torch leaves no step out."""
    module = torch.nn.TransformerEncoder(encoder_layer(), 2, enable_nested_tensor=False)
    assert passed(encoded(module, src_key_padding_mask=PADDING))
    assert passed(encoded(module, mask=SQUARE))


def decoded(module: Any, batch_first: bool, **masks: Any) -> Case:
    """Three steps that attend to themselves and to five others."""
    arrays = [noise(2, 3, 6), noise(2, 5, 6, seed=1)]
    args = tuple(array if batch_first else array.swapaxes(0, 1) for array in arrays)
    return on(module, args, ["NLC" if batch_first else "LNC"] * 2, **masks)


MASKS = {"tgt_mask": ~np.tri(3, dtype=bool), "memory_mask": CAUSAL, "memory_key_padding_mask": PADDING}


@pytest.mark.parametrize("masks", [{}, MASKS, {"tgt_mask": numbers(~np.tri(3, dtype=bool))}])
@pytest.mark.parametrize("settings", [{}, {"batch_first": True, "norm_first": True}, {"bias": False}])
def test_decoders(settings: dict[str, Any], masks: dict[str, Any]) -> None:
    """A decoder's layer, and a decoder of two with a norm after them."""
    layer = torch.nn.TransformerDecoderLayer(6, 2, 7, **settings)
    batch_first = settings.get("batch_first", False)
    assert passed(decoded(layer, batch_first, **masks))
    assert passed(decoded(torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(6)), batch_first, **masks))


def test_names_of_parts() -> None:
    """Each part of an encoder has the path that it has in torch."""
    case = encoded(torch.nn.TransformerEncoder(encoder_layer(), 2, torch.nn.LayerNorm(6), enable_nested_tensor=False))
    names = {layer.name for layer in built(case.module, case.given, case.layouts).model.layers}
    parts = {f"layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "norm1", "linear1", "linear2", "norm2")}
    assert parts | {"norm"} <= names


def test_parts_keep_their_paths_in_networks() -> None:
    """So they do where the encoder is in a network of one's own."""
    case = on(Causal(), (noise(2, 5, 6),), ["NLC"])
    names = {layer.name for layer in built(case.module, case.given, case.layouts).model.layers}
    assert {"layer.self_attn", "layer.norm1", "layer.linear1", "layer.activation", "layer.norm2"} <= names


def test_long_causal_masks_are_not_in_the_file() -> None:
    """What is saved of a causal mask grows with the steps, not with their square."""
    args = [noise(1, 400, 2, seed=seed) for seed in range(3)]
    case = on(Attending(is_causal=True), args, ["NLC"] * 3)
    assert len(built(case.module, case.given, case.layouts).model.to_json()) < 30_000
    assert passed(case)


@KERAS_SAVES
@pytest.mark.parametrize(
    "case",
    [
        lambda: asked(),
        lambda: asked(**SETTINGS["both under both masks"]),
        lambda: by_head(is_causal=True),
        lambda: encoded(torch.nn.TransformerEncoder(encoder_layer(), 2), src_key_padding_mask=PADDING),
        lambda: on(Causal(), (noise(2, 5, 6),), ["NLC"]),
        lambda: decoded(torch.nn.TransformerDecoderLayer(6, 2, 7), False, **MASKS),
    ],
)
def test_models_load_without_parity(case: Any, tmp_path: Path) -> None:
    """Saved and loaded in Keras's safe mode, the model is of Keras's own classes and gives the same values."""
    assert same_when_loaded(case(), "channels_last", tmp_path)


def without_batch(module: torch.nn.Module, times: int) -> Case:
    """A case on sequences without a batch."""
    return on(module, (noise(5, 6),) * times, ["LC"] * times)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (
            lambda: without_batch(torch.nn.MultiheadAttention(6, 2), 3),
            "torch.nn.MultiheadAttention: its input has 2 axes, that is no batch",
        ),
        (lambda: without_batch(encoder_layer(), 1), "its input has 2 axes, that is no batch"),
        (lambda: without_batch(torch.nn.TransformerDecoderLayer(6, 2, 7), 2), "2 axes, that is no batch"),
        (
            lambda: encoded(encoder_layer(), src_mask=numbers(SQUARE)),
            "torch.nn.TransformerEncoderLayer: torch's fast path takes every number of a mask but 0 for True",
        ),
        (lambda: encoded(encoder_layer(), src_key_padding_mask=numbers(PADDING)), "takes every number of a mask"),
        (
            lambda: encoded(torch.nn.TransformerEncoder(encoder_layer(), 2), mask=numbers(SQUARE)),
            "layers.0: torch's fast path takes every number",
        ),
        (
            lambda: encoded(encoder_layer(activation=torch.nn.GELU("tanh"))),
            "torch's fast path computes GELU by erf where the layer says GELU\\(approximate='tanh'\\)",
        ),
    ],
)
def test_refused(case: Any, why: str) -> None:
    """What Keras cannot do, or what torch computes in two ways, is refused with the reason."""
    drawn = case()
    with pytest.raises(ConversionError, match=why):
        built(drawn.module, drawn.given, drawn.layouts)


def test_torch_computes_in_two_ways_what_is_refused() -> None:
    """With a hook on a layer torch adds a mask's numbers, and computes GELU by tanh; without, it does neither."""
    x, mask = torch.from_numpy(noise(2, 5, 6)), torch.from_numpy(noise(5, 5) * (1 - np.eye(5, dtype=np.float32)))
    for layer, kwargs in (
        (seeded(encoder_layer(), 1), {"src_mask": mask}),
        (seeded(encoder_layer(activation=torch.nn.GELU("tanh")), 1), {}),
    ):
        with torch.no_grad():
            fast = layer(x, **kwargs)
            handle = layer.norm1.register_forward_hook(lambda *_: None)
            slow = layer(x, **kwargs)
            handle.remove()
        assert not torch.allclose(fast, slow, rtol=1e-6, atol=1e-6)


class Crossed(torch.nn.Module):
    """Attention of a few to many, whose weights are read by what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        _, weights = self.attention(x[:, :2], x, x)
        return weights.flatten(1)


def test_weights_across_have_the_number_of_the_keys() -> None:
    """What is built on them is of torch's shape."""
    given = Input(name="noise", array=np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32))
    port = built(Crossed().eval(), given, {INPUT: "NLC"})
    assert port.model.output.shape == (None, 10)
    assert parity.verify(port.pair("crossed"), [given], modes=("eager",)).passed
