// The forward pass of one answer column, in the names of model.network and TransformerLens.
//
//   x       = W_E[token] + W_pos[position] + W_X[position, token]
//   h       = norm1(x)
//   q, k, v = h W_Q + b_Q, h W_K + b_K, h W_V + b_V      perhaps normed, then turned (RoPE)
//   mid     = x + sum over heads of pattern v W_O + b_O
//   post    = act(g W_in + b_in), or act(g W_gate + b_gate) * (g W_in + b_in), with g = norm2(mid)
//   logits  = norm_final(mid + post W_out + b_out) W_U + b_U

import { ACTIVATIONS } from "./activation.js";
import { add, apply, dot } from "./linear.js";

/** RMSNorm, LayerNorm or none, with gain and bias. */
export function normalise(network, x, name) {
  const { norm, eps, weights } = network;
  if (norm === "none") return x;
  const mean = norm === "layer" ? x.reduce((sum, value) => sum + value, 0) / x.length : 0;
  const centred = x.map((value) => value - mean);
  const scale = Math.sqrt(dot(centred, centred) / x.length + eps);
  const gain = weights[`${name}_w`];
  const bias = weights[`${name}_b`];
  return centred.map((value, i) => (value / scale) * gain[i] + bias[i]);
}

/** Turn pairs of coordinates by the angles of a position (RoPE). */
function rotate(x, position, { theta, dim, interleaved }) {
  const out = [...x];
  const half = dim / 2;
  for (let i = 0; i < half; i += 1) {
    const [p, q] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const angle = position * theta ** (-i / half);
    out[p] = x[p] * Math.cos(angle) - x[q] * Math.sin(angle);
    out[q] = x[p] * Math.sin(angle) + x[q] * Math.cos(angle);
  }
  return out;
}

function project(network, h, W, bias, gain, position) {
  let x = add(apply(h, W), bias);
  if (gain) {
    const scale = Math.sqrt(dot(x, x) / x.length + network.qk_eps);
    x = x.map((value, i) => (value / scale) * gain[i]);
  }
  return network.rotary ? rotate(x, position, network.rotary) : x;
}

/**
 * Everything before the softmax is a table over (position, token); its entries are made when asked.
 *
 * @returns A function (position, token) -> {x, q, k, written}; q, k and written by head of queries.
 */
export function tabulate(network) {
  const { weights, nHeads, group, attn_scale: scale } = network;
  const heads = Array.from({ length: nHeads }, (_, head) => head);
  const kvHeads = weights.W_K.map((_, head) => head);
  const entries = new Map();
  const vocab = weights.W_E.length;
  return (position, token) => {
    const key = position * vocab + token;
    const found = entries.get(key);
    if (found) return found;
    let x = add(weights.W_E[token], weights.W_pos[position]);
    if (weights.W_X) x = add(x, weights.W_X[position][token]);
    const h = normalise(network, x, "ln1");
    const side = (which, head, gain) =>
      project(network, h, weights[`W_${which}`][head], weights[`b_${which}`][head], gain, position);
    const keys = kvHeads.map((head) => side("K", head, weights.k_norm_w));
    const values = kvHeads.map((head) => add(apply(h, weights.W_V[head]), weights.b_V[head]));
    const entry = {
      x,
      q: heads.map((head) => side("Q", head, weights.q_norm_w).map((value) => value / scale)),
      k: heads.map((head) => keys[Math.floor(head / group)]),
      written: heads.map((head) => apply(values[Math.floor(head / group)], weights.W_O[head])),
    };
    entries.set(key, entry);
    return entry;
  };
}

function softmax(scores) {
  const powers = new Array(scores.length);
  let highest = -Infinity;
  let total = 0;
  for (const score of scores) highest = Math.max(highest, score);
  for (let j = 0; j < scores.length; j += 1) {
    powers[j] = Math.exp(scores[j] - highest);
    total += powers[j];
  }
  for (let j = 0; j < scores.length; j += 1) powers[j] /= total;
  return powers;
}

/** Replace weights; with `renormalise` the others make up for it, so that they still sum to one. */
function editPattern(pattern, set, renormalise) {
  const edited = pattern.map((weight, j) => set.get(j) ?? weight);
  if (!renormalise) return edited;
  let fixed = 0;
  let free = 0;
  pattern.forEach((weight, j) => {
    if (set.has(j)) fixed += set.get(j);
    else free += weight;
  });
  const factor = free > 0 ? Math.max(0, 1 - fixed) / free : 0;
  return edited.map((weight, j) => (set.has(j) ? weight : weight * factor));
}

const NOTHING = { heads: [], units: [], pattern: () => null, renormalise: false };

/**
 * Attend from the last of `tokens`.
 *
 * @param table What `tabulate` gave.
 * @param tokens All tokens up to the query.
 * @param edits heads: factor on what a head writes; pattern(step, head): weights to set, by position.
 * @returns {pattern, heads, attnOut, mid}: weights and writings by head.
 */
export function attend(network, table, tokens, edits = NOTHING) {
  const query = tokens.length - 1;
  const step = query - network.layout.nPrompt + 1;
  const sources = tokens.map((token, position) => table(position, token));
  const { x, q } = sources[query];
  const pattern = [];
  const heads = [];
  let attnOut = network.weights.b_O;
  for (let head = 0; head < network.nHeads; head += 1) {
    let weights = softmax(sources.map((source) => dot(q[head], source.k[head])));
    const set = edits.pattern(step, head);
    if (set) weights = editPattern(weights, set, edits.renormalise);
    const out = new Array(x.length).fill(0);
    const factor = edits.heads[head] ?? 1;
    for (let j = 0; j < sources.length; j += 1) {
      const written = sources[j].written[head];
      const weight = weights[j] * factor;
      for (let i = 0; i < out.length; i += 1) out[i] += weight * written[i];
    }
    pattern.push(weights);
    heads.push(out);
    attnOut = add(attnOut, out);
  }
  return { x, pattern, heads, attnOut, mid: add(x, attnOut) };
}

/** From the stream after attention to the logits; `units` are factors on the units' activations. */
export function readOut(network, mid, units = []) {
  const { weights, act } = network;
  let resid = mid;
  let post = [];
  let mlpOut = mid.map(() => 0);
  if (act !== "none") {
    const activate = ACTIVATIONS[act];
    const g = normalise(network, mid, "ln2");
    const pre = add(apply(g, weights.W_in), weights.b_in);
    const gate = weights.W_gate ? add(apply(g, weights.W_gate), weights.b_gate) : null;
    post = pre.map((value, i) => (gate ? activate(gate[i]) * value : activate(value)));
    post = post.map((value, i) => value * (units[i] ?? 1));
    mlpOut = add(apply(post, weights.W_out), weights.b_out);
    resid = add(mid, mlpOut);
  }
  const final = normalise(network, resid, "ln_final");
  return { post, mlpOut, resid, final, logits: add(apply(final, weights.W_U), weights.b_U) };
}

/** All of one answer column: `attend`, then `readOut`. */
export function runColumn(network, table, tokens, edits = NOTHING) {
  const attention = attend(network, table, tokens, edits);
  return { ...attention, ...readOut(network, attention.mid, edits.units) };
}
