#!/usr/bin/env python3
"""Painting a clip against painting alone: frames a second end to end by those of `infer bench`.

    infer/benches/clips.py [ROUNDS] [PRESETS] [SECONDS]

IMPASTO_STYLES names the style files, `{}` for the preset: `rand_{}.safetensors`. The clip, 1280x720 with sound, is made by ffmpeg
from its test pattern, or from the file that IMPASTO_CLIP names, repeated. Each round paints SECONDS and one second of it and
measures `infer bench` at that size, all on 2 threads, one after another, so that whatever else the machine does slows all alike.
What painting SECONDS takes longer than painting one second is counted: starting and joining are not.

Printed are medians over the rounds, and the range of the ratio. The second ratio is that of processor time, ffmpeg's included:
on a busy machine it says more than the clock.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INFER = os.path.join(ROOT, "target", "release", "infer")
SIZE = "1280x720"
RATE = 25


def run(*words):
    """Runs a program; its output, and its seconds by the clock and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return text, time.monotonic() - started, used


def make(path, seconds):
    source = os.environ.get("IMPASTO_CLIP")
    video = ["-stream_loop", "-1", "-i", source] if source else ["-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={RATE}"]
    scale = f"scale={SIZE.replace('x', ':')},fps={RATE}"
    sound = ["-f", "lavfi", "-i", "sine=frequency=440"]
    run("ffmpeg", "-v", "error", "-y", *video, *sound, "-map", "0:v", "-map", "1:a", "-t", str(seconds), "-vf", scale,
        "-pix_fmt", "yuv420p", "-c:a", "aac", path)


def paint(clip, style, folder):
    output = os.path.join(folder, "out.mp4")
    _, clock, used = run(INFER, "stylize", clip, "--style", style, "--output", output, "--threads", "2", "--quiet")
    return clock, used


def bench(style, runs):
    words = ["bench", "--style", style, "--sizes", SIZE, "--threads", "2", "--runs", str(runs), "--json"]
    text, _, used = run(INFER, *words)
    return json.loads(text)["measurements"][0]["frames_per_second"], used


def measure(style, clip, short, folder, frames):
    less, more = paint(short, style, folder), paint(clip, style, folder)
    (_, few), (rate, many) = bench(style, 3), bench(style, 9)
    return frames / (more[0] - less[0]), rate, (more[1] - less[1]) / frames, (many - few) / 6


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    presets = (sys.argv[2] if len(sys.argv) > 2 else "l,m,s,xs").split(",")
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        clip, short = os.path.join(folder, "clip.mp4"), os.path.join(folder, "short.mp4")
        make(clip, 1 + seconds)
        make(short, 1)
        for preset in presets:
            style = os.environ["IMPASTO_STYLES"].format(preset)
            measured = [measure(style, clip, short, folder, seconds * RATE) for _ in range(rounds)]
            ratios = [clip_rate / rate for clip_rate, rate, _, _ in measured]
            used = [alone / whole for _, _, whole, alone in measured]
            middle = [statistics.median(column) for column in zip(*measured)]
            print(f"{preset:3} {middle[0]:7.2f} of {middle[1]:7.2f} frames/s: {statistics.median(ratios):.2f}"
                  f" ({min(ratios):.2f} to {max(ratios):.2f}); {1000 * middle[2]:.0f} of {1000 * middle[3]:.0f} ms of the"
                  f" processor a frame: {statistics.median(used):.2f}", flush=True)


main()
