// Filters with another run beside the list, or none; what was asked of two runs goes with it.
export function withBeside(filters, name) {
  const next = new URLSearchParams(filters);
  for (const of of ["beside", "differs", "start"]) next.delete(of);
  if (name) next.set("beside", name);
  return next;
}

// The address of a view.
export function address(run, view, id, filters) {
  const query = new URLSearchParams(filters || "").toString();
  const rest = [run, view, id].filter((part) => part !== undefined && part !== "").map(encodeURIComponent);
  return `#/${rest.join("/")}${query ? `?${query}` : ""}`;
}
