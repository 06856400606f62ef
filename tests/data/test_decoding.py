import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from hurricane.data import picture_array, read_picture
from hurricane.data.decoding import Batch, decode
from hurricane.errors import DataError
from hurricane.steps.example import prepare

SIZE = 8


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def uniform(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (11, 9), colour)


# What turns an upright picture into one that the orientation turns back.
UNDONE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", UNDONE)
def test_a_picture_turned_by_exif_reads_like_the_upright_one(tmp_path: Path, orientation: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (14, 10, 3), dtype=np.uint8)
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = saved(upright.transpose(UNDONE[orientation]), tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(turned, SIZE), picture_array(upright, SIZE))
    assert not np.array_equal(
        picture_array(upright.transpose(UNDONE[orientation]), SIZE), picture_array(upright, SIZE)
    )


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        (uniform("RGB", (10, 20, 30)), "png", (10, 20, 30)),
        (uniform("L", 100), "png", (100, 100, 100)),
        (uniform("1", 1), "png", (255, 255, 255)),
        (uniform("RGB", (200, 0, 0)).quantize(4), "gif", (200, 0, 0)),
        (uniform("CMYK", (0, 255, 255, 0)), "tif", (255, 0, 0)),
        (uniform("LA", (40, 255)), "png", (40, 40, 40)),
        (uniform("RGBA", (10, 20, 30, 255)), "webp", None),
        (uniform("RGBA", (9, 0, 0, 0)), "png", (9, 0, 0)),
        (uniform("LA", (7, 0)), "png", (7, 7, 7)),
        (uniform("I;16", 0x8000), "png", (127, 127, 127)),
        (uniform("I;16", 255), "tif", (0, 0, 0)),  # dark, not an 8-bit white
        (uniform("I", 0xFFFF), "pgm", (255, 255, 255)),
        (uniform("F", 0.5), "tif", (127, 127, 127)),
        (uniform("F", 100.0), "tif", (100, 100, 100)),
        (uniform("RGB", (10, 20, 30)), "jpg", None),
        (uniform("RGB", (10, 20, 30)), "ppm", (10, 20, 30)),
        (uniform("RGB", (10, 20, 30)), "bmp", (10, 20, 30)),
    ],
)
def test_every_mode_of_picture_becomes_rgb(
    tmp_path: Path, image: Image.Image, suffix: str, expected: tuple[int, int, int] | None
) -> None:
    pixels = read_picture(saved(image, tmp_path / f"picture.{suffix}"), SIZE)
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
    if expected is None:  # lossy formats
        assert np.abs(pixels.astype(int) - (10, 20, 30)).max() <= 4
    else:
        assert (pixels == expected).all()


def test_a_colour_that_stands_for_transparent_is_a_colour(tmp_path: Path) -> None:
    path = saved(uniform("RGB", (1, 2, 3)), tmp_path / "keyed.png", transparency=(1, 2, 3))
    assert (read_picture(path, SIZE) == (1, 2, 3)).all()


@example(width=9, height=8, size=6)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 40))
def test_the_middle_of_the_picture_is_kept_whatever_its_size(width: int, height: int, size: int) -> None:
    ramp = np.tile(np.linspace(0, 255, width), (height, 1))
    steep = np.stack([ramp, np.full_like(ramp, 77), ramp[:, ::-1]], axis=2).round().astype(np.uint8)
    pixels = picture_array(Image.fromarray(steep), size).astype(int)
    assert pixels.shape == (size, size, 3)
    assert (pixels[..., 1] == 77).all()
    # A centre crop of a ramp has as much of its dark end as of its bright end, up to a pixel of rounding; resampled, it
    # is a little more than a step of the ramp.
    mirrored = pixels[:, ::-1, 2]
    scaled_width = max(size, round(width * max(size / width, size / height)))
    step = 255 / max(1, width - 1) * max(1.0, width / scaled_width)
    assert np.abs(pixels[..., 0] - mirrored).max() <= 1.1 * step + 2


@pytest.mark.parametrize("shape", [(31, 17), (17, 31), (8, 8), (5, 7), (100, 33)])
def test_the_delivered_example_prepares_pictures_to_the_same_pixels(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(Image.fromarray(pixels), tmp_path / "a.jpg", exif=exif)
    shipped = prepare(str(path), SIZE, SIZE)
    ours = read_picture(path, SIZE).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    assert np.array_equal(shipped, ours)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16"])
def test_the_delivered_example_prepares_every_mode_to_the_same_pixels(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (14, 11, 4), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (14, 11), dtype=np.uint16))
    elif mode == "P":
        image = image.convert("RGB").quantize(8)
        image.info["transparency"] = 3
    else:
        image = image.convert(mode)
    path = saved(image, tmp_path / "a.png")
    ours = read_picture(path, SIZE).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    assert np.array_equal(prepare(str(path), SIZE, SIZE), ours)


def test_damaged_exif_does_not_spoil_a_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 40) + b"\x12\x01\xff\xff"
    uniform("RGB", (50, 50, 50)).save(path, exif=b"Exif\x00\x00" + tiff)
    assert np.abs(read_picture(path, SIZE).astype(int) - 50).max() <= 2


def test_pictures_of_several_frames_give_their_first_and_leave_no_file_open(tmp_path: Path) -> None:
    frames = [uniform("L", 51), uniform("L", 204)]
    for suffix in ("gif", "tif"):
        path = saved(frames[0], tmp_path / f"film.{suffix}", save_all=True, append_images=frames[1:])
        assert (read_picture(path, SIZE) == 51).all()


def test_what_is_no_picture_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no picture .*nowhere\.jpg"):
        read_picture(tmp_path / "nowhere.jpg", SIZE)
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(DataError, match="unknown picture format"):
        read_picture(text, SIZE)
    with pytest.raises(DataError, match="no picture that can be read"):
        read_picture(tmp_path, SIZE)
    half = saved(Image.effect_noise((64, 64), 90), tmp_path / "half.jpg")
    half.write_bytes(half.read_bytes()[:1500])
    with pytest.raises(DataError, match="truncated"):
        read_picture(half, SIZE)
    with pytest.raises(DataError, match="long and thin"):
        read_picture(saved(Image.new("L", (1, 20_000)), tmp_path / "line.png"), 224)


def test_many_pictures_come_in_order_and_broken_ones_are_named() -> None:
    def read(number: int) -> bytes:
        if number % 50 == 7:
            return b"broken"
        if number % 50 == 8:
            raise OSError(13, "Permission denied")
        buffer = io.BytesIO()
        uniform("L", number % 256).save(buffer, "png")
        return buffer.getvalue()

    batches: list[Batch] = []
    chosen = range(3, 400)
    decode(read, chosen, SIZE, batches.append)
    broken = {number: why for batch in batches for number, why in batch.broken}
    assert set(broken) == {number for number in chosen if number % 50 in (7, 8)}
    assert (broken[7], broken[8]) == ("unknown picture format", "Permission denied")
    numbers = np.concatenate([batch.numbers for batch in batches])
    assert numbers.tolist() == [number for number in chosen if number not in broken]
    images = np.concatenate([batch.images for batch in batches])
    assert (images == (numbers % 256)[:, None, None, None]).all()
    digests = np.concatenate([batch.digests for batch in batches])
    assert len(set(digests.tolist())) == len(set((numbers % 256).tolist())), "digests follow the pixels"
