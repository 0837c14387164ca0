"""Reports in headless Chromium, opened as files: curves are drawn, the script runs, and nothing is loaded."""

from __future__ import annotations

import pytest
from support.browser import browser
from support.reported_runs import evaluations, intervals, written_config, written_run, written_sweep

import ppema

DRAWN = """
const drawn = [...document.querySelectorAll("svg [data-name]")].map(mark => {
  const box = mark.getBoundingClientRect();
  return [mark.id, getComputedStyle(mark).stroke, box.width > 50, box.height];
});
return [drawn, performance.getEntriesByType("resource").length];
"""
READ = """
const svg = document.querySelector("svg[data-scale]"), box = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width * arguments[0], clientY: box.top + 9}));
return svg.parentNode.querySelector(".readout").textContent;
"""
SORTED = """
const table = document.querySelector("table.sortable");
table.tHead.rows[0].cells[1].click();
return [...table.tBodies[0].rows].map(row => Number(row.cells[1].textContent));
"""
NARROW = """
document.body.style.width = "420px";
const box = selector => [...document.querySelectorAll(selector)].map(each => each.getBoundingClientRect());
return [Math.max(...box(".caption").map(each => each.right)), Math.min(...box(".reason").map(each => each.width))];
"""
WIDTH = "return [document.documentElement.scrollWidth, window.innerWidth];"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    config = written_config(folder / "c.yml")
    written_run(folder / "run", config, [*intervals(40), *evaluations(20)], ["warning: <script>x()</script>"])
    written_sweep(folder / "sweep", config, 10, seeds=1)
    return {name: ppema.report(folder / name).as_uri() for name in ("run", "sweep")}


def test_the_pages_are_drawn_and_load_nothing(pages, tmp_path):
    with browser(tmp_path / "profile", 1000, 900) as page:
        page.open(pages["run"])
        drawn, loaded = page.run(DRAWN)
        of_metrics = [each for each in drawn if each[0].startswith("metric")]
        assert len(of_metrics) == 6 and all(wide and height > 20 for _, _, wide, height in of_metrics)
        # Raw and two averages in a chart have three colours; a style sheet that is refused gives none.
        assert len({stroke for _, stroke, _, _ in of_metrics}) == 3 and "none" not in {stroke for _, stroke, _, _ in drawn}
        # Epoch 20 is at the right end of the curves.
        at, _, values = page.run(READ, 0.99).partition(": ")
        assert at == "20" and [each.split()[0] for each in values.split(", ")] == ["raw", "ema", "slow"]
        last = [each["accuracy"] for each in evaluations(20)[-3:]]
        assert [float(each.split()[1]) for each in values.split(", ")] == pytest.approx(last, abs=2e-3)
        width, inner = page.run(WIDTH)
        assert width <= inner
        page.open(pages["sweep"])
        drawn, more = page.run(DRAWN)
        assert {"key0-1", "key1-1", "key2-1", "order-0", "best-9"} <= {each[0] for each in drawn}
        rates = page.run(SORTED)
        assert rates == sorted(rates) and len(rates) == 10
        # On a telephone, captions do not scroll away with their tables, and reasons of failures are no towers of words.
        right, reason = page.run(NARROW)
        assert right <= 420 and reason > 250
        assert (loaded, more, page.messages()) == (0, 0, [])
