// The coverage map: a row for each source, a column for each day.
//
// Two years of 50 sources are 36,500 cells. A table of so many takes a browser many seconds to lay out. So each row is
// cut into months of a fixed size, and the browser lays out those that are seen (`content-visibility` in page.css).

import { h, name } from "./dom.js";

export const STATES = {
  v: { state: "verified", text: "verified" },
  a: { state: "archived", text: "archived, not verified" },
  f: { state: "failed", text: "failed" },
  r: { state: "running", text: "running" },
  m: { state: "missing", text: "missing" },
  n: { state: "not-expected", text: "not expected" },
};
export const TIERS = { p: "probe", r: "receipts", d: "read", s: "sent" };
/** Of a cell with its margin; page.css has the same. */
const CELL_PIXELS = 22;
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** What a cell says, to those who don't see it as well. */
export function describe(row, index, day, notes) {
  const tier = TIERS[row.tiers[index]];
  const note = notes[row.notes[index]];
  const state = STATES[row.states[index]].text;
  return `${row.name || "all sources"}, ${day}: ${state}${tier ? `, tier ${tier}` : ""}${note ? ` – ${note}` : ""}`;
}

export class CoverageMap {
  /**
   * @param overview what the API returned
   * @param days its days, in order
   * @param open is called with the cell that somebody chooses
   */
  constructor(overview, days, open) {
    this.overview = overview;
    this.days = days;
    this.open = open;
    this.months = monthsOf(days);
    this.cells = overview.sources.map((row) => days.map((day, index) => this.cell(row, day, index)));
    this.grid = h(
      "div",
      {
        role: "grid",
        class: "map",
        "aria-label": "Coverage: a row for each source, a column for each day",
        "data-testid": "coverage",
        onkeydown: (event) => this.onKey(event),
        onclick: (event) => this.onClick(event),
        onmouseover: (event) => this.onHover(event),
      },
      this.header(),
      overview.sources.map((row, index) => this.row(row, this.cells[index])),
    );
    this.element = h("div", { class: "scroll" }, this.grid);
    this.setActive(0, days.length - 1);
  }

  header() {
    const month = ({ month: text, first, count }) => [
      h("span", { class: "name", "aria-hidden": "true" }, monthName(text, count)),
      this.days.slice(first, first + count).map((day) => h("span", { role: "columnheader", "aria-label": day, title: day }, day.slice(8))),
    ];
    return h("div", { role: "row", class: "line head" }, h("span", { role: "columnheader", class: "source" }, "Source"), this.groups(month));
  }

  row(row, cells) {
    const title = row.name || "all sources";
    const line = h("div", { role: "row", class: "line" }, h("span", { role: "rowheader", class: "source", title }, name(title)));
    line.append(...this.groups(({ first, count }) => cells.slice(first, first + count)));
    return line;
  }

  groups(children) {
    return this.months.map((month) => {
      const group = h("div", { role: "presentation", class: "month" }, children(month));
      group.style.width = `${month.count * CELL_PIXELS}px`;
      return group;
    });
  }

  cell(row, day, index) {
    const cell = CELL.cloneNode();
    cell.setAttribute("data-source", row.name);
    cell.setAttribute("data-day", day);
    cell.setAttribute("data-state", STATES[row.states[index]].state);
    if (row.tiers[index] !== "-") cell.setAttribute("data-tier", TIERS[row.tiers[index]]);
    cell.setAttribute("aria-label", describe(row, index, day, this.overview.notes));
    return cell;
  }

  /** One cell at a time can be reached with the tabulator; arrows choose which. */
  setActive(row, column) {
    this.place = [row, column];
    this.active?.setAttribute("tabindex", "-1");
    this.active = this.cells[row]?.[column];
    this.active?.setAttribute("tabindex", "0");
  }

  onKey(event) {
    if (!this.active || event.target !== this.active) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.open(this.active);
      return;
    }
    const [row, column] = this.place;
    const jumps = { Home: [row, 0], End: [row, this.days.length - 1], PageUp: [0, column], PageDown: [this.cells.length - 1, column] };
    const move = MOVES[event.key];
    const target = move ? [row + move[0], column + move[1]] : jumps[event.key];
    if (!target) return;
    event.preventDefault();
    if (!this.cells[target[0]]?.[target[1]]) return;
    this.moveTo(...target);
  }

  moveTo(row, column) {
    this.setActive(row, column);
    this.active.title = this.active.getAttribute("aria-label");
    this.active.focus();
    this.active.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Focus a cell that was there before. */
  focus({ source, day }) {
    const row = this.overview.sources.findIndex((one) => one.name === source);
    const column = this.days.indexOf(day);
    if (row >= 0 && column >= 0) this.moveTo(row, column);
  }

  onClick(event) {
    const cell = event.target.closest("[data-day]");
    if (cell) this.open(cell);
  }

  /** A cell gets its title when somebody points at it: as many titles as cells would take time and memory. */
  onHover(event) {
    const cell = event.target.closest("[data-day]");
    if (cell) cell.title = cell.getAttribute("aria-label");
  }

  showNewest() {
    this.element.scrollLeft = this.months.length * 31 * CELL_PIXELS;
  }
}

const CELL = h("span", { role: "gridcell", tabindex: "-1" });

function monthsOf(days) {
  const months = [];
  days.forEach((day, index) => {
    const month = day.slice(0, 7);
    if (months.at(-1)?.month === month) months.at(-1).count += 1;
    else months.push({ month, first: index, count: 1 });
  });
  return months;
}

function monthName(month, days) {
  if (days < 2) return "";
  const options = { month: "short", year: days > 4 ? "numeric" : undefined, timeZone: "UTC" };
  return new Intl.DateTimeFormat("en", options).format(new Date(`${month}-01T00:00:00Z`));
}

export function legend() {
  return h(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    Object.values(STATES).map(({ state, text }) => h("li", {}, h("span", { class: "swatch", dataset: { state }, "aria-hidden": "true" }), text)),
  );
}
