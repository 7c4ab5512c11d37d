// One path, whole; beside it the same path of another run.
import { html, useEffect, useRef, useState } from "./preact-htm.min.js";
import { useKeys } from "./keys.js";
import { useLoaded, useReasons } from "./loaded.js";
import { address, withBeside } from "./places.js";
import { Beside, count, plain, State, Trouble } from "./parts.js";
import { Review } from "./review.js";
import { Curve } from "./curve.js";
import { Tex } from "./tex.js";

export function PathView({ run, runs, filters, beside, id }) {
  const api = runs[run];
  const text = filters.get("text") || "";
  const only = new URLSearchParams(filters);
  for (const name of ["text", "start"]) only.delete(name);
  const loaded = useLoaded(() => api.path(id, only, text), [run, id, filters.toString()]);
  const meta = useLoaded(() => api.meta(), [run]);
  const reasons = useReasons(api, run);
  const page = loaded.value?.path_id === id ? loaded.value : null;
  const whole = useRef(null);
  const place = page?.place;
  const to = (other) => address(run, "path", other, filters);
  // Keys that are pressed before the next path is there count once it is.
  const waiting = useRef([]);
  const left = useRef(null);
  const go = (way) => {
    if (!place || left.current === id) waiting.current.push(way);
    else if (place[way]) {
      left.current = id;
      location.hash = to(place[way]);
    }
  };
  useEffect(() => scrollTo(0, 0), [id]);
  useEffect(() => {
    if (!place || left.current === id) return; // a key that was pressed sooner has left it
    left.current = null;
    if (waiting.current.length) go(waiting.current.shift());
  }, [place]);
  useKeys({
    j: () => go("after"),
    k: () => go("before"),
    ArrowRight: () => go("after"),
    ArrowLeft: () => go("before"),
    o: () => {
      const parts = [...whole.current.querySelectorAll("details")];
      const close = parts.every((part) => part.open);
      parts.forEach((part) => (part.open = !close));
    },
  });
  return html`<div class="path" ref=${whole}>
    <nav class="where" aria-label="place in the list">
      <a href=${address(run, "paths", undefined, filters)}>← list</a>
      <span class="grow"></span>
      <${Beside} runs=${runs} run=${run} beside=${beside} onChoose=${(name) => (location.hash = address(run, "path", id, withBeside(filters, name)))} />
      ${place && html`<span class="quiet">${place.number ? `${count(place.number)} of ${count(place.total)}` : "not in this list"}</span>
        <a class="step-to ${place.before ? "" : "off"}" href=${place.before ? to(place.before) : null} rel="prev">← <kbd>k</kbd></a>
        <a class="step-to ${place.after ? "" : "off"}" href=${place.after ? to(place.after) : null} rel="next"><kbd>j</kbd> →</a>`}
    </nav>
    <${Trouble} error=${loaded.error} />
    ${!page && !loaded.error && html`<p class="quiet">Reading ${id}…</p>`}
    ${page && html`<div class=${beside && runs[beside] ? "beside" : ""}>
      <${Whole} page=${page} reasons=${reasons} named=${Boolean(beside)} review=${api.live
        ? html`<${Review} key=${`${run} ${id}`} api=${api} page=${page} person=${meta.value?.person} most=${meta.value?.most_note} />`
        : html`<${Marks} marks=${page.marks} />`} />
      ${beside && runs[beside] && html`<${Other} key=${beside} api=${runs[beside]} run=${beside} id=${id} reasons=${reasons} />`}
    </div>`}
  </div>`;
}

function Other({ api, run, id, reasons }) {
  const loaded = useLoaded(() => api.path(id, new URLSearchParams(), ""), [run, id]);
  if (loaded.error) return html`<article class="whole"><h1>${run}</h1><${Trouble} error=${loaded.error} /></article>`;
  if (!loaded.value || loaded.value.path_id !== id) return html`<article class="whole"><p class="quiet">Reading ${run}…</p></article>`;
  return html`<${Whole} page=${loaded.value} reasons=${reasons} named review=${html`<${Marks} marks=${loaded.value.marks} />`} />`;
}

