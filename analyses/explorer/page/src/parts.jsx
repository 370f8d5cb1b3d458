// Everything that can be switched off or scaled: heads, sources, units, rank components.

import { useState } from "preact/hooks";
import { relativeSource } from "./decode.js";
import { percent, say, sayComponent, saySource } from "./words.js";

/** One part: a switch, its name, what it does now (a bar), and a slider. */
function Part({ name, hint, value, ghost, scale, change, factor, plain, most }) {
  const changed = change !== undefined;
  const now = changed ? change : plain;
  const bar = (at, kind) => {
    const half = scale.signed ? 50 : 0;
    const length = Math.min(1, Math.abs(at) / scale.largest) * (scale.signed ? 50 : 100);
    const left = at < 0 ? half - length : half;
    return <span class={kind} style={`left:${left}%;width:${length}%`} />;
  };
  return (
    <li class={changed ? "part changed" : "part"}>
      <label title={hint}>
        <input
          type="checkbox"
          checked={now !== 0}
          onChange={(event) => factor(event.target.checked ? null : 0)}
        />
        {name}
      </label>
      <span class="bars" aria-hidden="true">
        {value !== undefined && bar(value, value < 0 ? "bar minus" : "bar plus")}
        {ghost !== undefined && bar(ghost, "outline")}
      </span>
      <span class="number">{value === undefined ? "" : say(value)}</span>
      <input
        type="range"
        min="0"
        max={most}
        step={most / 40}
        value={now}
        aria-label={`${name}, ${most === 1 ? "weight" : "factor"}`}
        aria-valuetext={say(now)}
        onInput={(event) => factor(Number(event.target.value))}
        onDblClick={() => factor(null)}
      />
    </li>
  );
}

function Group({ title, note, open = true, children }) {
  return (
    <details class="group" open={open}>
      <summary>
        {title}
        {note && <span class="soft"> {note}</span>}
      </summary>
      {children}
    </details>
  );
}

const largestOf = (values) => Math.max(1e-9, ...values.map(Math.abs));

/** Sources of the chosen column, the heaviest first, by head. */
export function Sources({ view, slot, step, change }) {
  const [everywhere, setEverywhere] = useState(false);
  const [all, setAll] = useState(false);
  const { network, decoded, before } = view;
  const { layout } = network;
  const { pattern } = decoded.columns[step];
  const name = layout.nameOf(step);
  const rows = [];
  pattern.forEach((weights, head) => {
    const ghost = before?.columns[step].pattern[head];
    weights.forEach((weight, j) => {
      const source = layout.sources[j];
      const keys = {
        here: `w.${name}.${head}.${source}`,
        all: `w.all.${head}.${relativeSource(layout, step, source)}`,
      };
      const set = slot.changes[keys.here] ?? slot.changes[keys.all];
      const size = Math.max(weight, ghost?.[j] ?? 0);
      rows.push({ head, source, weight, ghost: ghost?.[j], keys, set, size });
    });
  });
  rows.sort((p, q) => q.size - p.size);
  const kept = all ? rows : rows.filter(({ size, set }) => size >= 0.01 || set !== undefined);
  const rest = rows.length - kept.length;
  return (
    <Group title={`Sources of ${name}`} note="weight of each">
      <div class="choices">
        <label>
          <input
            type="checkbox"
            checked={everywhere}
            onChange={(event) => setEverywhere(event.target.checked)}
          />
          in all columns alike
        </label>
        <label title="else the other weights stay as they are">
          <input
            type="checkbox"
            checked={slot.changes.sum === 1}
            onChange={(event) => change("sum", event.target.checked ? 1 : null)}
          />
          others make up for it
        </label>
      </div>
      <ul>
        {kept.map(({ head, source, weight, ghost, keys, set }) => (
          <Part
            key={keys.here}
            name={
              saySource(layout, source) + (network.nHeads > 1 ? ` · head ${head + 1}` : "")
            }
            hint={`source ${saySource(layout, source)}`}
            value={weight}
            ghost={ghost}
            scale={{ largest: 1, signed: false }}
            change={set}
            plain={weight}
            most={1}
            factor={(value) => {
              const key = slot.changes[keys.all] !== undefined || everywhere ? keys.all : keys.here;
              change(key, value);
            }}
          />
        ))}
      </ul>
      {(rest > 0 || all) && (
        <button type="button" class="link" onClick={() => setAll(!all)}>
          {all ? "only those of 1 % and more" : `${rest} more, under ${percent(0.01)} each`}
        </button>
      )}
    </Group>
  );
}

/** Heads: size of what each writes in the chosen column. */
export function Heads({ view, slot, step, change }) {
  const { network, decoded, before } = view;
  const norms = (run) => run.columns[step].heads.map((out) => Math.hypot(...out));
  const [now, ghost] = [norms(decoded), before && norms(before)];
  const scale = { largest: largestOf([...now, ...(ghost ?? [])]), signed: false };
  return (
    <Group title={network.nHeads > 1 ? "Heads" : "Attention"} note="length of what it writes">
      <ul>
        {now.map((value, head) => (
          <Part
            key={head}
            name={network.nHeads > 1 ? `head ${head + 1}` : "the head"}
            {...{ value, scale }}
            ghost={ghost?.[head]}
            change={slot.changes[`h.${head}`]}
            plain={1}
            most={2}
            factor={(factor) => change(`h.${head}`, factor)}
          />
        ))}
      </ul>
    </Group>
  );
}

/** Feed-forward units: their activations in the chosen column. */
export function Units({ view, slot, step, change }) {
  const { network, decoded, before } = view;
  if (!network.nUnits) return null;
  const now = decoded.columns[step].post;
  const ghost = before?.columns[step].post;
  const scale = { largest: largestOf([...now, ...(ghost ?? [])]), signed: true };
  return (
    <Group title="Feed-forward units" note={`activation in ${network.layout.nameOf(step)}`}>
      <ul>
        {now.map((value, unit) => (
          <Part
            key={unit}
            name={`unit ${unit + 1}`}
            {...{ value, scale }}
            ghost={ghost?.[unit]}
            change={slot.changes[`u.${unit}`]}
            plain={1}
            most={2}
            factor={(factor) => change(`u.${unit}`, factor)}
          />
        ))}
      </ul>
    </Group>
  );
}

/** Rank components, with the singular value of each. */
export function Components({ view, slot, change }) {
  const { network } = view;
  const { components } = network;
  const largest = new Map();
  for (const { matrix, size } of components) {
    largest.set(matrix, Math.max(size, largest.get(matrix) ?? 0));
  }
  return (
    <Group title="Rank components" note="singular value of each">
      <ul>
        {components.map(({ key, matrix, size }) => (
          <Part
            key={key}
            name={sayComponent(network, key)}
            value={size * (slot.changes[`c.${key}`] ?? 1)}
            scale={{ largest: largest.get(matrix), signed: false }}
            change={slot.changes[`c.${key}`]}
            plain={1}
            most={2}
            factor={(factor) => change(`c.${key}`, factor)}
          />
        ))}
      </ul>
    </Group>
  );
}
