"""Makes the JPEG layouts that the tests read, and libjpeg's pixels of them: `python make.py PICTURE`.

Needs Pillow, and `cjpeg` and `djpeg` of libjpeg-turbo on the path. The pictures here were made from Hokusai's Great Wave.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
SAMPLINGS = [
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "1x4,1x1,1x1", "3x1,1x1,1x1",
    "1x1,2x1,2x1", "1x1,2x2,2x2", "1x1,1x2,1x2", "2x1,1x2,1x2", "2x2,2x1,2x1", "2x2,1x1,2x2", "1x2,2x1,1x1",
    "4x1,2x1,1x1",
]
SCANS = {"interleaved": None, "apart": "0;\n1;\n2;\n", "luma_apart": "0;\n1 2;\n", "last_apart": "0 1;\n2;\n"}

picture = Image.open(sys.argv[1]).convert("RGB")
picture = picture.resize((picture.width // 24, picture.height // 24)).crop((5, 3, 42, 32))
with tempfile.TemporaryDirectory() as folder:
    source, scans, pixels = (f"{folder}/{name}" for name in ("in.ppm", "scans", "out.ppm"))
    picture.save(source)
    for sampling in SAMPLINGS:
        name = sampling.replace(",", "_")
        for mode in [*SCANS, "progressive"]:
            options = ["-progressive"] if mode == "progressive" else []
            if SCANS.get(mode):
                Path(scans).write_text(SCANS[mode])
                options = ["-scans", scans]
            out = str(HERE / f"{name}.{mode}.jpg")
            command = ["cjpeg", "-quality", "75", "-optimize", "-sample", sampling, *options, "-outfile", out, source]
            subprocess.run(command, check=True)
        # Every order of scans holds the same coefficients.
        subprocess.run(["djpeg", "-pnm", "-outfile", pixels, str(HERE / f"{name}.interleaved.jpg")], check=True)
        Image.open(pixels).save(HERE / f"{name}.png", optimize=True)
