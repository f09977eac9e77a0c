"""Importing torch takes seconds: no page, and nothing that a page imports, may do it. Nor dask."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_page_imports_torch_or_dask():
    pages = sorted(f"pages.{path.stem}" for path in (ROOT / "pages").glob("*.py") if path.stem != "__init__")
    private = [page for page in pages if page.startswith("pages._")]
    assert {
        "pages.overview",
        "pages.audit",
        "pages.campaigns",
        "pages.datasets",
        "pages.models",
        "pages.reconstructions",
        "pages.settings",
        "pages.metrics",
        "pages.label",
        "pages.correlations",
    } <= set(pages)
    # A page runs when it is imported, so the pages proper run through Streamlit's own tester, as app.py's pages.
    code = f"""
import importlib, os, sys, tempfile
os.environ["SEMSIGHT_HOME"] = tempfile.mkdtemp()
for name in {private!r}:
    importlib.import_module(name)
import pages._shared
pages._shared.ensure_runner = lambda settings: 1
from streamlit.testing.v1 import AppTest
test = AppTest.from_file("app.py", default_timeout=120).run()
assert not test.exception, test.exception
shown = ("audit", "campaigns", "datasets", "models", "reconstructions", "settings", "metrics", "label", "correlations")
for page in shown:
    test.switch_page(f"pages/{{page}}.py").run()
    assert not test.exception, (page, test.exception)
print(sorted(m for m in ("torch", "torchvision", "dask", "distributed") if m in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"
