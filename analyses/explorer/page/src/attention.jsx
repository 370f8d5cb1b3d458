// Where each column looks: one row a column, one cell a source, a square as large as its weight.

import { scaleBand, scaleSqrt } from "d3-scale";
import { useState } from "preact/hooks";
import { Figure, useWidth } from "./figure.jsx";
import { percent, say, saySource } from "./words.js";

const GUTTER = 30;
const GAP = 10;
const HEAD = 30;

/** Sources in the order in which one writes numbers: a, b, the answer, then the other tokens. */
function arrange(layout) {
  const blocks = ["a", "b", "s"].map((kind) => {
    const names = layout.sources.filter((name) => name[0] === kind);
    return names.sort((p, q) => Number(q.slice(1)) - Number(p.slice(1)));
  });
  return [...blocks, layout.sources.filter((name) => name[0] === "p")];
}

/** Places of the cells: x of each source, the cell's size, and the blocks' middles. */
function place(layout, width) {
  const blocks = arrange(layout).filter((names) => names.length);
  const n = blocks.flat().length;
  const gaps = GAP * (blocks.length - 1);
  const size = Math.max(6, Math.min(20, (width - GUTTER - gaps - 2) / n));
  const x = new Map();
  const labels = [];
  let at = GUTTER;
  for (const names of blocks) {
    labels.push({ kind: names[0][0], x: at + (size * names.length) / 2 });
    for (const name of names) {
      x.set(name, at);
      at += size;
    }
    at += GAP;
  }
  return { x, size, labels, right: at - GAP };
}

const BLOCK = { a: "a", b: "b", s: "answer", p: "" };

/** Largest weights of a column in words. */
export function sayLooks(layout, weights, most = 4) {
  const named = weights.map((weight, j) => ({ weight, name: layout.sources[j] }));
  const large = named.sort((p, q) => q.weight - p.weight).filter(({ weight }) => weight >= 0.02);
  const said = large
    .slice(0, most)
    .map(({ name, weight }) => `${saySource(layout, name)} ${percent(weight)}`);
  return said.length ? said.join(", ") : "nothing";
}

