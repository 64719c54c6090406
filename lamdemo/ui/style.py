# ruff: noqa: E501 (rules of CSS read best on a line of their own)
"""How the page looks, and the little that runs in the browser."""

from __future__ import annotations

from typing import Any

CSS = """
/* Clipped and not hidden, which would make it the frame of whatever sticks to the top and never scrolls. */
.gradio-container { overflow: clip !important; width: 100% !important; max-width: 1360px !important; margin: 0 auto !important; padding: 0 24px 40px !important; }
.gradio-container .main, .gradio-container .main > .wrap, .gradio-container main { padding: 0 !important; }
.gradio-container footer, .gradio-container footer button { color: var(--lam-soft) !important; opacity: 1 !important; }
#lam-head { padding: 20px 2px 0; }
#lam-head h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -.02em; margin: 0 0 4px; line-height: 1.15;
  color: var(--body-text-color); }
#lam-head p { font-size: .96rem; line-height: 1.45; margin: 0; color: var(--lam-soft); }
#lam-head b { color: inherit; }
#lam-head a, .lam-text a { color: var(--lam-accent); }

:root { --lam-soft: #57534e; --lam-line: #e3dfda; --lam-card: #ffffff; --lam-stage: #efece8; --lam-bar: #c9c3bc;
  --lam-accent: #0f766e; --lam-accent-soft: #d5ebe7; --lam-far: #b45309; --lam-far-soft: #fdf0dc; }
.dark { --lam-soft: #b4ada6; --lam-line: #36322f; --lam-card: #1d1b19; --lam-stage: #131110; --lam-bar: #57514b;
  --lam-accent: #2dd4bf; --lam-accent-soft: #12403b; --lam-far: #fbbf24; --lam-far-soft: #3a2b12; }

.lam-card { background: var(--lam-card) !important; border: 1px solid var(--lam-line) !important;
  border-radius: 16px !important; padding: 16px !important; gap: 12px !important; align-self: flex-start;
  box-shadow: 0 1px 2px rgb(0 0 0 / 4%); }
.lam-card h2 { font-size: .98rem; font-weight: 640; margin: 0; letter-spacing: -.005em; color: var(--body-text-color); }
.lam-card h2 + p { margin: 2px 0 0; font-size: .86rem; line-height: 1.4; color: var(--lam-soft); }
.lam-card .block { box-shadow: none; overflow: visible; }
.lam-card .form { background: transparent !important; border: 0 !important; box-shadow: none !important; gap: 14px;
  overflow: visible; }
.lam-card .row { gap: 14px; }
.lam-card input[type=number] { background: var(--lam-stage) !important; border-radius: 7px; border: 0 !important;
  max-width: 4.6em; }
#lam-more input[type=number] { max-width: none; }

/* Clip, picture, result: three columns, or on a phone two above one. */
#lam-trio { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 14px; align-items: start; }
#lam-trio > .lam-card { min-width: 0 !important; }
#lam-trio .lam-turn:not(:has(p)) { display: none; }
#lam-trio .lam-card.lam-over { outline: 3px dashed var(--lam-accent); outline-offset: -3px; }
.lam-own { flex-wrap: nowrap !important; gap: 8px !important; }
.lam-own button { min-width: 0 !important; }
#lam-film, #lam-snap { flex: 0 0 auto; }
.lam-hidden { display: none !important; }
#lam-do { flex-wrap: nowrap; align-items: center; gap: 8px !important; }
#lam-go { flex: 1 1 120px; }
#lam-stop { flex: 0 0 auto; }
#lam-keep { gap: 6px !important; }
#lam-keep button { padding: 4px 5px; white-space: nowrap; font-size: .78rem; }
#lam-amount { flex-direction: row; gap: 28px !important; }

/* The place to drop a file in the other tabs: flat, dashed, as high as it must be. */
.lam-file { border: 1px dashed var(--lam-bar) !important; border-radius: 10px !important; overflow: hidden !important;
  min-height: 0 !important; }
.lam-file > label, .lam-file > .block-label, .lam-file [data-testid=block-label] { border: 0 !important;
  box-shadow: none !important; background: transparent !important; padding-left: 10px; }
.lam-file .wrap { color: var(--lam-soft); font-size: .84rem; line-height: 1.35; padding-top: 14px; gap: 0; }
.lam-file .icon-wrap { width: 20px; margin-bottom: 2px; }

/* What plays or is shown: one size in all three columns, so that they stand side by side. */
.lam-stage { position: relative; width: 100%; aspect-ratio: 3 / 2; border-radius: 10px; overflow: hidden;
  background: var(--lam-stage); display: grid; place-items: center; }
.lam-stage > video, .lam-stage > img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain;
  margin: 0 !important; border-radius: 0 !important; }
.lam-stage > .lam-empty { padding: 20px; text-align: center; font-size: .9rem; line-height: 1.5; color: var(--lam-soft);
  max-width: 34ch; }
.lam-tag { position: absolute; left: 8px; bottom: 8px; z-index: 2; font-size: .74rem; line-height: 1; padding: 5px 8px;
  border-radius: 999px; color: #fff; background: rgb(20 18 17 / 72%); }
.lam-progress { position: absolute; left: 0; bottom: 0; z-index: 3; height: 4px; background: var(--lam-accent);
  transition: width .2s linear; }
.lam-note { font-size: .84rem; line-height: 1.45; color: var(--lam-soft); margin: 8px 0 0; }
.lam-note b { color: var(--body-text-color); font-weight: 600; }

/* Bars and filmstrip share one grid of steps. */
.lam-strip { margin-top: 12px; }
.lam-strip .lam-top { display: flex; justify-content: space-between; font-size: .76rem; color: var(--lam-soft);
  margin-bottom: 4px; gap: 8px; }
.lam-bars, .lam-frames { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); }
.lam-range { position: relative; touch-action: pan-y; cursor: pointer; user-select: none; }
.lam-handle { position: absolute; top: -3px; bottom: -3px; width: 26px; margin-left: -13px; cursor: ew-resize;
  touch-action: none; display: grid; place-items: center; }
.lam-handle::before { content: ""; width: 4px; height: 100%; border-radius: 3px; background: var(--body-text-color); }
.lam-handle:focus-visible { outline: 2px solid var(--lam-accent); outline-offset: 1px; border-radius: 6px; }
.lam-bars { height: 58px; align-items: end; border-bottom: 1px solid var(--lam-line); }
.lam-bars span { display: block; margin: 0 8%; border-radius: 3px 3px 0 0; background: var(--lam-bar); min-height: 2px; }
.lam-bars span.on { background: var(--lam-accent); }
.lam-bars span.on.far { background: var(--lam-far); }
.lam-bars span.now { outline: 2px solid var(--body-text-color); outline-offset: 1px; }
.lam-frames { margin-top: 3px; gap: 2px 0; }
.lam-frames span { display: block; height: 46px; margin-right: 2px; border-radius: 4px; background-repeat: no-repeat;
  background-color: var(--lam-stage); overflow: hidden; opacity: .32; }
.lam-frames span.on { opacity: 1; }
.lam-strip .lam-top span { color: var(--lam-soft); }

.lam-below { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 12px; margin-top: 12px; }
.lam-below .lam-note { margin: 0; }
button.lam-pause { font: inherit; font-size: .8rem; padding: 5px 12px; border-radius: 8px; cursor: pointer;
  border: 1px solid var(--lam-line); background: transparent; color: var(--body-text-color); margin-top: 8px; }
button.lam-pause:hover { background: var(--lam-stage); }

.lam-measures { display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 10px 22px; margin: 0; }
.lam-measures div { margin: 0 !important; }
.lam-measures dt { font-size: .8rem; color: var(--lam-soft); }
.lam-measures dd { margin: 0; font-size: .78rem; line-height: 1.4; color: var(--lam-soft); }
.lam-measures dd.lam-figure { font-size: 1.05rem; font-weight: 620; color: var(--body-text-color);
  font-variant-numeric: tabular-nums; }

p.lam-warn { margin: 10px 0 0; padding: 8px 12px; border-radius: 8px; border-left: 3px solid var(--lam-far);
  background: var(--lam-far-soft); color: var(--body-text-color); font-size: .84rem; line-height: 1.45; }
p.lam-warn b, p.lam-verdict b { color: inherit; }
p.lam-stale { display: none; margin: 8px 0 0; font-size: .86rem; color: var(--lam-far); }
.lam-is-stale p.lam-stale { display: block; }
.lam-is-stale .lam-stage, .lam-is-stale p.lam-verdict { opacity: .45; }
p.lam-verdict { margin: 10px 0 0; padding: 9px 12px; border-radius: 8px; border-left: 4px solid var(--lam-far);
  background: var(--lam-far-soft); color: var(--body-text-color); font-size: .92rem; line-height: 1.45; }
p.lam-verdict.lam-good { border-color: var(--lam-accent); background: var(--lam-stage); }
p.lam-verdict.lam-doubtful { border-color: var(--lam-line); background: var(--lam-stage); }

/* A comparison: what is compared as a list, one video of all, a table that scrolls where it must. */
#lam-compare-names .wrap { flex-direction: column; gap: 6px; }
#lam-compare-names label { background: transparent !important; border: 1px solid var(--lam-line) !important;
  border-radius: 9px !important; padding: 7px 11px !important; box-shadow: none !important; width: 100%; min-width: 0; }
#lam-compare-names label span { white-space: normal; overflow-wrap: anywhere; color: var(--body-text-color); }
.lam-single { max-width: 640px; margin: 0 auto; }
.lam-grid { overflow-x: auto; border-radius: 10px; background: #fff; padding: 8px; }
.lam-grid > div { position: relative; width: 100%; margin: 0 auto; }
.lam-grid video { width: 100%; height: 100%; display: block; margin: 0 !important; border-radius: 0 !important; }
.lam-row { display: flex; justify-content: space-between; align-items: center; gap: 12px; margin-top: 6px; }
.lam-row .lam-note, .lam-row button.lam-pause { margin: 0; }
.lam-table { overflow-x: auto; margin-top: 12px; }
.lam-table table, .lam-table tr { border: 0 !important; background: transparent !important; }
.lam-table table { border-collapse: collapse; width: 100%; margin: 0; font-size: .86rem; }
.lam-table th, .lam-table td { border: 0 !important; border-bottom: 1px solid var(--lam-line) !important;
  padding: 8px 12px 8px 0 !important; text-align: right; vertical-align: top; background: transparent !important;
  color: var(--body-text-color) !important; font-weight: 400; font-variant-numeric: tabular-nums; min-width: 84px; }
.lam-table thead th { font-weight: 640; overflow-wrap: anywhere; }
.lam-table th:first-child { text-align: left; min-width: 150px; }
.lam-table tbody th { font-weight: 560; }
.lam-table tbody tr:last-child > * { border-bottom: 0 !important; }
.lam-table small { display: block; font-size: .76rem; line-height: 1.4; font-weight: 400; color: var(--lam-soft);
  margin-top: 2px; }
.lam-how { margin-top: 10px; font-size: .84rem; line-height: 1.5; color: var(--lam-soft); }
.lam-how summary { cursor: pointer; color: var(--body-text-color); }
.lam-how dl { margin: 8px 0 0; display: grid; gap: 6px; }
.lam-how dt { font-weight: 560; color: var(--body-text-color); }
.lam-how .lam-measures { margin-top: 10px; gap: 10px 22px; }
.lam-how .lam-measures dt { font-weight: 400; color: var(--lam-soft); }
.lam-how dd { margin: 0; max-width: 84ch; color: var(--lam-soft); }
.lam-table .lam-none { color: var(--lam-soft); }
.lam-grid:focus-visible, .lam-table:focus-visible, .lam-how summary:focus-visible { outline: 2px solid var(--lam-accent); outline-offset: 2px; }

/* Examples: a clip and a picture on one button. */
.lam-examples { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 10px; }
.lam-examples button { font: inherit; text-align: left; padding: 8px; border-radius: 12px; cursor: pointer; min-width: 0;
  margin: 0 !important; border: 1px solid var(--lam-line); background: var(--lam-card); color: var(--body-text-color); }
.lam-examples button:hover { border-color: var(--lam-accent); }
.lam-examples .lam-pair { display: grid; grid-template-columns: 1fr 14px 1fr; align-items: center; gap: 4px; }
.lam-examples .lam-pair > * { margin: 0 !important; }
.lam-no-poster { height: 56px; border-radius: 7px; background: var(--lam-stage); }
.lam-examples img { width: 100%; height: 56px; object-fit: cover; border-radius: 7px !important;
  background: var(--lam-stage); pointer-events: none; }
.lam-examples .lam-arrow { color: var(--lam-soft); text-align: center; font-size: .9rem; }
.lam-examples .lam-name { display: block; font-size: .78rem; line-height: 1.3; margin-top: 6px; color: var(--lam-soft);
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }

.lam-card button:focus-visible, .lam-examples button:focus-visible, .lam-card input:focus-visible {
  outline: 2px solid var(--lam-accent) !important; outline-offset: 2px; }
.lam-text { font-size: .9rem; line-height: 1.55; color: var(--lam-soft); max-width: 84ch; }
.lam-text h2 { font-size: .98rem; font-weight: 640; color: var(--body-text-color); margin: 4px 0 4px; }
.lam-text ul { margin: 4px 0 0; padding-left: 18px; }
.lam-text li { margin: 3px 0; }
.lam-credits { font-size: .82rem; line-height: 1.5; color: var(--lam-soft); columns: 2 320px; }
.lam-credits p { margin: 0 0 4px; break-inside: avoid; }
#lam-go { font-weight: 620; }
footer { opacity: .7; }

@media (max-width: 760px) {
  .gradio-container { padding: 0 10px 28px !important; }
  #lam-head { padding-top: 18px; }
  #lam-head h1 { font-size: 1.35rem; }
  .lam-examples { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: 176px; overflow-x: auto;
    padding-bottom: 6px; scroll-snap-type: x proximity; contain: inline-size; }
  .lam-examples button { scroll-snap-align: start; }
  .lam-card { padding: 12px !important; }
  #lam-head p { font-size: .86rem; }
  #lam-trio { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; }
  #lam-trio > .lam-card { padding: 9px !important; gap: 7px !important; }
  #lam-trio > #lam-result { grid-column: 1 / -1; }
  #lam-trio .lam-card h2 + p, #lam-trio .lam-frames, #lam-trio .lam-top span:first-child, #lam-film, #lam-snap {
    display: none; }
  #lam-trio .lam-bars { height: 36px; }
  #lam-trio .lam-own button { padding: 7px 4px; font-size: .82rem; }
  .lam-grid > div { min-width: 540px; }
  .lam-grid, .lam-table { contain: inline-size; }
}
@media (prefers-reduced-motion: reduce) { .lam-progress { transition: none; } }
"""

