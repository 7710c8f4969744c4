#!/usr/bin/env python3
"""The training step of `training_step.rs` in PyTorch eager: batch 4 at 256x256, preset `l`, VGG-16 to relu3_3, Adam.

Speaks the protocol of that file's `--serve`; `compare.py` runs both.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference"))
from style_net import StyleNet  # noqa: E402

THREADS, BATCH, SIZE = 2, 4, 256


def vgg16():
    """VGG-16 to relu3_3, cut where the layers are read."""
    widths = [[3, 64, 64], [64, 128, 128], [128, 256, 256, 256]]
    blocks = nn.ModuleList()
    for number, channels in enumerate(widths):
        layers = [nn.MaxPool2d(2)] if number else []
        for inputs, outputs in zip(channels, channels[1:]):
            # In place, as in torchvision.
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            nn.init.kaiming_normal_(layers[-2].weight)
        blocks.append(nn.Sequential(*layers))
    return blocks.requires_grad_(False)


def gram(features):
    features = features.flatten(2)
    return features @ features.transpose(1, 2) / features.shape[2]


class Step:
    def __init__(self):
        self.network, self.vgg = StyleNet(), vgg16()
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        self.deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        numbers = torch.arange(BATCH * 3 * SIZE * SIZE) * 7919 % 256
        self.photos = numbers.float().reshape(BATCH, 3, SIZE, SIZE)
        with torch.no_grad():
            self.style = [gram(features) for features in self.features(self.photos[:1])]

    def features(self, pictures):
        features = [(pictures / 255 - self.mean) / self.deviation]
        for block in self.vgg:
            features.append(block(features[-1]))
        return features[1:]

    def loss(self, painted):
        with torch.no_grad():
            wanted = self.features(self.photos)[-1]
        features = self.features(painted)
        content = F.mse_loss(features[-1], wanted) / wanted.square().mean()
        style = sum(
            (gram(found) - target).square().sum() / target.square().sum() / BATCH
            for found, target in zip(features, self.style)
        )
        variation = painted.diff(dim=2).square().sum() + painted.diff(dim=3).square().sum()
        return content + 10 * style + variation / (255**2 * painted.numel())

    def time(self):
        start = time.perf_counter()
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(self.network(self.photos))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10)
        self.adam.step()
        return time.perf_counter() - start


def peak_memory():
    """The largest resident memory of this process so far, kB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    step = Step()
    if "--serve" not in sys.argv:
        for _ in range(5):
            print(f"{step.time():.3f} s")
        return
    print("ready", peak_memory(), flush=True)
    for _ in sys.stdin:
        before = time.process_time()
        seconds = step.time()
        print(seconds, time.process_time() - before, peak_memory(), flush=True)


if __name__ == "__main__":
    main()
