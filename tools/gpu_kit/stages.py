"""The stages of the kit, in the order of what is worth knowing first. Each gives its parts: a part that fails stops no other."""

import csv
import json
from functools import partial
from statistics import mean, median, stdev

import libraries
import profiles
from runner import Failed

GPU = ["--device", "cuda:0"]
SIZES = ["1920x1080", "1280x720"]
BATCHES = [4, 16]
# Steps that are timed, after those that are not.
STEPS, WARM_UP = 40, 10
# Steps of a training, and those at its end that are compared.
TRAINED, COMPARED = 300, 100


def machine(runner):
    """The GPU, its driver, the libraries of CUDA, and Python."""
    yield partial(describe, runner)
    yield partial(runner.command, [runner.program("infer"), "--version"])
    yield partial(runner.command, ["nvidia-smi"])


def describe(runner):
    found = json.loads(runner.command([runner.python, "-c", libraries.PROBE, *libraries.NEEDED]))
    runner.report["machine"] = {**found, "python": runner.python, "libraries": runner.environment["LD_LIBRARY_PATH"]}
    if "libcuda.so.1" in found["missing"]:
        raise Failed("there is no NVIDIA driver on this machine: the loader does not find libcuda.so.1")
    if not found.get("gpus"):
        raise Failed(f"the driver finds no GPU (cuInit says {found.get('code')})")
    runner.figure("GPU", f"{found['name']}, compute capability {found['capability']}, driver for CUDA {found['cuda']}")
    if found["missing"]:
        raise Failed("the loader does not find " + ", ".join(found["missing"]))


def first_painting(runner):
    """A picture is painted on the GPU, and looks like the CPU's painting."""
    yield partial(paint, runner, GPU, runner.out / "first_painting.png")
    yield partial(compare_paintings, runner)


def paint(runner, device, output, style="starry_night"):
    words = ["stylize", runner.data("photo.jpg"), "--style", style, *device, "--output", output.resolve()]
    runner.command([runner.program("infer"), *words])


def compare_paintings(runner):
    # Of two files in this format with pictures of one size, the bytes can be compared.
    files = [runner.scratch / f"{name}.bmp" for name in ("gpu", "cpu")]
    for file, device in zip(files, (GPU, ["--device", "cpu"])):
        paint(runner, device, file)
    gpu, cpu = (file.read_bytes() for file in files)
    if len(gpu) != len(cpu):
        raise Failed("the paintings of GPU and CPU are of different sizes")
    off = sum(abs(a - b) for a, b in zip(gpu, cpu)) / len(cpu)
    runner.figure("first painting: levels off on average", off)
    if off > 2:
        raise Failed(f"the GPU's painting is {off:.2f} levels off on average")


def engine(runner):
    """The painting engine on the GPU against the CPU, f16 first."""
    yield from tests(runner, "engine_tests", "on_a_gpu", "trained")


def operations(runner):
    """Every operation of the training on the GPU against the CPU, gradients included."""
    yield from tests(runner, "suite", "gpu::", "whole_network")


def tests(runner, program, kind, first):
    """The tests whose names have `kind` in them; those with `first` in their names before the others."""
    listed = runner.command([runner.program(program), "--list", kind]).splitlines()
    names = [line.removesuffix(": test") for line in listed if line.endswith(": test")]
    if not names:
        raise Failed(f"`{program}` has no tests with `{kind}` in their names")
    passed = []
    for name in sorted(names, key=lambda name: first not in name):
        yield partial(count, runner, program, name, passed)
    runner.figure(f"{program}: tests passed", f"{len(passed)} of {len(names)}")


def count(runner, program, name, passed):
    runner.test(program, name)
    passed.append(name)


def painting(runner):
    """How fast the GPU paints: alone, with copies, and as a clip."""
    for precision in ("f16", "bf16"):
        for size in SIZES:
            yield partial(time_painting, runner, precision, size)


def time_painting(runner, precision, size):
    words = ["bench", "--json", "--style", runner.data("l.safetensors"), "--sizes", size, "--precision", precision]
    report = json.loads(runner.command([runner.program("infer"), *words, *GPU, "--seconds", "2"]))
    (found,) = report["measurements"]
    name = f"painting {size}, {precision}"
    runner.figure(f"{name}, GPU alone, ms", found["on_gpu_ms"])
    runner.figure(f"{name}, with copies, ms", found["median_ms"])
    runner.figure(f"{name}, clip, frames/s", found["frames_per_second"])
    runner.figure(f"{name}, share of the peak", found["fraction_of_peak"])
    runner.figure(f"{name}, CUDA graph", "yes" if found["cuda_graph"] else "no: " + found["cuda_graph_failure"])


def training_step(runner):
    """How long a training step takes."""
    for batch in BATCHES:
        for precision in ("bf16", "tf32", "f32"):
            yield partial(time_step, runner, batch, precision)


def time_step(runner, batch, precision):
    words = [runner.program("training_step"), "--serve", *GPU, "--precision", precision, "--batch", batch]
    lines = runner.command(words, "\n" * (WARM_UP + STEPS), 40).splitlines()
    seconds = [float(line.split()[0]) for line in lines[1 + WARM_UP :]]
    runner.figure(f"training step, batch {batch}, {precision}, ms", 1e3 * median(seconds))


def training(runner):
    """Trainings from the command line in bf16 and f32, with the same seed."""
    for precision in ("bf16", "f32"):
        yield partial(train, runner, precision)
    yield partial(compare_curves, runner)
    yield partial(bring_home, runner)


