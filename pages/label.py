"""Label: one reconstruction at a time, blind, from the keyboard. This page never polls."""

import streamlit as st

from core.errors import UserError
from core.labels.annotators import annotator_id, clean_name
from core.labels.inbox import take_in
from core.labels.protocols import protocol_named
from core.labels.studies import Item, Study, default_study, find_study, next_items, progress
from core.storage.store import Store
from pages._annotator import current_annotator
from pages._judge import judge, outbox
from pages._links import link_errors
from pages._shared import (
    AUDIT_PAGE,
    LABEL_PAGE,
    data_url,
    empty_state,
    get_store,
    header,
    user_errors,
)

KEY = "judge"
AHEAD = 24  # images in the browser before they are needed: 24 keys at 50 ms leave the server 1.2 s
AHEAD_AT_LEAST, AHEAD_BYTES = 8, 600_000  # large images: fewer of them
LARGEST_SIDE = 512  # pixels; no screen shows more of it here


def asked_study(store: Store) -> Study:
    """The study that the link names, or the default one."""
    name = st.query_params.get("study")
    return default_study(store) if name is None else find_study(store, name)


def asked_annotator() -> str:
    """The annotator that the link names, or this session's; UserError for a name that cannot be stored."""
    name = st.query_params.get("annotator")
    return clean_name(name) if name else current_annotator()


def pictures(store: Store, items: list[Item], have: set[int]) -> list[dict[str, object]]:
    """The items for the browser: an opaque id and, where it lacks it, the image. Nothing else: answers are blind."""
    shown: list[dict[str, object]] = []
    spent = 0
    for item in items:
        if len(shown) >= AHEAD_AT_LEAST and spent > AHEAD_BYTES:
            break
        url = "" if item.id in have else data_url(store.artifacts.read_bytes(item.image_sha), LARGEST_SIDE)
        spent += len(url)
        shown.append({"id": item.id, "src": url})
    return shown


@st.fragment
def panel(store: Store, study: Study, name: str) -> None:
    """The judge and what it has sent; a fragment, so an answer redraws nothing else."""
    with user_errors():
        annotator = annotator_id(store, name)
        sent = outbox(KEY)
        mine = sent.get("owner") == f"{study.id}-{annotator}"
        receipt = take_in(store, study, annotator, sent.get("events") if mine else [])
        done = progress(store, study, annotator)
        items = next_items(store, study, annotator, AHEAD)
        listed = sent.get("have") if mine else []
        have = {one for one in listed if isinstance(one, int)} if isinstance(listed, list) else set()
        protocol = protocol_named(study.protocol)
    judge(
        KEY,
        {
            "owner": f"{study.id}-{annotator}",
            "question": study.wording,
            "choices": [{"value": c.value, "text": c.text, "keys": list(c.keys)} for c in protocol.choices],
            "undoKeys": list(protocol.undo_keys),
            "items": pictures(store, items, have),
            "answered": done.answered,
            "total": done.total,
            "acknowledged": list(receipt.acknowledged),
            "returned": dict(receipt.returned),
            "problem": receipt.problem,
            "finished": "All images are answered. Thank you.\nNew reconstructions appear when you reopen this page.",
        },
    )
    st.caption(
        "You see the image alone: no score, no run, no original. "
        "Unsure counts as not recognised. Each answer is stored at once; undo takes the last one back."
    )


header("Label", "Say what you recognise, one image at a time.")
store = get_store()
with link_errors(LABEL_PAGE, "Label"):
    study, annotator = asked_study(store), asked_annotator()
    if study.state != "open":
        raise UserError(f"The study {study.name} is closed; no more answers are taken.")
if progress(store, study, 0).total == 0:
    empty_state(
        "**There is nothing to label yet.** Reconstructions appear here as soon as an attack has made them.",
        lambda: st.page_link(AUDIT_PAGE, label="Start an audit", icon=":material/play_arrow:"),
    )
else:
    panel(store, study, annotator)
