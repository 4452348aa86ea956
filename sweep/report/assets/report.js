"use strict";
// Sorting: the header's button; a second press turns the order round. Rows without a value stay last.
const valueOf = (row, index) => {
  const cell = row.cells[index];
  const raw = cell.dataset.v ?? cell.textContent.trim();
  return raw === "–" || raw === "" ? null : isNaN(raw) ? raw : Number(raw);
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
for (const table of document.querySelectorAll("table")) {
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [valueOf(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : up ? compare(a, b) : compare(b, a)));
      body.append(...rows.map(([, row]) => row));
    });
  }
}
// Filters: what belongs to another task, pruner or seed is hidden; what belongs to none stays.
const form = document.getElementById("filters");
const said = document.getElementById("said");
const filter = () => {
  const chosen = Object.fromEntries(new FormData(form));
  for (const element of document.querySelectorAll("[data-task], [data-pruner], [data-seed]")) {
    const off = Object.keys(chosen).some(
      (name) => chosen[name] && element.dataset[name] !== undefined && element.dataset[name] !== chosen[name]
        && !(name === "pruner" && element.dataset[name] === "dense"));
    element.toggleAttribute(element.ownerSVGElement ? "data-off" : "hidden", off);
  }
  const parts = Object.entries(chosen).filter(([, value]) => value).map(([name, value]) => `${name} ${value}`);
  said.textContent = parts.length === 0 ? ""
    : `Shown: ${parts.join(", ")}.` + (chosen.seed ? " Means and intervals stay those of all seeds; runs and curves are of this one." : "");
};
form.addEventListener("change", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
filter();
// The rows that are shown, as a file.
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
for (const button of document.querySelectorAll("button.csv")) {
  button.addEventListener("click", () => {
    const table = button.parentElement.previousElementSibling.querySelector("table");
    const lines = [...table.rows].filter((row) => !row.hidden)
      .map((row) => [...row.cells].filter((cell) => !cell.hidden).map((cell) => quoted(cell.textContent.trim())).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = `${button.dataset.table}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