function Whole({ page, reasons, named, review }) {
  const { path, problem, labels, example } = page;
  return html`<article class="whole">
    <header>
      ${named && html`<p class="run-name">${page.run}</p>`}
      <h1>${page.path_id}</h1>
      <p class="fate">
        <${State} state=${page.row?.state || (page.reason ? "dropped" : page.finished ? "kept" : "open")} />
        ${page.reason ? html` at <b>${page.stage}</b>: <b>${plain(page.reason)}</b>${page.detail && html` <span class="quiet">(${page.detail})</span>`}` : html` ${page.finished ? "came through every stage" : `has come through ${page.stage}`}`}
      </p>
      ${page.reason && reasons[page.reason] && html`<p class="quiet meaning">${reasons[page.reason]}</p>`}
    </header>
    ${review}
    <${Problem} problem=${problem} path=${path} />
    ${page.states.length > 0 && html`<section><h2>Chance of a right answer</h2><${Curve} states=${page.states} labels=${labels} proved=${page.proved} /></section>`}
    ${path && html`<section><h2>Steps</h2><${Steps} page=${page} /></section>`}
    <${Votes} page=${page} />
    ${page.rationales.map((written) => html`<${Written} key=${written.attempt} written=${written} />`)}
    ${page.judgements.map((judged, at) => html`<${Judged} key=${at} judged=${judged} />`)}
    ${page.repairs.map((repair, at) => html`<details key=${at}><summary>Repair of step ${repair.step + 1}${repair.n > 0 ? `: ${repair.c} of ${repair.n} continuations right` : ""}</summary><h4>instead of</h4><p class="prose"><${Tex} text=${repair.wrong} /></p><h4>this</h4><p class="prose"><${Tex} text=${repair.replacement} /></p></details>`)}
    ${path && html`<details><summary>The solution as it was written</summary><pre class="prose">${path.text}</pre></details>`}
    ${example && html`<details><summary>The training conversation</summary>${example.conversations.map((turn, at) => html`<div key=${at} class="turn"><span class="role">${turn.role}</span><pre class="prose">${turn.content}</pre></div>`)}</details>`}
    <${Seeds} page=${page} />
    ${Object.entries(page.others).map(([stage, rows]) => html`<details key=${stage}><summary>${stage}</summary><pre>${JSON.stringify(rows, null, 2)}</pre></details>`)}
  </article>`;
}

function Problem({ problem, path }) {
  if (!problem) return null;
  const facts = [problem.level && `level ${problem.level}`, problem.subject, problem.source].filter(Boolean).join(" · ");
  return html`<section>
    <h2>Problem</h2>
    <p class="prose problem"><${Tex} text=${problem.problem} /></p>
    <dl class="facts">
      <dt>Reference</dt><dd><code>${problem.answer}</code></dd>
      ${path && html`<dt>Its answer</dt><dd><code class=${path.correct ? "right" : "wrong"}>${path.answer ?? "none"}</code> ${path.correct ? "right" : "wrong"}${path.finish_reason !== "stop" && html` <span class="quiet">(ended by ${path.finish_reason})</span>`}</dd>`}
      ${facts && html`<dt>From</dt><dd>${facts}</dd>`}
    </dl>
    ${problem.reference_solution && html`<details><summary>Reference solution</summary><p class="prose"><${Tex} text=${problem.reference_solution} /></p></details>`}
  </section>`;
}

function Steps({ page }) {
  const { path, labels, states, reasons, agreement, notes } = page;
  const written = page.rationales.find((of) => of.dropped === null);
  return html`${states[0]?.n > 0 && html`<${Answers} state=${states[0]} when="From the problem alone" />`}<ol class="steps">
    ${path.steps.map((text, step) => {
      const right = labels?.labels?.[step];
      const after = states[step + 1];
      const runs = (written?.executions || []).filter((run) => run.step === step);
      return html`<li key=${step} class=${right === undefined ? "" : right ? "right" : "wrong"} id=${`step-${step + 1}`}>
        <div class="head">
          <span class="number">${step + 1}</span>
          ${right !== undefined && html`<span class="label">${right ? "✓ right" : "✗ wrong"}</span>`}
          ${(notes?.[step] || []).map((note) => html`<span key=${note} class="judge">${note}</span>`)}
          ${reasons[step] && html`<span class="quiet">${reasons[step]}</span>`}
          ${agreement?.judge_first_error === step && html`<span class="judge">the judge's first error</span>`}
        </div>
        <p class="prose"><${Tex} text=${text} /></p>
        ${after && after.n > 0 && html`<${Answers} state=${after} />`}
        ${written?.analyses?.[step] && html`<details open><summary>Analysis</summary><p class="prose"><${Tex} text=${written.analyses[step]} /></p></details>`}
        ${written?.verifications?.[step] && html`<details open><summary>Verification by code ${runs.map((run) => html`<span class="verdict ${run.verdict}">${run.verdict} ${run.wall_s.toFixed(2)} s</span>`)}</summary><${Fenced} text=${written.verifications[step]} /></details>`}
      </li>`;
    })}
  </ol>`;
}

