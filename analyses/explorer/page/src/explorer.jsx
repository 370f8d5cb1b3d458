// The explorer: one sum, one or two networks, and everything that can be done to them.

import { useCallback, useEffect, useMemo, useReducer, useState } from "preact/hooks";
import { Attention } from "./attention.jsx";
import { decode, prepare, stepNamed } from "./decode.js";
import { collectExamples, randomPair } from "./examples.js";
import { digitsOf, promptTokens } from "./layout.js";
import { Logits } from "./logits.jsx";
import { Components, Heads, Sources, Units } from "./parts.jsx";
import { sameTask, withChange, writeFragment } from "./state.js";
import { Stream } from "./stream.jsx";
import { Sum } from "./sum.jsx";
import { ValueLine } from "./value_line.jsx";
import { sayAnswer, sayChange } from "./words.js";

const PACE = 800;

/** What one network makes of the pair: with its changes, and without where there are any. */
function useView(network, changes, a, b) {
  const original = useMemo(() => network && prepare(network), [network]);
  const prepared = useMemo(
    () => (network && Object.keys(changes).length ? prepare(network, changes) : original),
    [network, changes, original],
  );
  return useMemo(() => {
    if (!network) return null;
    const { layout } = network;
    const [da, db] = [a, b].map((value) => digitsOf(value, layout.width, layout.base));
    return {
      network,
      prepared,
      original,
      prompt: promptTokens(layout, da, db),
      decoded: decode(prepared, da, db),
      before: prepared === original ? null : decode(original, da, db),
    };
  }, [network, prepared, original, a, b]);
}

function reduce(state, action) {
  const merged = typeof action === "function" ? action(state) : action;
  return { ...state, ...merged };
}

/** The changes of a slot as buttons that take them back. */
function Changes({ network, slot, change, clear }) {
  const entries = Object.entries(slot.changes);
  if (!entries.length) return null;
  return (
    <p class="changes">
      {entries.map(([key, value]) => (
        <button key={key} type="button" title="take back" onClick={() => change(key, null)}>
          {sayChange(network, key, value)} <span aria-hidden="true">×</span>
        </button>
      ))}
      <button type="button" class="link" onClick={clear}>
        undo all
      </button>
    </p>
  );
}

/** Everything of one network. */
function Panel({ view, slot, state, networks, dispatch, index }) {
  const { network } = view;
  const { layout } = network;
  const edit = (update) =>
    dispatch(({ slots }) => ({ slots: slots.map((s, i) => (i === index ? update(s) : s)) }));
  const change = (key, value) =>
    edit((s) => ({ ...s, changes: withChange(s.changes, key, value) }));
  const choose = (at) => dispatch({ at });
  const step = Math.min(stepNamed(layout, state.at), layout.nTarget - 1);
  const shared = { view, slot, change, step };
  const others = index === 0 ? networks : networks.filter((n) => sameTask(n, networks.first));
  return (
    <section class="panel" aria-label={network.name}>
      <header>
        <h2>
          {networks.length > 1 ? (
            <select
              aria-label="network"
              value={network.name}
              onChange={(event) => edit(() => ({ net: event.target.value, changes: {} }))}
            >
              {others.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          ) : (
            network.name
          )}
        </h2>
        <p class="soft">{network.title}</p>
        {state.slots.length === 2 && (
          <button
            type="button"
            class="link"
            onClick={() => dispatch(({ slots }) => ({ slots: slots.filter((_, i) => i !== index) }))}
          >
            close
          </button>
        )}
      </header>
      <Changes
        {...{ network, slot, change }}
        clear={() => edit((s) => ({ ...s, changes: {} }))}
      />
      <Attention {...{ view, slot, change, choose }} at={state.at} shown={state.shown} />
      <ValueLine {...{ view, step }} />
      <Logits {...{ view, step }} />
      <div class="groups">
        <Sources {...shared} />
        <Units {...shared} />
        <Heads {...shared} />
        <Components {...shared} />
        <Stream {...shared} />
      </div>
    </section>
  );
}

/** Play the decoding: one column more every while. */
function usePlay(state, dispatch, layout) {
  const [playing, setPlaying] = useState(false);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => {
      dispatch(({ shown }) => {
        const next = (shown ?? 0) + 1;
        if (next >= layout.nTarget) {
          setPlaying(false);
          return { shown: null, at: layout.nameOf(layout.nAnswer - 1) };
        }
        return { shown: next, at: layout.nameOf(next - 1) };
      });
    }, PACE);
    return () => clearInterval(timer);
  }, [playing, layout]);
  const start = () => {
    if (!playing && state.shown === null) dispatch({ shown: 0, at: layout.nameOf(0) });
    setPlaying(!playing);
  };
  const stepOn = () => {
    setPlaying(false);
    dispatch(({ shown }) => {
      const next = shown === null ? 1 : shown + 1;
      const done = next >= layout.nTarget;
      return { shown: done ? null : next, at: layout.nameOf(done ? layout.nAnswer - 1 : next - 1) };
    });
  };
  return { playing, start, stepOn };
}

