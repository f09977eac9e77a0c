"""The pictures of a reconstruction: its original, itself and its error maps, as figures with text alternatives."""

from html import escape

import streamlit as st

from core.errors import UserError
from core.report.colours import gradient
from core.report.maps import KINDS, ErrorMap, difference_map, lpips_picture, ssim_map
from core.report.pictures import source_png
from core.report.records import Card
from pages import _shared
from pages._shared import number

ORIGINAL_WORDS = {"attacked": "original", "source": "un-augmented original"}
PENDING = "maps_pending"  # in the session: how many maps of this run of the page are still being computed


class _NotReadyError(Exception):
    """A map is being computed elsewhere; not an answer to keep."""


class _NoMapError(Exception):
    """A map cannot be computed now, with the reason; it may be later, when weights are there."""


def original_png(card: Card) -> bytes | None:
    """The original that the card is compared with, at the reconstruction's size; None without one."""
    if card.original_sha is None:
        return None
    read = _shared.get_store().artifacts.read_bytes
    if card.reference == "source":
        return source_png(read(card.original_sha), read(card.image_sha))
    return read(card.original_sha)


def original_url(card: Card, limit: int = 256) -> str | None:
    """Data URL of that original."""
    if card.original_sha is None:
        return None
    if card.reference == "source":
        return _source_url(str(_shared.settings().home), card.original_sha, card.image_sha, limit)
    return _shared.image_url(card.original_sha, limit)


@st.cache_data(show_spinner=False, max_entries=512)
def _source_url(home: str, source: str, reconstruction: str, limit: int) -> str:
    read = _shared.get_store().artifacts.read_bytes
    return _shared.data_url(source_png(read(source), read(reconstruction)), limit)


def original_figure(card: Card, caption: str = "original") -> str:
    """The original as a figure; the sentence instead where its file is gone."""
    try:
        url = original_url(card)
    except UserError as error:
        return missing(caption, str(error))
    if url is None:
        return missing(caption, "no original is paired with it")
    return _shared.figure(url, f"{ORIGINAL_WORDS[card.reference].capitalize()} {card.name}", caption=caption)


def made_figure(card: Card, caption: str = "reconstruction") -> str:
    """The reconstruction as a figure."""
    return stored_figure(card.image_sha, f"Reconstruction of {card.name}", caption)


def stored_figure(sha: str, alt: str, caption: str = "") -> str:
    """A stored picture as a figure; the sentence instead where its file is gone."""
    try:
        return _shared.picture(sha, alt, caption=caption)
    except UserError as error:
        return missing(caption or alt, str(error))


def missing(caption: str, why: str) -> str:
    """A figure's place where there is no picture, with the reason."""
    return (
        f'<figure class="pix"><div class="no-pix" role="img" aria-label="{escape(caption)}: {escape(why)}">'
        f"{escape(why)}</div><figcaption>{escape(caption)}</figcaption></figure>"
    )


# --- error maps -------------------------------------------------------------------------------------------
def map_figure(card: Card, kind: str, told: bool = True) -> str:
    """An error map as a figure; its alternative text gives the mean where that may be `told`."""
    one = KINDS[kind]
    try:
        drawn = error_map(card, kind)
    except UserError as error:
        return missing(one.title, str(error))
    if drawn is None:
        st.session_state[PENDING] = st.session_state.get(PENDING, 0) + 1
        return missing(one.title, "being computed …")
    if drawn.png is None:
        return missing(one.title, drawn.problem)
    mean = f"; {one.measure} {number(drawn.mean)}" if told else ""
    alt = f"{one.title} of {card.name} and its reconstruction, dark where alike{mean}"
    return _shared.figure(_shared.data_url(drawn.png), alt, caption=one.title)


def map_mean(card: Card, kind: str) -> str:
    """The map's mean in words, "" without one."""
    try:
        drawn = error_map(card, kind)
    except UserError:
        return ""
    return "" if drawn is None or drawn.mean is None else f"{KINDS[kind].measure} {number(drawn.mean)}"


def error_map(card: Card, kind: str) -> ErrorMap | None:
    """The map of this kind; None while it is being computed."""
    if card.original_sha is None:
        return ErrorMap(None, None, "no original is paired with it")
    try:
        mark = _lpips_mark() if kind == "lpips" else ""
        home = str(_shared.settings().home)
        return _map(home, kind, mark, card.reference, card.original_sha, card.image_sha, card)
    except _NotReadyError:
        return None
    except _NoMapError as error:
        return ErrorMap(None, None, str(error))


@st.cache_data(show_spinner=False, max_entries=512)
def _map(home: str, kind: str, mark: str, reference: str, original: str, reconstruction: str, _card: Card) -> ErrorMap:
    first = original_png(_card) or b""
    second = _shared.get_store().artifacts.read_bytes(reconstruction)
    if kind == "lpips":
        return _lpips(first, second)
    return ssim_map(first, second) if kind == "ssim" else difference_map(first, second)


def _lpips_mark() -> str:
    """The metric's version and weights: with others the map is another."""
    from core.jobs.aside import map_mark

    return map_mark(_shared.settings())


def _lpips(original: bytes, reconstruction: bytes) -> ErrorMap:
    """Computed by a process of its own: torch is never imported here."""
    from core.jobs.aside import lpips_map

    answer = lpips_map(_shared.settings(), original, reconstruction)
    if not answer.ready:
        raise _NotReadyError
    if answer.value is None:
        raise _NoMapError(answer.problem or "it could not be computed")
    return lpips_picture(answer.value)


def start_waiting() -> None:
    """Call before the maps of a page are drawn."""
    st.session_state[PENDING] = 0


def wait_for_maps() -> None:
    """Call after them: while some are being computed, look again every second and a half; else nothing polls."""
    if st.session_state.get(PENDING):
        _look_again()


@st.fragment(run_every=1.5)
def _look_again() -> None:
    """The first run only draws this line; each later one redraws the page, which asks for the maps again."""
    if st.session_state.get("maps_asked"):
        st.session_state["maps_asked"] = False
        st.rerun()
    st.session_state["maps_asked"] = True
    st.caption("LPIPS maps are being computed; they appear by themselves.")


def legend(kind: str, titled: bool = True) -> str:
    """The map's scale in one line of HTML: its colours with the words at both ends."""
    one = KINDS[kind]
    title = f"<span>{escape(one.title)}:</span>" if titled else ""
    return (
        f'<div class="legend" role="img" aria-label="Scale of the {escape(one.title)}: dark is {escape(one.low)}, '
        f'bright is {escape(one.high)}">{title}<span>{escape(one.low)}</span>'
        f'<i style="background:{gradient()}"></i><span>{escape(one.high)}</span></div>'
    )
