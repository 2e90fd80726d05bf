// What the console's pages gain by a script: local times, copying, and a live overview. Every page
// is complete without it.
"use strict";

const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const day = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const formats = new Map();

// A page without times does not wait for the browser's tables of languages.
function told(moment, form) {
  if (!formats.has(form)) formats.set(form, new Intl.DateTimeFormat(document.documentElement.lang, form));
  return formats.get(form).format(moment);
}

function showLocalTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(time.dateTime);
    const isToday = moment.toDateString() === new Date().toDateString();
    time.textContent = told(moment, isToday ? clock : day);
    time.dataset.local = "";
  }
}

function letCopy(part) {
  for (const button of part.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      const label = button.textContent;
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
}

// How far the tables of a part are scrolled, by their labels; a table that is replaced stays so.
function scrolled(part) {
  const tables = [...part.querySelectorAll(".scroll")];
  return new Map(tables.map((table) => [table.getAttribute("aria-label"), table.scrollLeft]));
}

function scroll(part, before) {
  for (const table of part.querySelectorAll(".scroll")) {
    table.scrollLeft = before.get(table.getAttribute("aria-label")) || 0;
  }
}

// Somebody who is at something in a part, or marks a text in it, is not disturbed.
function isInUse(part) {
  const marked = getSelection();
  return part.contains(document.activeElement)
    || (!marked.isCollapsed && part.contains(marked.anchorNode));
}

function keepLive(part) {
  const source = new EventSource(part.dataset.live);
  source.onmessage = (event) => {
    if (isInUse(part)) return;
    const before = scrolled(part);
    part.innerHTML = event.data;
    showLocalTimes(part);
    scroll(part, before);
  };
  source.addEventListener("gone", () => { source.close(); location.reload(); });
  addEventListener("pagehide", () => source.close());
}

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
showLocalTimes(document);
letCopy(document);
for (const part of document.querySelectorAll("[data-live]")) keepLive(part);
document.documentElement.classList.add("script");
const places = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  // What comes by itself waits; what somebody asked for does not.
  if (event.detail.requestConfig.triggeringEvent === undefined && isInUse(part)) {
    event.detail.shouldSwap = false;
  }
  places.set(part, scrolled(part));
});
document.addEventListener("htmx:afterSwap", (event) => {
  showLocalTimes(event.detail.target);
  scroll(event.detail.target, places.get(event.detail.target) || new Map());
});
