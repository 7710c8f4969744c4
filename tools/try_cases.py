#!/usr/bin/env python3
"""Runs the shared cases through the built programs and prints a line for each: the verdict, the case, what was seen.

    cargo build --release --workspace
    python tools/try_cases.py                            # ../shared beside the checkout, programs in target/release
    python tools/try_cases.py SHARED --only tiff         # the cases whose name contains a word

A verdict is `ok`, `WRONG` or `skipped`; the exit code is 1 if any is WRONG. Most cases need ffmpeg and ffprobe, a full disk
needs root. Pixels are checked where the right ones can be computed here.
"""

import argparse
import array
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from pixels import Pixels, compose, decode, decode_all, difference, read_plain_tiff, read_png, webp_frames, write_png
from program import run

ROOT = Path(__file__).resolve().parents[1]

CASES = []


class Wrong(Exception):
    """The case's result is not the right one."""


class Skipped(Exception):
    """Something that the case needs is not here."""


def case(*names):
    """Registers a function that tries one or several cases: it gets a `Trial` and the case's file, and returns what was seen."""
    return lambda function: CASES.extend((name, function) for name in names)


class Trial:
    """The programs, and a folder for what they write."""

    def __init__(self, infer, trainer, shared, work):
        self.programs = {"infer": infer, "trainer": trainer}
        self.cases, self.work = shared / "cases", work

    def run(self, name, *words):
        if not self.programs[name].exists():
            raise Skipped(f"{self.programs[name]} is not built")
        ended = run(self.programs[name], *words)
        if ended.crash():
            raise Wrong(ended.crash())
        return ended

    def paint(self, source, output, *options, strength=0):
        """Paints into `output` in the folder for results, which must succeed."""
        output = self.work / output
        ended = self.run("infer", "stylize", source, "--output", output, "--strength", strength, *options)
        if ended.code != 0 or not output.exists():
            raise Wrong(f"exit {ended.code}: {first_line(ended.errors)}")
        return output, ended

    def painted(self, source, *options, strength=0):
        return read_png(self.paint(source, "painted.png", *options, strength=strength)[0])


def first_line(text):
    return (text.strip().splitlines() or ["nothing on standard error"])[0]


def last_line(text):
    return first_line("\n".join(reversed(text.strip().splitlines())))


def expect(holds, seen):
    if not holds:
        raise Wrong(seen)
    return seen


def says(ended, *words):
    """The line on standard error that has one of these words, in any case."""
    lines = ended.errors.splitlines()
    return next((line for line in lines if any(word.lower() in line.lower() for word in words)), None)


def probe(path, entries, *options):
    if not shutil.which("ffprobe"):
        raise Skipped("ffprobe is not installed")
    command = ["ffprobe", "-v", "error", *options, "-show_entries", entries, "-of", "csv=p=0", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.rstrip(",").split(",") for line in lines if line.strip(",")]


def count_frames(path):
    return int(probe(path, "stream=nb_read_frames", "-count_frames", "-select_streams", "V:0")[0][0])


def times(path):
    return [float(row[0]) for row in probe(path, "packet=pts_time", "-select_streams", "V:0")]


# Pictures.


@case("jpeg-scans/n420.jpg")
def separate_scans(trial, file):
    apart, _ = difference(trial.painted(file), trial.painted(file.with_name("i420.jpg")))
    return expect(apart <= 5, f"at most {apart} levels from i420.jpg")


@case("jpeg-sampling/lowluma.jpg")
def coarse_luma(trial, file):
    ended = trial.run("infer", "stylize", file, "--output", trial.work / "painted.png", "--strength", 0)
    if ended.code != 0:
        return expect(says(ended, "sampl"), f"refused: {first_line(ended.errors)}")
    apart, mean = difference(read_png(trial.work / "painted.png"), decode(file))
    # ffmpeg makes other values between the samples of a coarse component.
    return expect(mean < 4, f"{mean:.2f} levels from ffmpeg's picture on average, {apart} at most")


