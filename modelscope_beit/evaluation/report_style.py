"""The style sheet and the script of report.html. They load nothing, and without the script all is readable."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --faded: #5d6672; --paper: #fff; --card: #f3f5f8; --line: #d9dee5;
  --right: #1f6fc4; --wrong: #d9480f; --amount: #8b95a3; --alarm: #fff1e6; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --faded: #a3adba; --paper: #14171b; --card: #1e2329; --line: #343b45;
    --right: #5aa4f2; --wrong: #ff8a4c; --amount: #78838f; --alarm: #3a2415; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0; max-width: 60rem; }
.faded, figcaption, caption, footer { color: var(--faded); font-size: .9rem; }
.alarm { background: var(--alarm); border-left: 4px solid var(--wrong); padding: .5rem .8rem; margin: 1rem 0; }
.cards, .pictures, .side-by-side { display: grid; gap: 1rem; }
.beside { display: flex; flex-wrap: wrap; column-gap: 3rem; } .beside > section { max-width: 100%; }
.cards { grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); margin: 1.2rem 0; }
.card { background: var(--card); border-radius: .6rem; padding: .9rem 1.1rem;
  display: grid; grid-template-rows: 1fr auto minmax(1.35rem, auto); }
.card b { font-size: 2.2rem; line-height: 1.15; font-variant-numeric: tabular-nums; }
.pictures { grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); }
.side-by-side { grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); align-items: start; }
figure { margin: 0; } figure img { max-width: 100%; }
.pictures figure { background: var(--card); border-radius: .6rem; padding: .6rem; overflow-wrap: anywhere; }
.pictures img, .no-picture { display: block; width: 100%; height: 10rem; object-fit: contain; }
.pictures img.icon { image-rendering: pixelated; }
.no-picture { display: grid; place-items: center; text-align: center; border: 1px dashed var(--line); }
figcaption dl { margin: .4rem 0 0; display: grid; grid-template-columns: 1fr auto; line-height: 1.35; }
figcaption dd + dt, figcaption dd + dt + dd { margin-top: .3rem; }
figcaption dd { margin: 0; color: var(--ink); } figcaption dd:not(.number) { grid-column: 1 / -1; font-weight: 600; }
.path { font-size: .8rem; line-height: 1.35; }
.scrolls { overflow: auto; max-width: 100%; }
.scrolls.tall { max-height: 36rem; width: fit-content; border: 1px solid var(--line); }
.tall tfoot { position: sticky; bottom: 0; }
table { border-spacing: 0; font-size: .93rem; } caption { text-align: left; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td bdi { display: inline-block; max-width: 24rem; overflow-wrap: break-word; }
.facts { margin-top: 1rem; } .facts th { font-weight: normal; color: var(--faded); white-space: nowrap; }
.facts td { white-space: pre-wrap; } .facts td bdi { display: inline; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--card); } tfoot td { background: var(--card); font-weight: 600; }
th button { all: unset; cursor: pointer; } th button:hover { text-decoration: underline; }
th button:focus-visible { outline: 2px solid var(--right); }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
svg { font: 12px system-ui, sans-serif; } svg.fits { max-width: 100%; height: auto; }
.side-by-side svg { width: 28rem; }
svg.bar { width: 5rem; height: .5rem; } .label { fill: var(--faded); } .paper { fill: var(--card); }
.right { fill: var(--right); } .wrong { fill: var(--wrong); }
.amount { fill: var(--amount); } .grid { stroke: var(--line); }
.ideal { stroke: var(--ink); stroke-dasharray: 5 4; }
.few { opacity: .4; } .dot { fill: var(--right); }
.curve { fill: none; stroke: var(--right); stroke-width: 2.5; } .count { font-size: 11px; }
.count.pale { fill: var(--ink); } .count.strong { fill: var(--paper); }
@media (max-width: 36rem) { .cards { grid-template-columns: 1fr 1fr; gap: .6rem; } .card { padding: .7rem .8rem; }
  .card b { font-size: 1.6rem; } th, td { padding: .3rem .4rem; } }
@media print { body { font-size: 11pt; } main { max-width: none; padding: 0; }
  .scrolls, .scrolls.tall { overflow: visible; max-height: none; border: 0; } svg.wide { width: 100%; height: auto; }
  .beside { display: block; } thead th { position: static; } tfoot { display: table-row-group; }
  th button { display: contents; } /* Otherwise they are missing from a heading that is repeated on the next page. */
  figure, tr, p, .card { break-inside: avoid; } h2, section > p { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

# Makes the headings of a table buttons that sort it: numbers from the largest first, names from A.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const isNumber = head.classList.contains("number");
    const value = row => {
      const words = row.cells[column].textContent;
      return isNumber ? parseFloat(words.replace(/,/g, "")) : words;
    };
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const rising = before ? before === "descending" : !isNumber;
      const rows = [...table.tBodies[0].rows];
      const order = isNumber ? (a, b) => a - b : new Intl.Collator(undefined, {numeric: true}).compare;
      const sign = rising ? 1 : -1;
      rows.sort((a, b) => sign * order(value(a), value(b)));
      table.tBodies[0].append(...rows);
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    });
    head.replaceChildren(button);
  });
}
"""
