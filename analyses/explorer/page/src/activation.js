// The nonlinear functions of feed-forward layers, as PyTorch has them, in float64.

const { abs, exp, sqrt, tanh, PI } = Math;

/**
 * The error function, to about 1e-15.
 *
 * erf(x) = 2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!; all terms have one sign, so nothing
 * cancels. Beyond 6 it is 1 in float64.
 */
export function erf(x) {
  if (abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; abs(term) > 1e-17 * abs(sum); n += 1) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / sqrt(PI)) * exp(-x * x) * sum;
}

export const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  silu: (x) => x / (1 + exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + tanh(sqrt(2 / PI) * (x + 0.044715 * x ** 3))),
};
