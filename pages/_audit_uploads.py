"""Audit, images of the auditor's own: taken in one by one, kept in the store, gone from the browser's memory."""

from dataclasses import dataclass

import streamlit as st

from core.errors import UserError
from core.images.intake import take_in_image
from core.images.load import prepare
from core.images.picture import Picture, Prepared
from core.storage.artifacts import encode_png
from pages import _shared
from pages._audit_model import ChosenModel

MOST_UPLOADS = 64


@dataclass(frozen=True)
class UploadedImage:
    """A picture that passed the intake; its pixels lie in the store."""

    name: str
    sha: str
    width: int
    height: int


def uploads(model: ChosenModel | None) -> tuple[Prepared, ...] | None:
    """Take uploads in; those that are held, prepared for the model, None where there is nothing."""
    _receive()
    held: list[UploadedImage] = st.session_state.get("pictures", [])
    for sentence in st.session_state.pop("pictures_refused", []):
        st.error(_shared.plain(sentence), icon=":material/error:")
    if not held:
        st.caption("PNG, JPEG or WebP. Each is decoded, turned upright and stripped of its metadata.")
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{len(held)} image{'' if len(held) == 1 else 's'} taken in")
        st.button("Remove all", icon=":material/close:", key="pictures_remove", on_click=_forget)
        with st.popover("Remove one"):
            for image in held:
                name = _shared.plain(image.name)
                st.button(name, icon=":material/close:", key=f"drop_{image.name}", on_click=_drop, args=(image.name,))
    if model is None:
        return None
    artifacts = _shared.get_store().artifacts
    pictures = [Picture(image.name, artifacts.read_png(image.sha)) for image in held]
    return tuple(prepare(pictures, spec=model.spec, seed=0))


def _receive() -> None:
    """Take uploads in one by one, keep their pixels in the store, and free the memory that they lay in."""
    turn = st.session_state.setdefault("pictures_turn", 0)
    # No `type`: a file that the browser refuses reaches no script, so an older refusal would stay on screen.
    files = st.file_uploader("Images", accept_multiple_files=True, key=f"pictures_file_{turn}")
    if not files:
        return
    store = _shared.get_store()
    held: list[UploadedImage] = list(st.session_state.get("pictures", []))
    refused: list[str] = []
    for file in files:
        if len(held) >= MOST_UPLOADS:
            refused.append(f"The page takes {MOST_UPLOADS} images; use a folder on the command line for more.")
            break
        try:
            taken = take_in_image(file.getvalue(), file.name)
        except UserError as error:
            refused.append(str(error))  # it names the file
            continue
        name = _unique(taken.name, {image.name for image in held})
        sha = store.artifacts.put_bytes(encode_png(taken.pixels), ".png")
        held.append(UploadedImage(name, sha, taken.width, taken.height))
    st.session_state["pictures"] = held
    st.session_state["pictures_refused"] = refused
    st.session_state["pictures_turn"] = turn + 1  # a new widget: the old one's bytes are let go
    st.rerun()


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)


def _drop(name: str) -> None:
    held: list[UploadedImage] = st.session_state.get("pictures", [])
    st.session_state["pictures"] = [image for image in held if image.name != name]


def _forget() -> None:
    st.session_state.pop("pictures", None)
