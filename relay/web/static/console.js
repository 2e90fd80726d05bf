// What the console's pages gain by a script: local times, copying, and a live overview. Every page
// is complete without it.
"use strict";

const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const day = { year: "numeric", month: "short", day: "numeric" };
const language = document.documentElement.lang;
const localClock = new Intl.DateTimeFormat(language, clock);
const localMoment = new Intl.DateTimeFormat(language, { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function showLocalTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(time.dateTime);
    const isToday = moment.toDateString() === new Date().toDateString();
    time.textContent = (isToday ? localClock : localMoment).format(moment);
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

function keepLive(part) {
  const source = new EventSource(part.dataset.live);
  source.onmessage = (event) => {
    // Somebody who is at a link or marks a text in there is not disturbed.
    if (part.contains(document.activeElement) && document.activeElement.tagName === "A") return;
    part.innerHTML = event.data;
    showLocalTimes(part);
  };
  source.addEventListener("gone", () => { source.close(); location.reload(); });
  addEventListener("pagehide", () => source.close());
}

showLocalTimes(document);
letCopy(document);
for (const part of document.querySelectorAll("[data-live]")) keepLive(part);
document.documentElement.classList.add("script");
document.addEventListener("htmx:afterSwap", (event) => showLocalTimes(event.target));
