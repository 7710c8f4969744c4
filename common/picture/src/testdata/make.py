"""Makes the pictures that the tests read and cannot write themselves. Run it here: `python make.py` (made with Pillow)."""

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
