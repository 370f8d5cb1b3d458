// How numbers and changes are said.

import { readChanges } from "./decode.js";

/** A number with a true minus sign. */
export function say(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

export const percent = (share) => `${Math.round(100 * share)} %`;

/** Name a source for reading: a3, s2, or the token of the prompt that stands there. */
export function saySource(layout, source) {
  if (source[0] !== "p") return source;
  return layout.say(layout.fixed.get(Number(source.slice(1))));
}

/** Say a change in a few words. */
export function sayChange(network, key, value) {
  const { layout } = network;
  const [kind, ...rest] = key.split(".");
  const times = value === 0 ? "off" : `× ${say(value)}`;
  const one = network.nHeads === 1;
  if (kind === "h") return one ? `attention ${times}` : `head ${Number(rest[0]) + 1} ${times}`;
  if (kind === "u") return `unit ${Number(rest[0]) + 1} ${times}`;
  if (kind === "c") return `${sayComponent(network, rest.join("."))} ${times}`;
  if (kind === "d") return `${rest[0]} replaced by ${layout.say(value)}`;
  if (kind === "sum") return "other weights make up for it";
  const [target, head, source] = rest;
  const where = one ? "" : `, head ${Number(head) + 1}`;
  if (target !== "all") {
    return `${target} gives ${saySource(layout, source)} ${say(value)}${where}`;
  }
  if (source[0] === "p") return `all give ${saySource(layout, source)} ${say(value)}${where}`;
  const below = Number(source.slice(1));
  const index = below === 0 ? "i" : `i${below < 0 ? "\u2212" : "+"}${Math.abs(below)}`;
  return `all give ${source[0]}(${index}) ${say(value)}${where}`;
}

/** Name a component: its matrix, head and place. */
export function sayComponent(network, key) {
  const part = network.components.find((component) => component.key === key);
  if (!part) return key;
  const head = part.head === null || network.nHeads === 1 ? "" : ` head ${part.head + 1}`;
  return `${part.matrix}${head} ${part.index}`;
}

/** One sentence on what a network answered. */
export function sayAnswer(network, decoded, changes = {}) {
  const { layout } = network;
  const edits = readChanges(network, changes);
  const replaced = edits.prefix.size > 0;
  const answer = decoded.sum === null ? "no number" : decoded.sum.toString();
  if (decoded.right && !replaced) {
    const least = Math.min(...decoded.margins.slice(0, layout.nAnswer));
    const step = decoded.margins.indexOf(least);
    return `${answer}, right; least margin ${say(least)} in ${layout.nameOf(step)}`;
  }
  const wrong = decoded.truth
    .map((token, step) => (step < layout.nAnswer && token !== decoded.fed[step] ? step : -1))
    .filter((step) => step >= 0);
  if (!wrong.length) return `${answer}, right with what was put in`;
  return `${answer}, wrong in ${wrong.map(layout.nameOf).join(", ")}`;
}
