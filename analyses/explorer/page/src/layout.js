// The task as tokens, as model.layouts has it: which token stands where.

/** Digits of `value`, the units first. */
export function digitsOf(value, n, base) {
  const digits = [];
  const big = BigInt(base);
  for (let i = 0; i < n; i += 1) {
    digits.push(Number(value % big));
    value /= big;
  }
  return digits;
}

/** The number that digits spell, the units first. */
export function numberOf(digits, base) {
  return digits.reduceRight((sum, digit) => sum * BigInt(base) + BigInt(digit), 0n);
}

/**
 * Complete the fields of a layout with what follows from them.
 *
 * Steps are answer tokens in the order in which they are decoded; column 0 is the units. A source
 * is the name of a position: "a3", "b0", "s10", or p12 for a token of the prompt that is no digit.
 */
export function completeLayout(fields) {
  const { prompt, width, base, first_digit: first, end } = fields;
  const nAnswer = width + 1;
  const nTarget = nAnswer + (end === null ? 0 : 1);
  const nPrompt = prompt.length + 2 * (width - 1);
  const nInput = nPrompt + nTarget - 1;
  const stepOf = (column) =>
    fields.answer === "units first" || column >= nAnswer ? column : nAnswer - 1 - column;

  const sources = [];
  const fixed = new Map();
  for (const item of prompt) {
    if (typeof item === "string") {
      for (let i = 0; i < width; i += 1) {
        sources.push(`${item}${fields.operands === "units first" ? i : width - 1 - i}`);
      }
    } else {
      fixed.set(sources.length, item);
      sources.push(`p${sources.length}`);
    }
  }
  for (let step = 0; step < nAnswer; step += 1) sources.push(`s${stepOf(step)}`);
  sources.length = nInput;
  const position = new Map(sources.map((name, at) => [name, at]));

  return {
    ...fields,
    nAnswer,
    nTarget,
    nPrompt,
    nInput,
    stepOf,
    sources,
    fixed,
    position,
    /** Name of what a step predicts: "s3", or "end". */
    nameOf: (step) => (step >= nAnswer ? "end" : `s${stepOf(step)}`),
    capacity: BigInt(base) ** BigInt(width),
    digitToken: (digit) => first + digit,
    isDigit: (token) => token >= first && token < first + base,
    say: (token) => fields.token_names[token] ?? `t${token}`,
  };
}

/** Tokens of the prompt for two digit lists (units first). */
export function promptTokens(layout, a, b) {
  const tokens = [];
  for (let at = 0; at < layout.nPrompt; at += 1) {
    const name = layout.sources[at];
    const digits = name[0] === "a" ? a : b;
    tokens.push(
      layout.fixed.has(at) ? layout.fixed.get(at) : layout.digitToken(digits[Number(name.slice(1))]),
    );
  }
  return tokens;
}

/** The true answer tokens, in the order of the steps. */
export function trueAnswer(layout, a, b) {
  const sum = numberOf(a, layout.base) + numberOf(b, layout.base);
  const digits = digitsOf(sum, layout.nAnswer, layout.base);
  const tokens = digits.map((_, step) => layout.digitToken(digits[layout.stepOf(step)]));
  return layout.end === null ? tokens : [...tokens, layout.end];
}

/** Carries into each column, the units first; one more than the operands have digits. */
export function carriesOf(layout, a, b) {
  const carries = [0];
  for (let i = 0; i < layout.width; i += 1) {
    carries.push(a[i] + b[i] + carries[i] >= layout.base ? 1 : 0);
  }
  return carries;
}

/** The number that answer tokens spell, or null where one is no digit. */
export function readAnswer(layout, tokens) {
  const digits = [];
  for (let column = 0; column < layout.nAnswer; column += 1) {
    const token = tokens[layout.stepOf(column)];
    if (!layout.isDigit(token)) return null;
    digits.push(token - layout.first_digit);
  }
  return numberOf(digits, layout.base);
}
