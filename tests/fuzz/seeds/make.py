"""Makes the seeds of `safetensors_card`: run it here, `python make.py`. Those of `pickle` are copies of the files that
`common/src/weights/testdata/make.py` makes."""

import json
import struct

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


def save(file, tensors, card=None):
    header, offset = {}, 0
    if card:
        header["__metadata__"] = {"impasto": json.dumps(card)}
    for name, shape in tensors:
        count = 2
        for axis in shape:
            count *= axis
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header, separators=(",", ":")).encode()
    values = b"".join(struct.pack("<e", (i * 37 % 97) / 97 - 0.5) for i in range(offset // 2))
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + values)


CARD = {"format": 1, "crate_version": "0.1.0", "name": "seed", "network": {"channels": 1, "blocks": 0}, "steps": 3}
save("safetensors_card/card.safetensors", tensors(), CARD)
save("safetensors_card/plain.safetensors", tensors())
save("safetensors_card/prefixed.safetensors", tensors("module."))
save("safetensors_card/contradiction.safetensors", tensors(), CARD | {"network": {"channels": 1, "blocks": 1}})
