"""How fast pages are drawn with two runs of 20,000 reconstructions with 20 scores each, and whether views cost memory.

    python -m benchmarks.pages [--reconstructions 20000] [--views 500]

Serves the real app on a home of its own (removed afterwards) and asks it over its own websocket protocol through
Streamlit's agent interface: the time is that of one page run on the server, from request to finished page. This process
holds the runner's lock, so that no job runs beside the pages.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.jobs.launch import runner_lock
from core.settings import load_settings
from core.storage import schema
from core.storage.store import Store, open_store

ROOT = Path(__file__).resolve().parents[1]
METRICS = (
    "mse", "mae", "psnr", "ssim", "ssim_uniform", "ms_ssim", "gmsd", "haarpsi", "lpips_alex", "lpips_alex_224",
    "lpips_vgg", "lpips_vgg_224", "lpips_squeeze", "lpips_squeeze_224", "dists", "dreamsim", "clip_distance",
    "registered_psnr", "victim_prediction", "victim_probability",
)  # fmt: skip
IMAGES = 200  # different pictures on disk; rows share them
ANSWERS = 3_000


def fill(store: Store, count: int) -> int:
    """Two finished runs of the same `count` originals, a score of each of METRICS, and answers; the first one's id."""
    from tests.filled_store import fill_store

    draw = np.random.default_rng(0)
    fill_store(store, originals=2, runs=1)  # a payload as the runner stores it
    shas = [store.artifacts.put_png(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(IMAGES)]
    now = time.time()
    with store.database.write() as connection:
        connection.execute(
            schema.originals.insert(),
            [
                {"id": i, "dataset": "bench", "name": f"image-{i}", "image_sha": shas[i % IMAGES], "label": i % 10,
                 "label_source": "drawn", "created": now} for i in range(1_000, 1_000 + count)
            ],
        )  # fmt: skip
        for run, first in ((99, 1_000 + count), (100, 1_000)):
            _run(connection, run, first, count, shas, draw, now)
        _answers(connection, min(ANSWERS, count), now)
    return 100


def _run(
    connection: Any, run: int, first: int, count: int, shas: list[str], draw: np.random.Generator, now: float
) -> None:
    """One run whose reconstructions have the ids from `first`, of the originals 1000 and up."""
    row = connection.execute(schema.jobs.select()).first()._mapping
    job = {**row, "id": run, "title": f"dlg on lenet, benchmark {run}", "identity": f"{run:064d}", "created": now}
    connection.execute(schema.jobs.insert(), [job])
    ids = range(first, first + count)
    connection.execute(
        schema.reconstructions.insert(),
        [
            {"id": i, "job_id": run, "role": "attack" if i % 50 else "prior", "target": i - first, "restart": 0,
             "chosen": True, "image_sha": shas[(7 * i) % IMAGES], "loss": float(draw.random()), "label": i % 10,
             "iterations": 300, "seconds": 1.0, "status": "ok", "created": now} for i in ids
        ],
    )  # fmt: skip
    connection.execute(
        schema.pairings.insert(),
        [
            {"id": i, "reconstruction_id": i, "original_id": i - first + 1_000, "method": "given", "cost_name": "",
             "reference": "attacked"} for i in ids
        ],
    )  # fmt: skip
    connection.execute(
        schema.scores.insert(),
        [
            {"subject_kind": "pairing", "subject_id": i, "reference": "attacked", "metric": metric,
             "metric_version": "1", "weights_hash": "", "value": float(draw.random() * 30), "special": None,
             "reason": "", "created": now} for i in ids for metric in METRICS
        ],
    )  # fmt: skip


def _answers(connection: Any, count: int, now: float) -> None:
    """`count` answers in the default study, three annotators in turn on one reconstruction."""
    annotators = [{"id": 50 + i, "name": f"bench-{i}", "simulated": False, "created": now} for i in range(3)]
    connection.execute(schema.annotators.insert(), annotators)
    study = {"id": 50, "name": "default", "protocol": "recognisable", "protocol_version": 1, "wording": "?",
             "overlap": 3, "state": "open", "config": '{"sampling":"every chosen reconstruction","seed":0}',
             "created": now}  # fmt: skip
    if connection.execute(schema.studies.select().where(schema.studies.c.name == "default")).first() is None:
        connection.execute(schema.studies.insert(), [study])
    home = connection.execute(schema.studies.select().where(schema.studies.c.name == "default")).first()
    items = [1_000 + i for i in range(count // 3)]
    connection.execute(
        schema.items.insert(),
        [{"id": i, "study_id": home.id, "subject": f"reconstruction:{i}", "chosen_at_random": True, "created": now}
         for i in items],
    )  # fmt: skip
    connection.execute(
        schema.item_reconstructions.insert(), [{"item_id": i, "slot": 0, "reconstruction_id": i} for i in items]
    )
    connection.execute(
        schema.label_events.insert(),
        [
            {"event_id": f"e{i}-{a}", "kind": "answer", "study_id": home.id, "item_id": i, "annotator_id": 50 + a,
             "protocol_version": home.protocol_version, "answer": "yes" if (i + a) % 3 else "no", "blind": True,
             "simulated": False, "revision": 1, "created": now} for i in items for a in range(3)
        ],
    )  # fmt: skip


@contextmanager
def served(home: Path) -> Iterator[tuple[str, int, float]]:
    """(address, process id, seconds from start to a drawn first page) of the app on this home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.enableAgentApi=true", "--server.address=127.0.0.1"]
    started = time.monotonic()
    environment = {**os.environ, "SEMSIGHT_HOME": str(home)}
    with (home / "app.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address)
            ask(address, {})
            yield address, process.pid, time.monotonic() - started
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(address: str) -> None:
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("The app did not start.")


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """One page run; returns its snapshot. An error page ends the benchmark."""
    request = urllib.request.Request(
        f"{address}/_stcore/agent/interact", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        found: dict[str, Any] = json.load(response)
    if found.get("status") != "ready":
        raise SystemExit(f"The page failed: {json.dumps(found)[:2000]}")
    return found


def resident(pid: int) -> float:
    """MiB of resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reconstructions", type=int, default=20_000)
    parser.add_argument("--views", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="semsight-bench-"))
    try:
        run = fill(open_store(load_settings({"SEMSIGHT_HOME": str(home)})), options.reconstructions)
        print(f"two runs of {options.reconstructions} reconstructions, {len(METRICS)} scores each\n")
        with runner_lock(load_settings({"SEMSIGHT_HOME": str(home)})), served(home) as (address, pid, first):
            print(f"start to first page: {first:.2f} s\n")
            session = ask(address, {})["session_id"]
            _page_table(address, session, run, options.repeats)
            _memory(address, session, run, pid, options.views)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _page_table(address: str, session: str, run: int, repeats: int) -> None:
    views: dict[str, tuple[str, dict[str, list[str]]]] = {
        "Overview": ("", {}),
        "Audit": ("audit", {}),
        "Reconstructions": ("reconstructions", {"run": [str(run)]}),
        "  sorted by PSNR, page 400": ("reconstructions", {"run": [str(run)], "sort": ["PSNR"], "page": ["400"]}),
        "  sorted by recognition rate": ("reconstructions", {"run": [str(run)], "sort": ["recognition rate"]}),
        "  only recognisable ones": ("reconstructions", {"run": [str(run)], "label": ["recognisable"]}),
        "  as a table": ("reconstructions", {"run": [str(run)], "view": ["table"], "scores": ["true"]}),
        "  two runs beside": ("reconstructions", {"run": [str(run)], "beside": ["99"], "scores": ["true"]}),
        "  one, closely": ("reconstructions", {"run": [str(run)], "reconstruction": ["5001"], "sort": ["PSNR"]}),
        "  with SSIM maps": ("reconstructions", {"run": [str(run)], "map": ["SSIM map"], "page": ["3"]}),
        "Label": ("label", {}),
        "Correlations": ("correlations", {}),
    }
    print("| page | first, ms | median, ms | worst, ms |\n| --- | ---: | ---: | ---: |")
    for name, (page, query) in views.items():
        times = []
        for _ in range(repeats):
            ask(address, {"session_id": session, "page": "audit" if page != "audit" else ""})  # so that it is a switch
            started = time.monotonic()
            ask(address, {"session_id": session, "page": page, "query_params": query})
            times.append(1000 * (time.monotonic() - started))
        print(f"| {name} | {times[0]:.0f} | {statistics.median(times[1:]):.0f} | {max(times[1:]):.0f} |", flush=True)


def _memory(address: str, session: str, run: int, pid: int, views: int) -> None:
    print("\n| page views | resident memory, MiB |\n| ---: | ---: |")
    for view in range(views + 1):
        if view % max(1, views // 10) == 0:
            print(f"| {view} | {resident(pid):.0f} |", flush=True)
        query = {"run": [str(run)], "page": [str(view + 1)], "scores": ["true"]}
        ask(address, {"session_id": session, "page": "reconstructions", "query_params": query})


if __name__ == "__main__":
    main()
