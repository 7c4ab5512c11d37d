// Small parts that several views share.
import { html } from "./preact-htm.min.js";

export const count = (n) => Number(n).toLocaleString("en");
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
export const plain = (word) => String(word).replaceAll("_", " ");

export function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// Rows of label, bar and number; a row with `href` is a link.
export function Bars({ rows, most, shown = count }) {
  const greatest = most || Math.max(1e-9, ...rows.map((row) => row.value));
  return html`<table class="bars">
    ${rows.map(
      (row) => html`<tr key=${row.label}>
        <th scope="row">${row.href ? html`<a href=${row.href}>${row.label}</a>` : row.label}</th>
        <td class="bar"><svg width="100%" height="10" preserveAspectRatio="none" viewBox="0 0 100 10" aria-hidden="true">
          <rect width=${(100 * row.value) / greatest} height="10" class=${row.tone || "ink"} /></svg></td>
        <td class="n">${shown(row.value)}</td>
        ${row.note !== undefined && html`<td class="n quiet">${row.note}</td>`}
      </tr>`,
    )}
  </table>`;
}

// Puts another run beside this one, or none.
export function Beside({ runs, run, beside, onChoose }) {
  const others = Object.keys(runs).filter((name) => name !== run);
  if (!others.length) return null;
  return html`<label>beside <select name="beside" value=${beside || ""} onChange=${(event) => onChoose(event.target.value)}>
    <option value="">nothing</option>${others.map((name) => html`<option value=${name}>${name}</option>`)}
  </select></label>`;
}

// MC at each state as a line, the steps beneath it as right or wrong.
export function Spark({ mc, labels }) {
  if (!mc || mc.length < 2) return html`<span class="quiet">–</span>`;
  const width = 84;
  const x = (state) => 2 + ((width - 4) * state) / (mc.length - 1);
  const y = (value) => 2 + 12 * (1 - value);
  return html`<svg class="spark" width=${width} height="20" viewBox="0 0 ${width} 20" role="img"
    aria-label=${`MC ${mc.map((v) => v.toFixed(2)).join(", ")}`}>
    <polyline points=${mc.map((value, state) => `${x(state)},${y(value)}`).join(" ")} />
    ${(labels || []).map((right, step) => html`<rect x=${x(step) + 1} y="17" width=${Math.max(1, x(step + 1) - x(step) - 2)} height="2.5" class=${right ? "right" : "wrong"} />`)}
  </svg>`;
}

export function State({ state }) {
  return html`<span class="state ${state}">${state}</span>`;
}

export function Trouble({ error }) {
  return error ? html`<p class="bad" role="alert">${error}</p>` : null;
}
