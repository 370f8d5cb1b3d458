// The soft place value of a column: one number that attention writes, and the digits that it means.
//
// Column i of a sum is S + (T - s) / base, rounded up: S the digits of the column, T those of the
// column below, s the answer before. (T - s) / base is the carry less a tenth of the carry before, so
// this is a carry without a carry bit. Whether a network writes that number is measured here: the
// digits of both columns are varied, everything else stays, and the stream after attention is
// regressed on it. R2 says how much of the number a linear reading finds.

import { argmax } from "./decode.js";
import { attend, readOut } from "./forward.js";
import { add, addScaled, dot, solve } from "./linear.js";

const MOST_SUMS = 10;

/** Sums of two digits, at most 10 of them, evenly from 0 to the largest. */
function sumsOf(base) {
  const largest = 2 * (base - 1);
  const n = Math.min(MOST_SUMS, largest + 1);
  return Array.from({ length: n }, (_, i) => Math.round((i * largest) / (n - 1)));
}

/** Two ways to make a sum: halves, or one digit as large as can be. */
const SPLITS = [
  (sum) => [Math.floor(sum / 2), Math.ceil(sum / 2)],
  (sum, base) => [Math.min(sum, base - 1), sum - Math.min(sum, base - 1)],
];

/** Tokens with the digits of a column replaced. */
function withDigits(layout, tokens, column, [a, b]) {
  const copy = [...tokens];
  copy[layout.position.get(`a${column}`)] = layout.digitToken(a);
  copy[layout.position.get(`b${column}`)] = layout.digitToken(b);
  return copy;
}

/** Streams after attention as the digits of the column and of the one below vary, with the value. */
function sweep({ network, table, edits }, tokens, column) {
  const { layout } = network;
  const { base, width } = layout;
  const [sums, none] = [sumsOf(base), [null]];
  const before = column > 0 ? tokens[tokens.length - 1] - layout.first_digit : 0;
  const points = [];
  for (const split of SPLITS) {
    for (const S of column < width ? sums : none) {
      const own = S === null ? tokens : withDigits(layout, tokens, column, split(S, base));
      for (const T of column > 0 ? sums : none) {
        const all = T === null ? own : withDigits(layout, own, column - 1, split(T, base));
        const value = (S ?? 0) + (T === null ? 0 : (T - before) / base);
        points.push({ value, mid: attend(network, table, all, edits).mid });
      }
    }
  }
  return points;
}

/** Least squares both ways: how the stream moves with the value, and how the value is read off. */
function regress(points) {
  const n = points.length;
  const d = points[0].mid.length;
  const mean = { value: 0, mid: new Array(d).fill(0) };
  for (const point of points) {
    mean.value += point.value / n;
    mean.mid = addScaled(mean.mid, point.mid, 1 / n);
  }
  const covariance = Array.from({ length: d }, () => new Array(d).fill(0));
  const cross = new Array(d).fill(0);
  let variance = 0;
  for (const { value, mid } of points) {
    const x = addScaled(mid, mean.mid, -1);
    const v = value - mean.value;
    variance += (v * v) / n;
    for (let i = 0; i < d; i += 1) {
      cross[i] += (x[i] * v) / n;
      for (let j = 0; j < d; j += 1) covariance[i][j] += (x[i] * x[j]) / n;
    }
  }
  // Directions that never vary get almost nothing, so that the system has one solution.
  const trace = covariance.reduce((sum, row, i) => sum + row[i], 0);
  if (!(trace > 0) || !(variance > 0)) return null;
  const ridge = covariance.map((row, i) => row.map((x, j) => x + (i === j ? 1e-12 * trace : 0)));
  const reading = solve(ridge, cross);
  const explained = reading ? dot(reading, cross) : 0;
  if (!(explained > 1e-9 * variance)) return null;
  return {
    mean,
    reading,
    r2: Math.min(1, explained / variance),
    // One step along it moves the reading by one.
    direction: cross.map((x) => x / explained),
  };
}

/** Where the answer changes along a line: [{from, to, token}]. */
function segmentsOf(tokenAt, from, to, n) {
  const found = [];
  const step = (to - from) / n;
  let token = tokenAt(from);
  let start = from;
  for (let i = 1; i <= n; i += 1) {
    const at = from + i * step;
    const next = tokenAt(at);
    if (next !== token) {
      let [low, high] = [at - step, at];
      for (let k = 0; k < 12; k += 1) {
        const middle = (low + high) / 2;
        if (tokenAt(middle) === token) low = middle;
        else high = middle;
      }
      found.push({ from: start, to: high, token });
      [start, token] = [high, next];
    }
  }
  return [...found, { from: start, to, token }];
}

/**
 * Measure the place value of one column.
 *
 * @param prepared What `prepare` gave.
 * @param tokens All tokens up to the query of the column.
 * @param step Which step.
 * @returns null where the measure has no meaning (the end token; answers whose units come last; a
 *   digit before that is none), else {value, exact, r2, segments, from, to}. `exact` is
 *   S + (T - s) / base; `segments` are the answers along the line through the stream of this column,
 *   in the direction in which the value grows.
 */
export function placeValue(prepared, tokens, step) {
  const { network, table, edits } = prepared;
  const { layout } = network;
  if (step >= layout.nAnswer || layout.answer !== "units first") return null;
  const column = layout.stepOf(step);
  const before = tokens[tokens.length - 1];
  if (column > 0 && !layout.isDigit(before)) return null;
  const fit = regress(sweep(prepared, tokens, column));
  if (fit === null) return null;
  const { mid } = attend(network, table, tokens, edits);
  const value = fit.mean.value + dot(fit.reading, addScaled(mid, fit.mean.mid, -1));
  const digit = (name) => tokens[layout.position.get(name)] - layout.first_digit;
  const S = column < layout.width ? digit(`a${column}`) + digit(`b${column}`) : 0;
  const below = column > 0 ? digit(`a${column - 1}`) + digit(`b${column - 1}`) : 0;
  const exact = S + (column > 0 ? (below - (before - layout.first_digit)) / layout.base : 0);
  const tokenAt = (at) => {
    const moved = add(mid, fit.direction.map((x) => x * (at - value)));
    return argmax(readOut(network, moved, edits.units).logits);
  };
  const from = -1;
  const to = column < layout.width ? 2 * layout.base : 2;
  const segments = segmentsOf(tokenAt, from, to, 210);
  return { value, exact, r2: fit.r2, segments, from, to };
}
