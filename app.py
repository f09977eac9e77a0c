"""The dashboard's entry: navigation, the annotator's name, and the runner, which is started once. Nothing else."""

from pathlib import Path

import streamlit as st

from pages import _annotator, _shared

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="SemSight", page_icon=ASSETS / "icon.png", layout="wide")
st.html(ASSETS / "style.css")

st.logo(ASSETS / "logo.svg", size="large")

page = st.navigation(
    [
        st.Page(
            "pages/overview.py",
            title="Overview",
            icon=":material/dashboard:",
            default=True,
            help="What is in the store, what runs now, and the demo.",
        ),
        st.Page(
            "pages/datasets.py",
            title="Data sets",
            icon=":material/collections:",
            help="Images to train victims on and to attack: licences, downloads, samples, your own files.",
        ),
        st.Page(
            "pages/models.py",
            title="Models",
            icon=":material/model_training:",
            help="The victims: presets, uploads and those trained here; the form that trains one.",
        ),
        st.Page(
            "pages/audit.py",
            title="Audit",
            icon=":material/biotech:",
            help="Choose a model, images, a threat model and an attack; launch it and watch it run.",
        ),
        st.Page(
            "pages/campaigns.py",
            title="Campaigns",
            icon=":material/grid_on:",
            help="A grid of settings, from the training of the victims to the table of results, as one.",
        ),
        st.Page(
            "pages/reconstructions.py",
            title="Reconstructions",
            icon=":material/photo_library:",
            help="One run: its verdict, and every reconstruction beside its original with all scores.",
        ),
        st.Page(
            "pages/settings.py",
            title="Settings",
            icon=":material/leaderboard:",
            help="Every setting in this store, ranked by people and by every score; which score ranks as people do.",
        ),
        st.Page(
            "pages/metrics.py",
            title="Metrics",
            icon=":material/straighten:",
            help="What each score sees and misses, where they contradict each other, and the weights they need.",
        ),
        st.Page(
            "pages/label.py",
            title="Label",
            icon=":material/keyboard:",
            help="Judge reconstructions from the keyboard, without seeing any score.",
        ),
        st.Page(
            "pages/correlations.py",
            title="Correlations",
            icon=":material/scatter_plot:",
            help="Any metric against what people recognise, and against any other metric.",
        ),
    ]
)
_annotator.annotator_field()
_shared.start_runner()
with _shared.inside_app():
    page.run()
