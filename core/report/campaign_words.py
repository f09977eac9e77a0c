"""A campaign in words: what it asks for, how long it takes, how far it is. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from core.campaigns.plan import Campaign
from core.campaigns.resolve import Resolved
from core.campaigns.size import gib
from core.report.campaign_estimate import CampaignEstimate, estimate_campaign
from core.report.campaigns import CampaignView
from core.storage.store import Store


def estimate_lines(store: Store, campaign: Campaign, found: Mapping[str, Resolved], wait: float = 0.0) -> list[str]:
    """Counts, time and disk as lines for a terminal. wait: seconds that the attacks' pace may be measured for."""
    deadline = time.monotonic() + wait
    measure = wait > 0 and store.settings.probe
    estimate = estimate_campaign(store, campaign, found, measure=measure)
    while estimate.measuring and time.monotonic() < deadline:
        time.sleep(0.5)
        estimate = estimate_campaign(store, campaign, found, measure=measure)
    lines = [size_line(estimate), time_line(estimate), *(f"  {basis}" for basis in estimate.basis)]
    lines += [f"note: {note}" for note in estimate.notes]
    return lines + ([f"warning: {estimate.warning}"] if estimate.warning else [])


def size_line(estimate: CampaignEstimate) -> str:
    """What is asked for, in one line."""
    size = estimate.size
    trained = f"{_many(size.trainings, 'training')}, " if size.trainings else ""
    return (
        f"{_many(size.settings, 'setting')}: {trained}{_many(size.settings, 'run')} on "
        f"{_many(size.originals, 'original')}, {_many(size.reconstructions, 'reconstruction')} and "
        f"{_many(size.controls, 'control')}; about {gib(size.disk)} of disk, {gib(estimate.free)} free"
    )


def time_line(estimate: CampaignEstimate) -> str:
    """How long it takes, in one line."""
    parts = [
        f"{duration(seconds)} {word}"
        for word, seconds in (
            ("of training", estimate.train_seconds),
            ("of attacking", estimate.attack_seconds),
            ("of scoring", estimate.score_seconds),
        )
        if seconds
    ]
    said = "a guess: " if estimate.guess else ""
    return f"{said}about {duration(estimate.seconds)} ({', '.join(parts)})"


def progress_line(view: CampaignView) -> str:
    """State, settings in each state, share and time left."""
    counts = ", ".join(f"{number} {state}" for state, number in sorted(view.counts.items()))
    left = f", about {duration(view.left)} left" if view.left is not None else ""
    return f"{view.row.state}, {100 * view.share:.0f} % ({counts}){left}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
