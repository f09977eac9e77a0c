"""How long a campaign will take and what it will write, before it is launched. No torch.

Trainings go by the images a second of earlier trainings in this store, else by a small table; attacks by
`core.report.estimate`; scoring by earlier scorings. What was never measured here is called a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median

from sqlalchemy import select

from core.attacks import configure
from core.campaigns.grid import blocks
from core.campaigns.plan import Campaign, Setting
from core.campaigns.resolve import Resolved, resolved_setting, spec_of
from core.campaigns.size import SPARE_BYTES, Size, free_bytes, gib, size_of
from core.models.spec import ModelSpec
from core.report.campaign_notes import campaign_notes
from core.report.estimate import estimate_request
from core.report.estimate_table import COLD_SECONDS, width_of
from core.storage.schema import jobs, models, training_epochs
from core.storage.store import Store

NEWEST = 50  # finished jobs that are looked at
# (architecture, base width; 0: no such argument) -> images a second of training at 32 px. LeNet and ConvNet of base 8:
# the mini study's in steps of 8, 2026-11-25, 2 CPU cores beside other work; the full-width nets a processor second in
# steps of 64, docs/benchmarks.md, "Training a victim".
TRAIN_RATES = {("lenet", 0): 250.0, ("convnet", 8): 95.0, ("convnet", 64): 10.9, ("resnet20-4", 64): 33.3}
UNKNOWN_TRAIN_RATE = 20.0
SCORE_SECONDS, SCORE_SECONDS_EACH = 0.5, 0.1  # of a run, and of each of its images; measured as LeNet's rate above
START_SECONDS = 2.0  # of a training or an attack before it computes
NAMED = 6  # victims whose time is a guess that are named
MOST_ASKED = 40  # different attacks whose pace is asked for; beyond, the mean of these stands for the rest


@dataclass(frozen=True)
class CampaignEstimate:
    """Counts, seconds of each stage and of all, bytes. guess: a stage rests on nothing measured in this store."""

    size: Size
    train_seconds: float
    attack_seconds: float
    score_seconds: float
    guess: bool
    measuring: bool  # a measurement runs; ask again in a moment
    basis: tuple[str, ...]  # what each stage's time rests on
    free: int  # bytes of disk
    notes: tuple[str, ...] = ()  # of images that victims have seen, and of labels that are drawn

    @property
    def seconds(self) -> float:
        """All stages, one after the other."""
        return self.train_seconds + self.attack_seconds + self.score_seconds

    @property
    def warning(self) -> str | None:
        """What speaks against the launch."""
        if self.free < self.size.disk + SPARE_BYTES:
            return (
                f"This campaign writes about {gib(self.size.disk)} and only {gib(self.free)} are free; make room, or "
                "attack fewer originals."
            )
        return None


def estimate_campaign(
    store: Store, campaign: Campaign, found: Mapping[str, Resolved], *, measure: bool = True
) -> CampaignEstimate:
    """Time and disk of a campaign on the data sets that `resolve` found. Raises UserError as `expand` does."""
    size = size_of(campaign, found)
    training, train_basis = _trainings(store, campaign, found)
    attacks, attack_basis, guess, measuring = _attacks(store, campaign, size.settings, found, measure)
    scoring, score_basis = _scorings(store, size)
    return CampaignEstimate(
        size=size,
        train_seconds=training,
        attack_seconds=attacks,
        score_seconds=scoring,
        guess=guess or "guess" in train_basis + score_basis,
        measuring=measuring,
        basis=tuple(one for one in (train_basis, attack_basis, score_basis) if one),
        free=free_bytes(store.settings.home),
        notes=campaign_notes(store, campaign, found),
    )


def _trainings(store: Store, campaign: Campaign, found: Mapping[str, Resolved]) -> tuple[float, str]:
    """Seconds of all trainings, one after the other."""
    measured = _train_rates(store)
    seconds, guessed, known = 0.0, set(), 0
    for block in blocks(campaign):
        one = resolved_setting(block.first, found)
        if one.recipe is None:
            continue
        spec = spec_of(one.victim, found[one.data.name])
        if spec is None:
            continue
        rate = measured.get(_likeness(spec))
        if rate is None:
            kind = (spec.architecture, width_of(spec.architecture, spec.arguments))
            rate = TRAIN_RATES.get(kind, UNKNOWN_TRAIN_RATE) * (32 / spec.height) ** 2
            guessed.add(one.victim.name)
        else:
            known += 1
        seconds += START_SECONDS + found[one.data.name].train_images * one.recipe.epochs / rate
    basis = "trainings: measured on earlier ones in this store" if known else ""
    if guessed:
        basis = f"trainings of {_some(sorted(guessed))}: a guess, never measured here"
    return seconds, basis


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _likeness(spec: ModelSpec) -> str:
    """What the pace of a training depends on, as text."""
    return json.dumps([spec.architecture, spec.arguments, spec.height, spec.channels], sort_keys=True)


def _train_rates(store: Store) -> dict[str, float]:
    """Images a second by likeness: the median over the epochs of the newest trainings in this store."""
    ids = select(jobs.c.id).where(jobs.c.kind == "train", jobs.c.state == "done").order_by(jobs.c.id.desc())
    newest = ids.limit(NEWEST).scalar_subquery()
    with store.database.read() as connection:
        made = select(models.c.job_id, models.c.spec).where(models.c.job_id.in_(newest))
        specs = {row.job_id: ModelSpec.from_json(row.spec) for row in connection.execute(made)}
        rows = connection.execute(
            select(training_epochs.c.job_id, training_epochs.c.facts).where(training_epochs.c.job_id.in_(newest))
        ).all()
    rates: dict[str, list[float]] = {}
    for row in rows:
        rate = json.loads(row.facts).get("images_per_second")
        if row.job_id in specs and rate:
            rates.setdefault(_likeness(specs[row.job_id]), []).append(float(rate))
    return {likeness: median(found) for likeness, found in rates.items()}


def _attacks(
    store: Store, campaign: Campaign, settings: int, found: Mapping[str, Resolved], measure: bool
) -> tuple[float, str, bool, bool]:
    """Seconds of all attacks, what they rest on, whether it is a guess, whether a measurement runs."""
    total, basis, guess, measuring, asked = 0.0, set(), False, False, 0
    for one, times in _alike(campaign, found).values():
        spec = spec_of(one.victim, found[one.data.name]) or _stored(store, one)
        answer = estimate_request(
            store,
            spec=spec,
            attack=one.attack.attack,
            config=asdict(configure(one.attack.attack, one.attack.settings)),
            threat=one.threat_model,
            images=found[one.data.name].originals,
            controls=one.attack.controls,
            device=campaign.device,
            measure=measure,
        )
        total += (answer.seconds - COLD_SECONDS + START_SECONDS) * times  # its worker is warm
        asked += times
        basis.add(answer.basis)
        guess, measuring = guess or answer.guess, measuring or answer.measuring
    words = basis.pop() if len(basis) == 1 else "partly measured, partly from a table or a guess"
    return COLD_SECONDS + total * settings / max(1, asked), f"attacks: {words}", guess, measuring


def _alike(campaign: Campaign, found: Mapping[str, Resolved]) -> dict[tuple[object, ...], tuple[Setting, int]]:
    """The first MOST_ASKED different attacks of the grid, each with how many settings are like it."""
    alike: dict[tuple[object, ...], tuple[Setting, int]] = {}
    asked: set[tuple[str, str]] = set()  # victims
    for block in blocks(campaign):
        if len(alike) >= MOST_ASKED and (block.data.name, block.victim.name) not in asked:
            break  # they come in order, so that none of those that follow is like one of these
        asked.add((block.data.name, block.victim.name))
        for threat, attack in block.pairs:
            way = block.training if threat.augmented else None
            key = (block.data.name, block.victim.name, way and way.name, threat.name, attack.name)
            if key in alike:
                alike[key] = (alike[key][0], alike[key][1] + len(block.epochs))
            elif len(alike) < MOST_ASKED:
                alike[key] = (resolved_setting(block.setting(threat, attack), found), len(block.epochs))
            elif len(block.pairs) > len(alike):
                break  # of a grid of very many pairs the first ones stand for all
    return alike


def _stored(store: Store, setting: Setting) -> ModelSpec:
    with store.database.read() as connection:
        text = connection.execute(select(models.c.spec).where(models.c.id == setting.victim.model)).scalar_one()
    return ModelSpec.from_json(text)


def _scorings(store: Store, size: Size) -> tuple[float, str]:
    """Seconds of scoring every run: by the seconds an image of earlier scorings, else by a guess."""
    attack = jobs.alias("attack")
    done = (
        select(jobs.c.finished - jobs.c.started, attack.c.payload)
        .join(attack, attack.c.id == jobs.c.parent_id)
        .where(jobs.c.kind == "score", jobs.c.state == "done", jobs.c.started.is_not(None))
        .order_by(jobs.c.id.desc())
        .limit(5)
    )
    with store.database.read() as connection:
        each = [seconds / max(1, len(json.loads(text)["originals"])) for seconds, text in connection.execute(done)]
    images = size.reconstructions + size.controls
    if each:
        return median(each) * size.reconstructions, ""
    return size.settings * SCORE_SECONDS + images * SCORE_SECONDS_EACH, "scoring: a guess, never measured here"
