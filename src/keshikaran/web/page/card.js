// What the model says about itself, in words.

import { printable } from "./inert.js";
import { make, short } from "./row.js";

/** Fills the list of facts. */
export function showCard(facts, model) {
  facts.replaceChildren();
  for (const [term, ...texts] of told(model)) {
    facts.append(make("dt", {}, term));
    for (const text of texts) facts.append(make("dd", {}, make("bdi", {}, printable(text))));
  }
}

/** One line under the title. */
export function tagline(model) {
  const words = model.policy?.objectionable;
  return words ? `Objectionable here: ${printable(words)}` : "";
}

function told(model) {
  const { policy = {}, thresholds, prevalence } = model;
  const test = model.metrics?.test ?? {};
  const rows = [];
  if (policy.objectionable) rows.push(["Objectionable", policy.objectionable]);
  if (policy.acceptable) rows.push(["Acceptable", policy.acceptable]);
  rows.push(["Verdicts", ...cuts(thresholds)]);
  rows.push(["Score", `A probability, if ${percent(prevalence)} of the uploads are objectionable.`]);
  if (test.roc_auc !== undefined && test.images) {
    rows.push(["On test images", `ROC AUC ${test.roc_auc.toFixed(4)}, ${test.images} images`]);
  }
  rows.push(["Model", model.model_id]);
  return rows;
}

function cuts({ review, block }) {
  const blocked = `block: from ${short(block)}`;
  if (review >= block) return [`pass: below ${short(block)}`, blocked, "review: none, the cuts are equal"];
  return [`pass: below ${short(review)}`, `review: from ${short(review)}`, blocked];
}

function percent(share) {
  return new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 2 }).format(share);
}
