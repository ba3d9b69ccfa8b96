// The page: its address says what it shows. #/<dag>?days=365 is the overview, #/<dag>/<day> a day.

import { ask, followTheme, initialHash, link, showHash } from "./airflow.js";
import { Chart } from "./chart.js";
import { CoverageMap, legend } from "./coverage.js";
import { dayView } from "./day.js";
import { addDays, daysBetween, h, moment, name, plural } from "./dom.js";
import { dayForm, gapsSection } from "./gaps.js";
import { privilegesSection } from "./privileges.js";

const WINDOWS = [30, 90, 365, 730];
const page = document.getElementById("page");
let chart = null;
let map = null;
let shown = 0;
/** The cell that somebody opened: the keyboard is there again when they come back. */
let visited = null;

function route() {
  const [path, query] = window.location.hash.replace(/^#\/?/, "").split("?");
  const [dag, day] = path.split("/").map(decode);
  const days = Number(new URLSearchParams(query).get("days"));
  return { dag: dag || null, day: day || null, days: WINDOWS.includes(days) ? days : 90 };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const address = (dag, day = null, days = route().days) => `#/${encodeURIComponent(dag)}${day ? `/${day}` : ""}${days === 90 ? "" : `?days=${days}`}`;

async function show() {
  const turn = (shown += 1);
  const { dag, day, days } = route();
  showHash(window.location.hash);
  page.setAttribute("aria-busy", "true");
  try {
    const found = await ask(day ? "day" : "overview", { ...(dag && { dag }), ...(day ? { day } : { days }) });
    if (turn !== shown) return; // somebody has gone on
    if (day) showDay(found);
    else showOverview(found, days);
  } catch (error) {
    if (turn !== shown) return;
    page.replaceChildren(h("h1", {}, "Log archive"), h("p", { class: "warning", role: "alert" }, String(error.message)), h("p", {}, h("a", { href: "#/" }, "All days")));
  }
  page.removeAttribute("aria-busy");
  await painted();
  if (!document.documentElement.dataset.ready && map) performance.measure("first-paint-of-coverage");
  document.documentElement.dataset.ready = "true";
}

/** Wait for the next frame; a window that nobody sees has none. */
const painted = () =>
  new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve, 0));
    setTimeout(resolve, 1000);
  });

function showDay(found) {
  chart = null;
  page.replaceChildren(dayView(found, (day) => address(found.dag.id, day), show));
  document.title = `${found.day} – Log archive`;
  page.querySelector("h1").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function showOverview(found, days) {
  document.title = "Log archive";
  if (!found.dag) {
    page.replaceChildren(h("h1", {}, "Log archive"), h("p", {}, "No DAG that you may read archives logs: none has an outlet of ", h("code", {}, "archive_assets(bucket)"), "."), privilegesSection(found.privileges, "UTC"));
    return;
  }
  const list = daysBetween(found.first_day, found.last_day);
  const open = (day) => address(found.dag.id, day);
  map = new CoverageMap(found, list, (cell) => {
    visited = { ...cell.dataset };
    window.location.hash = open(cell.dataset.day);
  });
  chart = new Chart(found, list);
  page.replaceChildren(
    header(found, days),
    h("section", { "aria-label": "Coverage" }, map.element, legend()),
    gapsSection(found, open, show),
    chart.element,
    h("div", { class: "pair" }, found.dag.can_trigger && dayForm(found, show), privilegesSection(found.privileges, found.dag.timezone)),
  );
  map.showNewest();
  if (visited) map.focus(visited);
  visited = null;
  chart.draw();
}

function header(found, days) {
  const { dag } = found;
  return h(
    "header",
    {},
    h("div", { class: "top" }, h("h1", {}, "Log archive"), selector(found), windows(dag.id, days)),
    h("p", { class: "answer" }, answer(found)),
    h(
      "p",
      { class: "quiet" },
      link(`dags/${encodeURIComponent(dag.id)}`, name(dag.id)),
      ` · days in ${dag.timezone}, up to ${found.last_day}`,
      found.begins ? ` · history begins ${found.begins}` : " · no history yet",
      dag.next_run ? ` · next run ${moment(dag.next_run, dag.timezone)}` : "",
    ),
    dag.paused && h("p", { class: "warning", "data-testid": "paused" }, "This DAG is paused: it archives nothing, and runs that are triggered wait until it is unpaused."),
  );
}

function answer({ gaps, begins, first_day: first }) {
  if (!begins) return "No day has been archived yet.";
  const count = (state) => new Set(gaps.filter((gap) => gap.state === state).flatMap((gap) => daysBetween(gap.first, gap.last))).size;
  const [missing, failed] = [count("missing"), count("failed")];
  if (!missing && !failed) return `No day is missing since ${begins > first ? begins : first}.`;
  const parts = [missing && `${plural(missing, "day")} ${missing === 1 ? "is" : "are"} missing`, failed && `${plural(failed, "day")} failed`];
  return `${parts.filter(Boolean).join(", ")}.`;
}

function selector(found) {
  if (found.dags.length < 2) return null;
  const go = (event) => {
    window.location.hash = address(event.target.value);
  };
  return h("label", {}, "DAG ", h("select", { "data-testid": "dag", onchange: go }, found.dags.map((id) => h("option", { value: id, selected: id === found.dag.id }, id))));
}

function windows(dag, days) {
  return h("nav", { class: "windows", "aria-label": "Days" }, WINDOWS.map((count) => h("a", { href: address(dag, null, count), "aria-current": count === days && "true" }, count === 365 ? "1 year" : count === 730 ? "2 years" : `${count} days`)));
}

if (!window.location.hash && initialHash().startsWith("#/")) window.location.replace(initialHash());
followTheme(() => chart?.draw());
window.addEventListener("hashchange", show);
window.addEventListener("resize", () => chart?.resize());
show();
