"""What a page looks like, and the little that it can do by itself: nothing comes from outside."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #59636e; --line: #d4d9df; --back: #fff;
  --raised: #f5f7f9; --good: #1a6b35; --bad: #b3261e; --odd: #7a4d00;
  --work: #2f6fb5; --model: #7a4fb0; --step: #8a97a6; --people: #b0501f; --signals: #a8701a;
  --children: #1f7f7a; --retries: #b3261e; --timers: #8b7a1e; --away: #59636e; --program: #c3cad2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --faint: #9aa5b1; --line: #343c45;
  --back: #14181d; --raised: #1d232a; --good: #6cc788; --bad: #ff8a80; --odd: #e6b566;
  --work: #6ba4e7; --model: #b794f0; --step: #5f6b78; --people: #e88a55; --signals: #dca54a;
  --children: #5bbdb7; --retries: #ff8a80; --timers: #cdbb55; --away: #7d8894; --program: #434c57; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem 1.5rem 4rem; background: var(--back);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
a { color: inherit; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; background: var(--back); padding: .3rem; }
:focus-visible { outline: 2px solid var(--work); outline-offset: 1px; }
ul.facts { list-style: none; margin: 0; padding: 0; color: var(--faint); overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; }
.r { text-align: right; font-variant-numeric: tabular-nums; }
.note, .more { color: var(--faint); font-size: .9rem; }
svg { display: block; width: 100%; }
svg.share { height: 1.6rem; } svg.lane { height: 1.6rem; } svg.bar { height: .7rem; }
.lanes { display: grid; grid-template-columns: 11rem 1fr; gap: .15rem .6rem; align-items: center; }
.lanes span { color: var(--faint); font-size: .85rem; }
.work, .tool, .value, .state, .hook { fill: var(--work); } .model { fill: var(--model); }
.step, .persona, .composition { fill: var(--step); } .people, .approval { fill: var(--people); }
.signals, .signal { fill: var(--signals); } .children, .child { fill: var(--children); }
.retries { fill: var(--retries); } .timers, .timer { fill: var(--timers); }
.away { fill: var(--away); } .program { fill: var(--program); }
.tree, .tree ul { list-style: none; margin: 0; padding: 0; }
.tree ul { padding-left: 1rem; border-left: 1px solid var(--line); margin-left: .4rem; }
.tree li { content-visibility: auto; contain-intrinsic-size: auto 1.7rem; }
.tree summary, .tree .row { display: grid; gap: .7rem; align-items: center; padding: .1rem 0;
  grid-template-columns: 4rem minmax(0, 1fr) 6rem 5rem 9rem minmax(6rem, 24%); }
.tree summary { cursor: pointer; } .tree summary:hover { background: var(--raised); }
.tree .seq { color: var(--faint); text-align: right; font-variant-numeric: tabular-nums; }
.tree summary .seq::before { content: "\\25B8 "; }
.tree details[open] > summary .seq::before { content: "\\25BE "; }
.tree .what { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tree dl { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: .1rem .6rem;
  margin: .2rem 0 .5rem 4.7rem; font-size: .85rem; }
.tree dt { color: var(--faint); } .tree dd { margin: 0; overflow-wrap: anywhere; }
.completed, .granted { color: var(--good); } .failed, .denied { color: var(--bad); }
.cancelled, .open, .running, .in_doubt, .proposed, .skipped, .escalated { color: var(--odd); }
.tools { display: flex; gap: .5rem; margin: .5rem 0; } .tools input { flex: 1; max-width: 24rem; }
.hidden { display: none; }
@media (max-width: 60rem) { .tree summary, .tree .row {
  grid-template-columns: 3.5rem minmax(0, 1fr) 5.5rem 4.5rem; }
  .tree .used, .tree svg.bar { display: none; } .lanes { grid-template-columns: 1fr; } }
@media print { body { max-width: none; padding: 0; font-size: 11px; } .tools, .skip { display: none; }
  .tree li { content-visibility: visible; break-inside: avoid-page; }
  details::details-content { content-visibility: visible; display: block; } h2 { break-after: avoid; } }
"""

SCRIPT: Final = """
(() => {
  const tree = document.querySelector(".tree");
  if (!tree) return;
  const tools = document.createElement("div");
  tools.className = "tools";
  const button = (text, work) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", work);
    tools.append(made);
  };
  const all = (open) => tree.querySelectorAll("details").forEach((each) => { each.open = open; });
  button("Open all", () => all(true));
  button("Close all", () => all(false));
  const find = document.createElement("input");
  find.type = "search";
  find.placeholder = "Only what holds this text";
  find.setAttribute("aria-label", "Only what holds this text");
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase();
    const items = [...tree.querySelectorAll("li")].reverse();
    for (const item of items) {
      const own = item.querySelector(".what");
      const fits = !wanted || (own && own.textContent.toLowerCase().includes(wanted));
      const inner = item.querySelector(":scope li:not(.hidden)");
      item.classList.toggle("hidden", !fits && !inner);
      const fold = item.firstElementChild;
      if (wanted && inner && fold && fold.tagName === "DETAILS") fold.open = true;
    }
  });
  tools.append(find);
  tree.before(tools);
  window.addEventListener("beforeprint", () => all(true));
})();
"""
