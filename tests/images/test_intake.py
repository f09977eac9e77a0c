"""BAD_INPUTS.md 24 to 33: pictures made here by code; each is refused in one sentence or taken in as plain pixels."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from core.errors import UserError
from core.images.intake import TakenImage, take_in_image

GPS = b"Exif secret position"


def colours(height: int = 12, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG by hand: `data` are the filtered rows, `extra` chunks stand before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + end


def small_png(*extra: bytes) -> bytes:
    """2×2 pixels, all (7, 8, 9)."""
    return png(2, 2, *extra, data=(b"\0" + bytes((7, 8, 9)) * 2) * 2)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A real JPEG whose start of frame claims another size."""
    data = bytearray(encoded(Image.fromarray(colours()), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_of_size(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bomb() -> bytes:
    """64 MiB of zeros in 65 kB."""
    return zlib.compress(bytes(2**26))


def huge() -> bytes:
    """A whole PNG of 169 megapixels, all black: a few MB."""
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(bytes(39_001)) for _ in range(13_000)) + rows.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif() -> bytes:
    frames = [Image.fromarray(colours(seed=seed)) for seed in range(20)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def scans() -> bytes:
    """A progressive JPEG that repeats its last scan 300 times: each would cost a pass over the picture."""
    data = encoded(Image.fromarray(colours()), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 300 + data[-2:]


SVG = b'\xef\xbb\xbf\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "bad-input-24-header-20000x20000": (lambda: png(20_000, 20_000), "20,000×20,000 pixels, where at most 50 million"),
    "bad-input-24-header-20000x20000-jpeg": (lambda: jpeg_of_size(20_000, 20_000), "20,000×20,000 pixels"),
    "bad-input-24-header-16000x16000-webp": (lambda: webp_of_size(16_000, 16_000), "16,000×16,000 pixels"),
    "bad-input-25-13000x13000": (huge, "13,000×13,000 pixels"),
    "bad-input-27-truncated-png": (lambda: small_png()[:-20], "cut short"),
    "bad-input-27-truncated-pixels": (lambda: png(50, 50, data=bytes(151)), "some of its pixels are missing"),
    "bad-input-27-truncated-jpeg": (lambda: encoded(Image.fromarray(colours()), "JPEG")[:-30], "cut short"),
    "bad-input-27-truncated-webp": (lambda: encoded(Image.fromarray(colours()), "WEBP")[:-30], "cut short"),
    "bad-input-27-bad-checksum": (lambda: small_png().replace(b"IHDR", b"IHDS"), "a checksum in it is wrong"),
    "bad-input-27-empty": (lambda: b"", "is empty"),
    "bad-input-27-scan-bomb": (scans, "more than 200 times"),
    "bad-input-28-svg": (lambda: SVG, "a text with markup"),
    "bad-input-28-html": (lambda: b"<!DOCTYPE html><script>alert(1)</script>", "a text with markup"),
    "bad-input-28-eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an EPS"),
    "bad-input-28-fits": (lambda: b"SIMPLE  =                    T" + bytes(2850), "a FITS file"),
    "bad-input-28-tiff": (lambda: encoded(Image.fromarray(colours()), "TIFF"), "a TIFF"),
    "bad-input-28-zip": (lambda: b"PK\3\4" + bytes(60), "a zip file"),
    "bad-input-28-random": (lambda: np.random.default_rng(1).bytes(500), "something else"),
    "bad-input-32-0x0": (lambda: png(0, 0), "0×0 pixels, which is no picture"),
    "bad-input-32-0x5": (lambda: png(0, 5), "0×5 pixels, which is no picture"),
    "bad-input-32-1x65000": (lambda: png(1, 65_000, data=b"\0abc" * 65_000), "a side has at most 16,384"),
    "bad-input-33-many-frame-gif": (gif, "is a GIF"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_picture_is_refused_in_one_sentence(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UserError) as caught:
        take_in_image(make(), "../<b>face.png")
    assert words in str(caught.value)
    assert str(caught.value).startswith("<b>face.png ")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def is_small(taken: TakenImage) -> bool:
    return taken.pixels.tolist() == [[[7, 8, 9]] * 2] * 2


BOMBS = {
    "zTXt": lambda: chunk(b"zTXt", b"Comment\0\0" + bomb()),
    "iTXt": lambda: chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb()),
    "iCCP": lambda: chunk(b"iCCP", b"profile\0\0" + bomb()),
    "many-zTXt": lambda: chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20))) * 100,
}


