// Elements from data. What comes from outside becomes text, never HTML.

/** Return an element. Attributes: `on…` are listeners, `dataset` is an object, null and false leave one out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A name from outside: whatever its writing direction, it doesn't turn the text around it. */
export const name = (text) => h("bdi", {}, text);

export const number = (value) => value.toLocaleString("en");

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let size = value;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 99.95 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export const ratio = (raw, stored) => (stored ? `${(raw / stored).toFixed(1)}×` : "–");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

// Days are texts such as 2026-11-22; their arithmetic is that of UTC, where each day has 24 hours.
export const addDays = (day, count) =>
  new Date(Date.parse(`${day}T00:00:00Z`) + count * 86400000).toISOString().slice(0, 10);

export function daysBetween(first, last) {
  const days = [];
  for (let day = first; day <= last; day = addDays(day, 1)) days.push(day);
  return days;
}

/** Return a moment as people write it, in a time zone. */
export function moment(iso, timezone) {
  if (!iso) return "–";
  const options = { dateStyle: "medium", timeStyle: "short", timeZone: timezone };
  return `${new Intl.DateTimeFormat("en-GB", options).format(new Date(iso))} ${timezone}`;
}
