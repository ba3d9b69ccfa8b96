// Airflow around this page: its address, its REST API, its navigation and its theme.

import { h } from "./dom.js";

// The page is at <Airflow>/log-archive/, whatever path Airflow has.
const ROOT = new URL("../", window.location.href.split("#")[0]);
const HERE = new URL("./", window.location.href.split("#")[0]);

/** The window of Airflow's UI, when the page is within it. */
const outer = (() => {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
})();

export class RequestError extends Error {}

async function request(url, options = {}) {
  const response = await fetch(url, { credentials: "same-origin", ...options });
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Not of Airflow: a proxy's error page.
  }
  if (response.status === 401) throw new RequestError("You are logged out: log in to Airflow, and reload this page.");
  if (!response.ok) throw new RequestError(`${response.status} ${response.statusText}: ${explanation(body, text)}`);
  return body;
}

function explanation(body, text) {
  const detail = body?.detail ?? text.slice(0, 300);
  return typeof detail === "string" ? detail : JSON.stringify(detail);
}

export const ask = (path, parameters) =>
  request(new URL(`api/${path}?${new URLSearchParams(parameters)}`, HERE), { headers: { accept: "application/json" } });

/** Archive one day: a run with the day as partition key, and as param, so that it is the day in every time zone. */
export function trigger(dagId, day, sources) {
  const conf = sources ? { date: day, sources } : { date: day };
  return request(new URL(`api/v2/dags/${encodeURIComponent(dagId)}/dagRuns`, ROOT), {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ logical_date: null, partition_key: day, conf }),
  });
}

export const runPath = (dagId, runId) => `dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}`;

export function taskPath(dagId, runId, task) {
  const path = `${runPath(dagId, runId)}/tasks/${encodeURIComponent(task.task_id)}`;
  return task.map_index >= 0 ? `${path}/mapped/${task.map_index}` : path;
}

/** A link to a page of Airflow. */
export function link(path, ...children) {
  return h("a", { href: new URL(path, ROOT).href, onclick: follow }, ...children);
}

/** Airflow's frame lets no link leave it; a link of Airflow's own document may. */
function follow(event) {
  if (!outer) return;
  event.preventDefault();
  const anchor = outer.document.createElement("a");
  anchor.href = event.currentTarget.href;
  if (event.ctrlKey || event.metaKey || event.shiftKey) {
    anchor.target = "_blank";
    anchor.rel = "noopener";
  }
  anchor.click();
}

// The address that people copy is that of Airflow's window: it bears the page's own #/… as well.

export function initialHash() {
  return window.location.hash || outer?.location.hash || "";
}

export function showHash(hash) {
  if (!outer) return;
  const url = new URL(outer.location.href);
  url.hash = hash;
  outer.history.replaceState(outer.history.state, "", url);
}

/** Follow Airflow's theme, now and when it changes. */
export function followTheme(changed) {
  const apply = () => {
    const theme = outerTheme() ?? storedTheme();
    const dark = theme ? theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
    const next = dark ? "dark" : "light";
    if (document.documentElement.dataset.theme === next) return;
    document.documentElement.dataset.theme = next;
    changed();
  };
  apply();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  window.addEventListener("storage", apply);
  if (outer) {
    const options = { attributes: true, attributeFilter: ["class", "data-theme"] };
    new MutationObserver(apply).observe(outer.document.documentElement, options);
  }
}

function outerTheme() {
  const html = outer?.document.documentElement;
  if (!html) return null;
  return ["dark", "light"].find((theme) => html.classList.contains(theme) || html.dataset.theme === theme) ?? null;
}

function storedTheme() {
  try {
    const theme = window.localStorage.getItem("theme");
    return ["dark", "light"].includes(theme) ? theme : null;
  } catch {
    return null;
  }
}
