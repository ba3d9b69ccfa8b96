// All that is known of one day.

import { link, runPath, taskPath } from "./airflow.js";
import { archivingAt, job } from "./archiving.js";
import { addDays, bytes, h, moment, name, number, plural, ratio } from "./dom.js";

/** What each tier proves, and no more: docs/verification.md. */
export const PROOF = {
  sent: "Every archive was sent, and nothing shows that the server has these bytes.",
  receipts: "S3 compared what the run put with its checksums; nobody has looked whether it still exists.",
  probe: "Every key exists, and S3 compared what the run put with its checksums; nobody has read the objects.",
  read: "A second connection has looked at the objects: their checksums, or every byte.",
};
const WORDS = { archived: "archived, not verified", "not-expected": "not expected" };
const COLUMNS = ["files", "objects", "raw_bytes", "stored_bytes", "ratio", "new", "existing", "failed", "skipped"];
const SHOWN_ROWS = 500;

export function dayView(found, address, reload) {
  const { dag, day } = found;
  const over = day <= found.last_day;
  const archiving = archivingAt(day, dag, reload);
  return h(
    "article",
    { "data-testid": "day-view", dataset: { day } },
    h(
      "nav",
      { class: "steps" },
      h("a", { href: address(), class: "back" }, "← All days"),
      h("a", { href: address(addDays(day, -1)) }, "Previous day"),
      day < found.last_day && h("a", { href: address(addDays(day, 1)) }, "Next day"),
    ),
    h("h1", { tabindex: "-1" }, new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`))),
    h("p", { class: "quiet" }, `${day} in ${dag.timezone} · `, link(`dags/${encodeURIComponent(dag.id)}`, name(dag.id))),
    sourcesTable(found),
    tiers(found),
    h("h2", {}, "Runs"),
    found.runs.length ? h("ul", { class: "runs" }, found.runs.map((run) => runItem(dag, run))) : h("p", { class: "quiet" }, "Airflow knows no run of this day."),
    dag.can_trigger && over && h("p", { class: "actions" }, h("button", { onclick: () => archiving.confirm([job(day)]) }, found.runs.length ? "Archive this day again …" : "Archive this day …")),
    !over && h("p", { class: "quiet" }, `This day is not over in ${dag.timezone}.`),
    archiving.element,
    archives(found),
  );
}

function sourcesTable(found) {
  // What stopped a run is the same for all of its sources: say it once.
  const notes = new Set(found.sources.map((source) => source.note).filter(Boolean));
  const common = found.sources.length > 1 && notes.size === 1 ? [...notes][0] : null;
  const cell = (source, column) => {
    if (column === "ratio") return ratio(source.raw_bytes, source.stored_bytes);
    return column.endsWith("bytes") ? bytes(source[column]) : number(source[column]);
  };
  const table = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "figures" },
      h("thead", {}, h("tr", {}, ["source", "state", ...COLUMNS].map((column, index) => h("th", { scope: "col", class: index > 1 && "number" }, column.replace("_bytes", ""))))),
      h(
        "tbody",
        {},
        found.sources.map((source) =>
          h(
            "tr",
            { dataset: { source: source.name, state: source.state } },
            h("th", { scope: "row" }, name(source.name || "all sources")),
            h("td", { class: "state" }, h("span", { class: "swatch", dataset: { state: source.state }, "aria-hidden": "true" }), WORDS[source.state] ?? source.state, source.tier && h("span", { class: "quiet" }, ", tier ", name(source.tier)), source.note && !common && h("div", { class: "note" }, name(source.note))),
            COLUMNS.map((column) => h("td", { class: "number" }, source.objects || source.files || source.failed ? cell(source, column) : "–")),
          ),
        ),
      ),
    ),
  );
  return [common && h("p", { class: "note" }, name(common)), table];
}

function tiers(found) {
  const used = [...new Set(found.sources.map((source) => source.tier))].filter((tier) => Object.hasOwn(PROOF, tier));
  return h("dl", { class: "tiers" }, used.map((tier) => [h("dt", {}, `Tier ${tier}`), h("dd", {}, PROOF[tier])]));
}

function runItem(dag, run) {
  return h(
    "li",
    { dataset: { run: run.state } },
    h("span", { class: "badge", dataset: { run: run.state } }, run.state || "none"),
    " ",
    link(runPath(dag.id, run.run_id), name(run.run_id)),
    h("span", { class: "quiet" }, ` ${run.type}, ${moment(run.started, dag.timezone)}`, run.only ? [", only ", name(run.only.join(", "))] : null),
    run.tasks.length > 0 &&
      h(
        "ul",
        {},
        run.tasks.map((task) =>
          h("li", {}, link(taskPath(dag.id, run.run_id, task), name(task.task_id), task.map_index >= 0 ? `[${task.map_index}]` : ""), ` ${task.state ?? "not started"}`, task.error && h("div", { class: "note" }, name(task.error))),
        ),
      ),
  );
}

function archives(found) {
  const total = found.archives_total;
  const shown = h("p", { class: "quiet", "aria-live": "polite" });
  const body = h("tbody");
  const fill = (wanted) => {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = found.archives.filter((one) => words.every((word) => `${one.source} ${one.path} ${one.key} ${one.raw_sha256}`.toLowerCase().includes(word)));
    body.replaceChildren(...matching.slice(0, SHOWN_ROWS).map((one) => archiveRow(found.dag, one)));
    shown.textContent = matching.length > SHOWN_ROWS ? `The first ${number(SHOWN_ROWS)} of ${number(matching.length)}; filter for others.` : plural(matching.length, "archive");
  };
  fill("");
  return h(
    "section",
    { "data-testid": "archives", "aria-labelledby": "archives-title" },
    h("h2", { id: "archives-title" }, "Archives"),
    total > found.archives.length && h("p", {}, `Listed ${number(found.archives.length)} of ${number(total)}; all are in the manifest.`),
    found.manifests.map((key) => h("p", { class: "manifest" }, "Manifest ", h("code", {}, name(key)))),
    found.archives.length === 0
      ? h("p", { class: "quiet" }, "Airflow lists none of this day.")
      : [
          h("label", { class: "filter" }, "Filter ", h("input", { type: "search", placeholder: "source, path, key or SHA-256", oninput: (event) => fill(event.target.value) })),
          shown,
          h("div", { class: "scroll" }, h("table", { class: "archives" }, h("thead", {}, h("tr", {}, ["path", "raw", "stored", "SHA-256 of the content", "first archived"].map((column) => h("th", { scope: "col" }, column)))), body)),
        ],
  );
}

function archiveRow(dag, one) {
  return h(
    "tr",
    { dataset: { key: one.key } },
    h("th", { scope: "row" }, name(one.path), one.parts > 1 && h("span", { class: "quiet" }, ` part ${one.part} of ${one.parts}`), h("code", { class: "key" }, name(one.key))),
    h("td", { class: "number" }, bytes(one.raw_bytes)),
    h("td", { class: "number" }, bytes(one.stored_bytes)),
    h("td", {}, h("code", { class: "sum", title: one.raw_sha256 }, name(one.raw_sha256))),
    h("td", {}, link(runPath(dag.id, one.run_id), moment(one.at, dag.timezone)), !one.is_new && h("span", { class: "quiet" }, " (found existing)")),
  );
}
