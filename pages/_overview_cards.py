"""Cards of the Overview: a run or campaign that is at work, and what came of those that ended."""

from html import escape

import streamlit as st

from core.errors import UserError
from core.report.campaign_words import progress_line
from core.report.campaigns import CampaignRow, campaign
from core.report.recent import Outcome, outcome
from core.report.runs import Run
from core.report.views import image_pairs
from pages import _progress, _shared, _verdict


def campaign_at_work(row: CampaignRow, at_work: list[Run]) -> None:
    """A campaign with its progress, the run that it is at, and the way to it."""
    view = campaign(_shared.get_store(), row.id)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Campaign {row.id}: {_shared.plain(row.title)}** {_shared.state_badge(view.row.state)}")
            st.page_link(_shared.CAMPAIGNS_PAGE, label="Watch", query_params={"campaign": str(row.id)})
        st.progress(view.share, text=_shared.plain(progress_line(view)))
        for run in at_work:
            st.caption(f"Run {run.id}: {_shared.plain(_within(run, row))} {_progress.status_line(run)}")


def _within(run: Run, row: CampaignRow) -> str:
    """A run's title without its campaign's, which stands above it."""
    return run.title.removeprefix(f"{row.title}: ")


def run_at_work(run: Run) -> None:
    """A run with its progress and the way to it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{_shared.plain(run.title)}** {_progress.status_line(run)}")
            st.page_link(_shared.AUDIT_PAGE, label="Watch", query_params={"run": str(run.id)})
        _progress.progress_bar(run)


def ended(one: Run | CampaignRow) -> None:
    """What came of a run, or of a campaign as one."""
    with st.container(border=True):
        if isinstance(one, CampaignRow):
            _campaign(one)
        else:
            _run(one)


def _run(run: Run) -> None:
    """Its verdict, or how it ended."""
    if run.state == "done":
        judged = _verdict.verdict_of(run.id)
        images = image_pairs(_shared.get_store(), [e.reconstruction for e in judged.verdict.worst])
        left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
        left.html(_verdict.verdict_html(judged))
        if images:
            right.html(_verdict.thumbs_html(judged.verdict, images))
    else:
        st.markdown(_progress.status_line(run))
        _progress.error_line(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        label = f"Run {run.id}: {_shared.plain(run.title)}"
        st.page_link(_shared.RUN_PAGE, label=label, query_params={"run": str(run.id)})
        st.caption(_shared.when(run.finished))


def _campaign(row: CampaignRow) -> None:
    """Its verdicts in one line, the setting that leaks most with its worst originals, and the way to it."""
    store = _shared.get_store()
    try:
        found = outcome(store, row)
    except UserError as error:  # a store that lost a run of it
        st.caption(_shared.plain(str(error)))
        found = None
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
    left.html(campaign_html(row, found))
    if found and found.most and found.most.verdict:
        judged = found.most.verdict.verdict
        images = image_pairs(store, [e.reconstruction for e in judged.worst])
        if images:
            right.html(_verdict.thumbs_html(judged, images))
    with st.container(horizontal=True, vertical_alignment="center"):
        label = f"Campaign {row.id}: {_shared.plain(row.title)}"
        st.page_link(_shared.CAMPAIGNS_PAGE, label=label, query_params={"campaign": str(row.id)})
        st.caption(f"{row.ended} of {row.settings} settings ended, {_shared.when(row.finished)}")


def campaign_html(row: CampaignRow, found: Outcome | None) -> str:
    """Headline and lines of a campaign that ended. All text is escaped."""
    if found is None or not found.judged:
        state = {"done": "ended", "failed": "failed", "cancelled": "was cancelled"}.get(row.state, row.state)
        why = f"<p>{escape(row.error)}</p>" if row.error else ""
        return f'<div class="verdict"><h2>{escape(row.title)} {state}</h2>{why}</div>'
    total = found.judged
    head = f"{found.leaks} of {total} setting{'' if total == 1 else 's'} leak{'s' if found.leaks == 1 else ''}"
    told = [f"{found.nothing_shown} showed nothing"] if found.nothing_shown else []
    told += [f"{found.inconclusive} inconclusive, because a control fails"] if found.inconclusive else []
    told += [f"{found.without} without a verdict"] if found.without else []
    lines = [f"<p>{escape('; '.join(told))}</p>"] if told else []
    if found.most and found.most.verdict:
        judged = found.most.verdict.verdict
        how = f"scored {judged.threshold}" if judged.basis == "threshold" else "recognised by people"
        words = f"Most: {found.most.title}, {judged.leaked} of {judged.judged} originals {how}"
        lines.append(f"<p>{escape(words)}</p>")
        if judged.basis == "threshold":
            lines.append('<p class="small">Nobody has answered about it yet: the threshold is a convention.</p>')
    kind = "leaks" if found.leaks else "inconclusive" if found.inconclusive else ""
    return f'<div class="verdict {kind}"><h2>{escape(head)}</h2>{"".join(lines)}</div>'
