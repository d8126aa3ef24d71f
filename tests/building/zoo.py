"""Small networks written as those of public collections are: their blocks, their idioms, at sizes that run at once."""

from collections.abc import Callable, Mapping
from typing import Any

from einops import rearrange, reduce, repeat
from einops.layers.torch import Rearrange

from parity.frameworks import torch

nn, F = torch.nn, torch.nn.functional
Shapes = tuple[int, ...] | Mapping[str, tuple[int, ...]]


class BasicBlock(nn.Module):
    """A residual block: in-place activations, a shortcut that may be a convolution, `out += identity`."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """(N, 3, H, W) to (N, 10): one activation module called in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 12, 2), BasicBlock(12, 12))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DenseLayer(nn.Module):
    """A layer that takes a list of maps, or one."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: Any) -> torch.Tensor:
        before = [features] if isinstance(features, torch.Tensor) else features
        x = self.conv1(F.relu(self.norm1(torch.cat(before, 1)), inplace=True))
        return F.dropout(self.conv2(F.relu(self.norm2(x))), p=0.2, training=self.training)


class DenseNet(nn.Module):
    """(N, 3, H, W) to (N, 7): blocks that join all that was before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
        self.layers = nn.ModuleDict({f"layer{i}": DenseLayer(6 + 4 * i, 4) for i in range(3)})
        self.pool = nn.AvgPool2d(2, 2)
        self.classifier = nn.Linear(18, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [self.stem(x)]
        for layer in self.layers.values():
            features.append(layer(features))
        out = F.relu(self.pool(torch.cat(features, 1)), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(out, (1, 1)), 1))


class SqueezeExcitation(nn.Module):
    """Channels scaled by what is in them."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardsigmoid(self.fc2(F.relu(self.fc1(self.avgpool(x))))) * x


class MobileNet(nn.Module):
    """(N, 3, H, W) to (N, 5): depthwise convolutions, squeeze and excitation, Hardswish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())
        self.block = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.Hardswish(inplace=True)),
            nn.Sequential(
                nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)
            ),
            SqueezeExcitation(16, 4),
            nn.Conv2d(16, 8, 1),
        )
        self.classifier = nn.Sequential(nn.Linear(8, 20), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(20, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.classifier(x.mean([2, 3]))


class ShuffleNet(nn.Module):
    """(N, 3, H, W) to (N, 8, H, W): halves of the channels, and a shuffle by views."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.stem(x).chunk(2, dim=1)
        out = torch.cat((first, self.branch(second)), dim=1)
        batch, channels, height, width = out.size()
        out = out.view(batch, 2, channels // 2, height, width)
        return out.transpose(1, 2).contiguous().view(batch, -1, height, width)


class Pyramid(nn.Module):
    """(N, 3, H, W) to maps by name: a head that all levels share, coarse maps enlarged to the size of finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)])
        self.head = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = torch.relu(self.levels[0](x))
        coarse = torch.relu(self.levels[1](fine))
        fine = fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
        return {"fine": self.head(fine), "coarse": self.head(coarse)}


class Siamese(nn.Module):
    """Two images (N, 3, H, W) to a flow, a score and a cost: one body called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.LeakyReLU(0.1), nn.BatchNorm2d(6))
        self.flow = nn.Conv2d(12, 2, 1)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
        left, right = self.body(left), self.body(right)
        score = F.normalize(left - right, dim=1).amax(dim=(2, 3))
        cost = F.pad((left * right).sum(dim=1, keepdim=True), (1, 2, 0, 1))
        return self.flow(torch.cat([left, right], 1)), score, cost


class Attention(nn.Module):
    """Heads by reshape and permute, as vision transformers write them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, width * 3)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Scale(nn.Module):
    """A factor for each feature, in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(0.5 * torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(self.gamma)


class VisionTransformer(nn.Module):
    """(N, 3, 12, 16) to (N, 6): patches, a token and positions that are parameters, scaled residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, 12))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 13, 12))
        self.norm1, self.norm2 = nn.LayerNorm(12, eps=1e-6), nn.LayerNorm(12, eps=1e-6)
        self.attention = Attention(12, 3)
        self.scale = Scale(12)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        x = x + self.scale(self.attention(self.norm1(x)))
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class Patches(nn.Module):
    """(N, 3, 8, 12) to (N, 12): einops cuts patches, repeats a token, and joins what the fused attention gives."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
        self.embed = nn.Linear(48, 12)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.qkv = nn.Linear(12, 36, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.embed(self.patches(image))
        x = torch.cat((repeat(self.token, "1 1 d -> b 1 d", b=x.shape[0]), x), dim=1)
        q, k, v = (rearrange(each, "b n (h d) -> b h n d", h=3) for each in self.qkv(x).chunk(3, dim=-1))
        x = rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")
        return reduce(x, "b n d -> b d", "mean")


class Normed(nn.Module):
    """(N, 3, H, W) to (N, 4, H - 4, W - 4): convolutions whose weights are made of others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.leaky_relu(self.first(x), 0.1))


