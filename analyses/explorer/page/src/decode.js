// Greedy decoding with changes: what the network answers, column by column.

import { runColumn, tabulate } from "./forward.js";
import { promptTokens, readAnswer, trueAnswer } from "./layout.js";
import { scaleComponents } from "./network.js";

/**
 * Changes are numbers by key:
 *
 *   w.s3.0.a2   weight of source a2 in column s3, head 0
 *   w.all.0.a-1 the same of the source one column below, in all columns
 *   h.0  u.4    factor on what head 0 writes, on the activation of unit 4
 *   c.KEY       factor on a rank component
 *   d.s3        token that later columns see instead of the answer s3
 *   sum         1: the other weights make up for those that are set
 */
export function readChanges(network, changes) {
  const { layout } = network;
  const found = { heads: [], units: [], factors: {}, prefix: new Map() };
  const set = new Map();
  for (const [key, value] of Object.entries(changes)) {
    const [kind, ...rest] = key.split(".");
    if (kind === "h") found.heads[Number(rest[0])] = value;
    else if (kind === "u") found.units[Number(rest[0])] = value;
    else if (kind === "c") found.factors[rest.join(".")] = value;
    else if (kind === "d") found.prefix.set(stepNamed(layout, rest[0]), value);
    else if (kind === "w") {
      const [target, head, source] = rest;
      for (let step = 0; step < layout.nTarget; step += 1) {
        if (target !== "all" && layout.nameOf(step) !== target) continue;
        const at = positionOf(layout, step, source, target === "all");
        if (at === undefined || at >= layout.nPrompt + step) continue;
        const where = `${step}.${head}`;
        if (!set.has(where)) set.set(where, new Map());
        set.get(where).set(at, value);
      }
    }
  }
  return {
    ...found,
    renormalise: changes.sum === 1,
    pattern: (step, head) => set.get(`${step}.${head}`) ?? null,
  };
}

export const stepNamed = (layout, name) =>
  name === "end" ? layout.nAnswer : layout.stepOf(Number(name.slice(1)));

/** Position of a source; one relative to the column, such as "a-1" or "s-1", where `relative`. */
function positionOf(layout, step, source, relative) {
  if (!relative || source[0] === "p") return layout.position.get(source);
  if (step >= layout.nAnswer) return undefined;
  return layout.position.get(`${source[0]}${layout.stepOf(step) + Number(source.slice(1))}`);
}

/** Name a source relative to a column: a2 in column s3 is a-1. */
export function relativeSource(layout, step, source) {
  if (source[0] === "p" || step >= layout.nAnswer) return source;
  return `${source[0]}${Number(source.slice(1)) - layout.stepOf(step)}`;
}

/** Logit of the true token less the largest other one. */
export function marginOf(logits, truth) {
  let other = -Infinity;
  logits.forEach((logit, token) => {
    if (token !== truth && logit > other) other = logit;
  });
  return logits[truth] - other;
}

export function argmax(values) {
  let best = 0;
  values.forEach((value, i) => {
    if (value > values[best]) best = i;
  });
  return best;
}

/** A network under changes, ready to decode: its tables are filled as they are needed. */
export function prepare(network, changes = {}) {
  const edits = readChanges(network, changes);
  const edited = scaleComponents(network, edits.factors);
  return { network: edited, edits, table: tabulate(edited) };
}

/**
 * Decode one pair greedily.
 *
 * @param prepared What `prepare` gave.
 * @param a Digits of the first operand, units first; b those of the second.
 * @returns {tokens, truth, fed, columns, margins, sum, right}; entries by step. A step that is
 *   replaced has its own answer in `tokens`, and what later columns see in `fed`. `sum` is the number
 *   that `fed` spells, or null.
 */
export function decode(prepared, a, b) {
  const { network, edits, table } = prepared;
  const { layout } = network;
  const prompt = promptTokens(layout, a, b);
  const truth = trueAnswer(layout, a, b);
  const tokens = [];
  const fed = [];
  const columns = [];
  for (let step = 0; step < layout.nTarget; step += 1) {
    const column = runColumn(network, table, [...prompt, ...fed], edits);
    columns.push(column);
    tokens.push(argmax(column.logits));
    fed.push(edits.prefix.get(step) ?? tokens[step]);
  }
  const right = truth.slice(0, layout.nAnswer).every((token, step) => token === fed[step]);
  return {
    tokens,
    truth,
    fed,
    columns,
    margins: columns.map((column, step) => marginOf(column.logits, truth[step])),
    sum: readAnswer(layout, fed),
    right,
  };
}
