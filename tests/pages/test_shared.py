"""Numbers and names as people read them."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from pages import _shared


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0"),
        (43.84, "43.8"),
        (0.99812, "0.998"),
        (-1.5, "−1.50"),
        (0.0000421, "4.2e−5"),
        (1234.5, "1234"),  # never fewer digits than the number has before the point
        (12_000_000.0, "1.2e7"),
    ],
)
def test_numbers(value, text):
    assert _shared.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (8.4, "8 s"), (60, "1 min"), (80, "1 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(value, text):
    assert _shared.seconds(value) == text


def test_metrics_say_their_direction_and_unit():
    assert _shared.metric_label("psnr") == "PSNR ↑ dB"
    assert _shared.metric_label("lpips_alex_224") == "LPIPS alex 224 ↓"
    assert _shared.metric_label("victim_prediction") == "victim prediction"  # a diagnostic has no direction


def test_foreign_text_is_no_markdown():
    assert _shared.plain("[x](http://a) <b> $1$") == "\\[x\\]\\(http\\://a\\) \\<b\\> \\$1\\$"


def test_a_figure_escapes_everything():
    html = _shared.figure('data:image/png;base64,"', '"><script>', caption="<b>")
    assert "<script>" not in html
    assert "<b>" not in html
    assert html.count('"') == 6  # class, src and alt are quoted, nothing breaks out of them


def test_large_images_are_scaled_down_and_small_ones_kept_to_the_byte():
    def png(side):
        out = io.BytesIO()
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(out, "PNG")
        return out.getvalue()

    import base64

    def decoded(url):
        return base64.b64decode(url.split(",")[1])

    assert decoded(_shared.data_url(png(32))) == png(32)
    with Image.open(io.BytesIO(decoded(_shared.data_url(png(600))))) as image:
        assert max(image.size) == 256
