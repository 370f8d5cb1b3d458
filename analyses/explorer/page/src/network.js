// The weights of a network, from what Python wrote into the page, and its rank components.

import { completeLayout } from "./layout.js";

/** Read numbers that were written as little-endian float64 in base64, in nested lists. */
export function readTensor({ shape, data }) {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const flat = Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(8 * i, true));
  const nest = (sizes, start) => {
    if (sizes.length === 0) return flat[start];
    const [n, ...rest] = sizes;
    const step = rest.reduce((product, size) => product * size, 1);
    return Array.from({ length: n }, (_, i) => nest(rest, start + i * step));
  };
  return nest(shape, 0);
}

/** Make a network of its description: layout, options, weights by name, components by key. */
export function readNetwork(description) {
  const weights = {};
  for (const [name, tensor] of Object.entries(description.tensors)) {
    weights[name] = readTensor(tensor);
  }
  const components = description.components.map((part) => ({
    ...part,
    left: readTensor(part.left),
    right: readTensor(part.right),
    size: part.size,
  }));
  const nHeads = weights.W_Q.length;
  return {
    ...description.options,
    name: description.name,
    title: description.title,
    examples: description.examples ?? [],
    layout: completeLayout(description.layout),
    weights,
    components,
    nHeads,
    group: nHeads / weights.W_K.length,
    d: weights.W_E[0].length,
    nUnits: description.options.act === "none" ? 0 : weights.W_in[0].length,
  };
}

const addTerm = (W, left, right, scale) =>
  W.map((row, i) => (i < left.length ? row.map((x, j) => x + scale * left[i] * right[j]) : row));

/**
 * Multiply rank components by factors.
 *
 * A component is one term left right^T of a matrix. Terms of W_QK and W_OV belong to products of two
 * matrices: the change gets a coordinate of its own in queries and keys, or in values.
 *
 * @param factors Factor by key of component; those left out stay as they are.
 */
export function scaleComponents(network, factors) {
  const changed = network.components.filter((part) => (factors[part.key] ?? 1) !== 1);
  if (changed.length === 0) return network;
  const weights = { ...network.weights };
  const perHead = (name, head, column) => {
    weights[name] = weights[name].map((W, h) =>
      W.map((row, i) => [...row, h === head ? column[i] : 0]),
    );
  };
  for (const part of changed) {
    const scale = factors[part.key] - 1;
    const { matrix, head, left, right } = part;
    const kv = Math.floor(head / network.group);
    if (matrix === "W_QK") {
      perHead("W_Q", head, left.map((x) => scale * x));
      perHead("W_K", kv, right);
      for (const bias of ["b_Q", "b_K"]) weights[bias] = weights[bias].map((row) => [...row, 0]);
    } else if (matrix === "W_OV") {
      perHead("W_V", kv, left);
      weights.b_V = weights.b_V.map((row) => [...row, 0]);
      weights.W_O = weights.W_O.map((W, h) => [
        ...W,
        right.map((x) => (h === head ? scale * x : 0)),
      ]);
    } else if (head === null) {
      weights[matrix] = addTerm(weights[matrix], left, right, scale);
    } else {
      weights[matrix] = weights[matrix].map((W, h) =>
        h === head ? addTerm(W, left, right, scale) : W,
      );
    }
  }
  return { ...network, weights };
}
