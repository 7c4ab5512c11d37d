// A list of paths: filters with their numbers, search, pages.
import { html, useEffect, useRef, useState } from "./preact-htm.min.js";
import { useKeys } from "./keys.js";
import { useLoaded, useReasons } from "./loaded.js";
import { address, withBeside } from "./places.js";
import { Beside, count, plain, Spark, State, Trouble } from "./parts.js";

export function List({ run, runs, filters, beside }) {
  const api = runs[run];
  const text = filters.get("text") || "";
  const start = Number(filters.get("start") || 0);
  const only = new URLSearchParams(filters);
  only.delete("text");
  only.delete("start");
  const key = filters.toString();
  const page = useLoaded(() => api.page(only, text, start), [run, key]);
  const meta = useLoaded(() => api.meta(), [run]);
  const reasons = useReasons(api, run);
  const [current, setCurrent] = useState(0);
  const at = useRef(0); // the same, for a key that comes before the next drawing
  const move = (to) => setCurrent((at.current = Math.max(0, Math.min(rows.length - 1, to))));
  const search = useRef(null);
  const found = page.value;
  const rows = found?.rows || [];
  const size = meta.value?.page_rows || 50;
  const growing = found && (!found.done || (api.live && meta.value && !meta.value.progress.complete));
  useEffect(() => {
    if (!growing) return undefined;
    const timer = setTimeout(() => {
      page.again();
      meta.again();
    }, 500);
    return () => clearTimeout(timer);
  }, [found, meta.value]);
  useEffect(() => setCurrent((at.current = 0)), [key]);
  useEffect(() => document.querySelector("tr.current")?.scrollIntoView({ block: "nearest" }), [current]);
  const go = (change) => {
    const next = new URLSearchParams(filters);
    next.delete("start");
    change(next);
    location.hash = address(run, "paths", undefined, next);
  };
  const turn = (by) => {
    const next = start + by * size;
    if (next >= 0 && next < (found?.total || 0)) go((to) => next > 0 && to.set("start", next));
  };
  const open = (row) => address(run, "path", row.path_id, withoutStart(filters));
  useKeys({
    j: () => move(at.current + 1),
    k: () => move(at.current - 1),
    ArrowDown: () => move(at.current + 1),
    ArrowUp: () => move(at.current - 1),
    Enter: (event) => (event.target.tagName === "A" || event.target.tagName === "BUTTON" ? false : rows[at.current] && (location.hash = open(rows[at.current]))),
    n: () => turn(1),
    p: () => turn(-1),
    "/": () => search.current.focus(),
    f: () => document.querySelector(".facets input, .facets summary")?.focus(),
  });
  const first = found?.start || 0;
  const last = first + rows.length;
  return html`<div class="listing">
    <${Facets} api=${api} run=${run} only=${only} text=${text} fields=${meta.value?.fields || []} reasons=${reasons} go=${go} when=${[key, found?.done, meta.value?.progress?.blocks]} />
    <section class="rows">
      <form class="search" role="search" onSubmit=${(event) => {
        event.preventDefault();
        const wanted = search.current.value.trim();
        go((to) => (wanted ? to.set("text", wanted) : to.delete("text")));
      }}>
        <input ref=${search} type="search" name="text" placeholder="Search in problems, solutions and rationales  ( / )" aria-label="search in texts" defaultValue=${text} key=${text} />
        <button>Search</button>
        <${Beside} runs=${runs} run=${run} beside=${beside} onChoose=${(name) => (location.hash = address(run, "paths", undefined, withBeside(filters, name)))} />
      </form>
      <${Chosen} only=${only} text=${text} fields=${meta.value?.fields || []} go=${go} />
      <p class="total" role="status">
        ${found ? html`<b>${count(found.total)}</b> ${found.total === 1 ? "path" : "paths"}${found.total > size ? `, ${count(first + 1)} to ${count(last)}` : ""}` : "…"}
        ${found && !found.done && html`<span class="quiet"> · searching, shard ${count(found.searched)} of ${count(found.of_shards)}</span>`}
        ${growing && found.done && html`<span class="quiet"> · the run is still being read</span>`}
        ${found?.trouble && html`<span class="bad"> ${found.trouble}</span>`}
      </p>
      <${Trouble} error=${page.error} />
      ${found && found.total === 0 && !growing && html`<p class="empty">No path is like that. Remove a filter above, or press <kbd>Esc</kbd> and look at the <a href=${address(run)}>glance</a>.</p>`}
      <table class="paths" aria-busy=${page.busy}>
        <thead><tr><th>path</th><th>ended</th><th>level</th><th class="n">steps</th><th class="n">first error</th><th class="n">judge</th><th>MC and labels</th><th>mark</th></tr></thead>
        <tbody>
          ${rows.map((row, number) => html`<tr key=${row.path_id} class=${number === current ? "current" : ""} onClick=${(event) => event.target.tagName !== "A" && (location.hash = open(row))}>
            <td class="what"><a href=${open(row)}>${row.path_id}</a><span class="title">${row.title}</span></td>
            <td><${State} state=${row.state} />${row.reason && html`<span class="why">${row.stage}: ${plain(row.reason)}</span>`}${row.beside_state && html`<span class="why ${row.differs === "same" ? "" : "differs"}">${beside}: ${row.beside_state}${row.beside_reason ? `, ${plain(row.beside_reason)}` : ""}</span>`}</td>
            <td>${row.level}</td>
            <td class="n">${row.steps}</td>
            <td class="n">${step(row.first_error)}${row.beside_state && row.beside_first_error !== row.first_error && html`<span class="why differs">${step(row.beside_first_error) || "-"}</span>`}</td>
            <td class="n ${row.judge_first_error !== null && row.judge_first_error !== row.first_error ? "differs" : ""}">${step(row.judge_first_error)}</td>
            <td><${Spark} mc=${row.mc} labels=${row.labels} /></td>
            <td>${row.mark && html`<span class="mark-${row.mark}">${row.mark}</span>`}</td>
          </tr>`)}
        </tbody>
      </table>
      ${found && found.total > size && html`<nav class="pages" aria-label="pages">
        <button disabled=${start === 0} onClick=${() => turn(-1)}>← Previous <kbd>p</kbd></button>
        <span class="quiet">page ${count(Math.floor(first / size) + 1)} of ${count(Math.ceil(found.total / size))}</span>
        <button disabled=${last >= found.total} onClick=${() => turn(1)}>Next <kbd>n</kbd> →</button>
      </nav>`}
    </section>
  </div>`;
}

