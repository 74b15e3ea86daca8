"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  for (const button of all("button[hidden]")) button.hidden = false;

  // ---- theme: the system's, unless switched for this visit; browsers may forbid storage for local files ----
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = { get: () => null, set: () => {} };
  try {
    const storage = window.sessionStorage;
    kept.get = () => storage.getItem("theme");
    kept.set = (value) => storage.setItem("theme", value);
  } catch { /* the choice then lasts for this page */ }
  const now = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const show = () => { theme.textContent = now() === "dark" ? "Light theme" : "Dark theme"; };
  if (["dark", "light"].includes(kept.get())) root.dataset.theme = kept.get();
  theme.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    try { kept.set(root.dataset.theme); } catch { /* as above */ }
    show();
  });
  dark.addEventListener("change", show);
  show();

  // ---- digests ----
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "copied";
      } catch {
        const code = button.previousElementSibling;
        code.classList.add("open");
        getSelection().selectAllChildren(code.querySelector(".full"));
      }
    });
  }

  // ---- heat maps: each is one tab stop; arrow keys move, and skip empty cells ----
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  for (const grid of all("[role=grid]")) {
    // the bands of a map are one beside the other for the arrow keys
    const rows = [];
    for (const band of grid.tBodies) {
      all("tr:not(.head)", band).forEach((row, n) => { (rows[n] ||= []).push(...[...row.cells].slice(1)); });
    }
    const panel = grid.closest(".map").querySelector(".panel");
    const tell = (cell) => {
      for (const place of all("[data-key]", panel)) {
        place.textContent = cell.dataset[place.dataset.key] || "";
        if (place.tagName === "DD") place.parentElement.hidden = !place.textContent;
      }
    };
    const next = (from, [down, right]) => {
      let row = rows.findIndex((cells) => cells.includes(from));
      let column = rows[row].indexOf(from);
      do { row += down; column += right; } while (rows[row]?.[column]?.classList.contains("none"));
      return rows[row]?.[column];
    };
    const edge = (from, last) => {
      const cells = rows.find((row) => row.includes(from)).filter((cell) => !cell.classList.contains("none"));
      return cells.at(last ? -1 : 0);
    };
    grid.addEventListener("keydown", (event) => {
      const cell = event.target.closest("[role=gridcell]");
      if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "Enter" || event.key === " ") tell(cell);
      else if (event.key in moves) next(cell, moves[event.key])?.focus();
      else if (event.key === "Home" || event.key === "End") edge(cell, event.key === "End").focus();
      else return;
      event.preventDefault();
    });
    grid.addEventListener("focusin", (event) => {
      const cell = event.target.closest("[role=gridcell]");
      if (!cell) return;
      for (const other of all("[tabindex='0']", grid)) other.tabIndex = -1;
      cell.tabIndex = 0;
      tell(cell);
    });
    const hint = grid.closest(".map").querySelector(".sideways");
    new ResizeObserver(([{ target }]) => { hint.hidden = target.scrollWidth <= target.clientWidth; }).observe(grid.parentElement);
    // show the first failed cell from the start
    const first = grid.querySelector(".first");
    if (first) grid.parentElement.scrollLeft = first.offsetLeft - grid.parentElement.clientWidth / 2;
    grid.addEventListener("click", (event) => event.target.closest("[role=gridcell]")?.focus());
  }
  for (const button of all("[data-go=cell]")) {
    button.addEventListener("click", () => {
      const cell = (button.closest(".heat") || document).querySelector("[role=gridcell].first");
      cell.focus({ preventScroll: true });
      cell.scrollIntoView({ block: "center", inline: "center" });
    });
  }

  // ---- words of the glossary: their meaning beside them, within the window ----
  const tip = document.getElementById("tip");
  let explained = null;
  const explain = (word) => {
    const at = word?.getBoundingClientRect();
    tip.hidden = !word || at.bottom < 0 || at.top > innerHeight;
    explained = word;
    if (tip.hidden) return;
    tip.textContent = word.dataset.tip;
    word.setAttribute("aria-describedby", "tip");
    const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = at.bottom + 6;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : Math.max(at.top - tip.offsetHeight - 6, 0)}px`;
  };
  // the pointer comes first, then the word that the tabulator reached, which the browser scrolls into view afterwards
  const pointed = (event) => explain(event.target.closest?.(".term") || document.querySelector(".term:focus-visible"));
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, pointed);
  document.addEventListener("focusout", () => explain(null));
  const moved = () => explain(explained?.matches(":hover, :focus-visible") ? explained : null);
  document.addEventListener("scroll", moved, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") explain(null); });

  // ---- tables: a heading sorts, numbers from the largest at first, missing values last ----
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
      const numbers = heading.classList.contains("n");
      const before = heading.getAttribute("aria-sort");
      const up = before === "none" ? !numbers : before === "descending";
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => numbers ? row.cells[column].dataset.order : row.cells[column].textContent.trim();
      const number = (text) => Number(text.replace("inf", "Infinity"));
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = numbers ? number(a) - number(b) || 0 : a.localeCompare(b, "en", { numeric: true });
        return up ? order : -order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    }));
  }
  // ---- long lists: show the first twenty rows of any order ----
  for (const button of all("[data-more]")) {
    const table = document.getElementById(button.dataset.more);
    const closed = button.textContent;
    table.classList.add("short");
    button.addEventListener("click", () => {
      const open = !table.classList.toggle("short");
      button.setAttribute("aria-expanded", open);
      button.textContent = open ? "Show 20" : closed;
    });
  }
})();
