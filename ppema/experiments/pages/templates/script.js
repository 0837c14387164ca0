"use strict";
// The page is complete without this script. It adds the values under the pointer, and the sorting of tables.
for (const svg of document.querySelectorAll("svg[data-scale]")) {
  const [x0, x1, y0, y1] = svg.dataset.scale.split(" ").map(Number);
  const [left, right, top, bottom] = svg.dataset.frame.split(" ").map(Number);
  const marks = [...svg.querySelectorAll("[data-name]")].slice(-8).map(mark => ({
    name: mark.dataset.name,
    points: [...mark.getAttribute("d").matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(found => [Number(found[1]), Number(found[2])]),
  }));
  const readout = svg.parentNode.querySelector(".readout");
  const rule = document.createElementNS(svg.namespaceURI, "path");
  rule.setAttribute("class", "rule");
  svg.append(rule);
  const toX = x => x0 + (x - left) / (right - left) * (x1 - x0);
  const toY = y => y0 + (bottom - y) / (bottom - top) * (y1 - y0);
  /* As exact as the drawing: a thousandth of the axis. */
  const rounded = (value, low, high) => Number(value.toFixed(Math.max(0, Math.round(3 - Math.log10(high - low))))).toString();
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const nearer = (a, b) => Math.abs(b[0] - x) <= Math.abs(a[0] - x) ? b : a;
    const near = marks.map(({name, points}) => ({name, point: points.reduce(nearer)}));
    const at = near.map(each => each.point).reduce(nearer)[0];
    const values = near.filter(each => Math.abs(each.point[0] - at) < 1).map(each => `${each.name} ${rounded(toY(each.point[1]), y0, y1)}`);
    readout.textContent = `${rounded(toX(at), x0, x1)}: ${values.join(", ")}`;
    rule.setAttribute("d", `M${at} ${top}V${bottom}`);
  });
  svg.addEventListener("pointerleave", () => { readout.textContent = ""; rule.removeAttribute("d"); });
}
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    let sign = -1;
    const text = row => row.cells[column].textContent.replace("★", "").trim();
    const order = (a, b) => {
      const [p, q] = [text(a), text(b)];
      if ((p === "–") !== (q === "–")) return p === "–" ? 1 : -1;
      return sign * (isNaN(p) || isNaN(q) ? p.localeCompare(q) : p - q);
    };
    const sort = () => {
      sign = -sign;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...[...body.rows].sort(order));
    };
    head.classList.add("sorts");
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
