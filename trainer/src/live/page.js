// Fetches the state every two seconds while the page is visible, and shows it. Nothing is fetched from other servers.
"use strict";

const PERIOD = 2000;
const element = (id) => document.getElementById(id);
const settings = { seen: null, paused: false, sheets: [], followed: true };

async function update() {
  if (!settings.paused && !document.hidden) {
    try {
      const query = settings.seen === null ? "" : `?seen=${settings.seen}`;
      const response = await fetch(`state${query}`, { signal: AbortSignal.timeout(10000) });
      if (response.status === 200) show(await response.json());
      else if (response.status !== 204) throw new Error(response.statusText);
      say("");
    } catch {
      // A restarted training counts revisions from zero again.
      settings.seen = null;
      say("No response: the training has finished or was stopped. This is its last known state.");
    }
  }
  setTimeout(update, PERIOD);
}

// Written only if it has changed, so that screen readers read it once.
function say(text) {
  if (element("contact").textContent !== text) element("contact").textContent = text;
}

function show(state) {
  settings.seen = state.revision;
  element("name").textContent = state.name;
  element("note").textContent = state.note ?? "";
  element("note").hidden = state.note === null;
  if (state.steps !== null) showCourse(state);
  // The server draws the curves; their names come from its own table.
  element("curves").innerHTML = state.curves;
  element("empty").hidden = state.curves !== "";
  element("figures").hidden = state.latest === null;
  if (state.latest !== null) showLatest(state);
  showSheets(state.sheets);
}

function showCourse(state) {
  const done = Math.floor((100 * state.step) / state.steps);
  document.title = `${done} % ${state.name}`;
  element("progress").max = state.steps;
  element("progress").value = state.step;
  const words = [`Step ${state.step} of ${state.steps}, on ${state.photos} photos.`];
  if (state.photos_per_second !== null) words.push(`${Number(state.photos_per_second.toPrecision(2))} photos per second.`);
  if (state.step === state.steps) words.push("Done.");
  else if (state.seconds_left !== null) words.push(`${duration(state.seconds_left)} left.`);
  element("course").textContent = words.join(" ");
}

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.ceil(seconds)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

function showLatest(state) {
  element("latest").replaceChildren(...state.latest.map(([name, value]) => {
    const row = document.createElement("tr");
    const [head, cell] = [document.createElement("th"), document.createElement("td")];
    head.scope = "row";
    head.textContent = name;
    cell.textContent = value === null ? "not finite" : value.toPrecision(4);
    row.append(head, cell);
    return row;
  }));
}

// Shows the newest sheet, unless an earlier one is chosen.
function showSheets(sheets) {
  settings.sheets = sheets;
  element("photos").hidden = sheets.length === 0;
  if (sheets.length === 0) return;
  const choice = element("choice");
  choice.max = sheets.length - 1;
  choice.disabled = sheets.length === 1;
  if (settings.followed || Number(choice.value) > sheets.length - 1) choice.value = sheets.length - 1;
  showSheet();
}

function showSheet() {
  const step = settings.sheets[Number(element("choice").value)];
  if (element("sheet").dataset.step === String(step)) return;
  element("sheet").dataset.step = step;
  element("sheet").src = `sheets/${step}`;
  element("sheet").alt = `Top row: the photos; bottom row: the results after ${step} steps`;
  element("sheet-step").textContent = step;
  element("choice").setAttribute("aria-valuetext", `after ${step} steps`);
}

element("choice").addEventListener("input", () => {
  settings.followed = Number(element("choice").value) === settings.sheets.length - 1;
  showSheet();
});
element("pause").addEventListener("click", () => {
  settings.paused = !settings.paused;
  element("pause").setAttribute("aria-pressed", settings.paused);
});
update();
