"""Makes the PyTorch files that the tests of `torch.rs` read. Run it here: `python make.py` (made with PyTorch 2)."""

from collections import OrderedDict

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
