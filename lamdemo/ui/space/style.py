# ruff: noqa: E501 (rules of CSS read best on a line of their own)
"""How the latent space's tab looks, and the little of it that runs in the browser."""

# One reader of clicks for all parts: whatever has data-act tells Python its data. What had the keyboard keeps it
# when the part is drawn anew.
CLICKS = """
let held = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button || !element.contains(button) || button.disabled) return;
  held = button.dataset.hold || null;
  trigger('click', { ...button.dataset });
});
watch('value', () => {
  if (held === null) return;
  const again = element.querySelector(`[data-hold="${CSS.escape(held)}"]`);
  if (again) again.focus({ preventScroll: true });
});
"""

# Play mode's buttons. Presses wait for no answer, but no more than two are under way: who holds a key down gets
# steps as fast as they can be made and no long tail of them afterwards.
PAD = """
const board = () => element.querySelector('.lam-pad');
let sent = 0, answered = 0;
window.lamPlayed = () => { answered = sent; };
const send = (act, key) => {
  if (act === 'press' && sent - answered >= 2) return;
  sent += 1;
  const button = element.querySelector(`[data-act="${act}"][data-key="${CSS.escape(key)}"]`);
  if (!button || button.disabled) { sent -= 1; return; }
  button.classList.add('down');
  setTimeout(() => button.classList.remove('down'), 140);
  trigger('click', { act, key });
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) send(button.dataset.act, button.dataset.key);
});
// A button that is drawn anew, or is disabled now, must not take the keyboard's place away.
let last = null;
element.addEventListener('focusin', (event) => { const b = event.target.closest('[data-act]'); if (b) last = b.dataset; });
watch('value', () => {
  if (!last || (document.activeElement && document.activeElement !== document.body)) return;
  const again = element.querySelector(`[data-act="${last.act}"][data-key="${CSS.escape(last.key)}"]:not([disabled])`);
  (again || element.querySelector('[data-act]:not([disabled])'))?.focus({ preventScroll: true });
});
// Keys, wherever the keyboard's place is, unless it is where keys mean something else.
const OTHERS = 'input, textarea, select, video, audio, [contenteditable=""], [contenteditable=true], [role=slider], '
  + '[role=listbox], [role=option], [role=combobox], [role=menu], [role=radio], [role=application], dialog';
const seen = () => {
  if (!element.isConnected || !board() || element.offsetParent === null) return false;
  const picture = document.querySelector('#lam-play-view [data-frames]');
  if (!picture) return false;
  const box = picture.getBoundingClientRect();
  return box.height > 0 && box.bottom > 0 && box.top < innerHeight;
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !seen()) return;
  const at = event.target instanceof Element ? event.target : document.body;
  if (at.closest(OTHERS)) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (name === ' ' && !element.contains(at) && at.closest('button, a, summary, [role=button]')) return;
  const keys = { Backspace: ['undo', 'undo'], u: ['undo', 'undo'], r: ['reset', 'reset'] };
  const [act, key] = keys[name] || ['press', name];
  if (!element.querySelector(`[data-act="${act}"][data-key="${CSS.escape(key)}"]`)) return;
  event.preventDefault();
  send(act, key);
});
"""

# The frames between two steps are shown one after the other, then the last stays.
FLIPBOOK = """
let timer = null;
const show = () => {
  const stage = element.querySelector('[data-frames]');
  if (window.lamPlayed) window.lamPlayed();
  if (!stage) return;
  // Who pressed Start goes on with the keys, of which Space would press it again.
  if (document.activeElement?.id === 'lam-play-start') document.querySelector('#lam-play-pad .lam-pad')?.focus({ preventScroll: true });
  const frames = JSON.parse(stage.dataset.frames), image = stage.querySelector('img');
  clearInterval(timer);
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) { image.src = frames[frames.length - 1]; return; }
  let k = 0;
  image.src = frames[0];
  timer = setInterval(() => { k += 1; if (k >= frames.length) { clearInterval(timer); return; } image.src = frames[k]; }, 55);
};
watch('value', show);
show();
"""

