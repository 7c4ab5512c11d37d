// The page: what the address says is what is shown, and every view has an address.
//   #/RUN                     a run at a glance
//   #/RUN/paths?FILTERS       a list of paths; text= searches, start= pages
//   #/RUN/path/ID?FILTERS     one path of that list
// beside=RUN puts another run beside the list or the path.
import { html, render, useEffect, useState, useRef } from "./preact-htm.min.js";
import { openRuns } from "./data.js";
import { Glance } from "./glance.js";
import { List } from "./list.js";
import { PathView } from "./path.js";
import { useKeys } from "./keys.js";
import { address } from "./places.js";

const THEMES = ["auto", "light", "dark"];

function where(runs) {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [run, view, id] = path.split("/").map(decode);
  return {
    run: run in runs ? run : Object.keys(runs)[0],
    view: view || "glance",
    id,
    query: new URLSearchParams(query || ""),
  };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function App({ runs }) {
  const [at, setAt] = useState(() => where(runs));
  const [help, setHelp] = useState(false);
  useEffect(() => {
    const moved = () => setAt(where(runs));
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, [runs]);
  const filters = new URLSearchParams(at.query);
  const beside = runs[filters.get("beside")] && filters.get("beside") !== at.run ? filters.get("beside") : null;
  if (!beside) for (const name of ["beside", "differs"]) filters.delete(name);
  const listed = new URLSearchParams(filters);
  if (at.view === "path") listed.delete("start");
  useKeys({
    "?": () => setHelp((shown) => !shown),
    g: () => (location.hash = address(at.run)),
    l: () => (location.hash = address(at.run, "paths", undefined, listed)),
    t: nextTheme,
    Escape: () => (help ? setHelp(false) : at.view === "path" && (location.hash = address(at.run, "paths", undefined, listed))),
  });
  const here = { run: at.run, runs, filters, beside };
  useEffect(() => {
    document.title = `${at.id || at.run} · stepmill`;
  }, [at.id, at.run]);
  return html`
    <${Header} here=${here} view=${at.view} onHelp=${() => setHelp(true)} />
    <main id="main" data-view=${at.view}>
      ${at.view === "paths"
        ? html`<${List} key=${at.run} ...${here} />`
        : at.view === "path"
          ? html`<${PathView} key=${at.run} ...${here} id=${at.id} />`
          : html`<${Glance} key=${at.run} ...${here} />`}
    </main>
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
  `;
}

function Header({ here, view, onHelp }) {
  const { run, runs, filters } = here;
  const [meta, setMeta] = useState(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    let timer;
    let gone = false;
    const look = async () => {
      try {
        const now = await runs[run].meta();
        if (gone) return;
        setMeta(now);
        setTrouble(now.progress?.trouble || "");
        const wait = now.progress && !now.progress.complete ? 700 : 5000;
        if (runs[run].live && !(now.progress.complete && now.progress.finished)) timer = setTimeout(look, wait);
      } catch (error) {
        if (!gone) setTrouble(error.message);
      }
    };
    look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [run]);
  const names = Object.keys(runs);
  const progress = meta?.progress;
  return html`
    <header class="top">
      <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
      <span class="mark">stepmill</span>
      ${names.length > 1
        ? html`<select aria-label="run" value=${run} onChange=${(e) => (location.hash = address(e.target.value))}>
            ${names.map((name) => html`<option value=${name}>${name}</option>`)}
          </select>`
        : html`<strong class="run">${run}</strong>`}
      <nav>
        <a href=${address(run)} aria-current=${view === "glance" ? "page" : null}>At a glance</a>
        <a href=${address(run, "paths", undefined, view === "glance" ? "" : filters)} aria-current=${view !== "glance" ? "page" : null}>Paths</a>
      </nav>
      <span class="grow"></span>
      ${progress && !progress.complete &&
      html`<span class="quiet" role="status">reading
        <progress max=${progress.of_blocks} value=${progress.blocks}></progress>
        ${progress.paths.toLocaleString("en")} paths</span>`}
      ${progress && progress.complete && !progress.finished && html`<span class="quiet" role="status">still being built</span>`}
      ${trouble && html`<span class="bad" role="alert">${trouble}</span>`}
      <button class="plain" onClick=${nextTheme} title="light, dark or as the system (t)">◐</button>
      <button class="plain" onClick=${onHelp} title="keys (?)">?</button>
    </header>
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").querySelector("a, button, input, [tabindex]")?.focus();
}

function nextTheme() {
  const now = document.documentElement.dataset.theme || "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("stepmill-theme", theme);
  } catch {
    // a browser that keeps nothing
  }
}

const KEYS = [
  ["j, k", "next, previous: row of a list, path on its page"],
  ["Enter", "open the row"],
  ["n, p", "next, previous page of a list"],
  ["/", "search in texts"],
  ["f", "filters"],
  ["g, l", "at a glance, the list"],
  ["r, w", "mark the path right, or wrong"],
  ["o", "open or close all parts of a path"],
  ["t", "light or dark"],
  ["Esc", "back"],
];

function Help({ onClose }) {
  const box = useRef(null);
  useEffect(() => box.current.focus(), []);
  return html`
    <div class="shade" onClick=${onClose}>
      <section class="help" role="dialog" aria-label="keys" tabindex="-1" ref=${box} onClick=${(e) => e.stopPropagation()}>
        <h2>Keys</h2>
        <dl>${KEYS.map(([key, does]) => html`<dt><kbd>${key}</kbd></dt><dd>${does}</dd>`)}</dl>
        <button onClick=${onClose}>Close</button>
      </section>
    </div>
  `;
}

async function start() {
  const place = document.getElementById("app");
  try {
    setTheme(localStorage.getItem("stepmill-theme") || "auto");
  } catch {
    setTheme("auto");
  }
  try {
    const runs = await openRuns();
    place.replaceChildren();
    render(html`<${App} runs=${runs} />`, place);
  } catch (error) {
    place.textContent = `The run can't be shown: ${error.message}`;
  }
}

start();
