"""One way from a picture file to pixels, for training, evaluation and prediction alike."""

import io
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hurricane.data.pictures import Images
from hurricane.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# Decoding releases the interpreter's lock; two threads fill two cores.
DECODERS = 2
# Pictures a task, and tasks that wait decoded: at 224 pixels about 20 MB.
BATCH, AHEAD = 16, 8
# A picture scaled to cover may not need more than this: a line of 1 x 10,000 pixels would take gigabytes.
MOST_PIXELS = 100_000_000
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Batch:
    """Decoded pictures. numbers : which of the source, (k,). images : (k, size, size, 3) uint8.

    digests : (k,) uint64, equal for equal pixels. broken : numbers of those that are left out, and why.
    """

    numbers: npt.NDArray[np.int64]
    images: Images
    digests: npt.NDArray[np.uint64]
    broken: tuple[tuple[int, str], ...]


def picture_array(image: "Image.Image", size: int) -> Images:
    """A picture as (size, size, 3) uint8: EXIF-transposed, RGB, short side scaled to cover, centre crop.

    Scaling is PIL's bilinear. Transparency is left out, as whoever runs the delivered model does. Grey of 16 bits is
    scaled to 8, and so are floats, whose white is the smallest of 1, 255 and 65,535 that holds them all.
    Raises ValueError where the picture is too long and thin to be scaled.
    """
    from PIL import Image

    image = _rgb(_upright(image))
    scale = max(size / image.width, size / image.height)
    scaled = (max(size, round(image.width * scale)), max(size, round(image.height * scale)))
    if scaled[0] * scaled[1] > MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too long and thin")
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if scaled != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)


def _upright(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    try:
        if image.getexif().get(ORIENTATION, 1) == 1:
            return image  # exif_transpose would copy every picture
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises anything from KeyError to struct.error; the pixels are whole
        return image


def _rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = 65535.0
        if image.mode == "F":
            white = next((w for w in (1.0, 255.0) if values.max() <= w), white)
        return Image.fromarray(np.clip(values / white * 255, 0, 255).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def open_picture(source: Any) -> "Image.Image":
    """A picture from a path or its bytes, wholly read; OSError or ValueError where it is broken."""
    from PIL import Image

    # Files are read at once: formats of several frames would otherwise keep them open.
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # decoders raise SyntaxError, struct.error, DecompressionBombError, ...
        raise ValueError(str(error)) from error


def short_side(sources: Iterable[Any]) -> int | None:
    """Median short side, pixels, of the pictures that can be opened; None where none can. Decodes nothing."""
    from PIL import Image

    sides = []
    with _quiet():
        for source in sources:
            try:
                with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                    sides.append(min(image.size))
            except Exception:  # as in `open_picture`
                continue
    return int(np.median(sides)) if sides else None


def read_picture(path: str | Path, size: int) -> Images:
    """A picture file as (size, size, 3) uint8, as in evaluation; DataError where it is none."""
    path = Path(path)
    try:
        with _quiet():
            return picture_array(open_picture(path), size)
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {path}; give the path of a picture file") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no picture that can be read ({reason(error)}); give a JPEG, PNG or the like"
        ) from error


def decode(
    read: Callable[[int], Any], numbers: Sequence[int], size: int, take: Callable[[Batch], None]
) -> None:
    """Decode pictures by two threads and hand them over in order.

    read : path or bytes of a picture by its number; called from this thread only. take : is given each batch.
    """
    waiting: deque[Future[Batch]] = deque()
    with _quiet(), ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(numbers), BATCH):
            chosen = [int(number) for number in numbers[start : start + BATCH]]
            waiting.append(pool.submit(_batch, chosen, [_read(read, number) for number in chosen], size))
            if len(waiting) > AHEAD:
                take(waiting.popleft().result())
        while waiting:
            take(waiting.popleft().result())


def reason(error: Exception) -> str:
    """Why a picture cannot be read, in few words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    # Pillow names the buffer that it was given, which says nothing to the user.
    return "unknown picture format" if "cannot identify" in text else text[:80] or type(error).__name__


def _quiet() -> AbstractContextManager[object]:
    """No warnings of decoders: odd EXIF or palettes are handled, not a matter for the user."""
    return warnings.catch_warnings(action="ignore")


def _read(read: Callable[[int], Any], number: int) -> Any:
    try:
        return read(number)
    except (OSError, ValueError) as error:
        return error


def _batch(numbers: Sequence[int], sources: Sequence[Any], size: int) -> Batch:
    images = np.empty((len(numbers), size, size, 3), np.uint8)
    whole: list[int] = []
    digests: list[int] = []
    broken: list[tuple[int, str]] = []
    for number, source in zip(numbers, sources, strict=True):
        try:
            if isinstance(source, Exception):
                raise source
            picture = picture_array(open_picture(source), size)
        except (OSError, ValueError) as error:
            broken.append((number, reason(error)))
            continue
        images[len(whole)] = picture
        whole.append(number)
        digests.append(int.from_bytes(blake2b(images[len(whole) - 1].data, digest_size=8).digest()))
    return Batch(np.array(whole, np.int64), images[: len(whole)], np.array(digests, np.uint64), tuple(broken))
