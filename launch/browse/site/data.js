// What the page asks for. A server answers under api/; a static copy holds the same as files
// (static.js). Both give plain data: nothing here makes markup.
import { staticRuns } from "./static.js";

async function get(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  return answered(response);
}

async function answered(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    body = null;
  }
  if (!response.ok || body === null) {
    throw new Error((body && body.error) || `The server answered ${response.status}.`);
  }
  return body;
}

function query(filters, more) {
  const params = new URLSearchParams(filters);
  for (const [name, value] of Object.entries(more)) {
    if (value !== "" && value !== undefined && value !== null) params.set(name, value);
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

const once = (load) => {
  let asked;
  return () => (asked ??= load());
};

function served(run) {
  const place = `api/${encodeURIComponent(run)}`;
  return {
    live: true,
    meta: () => get(`${place}/meta`),
    reasons: once(() => get(`${place}/reasons`)),
    glance: () => get(`${place}/glance`),
    page: (filters, text, start) => get(`${place}/page${query(filters, { text, start })}`),
    facets: (filters, text) => get(`${place}/facets${query(filters, { text })}`),
    path: (id, filters, text) => get(`${place}/path${query(filters, { text, id })}`),
    mark: async (body) =>
      answered(
        await fetch(`${place}/mark`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        }),
      ),
  };
}

// The runs that are open here: name -> what answers for it.
export async function openRuns() {
  const kept = document.documentElement.dataset.kind === "static" ? null : await fetch("api/runs").catch(() => null);
  if (kept && kept.ok) {
    const { runs } = await kept.json();
    return Object.fromEntries(runs.map((run) => [run, served(run)]));
  }
  return staticRuns();
}
