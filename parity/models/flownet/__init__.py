"""FlowNet2-SD: the reference, its hand-written Keras port, and the two as a pair."""

from parity.models.flownet.pair import build, layer_map, networks, pair_from
from parity.models.flownet.port import build_port
from parity.models.flownet.reference import FlowNet2SD, seeded

__all__ = ["FlowNet2SD", "build", "build_port", "layer_map", "networks", "pair_from", "seeded"]
