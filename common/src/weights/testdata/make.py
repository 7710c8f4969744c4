"""Makes the PyTorch files that the tests read. Run it here: `python make.py` (made with PyTorch 2).

The first three are read by `torch.rs`, the rest, which hold tiny networks of the family, by `model_file`. All are made for
these tests; no one's weights are in them.
"""

from collections import OrderedDict, defaultdict

import torch

state = OrderedDict()
state["module.a.weight"] = torch.arange(6, dtype=torch.float32).reshape(2, 3)
state["module.a.transposed"] = torch.arange(6, dtype=torch.float32).reshape(2, 3).t()
state["module.a.part"] = torch.arange(10, dtype=torch.float32)[4:7]
state["module.a.half"] = torch.tensor([0.5, -2.0], dtype=torch.float16)
state["module.a.count"] = torch.tensor(7)
state["module.a.parameter"] = torch.nn.Parameter(torch.tensor([1.25]))

torch.save(OrderedDict((name.removeprefix("module."), tensor) for name, tensor in state.items()), "zip.pth")
torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1, "betas": (0.9, 0.999)}}, "nested.pth")
torch.save(state, "legacy.pth", _use_new_zipfile_serialization=False)

LAYERS = [
    ("conv1", "in1", 1, 3, 9),
    ("conv2", "in2", 2, 1, 3),
    ("conv3", "in3", 4, 2, 3),
    ("res1.conv1", "res1.in1", 4, 4, 3),
    ("res1.conv2", "res1.in2", 4, 4, 3),
    ("deconv1", "in4", 2, 4, 3),
    ("deconv2", "in5", 1, 2, 3),
    ("deconv3", None, 3, 1, 9),
]


def network(prefix="", blocks=1, start=0):
    """A network of one channel, in half precision, whose tensors are parts of one storage: small files."""
    shapes = OrderedDict()
    for conv, norm, outputs, inputs, kernel in LAYERS:
        if blocks == 0 and conv.startswith("res"):
            continue
        shapes[f"{prefix}{conv}.conv2d.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"{prefix}{conv}.conv2d.bias"] = (outputs,)
        for part in ["weight", "bias"] if norm else []:
            shapes[f"{prefix}{norm}.{part}"] = (outputs,)
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    values = ((torch.arange(sum(sizes)) + start) % 97 / 97 - 0.5).half()
    parts = torch.split(values, sizes)
    return OrderedDict((name, part.view(shape)) for (name, shape), part in zip(shapes.items(), parts))


def save_legacy(content, file):
    torch.save(content, file, _use_new_zipfile_serialization=False)


# Beside the weights: an optimiser, and tensors of types that weights are not of.
moments = {"step": torch.tensor(5, dtype=torch.int32), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(2, 2)}
optimizer = {"state": defaultdict(dict, {0: moments, 1: moments}), "param_groups": [{"lr": 0.001, "params": [0, 1]}]}
spectrum = torch.tensor([1 + 2j])
content = {"epoch": 3, "gan": {"generator": {"state_dict": network("model.")}}, "optim": optimizer, "fft": spectrum}
save_legacy(content, "checkpoint.ckpt")
torch.save(network("module._orig_mod."), "compiled.pth")
best = {"best_loss": 0.5, "best": network("_orig_mod.module.", blocks=0)}
save_legacy([network("_orig_mod.module.", blocks=0), best], "best.pth")
save_legacy({"netG_A": network(blocks=0), "netG_B": network(blocks=0, start=5)}, "pair.pth")
