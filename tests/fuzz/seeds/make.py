"""Makes the seeds of the fuzz targets with nothing but Python: run it here, `python make.py`.

Some are copies of files that tests read and whose makers lie beside them: those of `pickle`, `zip` and `webp`, and most of
`jpeg`. A folder is a target's name.
"""

import json
import shutil
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ROOT / "common/picture/src/testdata"
WEIGHTS = ROOT / "common/src/weights/testdata"


def write(path, content):
    path = Path(path)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def copy(folder, target, *names):
    Path(target).mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(folder / name, Path(target) / name)


def noise(count, seed=1):
    """Bytes that do not compress too well, always the same."""
    values = bytearray()
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) % 2**31
        values.append(seed >> 16 & 0xFF if seed & 0x40000 else 40)
    return bytes(values)


# Style models.
LAYERS = [
    ("conv1", "in1", 1, 3, 9),
    ("conv2", "in2", 2, 1, 3),
    ("conv3", "in3", 4, 2, 3),
    ("deconv1", "in4", 2, 4, 3),
    ("deconv2", "in5", 1, 2, 3),
    ("deconv3", None, 3, 1, 9),
]


def tensors(prefix=""):
    for conv, norm, outputs, inputs, kernel in LAYERS:
        yield f"{prefix}{conv}.conv2d.weight", [outputs, inputs, kernel, kernel]
        yield f"{prefix}{conv}.conv2d.bias", [outputs]
        for part in ["weight", "bias"] if norm else []:
            yield f"{prefix}{norm}.{part}", [outputs]


