// Raw and stored bytes over time, and their ratio: a chart, and the same as a table.

import { bytes, h, ratio } from "./dom.js";

const HEIGHT = 220;
const MONTH_SECONDS = 28 * 86400;

export class Chart {
  constructor(overview, days) {
    this.overview = overview;
    this.days = days;
    this.plot = h("div", { class: "plot", "aria-hidden": "true" });
    this.element = h(
      "section",
      { "aria-labelledby": "volume-title", "data-testid": "volume" },
      h("h2", { id: "volume-title" }, "Volume"),
      this.plot,
      h("details", {}, h("summary", {}, "As a table"), h("div", { class: "scroll" })),
    );
    this.element.querySelector("details").addEventListener("toggle", (event) => this.fillTable(event.target));
  }

  fillTable(details) {
    const place = details.querySelector("div");
    if (!details.open || place.firstChild) return;
    const { raw_bytes: raw, stored_bytes: stored } = this.overview;
    const rows = this.days.map((day, index) => h("tr", {}, h("th", { scope: "row" }, day), [bytes(raw[index]), bytes(stored[index]), ratio(raw[index], stored[index])].map((text) => h("td", { class: "number" }, text))));
    place.append(h("table", { class: "figures" }, h("thead", {}, h("tr", {}, ["day", "raw", "stored", "ratio"].map((text, index) => h("th", { scope: "col", class: index > 0 && "number" }, text)))), h("tbody", {}, rows.reverse())));
  }

  /** Draw, or draw again in other colours; in the document already, since the width counts. */
  draw() {
    this.chart?.destroy();
    this.chart = new window.uPlot(this.options(), this.data(), this.plot);
  }

  data() {
    const { raw_bytes: raw, stored_bytes: stored } = this.overview;
    const known = (values) => values.map((value, index) => (raw[index] ? value : null));
    const ratios = raw.map((value, index) => (stored[index] ? value / stored[index] : null));
    return [this.days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000), known(raw), known(stored), ratios];
  }

  options() {
    const color = (property) => getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const fromZero = (room) => ({ range: (_, __, max) => [0, (max || 1) * room] });
    const times = (value) => `${value.toFixed(1)}×`;
    const line = (label, stroke, format, more) => ({
      label,
      stroke: color(stroke),
      width: 1.5,
      points: { show: false, filter: alone, size: 4 },
      value: (_, found) => (found === null || found === undefined ? "–" : format(found)),
      ...more,
    });
    return {
      width: this.plot.clientWidth,
      height: HEIGHT,
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { bytes: fromZero(1.05), ratio: fromZero(1.5) },
      axes: [
        { ...axis, space: 84, grid: { show: false }, values: (_, ticks, __, ___, step) => ticks.map((tick) => dayLabel(tick, step)) },
        { ...axis, scale: "bytes", size: 64, values: (_, ticks) => ticks.map(bytes) },
        { ...axis, scale: "ratio", side: 1, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => `${tick}×`) },
      ],
      series: [
        { label: "day", value: (_, found) => (found ? new Date(found * 1000).toISOString().slice(0, 10) : "–") },
        line("raw", "--raw", bytes, { scale: "bytes" }),
        line("stored", "--stored", bytes, { scale: "bytes", fill: color("--stored-fill") }),
        line("ratio", "--ratio", times, { scale: "ratio", dash: [3, 3], width: 1 }),
      ],
    };
  }

  resize() {
    if (this.chart && this.plot.clientWidth) this.chart.setSize({ width: this.plot.clientWidth, height: HEIGHT });
  }
}

/** The points that no line shows: days without neighbours. */
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, index) => (value !== null && (values[index - 1] ?? values[index + 1] ?? null) === null ? [index] : []));
}

function dayLabel(seconds, step) {
  const options = step >= MONTH_SECONDS ? { month: "short", year: "numeric" } : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(new Date(seconds * 1000));
}
