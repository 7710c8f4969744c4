"""Makes the pictures that the tests read and cannot write themselves. Run it here: `python make.py` (made with Pillow)."""

import io
import struct

import numpy as np
from PIL import Image

# Ink: no cyan, all magenta and yellow, a fifth of black, which is a dark red.
Image.new("CMYK", (8, 8), (0, 255, 255, 51)).save("cmyk.jpg", quality=95)
Image.new("CMYK", (8, 8), (0, 255, 255, 51)).save("cmyk.tiff")

palette = Image.new("P", (4, 2))
palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
palette.putdata([0, 1, 2, 3, 3, 2, 1, 0])
palette.save("palette.png")

frames = [Image.new("RGB", (6, 4), color) for color in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
frames[0].save("animated.webp", save_all=True, append_images=frames[1:], duration=[70, 130, 40], loop=3, lossless=True)


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def still_chunks(image, **options):
    """The chunks of a WebP still that a frame of an animation holds."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", exact=True, **options)
    data, at, kept = buffer.getvalue(), 12, b""
    while at < len(data):
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        end = at + 8 + length + length % 2
        if data[at : at + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            kept += data[at:end]
        at = end
    return kept


def u24(value):
    return struct.pack("<I", value)[:3]


def disposal(name, lossless):
    """An animation in which every way to blend and to dispose follows every other, and its frames as libwebp composes them."""
    # Each of the four flags after each: a de Bruijn sequence.
    flags = [0, 0, 1, 0, 2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0]
    canvas, random = (16, 12), np.random.default_rng(3)
    body = chunk(b"VP8X", bytes([0b10010, 0, 0, 0]) + u24(canvas[0] - 1) + u24(canvas[1] - 1))
    body += chunk(b"ANIM", struct.pack("<IH", 0xFF0000FF, 2))
    for i, flag in enumerate(flags):
        full = i in (5, 9, 12)
        x, y = (0, 0) if full else 2 * random.integers(0, 3, 2)
        w, h = canvas if full else (random.integers(4, canvas[0] - x + 1), random.integers(4, canvas[1] - y + 1))
        # Blocks of a few pixels, and all kinds of alpha: none at all, in some frames.
        pixels = random.integers(0, 256, (4, 4, 4), dtype=np.uint8)
        alpha = random.integers(0, 4, (4, 4))
        pixels[..., 3] = np.where(alpha == 0, 0, np.where(alpha == 1, 255, pixels[..., 3]))
        if i % 5 == 4:
            pixels[..., 3] = 255
        image = Image.fromarray(pixels.repeat(4, 0).repeat(4, 1)[:h, :w].copy())
        if i % 5 == 4:
            image = image.convert("RGB")
        head = u24(int(x) // 2) + u24(int(y) // 2) + u24(int(w) - 1) + u24(int(h) - 1) + u24(40) + bytes([flag])
        options = {"lossless": True} if lossless else {"quality": 80}
        body += chunk(b"ANMF", head + still_chunks(image, **options))
    with open(name + ".webp", "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)
    animation = Image.open(name + ".webp")
    expected = Image.new("RGBA", (canvas[0], canvas[1] * len(flags)))
    for i in range(len(flags)):
        animation.seek(i)
        expected.paste(animation.convert("RGBA"), (0, canvas[1] * i))
    expected.save(name + ".png")


disposal("disposal", lossless=True)
disposal("disposal_lossy", lossless=False)
