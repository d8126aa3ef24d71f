"""FlowNet2-SD in PyTorch: the original every port of it is measured against.

Written anew from the published facts of NVIDIA's network (github.com/NVIDIA/flownet2-pytorch, `FlowNet2SD`):
its state-dict keys in registration order, its layer sizes and its forward pass. No code was copied.
"""

import math

from parity.frameworks import torch

SLOPE = 0.1
"""The negative slope of every LeakyReLU in the network."""

BIAS = 0.1
"""Seeded biases lie within this distance of zero, on both sides."""


def conv(inputs: int, outputs: int, stride: int = 1) -> torch.nn.Sequential:
    """A 3x3 convolution and its activation."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1),
        torch.nn.LeakyReLU(SLOPE, inplace=True),
    )


def inter_conv(inputs: int, outputs: int) -> torch.nn.Sequential:
    """A 3x3 convolution without an activation; a Sequential all the same, which its state-dict keys show."""
    return torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))


def deconv(inputs: int, outputs: int) -> torch.nn.Sequential:
    """A transposed convolution that doubles height and width, and its activation."""
    return torch.nn.Sequential(
        torch.nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1),
        torch.nn.LeakyReLU(SLOPE, inplace=True),
    )


def predict_flow(inputs: int) -> torch.nn.Conv2d:
    """A 3x3 convolution to the two components of the flow."""
    return torch.nn.Conv2d(inputs, 2, kernel_size=3, padding=1)


def upsampled_flow() -> torch.nn.ConvTranspose2d:
    """A learned doubling of a flow's height and width."""
    return torch.nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, padding=1)


class FlowNet2SD(torch.nn.Module):
    """Optical flow between two frames, for small displacements: 45,371,666 parameters in 60 tensors.

    Takes (B, 3, 2, H, W): RGB in 0-255, two frames, H and W multiples of 64. In evaluation it returns the
    flow in pixels, (B, 2, H, W), x before y; in training the tuple flow2 .. flow6, at 1/4 .. 1/64 of the
    size, before scaling.
    """

    def __init__(self, rgb_max: float = 255.0, div_flow: float = 20.0) -> None:
        super().__init__()
        self.rgb_max = rgb_max
        self.div_flow = div_flow

        self.conv0 = conv(6, 64)
        self.conv1 = conv(64, 64, stride=2)
        self.conv1_1 = conv(64, 128)
        self.conv2 = conv(128, 128, stride=2)
        self.conv2_1 = conv(128, 128)
        self.conv3 = conv(128, 256, stride=2)
        self.conv3_1 = conv(256, 256)
        self.conv4 = conv(256, 512, stride=2)
        self.conv4_1 = conv(512, 512)
        self.conv5 = conv(512, 512, stride=2)
        self.conv5_1 = conv(512, 512)
        self.conv6 = conv(512, 1024, stride=2)
        self.conv6_1 = conv(1024, 1024)

        # A level's input: the encoder's skip, the deconvolution, and the two components of the coarser flow.
        self.deconv5 = deconv(1024, 512)
        self.deconv4 = deconv(512 + 512 + 2, 256)
        self.deconv3 = deconv(512 + 256 + 2, 128)
        self.deconv2 = deconv(256 + 128 + 2, 64)

        self.inter_conv5 = inter_conv(512 + 512 + 2, 512)
        self.inter_conv4 = inter_conv(512 + 256 + 2, 256)
        self.inter_conv3 = inter_conv(256 + 128 + 2, 128)
        self.inter_conv2 = inter_conv(128 + 64 + 2, 64)

        self.predict_flow6 = predict_flow(1024)
        self.predict_flow5 = predict_flow(512)
        self.predict_flow4 = predict_flow(256)
        self.predict_flow3 = predict_flow(128)
        self.predict_flow2 = predict_flow(64)

        self.upsampled_flow6_to_5 = upsampled_flow()
        self.upsampled_flow5_to_4 = upsampled_flow()
        self.upsampled_flow4_to_3 = upsampled_flow()
        self.upsampled_flow3_to_2 = upsampled_flow()

        self.upsample1 = torch.nn.Upsample(scale_factor=4, mode="bilinear")

    def forward(self, frames: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The flow from the first frame to the second; the class says which shapes."""
        mean = frames.mean(dim=(2, 3, 4), keepdim=True)
        x = (frames - mean) / self.rgb_max
        x = torch.cat((x[:, :, 0], x[:, :, 1]), dim=1)

        skip2 = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(x)))))
        skip3 = self.conv3_1(self.conv3(skip2))
        skip4 = self.conv4_1(self.conv4(skip3))
        skip5 = self.conv5_1(self.conv5(skip4))
        skip6 = self.conv6_1(self.conv6(skip5))
        flow6 = self.predict_flow6(skip6)

        level5 = torch.cat((skip5, self.deconv5(skip6), self.upsampled_flow6_to_5(flow6)), dim=1)
        flow5 = self.predict_flow5(self.inter_conv5(level5))

        level4 = torch.cat((skip4, self.deconv4(level5), self.upsampled_flow5_to_4(flow5)), dim=1)
        flow4 = self.predict_flow4(self.inter_conv4(level4))

        level3 = torch.cat((skip3, self.deconv3(level4), self.upsampled_flow4_to_3(flow4)), dim=1)
        flow3 = self.predict_flow3(self.inter_conv3(level3))

        level2 = torch.cat((skip2, self.deconv2(level3), self.upsampled_flow3_to_2(flow3)), dim=1)
        flow2 = self.predict_flow2(self.inter_conv2(level2))

        if self.training:
            return flow2, flow3, flow4, flow5, flow6
        scaled: torch.Tensor = self.upsample1(flow2 * self.div_flow)
        return scaled


def blank() -> FlowNet2SD:
    """The network in evaluation mode, its weights not yet set; the global random state is not touched."""
    with torch.device("meta"):
        network = FlowNet2SD()
    return network.to_empty(device="cpu").eval()


def seeded(seed: int) -> FlowNet2SD:
    """The network in evaluation mode with weights that probe a port well, the same for the same seed.

    Torch's default initialisation lets activations shrink until a fault drowns. Kaiming-normal weights keep
    their variance from layer to layer, and biases of both signs show a bias that is lost.
    """
    network = blank()
    generator = torch.Generator().manual_seed(seed)
    gain = torch.nn.init.calculate_gain("leaky_relu", SLOPE)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.weight.normal_(0.0, gain / math.sqrt(_taps(layer)), generator=generator)
                assert layer.bias is not None
                layer.bias.uniform_(-BIAS, BIAS, generator=generator)
    return network


def _taps(layer: torch.nn.Conv2d | torch.nn.ConvTranspose2d) -> float:
    """How many products are summed into one output value.

    A transposed convolution spreads each input over a k x k patch that moves on by the stride: one output
    sees (k / stride)^2 of them. `torch.nn.init` reads its weight (in, out, k, k) as a convolution's and
    counts wrongly.
    """
    kernel = math.prod(layer.kernel_size)
    if isinstance(layer, torch.nn.ConvTranspose2d):
        return layer.in_channels * kernel / math.prod(layer.stride)
    return float(layer.in_channels * kernel)