class Positions(nn.Module):
    """(N, L) tokens to (N, L, 6): an embedding of where each token is."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 6), nn.Embedding(20, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.arange(tokens.size(1), device=tokens.device).unsqueeze(0).expand_as(tokens)
        return self.tokens(tokens) + self.places(places)


class Decoder(nn.Module):
    """(N, L, 6) to (N, L, 8): positions and a causal mask that are buffers, cut to the length."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.register_buffer("positions", torch.randn(1, 20, 8))
        self.register_buffer("mask", torch.tril(torch.ones(20, 20)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.size(1)
        x = self.embed(x) + self.positions[:, :length]
        scores = x @ x.transpose(-1, -2) / 8**0.5
        scores = scores.masked_fill(self.mask[:length, :length] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ x


class Encoder(nn.Module):
    """(N, L, 5) to (N, 3): torch's own transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class TextNet(nn.Module):
    """(N, L) tokens to (N, 4): convolutions of several widths over embeddings, the largest value of each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(31, 8)
        self.convs = nn.ModuleList([nn.Conv1d(8, 5, width) for width in (2, 3, 4)])
        self.head = nn.Linear(15, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        found = [F.relu(conv(x)) for conv in self.convs]
        return self.head(torch.cat([F.max_pool1d(each, each.shape[2]).squeeze(2) for each in found], 1))


class Tagger(nn.Module):
    """(N, L) tokens to the tags of each and the last states of a bidirectional LSTM of two layers, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(29, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        x, (hidden, _) = self.lstm(self.embedding(tokens))
        return {"tags": F.log_softmax(self.head(x), dim=-1), "last": torch.cat((hidden[-2], hidden[-1]), dim=1)}


class Lenet(nn.Module):
    """(N, 1, 20, 16) to (N, 10): a view by a product of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 3 * 2, 12)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 4
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        features = 1
        for size in x.size()[1:]:
            features *= size
        return self.fc2(torch.tanh(self.fc1(x.view(-1, features))))


ZOO: Mapping[str, tuple[Callable[[], nn.Module], Shapes]] = {
    "resnet": (ResNet, (2, 3, 37, 45)),
    "densenet": (DenseNet, (2, 3, 22, 18)),
    "mobilenet": (MobileNet, (2, 3, 25, 31)),
    "shufflenet": (ShuffleNet, (2, 3, 6, 10)),
    "pyramid": (Pyramid, (1, 3, 15, 22)),
    "siamese": (Siamese, {"left": (2, 3, 9, 14), "right": (2, 3, 9, 14)}),
    "vision transformer": (VisionTransformer, (2, 3, 12, 16)),
    "patches": (Patches, (2, 3, 8, 12)),
    "normed": (Normed, (2, 3, 7, 9)),
    "positions": (Positions, (2, 7)),
    "decoder": (Decoder, (2, 7, 6)),
    "encoder": (Encoder, (2, 7, 5)),
    "text": (TextNet, (3, 9)),
    "tagger": (Tagger, (3, 7)),
    "lenet": (Lenet, (2, 1, 20, 16)),
}
"""Each with the shape of its inputs."""


def made(name: str, seed: int = 0) -> nn.Module:
    """A network of the zoo in evaluation mode, with weights from the seed; statistics of norms that are not trivial."""
    torch.manual_seed(seed)
    network = ZOO[name][0]()
    for key, buffer in network.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            buffer.normal_(0.0, 0.2)
    return network.eval()
