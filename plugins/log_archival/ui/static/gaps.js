// What is missing, in words, and the button that archives it.

import { archivingAt, job } from "./archiving.js";
import { daysBetween, h, name, plural } from "./dom.js";

const SHOWN_SOURCES = 6;
const SHOWN_GAPS = 12;

/** Return a job for each day that is missing; with `failed`, for each day that lacks something. */
export function jobsOf(gaps, failed = false) {
  const wanted = new Map();
  for (const gap of gaps.filter((one) => failed || one.state === "missing")) {
    for (const day of daysBetween(gap.first, gap.last)) {
      const known = wanted.get(day);
      const sources = gap.every ? null : [...(known?.sources ?? []), ...gap.sources];
      wanted.set(day, job(day, known && known.sources === null ? null : sources));
    }
  }
  return [...wanted.values()].sort((one, other) => one.day.localeCompare(other.day));
}

export function gapsSection(overview, open, reload) {
  const { gaps, dag } = overview;
  const archiving = archivingAt("gaps", dag, reload);
  return h(
    "section",
    { "data-testid": "gaps", "aria-labelledby": "gaps-title" },
    h("h2", { id: "gaps-title" }, "Gaps"),
    gaps.length ? list(gaps.slice(0, SHOWN_GAPS), open) : h("p", { class: "quiet" }, "None in these days."),
    gaps.length > SHOWN_GAPS && h("details", {}, h("summary", {}, `${plural(gaps.length - SHOWN_GAPS, "older gap")}`), list(gaps.slice(SHOWN_GAPS), open)),
    dag.can_trigger && buttons(gaps, archiving),
    archiving.element,
  );
}

function list(gaps, open) {
  return h("ul", { class: "gaps" }, gaps.map((gap) => h("li", { dataset: { state: gap.state } }, sentence(gap, open))));
}

function sentence(gap, open) {
  const days = daysBetween(gap.first, gap.last).length;
  const range = gap.first === gap.last ? gap.first : `${gap.first} to ${gap.last}`;
  const count = days > 1 ? `, ${plural(days, "day")}` : "";
  return [
    h("span", { class: "swatch", dataset: { state: gap.state }, "aria-hidden": "true" }),
    h("span", {}, h("a", { href: open(gap.last) }, range), `${count} ${gap.state}: `, sources(gap)),
  ];
}

function sources(gap) {
  if (gap.every && gap.sources.length !== 1) return "all sources";
  const shown = gap.sources.slice(0, SHOWN_SOURCES).flatMap((one, index) => [index ? ", " : "", name(one || "all sources")]);
  const more = gap.sources.length - SHOWN_SOURCES;
  return more > 0 ? [...shown, ` and ${more} more`] : shown;
}

function buttons(gaps, archiving) {
  const missing = jobsOf(gaps);
  const all = jobsOf(gaps, true);
  return h(
    "p",
    { class: "actions" },
    missing.length > 0 &&
      h("button", { class: "primary", "data-testid": "archive-gaps", onclick: () => archiving.confirm(jobsOf(gaps)) }, `Archive ${plural(missing.length, "missing day")} …`),
    all.length > missing.length &&
      h("button", { "data-testid": "archive-failed", onclick: () => archiving.confirm(jobsOf(gaps, true)) }, missing.length ? "… and failed ones" : `Archive ${plural(all.length, "failed day")} again …`),
  );
}

/** A form for one day, which has to be over. */
export function dayForm(overview, reload) {
  const archiving = archivingAt("form", overview.dag, reload);
  const last = overview.last_day;
  const input = h("input", { type: "date", name: "day", required: true, value: last, max: last, "aria-describedby": "day-problem" });
  const problem = h("p", { class: "warning", id: "day-problem", role: "alert" });
  const submit = (event) => {
    event.preventDefault();
    const over = input.value && input.value <= last;
    problem.textContent = over
      ? ""
      : input.value
        ? `${input.value} is not over in ${overview.dag.timezone}, so its log files may still grow. The last day that is over is ${last}.`
        : "Choose a day.";
    if (over) archiving.confirm([job(input.value)]);
  };
  return h(
    "section",
    { "aria-labelledby": "one-day-title" },
    h("h2", { id: "one-day-title" }, "Archive one day"),
    // Without the browser's own check: it would refuse without saying why.
    h("form", { "data-testid": "archive-day-form", novalidate: true, onsubmit: submit }, h("label", {}, "Day ", input), h("button", {}, "Archive …")),
    problem,
    archiving.element,
  );
}