// Text with fenced blocks, which are shown as code.
function Fenced({ text }) {
  const parts = text.split(/^[ \t]*```[^\n]*\n?/m);
  return parts.map((part, at) => (at % 2 ? html`<pre class="code">${part.replace(/\n$/, "")}</pre>` : part.trim() && html`<p class="prose"><${Tex} text=${part.trim()} /></p>`));
}

function Answers({ state, when = "After it" }) {
  return html`<details class="answers"><summary>${when} ${state.c} of ${state.n} rollouts are right</summary>
    <ul>${state.answers.map((of) => html`<li><code class=${of.correct ? "right" : "wrong"}>${of.answer ?? "no answer"}</code> × ${of.count}</li>`)}</ul>
    ${state.truncated > 0 && html`<p class="quiet">${state.truncated} were cut at the token limit.</p>`}
  </details>`;
}

function Votes({ page }) {
  const { agreement } = page;
  const votes = page.rationales.find((of) => of.dropped === null)?.votes || [];
  const named = (vote) => (vote === null ? "unreadable" : vote < 0 ? "none" : `step ${vote + 1}`);
  if (!agreement && !votes.length) return null;
  return html`<section><h2>Verdict</h2><dl class="facts">
    ${agreement && html`<dt>Labels</dt><dd>first error ${agreement.label_first_error === null ? "none" : agreement.label_first_error + 1}</dd>
      <dt>Judge</dt><dd>first error ${agreement.judge_first_error === null ? (agreement.reason?.startsWith("judge_") ? "unreadable" : "none") : agreement.judge_first_error + 1}</dd>
      <dt>Rule</dt><dd>${plain(agreement.rule)} → ${agreement.kept ? "kept" : plain(agreement.reason || "not kept")}</dd>`}
    ${votes.length > 0 && html`<dt>Votes</dt><dd>${votes.map(named).join(", ")}</dd>`}
  </dl></section>`;
}

function Written({ written }) {
  const title = written.dropped ? `Rationale, try ${written.attempt + 1}, dropped: ${plain(written.dropped)}` : `The rationale as it was written${written.attempt ? ` (try ${written.attempt + 1})` : ""}`;
  return html`<details><summary>${title}</summary>
    <p class="quiet">${written.model}, seed ${written.seed}, ${count(written.tokens)} tokens, ${written.code_rounds} runs of code, ended by ${written.finish_reason}${written.reading ? `, read ${written.reading}` : ""}</p>
    <pre class="prose">${written.text}</pre></details>`;
}

function Judged({ judged }) {
  const said = judged.index === null ? "names no step" : judged.index < 0 ? "no step is wrong" : `step ${judged.index + 1} is wrong`;
  return html`<details><summary>Judge: ${judged.prompt}, sees ${plain(judged.sees)}, ${judged.round} ${judged.number + 1}: ${said}</summary>
    <p class="quiet">${judged.model}, seed ${judged.seed}, ${count(judged.tokens)} tokens${judged.steps ? `, of the first ${judged.steps} steps` : ""}</p>${judged.thought && html`<details><summary>Thoughts</summary><pre class="prose">${judged.thought}</pre></details>`}<pre class="prose">${judged.text}</pre></details>`;
}

function Seeds({ page }) {
  const rows = page.path ? [["solution", page.path.seed, page.path.tokens, ""]] : [];
  for (const state of page.states) if (state.seeds.length) rows.push([`rollouts of state ${state.state}${state.shared ? " (shared)" : ""}`, state.seeds.join(", "), state.tokens, `${state.model}, ${state.rules.join(", ")}`]);
  for (const of of page.rationales) rows.push([`rationale, try ${of.attempt + 1}`, of.seed, of.tokens, of.model]);
  for (const of of page.judgements) rows.push([`judge, ${of.prompt} ${of.number + 1}`, of.seed, of.tokens, of.model]);
  return html`<details><summary>Seeds and tokens</summary><table class="seeds">
    <thead><tr><th>what</th><th class="n">seed</th><th class="n">tokens</th><th>model</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr><td>${row[0]}</td><td class="n">${row[1]}</td><td class="n">${count(row[2])}</td><td>${row[3]}</td></tr>`)}</tbody>
  </table></details>`;
}

function Marks({ marks }) {
  if (!marks?.length) return null;
  return html`<ul class="marks">${marks.map((mark) => html`<li><b>${mark.person}</b>: <span class="mark-${mark.right ? "right" : "wrong"}">${mark.right ? "right" : "wrong"}</span>, first error ${mark.first_error === null ? "none" : mark.first_error + 1}${mark.note && `: ${mark.note}`}</li>`)}</ul>`;
}