const step = (index) => (index === null || index === undefined ? "" : index < 0 ? "none" : index + 1);

function withoutStart(filters) {
  const rest = new URLSearchParams(filters);
  rest.delete("start");
  return rest;
}

function Chosen({ only, text, fields, go }) {
  const titles = Object.fromEntries(fields.map((field) => [field.name, field.title]));
  const chips = [...only].filter(([name]) => name !== "beside").map(([name, value]) => ({
    label: `${titles[name] || name}: ${plain(value)}`,
    drop: (to) => {
      const rest = to.getAll(name).filter((other) => other !== value);
      to.delete(name);
      rest.forEach((other) => to.append(name, other));
    },
  }));
  if (text) chips.unshift({ label: `“${text}”`, drop: (to) => to.delete("text") });
  if (!chips.length) return null;
  return html`<p class="chips">
    ${chips.map(({ label, drop }) => html`<button class="chip" onClick=${() => go(drop)} title="remove">${label} <span aria-hidden="true">×</span></button>`)}
    ${chips.length > 1 && html`<button class="plain" onClick=${() => go((to) => [...to.keys()].filter((name) => name !== "beside").forEach((name) => to.delete(name)))}>clear all</button>`}
  </p>`;
}

function Facets({ api, run, only, text, fields, reasons, go, when }) {
  const facets = useLoaded(() => api.facets(only, text), [run, ...when]);
  const counts = facets.value || {};
  return html`<aside class="facets" aria-label="filters">
    ${fields.map((field) => field.kind === "choice"
      ? html`<${Choice} key=${field.name} field=${field} values=${counts[field.name] || []} chosen=${only.getAll(field.name)} reasons=${reasons} go=${go} />`
      : html`<${Written} key=${field.name} field=${field} value=${only.get(field.name) || ""} go=${go} />`)}
  </aside>`;
}

function Choice({ field, values, chosen, reasons, go }) {
  const [all, setAll] = useState(false);
  const offered = [...values, ...chosen.filter((name) => !values.some(([value]) => value === name)).map((name) => [name, 0])];
  if (!offered.length || (offered.length === 1 && !chosen.length)) return null;
  const shown = all ? offered : offered.filter(([value], at) => at < 8 || chosen.includes(value));
  return html`<fieldset>
    <legend>${field.title}</legend>
    ${shown.map(([value, n]) => html`<label key=${value} title=${reasons[value] || ""}>
      <input type="checkbox" checked=${chosen.includes(value)} onChange=${(event) => go((to) => {
        const rest = to.getAll(field.name).filter((other) => other !== value);
        to.delete(field.name);
        [...rest, ...(event.target.checked ? [value] : [])].forEach((other) => to.append(field.name, other));
      })} />
      <span class="value">${value === "-" ? "not set" : plain(value)}</span><span class="n">${count(n)}</span>
    </label>`)}
    ${offered.length > shown.length && html`<button class="plain" onClick=${() => setAll(true)}>${offered.length - shown.length} more</button>`}
  </fieldset>`;
}

function Written({ field, value, go }) {
  return html`<label class="written"><span>${field.title}</span>
    <input key=${value} defaultValue=${value} placeholder=${field.kind === "range" ? "4, 4-8, 4-" : "contains"} onChange=${(event) => {
      const wanted = event.target.value.trim();
      go((to) => (wanted ? to.set(field.name, wanted) : to.delete(field.name)));
    }} />
  </label>`;
}
