// One result on the page. Texts are set as text: nothing that came from elsewhere becomes markup.

import { printable } from "./inert.js";
import { drawWhenSeen } from "./thumbs.js";

export const VERDICTS = { pass: "Pass", review: "Review", block: "Block", undecided: "Undecided" };

/** An element with a class, attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function shape(verdict) {
  return make("span", { class: `shape ${verdict}`, "aria-hidden": "true" });
}

/** A bar for a score, with both thresholds on it. */
export function bar(score, thresholds) {
  const cuts = thresholds ? `; review from ${short(thresholds.review)}, block from ${short(thresholds.block)}` : "";
  const track = make("div", {
    class: "bar", role: "meter", "aria-label": "Score", "aria-valuemin": 0, "aria-valuemax": 1,
    "aria-valuenow": score, "aria-valuetext": score.toFixed(4) + cuts,
  });
  const fill = make("span", { class: "fill" });
  fill.style.inlineSize = `${100 * score}%`;
  track.append(fill);
  for (const name of thresholds ? ["review", "block"] : []) {
    const cut = make("span", { class: `cut ${name}` });
    cut.style.insetInlineStart = `${100 * Math.min(1, thresholds[name])}%`;
    track.append(cut);
  }
  return track;
}

export function short(number) {
  return String(Number(number.toPrecision(3)));
}

export class Row {
  constructor(name) {
    this.shown = printable(name);
    this.canvas = make("canvas", { "aria-hidden": "true", width: 1, height: 1 });
    this.picture = make("div", { class: "picture none" });
    this.said = make("div", { class: "said" });
    this.element = make("li", { class: "result" }, this.picture, this.said);
    this.waiting("Waiting");
  }

  waiting(word) {
    this.element.dataset.verdict = "waiting";
    this.#say(make("p", { class: "verdict soft" }, `${word}…`));
  }

  judged(file, prediction, thresholds) {
    const verdict = prediction.verdict in VERDICTS ? prediction.verdict : "undecided";
    this.element.dataset.verdict = verdict;
    const words = make("p", { class: "verdict" }, shape(verdict), VERDICTS[verdict]);
    if (typeof prediction.score !== "number") {
      this.picture.textContent = "no picture";
      this.#say(words, this.#reason(prediction.reason));
      return;
    }
    words.append(make("span", { class: "score" }, prediction.score.toFixed(4)));
    this.#say(words, bar(prediction.score, thresholds));
    if (prediction.frames_total > 1) this.said.append(frames(prediction));
    this.#show(file);
  }

  failed(words) {
    this.picture.textContent = "no picture";
    this.element.dataset.verdict = "undecided";
    const said = make("p", { class: "verdict" }, shape("undecided"), VERDICTS.undecided);
    this.#say(said, make("p", { class: "reason" }, `Not judged. ${printable(words)}`));
  }

  #reason(reason) {
    const [, code, words] = /^(\w+): (.*)$/s.exec(reason ?? "") ?? [];
    const text = words ? `${printable(words)} ` : printable(reason ?? "No reason was given.");
    return make("p", { class: "reason" }, text, ...(code ? [make("code", {}, code)] : []));
  }

  #say(...parts) {
    this.said.replaceChildren(make("p", { class: "name" }, make("bdi", {}, this.shown)), ...parts);
  }

  /** Only what the server could decode is given to the browser to decode. */
  #show(file) {
    const button = make("button", {
      class: "picture", type: "button", "aria-pressed": "false",
      "aria-label": `Show clearly: ${this.shown}`,
    }, this.canvas);
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.ariaPressed === "true" ? "false" : "true");
    });
    this.picture.replaceWith(button);
    drawWhenSeen(this.canvas, file, () => {
      this.picture.textContent = "no preview";
      button.replaceWith(this.picture);
    });
  }
}

function frames({ frames_total: total, frames_scored: scored }) {
  return make("p", { class: "soft" }, `Highest of ${scored} of ${total} frames.`);
}
