#!/usr/bin/env python3
"""Builds a kit that tests and times Impasto on an NVIDIA GPU, on machines without Rust: `tools/gpu_kit.py build DIR`.

    python tools/gpu_kit.py build gpu-kit            # writes the folder gpu-kit and gpu-kit.tar.xz
    gpu-kit/run --out results                        # on the machine with the GPU; needs Python, better with PyTorch

The building machine needs no GPU. It needs cargo and the environment of docs/gpu.md (NVCC, CUDA_HOME); tools/cuda_home.py makes
programs that start everywhere. Unless CUDA_COMPUTE_CAP says otherwise, the kernels are built for compute capability 8.0: as PTX,
which the driver compiles for its GPU, so the kit runs on Ampere and on every later generation.

The kit holds the programs, the tests that need a GPU, the benches, a trained network of full width, and from the folder `--data`:
`photos/*.jpg`, `styles/starry_night.jpg` and `vgg/vgg16_features.safetensors` (any file that `trainer --loss-weights` takes).
"""

import argparse
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The checkout stays clean.
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools" / "gpu_kit"))
from widen import widen  # noqa: E402

# What cargo builds, and the folder of the package, the target and the name in the kit of each program that is taken. (`trainer` has
# a target `suite` too.)
WORKSPACE = ["build", "--workspace", "--features", "cuda", "--bin", "infer", "--bin", "trainer", "--test", "suite"]
WORKSPACE += ["--bench", "painting", "--bench", "training_step"]
ENGINE = ["test", "--no-run", "--package", "impasto-engine", "--features", "cuda", "--lib"]
BUILDS = [WORKSPACE, ENGINE]
PROGRAMS = {
    ("infer", "infer"): "infer",
    ("trainer", "trainer"): "trainer",
    ("tests", "suite"): "suite",
    ("infer", "painting"): "painting",
    ("trainer", "training_step"): "training_step",
    ("infer/engine", "impasto_engine"): "engine_tests",
}
SCRIPTS = ["infer/benches/cuda.py", "infer/benches/peers.py", "trainer/benches/cuda_peer.py"]
SCRIPTS += ["trainer/benches/training_step_peer.py", "tests/reference/style_net.py"]
SCRIPTS += [f"tools/gpu_kit/{name}.py" for name in ("libraries", "profiles", "runner", "stages", "table", "widen")]
PHOTOS, LARGEST_PHOTO = 64, 100_000
# The largest archive, bytes, and the memory that unpacking it takes.
LIMIT, DICTIONARY = 45_000_000, 128 << 20


def programs():
    """Builds the programs; their names in the kit and paths."""
    # Kernels in PTX of this capability run on every later GPU as well.
    environment = {"CUDA_COMPUTE_CAP": "80", **os.environ}
    found = {}
    for words in BUILDS:
        command = ["cargo", *words, "--release", "--locked", "--message-format=json-render-diagnostics"]
        print("$", *command, flush=True)
        built = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        if built.returncode:
            sys.exit("the build failed; docs/gpu.md says what the feature `cuda` needs")
        for message in map(json.loads, built.stdout.splitlines()):
            if message.get("executable"):
                package = os.path.relpath(Path(message["manifest_path"]).parent, ROOT)
                name = PROGRAMS.get((package, message["target"]["name"]))
                found |= {name: Path(message["executable"])} if name else {}
    missing = set(PROGRAMS.values()) - found.keys()
    if missing:
        sys.exit(f"cargo built no {', '.join(sorted(missing))}")
    return found, environment["CUDA_COMPUTE_CAP"]


def install(found, folder):
    """Copies the programs without symbols and debug information; the newest glibc that they ask for."""
    folder.mkdir(parents=True)
    needed = set()
    for name, path in found.items():
        subprocess.run(["strip", "--strip-all", "-o", folder / name, path], check=True)
        symbols = subprocess.run(["objdump", "-T", folder / name], check=True, capture_output=True, text=True).stdout
        needed |= {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", symbols)}
    return ".".join(map(str, max(needed)))


def add_data(source, folder):
    """Adds the trained network, the photos, the painting and the weights of the loss network."""
    photos = sorted(path for path in source.glob("photos/*.jpg") if path.stat().st_size <= LARGEST_PHOTO)
    painting, weights = source / "styles" / "starry_night.jpg", source / "vgg" / "vgg16_features.safetensors"
    for path in (painting, weights):
        if not path.is_file():
            sys.exit(f"`{path}` is not there; `--data` names another folder")
    if len(photos) < PHOTOS:
        sys.exit(f"`{source / 'photos'}` has {len(photos)} photos of at most {LARGEST_PHOTO} bytes; {PHOTOS} are needed")
    (folder / "photos").mkdir(parents=True)
    for photo in photos[:PHOTOS]:
        shutil.copyfile(photo, folder / "photos" / photo.name)
    shutil.copyfile(painting, folder / "painting.jpg")
    shutil.copyfile(weights, folder / "vgg16.safetensors")
    shutil.copyfile(ROOT / "assets" / "photo.jpg", folder / "photo.jpg")
    widen(ROOT / "common" / "styles" / "starry_night.safetensors", folder / "l.safetensors", 2)


def add_scripts(folder):
    for script in SCRIPTS:
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / script, folder / script)
    shutil.copyfile(ROOT / "tools" / "gpu_kit" / "run.py", folder / "run")
    (folder / "run").chmod(0o755)


def commit():
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"


def pack(folder):
    """Packs the kit as one solid archive; its path."""
    archive = folder.parent / (folder.name + ".tar.xz")
    # A dictionary larger than each program: the programs have much code in common. (The filter for x86 would hide some of that.)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": DICTIONARY}]
    with lzma.open(archive, "wb", filters=filters) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            entry = tar.gettarinfo(path, f"{folder.name}/{path.relative_to(folder)}")
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            with open(path, "rb") if path.is_file() else open(os.devnull, "rb") as content:
                tar.addfile(entry, content if path.is_file() else None)
    return archive


def build(folder, data):
    if folder.exists():
        sys.exit(f"`{folder}` is there already")
    found, capability = programs()
    glibc = install(found, folder / "bin")
    add_data(data, folder / "data")
    add_scripts(folder)
    # From 9.0 on, the kernels are built for exactly that capability.
    later = " and later" if int(re.match(r"\d+", capability)[0]) < 90 else ""
    about = {"commit": commit(), "compute_capability": capability + later, "glibc": glibc}
    (folder / "kit.json").write_text(json.dumps(about) + "\n")
    archive = pack(folder)
    size = archive.stat().st_size
    print(f"{archive}: {size / 1e6:.1f} MB, commit {about['commit']}, needs glibc {glibc}")
    if size > LIMIT:
        sys.exit(f"that is more than {LIMIT / 1e6:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    builder = commands.add_parser("build", help="build the kit")
    builder.add_argument("folder", type=Path, metavar="DIR", help="folder to make; DIR.tar.xz is written beside it")
    data = Path(os.environ.get("IMPASTO_DATA", ROOT.parent / "shared" / "data"))
    builder.add_argument("--data", type=Path, default=data, help="photos, a painting and weights; $IMPASTO_DATA")
    options = parser.parse_args()
    build(options.folder.resolve(), options.data.resolve())


if __name__ == "__main__":
    main()
