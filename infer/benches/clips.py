#!/usr/bin/env python3
"""Painting a clip against painting alone: frames a second end to end by those of `infer bench`.

    infer/benches/clips.py [ROUNDS] [PRESETS] [SECONDS]

Makes a clip of 1280x720 with sound by ffmpeg (from IMPASTO_CLIP, looped, if set), and paints it with random weights of each
preset in turn with `infer bench` at that size, both on 2 threads, one run each per round, so that whatever else the machine
does slows both alike. Prints the median of the ratios of rounds and their range. The time end to end is that between the first
and the last frame's end of a clip of SECONDS and of one second, so that starting up and joining count once, not twice.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INFER = os.path.join(ROOT, "target", "release", "infer")
SIZE = "1280x720"
RATE = 25


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options)


def make(path, seconds):
    source = os.environ.get("IMPASTO_CLIP")
    video = ["-stream_loop", "-1", "-i", source] if source else ["-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={RATE}"]
    scale = f"scale={SIZE.replace('x', ':')},fps={RATE}"
    sound = ["-f", "lavfi", "-i", "sine=frequency=440"]
    run("ffmpeg", "-v", "error", "-y", *video, *sound, "-map", "0:v", "-map", "1:a", "-t", str(seconds), "-vf", scale,
        "-pix_fmt", "yuv420p", "-c:a", "aac", path)


def paint(clip, style, folder):
    output = os.path.join(folder, "out.mp4")
    started = time.monotonic()
    run(INFER, "stylize", clip, "--style", style, "--output", output, "--threads", "2", "--quiet")
    return time.monotonic() - started


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    presets = (sys.argv[2] if len(sys.argv) > 2 else "l,m,s,xs").split(",")
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5
    styles = os.environ["IMPASTO_STYLES"]
    with tempfile.TemporaryDirectory() as folder:
        clip, short = os.path.join(folder, "clip.mp4"), os.path.join(folder, "short.mp4")
        make(clip, 1 + seconds)
        make(short, 1)
        for preset in presets:
            style = styles.format(preset)
            ratios, rates = [], []
            for _ in range(rounds):
                base = paint(short, style, folder)
                bench = json.loads(run(INFER, "bench", "--presets", preset, "--sizes", SIZE, "--threads", "2", "--json").stdout)
                alone = find(bench, "frames_per_second")
                end_to_end = seconds * RATE / (paint(clip, style, folder) - base)
                ratios.append(end_to_end / alone)
                rates.append((end_to_end, alone))
            middle = statistics.median(ratios)
            ends = statistics.median(rate[0] for rate in rates), statistics.median(rate[1] for rate in rates)
            print(f"{preset:3} {ends[0]:7.2f} of {ends[1]:7.2f} frames/s: {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def find(value, key):
    """The first value of `key` anywhere in a JSON value."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = find(item, key)
            if found is not None:
                return found
    return None


main()
