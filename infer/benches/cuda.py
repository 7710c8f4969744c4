#!/usr/bin/env python3
"""Compares painting of ours with PyTorch's on an NVIDIA GPU, in half precision.

    python infer/benches/cuda.py --sizes 1920x1080 --presets l

All run the same network, with the same weights, on the same frame. Two times are taken: `alone`, from a frame of bytes in the
GPU's memory to a painting of bytes there, and `frame`, the same from and to the host's memory, one frame at a time, with copies.
PyTorch runs in several modes, and the best one counts: eager, channels last, captured as a CUDA graph, and torch.compile
(`max-autotune`, which captures graphs too), each in f16 and bf16. Every engine has a process of its own, which stays alive; they
take turns. The first paintings are not counted. Ratios are medians over the rounds of ours by theirs: below 1, ours is faster.

The mean levels of the paintings are compared. Presets `m` and `l` have trained weights: the bundled style, for `l` with every
channel twice. Other presets have random weights, which paint nearly black, so that the mean says little. A difference is a warning
and does not stop the measurement; with trained weights the exit code is then 1.

Ours is built with the feature `cuda`: the environment of the toolkit must be set (docs/gpu.md says how). This Python needs torch
with CUDA; for random weights also safetensors. `tools/gpu_kit.py` measures everything, also where there is no Rust.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402

sys.path.insert(0, str(peers.ROOT / "tools" / "gpu_kit"))
from widen import widen  # noqa: E402

WORKSPACE = ["--workspace", "--locked", "--features", "cuda"]
WARM_UP = 2
# Paintings whose mean is one figure: a GPU's clock is coarse, and its first painting after a pause is slow.
BURST = 20
# How far the mean level of a painting may be from ours, relatively.
TOLERANCE = 0.05
# The bundled style whose weights are used; its preset is `m`.
STYLE = peers.ROOT / "common" / "styles" / "starry_night.safetensors"
# The presets for which there are trained weights, and how many channels they have for each of the bundled style.
TRAINED = {"m": 1, "l": 2}


class TorchEngine:
    """PyTorch on the GPU: `run` paints the frame in `self.frame` and returns bytes, (height, width, 3)."""

    dtype, channels_last, graph, compiled = "float16", False, False, False

    def __init__(self, options):
        import torch

        self.torch = torch
        torch.backends.cudnn.benchmark = True
        height, width = options.size
        network = peers.style_net(options.weights).to("cuda", getattr(torch, self.dtype))
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = torch.compile(network, mode="max-autotune", dynamic=False) if self.compiled else network
        self.host = frame(options.size).pin_memory()
        self.back = torch.empty_like(self.host).pin_memory()
        self.frame = torch.empty((height, width, 3), dtype=torch.uint8, device="cuda")
        self.frame.copy_(self.host)
        self.captured = None
        with torch.no_grad():
            for _ in range(3):
                self.painting = self.compute()
            torch.cuda.synchronize()
            if self.graph:
                self.captured = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.captured):
                    self.painting = self.compute()

    def compute(self):
        torch = self.torch
        levels = self.frame.permute(2, 0, 1)[None].to(getattr(torch, self.dtype))
        if self.channels_last:
            levels = levels.contiguous(memory_format=torch.channels_last)
        painted = self.network(levels)[0].clamp(0, 255).add(0.5).to(torch.uint8)
        return painted.permute(1, 2, 0).contiguous()

    def run(self):
        if self.captured is None:
            self.painting = self.compute()
        else:
            self.captured.replay()

    def alone(self):
        """Seconds of a painting on the GPU alone."""
        torch = self.torch
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.no_grad():
            start.record()
            for _ in range(BURST):
                self.run()
            end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / BURST

    def paint(self):
        """Seconds of a painting from host to host."""
        start = time.perf_counter()
        with self.torch.no_grad():
            self.frame.copy_(self.host, non_blocking=True)
            self.run()
            self.back.copy_(self.painting, non_blocking=True)
        self.torch.cuda.synchronize()
        return time.perf_counter() - start


def variant(name, **settings):
    return type(name, (TorchEngine,), settings)


ENGINES = {
    f"{way}-{short}": variant(way, dtype=dtype, **settings)
    for short, dtype in [("f16", "float16"), ("bf16", "bfloat16")]
    for way, settings in {
        "eager": {},
        "channels-last": {"channels_last": True},
        "graph": {"channels_last": True, "graph": True},
        "compile": {"channels_last": True, "compiled": True},
    }.items()
}


def frame(size):
    """The picture of `peers.photo`, as bytes."""
    import torch

    height, width = size
    levels = torch.arange(3 * height * width) * 7919 % 256
    return levels.to(torch.uint8).reshape(3, height, width).permute(1, 2, 0).contiguous()


def serve(options):
    """Speaks the protocol of painting.rs: seconds, processor seconds, kB, mean level, seconds on the GPU alone."""
    print("ready", 0, flush=True)
    engine = ENGINES[options.serve](options)
    for _ in sys.stdin:
        seconds = engine.paint()
        planes = engine.back.permute(2, 0, 1).flatten()
        level = float(planes[:: peers.EVERY].double().mean())
        print(seconds, 0, 0, level, engine.alone(), flush=True)


class Child:
    """An engine in a process of its own."""

    def __init__(self, name, command):
        self.name, self.frame, self.alone, self.level = name, [], [], None
        self.log = tempfile.TemporaryFile(mode="w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        self.process = subprocess.Popen(command, cwd=peers.ROOT, text=True, **pipes)
        self.answer()

    def paint(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, _, _, self.level, alone = map(float, self.answer())
        self.frame.append(seconds)
        self.alone.append(alone)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.name} ended with exit code {self.process.returncode}:\n{self.log.read()[-3000:]}")
        return line.split()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(network, size, options, ours, folder):
    """Paints in turns, prints the table of one network and size, and returns its figures."""
    height, width = size
    weights = options.weights or str(folder / f"{network}.safetensors")
    words = [weights, str(width), str(height), "0", options.precision, "cuda"]
    children = [Child("ours", [ours, "--serve", *words])]
    children[0].paint()
    for peer in options.peers:
        here = [sys.executable, str(Path(__file__).resolve())]
        words = ["--serve", peer, "--weights", weights, "--size", f"{width}x{height}"]
        try:
            child = Child(peer, here + words)
            child.paint()
            children.append(child)
        except RuntimeError as error:
            # If one mode of PyTorch fails, the others are still measured.
            print(error, file=sys.stderr)
    agree = True
    for engine in children[1:]:
        if not abs(engine.level - children[0].level) <= TOLERANCE * abs(children[0].level):
            agree = False
            words = f"the paintings of {engine.name} differ: mean level {engine.level}, ours {children[0].level}"
            print(f"warning: {network} at {width}x{height}: {words}", file=sys.stderr)
    for _ in range(WARM_UP + options.rounds):
        for engine in children:
            engine.paint()
    for engine in children:
        engine.close()
    rows = [figures(children[0], engine) for engine in children]
    print(f"\n{network} at {width}x{height}, ours in {options.precision}, {options.rounds} rounds")
    print(f"{'engine':20}{'alone':>12}{'frame':>12}   ours/theirs: alone   frame")
    for row in rows:
        print(f"{row['engine']:20}{row['alone_ms']:9.3f} ms{row['frame_ms']:9.3f} ms", end="")
        print("" if row is rows[0] else f"{row['alone_ratio']:21.3f}{row['frame_ratio']:8.3f}", flush=True)
    found = {"network": network, "width": width, "height": height, "precision": options.precision, "engines": rows}
    return found | {"levels_agree": agree}


def figures(ours, engine):
    def ratio(mine, theirs):
        return median(a / b for a, b in list(zip(mine, theirs))[-options_rounds(mine):])

    def milliseconds(times):
        return 1e3 * median(times[-options_rounds(times):])

    return {
        "engine": engine.name,
        "alone_ms": milliseconds(engine.alone),
        "frame_ms": milliseconds(engine.frame),
        "alone_ratio": ratio(ours.alone, engine.alone),
        "frame_ratio": ratio(ours.frame, engine.frame),
    }


def options_rounds(times):
    """Those that count: all but the first of each process, and the warm-up."""
    return max(1, len(times) - 1 - WARM_UP)


def write_weights(presets, folder):
    """A file of weights for each preset: trained ones if there are any, else random ones."""
    untrained = [preset for preset in presets if preset not in TRAINED]
    if untrained:
        names = ", ".join(untrained)
        print(f"warning: random weights for {names}: their paintings cannot be compared well", file=sys.stderr)
        peers.random_weights(untrained, folder)
    for preset in presets:
        if preset in TRAINED:
            widen(STYLE, folder / f"{preset}.safetensors", TRAINED[preset])


def build_ours():
    """Builds the bench target with the feature `cuda` and returns the path of its program."""
    command = ["cargo", "bench", *WORKSPACE, "--bench", "painting", "--no-run", "--message-format=json"]
    messages = subprocess.run(command, cwd=peers.ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for message in map(json.loads, messages.splitlines()):
        if message.get("executable") and message["target"]["name"] == "painting":
            return message["executable"]
    sys.exit("cargo built no `painting`")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", type=peers.one_of(peers.PRESETS), default=["l"], help="networks of these; l")
    parser.add_argument("--weights", help="the network of this .safetensors or .pth file instead")
    sizes = lambda text: [peers.parse_size(size) for size in text.split(",")]  # noqa: E731
    parser.add_argument("--sizes", type=sizes, default=[(1080, 1920)], help="WIDTHxHEIGHT,..; 1920x1080")
    parser.add_argument("--precision", choices=["f32", "bf16", "f16"], default="f16", help="of ours; f16")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each engine that count; 7")
    parser.add_argument("--peers", type=peers.one_of(ENGINES), default=list(ENGINES), help=",".join(ENGINES))
    parser.add_argument("--ours", help="the program `painting`, built with the feature `cuda`, instead of building it")
    parser.add_argument("--json", type=Path, help="write all figures into this file too")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=peers.parse_size, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.serve:
        return serve(options)
    ours = options.ours or build_ours()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.weights:
            options.weights = str(Path(options.weights).resolve())
            networks = [Path(options.weights).stem]
        else:
            networks = options.presets
            write_weights(networks, folder)
        results = [compare(network, size, options, ours, folder) for network in networks for size in options.sizes]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    trained = [result for result in results if options.weights or result["network"] in TRAINED]
    return int(not all(result["levels_agree"] for result in trained))


if __name__ == "__main__":
    sys.exit(main())
