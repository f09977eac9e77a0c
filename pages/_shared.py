"""What all pages share: the store, the annotator, numbers and pictures as people read them. Imports no torch."""

import base64
import io
import math
import runpy
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from threading import Thread

import streamlit as st
from PIL import Image

from core.errors import UserError
from core.jobs.launch import ensure_runner, living_runner
from core.metrics.base import Metric
from core.report import names, shares
from core.settings import Settings, load_settings
from core.storage.store import Store, open_store

RUN_PAGE = "pages/reconstructions.py"
AUDIT_PAGE = "pages/audit.py"
CAMPAIGNS_PAGE = "pages/campaigns.py"
LABEL_PAGE = "pages/label.py"
ENTERED = "entered"  # in the session while app.py runs a page
APP = Path(__file__).resolve().parents[1] / "app.py"
STATE_COLOURS = {
    "queued": "gray",
    "running": "primary",
    "paused": "orange",
    "done": "green",
    "failed": "red",
    "cancelled": "gray",
}
STATE_ICONS = {
    "queued": "schedule",
    "running": "progress_activity",
    "paused": "pause",
    "done": "check",
    "failed": "error",
    "cancelled": "block",
}


def settings() -> Settings:
    """The settings of this process, from the environment; paths are opened only where visitors may look."""
    return replace(load_settings(), anywhere=False)


@st.cache_resource(show_spinner=False, max_entries=8)
def _opened(_settings: Settings, home: str, url: str) -> Store:
    return open_store(_settings)


def get_store() -> Store:
    """The store of this home, opened once per process; a page stops with one sentence where it cannot be opened."""
    with user_errors():
        chosen = settings()
        return _opened(chosen, str(chosen.home), chosen.database_url)


@contextmanager
def user_errors() -> Iterator[None]:
    """Show a UserError as its sentence and stop the page there; let every other error through."""
    try:
        yield
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.stop()


def plain(text: str) -> str:
    """Text of unknown origin for st.markdown, st.error and labels: nothing in it is read as Markdown."""
    return "".join("\\" + c if c in "\\`*_{}[]()#+-.!|~<>$:" else c for c in text)


@st.cache_resource(show_spinner=False, ttl=20, max_entries=8)
def _runner(_settings: Settings, home: str, url: str) -> "Future[int]":
    """A runner is being started, or found; starting takes seconds, so no page waits for it."""
    answer: Future[int] = Future()

    def start() -> None:
        try:
            answer.set_result(ensure_runner(_settings))
        except (UserError, OSError) as error:
            answer.set_exception(error)

    Thread(target=start, name="ensure-runner", daemon=True).start()
    return answer


def start_runner() -> None:
    """Have a runner live for this home; asked every 20 s at most. A failure is said in the sidebar."""
    chosen = settings()
    get_store()  # makes the home and its tables, so that the runner finds them
    answer = _runner(chosen, str(chosen.home), chosen.database_url)
    failure = answer.exception() if answer.done() else None
    if failure is not None:
        st.sidebar.error(plain(str(failure)), icon=":material/error:")


def keep_runner() -> None:
    """Have a runner live while a page watches what takes hours: a killed one is replaced. Cheap; writes nothing."""
    chosen = settings()
    answer = _runner(chosen, str(chosen.home), chosen.database_url)
    if answer.done() and answer.exception() is None and not runner_lives():  # killed since it was looked for
        _runner.clear()
        _runner(chosen, str(chosen.home), chosen.database_url)


def runner_lives() -> bool:
    """Whether a runner holds this home's lock now."""
    return living_runner(settings()) is not None


def wake_runner() -> None:
    """After a job was queued: look again for a living runner now."""
    _runner.clear()
    keep_runner()


def header(title: str, caption: str) -> None:
    """The title line, the same on every page; it comes first, because it brings in app.py where that was left out."""
    _through_app()
    st.title(title, anchor=False)
    st.caption(caption)


@contextmanager
def inside_app() -> Iterator[None]:
    """What app.py puts around a page, so that the page knows."""
    st.session_state[ENTERED] = True
    try:
        yield
    finally:
        st.session_state.pop(ENTERED, None)


def _through_app() -> None:
    """Run app.py around a page that Streamlit opened without it.

    Until the first st.navigation of a server, a folder called pages/ makes Streamlit serve a deep link by running
    the page alone; without this the first visitor of such a link would see no navigation and no style.
    """
    if ENTERED not in st.session_state:
        runpy.run_path(str(APP))
        st.stop()