@pytest.mark.parametrize("name", BOMBS, ids=lambda name: f"bad-input-26-{name}")
def test_compressed_extras_are_cut_off_unread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    original = Image.open

    def spy(file: io.BytesIO, **options: object) -> Image.Image:
        opened.append(file.getvalue())
        return original(file, **options)

    monkeypatch.setattr(Image, "open", spy)
    taken = take_in_image(small_png(BOMBS[name]()), "face.png")
    assert is_small(taken)
    assert opened == [small_png()]  # Pillow saw the picture and nothing else


def test_bad_input_29_png_followed_by_zip() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("evil.py", "print(1)")
    taken = take_in_image(small_png() + buffer.getvalue(), "face.png")
    assert is_small(taken)
    assert taken.notes == (f"{len(buffer.getvalue()):,} bytes behind the picture were cut off.",)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_bad_input_29_other_pictures_followed_by_junk(kind: str) -> None:
    data = encoded(Image.fromarray(colours()), kind)
    taken = take_in_image(data + b"PK\3\4junk", "face.png")
    assert np.array_equal(taken.pixels, take_in_image(data, "face.png").pixels)
    assert taken.notes == ("8 bytes behind the picture were cut off.",)


def test_bad_input_30_cmyk() -> None:
    # Full ink of cyan alone leaves green and blue: a flat JPEG keeps flat colours to within rounding.
    flat = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    taken = take_in_image(encoded(flat, "JPEG", quality=100), "ink.jpg")
    assert np.abs(taken.pixels.astype(int) - (0, 255, 255)).max() <= 2
    assert taken.notes == ("CMYK colours were converted to RGB without a profile.",)


def test_bad_input_30_sixteen_bit_grey() -> None:
    wide = np.linspace(0, 65535, 300).astype(np.uint16).reshape(10, 30)
    taken = take_in_image(encoded(Image.fromarray(wide), "PNG"), "x-ray.png")
    wanted = np.rint(wide / 65535 * 255).astype(np.uint8)  # 65535 is white, as 255 is
    assert all(np.array_equal(taken.pixels[:, :, channel], wanted) for channel in range(3))
    assert taken.notes == ("16-bit grey was scaled to 8 bits.",)


def test_bad_input_30_sixteen_bit_colour() -> None:
    row = np.array([[0, 65535, 0x1234]], dtype=">u2")
    taken = take_in_image(png(1, 1, depth=16, data=b"\0" + row.tobytes()), "wide.png")
    assert taken.pixels.tolist() == [[[0, 255, 0x12]]]
    assert taken.notes == ("16-bit colour was reduced to its upper 8 bits.",)


def test_bad_input_30_alpha_lies_on_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 0, 0, 255), (200, 0, 0, 0), (0, 0, 0, 51)])
    taken = take_in_image(encoded(image, "PNG"), "cut-out.png")
    # alpha 51 of 255 is one fifth black, four fifths white: 255 * 4 / 5 = 204
    assert taken.pixels.tolist() == [[[200, 0, 0], [255, 255, 255], [204, 204, 204]]]
    assert taken.notes == ("Transparent parts were laid on white.",)


