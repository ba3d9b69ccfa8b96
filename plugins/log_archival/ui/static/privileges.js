// The newest check of least privilege.

import { link, taskPath } from "./airflow.js";
import { h, moment, name, plural } from "./dom.js";

export function privilegesSection(found, timezone) {
  return h(
    "section",
    { "data-testid": "privileges", "aria-labelledby": "privileges-title" },
    h("h2", { id: "privileges-title" }, "Least privilege"),
    found ? result(found, timezone) : h("p", { class: "quiet" }, "No check that you may see has run yet."),
  );
}

function result(found, timezone) {
  const checks = Object.entries(found.checks);
  const bad = checks.filter(([check, verdict]) => verdict !== "ok" && !found.accepted.includes(check));
  const good = checks.length > 0 && bad.length === 0 && !found.error;
  const text = good ? `All ${plural(checks.length, "check")} passed` : checks.length ? `${bad.length} of ${plural(checks.length, "check")} failed` : "The check could not be completed";
  const task = { task_id: found.task_id, map_index: -1 };
  return [
    h("p", { dataset: { verdict: good ? "ok" : "failed" }, class: "verdict" }, h("span", { class: "swatch", dataset: { state: good ? "verified" : "failed" }, "aria-hidden": "true" }), h("b", {}, text), " – ", link(taskPath(found.dag_id, found.run_id, task), moment(found.at, timezone))),
    found.error && found.findings.length === 0 && h("p", { class: "note" }, name(found.error)),
    found.findings.length > 0 && h("ul", { class: "findings" }, found.findings.map(finding)),
    found.accepted.length > 0 && h("p", {}, "Accepted risks: ", name(found.accepted.join(", "))),
    Object.keys(found.not_tried).length > 0 && h("p", { class: "quiet" }, "Not tried: ", name(Object.entries(found.not_tried).map(([check, reason]) => `${check} (${reason})`).join(", "))),
  ];
}

function finding(one) {
  return h(
    "li",
    {},
    h("b", {}, name(one.check ?? "")),
    ": ",
    name(one.verdict ?? ""),
    h("dl", {}, ["tried", "expected", "happened", "remediation"].filter((field) => one[field]).map((field) => [h("dt", {}, field), h("dd", {}, name(one[field]))])),
  );
}
