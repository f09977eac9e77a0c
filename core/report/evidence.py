"""From the rows of a run to its verdict."""

from dataclasses import dataclass

from sqlalchemy import and_, select

from core.errors import UserError
from core.labels.recognition import Recognition, recognition
from core.metrics.registry import METRICS
from core.registry import look_up
from core.report.names import NEAREST, short_name
from core.report.verdict import verdict
from core.report.verdict_records import Evidence, Threshold, Verdict
from core.report.views import run_metrics
from core.storage import schema
from core.storage.store import Store

# Where nobody has answered, an original counts as leaked from here on. A mean squared error of a hundredth of the
# range: by convention, not by measurement (docs: at any such cut people disagree with the score on many images).
DEFAULT_METRIC, DEFAULT_VALUE = "psnr", 20.0

BESIDE = "answers given beside the original"  # the words for answers that were not blind, wherever they count


@dataclass(frozen=True)
class RunVerdict:
    """A verdict and the answers that it rests on: blind ones, or all where there are no blind ones."""

    verdict: Verdict
    blind: bool


def threshold(metric: str = DEFAULT_METRIC, value: float = DEFAULT_VALUE) -> Threshold:
    """The threshold at `value` of a registered metric; UserError for an unknown metric or a diagnostic."""
    record = look_up(METRICS, metric, "metric")
    if record.diagnostic:
        usable = ", ".join(name for name, other in METRICS.items() if not other.diagnostic)
        raise UserError(
            f"{metric} is a diagnostic of the victim, which decides no verdict; choose one of {usable} as threshold."
        )
    return Threshold(metric, short_name(metric), value, record.direction, record.unit)


def run_verdict(store: Store, run: int, cut: Threshold) -> RunVerdict:
    """The verdict of a run as it stands now."""
    answers, blind = _answers(store, run)
    return RunVerdict(verdict(evidence(store, run, cut.metric, answers), cut), blind)


def evidence(store: Store, run: int, metric: str, answers: dict[int, Recognition]) -> list[Evidence]:
    """Every chosen reconstruction of the run, with its original, its score by `metric` and people's answers."""
    rec, pair, orig, score = schema.reconstructions, schema.pairings, schema.originals, schema.scores
    current = run_metrics(store, run).get(metric)
    scored = and_(
        score.c.subject_kind == "pairing",
        score.c.subject_id == pair.c.id,
        score.c.reference == "attacked",
        score.c.metric == metric,
        score.c.metric_version == (current.version if current else ""),
        score.c.weights_hash == (current.weights_hash if current else ""),
    )
    statement = (
        select(rec.c.id, rec.c.role, rec.c.status, orig.c.id, orig.c.name, score.c.value, score.c.special)
        .add_columns(pair.c.method, pair.c.cost_name)
        .join(pair, and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == "attacked"))
        .join(orig, orig.c.id == pair.c.original_id)
        .outerjoin(score, scored)
        .where(rec.c.job_id == run, rec.c.chosen)
        .order_by(rec.c.target)
    )
    found = []
    with store.database.read() as connection:
        for key, role, status, original, name, value, special, method, cost in connection.execute(statement):
            said = answers.get(key)
            found.append(
                Evidence(
                    reconstruction=key,
                    original=original,
                    name=name,
                    role=role,
                    score=value if special is None else float(special),
                    recognised=said.recognised if said else 0,
                    answers=said.answers if said else 0,
                    status=status,
                    nearest=cost if method == NEAREST else "",
                )
            )
    return found


def _answers(store: Store, run: int) -> tuple[dict[int, Recognition], bool]:
    """What people said about this run, and whether it was said blind."""
    rec = schema.reconstructions
    with store.database.read() as connection:
        ids = set(connection.execute(select(rec.c.id).where(rec.c.job_id == run, rec.c.chosen)).scalars())
    blind = recognition(store, ids)
    return (blind, True) if blind else (recognition(store, ids, blind_only=False), False)
