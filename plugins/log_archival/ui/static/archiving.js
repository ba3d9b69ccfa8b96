// Archiving days by hand: a question, one run a day, and what becomes of it.

import { RequestError, ask, link, runPath, trigger } from "./airflow.js";
import { h, name, plural } from "./dom.js";

const POLL_MILLISECONDS = 2000;
const SLOW_POLL_MILLISECONDS = 6000;
const PATIENCE = 30;
const RUNS_A_POLL = 50;

/** A day to archive; `sources` is null for all of them. */
export const job = (day, sources = null) => ({ day, sources, runId: null, state: "waiting", error: "" });

const known = new Map();

/**
 * Return the place where days of a DAG are archived by hand. It stays while the page is rendered again.
 *
 * @param place tells a DAG's places apart
 * @param dag what the API says of the DAG
 * @param changed is called when runs have been created, and when they have ended
 */
export function archivingAt(place, dag, changed) {
  const key = JSON.stringify([dag.id, place]);
  if (!known.has(key)) known.set(key, new Archiving());
  return Object.assign(known.get(key), { dag, changed });
}

class Archiving {
  constructor() {
    this.jobs = [];
    this.problem = "";
    this.element = h("div", { class: "archiving", "aria-live": "polite" });
  }

  /** Ask first, naming the days. */
  confirm(jobs) {
    this.element.replaceChildren(
      h(
        "div",
        { class: "question", role: "group", "aria-label": "Confirm" },
        h("p", {}, `Archive ${plural(jobs.length, "day")} with ${plural(jobs.length, "run")} of `, name(this.dag.id), "?"),
        h("ul", { class: "names" }, jobs.map((one) => h("li", {}, one.day, one.sources ? ": " : "", sourceNames(one)))),
        this.dag.paused && h("p", { class: "warning" }, "The DAG is paused: the runs wait until somebody unpauses it."),
        h("p", { class: "quiet" }, "What is archived already stays as it is; nothing is added twice."),
        h("button", { class: "primary", "data-testid": "confirm-archive", onclick: () => this.start(jobs) }, `Archive ${plural(jobs.length, "day")}`),
        h("button", { onclick: () => this.element.replaceChildren() }, "Cancel"),
      ),
    );
    this.element.querySelector("button").focus();
  }

  async start(jobs) {
    this.jobs = jobs;
    this.show();
    for (const one of jobs) {
      try {
        const run = await trigger(this.dag.id, one.day, one.sources);
        Object.assign(one, { runId: run.dag_run_id, state: run.state });
      } catch (error) {
        Object.assign(one, { state: "refused", error: String(error.message) });
      }
      this.show();
    }
    this.refresh();
    await this.follow();
    this.refresh();
  }

  /** Have the rest of the page show what has changed. */
  refresh() {
    if (this.element.isConnected) this.changed();
  }

  async follow() {
    for (let polls = 0; this.jobs.some((one) => one.runId && !ended(one)); polls += 1) {
      await sleep(polls < PATIENCE ? POLL_MILLISECONDS : SLOW_POLL_MILLISECONDS);
      try {
        await this.poll();
      } catch (error) {
        if (!(error instanceof RequestError || error instanceof TypeError)) throw error;
        this.problem = `Progress is unknown: ${error.message}`;
      }
      this.show();
    }
  }

  async poll() {
    const waiting = this.jobs.filter((one) => one.runId && !ended(one));
    const ids = waiting.slice(0, RUNS_A_POLL).map((one) => one.runId);
    const { runs } = await ask("runs", [["dag", this.dag.id], ...ids.map((id) => ["run_id", id])]);
    this.problem = "";
    for (const one of waiting) Object.assign(one, runs[one.runId] ?? {});
  }

  show() {
    // Anew only when something is new: it is read aloud.
    const shown = JSON.stringify([this.jobs, this.problem]);
    if (shown === this.shown && this.element.firstChild) return;
    this.shown = shown;
    const finished = this.jobs.filter(ended).length;
    this.element.replaceChildren(
      h(
        "div",
        { "data-testid": "progress", class: "progress" },
        h("p", {}, `${finished} of ${plural(this.jobs.length, "day")} finished`, this.jobs.some((one) => one.state === "waiting") && ". Keep this page open until each has its run."),
        h("progress", { max: this.jobs.length, value: finished, "aria-label": "Days finished" }),
        this.problem && h("p", { class: "warning" }, this.problem),
        h("ul", {}, this.jobs.map((one) => this.line(one))),
      ),
    );
  }

  line(one) {
    const state = one.runId ? link(runPath(this.dag.id, one.runId), one.state) : one.state;
    const error = one.error ? [" – ", name(one.error)] : null;
    return h("li", { dataset: { day: one.day, run: one.state } }, h("b", {}, one.day), " ", state, error);
  }
}

const ended = (one) => ["success", "failed", "refused"].includes(one.state);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function sourceNames({ sources }) {
  return (sources ?? []).flatMap((source, index) => [index ? ", " : "", name(source)]);
}
