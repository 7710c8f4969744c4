#!/usr/bin/env python3
"""Paints thousands of damaged pictures, and with damaged style models, and checks that each is painted or named.

    cargo build --release -p impasto-infer
    python tools/mutate.py                         # 10,000 files of small pictures and models of our own
    python tools/mutate.py --corpus FOLDER --count 500 --seed 7

Bytes are flipped, cut out, inserted and doubled. No run may panic, end by a signal or take more memory than `--memory`, and
every file is either painted or named on standard error. What fails is kept in the folder `--keep`; the exit code is then 1.
"""

import argparse
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

from program import run

ROOT = Path(__file__).resolve().parents[1]
SEEDS, WEIGHTS = ROOT / "tests/fuzz/seeds", ROOT / "common/src/weights/testdata"

MODELS = {".safetensors", ".pth", ".ckpt"}
LOT = 200


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infer", type=Path, default=ROOT / "target/release/infer")
    parser.add_argument("--corpus", type=Path, help="pictures and models to damage instead of our own")
    parser.add_argument("--kinds", default="", help="only files of these endings, such as `jpg,png`")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=1024, help="the most megabytes that a run may take")
    parser.add_argument("--keep", type=Path, default=Path("mutations"), help="folder for the files that fail")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        trial = Trial(arguments, Path(work))
        corpus = arguments.corpus or make_corpus(arguments.infer, trial.work / "corpus")
        kinds = {f".{kind}" for kind in arguments.kinds.split(",") if kind}
        files = sorted(path for path in corpus.rglob("*") if path.is_file() and (not kinds or path.suffix in kinds))
        draw = random.Random(arguments.seed)
        models = [path for path in files if path.suffix in MODELS]
        pictures = [path for path in files if path.suffix not in MODELS]
        # A model takes two runs of the program, a lot of pictures one.
        share = arguments.count // 5 if models and pictures else arguments.count if models else 0
        trial.try_pictures(pictures, arguments.count - share, draw)
        trial.try_models(models, share, draw)
        return trial.report()


def make_corpus(infer, folder):
    """Pictures of some 64 pixels a side in every format, the seeds of the fuzz targets, and tiny models."""
    folder.mkdir()
    for kind in ("jpg", "png", "webp", "tiff", "bmp", "gif"):
        made = run(infer, "stylize", ROOT / "assets/photo.jpg", "-o", folder / f"photo.{kind}", "--strength", 0, "--max-size", 64)
        assert made.code == 0, made.errors
    pixels = bytes(range(256)) * 12
    (folder / "photo.ppm").write_bytes(b"P6 32 32 255\n" + pixels)
    (folder / "photo.pgm").write_bytes(b"P5 64 48 255\n" + pixels)
    for target in ("jpeg", "png", "webp", "tiff", "gif", "safetensors_card"):
        for seed in (SEEDS / target).iterdir():
            shutil.copy(seed, folder / f"{target}-{seed.name}")
    for name in ("best.pth", "compiled.pth", "checkpoint.ckpt"):
        shutil.copy(WEIGHTS / name, folder / name)
    return folder


def mutate(content, draw):
    """One to four damages, of which one in ten is none."""
    content = bytearray(content)
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 2, 3, 3, 4])):
        at = draw.randrange(len(content) + 1)
        # Heads are short, and most of what a decoder can get wrong is in them.
        at = min(at, draw.choice([16, 64, 256, len(content), len(content)]))
        length = draw.choice([1, 2, 4, 8, 64, 512])
        kind = draw.randrange(7)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at : at + length] = draw.randbytes(min(length, len(content) - at))
        elif kind == 2:
            number = draw.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
            field = struct.pack(draw.choice("<>") + "I", number)
            content[at : at + 4] = field[: len(content) - at]
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = draw.randbytes(length)
        elif kind == 5:
            content[at:at] = content[at : at + length]
        else:
            del content[at:]
    return bytes(content)


class Trial:
    """The runs, and what they came to."""

    def __init__(self, arguments, work):
        self.infer, self.memory, self.keep, self.work = arguments.infer, arguments.memory, arguments.keep, work
        self.counts, self.failures, self.peak_mb, self.seconds = Counter(), [], 0, 0

    def run(self, *words):
        ended = run(self.infer, *words)
        self.peak_mb, self.seconds = max(self.peak_mb, ended.peak_mb), self.seconds + ended.seconds
        return ended

    def fail(self, path, reason):
        self.keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, self.keep)
        self.failures.append(f"{self.keep / path.name}: {reason}")
        print(f"WRONG {self.failures[-1]}", flush=True)

    def wrong(self, ended):
        """What is wrong with a run as a whole."""
        too_much = f"takes {ended.peak_mb:.0f} MB" if ended.peak_mb > self.memory else None
        return ended.crash() or too_much

    def try_pictures(self, corpus, count, draw):
        for first in range(0, count, LOT):
            lot, output = self.work / "lot", self.work / "painted"
            lot.mkdir()
            for number in range(first, min(first + LOT, count)):
                seed = draw.choice(corpus)
                (lot / f"picture{number:06}{seed.suffix}").write_bytes(mutate(seed.read_bytes(), draw))
            self.paint(sorted(lot.iterdir()), lot, output)
            for folder in (lot, output):
                shutil.rmtree(folder, ignore_errors=True)

    def paint(self, files, source, output):
        """Paints a folder; if the run as a whole goes wrong, its files one by one."""
        ended = self.run("stylize", source, "--output", output, "--max-size", 64)
        wrong = self.wrong(ended)
        if wrong and len(files) > 1:
            found = len(self.failures)
            for path in files:
                self.paint_one(path, output)
            if found == len(self.failures):
                self.fail(files[0], f"{wrong}, with the {len(files) - 1} files after it")
            return
        painted = {path.stem for path in output.rglob("*")} if output.exists() else set()
        told = [line for line in ended.errors.splitlines() if not line.startswith("hint")]
        for path in files:
            if path.stem in painted:
                self.counts["painted"] += 1
            elif any(path.stem in line for line in told):
                self.counts["named"] += 1
            else:
                self.fail(path, wrong or "neither painted nor named")

    def paint_one(self, path, output):
        ended = self.run("stylize", path, "--output", output / path.name, "--max-size", 64)
        wrong = self.wrong(ended)
        if wrong:
            self.fail(path, wrong)
        else:
            self.counts["painted" if ended.code == 0 else "named"] += 1

    def try_models(self, corpus, count, draw):
        photo, painting = SEEDS / "png/rgb.png", self.work / "painting.png"
        for number in range(count):
            seed = draw.choice(corpus)
            path = self.work / f"model{number:06}{seed.suffix}"
            path.write_bytes(mutate(seed.read_bytes(), draw))
            info = self.run("info", path)
            painted = self.run("stylize", photo, "--style", path, "--output", painting)
            wrong = self.wrong(info) or self.wrong(painted)
            if not wrong and info.code != painted.code:
                wrong = f"`info` ends with {info.code}, `stylize` with {painted.code}"
            if not wrong and painted.code != 0 and path.stem not in painted.errors:
                wrong = "refused without its name"
            if wrong:
                self.fail(path, wrong)
            else:
                self.counts["models painted with" if painted.code == 0 else "models refused"] += 1
            path.unlink()

    def report(self):
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        print(f"{counts}; at most {self.peak_mb:.0f} MB, {self.seconds:.0f} s; {len(self.failures)} WRONG")
        return 1 if self.failures else 0


if __name__ == "__main__":
    sys.exit(main())
