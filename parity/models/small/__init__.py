"""Small networks that hold, between them, every kind of layer a port may get wrong; each port is faithful.

They show in seconds that a faithful port passes, and that a fault planted in it is found: what one large network
cannot, since it has few kinds of layers. Each has a file with its `Reference`, its `build_port`, and its `pair`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from parity.models.small import depthwise, encoder, mlp, residual, tagger, unet, upscaler
from parity.models.small.network import ImageNetwork, Network, SequenceNetwork

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {module.NETWORK.name: module.NETWORK for module in (residual, unet, depthwise, mlp, upscaler, tagger, encoder)}
)
"""Every small network by name: `description`, `pair(seed, size)`, and the `sizes` that it is known to take."""

__all__ = ["NETWORKS", "ImageNetwork", "Network", "SequenceNetwork"]
