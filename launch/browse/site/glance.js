// The run at a glance.
import { html, useEffect } from "./preact-htm.min.js";
import { useLoaded, useReasons } from "./loaded.js";
import { address } from "./places.js";
import { Bars, count, duration, percent, plain, Trouble } from "./parts.js";

export function Glance({ run, runs }) {
  const names = Object.keys(runs);
  const other = names.find((name) => name !== run);
  const differing = new URLSearchParams([["beside", other], ...["solution", "labels", "judge", "fate"].map((what) => ["differs", what])]);
  return html`${other && html`<p><a href=${address(run, "paths", undefined, differing)}>Paths on which ${run} and ${other} differ</a></p>`}
  <div class=${names.length > 1 ? "glances" : ""}>
    ${names.length > 1
      ? [run, ...names.filter((name) => name !== run)].slice(0, 2).map((name) => html`<${Figures} key=${name} run=${name} api=${runs[name]} named />`)
      : html`<${Figures} run=${run} api=${runs[run]} />`}
  </div>`;
}

function Figures({ run, api, named }) {
  const loaded = useLoaded(() => Promise.all([api.glance(), api.meta()]), [run]);
  const [found, meta] = loaded.value || [];
  const reasons = useReasons(api, run);
  const growing = api.live && found && !found.whole;
  useEffect(() => {
    if (!growing) return undefined;
    const timer = setTimeout(loaded.again, meta.progress.complete && !meta.progress.finished ? 5000 : 1000);
    return () => clearTimeout(timer);
  }, [loaded.value]);
  if (!found) return html`<${Trouble} error=${loaded.error} />${!loaded.error && html`<p class="quiet">Reading the run…</p>`}`;
  const to = (filters) => address(run, "paths", undefined, filters);
  const states = Object.fromEntries(found.states);
  const kept = states.kept || 0;
  return html`
    <article class="glance" data-run=${run}>
      ${named && html`<h1>${run}</h1>`}
      <p class="lead">
        <a href=${to({ state: "kept" })}>${count(kept)} kept</a> of
        ${" "}<a href=${to({})}>${count(found.paths)} solutions</a> of ${count(found.problems)} problems
        ${found.paths > 0 && html`<span class="quiet"> · ${percent(kept / found.paths)}</span>`}
        ${states.open > 0 && html`<span class="quiet"> · ${count(states.open)} still on their way</span>`}
      </p>
      <${Funnel} found=${found} reasons=${reasons} to=${to} />
      <div class="cards">
        ${["level", "subject"].map(
          (name) => found.pass_at_1[name].length > 0 && html`<section key=${name}>
            <h2>Pass@1 by ${name}</h2>
            <p class="quiet">Share of right answers of the first round, problem by problem.</p>
            <${Bars} most=${1} shown=${(v) => v.toFixed(2)} rows=${found.pass_at_1[name].map(([label, n, value]) => ({ label, value, note: `${count(n)} problems`, href: to({ [name]: label }) }))} />
          </section>`,
        )}
        <section>
          <h2>MC of states</h2>
          <p class="quiet">Share of rollouts from a state that end right; each path's last state is left out.</p>
          <${Histogram} bins=${found.mc} />
        </section>
        ${found.rollouts.length > 0 && html`<section>
          <h2>Rollouts of a state</h2>
          <p class="quiet">The greatest number of each path.</p>
          <${Bars} rows=${found.rollouts.map(([k, value]) => ({ label: `K = ${k}`, value, href: to({ rollouts: k }) }))} />
        </section>`}
        ${found.labels.map((of) => html`<section key=${of.form}>
          <h2>Labels: ${plain(of.form)}</h2>
          <p class="quiet">Threshold ${Number(of.threshold.toFixed(3))}, ${count(of.paths)} paths.</p>
          <${Bars} most=${of.steps} rows=${[
            { label: "right steps", value: of.right, tone: "right" },
            { label: "wrong steps", value: of.steps - of.right, tone: "wrong" },
          ]} />
          <${Bars} most=${of.paths} rows=${[
            { label: "no wrong step", value: of.clean, tone: "right", href: to({ first_error: "none", form: of.form }) },
            { label: "some wrong step", value: of.paths - of.clean, tone: "wrong" },
          ]} />
        </section>`)}
        ${found.agreement.paths > 0 && html`<section>
          <h2>Judge against labels</h2>
          <p class="quiet">First error against first error, ${count(found.agreement.paths)} paths.</p>
          <${Bars} most=${found.agreement.paths} rows=${found.agreement.kinds.map(([label, value]) => ({ label, value }))} />
          <${Matrix} cells=${found.agreement.cells} to=${to} />
        </section>`}
        ${found.code.length > 0 && html`<section>
          <h2>Code and votes</h2>
          <p class="quiet">Of the rationales that stand: the first verdict that is not ok, and the judge's votes.</p>
          <${Bars} rows=${found.code.map(([label, value]) => ({ label: plain(label), value, tone: label === "ok" ? "right" : "wrong", href: to({ code: label }) }))} />
          <${Bars} rows=${found.votes.map(([label, value]) => ({ label, value, href: to({ votes: label }) }))} />
        </section>`}
      </div>
      <${Stages} stages=${found.stages} models=${found.models} />
      ${found.planned.length > 0 && html`<${Planned} lines=${found.planned} />`}
    </article>
  `;
}

