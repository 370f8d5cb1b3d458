// The pairs that one can choose by name.

/** Examples of all networks that are shown: the common ones once, a network's own with its name. */
export function collectExamples(networks) {
  const found = new Map();
  for (const network of networks) {
    for (const example of network.examples) {
      const own = Boolean(example.about);
      const label = own && networks.length > 1 ? `${network.name}: ${example.label}` : example.label;
      const key = own ? label : example.label;
      if (!found.has(key)) found.set(key, { ...example, label });
    }
  }
  return [...found.values()];
}

/** Any pair of a layout. */
export function randomPair(layout, random = Math.random) {
  const draw = () => {
    let value = 0n;
    for (let i = 0; i < layout.width; i += 1) {
      value = value * BigInt(layout.base) + BigInt(Math.floor(random() * layout.base));
    }
    return value;
  };
  return { a: draw(), b: draw() };
}
