"""Functions that have a module of the same meaning: they are built as it is, with the weights that they are given."""

from collections.abc import Callable, Sequence
from typing import Any

from parity.building.calls import array_of, calls
from parity.building.registry import Function, build
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import torch

F = torch.nn.functional


def like_module(*kinds: Any, how: str) -> Callable[[Function], Function]:
    """`calls` for functions that are built as a module: weights come as constants, for the layers to have them."""
    return calls(*kinds, how=how, keeps_weights=False)


def filled(module: torch.nn.Module, **arrays: Any) -> torch.nn.Module:
    """A module in evaluation mode with these arrays as its parameters and statistics; None takes one away."""
    for name, array in arrays.items():
        value = None if array is None else torch.from_numpy(array.copy())
        if name in module._buffers:
            module._buffers[name] = value
        else:
            module._parameters[name] = None if value is None else torch.nn.Parameter(value, requires_grad=False)
    return module.eval()


@like_module(F.linear, how="Dense")
def linear(site: Site, x: Value, weight: Any, bias: Any = None) -> Any:
    """(..., i) to (..., o)."""
    weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    return build(filled(made, weight=weight, bias=bias), site, x)


@like_module(F.embedding, how="Embedding")
def embedding(
    site: Site, x: Value, weight: Any, padding_idx: Any = None, max_norm: Any = None, *unused: Any, **settings: Any
) -> Any:
    """(...) to (..., features)."""
    weight = array_of(weight, "weight")
    made = torch.nn.Embedding(weight.shape[0], weight.shape[1], max_norm=max_norm, device="meta")
    return build(filled(made, weight=weight), site, x)


def _convolution(kind: Any) -> Callable[..., Any]:
    def convolution(
        site: Site, x: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        """(N, i, ...) to (N, o, ...)."""
        weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
        made = kind(
            weight.shape[1] * groups, weight.shape[0], weight.shape[2:], stride=stride, padding=padding,
            dilation=dilation, groups=groups, device="meta",
        )  # fmt: skip
        return build(filled(made, weight=weight, bias=bias), site, x)

    return convolution


def _transposed(kind: Any) -> Callable[..., Any]:
    def transposed(
        site: Site, x: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Any:  # fmt: skip
        """(N, i, ...) to (N, o, ...)."""
        weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
        made = kind(
            weight.shape[0], weight.shape[1] * groups, weight.shape[2:], stride=stride, padding=padding,
            output_padding=output_padding, groups=groups, dilation=dilation, device="meta",
        )  # fmt: skip
        return build(filled(made, weight=weight, bias=bias), site, x)

    return transposed


for _rank in (1, 2, 3):
    like_module(getattr(F, f"conv{_rank}d"), how=f"Conv{_rank}D")(_convolution(getattr(torch.nn, f"Conv{_rank}d")))
    like_module(getattr(F, f"conv_transpose{_rank}d"), how=f"Conv{_rank}DTranspose")(
        _transposed(getattr(torch.nn, f"ConvTranspose{_rank}d"))
    )


@like_module(F.layer_norm, torch.layer_norm, how="LayerNormalization")
def layer_norm(
    site: Site, x: Value, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
    *unused: Any,
) -> Any:  # fmt: skip
    """(...) to (...)."""
    weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
    made = torch.nn.LayerNorm(list(normalized_shape), eps=eps, elementwise_affine=weight is not None)
    return build(filled(made, weight=weight, bias=bias), site, x)


@like_module(F.group_norm, torch.group_norm, how="GroupNormalization")
def group_norm(
    site: Site, x: Value, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *unused: Any
) -> Any:
    """(N, C, ...) to (N, C, ...)."""
    weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
    made = torch.nn.GroupNorm(num_groups, _channels(x), eps=eps, affine=weight is not None)
    return build(filled(made, weight=weight, bias=bias), site, x)


def _channels(x: Value) -> int:
    channels = x.shape[1]
    assert channels is not None
    return channels


@like_module(F.batch_norm, how="BatchNormalization")
def batch_norm(
    site: Site, x: Value, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *unused: Any,
) -> Any:  # fmt: skip
    """(N, C, ...) to (N, C, ...). Refused with the statistics of the batch."""
    if training:
        raise ConversionError("it normalises by the batch that it is given, in evaluation too")
    kinds = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
    weight, bias = array_of(weight, "weight"), array_of(bias, "bias")
    made = kinds[len(x.order)](_channels(x), eps=eps, affine=weight is not None)
    statistics = {"running_mean": running_mean, "running_var": running_var}
    arrays = {name: array_of(array, name) for name, array in statistics.items()}
    return build(filled(made, weight=weight, bias=bias, **arrays), site, x)


@like_module(torch.batch_norm, how="BatchNormalization")
def batch_norm_of(
    site: Site, x: Value, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float,
    eps: float, *unused: Any,
) -> Any:  # fmt: skip
    """(N, C, ...) to (N, C, ...): the function that torch's own calls, which has the weights first."""
    return batch_norm(site, x, running_mean, running_var, weight, bias, training, momentum, eps)


def _as_module(kind: Any, *names: str) -> Callable[..., Any]:
    def function(site: Site, x: Value, *given: Any, **settings: Any) -> Any:
        """As the module of its name."""
        settings = {**dict(zip(names, given, strict=False)), **settings}
        settings.pop("training", None)
        return build(kind(**settings).eval(), site, x)

    return function


_WINDOW = ("kernel_size", "stride", "padding")
for _rank in (1, 2, 3):
    like_module(getattr(F, f"max_pool{_rank}d"), getattr(torch, f"max_pool{_rank}d"), how=f"MaxPooling{_rank}D")(
        _as_module(getattr(torch.nn, f"MaxPool{_rank}d"), *_WINDOW, "dilation", "ceil_mode")
    )
    like_module(getattr(F, f"avg_pool{_rank}d"), how=f"AveragePooling{_rank}D")(
        _as_module(
            getattr(torch.nn, f"AvgPool{_rank}d"), *_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"
        )
    )
    for _kind in ("avg", "max"):
        like_module(getattr(F, f"adaptive_{_kind}_pool{_rank}d"), how="means or maxima of bins")(
            _as_module(getattr(torch.nn, f"Adaptive{_kind.title()}Pool{_rank}d"), "output_size")
        )
like_module(F.pixel_shuffle, torch.pixel_shuffle, how="ops.transpose")(
    _as_module(torch.nn.PixelShuffle, "upscale_factor")
)
like_module(F.pixel_unshuffle, torch.pixel_unshuffle, how="ops.transpose")(
    _as_module(torch.nn.PixelUnshuffle, "downscale_factor")
)
like_module(torch.channel_shuffle, how="ops.transpose")(_as_module(torch.nn.ChannelShuffle, "groups"))
like_module(torch.cosine_similarity, F.cosine_similarity, how="ops.sum")(
    lambda site, x, y, dim=1, eps=1e-8: build(torch.nn.CosineSimilarity(dim, eps), site, x, y)
)
