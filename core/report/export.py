"""A run as one HTML file: verdict, settings, scores, answers and images, readable for years without this program.

The file asks nothing of any network: images are data URLs, there is no script, and a Content-Security-Policy
forbids everything else. All text is escaped. The same content lies in it as JSON.
"""

import base64
import json
import time
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from core.labels.recognition import Recognition, recognition
from core.report.evidence import BESIDE, run_verdict, threshold
from core.report.export_style import STYLE
from core.report.export_versions import (
    REFERENCE,
    plain_number,
    scored_with,
    set_row,
    sets_html,
    strict,
    versions_html,
)
from core.report.labels_recovered import label_recovery
from core.report.names import NEAREST, arrow, nearest_words, short_name, unit
from core.report.pictures import difference_png
from core.report.records import MAX_PAGE, ROLES, Card, Query
from core.report.runs import Run, flat_settings, run
from core.report.sets import set_scores
from core.report.verdict import control_name
from core.report.verdict_records import Threshold, Verdict
from core.report.verdict_words import CONTROL_RULE
from core.report.views import reconstruction_page, run_metrics, scored_anew
from core.storage.store import Store

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_ROWS = 2_000  # reconstructions in one file; a browser shows no more at once, and the JSON says what was left out


def export_html(store: Store, run_id: int, cut: Threshold | None = None) -> bytes:
    """The run as one self-contained UTF-8 HTML file; UserError for an unknown run."""
    found = run(store, run_id)
    limit = cut or threshold()
    judged = run_verdict(store, run_id, limit)
    cards = {role: _all_cards(store, run_id, role) for role in ROLES}
    shown = [card for role in ROLES for card in cards[role]]
    people = recognition(store, [card.reconstruction for card in shown], blind_only=judged.blind)
    metrics, sets = run_metrics(store, run_id, REFERENCE), set_scores(store, run_id, REFERENCE)
    data = _data(found, judged.verdict, judged.blind, cards, people)
    data |= scored_with(metrics.values()) | {"sets": [set_row(one) for one in sets]}
    parts = [
        _verdict(judged.verdict, judged.blind),
        _labels(store, run_id),
        _settings(found),
        *(_section(store, role, cards[role], people) for role in ROLES if cards[role]),
        _not_scored(shown),
        versions_html(metrics.values(), scored_anew(store, run_id, REFERENCE)),
        sets_html(sets),
        f'<script type="application/json" id="run">{_inert(data)}</script>',
    ]
    title = f"SemSight run {found.id}: {found.title}"
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(CSP)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{''.join(parts)}</main></body></html>"
    )
    return page.encode("utf-8")


def read_export(page: bytes) -> dict[str, Any]:
    """The JSON that lies in an exported file."""
    text = page.decode("utf-8")
    start = text.index('id="run">') + len('id="run">')
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
    return found


def _all_cards(store: Store, run_id: int, role: str) -> list[Card]:
    cards: list[Card] = []
    number = 1
    while len(cards) < MOST_ROWS:
        page = reconstruction_page(store, Query(run=run_id, role=role, page=number, size=MAX_PAGE, reference=REFERENCE))
        cards += page.cards
        if number >= page.pages:
            break
        number += 1
    return cards


def _verdict(found: Verdict, blind: bool) -> str:
    interval = ""
    if found.interval.low is not None and found.interval.high is not None:
        low, high = 100 * found.interval.low, 100 * found.interval.high
        interval = f"<p>{found.interval.method}: {low:.0f} to {high:.0f} %, n = {found.judged}</p>"
    notes = list(found.notes)
    if not blind and found.basis in ("people", "few answers"):
        notes.append(f"These are {BESIDE}, not blind.")
    checks = "".join(
        f"<tr><td>{escape(c.name)}</td><td>{c.count}</td><td>{plain_number(c.score)}</td>"
        f"<td>{plain_number(c.against)}</td><td>{escape(c.reason)}</td></tr>"
        for c in found.controls
    )
    return (
        f'<section class="verdict {escape(found.outcome)}"><h2>{escape(found.headline)}</h2>{interval}'
        + "".join(f"<p>{escape(note)}</p>" for note in notes)
        + f"<h3>Controls</h3><p>{escape(CONTROL_RULE)}</p><table><tr><th>control</th><th>n</th>"
        + f"<th>{escape(found.threshold.title)}, nearest to leakage</th><th>held against</th>"
        + "<th>outcome</th></tr>"
        + f"{checks}</table></section>"
    )


def _labels(store: Store, run_id: int) -> str:
    """How many labels were read off the updates, where they were not granted."""
    recovered = label_recovery(store, run_id)
    return "" if recovered is None else f"<section><p>{escape(recovered.sentence)}</p></section>"