# Loops of one duration are kept in step with the result's, the bars show which step is playing, and one button
# pauses them all. Who asks for less motion gets them paused.
HEAD = """
<script>
(() => {
  let paused = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const tick = () => {
    const all = [...document.querySelectorAll('video[data-lam-loop]')];
    const lead = all.find((v) => v.dataset.lamLoop === 'lead');
    for (const v of all) {
      v.muted = true;
      if (paused && !v.paused) v.pause();
      if (!paused && v.paused && v.readyState > 1) v.play().catch(() => {});
      if (lead && v !== lead && v.readyState > 1 && lead.readyState > 1 && Math.abs(v.duration - lead.duration) < 0.1) {
        const off = Math.abs(v.currentTime - lead.currentTime);
        if (off > 0.1 && off < lead.duration - 0.3) v.currentTime = lead.currentTime;
      }
    }
    const strip = document.querySelector('.lam-strip');
    const shown = all.find((v) => v.dataset.lamLoop === 'source');
    if (strip && shown) {
      const d = shown.dataset;
      const step = Number(d.first) + Math.floor(shown.currentTime * Number(d.fps) + 1e-3) % Number(d.span);
      strip.querySelectorAll('.lam-bars span').forEach((bar, i) => bar.classList.toggle('now', i === step));
    }
    // A result is stale once what is on show is not what it was made of.
    const made = document.querySelector('#lam-result-view [data-lam-made]');
    if (made) {
      const of = (where) => document.querySelector(`#lam-${where}-view [data-lam-input]`)?.dataset.lamInput ?? '';
      const value = (where) => Number(document.querySelector(`#lam-${where} input[type=number]`)?.value ?? 1);
      const now = `${of('source')} ${of('target')} ${value('strength')} ${value('repeat')}`;
      made.classList.toggle('lam-is-stale', made.dataset.lamMade !== now);
    }
    for (const b of document.querySelectorAll('.lam-pause')) {
      const word = paused ? 'Play' : 'Pause';
      if (b.textContent !== word) b.textContent = word;
    }
  };
  setInterval(tick, 100);
  document.addEventListener('click', (event) => {
    if (event.target.closest && event.target.closest('.lam-pause')) { paused = !paused; tick(); }
  });
  // A file that is dropped on a column is given to that column's button; one dropped beside is not opened.
  const column = (event) => event.target.closest && event.target.closest('#lam-source, #lam-target');
  const over = (card) => {
    for (const c of document.querySelectorAll('.lam-over')) if (c !== card) c.classList.remove('lam-over');
    if (card) card.classList.add('lam-over');
  };
  const carries = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!carries(event)) return;
    over(column(event));
    event.preventDefault();
  });
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) over(null); });
  document.addEventListener('drop', (event) => {
    if (!carries(event)) return;
    over(null);
    const inside = event.target.closest && event.target.closest('.lam-file');
    if (inside) return;
    event.preventDefault();
    const card = column(event);
    const input = card && card.querySelector('.lam-own input[type=file]');
    if (!input || !event.dataTransfer.files.length) return;
    const one = new DataTransfer();
    one.items.add(event.dataTransfer.files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
})();
</script>
"""

