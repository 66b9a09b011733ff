"""The style sheet of the report: dark and light, wide and narrow, on screen and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --soft: #f3f5f7; --faint: #b4bcc4; --dim: #59636e;
  --blue: #0072b2; --orange: #b87a00; --red: #c44e00; --green: #007f5c; --purple: #a8487c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --soft: #1f2428; --faint: #4a535b;
  --dim: #9aa5b0; --blue: #56b4e9; --orange: #e69f00; --red: #ff8a4c; --green: #2fc39a; --purple: #e39ac0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.2rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; } p { margin: .4rem 0; } ul { margin: .3rem 0; padding-left: 1.2rem; }
.dim { color: var(--dim); } .small { font-size: .88rem; }
.verdict { border-left: .5rem solid var(--dim); background: var(--soft); padding: .8rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.3rem; } .verdict.met { border-color: var(--green); }
.verdict.missed { border-color: var(--red); } .verdict.undecided { border-color: var(--orange); }
.verdict.invalid { border-color: var(--purple); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.4rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--soft); padding: .5rem .7rem; } .tile b { display: block; font-size: 1.15rem; }
.finding { background: var(--soft); padding: .7rem 1rem; margin: .6rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .45rem; border-bottom: 1px solid var(--faint); white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; } th { color: var(--dim); font-weight: 600; }
td.wide { white-space: normal; min-width: 11rem; overflow-wrap: anywhere; }
.status { font-weight: 600; } .status.met { color: var(--green); } .status.missed { color: var(--red); }
figure { margin: .4rem 0 1.4rem; break-inside: avoid; } figcaption { color: var(--dim); font-size: .88rem; }
.picture { display: block; width: 100%; height: auto; min-width: 40rem; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .picture { min-width: 0; }
  h2 { break-after: avoid; } .scroll { overflow: visible; } tr { break-inside: avoid; } }
"""
