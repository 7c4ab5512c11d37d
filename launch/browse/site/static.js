// A static copy: the index as columns, figures and paths as files. Filters are those of
// workflows/browsing/filters.py, over the same columns.
const NO_ERROR = -1;
const UNSET = "-";

async function read(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} is missing from this copy (${response.status}).`);
  return response.json();
}

export async function staticRuns() {
  const { runs } = await read("data/runs.json");
  const all = {};
  for (const { name, folder } of runs) all[name] = copied(`data/${folder}`, all);
  return all;
}

function copied(folder, all) {
  const once = {};
  const meta = () => (once.meta ??= read(`${folder}/meta.json`));
  const alone = () => (once.columns ??= readColumns(folder, meta));
  const pairs = cached(2, async (name) => withBeside(await alone(), await all[name].columns()));
  const columns = (filters) => (filters?.get("beside") ? pairs(filters.get("beside")) : alone());
  const shard = cached(24, (number) => read(`${folder}/paths/${number}.json`));
  const lists = cached(8, async (key) => {
    const [filters, text] = JSON.parse(key);
    const asked = new URLSearchParams(filters);
    const of = await columns(asked);
    const fields = (await meta()).fields;
    asked.delete("beside");
    const numbers = narrowed(of, fields, asked);
    return text ? search(of, numbers, text, shard) : { numbers, searched: 0, of_shards: 0, done: true };
  });
  const list = (filters, text) => lists(JSON.stringify([new URLSearchParams(filters).toString(), text || ""]));
  return {
    live: false,
    columns: alone,
    meta,
    reasons: () => (once.reasons ??= read(`${folder}/reasons.json`)),
    glance: () => (once.glance ??= read(`${folder}/glance.json`)),
    page: async (filters, text, start) => {
      const [found, of, { page_rows }] = await Promise.all([list(filters, text), columns(filters), meta()]);
      const rows = found.numbers.slice(start, start + page_rows).map((number) => row(of, number));
      return { ...found, numbers: undefined, total: found.numbers.length, start, rows, trouble: "" };
    },
    facets: async (filters, text) => {
      const of = await columns(filters);
      const { fields } = await meta();
      const facets = {};
      for (const field of fields.filter((field) => field.kind === "choice" && (field.name !== "differs" || filters.get("beside")))) {
        const others = new URLSearchParams(filters);
        others.delete(field.name);
        const found = await list(text ? filters : others, text);
        const counts = new Map();
        for (const number of found.numbers) {
          const value = shown(field.name, of.value(field.name, number));
          counts.set(value, (counts.get(value) || 0) + 1);
        }
        facets[field.name] = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 60);
      }
      return facets;
    },
    path: async (id, filters, text) => {
      const of = await columns(filters);
      const number = of.number(id);
      if (number === undefined) throw new Error(`This copy has no path ${id}.`);
      const page = (await shard(of.value("shard", number))).find((path) => path.path_id === id);
      const { numbers } = await list(filters, text);
      const at = numbers.findIndex((other) => other >= number);
      const place = at < 0 ? numbers.length : at;
      const listed = numbers[place] === number;
      const name = (other) => (other === undefined ? null : of.value("path_id", other));
      return {
        ...page,
        row: row(of, number),
        place: {
          number: listed ? place + 1 : null,
          total: numbers.length,
          before: name(numbers[place - 1]),
          after: name(numbers[listed ? place + 1 : place]),
        },
      };
    },
    mark: () => Promise.reject(new Error("A static copy takes no marks: stepmill browse does.")),
  };
}

function cached(most, make) {
  const held = new Map();
  return (key) => {
    if (!held.has(key)) {
      const made = make(key);
      made.catch?.(() => held.delete(key));
      held.set(key, made);
      if (held.size > most) held.delete(held.keys().next().value);
    }
    return held.get(key);
  };
}

// Columns come in blocks; a column of few values is a list of numbers and the values they stand for.
async function readColumns(folder, meta) {
  const { blocks } = await meta();
  const parts = await Promise.all([...Array(blocks).keys()].map((n) => read(`${folder}/index/${n}.json`)));
  const starts = [];
  let rows = 0;
  for (const part of parts) {
    starts.push(rows);
    rows += part.rows;
  }
  const blockOf = (number) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= number) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const value = (name, number) => {
    const block = blockOf(number);
    const column = parts[block].columns[name];
    const at = number - starts[block];
    return Array.isArray(column) ? column[at] : column.values[column.codes[at]];
  };
  let numbers = null;
  return {
    rows,
    names: parts.length ? Object.keys(parts[0].columns) : [],
    value,
    number: (id) => {
      if (!numbers) {
        numbers = new Map();
        for (let n = 0; n < rows; n++) numbers.set(value("path_id", n), n);
      }
      return numbers.get(id);
    },
  };
}

// The columns of a run with those of another beside them, as workflows/browsing/beside.py joins them.
function withBeside(of, other) {
  const shown = ["state", "stage", "reason", "first_error", "judge_first_error"];
  const at = (number) => other.number(of.value("path_id", number));
  const theirs = (name, number) => (at(number) === undefined ? null : other.value(name, at(number)));
  const differ = (number, ...names) => names.some((name) => of.value(name, number) !== theirs(name, number));
  const differs = (number) =>
    at(number) === undefined ? "absent"
      : differ(number, "steps", "length") ? "solution"
        : differ(number, "first_error") ? "labels"
          : differ(number, "judge_first_error") ? "judge"
            : differ(number, "state", "stage", "reason") ? "fate" : "same";
  return {
    ...of,
    names: [...of.names, "differs", ...shown.map((name) => `beside_${name}`)],
    value: (name, number) =>
      name === "differs" ? differs(number) : name.startsWith("beside_") ? theirs(name.slice(7), number) : of.value(name, number),
  };
}

function row(of, number) {
  return Object.fromEntries(of.names.map((name) => [name, of.value(name, number)]));
}

function shown(name, value) {
  if (value === null || value === undefined) return UNSET;
  if (name === "first_error" || name === "judge_first_error") return value === NO_ERROR ? "none" : String(value + 1);
  if (name === "correct") return value ? "yes" : "no";
  return value;
}

function narrowed(of, fields, filters) {
  const tests = [];
  for (const name of new Set(filters.keys())) {
    const field = fields.find((field) => field.name === name);
    if (!field) throw new Error(`No filter ${name}.`);
    const wanted = filters.getAll(name);
    if (field.kind === "choice") tests.push((n) => wanted.includes(shown(name, of.value(name, n))));
    else if (field.kind === "contains") tests.push((n) => wanted.some((part) => of.value(name, n).includes(part)));
    else {
      const ranges = wanted.map(range);
      tests.push((n) => {
        const value = of.value(name, n);
        return value !== null && ranges.some(([low, high]) => value >= low && value <= high);
      });
    }
  }
  const numbers = [];
  for (let n = 0; n < of.rows; n++) if (tests.every((test) => test(n))) numbers.push(n);
  return numbers;
}

function range(text) {
  const match = /^\s*(\d*\.?\d*)(-)?(\d*\.?\d*)\s*$/.exec(text);
  if (!match || (!match[1] && !match[3])) throw new Error(`${text}: write a number or a range, 4, 4-8 or 4-.`);
  const low = match[1] ? Number(match[1]) : -Infinity;
  return match[2] ? [low, match[3] ? Number(match[3]) : Infinity] : [low, low];
}

function search(of, numbers, text, shard) {
  const shards = [...new Set(numbers.map((number) => of.value("shard", number)))];
  const wanted = new Set(numbers);
  const found = { numbers: [], searched: 0, of_shards: shards.length, done: false };
  const low = text.toLowerCase();
  (async () => {
    for (const number of shards) {
      for (const path of await shard(number)) {
        const texts = [path.problem?.problem, path.path?.text];
        for (const written of [...path.rationales, ...path.judgements]) texts.push(written.text);
        for (const repair of path.repairs) texts.push(repair.wrong, repair.replacement);
        const at = of.number(path.path_id);
        if (wanted.has(at) && texts.some((part) => part?.toLowerCase().includes(low))) found.numbers.push(at);
      }
      found.searched += 1;
    }
    found.done = true;
  })();
  return found;
}