def test_bad_input_30_palette_with_alpha() -> None:
    palette = chunk(b"PLTE", bytes((10, 20, 30, 40, 50, 60))) + chunk(b"tRNS", bytes((255, 0)))
    taken = take_in_image(png(2, 1, palette, colour=3, data=b"\0\0\1"), "sprite.png")
    assert taken.pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_bad_input_30_grey_and_transparent_key() -> None:
    grey = take_in_image(png(2, 1, colour=0, data=b"\0\x64\xc8"), "grey.png")
    assert grey.pixels.tolist() == [[[100] * 3, [200] * 3]]
    assert grey.notes == ()
    keyed = take_in_image(png(2, 1, chunk(b"tRNS", b"\0\x64"), colour=0, data=b"\0\x64\xc8"), "grey.png")
    assert keyed.pixels.tolist() == [[[255] * 3, [200] * 3]]
    wide = png(2, 1, chunk(b"tRNS", b"\x12\x34"), depth=16, colour=0, data=b"\0\x12\x34\xff\xff")
    assert take_in_image(wide, "grey.png").pixels.tolist() == [[[255] * 3, [255] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_bad_input_31_exif_rotation_and_gps(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[29] = GPS.decode()
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    data = encoded(Image.fromarray(colours()), kind, exif=exif, **options)
    assert GPS in data
    taken = take_in_image(data, "phone.jpg")
    with Image.open(io.BytesIO(data)) as image:  # Pillow's own transposition as the second opinion
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(taken.pixels, wanted)
    assert (taken.height, taken.width) == taken.pixels.shape[:2] == ((20, 12) if orientation > 4 else (12, 20))
    assert taken.pixels.flags.c_contiguous
    assert type(taken.pixels) is np.ndarray
    assert bool(taken.notes) is (orientation > 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_bad_input_33_animations_give_their_first_picture(kind: str) -> None:
    frames = [Image.fromarray(colours(seed=seed)) for seed in range(30)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    taken = take_in_image(data, "moving.png")
    assert np.array_equal(taken.pixels, colours(seed=0))
    assert taken.notes == ("An animation: only its first picture was taken.",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 8), (17, 2)])
def test_every_whole_png_is_taken_and_its_last_row_is_missed(mode: str, size: tuple[int, int]) -> None:
    data = encoded(Image.fromarray(colours(*size)).convert(mode), "PNG")
    assert take_in_image(data, "face.png").pixels.shape == (*size, 3)
    start = data.index(b"IDAT") - 4
    rows = zlib.decompress(data[start + 8 : start + 8 + int.from_bytes(data[start : start + 4])])
    shorter = data[:start] + chunk(b"IDAT", zlib.compress(rows[:-1])) + chunk(b"IEND", b"")
    with pytest.raises(UserError, match="some of its pixels are missing"):
        take_in_image(shorter, "face.png")


def test_interlaced_png_is_whole() -> None:
    # 3×3 grey, Adam7: passes 1, 4, 5, 6, 7 have rows of 1; 1; 2; 1 and 1; 3 pixels, a filter byte before each row.
    passes = b"\0\x01" + b"\0\x03" + b"\0\x07\x09" + b"\0\x02\0\x08" + b"\0\x04\x05\x06"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 1))

    def make(data: bytes) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")

    assert take_in_image(make(passes), "face.png").pixels[:, :, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    with pytest.raises(UserError, match="some of its pixels are missing"):
        take_in_image(make(passes[:-1]), "face.png")


def test_cap_is_on_the_pixels_not_below_them() -> None:
    data = encoded(Image.fromarray(colours(12, 20)), "PNG")
    assert take_in_image(data, "face.png", max_pixels=240).width == 20
    with pytest.raises(UserError, match="12 pixels"):
        take_in_image(data, "face.png", max_pixels=239)


def good_pictures() -> list[bytes]:
    image = Image.fromarray(colours())
    return [encoded(image, kind) for kind in ("PNG", "JPEG", "WEBP")]


GOOD = good_pictures()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(GOOD), st.data())
def test_mutated_pictures_give_pixels_or_a_user_error(good: bytes, draw: st.DataObject) -> None:
    data = bytearray(good)
    for _ in range(draw.draw(st.integers(0, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    gives_pixels_or_a_user_error(bytes(data[: draw.draw(st.integers(0, len(data)))]))
    gives_pixels_or_a_user_error(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBP"]), st.binary(max_size=100))
def test_random_bytes_give_a_user_error(start: bytes, rest: bytes) -> None:
    gives_pixels_or_a_user_error(start + rest)


def gives_pixels_or_a_user_error(data: bytes) -> None:
    try:
        taken = take_in_image(data, "face.png", max_pixels=10_000)
    except UserError as error:
        taken, sentence = None, str(error)
    if taken is None:
        assert sentence.startswith("face.png ")
    else:
        assert taken.pixels.shape == (taken.height, taken.width, 3)
        assert taken.width * taken.height <= 10_000
