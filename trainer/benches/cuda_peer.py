#!/usr/bin/env python3
"""The training step of `training_step.rs` in PyTorch on a GPU: `cuda_peer.py MODE,.. PRECISION BATCH STEPS`.

MODE is `eager`, `channels-last`, `graph` (channels last, the whole step captured) or `compile` (channels last, with
`reduce-overhead`). Prints each mode and the median milliseconds of its step, a clip of the gradient's norm and Adam (fused)
included. A mode that fails stops no other. Needs PyTorch only; `tools/gpu_kit.py` compares with it.
"""

import sys
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import training_step_peer as step_peer  # noqa: E402

WARM_UP = 20


class Step(step_peer.Step):
    def __init__(self, mode, precision, batch):
        step_peer.BATCH = batch
        super().__init__()
        self.precision = precision
        layout = torch.contiguous_format if mode == "eager" else torch.channels_last
        self.network.cuda().to(memory_format=layout)
        self.vgg.cuda().to(memory_format=layout)
        self.mean, self.deviation = self.mean.cuda(), self.deviation.cuda()
        self.photos = self.photos.cuda().contiguous(memory_format=layout)
        self.style = [target.cuda() for target in self.style]
        # A captured step may not ask for the norm on the host.
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=True, capturable=mode == "graph")
        forward = lambda photos: self.loss(self.network(photos))  # noqa: E731
        self.forward = torch.compile(forward, mode="reduce-overhead") if mode == "compile" else forward

    def run(self):
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.forward(self.photos)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10)
        self.adam.step()

    def captured(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run()
        return graph.replay


def time_steps(mode, precision, batch, steps):
    step = Step(mode, precision, batch)
    run = step.captured() if mode == "graph" else step.run
    times = []
    for _ in range(WARM_UP + steps):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return median(times[WARM_UP:])


def main():
    modes, precision, batch, steps = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "f32"
    failed = False
    for mode in modes:
        try:
            print(mode, time_steps(mode, precision, batch, steps), flush=True)
        except Exception as error:  # noqa: BLE001
            failed = True
            print(f"error: {mode}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
