#!/usr/bin/env python3
"""Builds, checks and times everything on a GPU: `python trainer/benches/cuda.py [--quick] [--skip-build]`.

Needs an NVIDIA GPU with its driver, cargo, a CUDA toolchain (docs/gpu.md says how to get one), and for the comparison a Python
with PyTorch that sees the GPU. What is missing is said; what can be done without it is done. Prints a table of the bars: ours,
PyTorch's best of eager, channels last, torch.compile and CUDA graphs on the same GPU in the same call, their ratio.

Other benchmarks plug in by `PLUGINS`: a script each, which prints lines `bar<TAB>ours<TAB>peer<TAB>unit<TAB>less|more`.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLUGINS = [ROOT / "infer" / "benches" / "cuda.py"]
FEATURES = ["--features", "cuda"]
WARM_UP, STEPS = 20, 100
MODES = ["eager", "channels-last", "compile", "graph"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **options):
    say("$ " + " ".join(map(str, command)))
    return subprocess.run(command, cwd=ROOT, check=False, text=True, **options)


def have(program, hint):
    if shutil.which(program):
        return True
    say(f"missing: `{program}`; {hint}")
    return False


def torch_sees_gpu():
    code = "import torch; assert torch.cuda.is_available(); print(torch.__version__, torch.cuda.get_device_name())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if found.returncode:
        say("missing: PyTorch that sees the GPU (`pip install torch`): ours is timed alone")
        return None
    return found.stdout.strip()


def tests_pass():
    """The ops on the GPU against the CPU. A skipped test is a failure here."""
    command = ["cargo", "test", "--release", "--workspace", *FEATURES, "--test", "suite", "gpu", "--", "--nocapture"]
    done = run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    if "skipped:" in done.stdout:
        say("the tests on the GPU were skipped: this build or this machine has none")
        return False
    return done.returncode == 0


def ours(batch, precision, steps):
    """Milliseconds of a step of ours."""
    command = ["cargo", "bench", "--quiet", "--workspace", *FEATURES, "--bench", "training_step", "--", "--serve"]
    command += ["--device", "cuda", "--precision", precision, "--batch", str(batch)]
    done = run(command, input="\n" * (WARM_UP + steps), stdout=subprocess.PIPE)
    lines = done.stdout.splitlines()[1:]
    if done.returncode or len(lines) <= WARM_UP:
        say(f"our step at batch {batch} in {precision} failed with code {done.returncode}")
        return None
    return 1000 * median(float(line.split()[0]) for line in lines[WARM_UP:])


def theirs(batch, precision, steps):
    """Milliseconds of PyTorch's best way, and which it was."""
    best = None
    for mode in MODES:
        command = [sys.executable, HERE / "cuda_peer.py", mode, precision, str(batch), str(steps)]
        done = run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            say(f"PyTorch {mode} failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found = float(done.stdout.split()[-1])
        say(f"PyTorch {mode}: {found:.2f} ms")
        best = min(best or (found, mode), (found, mode))
    return best


def training_rows(steps, peer):
    for batch in (4, 16):
        for precision in ("bf16", "tf32", "f32"):
            mine = ours(batch, precision, steps)
            other = theirs(batch, precision, steps) if peer and mine else None
            rate = lambda milliseconds: 1000 * batch / milliseconds  # noqa: E731
            if mine:
                name = f"training, batch {batch}, {precision}" + (f" (PyTorch: {other[1]})" if other else "")
                yield name, rate(mine), other and rate(other[0]), "images/s", "more"
            if mine and batch == 4 and precision == "bf16":
                yield "40,000 steps at batch 4, bf16 (bar: 10 min)", 40 * mine / 60, 10.0, "min", "less"


def plugin_rows(quick):
    for script in PLUGINS:
        if not script.exists():
            say(f"not there: {script.relative_to(ROOT)}; its bars stay unmeasured")
            continue
        done = run([sys.executable, script, *(["--quick"] if quick else [])], stdout=subprocess.PIPE)
        if done.returncode:
            say(f"{script.relative_to(ROOT)} failed with code {done.returncode}")
        for line in done.stdout.splitlines():
            cells = line.split("\t")
            if len(cells) == 5:
                name, mine, other, unit, better = cells
                yield name, float(mine), float(other) if other else None, unit, better


def show(rows):
    print(f"{'bar':56} {'ours':>10} {'peer':>10} {'ratio':>6}  met")
    for name, mine, other, unit, better in rows:
        ratio = mine / other if other else None
        met = "" if ratio is None else "yes" if (ratio >= 1 if better == "more" else ratio <= 1) else "NO"
        cells = f"{other:10.1f} {ratio:6.2f}" if other else f"{'-':>10} {'-':>6}"
        print(f"{name:56} {mine:10.1f} {cells}  {met:4} {unit}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps")
    parser.add_argument("--skip-build", action="store_true", help="neither build nor test: time only")
    options = parser.parse_args()
    steps = STEPS // 5 if options.quick else STEPS
    if not have("cargo", "install Rust from https://rustup.rs"):
        return 1
    gpu = have("nvidia-smi", "is this a machine with an NVIDIA GPU and its driver?")
    if gpu:
        run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv"])
    if not options.skip_build:
        if run(["cargo", "build", "--release", "--workspace", *FEATURES]).returncode:
            say("the build failed; docs/gpu.md says what `--features cuda` needs")
            return 1
        if not gpu:
            return 1
        if not tests_pass():
            say("the ops do not agree with the CPU: nothing is timed")
            return 1
    if not gpu:
        return 1
    peer = torch_sees_gpu()
    if peer:
        print("PyTorch " + peer)
    show([*training_rows(steps, peer), *plugin_rows(options.quick)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
