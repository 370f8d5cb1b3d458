// The little linear algebra that a network of a few hundred numbers needs; matrices are lists of rows.

/** x W: a row times a matrix. */
export function apply(x, W) {
  const out = new Array(W.length ? W[0].length : 0).fill(0);
  for (let i = 0; i < x.length; i += 1) {
    const row = W[i];
    for (let j = 0; j < out.length; j += 1) out[j] += x[i] * row[j];
  }
  return out;
}

export function dot(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i += 1) sum += x[i] * y[i];
  return sum;
}

export function add(x, y) {
  return x.map((value, i) => value + y[i]);
}

/** x + scale y. */
export function addScaled(x, y, scale) {
  return x.map((value, i) => value + scale * y[i]);
}

/** Solve A x = y for a symmetric positive definite A, by elimination with pivots. */
export function solve(A, y) {
  const n = y.length;
  const rows = A.map((row, i) => [...row, y[i]]);
  for (let i = 0; i < n; i += 1) {
    let pivot = i;
    for (let r = i + 1; r < n; r += 1) {
      if (Math.abs(rows[r][i]) > Math.abs(rows[pivot][i])) pivot = r;
    }
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    if (rows[i][i] === 0) return null;
    for (let r = i + 1; r < n; r += 1) {
      const factor = rows[r][i] / rows[i][i];
      for (let c = i; c <= n; c += 1) rows[r][c] -= factor * rows[i][c];
    }
  }
  const x = new Array(n).fill(0);
  for (let i = n - 1; i >= 0; i -= 1) {
    let rest = rows[i][n];
    for (let c = i + 1; c < n; c += 1) rest -= rows[i][c] * x[c];
    x[i] = rest / rows[i][i];
  }
  return x;
}
