// The page at work: runs, dials, the writer, and the link that carries them.
"use strict";

const FRAME = 24; // milliseconds of drawing tokens, and then the page is shown
const LONGEST_PROMPT = 5000; // characters, as in its box
const LONGEST = 4; // tokens that may be open within one character
const DIALS = {
  p: "prompt", r: "penalty", k: "top-k", t: "temperature", top: "top-p", min: "min-p",
  s: "seed", n: "tokens", pace: "pace",
};
const SLIDERS = ["penalty", "top-k", "temperature", "top-p", "min-p"]; // in the order they act

const { runs: facts } = JSON.parse(byId("facts").textContent);
const runs = facts.map((each, number) => {
  const weights = unpack(each.tensors, byId(`weights-${number}`).textContent);
  byId(`weights-${number}`).remove(); // so that its letters are not kept twice
  const writer = new Writer(engineOf(each.spec, weights), each.end, false, each.stop);
  const words = { tabindex: 0, role: "group", "aria-label": `Text of ${each.name}` };
  const text = element("div", { class: "text", ...words });
  const column = element("div", { class: "run" }, text);
  if (facts.length > 1) column.prepend(element("h3", {}, each.name));
  byId("texts").append(column);
  const tokenizer = tokenizerOf(each.tokenizer);
  return { facts: each, number, weights, writer, tokenizer, text, column, open: [], editor: null };
});
const figures = {
  next: new NextToken(),
  vocabulary: new Vocabulary(),
  inside: new Inside(),
  training: new Training(),
};
const work = { isWriting: false, isBegun: false, count: 0, started: 0, from: 0 };

const subject = () => runs[Number(byId("subject")?.value ?? 0)];
const number = (id) => Number(byId(id).value);

function dials() {
  const [penalty, topK, temperature, topP, minP] = SLIDERS.map(number);
  return { penalty, topK, temperature, topP, minP };
}

// The ids that a text begins with, in the format of the run; an empty one begins by itself.
function idsOf(run, text) {
  const { end, prompt } = run.facts;
  const ids = run.tokenizer.encode(text).filter((id) => id !== end);
  if (end !== null) return [end, ...ids].slice(0, run.facts.spec.block_size);
  return ids.length ? ids : prompt;
}

// The beginning of what a run wrote last, so of signs that it knows.
function excerpt({ facts: { samples } }) {
  const words = (samples.at(-1)?.text ?? "").trim().split("\n").slice(0, 2).join("\n");
  return Array.from(words).slice(0, 60).join("");
}

// Put every run at the prompt.
function restart() {
  stop();
  Object.assign(work, { isBegun: false, count: 0 });
  const prompt = byId("prompt").value;
  const unknown = [...new Set(runs.flatMap((run) => run.tokenizer.unknown(prompt)))];
  byId("unknown").textContent = unknown.length
    ? `Left out, since the vocabulary does not have them: ${spelled(unknown)}`
    : "";
  for (const run of runs) {
    closeEditor(run);
    run.open = [];
    run.writer.exact = byId("exact").checked;
    run.writer.begin(idsOf(run, prompt), number("seed"));
    showPrompt(run, prompt);
  }
  say("");
  look();
}

// A prompt as far as the run knows its signs.
function showPrompt(run, text) {
  const words = run.tokenizer.decode(run.tokenizer.encode(text));
  run.text.replaceChildren(element("span", { class: "prompt" }, words));
}

// Draw one token of each run that goes on; whether any did.
function drawTokens() {
  let isAny = false;
  for (const run of runs) {
    if (run.writer.isOver) continue;
    const drawn = run.writer.next(dials());
    if (drawn === null) continue;
    isAny = true;
    run.open.push(drawn);
    const text = run.tokenizer.decode(run.open.map(({ id }) => id));
    if (text.endsWith("\ufffd") && run.open.length < LONGEST) continue;
    const p = run.open.reduce((all, { probability }) => all * probability, 1);
    const shade = Math.min(Math.floor(-Math.log2(p) / 1.5), 4);
    run.text.append(element("span", { class: `s${shade}`, title: percent(p) }, text));
    run.open = [];
  }
  work.count += isAny;
  return isAny;
}

function write() {
  if (work.isWriting) return stop("Paused");
  takeEdits();
  if (!work.isBegun || work.count >= number("tokens")) restart();
  const now = performance.now();
  Object.assign(work, { isWriting: true, isBegun: true, started: now, from: work.count });
  byId("write").textContent = "Pause";
  requestAnimationFrame(frame);
}

