// What is looked at, as one plain value, and how it is written into the address of the page.
//
//   {a, b, at, shown, slots: [{net, changes}]}
//
// a and b are BigInt; `at` is the chosen column ("s3", "end"); `shown` is how many steps are decoded
// so far, null for all; a slot is a network with its changes (see decode.js).

const SIDES = ["left", "right"];

/** Whether two networks add the same numbers in the same columns, so that they stand side by side. */
export function sameTask({ layout: one }, { layout: other }) {
  return one.width === other.width && one.base === other.base;
}

/** What one sees first: the first network and its most telling example, at its column. */
export function firstState(networks) {
  const [network] = networks;
  const example = network.examples.find(({ label }) => label.includes("error")) ?? {
    a: "0",
    b: "0",
  };
  const slots = networks
    .filter((other) => sameTask(other, network))
    .slice(0, 2)
    .map(({ name }) => ({ net: name, changes: {} }));
  const column = Math.min(3, network.layout.width);
  const [a, b] = [BigInt(example.a), BigInt(example.b)];
  return { a, b, at: `s${column}`, shown: null, slots };
}

/** Write a state as the fragment of an address. */
export function writeFragment({ a, b, at, slots }) {
  const fields = new URLSearchParams({ a: a.toString(), b: b.toString(), at });
  slots.forEach(({ net, changes }, i) => {
    fields.set(SIDES[i], net);
    for (const [key, value] of Object.entries(changes)) {
      fields.set(`${SIDES[i]}.${key}`, String(Number(value.toFixed(3))));
    }
  });
  return fields.toString();
}

const CHANGE = /^(w\.(s\d+|end|all)\.\d+\.[absp]-?\d+|h\.\d+|u\.\d+|c\.W_\w+(\.\d+){1,2}|d\.s\d+|sum)$/;

/** Read a fragment; what cannot be read is left as it is in `state`. */
export function readFragment(fragment, networks, state) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const byName = new Map(networks.map((network) => [network.name, network]));
  const found = { ...state };
  const [first] = SIDES;
  const slots = [];
  for (const side of SIDES) {
    const net = fields.get(side);
    if (!byName.has(net)) continue;
    const changes = {};
    for (const [key, text] of fields) {
      const value = Number(text);
      if (!key.startsWith(`${side}.`) || !Number.isFinite(value) || text === "") continue;
      const change = key.slice(side.length + 1);
      if (CHANGE.test(change) && fits(byName.get(net), change, value)) changes[change] = value;
    }
    slots.push({ net, changes });
  }
  if (slots.length && fields.has(first)) {
    const [left, right] = slots.map(({ net }) => byName.get(net));
    found.slots = right && !sameTask(left, right) ? slots.slice(0, 1) : slots;
  }
  const { layout } = byName.get(found.slots[0].net);
  for (const name of ["a", "b"]) {
    const text = fields.get(name) ?? "";
    const value = /^\d{1,40}$/.test(text) ? BigInt(text) : found[name];
    found[name] = value < layout.capacity ? value : layout.capacity - 1n;
  }
  const at = fields.get("at") ?? found.at;
  const known = Array.from({ length: layout.nTarget }, (_, step) => layout.nameOf(step));
  found.at = known.includes(at) ? at : known[0];
  return found;
}

/** Whether a change of an address is one that this network can take. */
function fits(network, key, value) {
  const { layout } = network;
  if (key.startsWith("d.")) {
    const column = Number(key.slice(3));
    const digit = Number.isInteger(value) && layout.isDigit(value);
    return column < layout.nAnswer && digit;
  }
  const part = key.split(".");
  if (part[0] === "h" && Number(part[1]) >= network.nHeads) return false;
  if (part[0] === "w" && Number(part[2]) >= network.nHeads) return false;
  if (part[0] === "u" && Number(part[1]) >= network.nUnits) return false;
  return Math.abs(value) <= 10;
}

/** Set one change, or with `value` null take it back. */
export function withChange(changes, key, value) {
  const { [key]: _, ...others } = changes;
  return value === null ? others : { ...others, [key]: value };
}
