// Ways in: a page that holds its networks, and a widget in a notebook.

import { h, render as draw } from "preact";
import { decode, prepare } from "./decode.js";
import { Explorer } from "./explorer.jsx";
import { digitsOf } from "./layout.js";
import { readNetwork } from "./network.js";
import { placeValue } from "./place_value.js";
import { firstState, readFragment, writeFragment } from "./state.js";

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
  const onState = (state) => {
    const fragment = writeFragment(state);
    if (written !== null && fragment !== written) history.replaceState(null, "", `#${fragment}`);
    written = fragment;
  };
  const subscribe = (dispatch) => {
    const listen = () => {
      if (location.hash.slice(1) !== written) dispatch(read());
    };
    window.addEventListener("hashchange", listen);
    return () => window.removeEventListener("hashchange", listen);
  };
  const props = address ? { onState, subscribe, first: read() } : { first: base };
  element.textContent = "";
  draw(h(Explorer, { networks, ...props }), element);
  return () => draw(null, element);
}

/** What a test or a console needs: the network without the page. */
export const maths = { readNetwork, prepare, decode, digitsOf, placeValue };

const place = globalThis.document?.getElementById("carrylens-explorer");
const data = globalThis.document?.getElementById("carrylens-networks");
if (place && data) {
  globalThis.carrylens = maths;
  mount(place, JSON.parse(data.textContent), { address: true });
}

/** The notebook widget (anywidget). */
export default {
  render: ({ model, el }) => mount(el, model.get("networks")),
};
