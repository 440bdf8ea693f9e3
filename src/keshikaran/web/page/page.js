// The page: puts the parts together and hears what people do.

import { showCard, tagline } from "./card.js";
import { csvOf, printable } from "./inert.js";
import { dropped, named, pasted } from "./intake.js";
import { Queue } from "./queue.js";
import { make, Row, shape, VERDICTS } from "./row.js";
import { Server } from "./server.js";

const REFRESH_MS = 150;
const SPEAK_MS = 5000;

const at = (id) => document.getElementById(id);
const maxBytes = Number(document.documentElement.dataset.maxBytes) || Infinity;
const server = new Server();
const entries = [];
const filters = new Map();
let model = null;
let refreshing = null;
let spoken = 0;
let runTotal = 0;
let pastes = 0;

const queue = new Queue((entry, signal) => server.judge(entry.file, maxBytes, signal), {
  started: (entry) => entry.row.waiting("Being judged"),
  judged: onJudged,
  failed: (entry, error) => {
    entry.failed = true;
    entry.prediction = notJudged(entry, error);
    entry.row.failed(error.message);
    refreshSoon();
  },
  unauthorized: (entry) => { entry.row.waiting("Waiting for a token"); askForToken(); },
  paused: (ms) => { at("progress-words").textContent = `The server is busy; on in ${Math.ceil(ms / 1000)} s`; },
});

function onJudged(entry, prediction) {
  entry.failed = false;
  entry.prediction = { ...prediction, path: entry.name };
  entry.row.judged(entry.file, entry.prediction, model?.thresholds);
  if (prediction.model_id && model && prediction.model_id !== model.model_id) loadModel();
  refreshSoon();
}

/** What could not be judged has not passed; the files that people download say so too. */
function notJudged(entry, error) {
  const reason = `${error.code}: ${error.message}`;
  return { path: entry.name, image_id: null, score: null, verdict: "undecided", reason, model_id: null };
}

function add(found) {
  if (!found.length) return;
  const fresh = found.map(({ file, name }) => ({ file, name, row: new Row(name), prediction: null, failed: false }));
  entries.push(...fresh);
  at("list").append(...fresh.map((entry) => entry.row.element));
  enqueue(fresh);
}

function enqueue(some) {
  if (!queue.left) runTotal = 0;
  runTotal += some.length;
  for (const entry of some) entry.prediction = null;
  queue.add(some);
  refresh();
}

// What is shown of all results together

function refreshSoon() {
  refreshing ??= setTimeout(refresh, REFRESH_MS);
}

function refresh() {
  clearTimeout(refreshing);
  refreshing = null;
  const counts = countVerdicts();
  at("results").hidden = !entries.length;
  for (const [verdict, { button, count }] of filters) {
    count.textContent = verdict === "all" ? entries.length : counts[verdict];
    button.hidden = verdict !== "all" && !counts[verdict] && button.ariaPressed !== "true";
  }
  at("again").hidden = Boolean(queue.left) || !entries.some((entry) => entry.failed);
  for (const id of ["save-csv", "save-json"]) at(id).disabled = !entries.some((entry) => entry.prediction);
  showProgress(counts);
}

function countVerdicts() {
  const counts = Object.fromEntries(Object.keys(VERDICTS).map((verdict) => [verdict, 0]));
  for (const { prediction } of entries) if (prediction) counts[prediction.verdict] += 1;
  return counts;
}

function showProgress(counts) {
  const running = queue.left > 0;
  const wasRunning = !at("running").hidden;
  const done = runTotal - queue.left;
  at("running").hidden = !running;
  if (running) {
    at("progress").max = runTotal;
    at("progress").value = done;
    at("progress-words").textContent = `${done} of ${runTotal}`;
    if (Date.now() - spoken > SPEAK_MS) speak(`${done} of ${runTotal} judged.`);
  } else if (wasRunning) {
    const said = Object.keys(VERDICTS).filter((verdict) => counts[verdict]);
    speak(`Done. ${said.map((verdict) => `${counts[verdict]} ${VERDICTS[verdict].toLowerCase()}`).join(", ")}.`);
    putInOrder();
  }
}

