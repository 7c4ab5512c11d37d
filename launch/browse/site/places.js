// The address of a view.
export function address(run, view, id, filters) {
  const query = new URLSearchParams(filters || "").toString();
  const rest = [run, view, id].filter((part) => part !== undefined && part !== "").map(encodeURIComponent);
  return `#/${rest.join("/")}${query ? `?${query}` : ""}`;
}
