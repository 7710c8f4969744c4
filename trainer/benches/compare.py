#!/usr/bin/env python3
"""Compares a training step of ours with PyTorch's: `python trainer/benches/compare.py [STEPS]`.

Both processes stay alive and take turns, one step each, so that whatever else the machine does slows both alike; the first
two steps of each are not counted. The ratio of processor times hardly depends on the load of the machine; it leaves out what a
step waits for. Needs PyTorch in the Python that runs it.
"""

import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles

HERE = Path(__file__).resolve().parent
OURS = ["cargo", "bench", "--quiet", "--workspace", "--bench", "training_step", "--", "--serve"]
THEIRS = [sys.executable, str(HERE / "training_step_peer.py"), "--serve"]
WARM_UP = 2


class Peer:
    def __init__(self, command):
        self.process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start_memory = int(self.process.stdout.readline().split()[1])
        self.seconds, self.processor, self.memory = [], [], 0

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, processor, memory = self.process.stdout.readline().split()
        self.seconds.append(float(seconds))
        self.processor.append(float(processor))
        self.memory = int(memory)

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def report(self, name):
        low, middle, high = quantiles(self.seconds[WARM_UP:], n=4)
        peak, step = self.memory / 1024, (self.memory - self.start_memory) / 1024
        processor = median(self.processor[WARM_UP:])
        print(f"{name:8} {middle:7.3f} s a step ({low:.3f} .. {high:.3f}), {processor:.2f} s of processor, ", end="")
        print(f"peak {peak:.0f} MiB, {step:.0f} above start")


def main():
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    peers = ours, theirs = Peer(OURS), Peer(THEIRS)
    for _ in range(steps + WARM_UP):
        for peer in peers:
            peer.step()
    for peer in peers:
        peer.close()
    ours.report("ours")
    theirs.report("PyTorch")

    def ratio(mine, other):
        return median(a / b for a, b in list(zip(mine, other))[WARM_UP:])

    print(
        f"ratio    {ratio(ours.seconds, theirs.seconds):7.3f} in time, "
        f"{ratio(ours.processor, theirs.processor):.3f} of processor, {ours.memory / theirs.memory:.3f} in peak memory"
    )


if __name__ == "__main__":
    main()
