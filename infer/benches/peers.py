#!/usr/bin/env python3
"""Compares painting of ours with ONNX Runtime's and PyTorch's, on the CPU.

    python infer/benches/peers.py --presets l,m --sizes 512x512,1920x1080 --rounds 7
    python infer/benches/peers.py --venv DIR              # makes DIR with the Python packages needed, once, and uses them
    python infer/benches/peers.py --weights style.safetensors

All run the same network, with the same weights, on the same picture, from f32 levels in memory to f32 levels in memory. For
each network and size every engine gets a fresh process, which stays alive; they take turns, one painting each, so that whatever
else the machine does slows all alike. The first paintings are not counted. Ratios are medians over the rounds of ours by
theirs: below 1, ours is faster or smaller. "Memory" is the largest resident memory during a painting, the median over the
rounds, all libraries included; "own" is what it exceeds the process by before it had a network.

Each peer is set up for speed: fixed shapes, all graph optimisations, and in torch.compile channels-last pictures and weights
frozen into the compiled code. Before anything is timed, the exported ONNX network must agree with PyTorch's on a small picture; while it is
timed, the mean levels of all paintings must agree. torch.compile needs a C++ compiler.

Alternating does not make a busy machine fair. OpenMP's threads, PyTorch's, spin in wait of one that has no core: that costs
PyTorch time and processor time, ours less. For numbers to quote the machine must be quiet; else `--threads 1` is nearest.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = ["numpy", "onnx", "onnxruntime", "safetensors", "torch"]
PACKAGES = MODULES + ["onnxscript"]
PRESETS = {"l": (32, 5), "m": (16, 5), "s": (8, 5), "xs": (4, 3)}
WARM_UP = 2
# Threads of the engine before may still spin in wait of more work.
PAUSE = 0.05
# The levels of which the mean is taken, as in painting.rs.
EVERY = 97
# How far mean levels may differ, relatively: by precision of the engine.
TOLERANCE = {"compile-bf16": 0.05}


# --- engines: each has `paint`, from a (1, 3, height, width) array of f32 to another ---


def style_net(weights):
    """The network of tests/reference/style_net.py with the weights of a file: .safetensors, or anything that torch.load reads."""
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    from style_net import StyleNet

    tensors = load_tensors(weights) if weights.endswith(".safetensors") else torch.load(weights, weights_only=True)
    # Left over from PyTorch before 0.4.
    tensors = {name: tensor.float() for name, tensor in tensors.items() if ".running_" not in name and ".num_batches" not in name}
    blocks = sum(name.startswith("res") and name.endswith(".conv1.conv2d.weight") for name in tensors)
    network = StyleNet(tensors["conv1.conv2d.weight"].shape[0], blocks)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def load_tensors(path):
    """The tensors of a .safetensors file of f32 or f16. Needs PyTorch only, as a GPU machine may have no more."""
    import torch

    content = bytearray(Path(path).read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            dtype = {"F32": torch.float32, "F16": torch.float16}[entry["dtype"]]
            count = (end - start) // dtype.itemsize
            values = torch.frombuffer(content, dtype=dtype, count=count, offset=begin + start)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


class Eager:
    def __init__(self, options):
        import torch

        torch.set_num_threads(options.threads)
        self.torch = torch
        self.network = self.prepare(style_net(options.weights))

    def prepare(self, network):
        return network

    def paint(self, photo):
        with self.torch.no_grad():
            return self.network(self.torch.from_numpy(photo)).numpy()


class Compiled(Eager):
    dtype = "float32"

    def prepare(self, network):
        import torch._inductor.config

        # Weights become constants, which may be laid out for the kernels beforehand.
        torch._inductor.config.freezing = True
        self.dtype = getattr(self.torch, self.dtype)
        network = network.to(dtype=self.dtype, memory_format=self.torch.channels_last)
        return self.torch.compile(network, dynamic=False)

    def paint(self, photo):
        with self.torch.no_grad():
            levels = self.torch.from_numpy(photo).to(dtype=self.dtype, memory_format=self.torch.channels_last)
            return self.network(levels).to(dtype=self.torch.float32).contiguous().numpy()


class CompiledHalf(Compiled):
    dtype = "bfloat16"


class OnnxRuntime:
    def __init__(self, options):
        self.session = onnx_session(options.onnx, options.threads)

    def paint(self, photo):
        return self.session.run(None, {self.session.get_inputs()[0].name: photo})[0]


def onnx_session(path, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


ENGINES = {"onnxruntime": OnnxRuntime, "eager": Eager, "compile": Compiled, "compile-bf16": CompiledHalf}


def export(weights, size, path):
    """Writes the network as ONNX for pictures of `size` (height, width)."""
    import torch

    network = style_net(weights)
    # The exporter by tracing gives the plainer graph, but newer versions of PyTorch may not have it.
    try:
        torch.onnx.export(network, (torch.zeros(1, 3, *size),), path, dynamo=False, opset_version=17)
    except (TypeError, AttributeError, RuntimeError):
        torch.onnx.export(network, (torch.zeros(1, 3, *size),), path, dynamo=True, external_data=False)


def check_export(weights, size, path):
    """Ends the program unless ONNX Runtime paints as PyTorch does, within a hundredth of the levels' spread."""
    import torch

    picture = photo(size)
    found = onnx_session(path, 1).run(None, {onnx_session(path, 1).get_inputs()[0].name: picture})[0]
    expected = style_net(weights)(torch.from_numpy(picture)).numpy()
    difference = abs(found - expected).max() / expected.std()
    if not difference < 0.01:
        sys.exit(f"the exported network paints differently: by {difference:.3g} of the spread of PyTorch's levels")


