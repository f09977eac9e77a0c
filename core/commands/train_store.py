"""`python -m core train` without --out: a job of the store, done by the runner that lives, or by this process."""

import threading
import time

from core.commands.train_output import epoch_line, privacy_lines
from core.errors import UserError
from core.jobs.launch import living_runner
from core.jobs.training import TrainRequest, final_model, submit_training
from core.report.training import TrainingView, training
from core.settings import Settings
from core.storage.store import Store, open_store

LOOK_SECONDS = 0.5


def train_in_store(request: TrainRequest, settings: Settings) -> int:
    """Queue the training and print its epochs as they come. Raises UserError where it does not end as done."""
    store = open_store(settings)
    submitted = submit_training(store, request)
    print(f"training {submitted.job_id}" + (f", asked before and {submitted.state}" if submitted.already else ""))
    if submitted.state != "done":
        if living_runner(settings) is None:
            _run_here(store, submitted.job_id)
        else:
            _follow(store, submitted.job_id, threading.Event())
    view = training(store, submitted.job_id)
    if view.job.state != "done":
        raise UserError(view.job.error or f"Training {submitted.job_id} is {view.job.state}; resume it to go on.")
    made = final_model(store, submitted.job_id)
    accuracy = made.facts.get("accuracy")
    said = "" if accuracy is None else f", {accuracy:.1%} of {made.facts['held_out']:,} held-out images right"
    for line in privacy_lines(made.facts, view.job.recipe, made.facts.get("sampling_rate")):
        print(line)
    print(f"model {made.model_id}: {made.name}{said}")
    return 0


def _run_here(store: Store, job_id: int) -> None:
    """As `worker --until-idle`; another thread prints what comes into the store."""
    from core.jobs.runner import run_jobs

    over = threading.Event()
    printer = threading.Thread(target=_follow, args=(store, job_id, over))
    printer.start()
    try:
        run_jobs(store.settings, until_idle=True)
    finally:
        over.set()
        printer.join()


def _follow(store: Store, job_id: int, over: threading.Event) -> None:
    """Print epochs until the job has come to rest, or somebody says that it is over."""
    shown = 0
    while True:
        last = over.is_set()
        view = training(store, job_id)
        shown = _print_from(view, shown)
        if last or view.job.state in ("done", "failed", "cancelled", "paused"):
            return
        time.sleep(LOOK_SECONDS)


def _print_from(view: TrainingView, shown: int) -> int:
    for row in view.rows[shown:]:
        print(epoch_line(vars(row), view.job.recipe), flush=True)
    return len(view.rows)
