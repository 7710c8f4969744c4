#!/usr/bin/env python3
"""Makes the reference numbers that `tests/suite/pytorch_reference.rs` compares with, once and by hand.

    pip install torch torchvision numpy safetensors
    python tests/reference/make.py                       # everything but the trained networks
    python tests/reference/make.py --data DIR            # the trained networks too: DIR/stylenets/{candy,mosaic}.*

Everything is seeded, but PyTorch does not promise the same numbers in its next release: commit the files together with
a change of this script. The header of each file says which PyTorch made it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from style_net import StyleNet, convolution

HERE = Path(__file__).parent


def save(name, tensors):
    tensors = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    save_file(tensors, HERE / f"{name}.safetensors", {"torch": torch.__version__})


def with_gradients(prefix, inputs, function):
    """Inputs, result, a random weighting of the result, and the gradients of the weighted sum, all under `prefix`."""
    inputs = {key: tensor.clone().requires_grad_() for key, tensor in inputs.items()}
    result = function(**inputs)
    weighting = torch.randn_like(result)
    (result * weighting).sum().backward()
    tensors = {**inputs, "result": result, "weighting": weighting}
    tensors |= {f"{key}.gradient": tensor.grad for key, tensor in inputs.items()}
    return {f"{prefix}.{key}": tensor for key, tensor in tensors.items()}


def make_ops():
    torch.manual_seed(1)
    tensors = {}
    convolutions = {
        # name: (input, weight, geometry), the shapes of the two networks
        "conv.reflect3": ((2, 6, 9, 11), (5, 6, 3, 3), dict(reflect=1)),
        "conv.reflect3_stride2": ((2, 6, 9, 12), (5, 6, 3, 3), dict(reflect=1, stride=2)),
        "conv.reflect9": ((1, 3, 10, 13), (4, 3, 9, 9), dict(reflect=4)),
        "conv.upsample2": ((2, 5, 5, 6), (4, 5, 3, 3), dict(upsample=2, reflect=1)),
        "conv.zero3_relu": ((2, 7, 8, 9), (18, 7, 3, 3), dict(zero=1, relu=True)),
        "conv.wide": ((1, 32, 14, 15), (16, 32, 3, 3), dict(reflect=1)),
    }
    for name, (input, weight, geometry) in convolutions.items():
        fan_in = weight[1] * weight[2] * weight[3]
        inputs = dict(xs=torch.randn(input), weight=torch.randn(weight) / fan_in**0.5, bias=torch.randn(weight[0]))
        tensors |= with_gradients(name, inputs, convolution(**geometry))

    def inputs():
        affine = dict(weight=torch.randn(4), bias=torch.randn(4))
        return dict(xs=100 + 50 * torch.randn(2, 4, 9, 11), **affine)

    norm = lambda xs, weight, bias: F.instance_norm(xs, None, None, weight, bias)  # noqa: E731
    residual = dict(residual=torch.randn(2, 4, 9, 11))
    tensors |= with_gradients("norm.plain", inputs(), norm)
    tensors |= with_gradients("norm.relu", inputs(), lambda **kwargs: F.relu(norm(**kwargs)))
    tensors |= with_gradients(
        "norm.residual", inputs() | residual, lambda residual, **kwargs: norm(**kwargs) + residual
    )
    # Few levels, so that many blocks have ties.
    levels = torch.randint(0, 4, (2, 3, 9, 13)).float()
    tensors |= with_gradients("pool", dict(xs=levels), lambda xs: F.max_pool2d(xs, 2))
    tensors |= with_gradients("gram", dict(xs=torch.randn(2, 18, 9, 11)), gram)
    # Rows and columns in pixels, up to three outside the picture.
    reach = torch.tensor([9.0, 11.0])[:, None, None]
    positions = torch.rand(2, 2, 6, 8) * (reach + 5) - 3
    tensors |= with_gradients("warp", dict(xs=torch.randn(2, 3, 9, 11)), lambda xs: sampled(xs, positions))
    tensors["warp.positions"] = positions
    save("ops", tensors)


def sampled(xs, positions):
    rows, columns = positions.unbind(1)
    height, width = xs.shape[2:]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)
    return F.grid_sample(xs, grid, mode="bicubic", padding_mode="border", align_corners=True)


def gram(xs):
    features = xs.flatten(2)
    return features @ features.transpose(1, 2)


def make_stylenet():
    """A network of preset `xs` on an odd and an even size: picture, result, gradients of all weights."""
    torch.manual_seed(2)
    network = StyleNet(channels=4, blocks=3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "in" in name.split(".")[-2]:
                parameter.add_(0.3 * torch.randn_like(parameter))
    tensors = {f"weights.{name}": parameter for name, parameter in network.named_parameters()}
    for height, width in [(33, 47), (64, 64)]:
        network.zero_grad()
        photo = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
        # The result is rounded up to multiples of 4; the top left part counts.
        painted = network(photo.float())[:, :, :height, :width]
        weighting = torch.randn(1, 3, height, width)
        (painted * weighting).sum().backward()
        size = f"{height}x{width}"
        tensors |= {f"{size}.photo": photo, f"{size}.painted": painted, f"{size}.weighting": weighting}
        tensors |= {f"{size}.gradient.{name}": parameter.grad.clone() for name, parameter in network.named_parameters()}
    save("stylenet", tensors)


def make_objective():
    """A small VGG-16 with random weights: features at one layer of each block, and the objective with its gradient."""
    torch.manual_seed(3)
    blocks = [(4, 2), (6, 2), (8, 3), (10, 3), (12, 3)]
    tensors, layers, inputs, index = {}, [], 3, 0
    for block, (outputs, convolutions) in enumerate(blocks, 1):
        for i in range(1, convolutions + 1):
            weight = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            tensors |= {f"features.{index}.weight": weight, f"features.{index}.bias": 0.1 * torch.randn(outputs)}
            layers.append((f"relu{block}_{i}", index))
            inputs, index = outputs, index + 2
        index += 1

    def features(xs):
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        xs = (xs / 255 - mean[:, None, None]) / deviation[:, None, None]
        found = {}
        for name, index in layers:
            if name.endswith("_1") and name != "relu1_1":
                xs = F.max_pool2d(xs, 2)
            xs = F.relu(F.conv2d(xs, tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"], padding=1))
            found[name] = xs
        return found

    photo = torch.randint(0, 256, (2, 3, 35, 50), dtype=torch.uint8)
    style = torch.randint(0, 256, (1, 3, 40, 32), dtype=torch.uint8)
    painted = (255 * torch.rand(2, 3, 35, 50)).requires_grad_()
    found, wanted, styled = features(painted), features(photo.float()), features(style.float())
    names = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
    content = F.mse_loss(found["relu3_3"], wanted["relu3_3"])
    mean_gram = lambda xs: gram(xs) / (xs.shape[2] * xs.shape[3])  # noqa: E731
    # Johnson et al.: Gram matrices over C H W, squared Frobenius distance, averaged over the batch.
    johnson = lambda name: (  # noqa: E731
        ((mean_gram(found[name]) - mean_gram(styled[name])) / found[name].shape[1]).square().sum() / 2
    )
    style_loss = sum(johnson(name) for name in names[:3])
    variation = painted.diff(dim=2).square().sum() + painted.diff(dim=3).square().sum()
    total = 2 * content + 3 * style_loss + 0.5 * variation / (255**2 * painted.numel())
    total.backward()
    tensors |= {f"found.{name}": found[name] for name in names}
    tensors |= dict(photo=photo, style=style, painted=painted, gradient=painted.grad)
    tensors |= dict(content=content, style_loss=style_loss, total=total)
    save("objective", tensors)


def make_optimisers():
    torch.manual_seed(4)
    tensors = {}
    # Adam on given gradients, some of them zero or huge.
    value = torch.randn(3, 5).requires_grad_()
    gradients = torch.randn(8, 3, 5) * torch.tensor([1e-6, 1.0, 1e4])[:, None]
    gradients[3, :, 2] = 0
    adam = torch.optim.Adam([value], lr=1e-3)
    tensors |= {"adam.start": value.clone(), "adam.gradients": gradients}
    values = []
    for gradient in gradients:
        value.grad = gradient
        adam.step()
        values.append(value.detach().clone())
    tensors["adam.values"] = torch.stack(values)

    # L-BFGS on sum c (x - t)^2 / 2 + sum (x[i + 1] - x[i])^4 / 4: convex, not quadratic, ill-conditioned.
    curvature = torch.logspace(-1, 2, 12)
    target = torch.randn(12)
    value = torch.randn(12).requires_grad_()
    lbfgs = torch.optim.LBFGS([value], lr=1, max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0)
    tensors |= {"lbfgs.curvature": curvature, "lbfgs.target": target, "lbfgs.start": value.clone()}

    def closure():
        lbfgs.zero_grad()
        objective = (curvature * (value - target) ** 2).sum() / 2 + (value.diff() ** 4).sum() / 4
        objective.backward()
        return objective

    values = []
    for _ in range(25):
        lbfgs.step(closure)
        values.append(value.detach().clone())
    tensors["lbfgs.values"] = torch.stack(values)
    save("optimisers", tensors)


def synthetic_photo(height, width):
    """The picture that `synthetic_photo` in the test computes: integers only, so the same everywhere."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    blob = 200 - np.minimum((x - width // 3) ** 2 + (y - height // 2) ** 2, 40000) * 200 // 40000
    stripes = (x * 7 + y * 3) % 64 * 3
    checks = (x // 16 + y // 16) % 2 * 120
    texture = (x * x * 31 + y * y * 17 + x * y * 13) % 37
    channels = [blob + texture, stripes + checks // 2, 255 - blob // 2 - checks // 3 + texture]
    return np.clip(np.stack(channels), 0, 255).astype(np.uint8)


def make_trained(data):
    """What two trained networks paint: every sixth pixel in each direction, and a whole corner, as bytes.

    The weights are not ours to commit; the test that needs them looks for them.
    """
    files = {"candy": "candy.safetensors", "mosaic": "mosaic.pth"}
    tensors = {}
    for name, file in files.items():
        path = data / "stylenets" / file
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        network = StyleNet()
        # Files from before PyTorch 0.4 hold running statistics that instance normalisation never uses.
        weights = {key: tensor.float() for key, tensor in weights.items() if "running_" not in key}
        network.load_state_dict(weights)
        for height, width in [(64, 64), (101, 67), (256, 256)]:
            photo = torch.from_numpy(synthetic_photo(height, width)).float()[None]
            with torch.no_grad():
                painted = network(photo)[0, :, :height, :width].clamp(0, 255).round().to(torch.uint8)
            size = f"{name}.{height}x{width}"
            tensors |= {f"{size}.sixth": painted[:, ::6, ::6], f"{size}.corner": painted[:, -24:, -24:]}
    save("trained", tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of trained networks: DIR/stylenets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make_ops()
    make_stylenet()
    make_objective()
    make_optimisers()
    if arguments.data:
        make_trained(arguments.data)


if __name__ == "__main__":
    main()
