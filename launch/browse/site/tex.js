// LaTeX in texts of models, as KaTeX draws it. It builds elements, never markup, follows no link and
// loads nothing (trust: false). What it does not know stays as it was written.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./preact-htm.min.js";

const LONGEST = 5_000;
const OPTIONS = { output: "html", trust: false, strict: false, throwOnError: true, maxSize: 20, maxExpand: 300 };
// $ as pandoc reads it: no space within, no digit behind, so that "$5 and $6" is money.
const FORMULA = /\\\$|\$\$([^]+?)\$\$|\\\[([^]+?)\\\]|(\\begin\{((?:align|gather|equation|multline)\*?)\}[^]+?\\end\{\4\})|\\\(([^]+?)\\\)|\$((?!\s)(?:\\[^]|[^$\\\n])+?)(?<![\s\\])\$(?!\d)/g;

// A text with its formulas drawn.
export function Tex({ text }) {
  const parts = useMemo(() => split(text), [text]);
  return parts.map((part, at) => (typeof part === "string" ? part : html`<${Formula} key=${at} ...${part} />`));
}

export function split(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(FORMULA)) {
    const [source, dollars, brackets, environment, , parentheses, dollar] = found;
    const tex = dollars ?? brackets ?? environment ?? parentheses ?? dollar;
    if (tex === undefined || tex.length > LONGEST) continue;
    parts.push(text.slice(from, found.index), { source, tex, display: (dollars ?? brackets ?? environment) !== undefined });
    from = found.index + source.length;
  }
  return [...parts, text.slice(from)];
}

let library = null;
let loading = null;

function Formula({ source, tex, display }) {
  const [katex, setKatex] = useState(() => library);
  const place = useRef(null);
  useEffect(() => {
    if (katex) return;
    loading ??= import("./katex.min.js");
    loading.then((loaded) => setKatex((library = loaded)), () => {});
  }, []);
  useLayoutEffect(() => place.current.replaceChildren(drawn(katex, source, tex, display)), [katex, source, tex, display]);
  return html`<span ref=${place} role="math" aria-label=${tex} title=${source}></span>`;
}

function drawn(katex, source, tex, display) {
  if (!katex) return source;
  try {
    const tree = katex.domTree(tex, { ...OPTIONS, displayMode: display });
    setStyles(tree);
    return tree.toNode();
  } catch {
    return source;
  }
}

// Styles in attributes, which the page's policy refuses, are set on the elements instead.
function setStyles(node) {
  const style = node.attributes?.style;
  if (style) {
    const made = node.toNode;
    delete node.attributes.style;
    node.toNode = () => {
      const element = made.call(node);
      element.style.cssText = style;
      return element;
    };
  }
  node.children?.forEach(setStyles);
}