function speak(words) {
  spoken = Date.now();
  at("spoken").textContent = words;
}

function putInOrder() {
  const byScore = (one, other) => (other.prediction?.score ?? 2) - (one.prediction?.score ?? 2);
  const ordered = at("order").value === "score" ? [...entries].sort(byScore) : entries;
  const list = at("list");
  if (ordered.every((entry, index) => list.children[index] === entry.row.element)) return;
  const focused = document.activeElement;
  list.append(...ordered.map((entry) => entry.row.element));
  if (list.contains(focused)) focused.focus();
}

function makeFilters() {
  for (const [verdict, word] of [["all", "All"], ...Object.entries(VERDICTS)]) {
    const count = make("span", { class: "count" }, "0");
    const button = make("button", { type: "button", "aria-pressed": String(verdict === "all") });
    button.append(...(verdict === "all" ? [] : [shape(verdict)]), `${word} `, count);
    button.addEventListener("click", () => choose(verdict));
    filters.set(verdict, { button, count });
    at("filters").append(button);
  }
}

function choose(verdict) {
  at("list").dataset.show = verdict;
  for (const [name, { button }] of filters) button.setAttribute("aria-pressed", String(name === verdict));
  refresh();
}

// Files to take away

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  speak(`${name} is being downloaded.`);
}

const judged = () => entries.filter((entry) => entry.prediction).map((entry) => entry.prediction);

// The model and its token

async function loadModel() {
  try {
    model = await server.model();
  } catch (error) {
    if (error.status === 401) askForToken();
    else trouble(`What the model says about itself cannot be had: ${error.message}`);
    return false;
  }
  trouble("");
  at("token-form").hidden = true;
  at("token-error").textContent = "";
  showCard(at("facts"), model);
  at("tagline").textContent = tagline(model) || at("tagline").textContent;
  return true;
}

function askForToken() {
  const form = at("token-form");
  if (server.token) at("token-error").textContent = "The server does not know this token.";
  if (!form.hidden) return;
  form.hidden = false;
  at("token").focus();
}

async function useToken(event) {
  event.preventDefault();
  const given = at("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    at("token-error").textContent = "A token has no spaces, and only plain ASCII characters.";
    return;
  }
  server.token = given;
  if (!(await loadModel())) return;
  at("token").value = "";
  speak("The token was accepted.");
  at("picker").focus();
  queue.goOn();
}

function trouble(words) {
  at("trouble").hidden = !words;
  at("trouble").textContent = printable(words);
}

// What people do

function hearDrops() {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const glow = (on) => at("drop").classList.toggle("over", on);
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    glow(true);
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) glow(false); });
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    glow(false);
    try {
      add(await dropped(event.dataTransfer));
    } catch (error) {
      trouble(`A dropped folder cannot be read: ${error.message}`);
    }
  });
}

function hearButtons() {
  at("picker").addEventListener("change", (event) => {
    add([...event.target.files].map(named));
    event.target.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", (event) => {
    const found = pasted(event.clipboardData, pastes + 1);
    pastes += found.length;
    if (found.length) event.preventDefault();
    add(found);
  });
  at("token-form").addEventListener("submit", useToken);
  at("stop").addEventListener("click", () => { queue.stop(); at("picker").focus(); });
  at("again").addEventListener("click", () => { enqueue(entries.filter((entry) => entry.failed)); at("picker").focus(); });
  at("clear").addEventListener("click", clearAll);
  at("order").addEventListener("change", putInOrder);
  at("clear-pictures").addEventListener("change", (event) => at("list").classList.toggle("clear", event.target.checked));
  at("save-csv").addEventListener("click", () => save("keshikaran.csv", "text/csv;charset=utf-8", csvOf(judged())));
  at("save-json").addEventListener("click", () => {
    save("keshikaran.json", "application/json", JSON.stringify(judged(), null, 1) + "\n");
  });
}

function clearAll() {
  queue.stop();
  entries.length = 0;
  at("list").replaceChildren();
  choose("all");
  at("picker").focus();
  speak("All results are cleared.");
}

makeFilters();
hearDrops();
hearButtons();
at("card").open = matchMedia("(min-width: 60rem)").matches;
refresh();
loadModel();
