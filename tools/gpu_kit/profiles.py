"""Names and times of a program's kernels, by NVIDIA's profilers; without one, the algorithms that cuDNN was asked for."""

import csv
import glob
import re
import shutil
from collections import defaultdict

from runner import Failed

PROFILERS = ["/usr/local/cuda*/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu"]
METRIC = "gpu__time_duration.sum"
# cuDNN's own log of its calls.
CUDNN = {"CUDNN_LOGLEVEL_DBG": "3", "CUDNN_LOGDEST_DBG": "stderr", "CUDNN_LOGINFO_DBG": "1"}


def profile(runner, what, words, lines, launches):
    """Adds the kernels of a program to `kernels.txt`. It is run with so many lines of input."""
    found = shutil.which("ncu") or next((path for pattern in PROFILERS for path in sorted(glob.glob(pattern))), None)
    rows = by_profiler(runner, found, words, lines, launches) if found else by_log(runner, words, lines)
    if not rows:
        raise Failed(f"{'ncu' if found else 'the log of cuDNN'} names nothing for {what}")
    head = "microseconds, launches, kernel" if found else "no ncu: calls, algorithm and arithmetic of cuDNN"
    with open(runner.out / "kernels.txt", "a") as file:
        file.write("\n".join([f"== {what}: {head}", *rows, "", ""]))


def by_profiler(runner, ncu, words, lines, launches):
    options = ["--csv", "--metrics", METRIC, "--graph-profiling", "node", "--launch-count", launches]
    out = runner.command([ncu, *options, *words], "\n" * lines)
    # The program's own lines come before the table.
    table = [line for line in out.splitlines() if line.startswith('"')]
    times = defaultdict(list)
    for row in csv.DictReader(table):
        if row.get("Metric Name") == METRIC:
            scale = {"ns": 1e-3, "us": 1, "ms": 1e3}.get(row["Metric Unit"][:2], 1e-3)
            times[row["Kernel Name"]].append(scale * float(row["Metric Value"].replace(",", "")))
    slowest = sorted(times.items(), key=lambda item: -sum(item[1]))
    return [f"{sum(found):10.1f} {len(found):5} {name[:160]}" for name, found in slowest]


def by_log(runner, words, lines):
    script = 'exec "$0" "$@" 2>&1'
    out = runner.command(["/bin/sh", "-c", script, *words], "\n" * lines, environment=CUDNN)
    calls = defaultdict(int)
    for line in out.splitlines():
        found = re.findall(r"val=(CUDNN_CONVOLUTION_\w+ALGO\w+|CUDNN_\w+_MATH\w*)", line)
        for name in found:
            calls[name] += 1
    return [f"{count:6} {name}" for name, count in sorted(calls.items())]
