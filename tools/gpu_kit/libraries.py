"""Finds a Python with PyTorch, and the libraries of CUDA that pip installs beside it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Where a toolkit that pip did not install may be; searched last.
TOOLKITS = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"]
# What the programs open when a GPU is used.
NEEDED = ["libcuda.so.1", "libcudnn.so.9", "libcublas.so.13", "libcublasLt.so.13", "libnvrtc.so.13", "libcurand.so.10"]

LOOK = "import importlib.util as i, json, sys; print(json.dumps([bool(i.find_spec('torch')), sys.path]))"

# Opens libraries, and asks the driver for its version and its first GPU. Prints JSON.
PROBE = """
import ctypes, json, sys
found = {"missing": []}
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        found["missing"].append(name)
try:
    cuda, number, name = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.create_string_buffer(256)
    found["code"] = cuda.cuInit(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    found["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    cuda.cuDeviceGetCount(ctypes.byref(number))
    found["gpus"] = number.value if found["code"] == 0 else 0
    if found["gpus"]:
        cuda.cuDeviceGetName(name, 256, 0)
        found["name"], capability = name.value.decode(), []
        for attribute in (75, 76):
            cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0)
            capability.append(str(number.value))
        found["capability"] = ".".join(capability)
except OSError:
    pass
print(json.dumps(found))
"""


def find_python(wanted):
    """The Python to run peers with, and whether it has PyTorch."""
    candidates = [wanted] if wanted else [sys.executable, shutil.which("python3"), shutil.which("python")]
    for python in filter(None, candidates):
        if look(python)[0]:
            return python, True
    return wanted or sys.executable, False


def look(python):
    """Whether a Python has PyTorch, and where it looks for packages."""
    try:
        found = subprocess.run([python, "-c", LOOK], capture_output=True, text=True, timeout=20)
        return json.loads(found.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False, []


def environment(python, cache):
    """The environment of all commands: where libraries are, and where compiled kernels are kept."""
    # In front of what is there, which must stay: the driver may be found only through it.
    own = [folder for path in look(python)[1] for folder in sorted(Path(path).glob("nvidia/*/lib"))]
    own = [str(folder) for folder in own if any(folder.glob("*.so*"))]
    there = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    paths = [path for path in own + there + TOOLKITS if path]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(dict.fromkeys(paths)),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "CUDA_CACHE_MAXSIZE": str(1 << 30),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # Kernel names in a failure belong to the kernel that failed.
        "RUST_BACKTRACE": "0",
    }
