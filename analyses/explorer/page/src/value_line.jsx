// The soft place value of a column, on a line with the borders between the digits it would answer.

import { scaleLinear } from "d3-scale";
import { useMemo } from "preact/hooks";
import { AxisBelow, Figure, useWidth } from "./figure.jsx";
import { placeValue } from "./place_value.js";
import { say } from "./words.js";

/** Measure the value of a column of a view; the same object while nothing has changed. */
export function useValue(prepared, prompt, decoded, step) {
  return useMemo(
    () => (prepared ? placeValue(prepared, [...prompt, ...decoded.fed.slice(0, step)], step) : null),
    [prepared, prompt, decoded, step],
  );
}

const TOP = 26;
const BAND = 22;

export function ValueLine({ view, step }) {
  const [ref, width] = useWidth();
  const { network, prepared, prompt, decoded, before, original } = view;
  const { layout } = network;
  const value = useValue(prepared, prompt, decoded, step);
  const ghost = useValue(before && original, prompt, before, step);
  const name = layout.nameOf(step);
  if (!value) {
    const why =
      step >= layout.nAnswer
        ? "The end token has no place value."
        : "The stream of this column does not vary with its digits in a way that can be read.";
    return (
      <Figure title={`The value in ${name}`}>
        <p class="soft" ref={ref}>
          {layout.answer === "units first" ? why : "The units come last here: no such value."}
        </p>
      </Figure>
    );
  }
  const x = scaleLinear([value.from, value.to], [6, width - 6]);
  const inside = (at) => Math.max(value.from, Math.min(value.to, at));
  const said = layout.say(decoded.tokens[step]);
  const marker = (at, kind) => (
    <path class={kind} d={`M${x(inside(at))},${TOP}l-5.5,-9h11z`} />
  );
  return (
    <Figure
      title={`The value in ${name}: ${say(value.value)}, so ${said}`}
      caption={
        <>
          S + (T − s)/{layout.base} is {say(value.exact)} here: S this column’s digits, T those below, s
          the answer below. The triangle is what a linear reading of the stream after attention finds (R² ={" "}
          {say(value.r2, 3)}); the band is what the network would answer if the stream moved along that
          direction.
          {ghost && ` Hollow: before the changes, ${say(ghost.value)}.`}
        </>
      }
    >
      <div ref={ref}>
        <svg
          class="value"
          width={width}
          height={TOP + BAND + 26}
          role="img"
          aria-label={`Place value ${say(value.value)}, exact ${say(value.exact)}, answer ${said}`}
        >
          {value.segments.map(({ from, to, token }, i) => {
            const [left, wide] = [x(from), x(to) - x(from)];
            const here = from <= inside(value.value) && inside(value.value) <= to;
            return (
              <g key={i} class={here ? "segment here" : `segment ${i % 2 ? "odd" : ""}`}>
                <rect x={left} y={TOP} width={Math.max(0, wide - 1)} height={BAND}>
                  <title>{`${say(from)} to ${say(to)}: ${layout.say(token)}`}</title>
                </rect>
                {wide > 7 * layout.say(token).length + 1 && (
                  <text x={left + wide / 2} y={TOP + BAND / 2} dy="0.34em" text-anchor="middle">
                    {layout.say(token)}
                  </text>
                )}
              </g>
            );
          })}
          <line class="exact" x1={x(inside(value.exact))} x2={x(inside(value.exact))} y1={TOP} y2={TOP + BAND + 4} />
          {ghost && marker(ghost.value, "marker ghost")}
          {marker(value.value, "marker")}
          <AxisBelow scale={x} y={TOP + BAND + 4} ticks={width < 420 ? 6 : 12} />
        </svg>
      </div>
    </Figure>
  );
}