def _settings(found: Run) -> str:
    rows = flat_settings(found.payload)
    cells = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows)
    return f"<section><h2>Settings</h2><table>{cells}</table></section>"


def _section(store: Store, role: str, cards: Sequence[Card], people: dict[int, Recognition]) -> str:
    alone = any(card.pairing_method == NEAREST for card in cards)
    title = "Reconstructions" if role == "attack" else f"Control: {control_name(role, alone)}"
    body = "".join(_card(store, card, people.get(card.reconstruction)) for card in cards)
    return f'<section><h2>{escape(title)}</h2><div class="cards">{body}</div></section>'


def _card(store: Store, card: Card, said: Recognition | None) -> str:
    images = "".join(
        f'<figure><img src="{_data_url(png)}" alt="{escape(word)} {escape(card.name)}">'
        f"<figcaption>{escape(word)}</figcaption></figure>"
        for word, png in _images(store, card)
    )
    rows = "".join(
        _score_row(name, score.value) for name, score in sorted(card.scores.items()) if score.value is not None
    )
    answers = f"{said.recognised} of {said.answers} answers recognise it" if said else "no answer"
    label = "" if card.label is None else f", label {card.label} {card.class_name or ''} ({card.label_source})"
    paired = f"<p>{escape(nearest_words(card.pairing_cost))}</p>" if card.pairing_method == NEAREST else ""
    return (
        f"<article><h3>{escape(card.name)}</h3><p>{escape(answers)}{escape(label)}</p>{paired}"
        f'<div class="trio">{images}</div><table>{rows}</table></article>'
    )


def _images(store: Store, card: Card) -> list[tuple[str, bytes]]:
    """The card's pictures by their word, as PNG: original, reconstruction, difference; without one, what there is."""
    made = store.artifacts.read_bytes(card.image_sha)
    if card.original_sha is None:
        return [("reconstruction", made)]
    original = store.artifacts.read_bytes(card.original_sha)
    return [("original", original), ("reconstruction", made), ("difference", difference_png(original, made))]


def _score_row(name: str, value: float) -> str:
    label = " ".join(word for word in (short_name(name), arrow(name), unit(name)) if word)
    return f"<tr><th>{escape(label)}</th><td>{escape(plain_number(value))}</td></tr>"


def _not_scored(cards: Sequence[Card]) -> str:
    """Once for the whole file: each metric and reason without a value, and of how many reconstructions."""
    missing = Counter(
        (name, score.reason) for card in cards for name, score in card.scores.items() if score.value is None
    )
    if not missing:
        return ""
    rows = "".join(
        f"<tr><td>{escape(short_name(name))}</td><td>{number}</td><td>{escape(reason)}</td></tr>"
        for (name, reason), number in sorted(missing.items())
    )
    head = f"<tr><th>metric</th><th>of {len(cards)} reconstructions</th><th>reason</th></tr>"
    return f'<section id="not-scored"><h2>Not scored</h2><table>{head}{rows}</table></section>'


def _data(
    found: Run, judged: Verdict, blind: bool, cards: dict[str, list[Card]], people: dict[int, Recognition]
) -> dict[str, Any]:
    return {
        "format": "semsight-run-1",
        "exported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run": {"id": found.id, "title": found.title, "state": found.state, "settings": found.payload},
        "verdict": {
            "outcome": judged.outcome,
            "basis": judged.basis,
            "leaked": judged.leaked,
            "judged": judged.judged,
            "threshold": str(judged.threshold),
            "interval": judged.interval.to_dict(),
            "controls": [{"role": c.role, "failed": c.failed, "reason": c.reason} for c in judged.controls],
            "answers_blind": blind,
        },
        "at_most_rows_a_role": MOST_ROWS,
        "reconstructions": [
            _row(role, card, people.get(card.reconstruction)) for role in ROLES for card in cards[role]
        ],
    }


def _row(role: str, card: Card, said: Recognition | None) -> dict[str, Any]:
    return {
        "name": card.name,
        "role": role,
        "original": card.original_sha,
        "reconstruction": card.image_sha,
        "label": card.label,
        "pairing": card.pairing_method,
        "pairing_cost": card.pairing_cost,
        "loss": strict(card.loss),
        "iterations": card.iterations,
        "status": card.status,
        "recognised": said.recognised if said else 0,
        "answers": said.answers if said else 0,
        "scores": {name: strict(s.value) if s.value is not None else None for name, s in card.scores.items()},
        "unscored": {name: s.reason for name, s in card.scores.items() if s.value is None},
    }


def _inert(data: dict[str, Any]) -> str:
    """JSON that cannot end its script element: <, > and & are written as \\u escapes."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
