"""A trained network of full width, from the bundled style of half width. Needs Python's standard library only.

Every channel is copied, and each copy gets an equal part of every sum, so that the painting is the same (Net2WiderNet: Chen et al.,
2016). The style's card is left out: with it, Impasto would paint with a margin, which is more pixels than PyTorch paints.
"""

import json
import struct
from math import prod

# Letters of `struct` for the number types that a style is stored in.
LETTERS = {"F16": "e", "F32": "f"}
COLORS = 3


def widen(source, target, copies):
    """Writes the style-model file `source` to `target` with `copies` of every channel."""
    header, values = {}, []
    offset = 0
    for name, (dtype, shape, tensor) in sorted(read(source).items()):
        shape = list(shape)
        # The picture's three channels are not copied.
        if shape[0] != COLORS:
            tensor, shape[0] = repeated(tensor, shape, 0, copies), shape[0] * copies
        if len(shape) == 4 and shape[1] != COLORS:
            tensor, shape[1] = [value / copies for value in repeated(tensor, shape, 1, copies)], shape[1] * copies
        data = struct.pack(f"<{len(tensor)}{LETTERS[dtype]}", *tensor)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        values.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values))


def read(path):
    """Number type, shape and values of every tensor of a `.safetensors` file."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            count, start = prod(entry["shape"]), 8 + length + entry["data_offsets"][0]
            values = struct.unpack_from(f"<{count}{LETTERS[entry['dtype']]}", content, start)
            tensors[name] = entry["dtype"], entry["shape"], values
    return tensors


def repeated(values, shape, axis, copies):
    """The values with each index along `axis` repeated."""
    block = prod(shape[axis + 1 :])
    out = []
    for start in range(0, len(values), block):
        out += values[start : start + block] * copies
    return out