/**
 * The whole explorer.
 *
 * @param networks What `readNetwork` gave, at least one.
 * @param first The state to begin with.
 * @param onState Called with every new state.
 * @param incoming A state from outside (an address that was changed), or null.
 */
export function Explorer({ networks, first, onState, subscribe }) {
  const [state, dispatch] = useReducer(reduce, first);
  const byName = useMemo(() => new Map(networks.map((n) => [n.name, n])), [networks]);
  const [left, right] = state.slots.map(({ net }) => byName.get(net));
  const empty = useMemo(() => ({}), []);
  const views = [
    useView(left, state.slots[0].changes, state.a, state.b),
    useView(right, state.slots[1]?.changes ?? empty, state.a, state.b),
  ].filter(Boolean);
  useEffect(() => onState?.(state), [state]);
  useEffect(() => subscribe?.(dispatch), []);

  const { layout } = left;
  const { playing, start, stepOn } = usePlay(state, dispatch, layout);
  const examples = useMemo(() => collectExamples([left, right].filter(Boolean)), [left, right]);
  const take = ({ a, b }) => dispatch({ a: BigInt(a), b: BigInt(b), shown: null });
  const change = useCallback((index, key, value) => {
    dispatch(({ slots }) => ({
      slots: slots.map((s, i) =>
        i === index ? { ...s, changes: withChange(s.changes, key, value) } : s,
      ),
    }));
  }, []);
  const partners = networks.filter((other) => sameTask(other, left));
  const choices = Object.assign([...networks], { first: left });
  const [copied, setCopied] = useState(false);
  const share = async () => {
    const address = `${location.href.split("#")[0]}#${writeFragment(state)}`;
    try {
      await navigator.clipboard.writeText(address);
      setCopied(true);
    } catch {
      window.prompt("The address of this view", address);
    }
  };
  const onKey = (event) => {
    if (event.target.closest("input, select, button, summary, svg, textarea")) return;
    const step = stepNamed(layout, state.at);
    const by = { ArrowLeft: 1, ArrowRight: -1 }[event.key];
    if (by && step + by >= 0 && step + by < layout.nTarget) {
      dispatch({ at: layout.nameOf(step + by) });
    } else if (event.key === " ") start();
    else return;
    event.preventDefault();
  };
  return (
    <div class="carrylens-explorer" onKeyDown={onKey}>
      <div class="board">
        <Sum
          {...{ state, views, change }}
          setNumbers={(numbers) => dispatch({ ...numbers, shown: null })}
          choose={(at) => dispatch({ at })}
        />
        <div class="tools">
          <button type="button" class="main" onClick={start}>
            {playing ? "Pause" : "Play"}
          </button>
          <button type="button" onClick={stepOn}>
            Next column
          </button>
          {state.shown !== null && (
            <button type="button" onClick={() => dispatch({ shown: null })}>
              All
            </button>
          )}
          <button type="button" onClick={share}>
            {copied ? "Link copied" : "Copy link"}
          </button>
        </div>
        <p class="examples">
          <span class="soft">Try</span>{" "}
          {examples.map((example) => (
            <button
              key={example.label}
              type="button"
              class="link"
              title={example.about || `${example.a} + ${example.b}`}
              onClick={() => take(example)}
            >
              {example.label}
            </button>
          ))}
          <button type="button" class="link" onClick={() => take(randomPair(layout))}>
            random
          </button>
        </p>
        <p class="hide" role="status" aria-live="polite">
          {views
            .map((v, i) => `${v.network.name}: ${sayAnswer(v.network, v.decoded, state.slots[i].changes)}`)
            .join("; ")}
        </p>
      </div>
      <div class={views.length === 2 ? "panels two" : "panels"}>
        {views.map((view, index) => (
          <Panel
            key={`${index}${view.network.name}`}
            {...{ view, state, dispatch, index }}
            slot={state.slots[index]}
            networks={choices}
          />
        ))}
      </div>
      {views.length === 1 && (
        <p class="beside">
          <span class="soft">Beside it</span>{" "}
          {partners.map(({ name }) => (
            <button
              key={name}
              type="button"
              class="link"
              onClick={() =>
                dispatch(({ slots }) => ({ slots: [...slots, { net: name, changes: {} }] }))
              }
            >
              {name === left.name ? `${name} without changes` : name}
            </button>
          ))}
        </p>
      )}
    </div>
  );
}
