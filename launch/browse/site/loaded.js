import { useEffect, useState } from "./preact-htm.min.js";

// Reason -> its meaning; none until it is there.
export const useReasons = (api, run) => useLoaded(() => api.reasons(), [run]).value || {};

// What `load` promises, asked again whenever `when` changes. The last answer stays until the next
// one is there; `again(ms)` asks once more.
export function useLoaded(load, when) {
  const [state, setState] = useState({ value: null, error: "", busy: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let gone = false;
    setState((now) => ({ ...now, busy: true }));
    load().then(
      (value) => !gone && setState({ value, error: "", busy: false }),
      (error) => !gone && setState({ value: null, error: error.message, busy: false }),
    );
    return () => {
      gone = true;
    };
  }, [...when, turn]);
  return { ...state, again: () => setTurn((now) => now + 1) };
}