def safetensors(tensors, metadata=None, dtype="F16", size=2):
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, shape in tensors:
        count = size
        for axis in shape:
            count *= axis
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header, separators=(",", ":")).encode()
    code = "<e" if size == 2 else "<f"
    values = b"".join(struct.pack(code, (i * 37 % 97) / 97 - 0.5) for i in range(offset // size))
    return struct.pack("<Q", len(text)) + text + values


def card(**changes):
    card = {"format": 1, "crate_version": "0.1.0", "name": "seed", "network": {"channels": 1, "blocks": 0}, "steps": 3}
    return {"impasto": json.dumps(card | changes)}


write("safetensors_card/card.safetensors", safetensors(tensors(), card()))
write("safetensors_card/plain.safetensors", safetensors(tensors()))
write("safetensors_card/prefixed.safetensors", safetensors(tensors("module.")))
write(
    "safetensors_card/contradiction.safetensors",
    safetensors(tensors(), card(network={"channels": 1, "blocks": 1})),
)
copy(WEIGHTS, "pickle", "checkpoint.ckpt", "compiled.pth", "legacy.pth", "pair.pth")
copy(WEIGHTS, "zip", "zip.pth", "nested.pth", "compiled.pth")
shutil.copyfile("pickle/bare.pkl", "zip/bare.pkl")


# Snapshots: of format 1, which has no checksum that a changed byte would break, and of format 2.
def snapshot(format):
    digest = "cbf29ce484222325"
    identity = {"config": {"length": {"Steps": 4}, "seed": 1}, "style": digest, "photos": digest, "photo_sizes": digest}
    metrics = {"step": 1, "learning_rate": "0.001", "total": 3.5, "content": 1.0, "style": 2.0, "tv": 0.5}
    metrics |= {"gradient_norm": 0.25, "layers": [["conv1_1", 0.5]]}
    header = {"format": format, "checksum": "00000000", "crate_version": "0.1.0", "step": 1, "rate_scale": 0.5}
    header |= {"identity": identity | {"loss_weights": digest, "init_from": None}, "skipped": {"a.jpg": "too small"}}
    header |= {"recent": [metrics]}
    if format == 1:
        del header["checksum"]
    parts = [(f"{kind}.conv.weight", [3]) for kind in ("weights", "first", "second")]
    text = json.dumps(header, separators=(",", ":"))
    content = safetensors(parts, {"impasto-snapshot": text}, "F32", 4)
    return content.replace(b"00000000", b"%08x" % zlib.crc32(content), 1)


write("snapshot/old.safetensors", snapshot(1))
write("snapshot/sealed.safetensors", snapshot(2))


# JPEG.
LAYOUTS = ["1x1_1x1_1x1.apart", "1x1_2x1_2x1.interleaved", "2x1_1x1_1x1.progressive", "2x2_1x1_1x1.interleaved"]
copy(PICTURES / "layouts", "jpeg", *(f"{layout}.jpg" for layout in LAYOUTS))
copy(PICTURES, "jpeg", "cmyk.jpg")
plain = (PICTURES / "layouts/2x2_1x1_1x1.interleaved.jpg").read_bytes()
TURNED = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
PROFILE = struct.pack(">I", 20) + b"test\x02\x10\0\0mntrRGB "


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


turned = segment(0xE1, b"Exif\0\0" + TURNED) + segment(0xE2, b"ICC_PROFILE\0\x01\x01" + PROFILE)
write("jpeg/turned.jpg", plain[:2] + turned + plain[2:])
write("jpeg/unended.jpg", plain[:-2])


# PNG.
def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, depth, kind, samples, *before, interlace=0):
    row = (width * samples * depth + 7) // 8
    pixels = b"".join(bytes([y % 5]) + noise(row, y + 1) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    body = chunk(b"IHDR", head) + b"".join(before) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


write("png/rgb.png", png(7, 6, 8, 2, 3, chunk(b"iCCP", b"p\0\0" + zlib.compress(PROFILE)), chunk(b"eXIf", TURNED)))
write("png/rgba16.png", png(4, 5, 16, 6, 4))
write("png/palette.png", png(9, 3, 2, 3, 1, chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", b"\x00\x80")))
write("png/grey.png", png(9, 3, 1, 0, 1, chunk(b"acTL", struct.pack(">II", 2, 0))))
write("png/interlaced.png", png(1, 1, 8, 4, 2, interlace=1))


# TIFF.
def packbits(content):
    return b"".join(bytes([len(part) - 1]) + part for part in (content[i : i + 128] for i in range(0, len(content), 128)))


def tiff(width, height, bits, samples, *extra, order="<", rows=4, tile=None, compression=1, photometric=2):
    """A file of strips of `rows` rows, or of tiles of `tile` pixels a side."""
    if tile:
        sizes = [tile * tile * samples * bits // 8] * (-(-width // tile) * -(-height // tile))
    else:
        row = (width * samples * bits + 7) // 8
        sizes = [row * min(rows, height - y) for y in range(0, height, rows)]
    pack = {1: bytes, 8: zlib.compress, 32773: packbits}[compression]
    parts = [pack(noise(size, i + 1)) for i, size in enumerate(sizes)]
    offsets, at = [], 8
    for part in parts:
        offsets.append(at)
        at += len(part)
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [compression])]
    tags += [(262, 3, [photometric]), (277, 3, [samples])]
    lengths = [len(part) for part in parts]
    if tile:
        tags += [(322, 3, [tile]), (323, 3, [tile]), (324, 4, offsets), (325, 4, lengths)]
    else:
        tags += [(273, 4, offsets), (278, 4, [rows]), (279, 4, lengths)]
    tags = sorted(tags + list(extra))
    values_at = at + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, numbers in tags:
        body = struct.pack(order + {3: "H", 4: "I", 7: "B"}[kind] * len(numbers), *numbers)
        if len(body) <= 4:
            field = body.ljust(4, b"\0")
        else:
            field = struct.pack(order + "I", values_at + len(values))
            values += body
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + b"".join(parts) + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0" + values


write("tiff/rgb.tif", tiff(7, 9, 8, 3, (274, 3, [6]), (34675, 7, list(PROFILE))))
write("tiff/premultiplied.tif", tiff(5, 6, 8, 4, (338, 3, [1]), compression=32773))
write("tiff/deep.tif", tiff(5, 6, 16, 3, order=">", compression=8))
write("tiff/bits.tif", tiff(11, 5, 1, 1, photometric=0, rows=2))
write("tiff/tiles.tif", tiff(20, 18, 8, 1, tile=16, compression=8, photometric=1))
write("tiff/predicted.tif", tiff(6, 4, 8, 3, (317, 3, [2]), compression=8))


# WebP and GIF.
copy(PICTURES, "webp", "animated.webp", "disposal.webp", "disposal_lossy.webp")


def gif_data(indices):
    """Codes of three bits, with a clear code so often that they stay that long."""
    codes = [code for i, index in enumerate(indices) for code in (([4] if i % 2 == 0 else []) + [index])] + [5]
    bits = sum(code << 3 * i for i, code in enumerate(codes))
    packed = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
    return b"\x02" + b"".join(bytes([len(packed[i : i + 255])]) + packed[i : i + 255] for i in range(0, len(packed), 255)) + b"\0"


def gif(frames, repeat=None):
    body = b"GIF89a" + struct.pack("<HHBBB", 6, 5, 0x81, 0, 0) + bytes([0, 0, 0, 250, 9, 9, 9, 250, 9, 90, 90, 250])
    if repeat is not None:
        body += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeat) + b"\0"
    for i, (x, y, width, height, disposal, flags) in enumerate(frames):
        body += b"\x21\xf9\x04" + struct.pack("<BHB", disposal << 2 | i % 2, 5, 3) + b"\0"
        body += b"\x2c" + struct.pack("<HHHHB", x, y, width, height, flags)
        body += bytes(range(12)) if flags & 0x80 else b""
        body += gif_data([(3 * j + i) % 4 for j in range(width * height)])
    return body + b"\x3b"


write("gif/still.gif", gif([(0, 0, 6, 5, 0, 0)]))
write("gif/animated.gif", gif([(0, 0, 6, 5, 1, 0), (1, 1, 3, 3, 2, 0x40), (2, 0, 4, 5, 3, 0x81), (0, 0, 6, 5, 0, 0)], 2))


# Streams of frames.
def y4m(header, size):
    frames = b"".join(b"FRAME" + ending + b"\n" + noise(size, i + 1) for i, ending in enumerate([b"", b" Ip"]))
    return header + b"\n" + frames


write("y4m/420.y4m", y4m(b"YUV4MPEG2 W7 H5 F30000:1001 Ip A4:3 C420mpeg2 XCOLORRANGE=FULL", 35 + 2 * 12))
write("y4m/422.y4m", y4m(b"YUV4MPEG2 W4 H3 F25:1 It C422", 24))
write("y4m/444p10.y4m", y4m(b"YUV4MPEG2 W4 H3 C444p10", 72))
write("y4m/mono.y4m", y4m(b"YUV4MPEG2 H3 W4 Cmono", 12))


# The first bytes of files.
stream = bytearray(600)
for i in range(3):
    stream[192 * i + 4] = 0x47
HEADS = {
    "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2",
    "mov": b"\0\0\0\x08wide\0\0\0\0mdat",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "mkv": b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f",
    "avi": b"RIFF\x10\0\0\0AVI LIST",
    "wmv": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "mpg": b"\0\0\x01\xba\x44\0\x04\0",
    "ts": bytes(stream),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + b"\1\2\3\0",
    "png": png(2, 2, 8, 2, 3),
    "jpg": plain[:200],
    "tif": tiff(2, 2, 8, 3),
    "gif": gif([(0, 0, 6, 5, 0, 0)]),
}
for ending, head in HEADS.items():
    write(f"sniff/{ending}", head)


# Messages of a camera.
write("camera_frame/pixels", struct.pack("<IHH", 7, 3, 2) + noise(24))
write("camera_frame/jpeg", struct.pack("<IHH", 8, 0, 0) + plain)
write("camera_frame/png", struct.pack("<IHH", 9, 0, 0) + png(2, 2, 8, 2, 3))