@case("tiff/premul.tif")
def associated_alpha(trial, file):
    tags, samples = read_plain_tiff(file)
    pixels = trial.painted(file)
    expect((pixels.width, pixels.height, pixels.channels) == (tags[256], tags[257], 4), "another size, or no alpha")
    apart = 0
    for at in range(0, len(samples), 4):
        alpha = samples[at + 3]
        right = [min(255, (255 * level + alpha // 2) // alpha) for level in samples[at : at + 3]] if alpha else []
        found = pixels.samples[at : at + 4]
        apart = max([apart, abs(found[3] - alpha), *(abs(a - b) for a, b in zip(right, found))])
    return expect(apart <= 1, f"at most {apart} levels from colours divided by alpha")


@case("tiff/palette.tif")
def palette(trial, file):
    refusal = refused(trial, file)
    if refusal:
        return refusal
    apart, _ = difference(trial.painted(file), decode(file))
    return expect(apart <= 1, f"at most {apart} levels from ffmpeg's picture")


@case("tiff/greyfloat.tif")
def grey_floats(trial, file):
    refusal = refused(trial, file)
    if refusal:
        return refusal
    _, samples = read_plain_tiff(file)
    grey = array.array("f", samples)
    pixels = trial.painted(file)
    right = [min(max(level, 0), 1) * (65535 if max(pixels.samples) > 255 else 255) for level in grey for _ in range(3)]
    apart = max(abs(a - b) for a, b in zip(pixels.samples, right, strict=True))
    return expect(apart <= 1, f"at most {apart:.2f} levels from the numbers in the file")


def refused(trial, file):
    """What is said of a picture of a variant that is not read, or nothing if it is painted."""
    ended = trial.run("infer", "stylize", file, "--output", trial.work / "refused.png", "--strength", 0)
    if ended.code == 0:
        return None
    return expect(says(ended, "variant"), f"refused: {first_line(ended.errors)}")


@case("gif/play-once.gif")
def plays_once(trial, file):
    gif, _ = trial.paint(file, "painted.gif")
    expect(b"NETSCAPE2.0" not in gif.read_bytes(), "the GIF has a loop block")
    webp, _ = trial.paint(file, "painted.webp", "--format", "webp")
    _, plays, frames = webp_frames(webp, trial.work)
    count = count_frames(file)
    same = (count_frames(gif), len(frames)) == (count, count)
    return expect(plays == 1 and same, f"GIF without a loop block, WebP plays {plays} time(s), {len(frames)} of {count} frames")


@case("webp/sticker.webp")
def sticker(trial, file):
    output, _ = trial.paint(file, "painted.webp")
    right, found = compose(*webp_frames(file, trial.work)[::2]), compose(*webp_frames(output, trial.work)[::2])
    expect(len(right) == len(found), f"{len(found)} of {len(right)} frames")
    wrong = sum(a != b for one, other in zip(right, found) for a, b in zip(one, other) if a[3] or b[3])
    return expect(wrong == 0, f"{wrong} visible pixels of {len(right)} frames differ from libwebp's rules")


@case("styles/black.png", "styles/white.png", "styles/rubbish.png")
def hidden_colors(trial, file):
    reference = trial.painted(file.with_name("black.png"), strength=1)
    pixels = trial.painted(file, strength=1)
    apart = 0
    for at in range(0, len(pixels.samples), 4):
        one, other = pixels.samples[at : at + 4], reference.samples[at : at + 4]
        if one[3] or other[3]:
            apart = max(apart, *(abs(a - b) for a, b in zip(one, other)))
    return expect(apart == 0, f"visible pixels at most {apart} levels from black.png's painting")


@case("styles/alpha.png")
def transparent_style(trial, file):
    picture, flat = read_png(file), trial.work / "flat.png"
    white = [
        (level * pixel[3] + 255 * (255 - pixel[3]) + 127) // 255
        for pixel in (picture.samples[i : i + 4] for i in range(0, len(picture.samples), 4))
        for level in pixel[:3]
    ]
    write_png(flat, Pixels(picture.width, picture.height, 3, white))
    ended, tensors = train(trial, file)
    note = says(ended, "white")
    expect(note, "no note on transparency")
    expect(tensors == train(trial, flat)[1], "trained on other colours than those laid on white")
    return f"the weights of a style on white; {note.strip()}"


def train(trial, style):
    """Two steps of a tiny training with a tiny loss network; the talk, and the bytes of the tensors."""
    photos, weights = trial.work / "photos", trial.work / "vgg.safetensors"
    photos.mkdir(exist_ok=True)
    for i in range(4):
        samples = [(7 * x + 3 * y * (i + 1)) % 256 for y in range(40) for x in range(3 * 50)]
        write_png(photos / f"{i}.png", Pixels(50, 40, 3, samples))
    save_loss_network(weights)
    model, folder = trial.work / f"{style.stem}.safetensors", trial.work / f"{style.stem}.run"
    options = ["--steps", 2, "--batch", 1, "--size", 32, "--style-size", 48, "--preset", "xs", "--loss-weights", weights]
    options += ["--run-dir", folder, "--output", model, "--device", "cpu", "--seed", 1]
    ended = trial.run("trainer", "train", "--style", style, "--photos", photos, *options)
    expect(ended.code == 0, f"trainer: exit {ended.code}: {last_line(ended.errors)}")
    content = model.read_bytes()
    return ended, content[8 + struct.unpack("<Q", content[:8])[0] :]


def save_loss_network(path):
    """VGG-16 up to `relu3_3` with a few channels: the weights say the sizes."""
    header, values = [], array.array("f")
    for index, inputs, outputs in [(0, 3, 4), (2, 4, 4), (5, 4, 6), (7, 6, 6), (10, 6, 8), (12, 8, 8), (14, 8, 8)]:
        for name, shape in [("weight", [outputs, inputs, 3, 3]), ("bias", [outputs])]:
            count = outputs * inputs * 9 if name == "weight" else outputs
            offsets = [4 * len(values), 4 * (len(values) + count)]
            header.append(f'"features.{index}.{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}')
            values.extend((37 * i % 97 / 97 - 0.5) * (name == "weight") for i in range(count))
    text = ("{" + ",".join(header) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values.tobytes())


# Style models.

MODELS = ["compiled-ddp.pth", "ckpt-legacy.pth", "with-int32.pth", "net.pth", "generator.pth", "lightning.ckpt"]


@case("models/plain.safetensors", *(f"models/{name}" for name in MODELS))
def same_network(trial, file):
    photo = trial.cases / "jpeg-scans/i420.jpg"
    reference = trial.painted(photo, "--style", file.with_name("plain.safetensors"), strength=1)
    apart, _ = difference(trial.painted(photo, "--style", file, strength=1), reference)
    differs, _ = difference(trial.painted(photo), reference)
    return expect(apart == 0 and differs > 9, f"at most {apart} levels from plain.safetensors' painting")


@case("models/page.pth", "models/lfs.pth", "hostile/card_blocks0.safetensors")
def no_model(trial, file):
    photo, words = trial.cases / "jpeg-scans/i420.jpg", {"page": ["HTML"], "lfs": ["LFS"], "card_blocks0": ["card"]}
    output = trial.work / "painted.png"
    ended = trial.run("infer", "stylize", photo, "--style", file, "--output", output)
    line = says(ended, *words[file.stem])
    expect(ended.code != 0 and not output.exists(), "it was painted with")
    expect(trial.run("infer", "info", file).code != 0, "`infer info` takes it")
    return expect(line, f"refused, but not called what it is: {last_line(ended.errors)}") and line.strip()


@case("hostile/card_with_escapes.safetensors")
def escapes(trial, file):
    ended = trial.run("infer", "info", file)
    raw = [letter for letter in ended.output + ended.errors if ord(letter) < 32 and letter not in "\n\t"]
    return expect(not raw and ended.code == 0, f"exit {ended.code}, {len(raw)} raw control characters")


# Clips.


@case("video/clip.mp4")
def whole_clip(trial, file):
    output, _ = trial.paint(file, "painted.mp4")
    return expect(count_frames(output) == 300, f"{count_frames(output)} of 300 frames")


@case("hostile/disk_full_clip.sh")
def full_disk(trial, file):
    if os.geteuid() != 0 or not shutil.which("ffprobe"):
        raise Skipped("needs root and ffprobe")
    environment = {"INFER": str(trial.programs["infer"].resolve()), "SIZE": "128k"}
    ended = run("bash", file, trial.cases / "video/clip.mp4", environment=environment)
    if ended.code == 9:
        raise Skipped("a file system cannot be mounted here")
    lines = [line for line in ended.output.splitlines() if line.startswith(("full", "with", "frames"))]
    right = ["full disk: exit 1 (1 is right)", "with room, --resume: exit 0", "frames: 300 of 300"]
    return expect(lines == right, "; ".join(lines) or last_line(ended.errors))


@case("video/hdr10.mp4")
def tone_mapped(trial, file):
    output, ended = trial.paint(file, "painted.mp4")
    transfer = probe(output, "stream=color_transfer", "-select_streams", "V:0")[0][0]
    filters = subprocess.run(["ffmpeg", "-hide_banner", "-filters"], capture_output=True, text=True).stdout
    if not all(f" {name} " in filters for name in ("zscale", "tonemap")):
        return expect(says(ended, "HDR", "tone"), f"no filters here; {last_line(ended.errors)}")
    chain = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
    mapped = trial.work / "mapped.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", file, "-vf", chain + ",format=yuv444p", "-c:v", "ffv1", mapped], check=True
    )
    _, near = difference(decode(output), decode(mapped))
    _, far = difference(decode(output), decode(file))
    seen = f"transfer {transfer}, on average {near:.1f} levels from ffmpeg's tone-mapped frame, {far:.1f} from PQ"
    return expect(transfer in ("bt709", "unknown") and 2 * near < far, seen)


@case("video/vfr.mkv")
def variable_rate(trial, file):
    output, ended = trial.paint(file, "painted.mkv")
    frames, apart = count_frames(output), max(abs(a - b) for a, b in zip(sorted(times(file)), sorted(times(output))))
    return expect(frames == 17 and apart < 0.002, f"{frames} of 17 frames, times at most {apart * 1000:.1f} ms off")


@case("video/cover-first.mp4")
def cover_art(trial, file):
    output, ended = trial.paint(file, "painted.mp4")
    covers = sum(row[-1] == "1" for row in probe(output, "stream=index:stream_disposition=attached_pic"))
    note = says(ended, "cover")
    expect(count_frames(output) == 5, f"{count_frames(output)} of 5 frames")
    return expect(covers or note, f"{covers} cover(s) kept" + (f"; {note.strip()}" if note else ", no note"))


@case("video/alpha.webm")
def clip_with_alpha(trial, file):
    output, ended = trial.paint(file, "painted.webm")
    mode = [row for row in probe(output, "stream_tags=alpha_mode", "-select_streams", "V:0") if row == ["1"]]
    note = says(ended, "transparen", "alpha")
    return expect(mode or note, "alpha is kept" if mode else (note or "alpha is dropped without a note").strip())


@case("video/ana.mp4")
def anamorphic(trial, file):
    seen, right = [], 90 * 32 / 27 / 72
    for name, options in [
        ("scaled.mp4", ["--scale", "180x"]),
        ("small.mp4", ["--max-size", 60]),
        ("painted.gif", ["--format", "gif"]),
        ("painted.webp", ["--format", "webp"]),
    ]:
        output, _ = trial.paint(file, name, *options)
        if name.endswith("webp"):
            (width, height), aspect = webp_frames(output, trial.work)[0], "1:1"
        else:
            width, height, aspect = probe(output, "stream=width,height,sample_aspect_ratio", "-select_streams", "V:0")[0]
        across, down = (int(part) for part in aspect.split(":")) if ":" in aspect and name.endswith("mp4") else (1, 1)
        shape = int(width) * across / down / int(height)
        seen.append(f"{name} {shape:.3f}")
        if abs(shape - right) > 0.03:
            raise Wrong(f"{', '.join(seen)} wide to high, right is {right:.3f}")
    return f"{', '.join(seen)} wide to high, right is {right:.3f}"


@case("video/iphone16.mov")
def unknown_sound(trial, file):
    output, ended = trial.paint(file, "painted.mov")
    kinds = [row[0] for row in probe(output, "stream=codec_type")]
    note = says(ended, "left out", "cannot be copied", "not copied", "dropped")
    seen = f"{count_frames(output)} of 5 frames, streams {' '.join(kinds)}; {(note or 'no note').strip()}"
    return expect(count_frames(output) == 5 and kinds.count("audio") == 1 and note, seen)


# Folders and hostile files.


@case("folder")
def mixed_folder(trial, file):
    output = trial.work / "folder"
    ended = trial.run("infer", "stylize", file, "--output", output, "--strength", 0)
    painted = {path.stem for path in output.rglob("*") if path.is_file()}
    missing = {"UPPER", "jfif", "photo"} - painted
    expect(not missing, f"not painted: {', '.join(sorted(missing))}; {last_line(ended.errors)}")
    lost = []
    for name, format in [("IMG_0002.HEIC", "HEI"), ("photo.avif", "AVIF")]:
        line = next((line for line in ended.errors.splitlines() if name in line), None)
        is_painted = any(name in path.name for path in output.rglob("*"))
        if not is_painted and not (line and format in line.replace(name, "")):
            lost.append(f"{name}: {line or 'not named'}")
    return expect(not lost, f"{len(painted)} painted, exit {ended.code}; {'; '.join(lost) or 'the others named'}")


@case("hostile/iccp_bomb_100MB.png")
def profile_bomb(trial, file):
    return bomb(trial, file)


@case("hostile/make_iccp_bomb.py")
def bombs(trial, file):
    seen = []
    for kind in ("iccp", "ztxt", "itxt", "idat"):
        made = trial.work / f"{kind}.png"
        subprocess.run([sys.executable, file, "0.5", made, kind], check=True)
        seen.append(f"{kind}: {bomb(trial, made)}")
    return "; ".join(seen)


def bomb(trial, file):
    """Paints a file whose chunks inflate to gigabytes; it may be refused."""
    output = trial.work / "painted.png"
    output.unlink(missing_ok=True)
    ended = trial.run("infer", "stylize", file, "--output", output, "--strength", 0)
    expect(ended.peak_mb < 250, f"takes {ended.peak_mb:.0f} MB")
    if ended.code != 0:
        return expect(file.name in ended.errors, "refused") + f", {ended.peak_mb:.0f} MB"
    pixels = read_png(output)
    return expect(not any(pixels.samples), "painted") + f", {ended.peak_mb:.0f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", nargs="?", type=Path, default=ROOT.parent / "shared", help="the folder with `cases`")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release", help="the folder of infer and trainer")
    parser.add_argument("--only", default="", help="try the cases whose name contains this")
    arguments = parser.parse_args()
    if not (arguments.shared / "cases").is_dir():
        print(f"skipped: there is no {arguments.shared / 'cases'}")
        return 0
    verdicts = []
    for name, function in CASES:
        if arguments.only in name:
            with tempfile.TemporaryDirectory() as work:
                programs = (arguments.programs / "infer", arguments.programs / "trainer")
                trial = Trial(*programs, arguments.shared, Path(work))
                verdict, seen = attempt(trial, function, trial.cases / name)
            seen = seen.replace(f"{trial.cases}/", "")
            verdicts.append(verdict)
            print(f"{verdict:7} {name:38} {seen}", flush=True)
    print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("ok", "WRONG", "skipped")))
    return 1 if "WRONG" in verdicts else 0


def attempt(trial, function, file):
    try:
        return "ok", function(trial, file)
    except Wrong as wrong:
        return "WRONG", str(wrong)
    except Skipped as skipped:
        return "skipped", str(skipped)
    except FileNotFoundError as error:
        return "skipped", f"{error.filename} is not there"
    except (AssertionError, subprocess.CalledProcessError, IndexError, ValueError) as error:
        return "WRONG", f"the result cannot be checked: {type(error).__name__} {error}"


if __name__ == "__main__":
    sys.exit(main())
