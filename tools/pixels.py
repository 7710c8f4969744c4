"""Reads the few kinds of picture files that our programs write, so that their pixels can be checked without a library."""

import struct
import subprocess
import zlib
from dataclasses import dataclass


@dataclass
class Pixels:
    """Rows of pixels from the top, interleaved; 16-bit samples are numbers up to 65535."""

    width: int
    height: int
    channels: int
    samples: list

    def pixel(self, x, y):
        at = (y * self.width + x) * self.channels
        return tuple(self.samples[at : at + self.channels])


def read_png(path):
    """A PNG of 8 or 16 bits, grey, RGB or RGBA, not interlaced."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n"), f"{path} is no PNG"
    at, data, head = 8, b"", None
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        head = struct.unpack(">IIBBBBB", body) if name == b"IHDR" else head
        data += body if name == b"IDAT" else b""
        at += 12 + length
    width, height, bits, kind, _, _, interlaced = head
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    assert bits in (8, 16) and not interlaced
    rows = unfilter(zlib.decompress(data), width * channels * bits // 8, height, channels * bits // 8)
    samples = list(rows) if bits == 8 else [high << 8 | low for high, low in zip(rows[::2], rows[1::2])]
    return Pixels(width, height, channels, samples)


def unfilter(data, length, height, step):
    """Undoes the filters of a PNG's rows (PNG specification, 9.2)."""
    above, out = bytes(length), bytearray()
    for y in range(height):
        start = y * (length + 1)
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + length])
        for i in range(length):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            row[i] = row[i] + predict(kind, left, above[i], corner) & 0xFF
        out += row
        above = row
    return bytes(out)


def predict(kind, left, up, corner):
    if kind == 4:
        guess = left + up - corner
        return min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
    return (0, left, up, (left + up) // 2)[kind]


def write_png(path, pixels):
    """Writes an 8-bit PNG."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.channels]
    length = pixels.width * pixels.channels
    rows = (bytes(pixels.samples[y * length : (y + 1) * length]) for y in range(pixels.height))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def read_plain_tiff(path):
    """The tags and the bytes of a TIFF of one uncompressed strip, little-endian."""
    content = path.read_bytes()
    assert content.startswith(b"II*\0"), f"{path} is no little-endian TIFF"
    at = struct.unpack("<I", content[4:8])[0]
    tags = {}
    for i in range(struct.unpack("<H", content[at : at + 2])[0]):
        tag, kind, count, value = struct.unpack("<HHII", content[at + 2 + 12 * i : at + 14 + 12 * i])
        tags[tag] = value & 0xFFFF if kind == 3 and count == 1 else value
    assert tags[259] == 1
    return tags, content[tags[273] : tags[273] + tags[279]]


def webp_frames(path, work):
    """The canvas of an animated WebP, how often it plays, and its frames, each with place, flags and pixels."""
    content, at, frames, canvas, plays = path.read_bytes(), 12, [], None, None
    while at < len(content):
        name, length = struct.unpack("<4sI", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        number = lambda i: int.from_bytes(body[3 * i : 3 * i + 3], "little")
        if name == b"VP8X":
            canvas = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif name == b"ANIM":
            plays = int.from_bytes(body[4:6], "little")
        elif name == b"ANMF":
            still = work / "frame.webp"
            still.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body) - 16) + b"WEBP" + body[16:])
            frames.append((2 * number(0), 2 * number(1), body[15], decode(still, "rgba")))
        at += 8 + length + length % 2
    return canvas, plays, frames


def compose(canvas, frames):
    """The pictures that an animated WebP shows, as libwebp composes them."""
    width, height = canvas
    shown, picture, disposed = [], [(0, 0, 0, 0)] * (width * height), None
    for left, top, flags, pixels in frames:
        for x, y in disposed or ():
            picture[y * width + x] = (0, 0, 0, 0)
        for y in range(pixels.height):
            for x in range(pixels.width):
                at, source = (top + y) * width + left + x, pixels.pixel(x, y)
                picture[at] = source if flags & 2 else over(source, picture[at])
        area = [(left + x, top + y) for y in range(pixels.height) for x in range(pixels.width)]
        disposed = area if flags & 1 else None
        shown.append(list(picture))
    return shown


def over(source, target):
    alpha, under = source[3], target[3] * (256 - source[3]) >> 8
    if alpha in (0, 255):
        return source if alpha else target
    return (*((source[i] * alpha + target[i] * under) // (alpha + under) for i in range(3)), alpha + under)


def decode(path, format="rgb24"):
    """The first picture of a file as ffmpeg decodes it, in 8 bits."""
    return decode_all(path, format)[0]


def decode_all(path, format="rgb24"):
    """All pictures of a file as ffmpeg decodes them, in 8 bits."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:V:0", "-vsync", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", format, "-"], capture_output=True, check=True).stdout
    sizes = ["ffprobe", "-v", "error", "-select_streams", "V:0", "-show_entries", "stream=width,height", "-of", "csv=p=0"]
    text = subprocess.run([*sizes, path], capture_output=True, check=True, text=True).stdout
    width, height = (int(number) for number in text.strip().strip(",").split(",")[:2])
    channels = {"rgb24": 3, "rgba": 4, "gray": 1}[format]
    size = width * height * channels
    return [Pixels(width, height, channels, list(raw[i : i + size])) for i in range(0, len(raw), size)]


def difference(one, other):
    """The largest and the mean difference of two pictures of the same size, in levels."""
    assert (one.width, one.height, one.channels) == (other.width, other.height, other.channels), (
        f"{one.width}x{one.height}x{one.channels} against {other.width}x{other.height}x{other.channels}"
    )
    apart = [abs(a - b) for a, b in zip(one.samples, other.samples)]
    return max(apart), sum(apart) / len(apart)
