"""One way from a picture file to pixels, for training, evaluation and prediction alike."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hurricane.data.pictures import Images
from hurricane.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# Decoding releases the interpreter's lock; two threads fill two cores.
DECODERS = 2


def picture_array(image: "Image.Image", size: int) -> Images:
    """A picture as (size, size, 3) uint8: EXIF-transposed, RGB, short side scaled to cover, centre crop.

    Transparent pictures lie on white; 16-bit grey is scaled to 8 bits; scaling is PIL's bilinear.
    """
    from PIL import Image, ImageOps

    image = _rgb(ImageOps.exif_transpose(image))
    scale = max(size / image.width, size / image.height)
    scaled = (max(size, round(image.width * scale)), max(size, round(image.height * scale)))
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def _rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        return Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def open_picture(source: Any) -> "Image.Image":
    """A picture opened from a path or bytes and wholly read; OSError or ValueError where it is broken."""
    import io
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF or palettes are handled, not a matter for the user
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            image.load()
            return image
    except (OSError, ValueError):
        raise
    except Exception as error:  # decoders raise SyntaxError, struct.error, DecompressionBombError, ...
        raise ValueError(str(error)) from error


def read_picture(path: Path, size: int) -> Images:
    """A picture file as (size, size, 3) uint8, as in evaluation; DataError where it is none."""
    try:
        return picture_array(open_picture(path), size)
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {path}; give the path of a picture file") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no picture that can be read ({error}); give a JPEG, PNG or the like"
        ) from error


def decoded(read: Callable[[int], Any], chosen: Sequence[int], size: int) -> Iterator[Images | None]:
    """Each chosen picture in order as (size, size, 3) uint8, or None where it is broken.

    read : gives the path or bytes of a picture by its number.
    """

    def one(index: int) -> Images | None:
        try:
            return picture_array(open_picture(read(index)), size)
        except (OSError, ValueError):
            return None

    with ThreadPoolExecutor(DECODERS) as pool:
        # In slices, so that a large source does not wait decoded in memory.
        for start in range(0, len(chosen), 256):
            yield from pool.map(one, chosen[start : start + 256])