EXAMPLE_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-example]');
  if (button) trigger('click', { example: Number(button.dataset.example) });
});
"""


# The chosen range is dragged on the bars: an end by its handle or near it, the whole by what lies between them; arrow
# keys move a handle. The page is told once the hand lets go.
RANGE = """
const within = (v, low, high) => Math.min(Math.max(v, low), high);
const read = (range) => ({ n: Number(range.dataset.steps), first: Number(range.dataset.first),
  last: Number(range.dataset.last), most: Number(range.dataset.most) });
const show = (range, first, last) => {
  const { n } = read(range);
  range.dataset.first = first;
  range.dataset.last = last;
  range.querySelectorAll('.lam-bars span').forEach((bar, i) => bar.classList.toggle('on', first <= i && i < last));
  for (const handle of range.querySelectorAll('.lam-handle')) {
    const end = handle.dataset.end === 'first' ? first : last;
    handle.style.left = `${100 * end / n}%`;
    handle.setAttribute('aria-valuenow', handle.dataset.end === 'first' ? first + 1 : last);
  }
  const fps = Number(range.dataset.fps);
  const told = range.parentElement.querySelector('.lam-chosen');
  if (told) told.textContent = `${+((last - first) / fps).toFixed(2)} of ${+(n / fps).toFixed(2)} s chosen`;
};
const moved = (range, what, step, from) => {
  let { n, first, last, most } = read(range);
  if (what === 'first') first = within(step, Math.max(last - most, 0), last - 1);
  else if (what === 'last') last = within(step, first + 1, Math.min(first + most, n));
  else {
    const by = within(step - from.step, -from.first, n - from.last);
    first = from.first + by;
    last = from.last + by;
  }
  show(range, first, last);
};
const tell = (range) => { const { first, last } = read(range); trigger('release', { first, last }); };
let drag = null;
element.addEventListener('pointerdown', (event) => {
  const range = event.target.closest('.lam-range');
  if (!range) return;
  const box = range.getBoundingClientRect();
  const { n, first, last } = read(range);
  const place = n * (event.clientX - box.left) / box.width;
  const handle = event.target.closest('.lam-handle');
  const near = Math.max(0.6, 14 * n / box.width);
  let what = handle ? handle.dataset.end : 'both';
  if (!handle && Math.abs(place - first) < near) what = 'first';
  else if (!handle && Math.abs(place - last) < near) what = 'last';
  else if (!handle && (place < first || place > last)) what = 'jump';
  if (what === 'jump') {
    const begin = within(Math.floor(place - (last - first) / 2), 0, n - (last - first));
    show(range, begin, begin + last - first);
    what = 'both';
  }
  const now = read(range);
  drag = { range, what, from: { step: Math.round(place), first: now.first, last: now.last } };
  range.setPointerCapture(event.pointerId);
  event.preventDefault();
});
element.addEventListener('pointermove', (event) => {
  if (!drag) return;
  const box = drag.range.getBoundingClientRect();
  moved(drag.range, drag.what, Math.round(read(drag.range).n * (event.clientX - box.left) / box.width), drag.from);
});
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, () => { if (drag) { const { range } = drag; drag = null; tell(range); } });
}
element.addEventListener('keydown', (event) => {
  const handle = event.target.closest('.lam-handle');
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (!handle || !by) return;
  event.preventDefault();
  const range = handle.closest('.lam-range');
  const { first, last } = read(range);
  moved(range, handle.dataset.end, (handle.dataset.end === 'first' ? first : last) + by);
  clearTimeout(element.lamTold);
  element.lamTold = setTimeout(() => {
    const end = document.activeElement?.dataset?.end;
    element.lamFocus = end;
    tell(range);
  }, 500);
});
// The view is made anew by the server; whoever moves a handle by keys keeps it.
new MutationObserver(() => {
  if (!element.lamFocus) return;
  const handle = element.querySelector(`.lam-handle[data-end=${element.lamFocus}]`);
  element.lamFocus = null;
  if (handle) handle.focus();
}).observe(element, { childList: true, subtree: true });
"""


def theme() -> Any:
    """A quiet theme of system fonts, so that nothing is fetched from elsewhere."""
    import gradio as gr

    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="stone",
        font=fonts,
        font_mono=mono,
        radius_size="lg",
        spacing_size="md",
    ).set(
        body_background_fill="#f8f6f3",
        body_background_fill_dark="#151312",
        # As dark, or as light, as small words must be to be read (WCAG AA).
        body_text_color_subdued="#57534e",
        body_text_color_subdued_dark="#b4ada6",
        block_info_text_color="#57534e",
        block_info_text_color_dark="#b4ada6",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#0d9488",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_border_width="0px",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_shadow="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_info_text_size="12px",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )
