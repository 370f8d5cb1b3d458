// The logits of a column: one bar a token, the undisturbed ones as outlines.

import { scaleBand, scaleLinear } from "d3-scale";
import { AxisLeft, Figure, useWidth } from "./figure.jsx";
import { say } from "./words.js";

const MOST = 16;
const HEIGHT = 120;
const LEFT = 30;

/** Tokens to draw: all of a small vocabulary, else the largest logits. */
function choose(logits, truth) {
  const all = logits.map((_, token) => token);
  if (all.length <= MOST) return all;
  const best = all.sort((p, q) => logits[q] - logits[p]).slice(0, MOST);
  return (best.includes(truth) ? best : [...best.slice(1), truth]).sort((p, q) => p - q);
}

export function Logits({ view, step }) {
  const [ref, width] = useWidth();
  const { network, decoded, before } = view;
  const { layout } = network;
  const { logits } = decoded.columns[step];
  const ghost = before?.columns[step].logits;
  const truth = decoded.truth[step];
  const tokens = choose(logits, truth);
  const all = tokens.flatMap((token) => [logits[token], ghost?.[token] ?? logits[token]]);
  const x = scaleBand(tokens, [LEFT, width - 2]).padding(0.28);
  const y = scaleLinear([Math.min(0, ...all), Math.max(0, ...all)], [HEIGHT - 20, 8]).nice();
  const answer = decoded.tokens[step];
  const margin = decoded.margins[step];
  const verdict = margin > 0 ? "right" : `wrong: ${layout.say(truth)} is true`;
  const name = layout.nameOf(step);
  const title = `${name} is answered ${layout.say(answer)}, ${verdict}; margin ${say(margin)}`;
  return (
    <Figure title={title}>
      <div ref={ref}>
        <svg class="logits" width={width} height={HEIGHT} role="img" aria-label={`Logits. ${title}`}>
          <AxisLeft scale={y} x={LEFT} width={width - LEFT} />
          {tokens.map((token) => {
            const value = logits[token];
            const kind = token === answer ? (token === truth ? "bar right" : "bar wrong") : "bar";
            return (
              <g key={token} transform={`translate(${x(token)},0)`}>
                <title>{`${layout.say(token)}: ${say(value, 3)}`}</title>
                <rect
                  class={kind}
                  width={x.bandwidth()}
                  y={Math.min(y(0), y(value))}
                  height={Math.abs(y(0) - y(value))}
                />
                {ghost && (
                  <line class="ghost" x1="-2" x2={x.bandwidth() + 2} y1={y(ghost[token])} y2={y(ghost[token])} />
                )}
                <text
                  class={token === truth ? "token true" : "token"}
                  x={x.bandwidth() / 2}
                  y={HEIGHT - 4}
                  text-anchor="middle"
                >
                  {layout.say(token).replace(/^<(.).*>$/, "$1")}
                </text>
              </g>
            );
          })}
          <line class="rule" x1={LEFT} x2={width} y1={y(0)} y2={y(0)} />
        </svg>
      </div>
    </Figure>
  );
}