def train(runner, precision):
    words = ["train", "--style", runner.data("painting.jpg"), "--photos", runner.data("photos"), "--dtype", "f16"]
    words += ["--loss-weights", runner.data("vgg16.safetensors"), "--preset", "l", "--batch", 4, "--seed", 1, *GPU]
    words += ["--precision", precision, "--steps", TRAINED, "--output", runner.scratch / f"{precision}.safetensors"]
    runner.command([runner.program("trainer"), *words])


def curve(runner, precision):
    path = runner.scratch / f"{precision}.run" / "metrics.csv"
    if not path.exists():
        raise Failed(f"there is no curve of the training in {precision}")
    with open(path, newline="") as file:
        return [float(row["total"]) for row in csv.DictReader(file)]


def compare_curves(runner):
    """The loss of bf16 by that of f32 over the last steps, and by how much f32's mean may differ by chance."""
    bf16, f32 = curve(runner, "bf16"), curve(runner, "f32")
    with open(runner.out / "curves.csv", "w", newline="") as file:
        csv.writer(file).writerows([("step", "bf16", "f32"), *zip(range(1, len(f32) + 1), bf16, f32)])
    ends = [losses[-COMPARED:] for losses in (bf16, f32)]
    runner.figure("loss in bf16 by loss in f32", mean(ends[0]) / mean(ends[1]))
    runner.figure("the same: twice the standard error", 2 * stdev(ends[1]) / mean(ends[1]) / COMPARED**0.5)
    if len(bf16) != TRAINED or len(f32) != TRAINED:
        raise Failed(f"the trainings ended after {len(bf16)} and {len(f32)} steps")


def bring_home(runner):
    style = runner.scratch / "bf16.safetensors"
    if not style.exists():
        raise Failed("there is no trained style")
    (runner.out / "trained.safetensors").write_bytes(style.read_bytes())
    paint(runner, GPU, runner.out / "trained.png", style)


def painting_peers(runner):
    """PyTorch's painting: eager, channels last, and captured as a CUDA graph."""
    yield partial(need_torch, runner)
    for size in SIZES:
        yield partial(compare_painting, runner, size, "eager-f16,channels-last-f16,graph-f16")


def painting_compiled(runner):
    """PyTorch's painting, compiled."""
    yield partial(need_torch, runner)
    for size in SIZES:
        yield partial(compare_painting, runner, size, "compile-f16")


def need_torch(runner):
    if not runner.torch:
        raise Failed(f"`{runner.python}` has no PyTorch: there is nothing to compare with; `--python` names another")


def compare_painting(runner, size, peers):
    if not runner.torch:
        return
    found = runner.scratch / "peers.json"
    found.unlink(missing_ok=True)
    words = ["infer/benches/cuda.py", "--ours", runner.program("painting"), "--weights", runner.data("l.safetensors")]
    words += ["--sizes", size, "--precision", "f16", "--peers", peers, "--rounds", "5", "--json", found]
    failure = None
    try:
        runner.command([runner.python, *words])
    except Failed as error:
        # If the paintings differ, times are there all the same.
        failure = error
    if found.exists():
        (result,) = json.loads(found.read_text())
        ours, *others = result["engines"]
        for key, words in (("alone_ms", "GPU alone"), ("frame_ms", "with copies")):
            name = f"painting {size}, f16, {words}, ms"
            # Measured in turns with the peers: this is the one to compare.
            runner.figure(name, ours[key])
            for other in others:
                runner.peer(name, other["engine"], other[key])
        if len(others) < len(peers.split(",")):
            raise Failed(f"some ways of PyTorch failed at {size}; the log says why")
    if failure:
        raise failure


def training_peers(runner):
    """PyTorch's training step: captured as a CUDA graph, channels last, and eager."""
    yield partial(need_torch, runner)
    for precision in ("bf16", "tf32", "f32"):
        for batch in BATCHES:
            ways = "graph,channels-last,eager" if precision == "bf16" else "graph"
            yield partial(time_peer, runner, ways, precision, batch)


def training_compiled(runner):
    """PyTorch's training step, compiled."""
    yield partial(need_torch, runner)
    for batch in BATCHES:
        yield partial(time_peer, runner, "compile", "bf16", batch)


def time_peer(runner, ways, precision, batch):
    if not runner.torch:
        return
    failure = None
    try:
        out = runner.command([runner.python, "trainer/benches/cuda_peer.py", ways, precision, batch, STEPS])
    except Failed as error:
        # The ways before the one that failed are there all the same.
        failure, out = error, error.out
    for line in out.splitlines():
        way, milliseconds = line.split()
        runner.peer(f"training step, batch {batch}, {precision}, ms", way, float(milliseconds))
    if failure:
        raise failure


def kernels(runner):
    """The kernels of a painting and of a training step, and their times."""
    painting = [runner.program("painting"), "--serve", runner.data("l.safetensors"), 1920, 1080, 0, "f16", "cuda"]
    step = [runner.program("training_step"), "--serve", *GPU, "--precision", "bf16"]
    yield partial(profiles.profile, runner, "a painting of 1920x1080 in f16", painting, 1, 300)
    yield partial(profiles.profile, runner, "training steps of batch 4 in bf16", step, 2, 3000)


# With the longest time of each, seconds.
STAGES = [
    (machine, 30),
    (first_painting, 60),
    (engine, 90),
    (painting, 60),
    (operations, 90),
    (training_step, 80),
    (training, 120),
    (painting_peers, 90),
    (training_peers, 90),
    (kernels, 90),
    (painting_compiled, 100),
    (training_compiled, 100),
]
