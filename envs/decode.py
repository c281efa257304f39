"""Bytes and arrays from strangers as 8-bit images, or the reason why not.

Only formats of the list below are decoded: others, such as EPS, are programs. Whatever is wrong with a file
ends in `Unusable`, and nothing is allocated for an image of more than Pillow's limit of pixels.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Array = NDArray[Any]
Fit = Literal["pad", "crop", "stretch"]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Unusable(Exception):
    """Why a file or an array is no image. `harmless`: nobody would take it for one, so it may be ignored."""

    def __init__(self, reason: str, harmless: bool = False) -> None:
        super().__init__(reason)
        self.harmless = harmless


MOST_ELONGATED = 16
"""How many times its shorter side an image's longer side may be: of a square of 64 pixels it then has 4 rows."""

_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGBA": "RGB with transparency",
    "F": "grey of 32-bit floats",
}


def indices(data: bytes) -> Array:
    """The numbers in a palette or grey PNG, as segmentations store them: uint8 (H, W); or Unusable."""
    image = opened(data)
    if image.mode not in ("P", "L"):
        raise Unusable(f"its segmentation is {image.mode}, not one number a pixel")
    return np.asarray(image)


def object_mask(data: bytes) -> Array:
    """The pixels of a mask file that are not zero: boolean (H, W); or Unusable.

    Of a palette the number counts, not the colour, and what is transparent is zero. JPEG leaves faint levels around
    edges, so there a pixel counts from level 128.
    """
    image = opened(data)
    least = 128 if image.format == "JPEG" else 1
    levels = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        levels = levels[..., :-1] * (levels[..., -1:] > 0)
    if levels.ndim == 3:
        levels = levels.max(2)
    found: Array = levels >= least if levels.dtype.kind == "u" else levels != 0
    if not found.any():
        raise Unusable("it is zero everywhere, so it marks no object")
    return found


def mode_name(image: Image.Image) -> str:
    """What the pixels of an image are, for people: `16-bit grey`, `palette`."""
    if image.mode.startswith("I"):
        return "16-bit grey"
    return _MODES.get(image.mode, image.mode)


def opened(data: bytes) -> Image.Image:
    """The image in a file, upright, in the file's own mode; of several frames the first.

    Raises:
        Unusable: it is empty, cut off, too large, or not of a known format.
    """
    if not data:
        raise Unusable("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                upright.format = image.format
                return upright
    except UnidentifiedImageError:
        raise Unusable(f"not an image ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception as error:  # a broken file can make a decoder raise anything
        raise Unusable(f"broken: {error}") from None


def eight_bit(image: Image.Image) -> Image.Image:
    """An image of any mode in mode L, RGB or RGBA; 16-bit levels are scaled, not cut off."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(shades(np.asarray(image).astype(np.uint16)))
    if image.mode == "I":  # what Pillow makes of some 16-bit files
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise Unusable(f"levels from {values.min()} to {values.max()} are not those of 16 bits")
        return Image.fromarray(shades(values.astype(np.uint16)))
    if image.mode == "F":
        return Image.fromarray(shades(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def shades(values: Array) -> Array:
    """Levels of any type as uint8 of the same shape.

    Booleans become 0 and 255, 16 bits are scaled to 8, floats are a share of white, other integers are taken
    as they are.

    Raises:
        Unusable: NaN, values out of range, or a type that holds no levels.
    """
    if values.dtype == np.uint8:
        return values
    kind = values.dtype.kind
    if kind == "b":
        return np.where(values, 255, 0).astype(np.uint8)
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    if kind not in "iuf":
        raise Unusable(f"values of type {values.dtype} are no levels")
    if not np.isfinite(values).all():
        raise Unusable("NaN or infinite values")
    white = 1 if kind == "f" else 255
    if values.min() < 0 or values.max() > white:
        raise Unusable(f"values from {values.min():g} to {values.max():g}; {values.dtype} must lie in 0 … {white}")
    return np.rint(values.astype(np.float64) * (255 / white)).astype(np.uint8)


def from_array(values: Array) -> Image.Image:
    """An image from levels (H, W) or (H, W, C) with 1, 3 or 4 channels; or Unusable."""
    levels = shades(values)
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2:] == (1,) else levels))


def opaque(image: Image.Image, channels: int, fill: int) -> Image.Image:
    """In mode L (1 channel) or RGB (3), over a ground of level `fill` where it is transparent."""
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, (fill, fill, fill, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("L" if channels == 1 else "RGB")


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit, fill: int, how: Image.Resampling) -> Image.Image:
    """An image brought to another size.

    Args:
        image: of any mode without transparency.
        size: (width, height) of the result.
        fit: `pad` keeps the image's shape and fills the rest, half on either side; `crop` takes the largest
            part of the right shape from the middle; `stretch` distorts.
        fill: the level of the padding; `box_within` says where it is none.
        how: the filter.
    """
    width, height = image.size
    if fit == "stretch":
        return image.resize(size, how)
    if fit == "crop":
        scale = min(width / size[0], height / size[1])
        left, top = (width - size[0] * scale) / 2, (height - size[1] * scale) / 2
        box = (max(left, 0), max(top, 0), min(width - left, width), min(height - top, height))
        return image.resize(size, how, box=box)
    top, left, inner_height, inner_width = box_within(image.size, size)
    page = Image.new(image.mode, size, (fill,) * len(image.getbands()) if image.mode != "F" else fill)
    page.paste(image.resize((inner_width, inner_height), how), (left, top))
    return page


def box_within(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where `fit=pad` puts an image's own pixels: (top, left, height, width). Sizes are (width, height).

    >>> box_within((200, 100), (64, 64))
    (16, 0, 32, 64)
    """
    scale = min(size[0] / image_size[0], size[1] / image_size[1])
    width, height = (max(1, round(side * scale)) for side in image_size)
    return (size[1] - height) // 2, (size[0] - width) // 2, height, width
