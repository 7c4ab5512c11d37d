// A mark: right, or wrong with the first step that is wrong (or none) and a note.
import { html, useLayoutEffect, useRef, useState } from "./preact-htm.min.js";
import { useKeys } from "./keys.js";

export function Review({ api, page, person, most }) {
  const [marks, setMarks] = useState(page.marks);
  const [open, setOpen] = useState(false);
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const step = useRef(null);
  const note = useRef(null);
  const labelled = page.labels ? page.labels.first_error : page.agreement?.label_first_error ?? null;
  const known = Boolean(page.labels || page.agreement);
  useLayoutEffect(() => {
    if (open) step.current?.focus();
  }, [open]);
  const put = async (right, first_error, text) => {
    if (busy) return;
    setBusy(true);
    try {
      const mark = await api.mark({ path_id: page.path_id, right, first_error, note: text });
      setMarks((now) => [...now.filter((other) => other.person !== mark.person), mark]);
      setSaid(right ? "Marked right." : "Marked wrong.");
      setOpen(false);
    } catch (error) {
      setSaid(error.message);
    }
    setBusy(false);
  };
  const right = () => known && put(true, labelled, "");
  useKeys({ r: right, w: () => setOpen(true) });
  if (!page.path) return null;
  return html`<section class="review" aria-label="review">
    <div class="buttons">
      <button disabled=${busy || !known} onClick=${right} title=${known ? "" : "without labels nothing can be called right"}>Right <kbd>r</kbd></button>
      <button disabled=${busy} aria-expanded=${open} onClick=${() => setOpen((now) => !now)}>Wrong… <kbd>w</kbd></button>
      <span role="status" class="quiet">${said || (person ? `as ${person}` : "")}</span>
    </div>
    ${open && html`<form onSubmit=${(event) => {
      event.preventDefault();
      put(false, step.current.value === "none" ? null : Number(step.current.value), note.current.value);
    }}>
      <label>First wrong step <select ref=${step} name="first_error" defaultValue="none">
        <option value="none">none: every step is right</option>
        ${page.path.steps.map((_, at) => html`<option value=${at}>step ${at + 1}</option>`)}
      </select></label>
      <label class="note">Note <textarea ref=${note} name="note" rows="2" maxlength=${most}></textarea></label>
      <button disabled=${busy}>Save</button>
      <button type="button" class="plain" onClick=${() => setOpen(false)}>Cancel</button>
    </form>`}
    ${marks.length > 0 && html`<ul class="marks">${marks.map((mark) => html`<li key=${mark.person}><b>${mark.person}</b>: <span class="mark-${mark.right ? "right" : "wrong"}">${mark.right ? "right" : "wrong"}</span>, first error ${mark.first_error === null ? "none" : mark.first_error + 1}${mark.note && `: ${mark.note}`} <span class="quiet">${mark.at.slice(0, 10)}</span></li>`)}</ul>`}
  </section>`;
}
