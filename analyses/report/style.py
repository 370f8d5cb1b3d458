"""The look of the HTML report: readable by day, by night and on paper."""

STYLE = """
:root {
  --ink: #1d2330; --soft: #5b6475; --rule: #d9dee7; --page: #ffffff; --panel: #f5f7fa;
  --accent: #0b6ba8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ef; --soft: #a0a9b8; --rule: #363e4c; --page: #14181f; --panel: #1d232d;
    --accent: #6fb8ea;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16.5px/1.6 "Source Serif 4", Charter, "Bitstream Charter", Georgia, Cambria,
    "DejaVu Serif", serif;
}
nav, h1, h2, h3, table, figcaption, dt, footer, summary {
  font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
main { max-width: 58rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
main > header p, section > p, section > h3, dl { max-width: 46rem; }
nav { max-width: 58rem; margin: 0 auto; padding: 1.5rem 1.5rem 0; font-size: .84rem; }
nav ol { margin: 0; padding: 0 0 0 1.4em; columns: 2; }
nav li { padding: .12rem 0; }
nav li::marker { color: var(--soft); }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
@media (min-width: 78rem) {
  nav {
    position: fixed; top: 0; left: max(0px, calc(50vw - 45rem)); width: 16rem; max-height: 100vh;
    overflow-y: auto; padding-top: 3rem;
  }
  nav ol { columns: 1; }
  nav li { padding: .22rem 0; }
  main { margin-left: max(17rem, calc(50vw - 28rem)); margin-right: auto; }
}
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .8rem; letter-spacing: -.01em; }
h2 {
  font-size: 1.4rem; line-height: 1.3; margin: 3.5rem 0 1rem; padding-top: 1.2rem;
  border-top: 1px solid var(--rule);
}
h2 .number { color: var(--soft); font-weight: 400; margin-right: .7em; }
h3 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p { margin: 0 0 .9rem; }
.abstract { font-size: 1.06rem; }
.findings {
  display: grid; grid-template-columns: minmax(8.5rem, auto) 1fr; gap: .5rem 1.3rem;
  max-width: none; margin: 1.6rem 0 0; padding: 1.1rem 1.3rem; background: var(--panel);
  border-radius: .5rem;
}
.findings dt { font-size: .84rem; font-weight: 600; padding-top: .16rem; }
.findings dd { margin: 0; font-size: .95rem; line-height: 1.5; }
@media (max-width: 40rem) {
  .findings { display: block; }
  .findings dd { margin-bottom: .7rem; }
  nav ol { columns: 1; }
}
figure { margin: 1.8rem 0; }
figure img {
  display: block; max-width: 100%; height: auto; background: #fff; border-radius: .3rem;
}
figcaption {
  font-size: .84rem; line-height: 1.5; color: var(--soft); max-width: 50rem; margin-top: .6rem;
}
figure > img { cursor: zoom-in; }
figure.grown { position: fixed; inset: 0; z-index: 9; margin: 0; overflow: auto; background: #fff; }
figure.grown img { cursor: zoom-out; width: max(100%, 70rem); max-width: none; }
figure.grown figcaption { display: none; }
figure.table thead th { cursor: pointer; }
th[aria-sort="ascending"]::after { content: " ↑"; }
th[aria-sort="descending"]::after { content: " ↓"; }
figcaption b { color: var(--ink); font-weight: 600; }
figure.table figcaption { margin: 0 0 .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; line-height: 1.4; }
thead th { border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); }
tbody tr:last-child td { border-bottom: 1.5px solid var(--ink); }
tbody tr:nth-child(even) { background: var(--panel); }
th, td { padding: .28rem .75rem; text-align: left; vertical-align: top; white-space: nowrap; }
td.long, th.long { min-width: 11rem; white-space: normal; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
sub, sup { font-size: .72em; line-height: 0; }
code, pre {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
code { font-size: .85em; overflow-wrap: anywhere; }
pre {
  font-size: .78rem; line-height: 1.5; background: var(--panel); border-radius: .4rem;
  padding: .7rem .9rem; overflow-x: auto; margin: .3rem 0 .8rem; color: var(--ink);
}
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-size: .9rem; color: var(--accent); }
details pre { max-height: 32rem; overflow-y: auto; }
footer.origin { font-size: .8rem; color: var(--soft); margin-top: 2rem; }
footer.origin p { margin: 0 0 .2rem; }
@media print {
  :root {
    --ink: #000; --soft: #444; --rule: #bbb; --page: #fff; --panel: #f4f4f4; --accent: #000;
  }
  body { font-size: 10pt; }
  nav { position: static; width: auto; max-height: none; padding: 0 0 1rem; }
  main { max-width: none; margin: 0; padding: 0; }
  figure, tr, pre.command { break-inside: avoid; }
  h2, h3, figure.table figcaption { break-after: avoid; }
  .scroll, pre { overflow: visible; white-space: pre-wrap; }
  table { font-size: 7.5pt; }
  th, td { white-space: normal; padding: .15rem .4rem; }
  td.long, th.long { min-width: 0; }
  details > pre { max-height: none; }
}
"""