def query_number(name: str) -> int | None:
    """The whole number in ?name=, None where it is absent; UserError for anything else."""
    if name not in st.query_params:
        return None
    text = st.query_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise UserError(
            f"The link's {name} must be a whole number such as {name}=3, not {text[:40]!r}; pick one below."
        )
    return int(text)


# --- numbers ----------------------------------------------------------------------------------------------
def arrow(direction: str) -> str:
    """↑ where a higher score means more leakage, ↓ where a lower one does."""
    return "↑" if direction == "higher" else "↓"


def metric_label(metric: Metric | str) -> str:
    """Short name, direction and unit, as in "PSNR ↑ dB"; a diagnostic has no direction."""
    name = metric if isinstance(metric, str) else metric.name
    return " ".join(part for part in (names.short_name(name), names.arrow(name), names.unit(name)) if part)


def number(value: float | None, digits: int = 3) -> str:
    """A score with `digits` significant digits and a true minus sign; ∞ and – are written out."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-3 <= size < 10**6:
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "\u2212")
    text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    return text.replace("-", "\u2212")


def count(value: int) -> str:
    """A whole number with a comma between thousands, as messages and tables have it."""
    return f"{value:,}"


def percent(share: float | None, n: int | None = None) -> str:
    """A share of one as "62 %"; by the one rule of `core.report.shares`, n: what it was counted over."""
    return shares.percent(share, n)


def seconds(value: float | None) -> str:
    """A duration as people say it: "8 s", "1 min 20 s", "2 h 5 min"."""
    if value is None:
        return "–"
    whole = max(0, round(value))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def took(started: float | None, finished: float | None) -> str:
    """How long a run took, or that it has not ended."""
    return "not ended" if started is None or finished is None else seconds(finished - started)


def when(moment: float | None) -> str:
    """A stored time on this machine's clock: the hour today, else the day too."""
    if moment is None:
        return "–"
    then = datetime.fromtimestamp(moment)
    return f"{then:%H:%M}" if time.time() - moment < 12 * 3600 else f"{then:%d %b %H:%M}"


def state_badge(state: str) -> str:
    """Markdown badge of a job's state: a word and an icon, never colour alone."""
    return f":{STATE_COLOURS[state]}-badge[:material/{STATE_ICONS[state]}: {state}]"


# --- pictures ---------------------------------------------------------------------------------------------
def image_url(sha: str, limit: int = 256) -> str:
    """Data URL of an artifact's PNG, scaled down on the server where a side is longer than `limit` pixels.

    A data URL has no address that another could ask for, and leaves nothing in the server's memory.
    """
    return _artifact_url(str(settings().home), sha, limit)


@st.cache_data(show_spinner=False, max_entries=512)
def _artifact_url(home: str, sha: str, limit: int) -> str:
    return data_url(get_store().artifacts.read_bytes(sha), limit)


def data_url(png: bytes, limit: int = 256) -> str:
    """Data URL of PNG bytes, scaled down where a side is longer than `limit` pixels."""
    with Image.open(io.BytesIO(png)) as image:
        if max(image.size) > limit:
            small = image.copy()
            small.thumbnail((limit, limit), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            small.save(buffer, "PNG")
            png = buffer.getvalue()
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def picture(sha: str, alt: str, width: int | None = None, caption: str = "") -> str:
    """HTML figure of an artifact with crisp pixels and a text alternative; all text is escaped."""
    return figure(image_url(sha), alt, width, caption)


def figure(url: str, alt: str, width: int | None = None, caption: str = "") -> str:
    """HTML figure of a data URL; `width` in CSS pixels, None fills the column."""
    size = f' style="width:{width:d}px"' if width else ""
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="pix"{size}><img src="{escape(url)}" alt="{escape(alt)}">{under}</figure>'


def pictures_html(figures: Iterable[str]) -> str:
    """Figures side by side in one row that wraps."""
    return f'<div class="pix-row">{"".join(figures)}</div>'


def empty_state(text: str, link: Callable[[], object] | None = None) -> None:
    """What a view shows when there is nothing yet: what is missing and what to do about it."""
    with st.container(border=True):
        st.markdown(text)
        if link is not None:
            link()
