// What is wrong with the layout of the page, as sentences. Run in the page; returns a list.
const wrong = [];
const name = (element) => `<${element.tagName.toLowerCase()} ${element.className}> ${element.textContent.trim().slice(0, 60)}`;
const visible = (element) => element.checkVisibility({ visibilityProperty: true });

// ---- nothing is wider than the window, except what scrolls within a frame of its own ----
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) wrong.push(`page: ${document.documentElement.scrollWidth} of ${width}`);
for (const element of document.querySelectorAll("body *")) {
  const box = element.getBoundingClientRect();
  if (!visible(element) || element.closest(".scroll") || element.closest("svg") || !box.width) continue;
  if (box.left < -1 || box.right > width + 1) wrong.push(`beyond the window: ${name(element)}`);
}

// ---- no word is broken, except paths, digests and names that are longer than any column ----
const LONG = 24;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = walker.nextNode(); text; text = walker.nextNode()) {
  if (!text.parentElement || !visible(text.parentElement) || text.parentElement.closest("script, style, svg")) continue;
  for (const found of text.data.matchAll(/[^\s\-\/|…]+/g)) {
    if (found[0].length > LONG) continue;
    const range = document.createRange();
    range.setStart(text, found.index);
    range.setEnd(text, found.index + found[0].length);
    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
    if (lines.size > 1) wrong.push(`broken word: ${found[0]} in ${name(text.parentElement)}`);
  }
}

// ---- no text is wider than its own cell ----
for (const cell of document.querySelectorAll("td, th, dt, dd, .gauge > *, .strip > .what, .strip > .largest")) {
  if (!visible(cell) || cell.closest(".head")) continue;
  if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth) wrong.push(`wider than its cell: ${name(cell)}`);
}

// ---- contrast of text to what is behind it: 4.5 to 1 ----
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a] = rgba(getComputedStyle(at).backgroundColor);
    if (a > 200) return [r, g, b];
  }
  return rgba(getComputedStyle(document.documentElement).colorScheme === "dark" ? "#000" : "#fff").slice(0, 3);
};
const luminance = (colour) => {
  const [r, g, b] = colour.map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const seen = new Map();
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!own || !visible(element) || element.closest("script, style, svg")) continue;
  const key = getComputedStyle(element).color + behind(element);
  if (seen.has(key)) continue;
  seen.set(key, true);
  const [light, dark] = [luminance(rgba(getComputedStyle(element).color).slice(0, 3)), luminance(behind(element))].sort((a, b) => b - a);
  const ratio = (light + .05) / (dark + .05);
  if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${name(element)}`);
}
return wrong;
