// Bundles the page into bundle/, minified, with the licences of what it takes in, and the sums of its
// sources, by which a test sees whether the bundle is theirs.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const options = {
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
};
const script = await build({ ...options, entryPoints: ["src/main.js"], outfile: "bundle/explorer.js" });
await build({ ...options, entryPoints: ["src/style.css"], outfile: "bundle/explorer.css" });

const inputs = Object.keys(script.metafile.inputs);
const names = inputs.flatMap((path) => path.match(/^node_modules\/([^/]+)\//)?.[1] ?? []);
const licences = [...new Set(names)].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  return `${name} ${version}\n\n${readFileSync(`${folder}/LICENSE`, "utf8").trim()}\n`;
});
writeFileSync("bundle/LICENSES.txt", licences.join("\n----\n\n"));
const sums = readdirSync("src")
  .sort()
  .map((name) => [createHash("sha256").update(readFileSync(`src/${name}`)).digest("hex"), name]);
writeFileSync("bundle/SOURCES.txt", sums.map((line) => `${line.join("  ")}\n`).join(""));
console.log(`${[...new Set(names)].join(", ")} are in bundle/explorer.js`);
