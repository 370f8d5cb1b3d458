// Ways in: a page that holds its networks, and a widget in a notebook.

import { h, render as draw } from "preact";
import { decode, prepare } from "./decode.js";
import { Explorer } from "./explorer.jsx";
import { digitsOf } from "./layout.js";
import { readNetwork } from "./network.js";
import { placeValue } from "./place_value.js";
import { firstState, readFragment, writeFragment } from "./state.js";

const QUIET = 250;

/**
 * Put an explorer into an element.
 *
 * @param element Where; what it holds is replaced.
 * @param descriptions Networks as Python describes them.
 * @param address Whether the fragment of the page's address is read and written.
 * @returns A function that takes the explorer away.
 */
export function mount(element, descriptions, { address = false } = {}) {
  const networks = descriptions.map(readNetwork);
  const base = firstState(networks);
  const read = () => readFragment(location.hash, networks, base);
  let written = null;
  let timer;
  const onState = (state) => {
    const fragment = writeFragment(state);
    const changed = written !== null && fragment !== written;
    written = fragment;
    if (!changed) return;
    // Browsers take milliseconds for it, and refuse a page that writes its address at every key.
    clearTimeout(timer);
    timer = setTimeout(() => history.replaceState(null, "", `#${written}`), QUIET);
  };
  const subscribe = (dispatch) => {
    const listen = () => {
      const foreign = !/[#&]a=/.test(location.hash); // an anchor of the page around
      if (!foreign && location.hash.slice(1) !== written) dispatch(read());
    };
    window.addEventListener("hashchange", listen);
    return () => window.removeEventListener("hashchange", listen);
  };
  const props = address ? { onState, subscribe, first: read() } : { first: base };
  element.textContent = "";
  draw(h(Explorer, { networks, ...props }), element);
  return () => draw(null, element);
}

/** The notebook widget (anywidget). */
const widget = { render: ({ model, el }) => mount(el, model.get("networks")) };

/** What a test or a console needs: the network without the page, and the widget. */
const parts = { readNetwork, prepare, decode, digitsOf, placeValue, widget };

/** Where to draw: in the place, or, as part of another page, in a tree that its style cannot reach. */
function inside(place) {
  const style = document.getElementById("carrylens-style");
  if (!style) return place;
  const root = place.attachShadow({ mode: "open" });
  root.append(style.content.cloneNode(true));
  return root.appendChild(document.createElement("div"));
}

const place = globalThis.document?.getElementById("carrylens-explorer");
const data = globalThis.document?.getElementById("carrylens-networks");
if (place && data) {
  globalThis.carrylens = parts;
  mount(inside(place), JSON.parse(data.textContent), { address: true });
}

export default widget;
