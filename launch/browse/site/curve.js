// MC of every state with its interval, and the steps between as right or wrong.
import { html } from "./preact-htm.min.js";

export function Curve({ states, labels, proved }) {
  const [width, height, left, bottom] = [720, 170, 34, 26];
  const last = Math.max(1, states.length - 1);
  const x = (state) => left + 8 + ((width - left - 20) * state) / last;
  const y = (value) => 8 + (height - bottom - 14) * (1 - value);
  const known = states.filter((state) => state.mc !== null || state.n > 0);
  const share = (state) => (state.mc !== null ? state.mc : state.c / state.n);
  const other = (proved || []).filter((state) => state.n > 0);
  return html`<svg class="curve" viewBox="0 0 ${width} ${height}" role="img" aria-label=${`MC of states: ${known.map((state) => share(state).toFixed(2)).join(", ")}`}>
    ${[0, 0.25, 0.5, 0.75, 1].map((at) => html`<line class="grid" x1=${left} x2=${width - 6} y1=${y(at)} y2=${y(at)} /><text x=${left - 6} y=${y(at) + 3.5} text-anchor="end">${at}</text>`)}
    ${(labels?.labels || []).map((right, step) => html`<rect x=${x(step) + 3} width=${Math.max(2, x(step + 1) - x(step) - 6)} y=${height - bottom + 4} height="4" class=${right ? "right" : "wrong"} /><text x=${(x(step) + x(step + 1)) / 2} y=${height - 4} text-anchor="middle">${step + 1}</text>`)}
    ${known.map((state) => state.low !== null && html`<line class="whisker" x1=${x(state.state)} x2=${x(state.state)} y1=${y(state.low)} y2=${y(state.high)} />`)}
    <polyline points=${known.map((state) => `${x(state.state)},${y(share(state))}`).join(" ")} />
    ${other.length > 1 && html`<polyline class="prover" points=${other.map((state) => `${x(state.state)},${y(state.c / state.n)}`).join(" ")} />`}
    ${known.filter(smoothed).map((state) => html`<path class="counted" d=${`M${x(state.state) - 4},${y(state.c / state.n) - 4}l8,8m0,-8l-8,8`}><title>${tip(state)}</title></path>`)}
    ${known.map((state) => html`<circle cx=${x(state.state)} cy=${y(share(state))} r="4" class=${state.n ? "" : "implied"}><title>${tip(state)}</title></circle>`)}
  </svg>
  <p class="quiet">Points: MC as the labels read it; hollow where it was implied or graded. Lines: Wilson's 95 % interval of the rollouts.${known.some(smoothed) ? " Crosses: the share that was counted, where the labels read a smoothed one." : ""}${other.length > 1 ? " Dashed: the prover." : ""}</p>`;
}

const smoothed = (state) => state.mc !== null && state.n > 0 && Math.abs(state.mc - state.c / state.n) > 5e-4;

function tip(state) {
  const counted = state.n ? `${state.c} of ${state.n} rollouts right (${(state.c / state.n).toFixed(3)})` : "no rollouts";
  const read = state.mc === null ? "" : `, MC ${Number(state.mc.toFixed(3))}`;
  return `state ${state.state}: ${counted}${read}`;
}
