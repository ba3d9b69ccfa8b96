// Raw and stored bytes over time, and their ratio: a chart, and the same as a table.

import { bytes, h, ratio } from "./dom.js";

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
    const color = (property) => getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    const { raw_bytes: raw, stored_bytes: stored } = this.overview;
    const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const byteAxis = { ...axis, size: 64, values: (_, ticks) => ticks.map(bytes) };
    const line = (label, stroke, value, scale = "bytes", more = {}) => ({ label, stroke: color(stroke), width: 1.5, scale, points: { show: false }, value: (_, found) => (found === null || found === undefined ? "–" : value(found)), ...more });
    const known = (values) => values.map((value, index) => (raw[index] ? value : null));
    this.chart = new window.uPlot(
      {
        width: this.plot.clientWidth,
        height: 220,
        tzDate: (timestamp) => window.uPlot.tzDate(new Date(timestamp * 1000), "Etc/UTC"),
        scales: { bytes: { range: (_, __, max) => [0, max || 1] }, ratio: { range: (_, __, max) => [0, max || 1] } },
        axes: [axis, { ...byteAxis, scale: "bytes" }, { ...axis, side: 1, scale: "ratio", grid: { show: false }, values: (_, ticks) => ticks.map((tick) => `${tick}×`) }],
        series: [
          { label: "day", value: (_, found) => (found ? new Date(found * 1000).toISOString().slice(0, 10) : "–") },
          line("raw", "--raw", bytes),
          line("stored", "--stored", bytes, "bytes", { fill: color("--stored-fill") }),
          line("ratio", "--ratio", (value) => `${value.toFixed(1)}×`, "ratio", { dash: [3, 3], width: 1 }),
        ],
      },
      [this.days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000), known(raw), known(stored), known(raw.map((value, index) => (stored[index] ? value / stored[index] : null)))],
      this.plot,
    );
  }

  resize() {
    if (this.chart && this.plot.clientWidth) this.chart.setSize({ width: this.plot.clientWidth, height: 220 });
  }
}
