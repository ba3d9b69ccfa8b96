// The coverage map: a row for each source, a column for each day.

import { h, name } from "./dom.js";

export const STATES = {
  v: { state: "verified", mark: "✓", text: "verified" },
  a: { state: "archived", mark: "○", text: "archived, not verified" },
  f: { state: "failed", mark: "✕", text: "failed" },
  r: { state: "running", mark: "▸", text: "running" },
  m: { state: "missing", mark: "!", text: "missing" },
  n: { state: "not-expected", mark: "", text: "not expected" },
};
export const TIERS = { p: "probe", r: "receipts", d: "read", s: "sent" };
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** What a cell says, for those who don't see it. */
export function describe(row, index, day, notes) {
  const { text } = STATES[row.states[index]];
  const tier = TIERS[row.tiers[index]];
  const note = notes[row.notes[index]];
  return `${row.name || "all sources"}, ${day}: ${text}${tier ? `, tier ${tier}` : ""}${note ? ` – ${note}` : ""}`;
}

export class CoverageMap {
  constructor(overview, days, open) {
    this.overview = overview;
    this.days = days;
    this.open = open;
    this.body = h("tbody");
    this.table = h(
      "table",
      { role: "grid", class: "map", "aria-label": "Coverage: sources by day", "data-testid": "coverage" },
      this.header(),
      this.body,
    );
    for (const row of overview.sources) this.body.append(this.row(row));
    this.table.addEventListener("keydown", (event) => this.onKey(event));
    this.table.addEventListener("click", (event) => this.onClick(event));
    this.table.addEventListener("mouseover", (event) => this.onHover(event));
    this.element = h("div", { class: "scroll", tabindex: "-1" }, this.table);
    this.setActive(0, days.length - 1);
  }

  header() {
    const months = [];
    for (const day of this.days) {
      const month = day.slice(0, 7);
      if (months.at(-1)?.month === month) months.at(-1).count += 1;
      else months.push({ month, count: 1 });
    }
    return h(
      "thead",
      {},
      h(
        "tr",
        { role: "row", class: "months" },
        h("th", { scope: "col" }),
        months.map(({ month, count }) => h("th", { colspan: count, scope: "colgroup" }, h("span", {}, monthName(month, count)))),
      ),
      h(
        "tr",
        { role: "row", class: "days" },
        h("th", { scope: "col" }, "Source"),
        this.days.map((day) => h("th", { scope: "col", title: day }, day.slice(8))),
      ),
    );
  }

  row(row) {
    const line = h("tr", { role: "row" });
    const heading = h("th", { scope: "row", title: row.name || "all sources" }, name(row.name || "all sources"));
    const cells = [heading];
    for (let index = 0; index < this.days.length; index += 1) {
      const { state } = STATES[row.states[index]];
      const cell = document.createElement("td");
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("tabindex", "-1");
      cell.setAttribute("data-source", row.name);
      cell.setAttribute("data-day", this.days[index]);
      cell.setAttribute("data-state", state);
      if (row.tiers[index] !== "-") cell.setAttribute("data-tier", TIERS[row.tiers[index]]);
      cell.setAttribute("aria-label", describe(row, index, this.days[index], this.overview.notes));
      cells.push(cell);
    }
    line.append(...cells);
    return line;
  }

  cell(row, column) {
    return this.body.rows[row]?.cells[column + 1];
  }

  setActive(row, column) {
    this.active?.setAttribute("tabindex", "-1");
    this.active = this.cell(row, column);
    this.active?.setAttribute("tabindex", "0");
  }

  place(cell) {
    return [cell.parentElement.rowIndex - this.table.tHead.rows.length, cell.cellIndex - 1];
  }

  onKey(event) {
    const cell = event.target.closest("td[data-day]");
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.open(cell.dataset.day);
      return;
    }
    const [row, column] = this.place(cell);
    const last = this.days.length - 1;
    const jumps = { Home: [row, 0], End: [row, last], PageUp: [0, column], PageDown: [this.body.rows.length - 1, column] };
    const move = MOVES[event.key];
    const target = move ? [row + move[0], column + move[1]] : jumps[event.key];
    if (!target || !this.cell(...target)?.dataset.day) return;
    event.preventDefault();
    this.setActive(...target);
    this.active.title = this.active.getAttribute("aria-label");
    this.active.focus();
    this.active.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  onClick(event) {
    const cell = event.target.closest("td[data-day]");
    if (!cell) return;
    this.setActive(...this.place(cell));
    this.open(cell.dataset.day);
  }

  /** 36,500 titles would take time and memory: a cell gets its own when somebody points at it. */
  onHover(event) {
    const cell = event.target.closest("td[data-day]");
    if (cell) cell.title = cell.getAttribute("aria-label");
  }

  showNewest() {
    this.element.scrollLeft = this.element.scrollWidth;
  }
}

function monthName(month, days) {
  const date = new Date(`${month}-01T00:00:00Z`);
  const options = { month: days > 2 ? "short" : "narrow", year: days > 4 ? "numeric" : undefined, timeZone: "UTC" };
  return new Intl.DateTimeFormat("en", options).format(date);
}

export function legend() {
  return h(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    Object.values(STATES).map(({ state, text }) =>
      h("li", {}, h("span", { class: "swatch", dataset: { state }, "aria-hidden": "true" }), text),
    ),
  );
}
