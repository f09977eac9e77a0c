"""Pictures of a running app, of every page, wide and narrow, light and dark: `python -m tests.e2e.screenshots --help`.

The ones in docs/screenshots were made with it, from a home in which the demo had run and some answers were given.
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.conftest import CHROMIUM

PAGES = {
    "overview": "",
    "datasets": "datasets",
    "dataset": "datasets?set=lfw",
    "models": "models",
    "train": "models?view=Train+a+victim&recipe=ats+3-1-7%2B43-18-18&architecture=convnet",
    "audit": "audit?run=1",
    "reconstructions": "reconstructions?run=1",
    "reconstruction": "reconstructions?run=1&reconstruction=3&scores=true",
    "two-runs": "reconstructions?run=1&beside=2&scores=true",
    "settings": "settings",
    "metrics": "metrics",
    "label": "label",
    "correlations": "correlations",
}
SIZES = ((1440, 900), (390, 844))


def main() -> None:
    """Write PAGE-WIDTH-SCHEME.png for every page, size and scheme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="where the app runs, such as http://localhost:8501")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--annotator", default="Ana")
    parser.add_argument("--tall", action="store_true", help="the whole page, not only the first screen")
    parser.add_argument("--pages", default=",".join(PAGES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width, height in SIZES:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                for name in arguments.pages.split(","):
                    path = PAGES[name]
                    mark = "&" if "?" in path else "?"
                    page.goto(f"{arguments.url}/{path}{mark}annotator={arguments.annotator}")
                    page.locator("h1").wait_for(timeout=60_000)
                    page.wait_for_timeout(4000)  # plots and images settle
                    if arguments.tall:
                        tall = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
                        page.set_viewport_size({"width": width, "height": min(5000, tall + 80)})
                        page.wait_for_timeout(1000)
                    page.screenshot(path=arguments.out / f"{name}-{width}-{scheme}.png")
                    page.set_viewport_size({"width": width, "height": height})
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