function frame() {
  if (!work.isWriting) return;
  const began = performance.now();
  const pace = number("pace");
  const due = pace ? work.from + ((began - work.started) / 1000) * pace : Infinity;
  const isAtEnd = new Map(runs.map((run) => [run, atEnd(run.text)]));
  while (work.count < due && performance.now() - began < FRAME) {
    if (work.count >= number("tokens") || !drawTokens()) return stop("Done");
  }
  for (const [run, was] of isAtEnd) if (was) run.text.scrollTop = run.text.scrollHeight;
  figures.next.show(subject(), dials());
  requestAnimationFrame(frame);
}

const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40;

function stop(why = "") {
  if (work.isWriting) {
    const seconds = (performance.now() - work.started) / 1000;
    const rate = (work.count - work.from) / Math.max(seconds, 1e-3);
    say(`${why}: ${whole(work.count)} tokens, ${whole(Math.round(rate))} a second`);
    work.isWriting = false;
    look();
  }
  byId("write").textContent = "Write";
}

function one() {
  stop("Paused");
  takeEdits();
  if (!work.isBegun) restart();
  work.isBegun = true;
  say(drawTokens() ? `${whole(work.count)} tokens` : "Done");
  look();
}

// The texts as they can be typed in; what is written next goes on from there.
function edit() {
  stop("Paused");
  for (const run of runs) {
    if (run.editor) continue;
    const words = { rows: 10, spellcheck: "false", "aria-label": `Text of ${run.facts.name}` };
    run.editor = element("textarea", words);
    run.editor.value = run.text.textContent;
    run.text.replaceWith(run.editor);
  }
  runs[0].editor.focus();
  byId("edit").disabled = true;
}

function takeEdits() {
  for (const run of runs.filter(({ editor }) => editor)) {
    const text = run.editor.value;
    closeEditor(run);
    if (text === run.text.textContent) continue;
    run.open = [];
    run.writer.retake(idsOf(run, text));
    showPrompt(run, text);
    work.isBegun = true;
    work.count = Math.min(work.count, number("tokens") - 1);
  }
}

function closeEditor(run) {
  if (run.editor) run.editor.replaceWith(run.text);
  run.editor = null;
  byId("edit").disabled = false;
}

function say(words) {
  byId("status").textContent = words;
}

// Draw the figures of the text as it stands.
function look() {
  figures.next.show(subject(), dials());
  figures.inside.show(subject());
}

function showSubject() {
  look();
  figures.vocabulary.show(subject(), byId("typed").value);
  showParameters(subject());
  figures.training.show(subject());
}

function showDials() {
  const off = { penalty: 1, "top-k": 0, "top-p": 1, "min-p": 0 }; // where a dial does nothing
  for (const id of SLIDERS) {
    const value = number(id);
    const text = value === off[id] ? "off" : id === "top-k" ? String(value) : value.toFixed(2);
    document.querySelector(`output[for=${id}]`).textContent = text;
    byId(id).setAttribute("aria-valuetext", text);
  }
}

// The link holds the prompt, the dials and the seed.
function saveLink() {
  const values = Object.entries(DIALS).map(([key, id]) => [key, byId(id).value]);
  values.push(["x", String(Number(byId("exact").checked))]);
  const link = `#${new URLSearchParams(values)}`;
  if (link !== location.hash) history.replaceState(null, "", link);
}

function readLink() {
  const values = new URLSearchParams(location.hash.slice(1));
  for (const [key, id] of Object.entries(DIALS)) {
    if (values.has(key)) byId(id).value = values.get(key).slice(0, LONGEST_PROMPT);
    const isNone = byId(id).value === "" || !byId(id).checkValidity(); // what the link has no sense
    if (isNone) byId(id).value = byId(id).defaultValue ?? byId(id).options[0].value;
  }
  byId("exact").checked = values.get("x") === "1";
}

readLink();
byId("typed").value = byId("prompt").value || excerpt(runs[0]);
for (const id of SLIDERS) {
  byId(id).addEventListener("input", () => {
    showDials();
    figures.next.show(subject(), dials());
    saveLink();
  });
}
for (const id of ["prompt", "seed", "exact"]) {
  byId(id).addEventListener("input", () => {
    restart();
    saveLink();
  });
}
for (const id of ["tokens", "pace"]) byId(id).addEventListener("input", saveLink);
byId("typed").addEventListener("input", () => {
  figures.vocabulary.show(subject(), byId("typed").value);
});
byId("subject")?.addEventListener("change", showSubject);
byId("write").addEventListener("click", write);
byId("one").addEventListener("click", one);
byId("edit").addEventListener("click", edit);
byId("restart").addEventListener("click", restart);
window.addEventListener("hashchange", () => {
  readLink();
  showDials();
  restart();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) write();
  else if (event.key === "Escape") stop("Paused");
});
showDials();
restart();
showSubject();
