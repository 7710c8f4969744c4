"""The style network in PyTorch, with the layers and names of pytorch/examples. Needs PyTorch only."""

import torch.nn.functional as F
from torch import nn


def convolution(upsample=1, reflect=0, zero=0, stride=1, relu=False):
    def forward(xs, weight, bias):
        xs = F.interpolate(xs, scale_factor=upsample, mode="nearest") if upsample > 1 else xs
        xs = F.pad(xs, 4 * [reflect], mode="reflect")
        ys = F.conv2d(xs, weight, bias, stride=stride, padding=zero)
        return F.relu(ys) if relu else ys

    return forward


class ConvLayer(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, upsample=1):
        super().__init__()
        self.geometry = dict(upsample=upsample, reflect=kernel // 2, stride=stride)
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, xs):
        return convolution(**self.geometry)(xs, self.conv2d.weight, self.conv2d.bias)


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.in1 = ConvLayer(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)
        self.conv2, self.in2 = ConvLayer(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)

    def forward(self, xs):
        return xs + self.in2(self.conv2(F.relu(self.in1(self.conv1(xs)))))


class StyleNet(nn.Module):
    """The transformer network of Johnson et al. (2016) with the layers and names of pytorch/examples."""

    def __init__(self, channels=32, blocks=5):
        super().__init__()
        norm = lambda channels: nn.InstanceNorm2d(channels, affine=True)  # noqa: E731
        c1, c2, c4 = channels, 2 * channels, 4 * channels
        self.conv1, self.in1 = ConvLayer(3, c1, 9), norm(c1)
        self.conv2, self.in2 = ConvLayer(c1, c2, 3, stride=2), norm(c2)
        self.conv3, self.in3 = ConvLayer(c2, c4, 3, stride=2), norm(c4)
        self.blocks = [f"res{i}" for i in range(1, blocks + 1)]
        for name in self.blocks:
            setattr(self, name, ResidualBlock(c4))
        self.deconv1, self.in4 = ConvLayer(c4, c2, 3, upsample=2), norm(c2)
        self.deconv2, self.in5 = ConvLayer(c2, c1, 3, upsample=2), norm(c1)
        self.deconv3 = ConvLayer(c1, 3, 9)

    def forward(self, xs):
        for i in "123":
            xs = F.relu(getattr(self, f"in{i}")(getattr(self, f"conv{i}")(xs)))
        for name in self.blocks:
            xs = getattr(self, name)(xs)
        xs = F.relu(self.in4(self.deconv1(xs)))
        xs = F.relu(self.in5(self.deconv2(xs)))
        return self.deconv3(xs)