CSS = """
.lam-two { align-items: flex-start; }
/* The stage stays in sight beside whatever plays on it. */
#lam-space-desk { align-items: flex-start; }
#lam-space-choice { gap: 16px; }
#lam-space-intro h2 { font-size: 1.06rem; } #lam-space-fold-names { padding: 0 !important; border: 0 !important; }
.lam-acted .lam-below .lam-tag { font-size: .68rem; padding: 4px 7px; }
#lam-space-old { min-height: 0; padding: 0; } #lam-space-old .lam-old { margin: 0; }
#lam-space-desk:has(#lam-space-old .lam-old) #lam-space-view { opacity: .55; }
#lam-space-knobs, #lam-space-pictures { gap: 12px; }
@media (min-width: 761px) {
  /* Lower than the window: the desk may end in sight, and what stands at its end still has the picture beside it. */
  #lam-space-stage { position: sticky; top: 12px; max-height: calc(100vh - 140px); overflow-y: auto; flex-wrap: nowrap !important; }
  #lam-space-stage > * { flex-shrink: 0 !important; }
  #lam-space-view .lam-acted > .lam-stage, #lam-space-view .lam-stage:only-child { aspect-ratio: auto; height: min(44vh, 400px); }
}
/* The dots come before what sets how they are shown. */
#lam-space-plot .lam-map { display: flex; flex-direction: column; }
#lam-space-plot .lam-map-bar { order: 1; margin: 12px 0 0 !important; } #lam-space-plot .lam-map-legend { order: 2; }
#lam-space-plot .lam-map-help { order: 3; }
#lam-space-tab-directions, #lam-space-tab-steer { padding-top: 8px !important; }
.lam-elsewhere { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 10px; }
.lam-elsewhere button, .lam-directions .lam-typical button, .lam-photos button { font: inherit; padding: 0; border: 0; background: none;
  cursor: pointer; text-align: left; color: var(--body-text-color); min-width: 0; border-radius: 8px; margin: 0; }
.lam-elsewhere .lam-name { display: block; font-size: .76rem; line-height: 1.3; margin-top: 5px; color: var(--lam-soft);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lam-flip { position: relative; display: block; width: 100%; aspect-ratio: 4 / 3; border-radius: 8px; overflow: hidden;
  background: var(--lam-stage); }
.lam-flip i { position: absolute; inset: 0; background-repeat: no-repeat; background-size: 1600% 1600%; opacity: 0;
  animation: lam-flip calc(var(--n) * .22s) steps(1) infinite; animation-delay: calc(var(--k) * .22s); }
.lam-flip i:first-child { opacity: 1; }
@keyframes lam-flip { 0% { opacity: 1; } 20% { opacity: 0; } 100% { opacity: 0; } }
.lam-elsewhere button:hover .lam-flip, .lam-photos button:hover img { outline: 2px solid var(--lam-accent); }
.lam-photos { display: grid; grid-template-columns: repeat(7, minmax(0, 1fr)); gap: 6px; }
.lam-photos img { width: 100%; height: 40px; object-fit: cover; border-radius: 6px !important; margin: 0 !important; display: block; }
.lam-photos button.on img { outline: 2px solid var(--lam-accent); outline-offset: 1px; }
.lam-caption { display: flex; gap: 8px 14px; flex-wrap: wrap; align-items: baseline; margin-top: 8px; font-size: .86rem;
  color: var(--lam-soft); }
.lam-caption b { color: var(--body-text-color); font-weight: 620; }

.lam-blocks { display: flex; flex-wrap: wrap; gap: 8px; list-style: none; margin: 0; padding: 0; }
.lam-blocks button { font: inherit; text-align: left; cursor: pointer; border: 1px solid var(--lam-line); margin: 0;
  border-radius: 10px; background: var(--lam-card); color: var(--body-text-color); padding: 8px 11px; max-width: 260px; }
.lam-blocks button[aria-pressed=true] { border-color: var(--lam-accent); background: var(--lam-accent-soft); }
.lam-blocks small { display: block; color: var(--lam-soft); font-size: .76rem; }
.lam-blocks .lam-label { display: block; font-size: .86rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lam-sizes { display: flex; align-items: flex-end; gap: 2px; height: 26px; margin-top: 5px; }
.lam-sizes i { flex: 1 1 0; min-width: 2px; max-width: 9px; background: var(--lam-accent); border-radius: 2px 2px 0 0; min-height: 1px; }

.lam-directions { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(140px, 1fr); gap: 12px; overflow-x: auto; padding: 3px;
  scroll-snap-type: x proximity; }
.lam-directions article { scroll-snap-align: start; }
.lam-directions article { min-width: 0; }
.lam-directions .lam-field { display: block; width: 100%; border: 1px solid var(--lam-line); border-radius: 10px; cursor: pointer;
  background: var(--lam-stage); padding: 0; margin: 0; color: var(--lam-accent); }
.lam-directions .lam-field:hover, .lam-directions .lam-field[aria-pressed=true] { border-color: var(--lam-accent); }
.lam-directions svg { display: block; width: 100%; aspect-ratio: 4 / 3; color: var(--lam-accent); }
.lam-directions h3 { font-size: .86rem; font-weight: 620; margin: 6px 0 0; line-height: 1.3; color: var(--body-text-color); }
.lam-directions h3.none { color: var(--lam-soft); font-weight: 400; }
.lam-typical { margin: 5px 0 2px;  display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 4px; }
.lam-typical .lam-flip { border-radius: 5px; }
.lam-directions .lam-again { font: inherit; text-align: left; font-size: .76rem; color: var(--lam-accent); background: none; border: 0; padding: 2px 0;
  cursor: pointer; text-decoration: underline; text-underline-offset: 2px; }

.lam-pad:focus { outline: none; }
.lam-pad { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.lam-pad button { font: inherit; font-size: .84rem; display: flex; align-items: center; gap: 9px; text-align: left; cursor: pointer;
  margin: 0; border: 1px solid var(--lam-line); border-radius: 10px; background: var(--lam-card); color: var(--body-text-color);
  padding: 8px 10px; min-width: 0; }
.lam-pad button span { min-width: 0; overflow-wrap: anywhere; }
.lam-pad button:disabled { opacity: .45; cursor: default; }
.lam-pad button:hover { border-color: var(--lam-accent); }
.lam-pad button.down { background: var(--lam-accent-soft); }
.lam-pad kbd { font: inherit; font-size: .8rem; flex: none; min-width: 1.9em; text-align: center; border: 1px solid var(--lam-bar);
  border-bottom-width: 2px; border-radius: 6px; padding: 2px 4px; background: var(--lam-stage); color: var(--body-text-color); }
.lam-trail { font-size: .84rem; line-height: 1.5; color: var(--lam-soft); margin: 8px 0 0; }
.lam-sight { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px; }
.lam-sight figure { margin: 0; min-width: 0; }
.lam-sight img { width: 100%; border-radius: 10px !important; margin: 0 !important; display: block; }
.lam-sight figcaption { font-size: .8rem; line-height: 1.4; color: var(--lam-soft); margin-top: 5px; }
.lam-elsewhere button:focus-visible, .lam-photos button:focus-visible, .lam-blocks button:focus-visible,
.lam-directions button:focus-visible, .lam-pad button:focus-visible { outline: 2px solid var(--lam-accent); outline-offset: 2px; }
@media (max-width: 760px) {
  .lam-elsewhere { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px; }
  .lam-photos { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: 62px; overflow-x: auto; padding: 3px; contain: inline-size; }
  .lam-directions { grid-auto-columns: 138px; contain: inline-size; }
  /* One column: the picture stays at the top while what moves it goes by below; settings come after the motions. */
  #lam-space-stage, #lam-space-choice { display: contents; }
  #lam-space-desk > *, #lam-space-stage > *, #lam-space-choice > * { flex: 1 1 100%; min-width: 0; width: 100%; }
  #lam-space-view { order: -5; position: sticky; top: 0; z-index: 30; background: var(--body-background-fill); padding: 6px 0 !important; }
  /* Over the picture's edge where that is stuck to the top: who waits shall read it there, too. */
  #lam-turn-stage { order: -5; position: sticky; top: 0; z-index: 31; background: var(--body-background-fill); padding: 0 !important; min-height: 0 !important; }
  #lam-turn-stage:empty, #lam-turn-stage:not(:has(p)) { display: none; }
  #lam-space-old { order: -4; } #lam-space-pictures { order: -3; } #lam-space-map { order: -2; } #lam-space-knobs { order: -1; }
  #lam-space-desk:has(#lam-space-old .lam-old) #lam-space-view { opacity: 1; }
  #lam-space-desk:has(#lam-space-old .lam-old) #lam-space-view .lam-stage { opacity: .55; }
  .lam-acted { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 3fr); gap: 4px 8px; }
  .lam-acted > .lam-caption { grid-row: 2; grid-column: 1 / -1; margin: 0; flex-wrap: nowrap; overflow: hidden; }
  .lam-acted > .lam-caption > * { white-space: nowrap; }
  .lam-acted > .lam-below { display: block; margin: 0; grid-row: 1; grid-column: 2; }
  .lam-acted > .lam-below .lam-note { display: none; }
  .lam-sight { grid-template-columns: 1fr; }
}
@media (prefers-reduced-motion: reduce) { .lam-flip i { animation: none; } }
"""
