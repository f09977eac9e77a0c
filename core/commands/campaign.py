"""`python -m core campaign`: define, launch and watch a grid of settings."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.settings import load_settings

if TYPE_CHECKING:
    from core.campaigns.plan import Campaign
    from core.report.campaigns import CampaignView
    from core.storage.store import Store

HELP = "Train, attack and score a whole grid of settings as one, from a TOML file or a preset."
EXAMPLES = """examples:
  python -m core campaign list                    presets, and the campaigns of this store
  python -m core campaign show mini               its TOML, counts, and estimated time and disk
  python -m core campaign show mini > my.toml     a start for one of your own
  python -m core campaign run mini-cut            launch it and work until it is done; a second time goes on
  python -m core campaign run my.toml --yes --out results/
  python -m core campaign status 3
  python -m core campaign pause 3

A run works in the store of SEMSIGHT_HOME. Where a runner lives already (the dashboard's), that one does the work, and
`run` shows how far it is. docs/campaigns.md explains every key of the file.
"""
WATCH_SECONDS = 2.0
MEASURED_SECONDS = 90.0  # `show` has the pace of the attacks measured for at most so long


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="presets, and the campaigns of this store")
    show = actions.add_parser("show", help="a plan's TOML on standard output, its size on standard error")
    run = actions.add_parser("run", help="launch a plan and work until it is done, or go on with it")
    for action in (show, run):
        action.add_argument("plan", metavar="NAME|FILE.toml", help="a preset, or a file")
    run.add_argument("--yes", action="store_true", help="a grid of more than 500 settings is meant")
    run.add_argument("--anew", action="store_true", help="go through it again, and try again what failed")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder for settings.csv, when it is done")
    status = actions.add_parser("status", help="how far a campaign is; without ID: all of them")
    status.add_argument("id", type=int, nargs="?", metavar="ID")
    for name, what in (("resume", "go on with"), ("pause", "halt"), ("cancel", "end")):
        actions.add_parser(name, help=f"{what} a campaign").add_argument("id", type=int, metavar="ID")


def run(arguments: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from core.jobs.campaigns import ask_campaign
    from core.storage.store import open_store

    store = open_store(load_settings())
    if arguments.action == "list":
        return _list(store)
    if arguments.action == "show":
        return _show(store, arguments.plan)
    if arguments.action == "run":
        return _run(store, arguments)
    if arguments.action == "status":
        return _status(store, arguments.id)
    ask_campaign(store, arguments.id, {"resume": "run", "pause": "pause", "cancel": "cancel"}[arguments.action])  # type: ignore[arg-type]
    return _status(store, arguments.id)


def _plan(name: str) -> "Campaign":
    from core.campaigns.presets import PRESETS, preset_campaign
    from core.campaigns.toml import read_toml

    if name in PRESETS:
        return PRESETS[name].campaign
    path = Path(name)
    if not path.is_file():
        if path.suffix == ".toml":
            raise UserError(f"There is no file {name[:200]!r}; give the path of a TOML file, or the name of a preset.")
        return preset_campaign(name).campaign
    try:
        return read_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is not UTF-8 text, as TOML is; save it so.") from None


def _list(store: "Store") -> int:
    from core.campaigns.presets import PRESETS
    from core.report.campaigns import campaigns

    for name, preset in PRESETS.items():
        print(f"{name:10} {preset.title}: {preset.summary}")
    for row in campaigns(store):
        print(f"{row.id:<10} {row.title}: {row.state}, {row.ended} of {row.settings} settings ended")
    return 0


def _show(store: "Store", name: str) -> int:
    from core.campaigns.toml import write_toml

    campaign = _plan(name)
    print(write_toml(campaign), end="")
    for line in _estimate(store, campaign, MEASURED_SECONDS):
        print(line, file=sys.stderr)
    return 0


def _estimate(store: "Store", campaign: "Campaign", wait: float = 0.0) -> list[str]:
    from core.campaigns.resolve import resolve
    from core.report.campaign_words import estimate_lines

    try:
        found = resolve(campaign, store.settings)
    except UserError as error:
        return [f"note: {error}"]
    return estimate_lines(store, campaign, found, wait)


def _run(store: "Store", arguments: argparse.Namespace) -> int:
    from core.jobs.campaigns import submit_campaign
    from core.report.campaigns import campaign as view_of

    plan = _plan(arguments.plan)
    submitted = submit_campaign(store, plan, confirm=arguments.yes, anew=arguments.anew)
    if submitted.already and submitted.state == "done":
        print(f"Campaign {submitted.job_id} is done already; --anew tries again what failed.")
    else:
        said = "goes on" if submitted.already else "is launched"
        print(f"Campaign {submitted.job_id} {said}.", file=sys.stderr)
        for line in _estimate(store, plan):
            print(line, file=sys.stderr)
        _work(store, submitted.job_id)
    view = view_of(store, submitted.job_id)
    _print_settings(view)
    _results(store, submitted.job_id, arguments.out)
    return 0 if view.row.state == "done" and not view.counts.get("failed") else 1


def _work(store: "Store", campaign_id: int) -> None:
    """Run its jobs here, or watch the runner that lives; a paused campaign goes on."""
    import threading

    from core.jobs.campaigns import ask_campaign
    from core.jobs.launch import living_runner
    from core.jobs.runner import run_jobs
    from core.report.campaigns import campaign as view_of

    view = view_of(store, campaign_id)
    if view.row.state == "paused" or view.counts.get("paused"):
        ask_campaign(store, campaign_id, "run")
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(store, campaign_id, over), daemon=True)
    watcher.start()
    try:
        while view_of(store, campaign_id).row.live:
            if living_runner(store.settings) is None and run_jobs(store.settings, until_idle=True):
                raise KeyboardInterrupt  # what was begun goes on from its checkpoint the next time
            if view_of(store, campaign_id).row.state == "paused":
                raise UserError(f"Campaign {campaign_id} was paused; `campaign run` or `campaign resume` goes on.")
            _check_halted(store, campaign_id)
            over.wait(WATCH_SECONDS)
    finally:
        over.set()
        watcher.join(timeout=10)


def _check_halted(store: "Store", campaign_id: int) -> None:
    """Raise UserError where all that is left waits for somebody to resume it, as on a full disk."""
    from core.storage.campaigns import halted, setting_states

    stuck = halted(setting_states(store, campaign_id))
    if stuck is not None:
        why = str(stuck.why).removeprefix("Paused: ").rstrip(".")
        raise UserError(
            f"Job {stuck.paused_job} of campaign {campaign_id} is paused ({why}); `campaign resume {campaign_id}` or "
            "`campaign run` goes on."
        )


def _watch(store: "Store", campaign_id: int, over: object) -> None:
    """One line on standard error whenever something changed."""
    import threading

    from core.report.campaign_words import progress_line
    from core.report.campaigns import campaign as view_of

    if not isinstance(over, threading.Event):
        raise TypeError("An event tells when to stop.")
    said = ""
    while not over.wait(WATCH_SECONDS):
        line = progress_line(view_of(store, campaign_id))
        if line != said:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
            said = line


def _status(store: "Store", campaign_id: int | None) -> int:
    from core.report.campaign_words import progress_line
    from core.report.campaigns import campaign, campaigns

    if campaign_id is not None:
        view = campaign(store, campaign_id)
        print(f"{view.row.title}: {progress_line(view)}")
        _print_settings(view)
        return 0
    found = campaigns(store)
    if not found:
        print("There is no campaign in this store yet; `campaign run mini` launches one.")
    for row in found:
        print(f"{row.id} {row.title}: {row.state}, {row.ended} of {row.settings} settings ended")
    return 0


def _print_settings(view: "CampaignView") -> None:
    for one in view.settings:
        run_id = f"run {one.run}" if one.run else ""
        print(f"{one.position + 1:>4}  {one.state:9} {one.share:4.0%}  {run_id:9} {one.title}")
        if one.why:
            print(f"      {one.why}")
    if view.row.error:
        print(view.row.error)


def _results(store: "Store", campaign_id: int, out: Path | None) -> None:
    from core.commands.campaign_results import print_results

    print_results(store, campaign_id, out)
