"use strict";
// Tables that can be sorted, and contents that stay folded on small screens.
(() => {
  // A cell as what it is sorted by: a number with its unit, a time, else text. Null for none, which comes last.
  function sortKey(text) {
    text = text.trim().replace(/−/g, "-").replace(/,(?=\d{3})/g, "");
    if (text === "–" || text === "") return null;
    if (/^\d+(:\d\d)+$/.test(text)) return text.split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
    const match = /^(?:< )?([+-]?\d+(?:\.\d+)?)(?: ([kMGTPEZ])\b| [^A-Za-z]| of | to | runs?\b|$)/.exec(text);
    return match ? Number(match[1]) * 1000 ** " kMGTPEZ".indexOf(match[2] || " ") : text;
  }

  for (const table of document.querySelectorAll(".table table")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const keyed = [...body.rows].map((row) => ({ row, key: sortKey(row.cells[column].textContent) }));
        const numbers = keyed.every(({ key }) => key === null || typeof key === "number");
        const compare = (a, b) => (numbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
        keyed.sort((a, b) => (a.key === null) - (b.key === null) || (a.key === null ? 0 : compare(a.key, b.key) * (down ? -1 : 1)));
        body.append(...keyed.map(({ row }) => row));
      });
    });
  }

  if (!matchMedia("(min-width: 76rem)").matches) document.querySelector("nav details").open = false;
  document.documentElement.dataset.ready = "true";
})();
