"""Weights from a seed that probe a port well: no two tensors alike, and activations of both signs at every depth.

Kaiming's variance keeps activations at their size from layer to layer, so that no fault drowns. Small biases of both
signs show a bias that is lost; statistics and scales away from 0 and 1 show vectors in the wrong slots.
"""

import math
from collections.abc import Callable, Mapping

from parity.frameworks import torch

BIAS = 0.1
"""Biases lie within this distance of zero."""

_GAINS = (
    ((torch.nn.Conv2d, torch.nn.ConvTranspose2d), math.sqrt(2.0)),  # an activation halves what comes out
    ((torch.nn.LSTM, torch.nn.GRU), 2.0),  # gates that are neither half open nor shut
)
Normalisations = (torch.nn.BatchNorm2d, torch.nn.LayerNorm, torch.nn.GroupNorm)


def seeded(
    make: Callable[[], torch.nn.Module], seed: int, gains: Mapping[str, float], shifts: Mapping[str, float]
) -> torch.nn.Module:
    """The network that `make` gives, in evaluation mode, with weights that depend on the seed alone.

    `gains` multiplies the weights of single modules, `shifts` is added to their biases. Torch's global random state is
    not touched.
    """
    with torch.random.fork_rng(devices=[]):
        network = make()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in network.named_modules():
            for key, tensor in module.named_parameters(recurse=False):
                _draw(module, key, tensor, generator)
            for key, tensor in module.named_buffers(recurse=False):
                _draw_statistic(key, tensor, generator)
            if name in gains:
                module.get_parameter("weight").mul_(gains[name])
            if name in shifts:
                module.get_parameter("bias").add_(shifts[name])
    return network.eval()


def _draw(module: torch.nn.Module, key: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    if "bias" in key:
        width = 3 * BIAS if isinstance(module, Normalisations) else BIAS
        tensor.uniform_(-width, width, generator=generator)
    elif isinstance(module, Normalisations):
        tensor.uniform_(0.6, 1.4, generator=generator)
    elif isinstance(module, torch.nn.PReLU):
        tensor.uniform_(0.05, 0.45, generator=generator)
    else:
        tensor.normal_(0.0, _deviation(module, tensor), generator=generator)


def _deviation(module: torch.nn.Module, weight: torch.Tensor) -> float:
    """What keeps the size of activations, given how many products are summed into one output value.

    One output of a transposed convolution, of weight (in, out, kh, kw), sees (kh * kw / stride^2) of each input.
    """
    if isinstance(module, torch.nn.Embedding):
        return 1.0
    if isinstance(module, torch.nn.ConvTranspose2d):
        summed = module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
    else:
        summed = math.prod(weight.shape[1:])
    gain = next((gain for kinds, gain in _GAINS if isinstance(module, kinds)), 1.0)
    return gain / math.sqrt(summed)


def _draw_statistic(key: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    if key == "running_mean":
        tensor.uniform_(-0.3, 0.3, generator=generator)
    elif key == "running_var":
        tensor.uniform_(0.5, 2.0, generator=generator)
