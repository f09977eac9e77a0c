"""The table of settings, its plot and which measure ranks as people do: for a campaign, or for all runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from core.report.evidence import BESIDE
from core.report.groups import first_shown
from core.report.present import present_mark
from core.report.references import ATTACKED, REFERENCE_WORDS
from core.report.runs import changes, job_states
from core.report.settings_records import FEW_SCORES, PEOPLE, STATISTICS, SettingColumn, SettingsTable
from core.report.settings_table import frame, settings_table
from core.storage.store import Store
from core.tables import write_csv
from pages import _settings_figures as figures
from pages._elsewhere import keep_link
from pages._links import link_errors, one_of
from pages._settings_html import table_html
from pages._shared import AUDIT_PAGE, CAMPAIGNS_PAGE, count, empty_state, metric_label, plain

COUNTERS = ("reconstructions", "scores", "labels")  # not "jobs": it moves with every step of every job
POLL = 5.0  # seconds between looks for changes; the whole page is drawn anew at most so often
FEW, SETS, ALL = "a few", "sets", "all"  # choices of columns beside the groups of core.report.groups
PLAN = "plan"  # sorted as planned
PART_WORDS = {"data": "data set", "victim": "victim", "recipe": "recipe", "threat": "defence", "attack": "attack"}
FEWEST = 3  # reconstructions: a mean over fewer would tell a score that a card hides until it is answered


@dataclass(frozen=True)
class Choice:
    """What is asked for above the table; all of it is in the link."""

    sort: str
    columns: tuple[str, ...]
    statistic: str
    reference: str
    blind: bool


@st.cache_resource(show_spinner="Reading the settings …", max_entries=8)
def _table(
    _store: Store, seen: tuple[object, ...], campaign: int | None, runs: tuple[int, ...] | None, reference: str,
    blind: bool, statistic: str,
) -> SettingsTable:  # fmt: skip
    chosen = next(one for one in STATISTICS if one == statistic)
    return settings_table(_store, campaign=campaign, runs=runs, reference=reference, blind_only=blind, statistic=chosen)


def _seen(store: Store) -> tuple[object, ...]:
    """What the table is made of, as far as it may change: equal as long as it would be the same."""
    return (*changes(store, COUNTERS), *job_states(store))


@st.fragment(run_every=POLL)
def _watch(store: Store, seen: tuple[object, ...]) -> None:
    """Redraw the page when something changed; costs two small questions a time."""
    if _seen(store) != seen:
        st.rerun()


def draw(
    store: Store, *, campaign: int | None = None, runs: Sequence[int] | None = None, page: str = "pages/settings.py",
    title: str = "Settings",
) -> None:  # fmt: skip
    """Draw the settings of a campaign, of these runs, or of the store. page, title: where a broken link leads back."""
    seen = _seen(store)
    _forget((campaign, None if runs is None else tuple(runs)))
    with link_errors(page, title):
        choice = _asked()
        where = (str(store.settings.home), store.settings.database_url, present_mark(store.settings), *seen)
        table = _table(
            store, where, campaign, None if runs is None else tuple(runs), choice.reference, choice.blind,
            choice.statistic,
        )  # fmt: skip
        choice = _known(table, choice)
    if not table.rows:
        _nothing(campaign)
    else:
        _state_line(table)
        choice = _controls(table, choice)
        shown = _shown(table, choice.columns)
        order = _order(table, choice.sort)
        least = _least(table)
        st.html(table_html(table, shown, order, least))
        _under(table)
        figures.agreement_panel(table)
        figures.plot_panel(table, least)
    _watch(store, seen)


# --- what is asked for ------------------------------------------------------------------------------------
def _forget(scope: object) -> None:
    """Choices made above other settings do not hold here: these may lack the column."""
    if st.session_state.get("settings_scope", scope) != scope:
        for name in ("sort", "cols", "x", "y"):
            st.session_state.pop(f"settings_{name}", None)
    st.session_state["settings_scope"] = scope


def _asked() -> Choice:
    """The link's choices, or this page's own once it is open; where there is no such choice, the usual."""
    link = st.query_params
    columns = [part for part in link.get("cols", FEW).split(",") if part]
    statistic = one_of("stat", STATISTICS, "mean")
    reference = one_of("ref", tuple(REFERENCE_WORDS), ATTACKED)
    seen = one_of("blind", ("0", "1"), "1") == "0"
    state = st.session_state
    return Choice(
        sort=state.setdefault("settings_sort", link.get("sort", PLAN)),
        columns=tuple(state.setdefault("settings_cols", columns) or (FEW,)),
        statistic=state.setdefault("settings_stat", statistic) or "mean",
        reference=state.setdefault("settings_ref", reference),
        blind=not state.setdefault("settings_seen", seen),
    )


def _known(table: SettingsTable, choice: Choice) -> Choice:
    """The choice without a sort or groups of columns that the table does not have, of which a sentence is said."""
    if not table.rows:
        return choice
    known = [PLAN, *(column.name for column in table.columns if not column.diagnostic)]
    groups = (FEW, ALL, SETS, *_groups(table))
    wrong = [one for one in choice.columns if one not in groups]
    if choice.sort not in known:
        _unknown(f"The settings cannot be sorted by {choice.sort[:40]!r}; choose one of {', '.join(known)}.")
        st.session_state["settings_sort"] = PLAN
        choice = replace(choice, sort=PLAN)
    if wrong:
        _unknown(f"There are no columns {wrong[0][:40]!r} here; choose of {', '.join(groups)}.")
        st.session_state["settings_cols"] = [FEW]
        choice = replace(choice, columns=(FEW,))
    return choice


def _unknown(sentence: str) -> None:
    st.info(plain(f"{sentence} The usual is shown."), icon=":material/info:")


def _controls(table: SettingsTable, choice: Choice) -> Choice:
    """The row of choices above the table; a change redraws the page."""
    names = [column.name for column in table.columns if not column.diagnostic]
    titles = {PLAN: "order of the plan" if table.campaign else "order of the runs"}
    titles |= {column.name: f"{figures.label(column)}, most leakage first" for column in table.columns}
    sets = [SETS] if any(column.kind == "set" for column in table.columns) else []
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Sort by", [PLAN, *names], key="settings_sort", format_func=titles.__getitem__)
        st.segmented_control(
            "Scores as", STATISTICS, key="settings_stat", required=True,
            help="What stands for a setting and ranks it. The mean of a score in dB is that of the errors behind it, "
            "so that a perfect reconstruction (∞ dB) has its place.",
        )  # fmt: skip
        if len(table.references) > 1:
            st.selectbox(
                "Compare with", table.references, key="settings_ref", format_func=REFERENCE_WORDS.__getitem__,
                help="The pixels that the victim was given, or the same picture before the defence on the input "
                "changed it. Where no defence did, both are one picture.",
            )  # fmt: skip
        st.toggle(f"with {BESIDE}", key="settings_seen")
    st.pills(
        "Columns", [FEW, *_groups(table), *sets, ALL], selection_mode="multi", key="settings_cols",
        label_visibility="collapsed", format_func=lambda one: "a few scores" if one == FEW else one,
    )  # fmt: skip
    columns = ",".join(choice.columns)
    keep_link(
        sort="" if choice.sort == PLAN else choice.sort,
        stat="" if choice.statistic == "mean" else choice.statistic,
        cols="" if columns == FEW else columns,
        ref="" if choice.reference == ATTACKED else choice.reference,
        blind="" if choice.blind else "0",
    )
    return choice


def _groups(table: SettingsTable) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.group for column in table.columns if column.kind == "metric"))


def _shown(table: SettingsTable, wanted: Sequence[str]) -> tuple[SettingColumn, ...]:
    """The columns of these groups; people always."""
    few = set(first_shown(table.metric_names, FEW_SCORES)) if FEW in wanted else set()
    return tuple(
        column
        for column in table.columns
        if column.name in PEOPLE
        or ALL in wanted
        or column.name in few
        or (column.kind == "set" and (SETS in wanted or (FEW in wanted and column.name in ("fid", "kid"))))
        or (column.group and column.group in wanted)
    )


def _order(table: SettingsTable, sort: str) -> list[int]:
    """Places of the rows: as planned, or by rank, those without one last."""
    places = list(range(len(table.rows)))
    if sort == PLAN:
        return places
    ranks = table.column(sort).ranks
    return sorted(places, key=lambda place: (ranks[place] is None, ranks[place] or 0, place))


def _least(table: SettingsTable) -> int:
    """Figures over fewer reconstructions are hidden, unless the reader wants them."""
    if not any(row.reconstructions and row.reconstructions < FEWEST for row in table.rows):
        return 0
    help_text = "They would tell single scores before their reconstructions were judged."
    label = f"Show scores of settings with fewer than {FEWEST} reconstructions"
    return 0 if st.toggle(label, key="settings_few", help=help_text) else FEWEST


# --- around the table -------------------------------------------------------------------------------------
def _nothing(campaign: int | None) -> None:
    if campaign is not None:
        st.caption("The settings of this campaign are not planned yet.")
        return
    empty_state(
        "**No setting has been attacked yet.** Every run of a model, data set, defence and attack appears here, "
        "ranked by what people recognise and by every score.",
        _ways_in,
    )


def _ways_in() -> None:
    """One run, or many settings at once."""
    with st.container(horizontal=True):
        st.page_link(AUDIT_PAGE, label="Start an audit", icon=":material/play_arrow:")
        st.page_link(CAMPAIGNS_PAGE, label="Launch a campaign of many settings", icon=":material/grid_on:")


def _state_line(table: SettingsTable) -> None:
    """How many settings are how far, and the download."""
    states: dict[str, int] = {}
    for row in table.rows:
        states[row.state] = states.get(row.state, 0) + 1
    told = " · ".join(f"{number} {state}" for state, number in states.items())
    size = len(table.rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{count(size)} setting{'' if size == 1 else 's'}** · {told}")
        st.download_button(
            "CSV", lambda: write_csv(frame(table)), file_name="settings.csv", mime="text/csv", key="settings_csv",
            icon=":material/download:", help="Every figure of this table and those behind it.", on_click="ignore",
        )  # fmt: skip
    if table.alike:
        told = ", ".join(f"{PART_WORDS[name]} {value}" for name, value in table.alike.items())
        st.caption(plain(f"The same in all: {told}."))


def _under(table: SettingsTable) -> None:
    """The cautions, and the metrics that nothing was scored with."""
    for note in table.notes:
        st.caption(plain(note))
    if table.unscored:
        with st.expander(f"{len(table.unscored)} metrics without a value here"):
            for name, reason in table.unscored.items():
                st.caption(plain(f"{metric_label(name)}: {reason}"))