function Head({ view, slot, at, shown, choose, change, head, width }) {
  const { network, decoded, prepared } = view;
  const { layout } = network;
  const { x, size, labels, right } = place(layout, width);
  const [cursor, setCursor] = useState(null);
  const steps = decoded.columns.map((_, step) => step);
  const tall = Math.max(size, 13);
  const row = scaleBand(steps, [HEAD, HEAD + steps.length * tall]);
  const side = scaleSqrt([0, 1], [0, size - 1]);
  const chosen = steps.find((step) => layout.nameOf(step) === at) ?? 0;
  const tokens = [...view.prompt, ...decoded.fed];
  const keyOf = (source) => `w.${at}.${head}.${source}`;
  const toggle = (source) => {
    const key = keyOf(source);
    change(key, slot.changes[key] === undefined ? 0 : null);
  };
  const order = arrange(layout).flat();
  const onKey = (event) => {
    const seen = order.filter((name) => layout.position.get(name) < layout.nPrompt + chosen);
    const index = seen.indexOf(cursor);
    if (event.key === "ArrowDown" && chosen + 1 < steps.length) choose(layout.nameOf(chosen + 1));
    else if (event.key === "ArrowUp" && chosen > 0) choose(layout.nameOf(chosen - 1));
    else if (event.key === "ArrowRight") setCursor(seen[Math.min(index + 1, seen.length - 1)]);
    else if (event.key === "ArrowLeft") setCursor(seen[Math.max(index - 1, 0)]);
    else if ((event.key === "Enter" || event.key === "x") && cursor) toggle(cursor);
    else return;
    event.preventDefault();
  };
  const weightsNow = decoded.columns[chosen].pattern[head];
  const cursorWeight = cursor && weightsNow[layout.position.get(cursor)];
  const label =
    `Attention of ${network.name}. Column ${at} looks at ${sayLooks(layout, weightsNow)}.` +
    (cursor ? ` Cursor on ${saySource(layout, cursor)}, weight ${say(cursorWeight ?? 0)}.` : "");
  const height = HEAD + steps.length * tall + 2;
  return (
    <svg
      class="attention"
      width={Math.ceil(right) + 2}
      height={height}
      tabindex="0"
      role="application"
      aria-roledescription="attention matrix"
      aria-label={`${label} Arrows move, Enter switches a source off.`}
      onKeyDown={onKey}
      onBlur={() => setCursor(null)}
    >
      {labels.map(({ kind, x: middle }) => (
        <text key={kind} class="block" x={middle} y="11" text-anchor="middle">
          {BLOCK[kind]}
        </text>
      ))}
      {order.map((name) => {
        const position = layout.position.get(name);
        const later = position >= layout.nPrompt && shown !== null && position - layout.nPrompt >= shown;
        return (
          <text
            key={name}
            class={size < 11 ? "token tiny" : "token"}
            x={x.get(name) + size / 2}
            y={HEAD - 5}
            text-anchor="middle"
          >
            <title>{saySource(layout, name)}</title>
            {later ? "·" : layout.say(tokens[position]).slice(0, size < 11 ? 1 : 3)}
          </text>
        );
      })}
      <rect
        class="band"
        x={0}
        width={right}
        y={row(chosen)}
        height={tall}
      />
      {steps.map((step) => {
        const name = layout.nameOf(step);
        const pattern = decoded.columns[step].pattern[head];
        const set = prepared.edits.pattern(step, head);
        const off = shown !== null && step >= shown;
        return (
          <g key={step} class={off ? "row later" : "row"} transform={`translate(0,${row(step)})`}>
            <text class={step === chosen ? "name at" : "name"} x={GUTTER - 6} y={tall / 2} dy="0.33em" text-anchor="end">
              {name}
            </text>
            <rect class="hit" x={0} width={right} height={tall} onClick={() => choose(name)} />
            {pattern.map((weight, j) => {
              const source = layout.sources[j];
              const left = x.get(source);
              const drawn = side(Math.min(1, Math.abs(weight)));
              const changed = set?.has(j);
              if (drawn < 0.7 && !changed && step !== chosen) return null;
              return (
                <g key={j} onClick={() => (step === chosen ? toggle(source) : choose(name))}>
                  <rect class="hit" x={left} width={size} height={tall}>
                    <title>{`${name} looks at ${saySource(layout, source)}: ${say(weight, 3)}`}</title>
                  </rect>
                  {drawn >= 0.7 && (
                    <rect
                      class={changed ? "weight changed" : "weight"}
                      x={left + (size - drawn) / 2}
                      y={(tall - drawn) / 2}
                      width={drawn}
                      height={drawn}
                    />
                  )}
                  {changed && weight === 0 && (
                    <path
                      class="cross"
                      d={`M${left + 1},${tall - 3}L${left + size - 1},3M${left + 1},3L${left + size - 1},${tall - 3}`}
                    />
                  )}
                </g>
              );
            })}
          </g>
        );
      })}
      {cursor && (
        <rect class="cursor" x={x.get(cursor)} y={row(chosen)} width={size} height={tall} />
      )}
    </svg>
  );
}

/** The attention of one network, a head at a time. */
export function Attention(props) {
  const { view } = props;
  const [ref, width] = useWidth();
  const [wanted, setHead] = useState(0);
  const n = view.network.nHeads;
  const head = Math.min(wanted, n - 1);
  return (
    <Figure
      title="Where each column looks"
      caption="A row is a column of the answer, a square’s area is the weight of one source. In the chosen row, a click switches a source off and on."
    >
      {n > 1 && (
        <div class="choices" role="group" aria-label="head">
          {Array.from({ length: n }, (_, i) => (
            <button key={i} type="button" aria-pressed={i === head} onClick={() => setHead(i)}>
              head {i + 1}
            </button>
          ))}
        </div>
      )}
      <div ref={ref}>
        <Head {...props} {...{ head, width }} />
      </div>
    </Figure>
  );
}