function Funnel({ found, reasons: meanings, to }) {
  const first = Math.max(1, found.paths);
  return html`<section class="funnel" aria-label="from solutions to examples">
    <h2>From solutions to examples</h2>
    <table>
      ${found.funnel.filter((of) => of.stage !== "problems").map((of) => html`<tr key=${of.stage}>
        <th scope="row">${of.stage}</th>
        <td class="n">${count(of.entered)}</td>
        <td class="bar"><svg width="100%" height="14" preserveAspectRatio="none" viewBox="0 0 100 14" aria-hidden="true">
          <rect width=${(100 * of.entered) / first} height="14" class="ink" />
          <rect x=${(100 * (of.entered - lost(of))) / first} width=${(100 * lost(of)) / first} height="14" class="lost" /></svg></td>
        <td class="reasons">${of.reasons.map(([reason, n]) => html`<a href=${to({ stage: of.stage, reason })} title=${meanings[reason] || ""}>${plain(reason)} <b>${count(n)}</b></a>`)}</td>
      </tr>`)}
    </table>
  </section>`;
}

const lost = (of) => of.reasons.reduce((sum, [, n]) => sum + n, 0);

function Histogram({ bins }) {
  const most = Math.max(1, ...bins);
  return html`<svg class="histogram" viewBox="0 0 ${bins.length * 12} 92" role="img" aria-label="histogram of MC">
    ${bins.map((n, bin) => html`<rect x=${bin * 12 + 1} y=${76 - (72 * n) / most} width="10" height=${(72 * n) / most} class="ink"><title>${(bin / bins.length).toFixed(2)} to ${((bin + 1) / bins.length).toFixed(2)}: ${count(n)} states</title></rect>`)}
    <line x1="0" y1="76.5" x2=${bins.length * 12} y2="76.5" />
    ${[0, 0.5, 1].map((at) => html`<text x=${at * bins.length * 12} y="89" text-anchor=${at === 0 ? "start" : at === 1 ? "end" : "middle"}>${at}</text>`)}
  </svg>`;
}

function Matrix({ cells, to }) {
  const order = (name) => (name === "none" ? 1e6 : name === "-" ? 1e7 : Number(name));
  const names = (at) => [...new Set(cells.map((cell) => cell[at]))].sort((a, b) => order(a) - order(b)).slice(0, 12);
  const [rows, columns] = [names(0), names(1)];
  const of = new Map(cells.map(([label, judge, n]) => [`${label} ${judge}`, n]));
  const most = Math.max(1, ...cells.map((cell) => cell[2]));
  return html`<table class="matrix">
    <caption class="quiet">rows: labels, columns: judge</caption>
    <tr><td></td>${columns.map((name) => html`<th scope="col">${name}</th>`)}</tr>
    ${rows.map((label) => html`<tr><th scope="row">${label}</th>
      ${columns.map((judge) => {
        const n = of.get(`${label} ${judge}`) || 0;
        const depth = n ? 1 + Math.round((4 * n) / most) : 0;
        return html`<td class="depth${depth} ${label === judge ? "same" : ""}">${n ? html`<a href=${to({ first_error: label, judge_first_error: judge })}>${count(n)}</a>` : ""}</td>`;
      })}</tr>`)}
  </table>`;
}

function Planned({ lines }) {
  return html`<section aria-label="planned and actual">
    <h2>Planned and actual</h2>
    <table class="stages">
      <thead><tr><th>model</th><th>figure</th><th class="n">planned</th><th class="n">actual</th><th></th></tr></thead>
      <tbody>
      ${lines.map((of) => html`<tr>
        <th scope="row">${of.model}</th>
        <td>${of.figure}</td>
        <td class="n">${of.planned}</td>
        <td class="n">${of.actual}</td>
        <td>${of.verdict}</td>
      </tr>`)}
      </tbody>
    </table>
  </section>`;
}

function Stages({ stages, models }) {
  return html`<section>
    <h2>Stages</h2>
    <table class="stages">
      <thead><tr><th>stage</th><th class="n">shards</th><th class="n">rows</th><th class="n">dropped</th><th class="n">tokens</th><th class="n">seconds of work</th></tr></thead>
      <tbody>
      ${stages.map((of) => html`<tr key=${of.stage}>
        <th scope="row">${of.stage}</th>
        <td class="n">${count(of.shards)}${of.shards < of.of_shards ? ` of ${count(of.of_shards)}` : ""}</td>
        <td class="n">${count(of.rows)}</td>
        <td class="n">${count(of.drops.reduce((sum, [, n]) => sum + n, 0))}</td>
        <td class="n">${count(of.tokens)}</td>
        <td class="n">${duration(of.seconds)}</td>
      </tr>`)}
      </tbody>
    </table>
    <p class="quiet">${Object.entries(models).map(([role, model]) => html`<span class="model">${role}: ${model}</span>`)}</p>
  </section>`;
}