def photo(size):
    import numpy

    height, width = size
    levels = numpy.arange(3 * height * width, dtype=numpy.int64) * 7919 % 256
    return levels.astype(numpy.float32).reshape(1, 3, height, width)


# --- the child: an engine that paints once for each line of standard input ---


def serve(options):
    """Speaks the protocol of painting.rs: seconds, processor seconds, peak memory in kB, mean level."""
    import numpy  # noqa: F401

    engine_class = ENGINES[options.serve]
    __import__("onnxruntime" if engine_class is OnnxRuntime else "torch")
    print("ready", peak_memory(), flush=True)
    engine, picture = engine_class(options), photo(options.size)
    for _ in sys.stdin:
        reset_peak_memory()
        before = time.process_time()
        start = time.perf_counter()
        painting = engine.paint(picture)
        seconds = time.perf_counter() - start
        processor, memory = time.process_time() - before, peak_memory()
        print(seconds, processor, memory, float(abs(painting.ravel()[::EVERY]).mean()), flush=True)


def peak_memory():
    """The largest resident memory of this process since it was reset, kB; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def reset_peak_memory():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


# --- the parent ---


class Child:
    """An engine in a process of its own."""

    def __init__(self, name, command):
        self.name, self.failed = name, None
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.start_memory = int(self.answer()[1])
        self.seconds, self.processor, self.memory, self.level = [], [], [], None

    def paint(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, processor, memory, level = map(float, self.answer()[:4])
        self.seconds.append(seconds)
        self.processor.append(processor)
        self.memory.append(memory)
        self.level = level

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            sys.exit(f"{self.name} ended with exit code {self.process.returncode}:\n{self.log.read()[-3000:]}")
        return line.split()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(network, size, options, ours, folder):
    """Paints in turns and prints the table of one network and size."""
    height, width = size
    weights = options.weights or str(folder / f"{network}.safetensors")
    onnx = str(folder / f"{network}-{width}x{height}.onnx")
    if "onnxruntime" in options.peers:
        # In a process that ends: nothing of it stays in memory beside the others.
        child(["--export", onnx, "--weights", weights, "--size", f"{width}x{height}"])
    words = [weights, str(width), str(height), str(options.threads), options.precision]
    children = [Child("ours", [ours, "--serve", *words])]
    for peer in options.peers:
        words = ["--serve", peer, "--weights", weights, "--onnx", onnx, "--size", f"{width}x{height}"]
        children.append(Child(peer, python(words + ["--threads", str(options.threads)])))
    for turn in range(WARM_UP + options.rounds):
        for engine in children:
            engine.paint()
            time.sleep(PAUSE)
        if turn == 0:
            check_levels(children, options.precision)
    for engine in children:
        engine.close()
    print(f"\n{network} at {width}x{height}, {options.threads} threads, {options.rounds} rounds, ours in {options.precision}")
    print_table(children)
    return {"network": network, "width": width, "height": height, "engines": [figures(children[0], e) for e in children]}


def check_levels(children, precision):
    for engine in children[1:]:
        off = abs(engine.level / children[0].level - 1)
        if not off <= TOLERANCE.get(engine.name, TOLERANCE["compile-bf16"] if precision == "bf16" else 0.002):
            sys.exit(f"{engine.name} paints otherwise: mean level {engine.level}, ours {children[0].level}")


def figures(ours, engine):
    def ratio(mine, theirs):
        # A processor time of 0 was too short for the clock, whose steps are 10 ms in painting.rs.
        pairs = [(a, b) for a, b in list(zip(mine, theirs))[WARM_UP:] if a > 0 and b > 0]
        return median(a / b for a, b in pairs) if pairs else None

    memory = median(engine.memory[WARM_UP:])
    return {
        "engine": engine.name,
        "median_ms": 1e3 * median(engine.seconds[WARM_UP:]),
        "fastest_ms": 1e3 * min(engine.seconds[WARM_UP:]),
        "first_ms": 1e3 * engine.seconds[0],
        "memory_mb": memory * 1024 / 1e6,
        "own_memory_mb": (memory - engine.start_memory) * 1024 / 1e6,
        "time_ratio": ratio(ours.seconds, engine.seconds),
        "processor_ratio": ratio(ours.processor, engine.processor),
        "memory_ratio": ratio(ours.memory, engine.memory),
    }


def print_table(children):
    print(f"{'engine':14}{'median':>12}{'fastest':>12}{'memory':>10}{'own':>10}   ours/theirs: time  processor  memory")
    for engine in children:
        row = figures(children[0], engine)
        print(
            f"{row['engine']:14}{row['median_ms']:9.2f} ms{row['fastest_ms']:9.2f} ms{row['memory_mb']:7.0f} MB"
            f"{row['own_memory_mb']:7.0f} MB",
            end="",
        )
        ratios = [row["time_ratio"], row["processor_ratio"], row["memory_ratio"]]
        texts = ["-" if ratio is None else f"{ratio:.3f}" for ratio in ratios]
        print("" if engine is children[0] else f"{texts[0]:>20}{texts[1]:>11}{texts[2]:>8}", flush=True)


def build_ours():
    """Builds the bench target and returns the path of its program."""
    command = ["cargo", "bench", "--workspace", "--locked", "--bench", "painting", "--no-run", "--message-format=json"]
    messages = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for message in map(json.loads, messages.splitlines()):
        if message.get("executable") and message["target"]["name"] == "painting":
            return message["executable"]
    sys.exit("cargo built no `painting`")


def python(words):
    return [sys.executable, str(Path(__file__).resolve()), *words]


def child(words):
    run = subprocess.run(python(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        sys.exit(run.stdout)


def random_weights(presets, folder):
    """A file of random weights for each preset, as PyTorch draws them."""
    import torch
    from safetensors.torch import save_file

    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    from style_net import StyleNet

    for preset in presets:
        torch.manual_seed(0)
        save_file(StyleNet(*PRESETS[preset]).state_dict(), str(folder / f"{preset}.safetensors"))


def enter_environment(folder):
    """Goes on with the Python of a virtual environment, which is made if it is not there."""
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if Path(sys.prefix).resolve() != folder.resolve():
        missing = f"import importlib.util as i, sys; sys.exit(any(i.find_spec(m) is None for m in {MODULES}))"
        if subprocess.run([str(interpreter), "-c", missing]).returncode:
            subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        os.execv(interpreter, [str(interpreter), *sys.argv])


def parse_size(text):
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not WIDTHxHEIGHT") from None
    if min(width, height) < 5:
        raise argparse.ArgumentTypeError(f"`{text}` is too small")
    if width % 4 or height % 4:
        raise argparse.ArgumentTypeError(f"`{text}` is no multiple of 4: PyTorch's painting would be larger than ours")
    return height, width


def one_of(known):
    def parse(text):
        for word in text.split(","):
            if word not in known:
                raise argparse.ArgumentTypeError(f"`{word}` is not one of {', '.join(known)}")
        return text.split(",")

    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", type=one_of(PRESETS), default=["l", "m"], help="random weights of these; l,m")
    parser.add_argument("--weights", help="the network of this .safetensors or .pth file instead")
    sizes = lambda text: [parse_size(size) for size in text.split(",")]  # noqa: E731
    parser.add_argument("--sizes", type=sizes, default=[(512, 512)], help="WIDTHxHEIGHT,..; 512x512")
    parser.add_argument("--threads", type=int, default=2, help="of each engine; 2")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="of ours; f32")
    parser.add_argument("--rounds", type=int, default=7, help="paintings of each engine that count; 7")
    parser.add_argument("--peers", type=one_of(ENGINES), default=list(ENGINES), help=",".join(ENGINES))
    parser.add_argument("--venv", type=Path, help="virtual environment with the packages; made if missing")
    parser.add_argument("--json", type=Path, help="write all figures into this file too")
    # For the processes that this one starts.
    for name in ["--serve", "--onnx", "--export"]:
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=parse_size, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.venv:
        enter_environment(options.venv)
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"this Python has no {', '.join(missing)}; `--venv DIR` makes one that has")
    if options.serve:
        return serve(options)
    if options.export:
        export(options.weights, options.size, options.export)
        return check_export(options.weights, options.size, options.export)
    ours = build_ours()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.weights:
            options.weights = str(Path(options.weights).resolve())
            networks = [Path(options.weights).stem]
        else:
            networks = options.presets
            random_weights(networks, folder)
        results = [compare(network, size, options, ours, folder) for network in networks for size in options.sizes]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
