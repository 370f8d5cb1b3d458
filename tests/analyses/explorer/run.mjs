// Runs the page's modules without a page: jobs on standard input, results on standard output.

import { readFileSync } from "node:fs";

const [, , folder] = process.argv;
const load = (name) => import(`file://${folder}/${name}`);
const { decode, prepare } = await load("decode.js");
const { digitsOf, promptTokens } = await load("layout.js");
const { readNetwork } = await load("network.js");
const { placeValue } = await load("place_value.js");
const { firstState, readFragment, writeFragment } = await load("state.js");

function decodeAll({ network: description, pairs, changes = {}, values = [] }) {
  const network = readNetwork(description);
  const { width, base } = network.layout;
  const prepared = prepare(network, changes);
  return pairs.map((pair) => {
    const [a, b] = pair.map((value) => digitsOf(BigInt(value), width, base));
    const { tokens, columns, margins, sum, right, fed } = decode(prepared, a, b);
    const prompt = promptTokens(network.layout, a, b);
    const measured = values.map((step) => placeValue(prepared, [...prompt, ...fed.slice(0, step)], step));
    const logits = columns.map((column) => column.logits);
    return { tokens, logits, margins, right, sum: sum?.toString(), values: measured };
  });
}

function goAround({ networks: descriptions, fragments }) {
  const networks = descriptions.map(readNetwork);
  const first = firstState(networks);
  return fragments.map((fragment) => writeFragment(readFragment(fragment, networks, first)));
}

const jobs = JSON.parse(readFileSync(0, "utf8"));
const done = jobs.map((job) => (job.fragments ? goAround(job) : decodeAll(job)));
process.stdout.write(JSON.stringify(done));
