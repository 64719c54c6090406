# ruff: noqa: E501 (rules of CSS read best on a line of their own)
"""How the drive's tab looks, and what of it runs in the browser."""

from pathlib import Path

CONSOLE_JS = (Path(__file__).parent / "console.js").read_text(encoding="utf-8")

# The frames between two steps are shown one after the other at the pace at which steps come, then the last stays; the
# console is told that its order was answered.
BOARD_JS = """
let timer = null, before = 0, drive = null;
const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const show = () => {
  const root = element.querySelector('.lam-drive');
  if (!root) return;
  if (window.lamDrive) window.lamDrive.answered(root.dataset);
  // Who chose another picture further down is brought to where it is driven.
  if (drive && root.dataset.drive && drive !== root.dataset.drive && element.offsetParent)
    element.scrollIntoView({ block: 'nearest', behavior: still() ? 'auto' : 'smooth' });
  drive = root.dataset.drive || drive;
  const stage = root.querySelector('[data-frames]');
  clearInterval(timer);
  if (!stage) return;
  const frames = JSON.parse(stage.dataset.frames), image = stage.querySelector('img');
  const now = performance.now(), pace = Math.min(Math.max((now - before) / frames.length, 28), 80);
  before = now;
  if (frames.length < 2 || still()) { image.src = frames[frames.length - 1]; return; }
  let k = 0;
  image.src = frames[0];
  timer = setInterval(() => { k += 1; if (k >= frames.length) { clearInterval(timer); return; } image.src = frames[k]; }, pace);
};
watch('value', show);
show();
"""

# A file that was just written is taken at once.
SAVED_JS = """
watch('value', () => { const link = element.querySelector('a'); if (link) link.click(); });
"""

CSS = """
#lam-drive-intro p { margin: 0; max-width: 90ch; color: var(--lam-soft); font-size: .94rem; line-height: 1.5; }
@media (min-width: 1000px) { #lam-drive-seen { position: sticky; top: 12px; } }
#lam-drive-view, #lam-drive-view * { scroll-margin: 16px; }
.lam-drive-duo { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 2fr); gap: 14px; align-items: start; }
.lam-drive-duo.even { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.lam-drive-duo figure { margin: 0; min-width: 0; }
.lam-drive-duo figcaption { font-size: .84rem; line-height: 1.45; color: var(--lam-soft); margin-top: 6px; min-height: 2.9em; }
.lam-drive-duo figcaption b { color: var(--body-text-color); font-weight: 620; margin-right: .4em; }
.lam-drive-duo figcaption span { color: var(--lam-soft); font-variant-numeric: tabular-nums; }
.lam-drive-strip { list-style: none; margin: 8px 0 0 !important; padding: 0 !important; display: grid; gap: 4px;
  grid-template-columns: repeat(var(--n), minmax(0, 1fr)); min-height: 58px; }
.lam-drive-strip li { margin: 0 !important; min-width: 0; font-size: .68rem; text-align: center; color: var(--lam-soft);
  font-variant-numeric: tabular-nums; }
.lam-drive-strip img { width: 100%; height: 40px; object-fit: cover; border-radius: 5px !important; margin: 0 !important; display: block; }
.lam-drive-futures { list-style: none; margin: 8px 0 0 !important; padding: 0 !important; display: grid; gap: 6px;
  grid-template-columns: repeat(3, minmax(0, 1fr)); }
.lam-drive-futures li { margin: 0 !important; min-width: 0; }
.lam-drive-futures img { width: 100%; border-radius: 8px !important; margin: 0 !important; display: block; }

.lam-console { display: grid; gap: 12px; } .lam-paused .lam-console { opacity: .4; pointer-events: none; }
.lam-console button { font: inherit; font-size: .84rem; cursor: pointer; margin: 0; border: 1px solid var(--lam-line);
  border-radius: 10px; background: var(--lam-card); color: var(--body-text-color); padding: 7px 9px; min-width: 0;
  touch-action: manipulation; user-select: none; -webkit-user-select: none; }
.lam-console button:hover { border-color: var(--lam-accent); }
.lam-console button.down, .lam-console button[aria-pressed=true] { background: var(--lam-accent-soft); border-color: var(--lam-accent); }
.lam-console button:disabled { opacity: .45; cursor: default; }
.lam-console button:focus-visible, .lam-console input:focus-visible { outline: 2px solid var(--lam-accent); outline-offset: 2px; }
.lam-console kbd { font: inherit; font-size: .78rem; border: 1px solid var(--lam-bar); border-bottom-width: 2px; border-radius: 6px;
  padding: 1px 6px; background: var(--lam-stage); color: var(--body-text-color); display: inline-block; min-width: 1.9em; text-align: center; }
.lam-drive-hands { display: flex; flex-wrap: wrap; gap: 16px; align-items: center; justify-content: space-between; }
.lam-arrows { display: grid; grid-template-columns: repeat(3, minmax(74px, 1fr)); gap: 6px; flex: 1 1 230px; max-width: 320px; }
.lam-arrows button { display: grid; justify-items: center; gap: 3px; padding: 8px 4px; touch-action: none; }
.lam-arrows span { overflow-wrap: anywhere; line-height: 1.2; }
.lam-arrows .key-arrowup { grid-area: 1 / 2; } .lam-arrows .key-arrowleft { grid-area: 2 / 1; }
.lam-arrows .key-arrowdown { grid-area: 2 / 2; } .lam-arrows .key-arrowright { grid-area: 2 / 3; }
.lam-stick { position: relative; flex: none; width: 148px; height: 148px; border-radius: 50%; background: var(--lam-stage);
  border: 1px solid var(--lam-line); touch-action: none; cursor: grab; user-select: none; -webkit-user-select: none; }
.lam-stick::before, .lam-stick::after { content: ''; position: absolute; background: var(--lam-line); }
.lam-stick::before { left: 50%; top: 22%; bottom: 22%; width: 1px; } .lam-stick::after { top: 50%; left: 22%; right: 22%; height: 1px; }
.lam-stick i { position: absolute; z-index: 1; left: calc(50% - 22px); top: calc(50% - 22px); width: 44px; height: 44px; border-radius: 50%;
  background: var(--lam-accent); box-shadow: 0 1px 4px rgb(0 0 0 / 25%); transition: transform .12s; pointer-events: none; }
.lam-stick.down { cursor: grabbing; } .lam-stick.down i { transition: none; }
.lam-stick b { position: absolute; font-size: .7rem; font-weight: 400; color: var(--lam-soft); line-height: 1; pointer-events: none;
  max-width: 46px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lam-stick .arrowup { top: 9px; left: 50%; transform: translateX(-50%); max-width: 84px; } .lam-stick .arrowdown { bottom: 9px; left: 50%; transform: translateX(-50%); max-width: 84px; }
.lam-stick .arrowleft { left: 8px; top: calc(50% - .35rem); } .lam-stick .arrowright { right: 8px; top: calc(50% - .35rem); }
.lam-others { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 6px; }
.lam-others button { display: flex; align-items: center; gap: 7px; text-align: left; touch-action: none; }
.lam-console fieldset { border: 0; border-top: 1px solid var(--lam-line); margin: 0; padding: 8px 0 0; display: grid; gap: 8px; }
.lam-console legend { font-size: .78rem; color: var(--lam-soft); padding: 0 8px 0 0; }
.lam-slide { display: grid; grid-template-columns: minmax(120px, 5fr) minmax(0, 8fr) 3.4em; gap: 10px; align-items: center;
  font-size: .84rem; color: var(--body-text-color); }
.lam-slide small { display: block; font-size: .74rem; color: var(--lam-soft); line-height: 1.2; }
.lam-slide input { width: 100%; accent-color: var(--lam-accent); margin: 0; min-height: 24px; }
.lam-slide output { text-align: right; font-variant-numeric: tabular-nums; color: var(--lam-soft); white-space: nowrap; }
.lam-drive-acts { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px; }
.lam-drive-acts button { padding: 9px 4px; }
.lam-console .lam-note { margin: 0; }

.lam-picks { margin-bottom: 10px; } .lam-picks:last-child { margin-bottom: 0; }
.lam-picks h3 { font-size: .78rem; font-weight: 500; color: var(--lam-soft); margin: 0 0 5px; }
.lam-picks .lam-photos { grid-template-columns: repeat(14, minmax(0, 1fr)); }
.lam-picks video { width: 100%; height: 40px; object-fit: cover; border-radius: 6px; margin: 0; display: block; pointer-events: none; background: var(--lam-stage); }
.lam-picks button:hover video, .lam-picks button.on video { outline: 2px solid var(--lam-accent); outline-offset: 1px; }
.lam-saved { display: none; }
#lam-drive-saved { min-height: 0; padding: 0; }
#lam-drive-scenes { align-items: flex-end; } #lam-drive-scenes button { flex: 0 0 auto; }
#lam-drive-seed input { max-width: 9em !important; }
@media (max-width: 760px) {
  .lam-drive-duo { grid-template-columns: minmax(0, 1fr); }
  .lam-drive-duo.even { gap: 8px; }
  .lam-drive-duo:not(.even) figcaption { min-height: 0; }
  .lam-drive-duo:not(.even) figure + figure { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 10px; }
  .lam-drive-duo:not(.even) figure + figure figcaption { margin: 0; }
  .lam-drive-strip { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: 54px; overflow-x: auto; contain: inline-size; }
  .lam-picks .lam-photos { grid-template-columns: none; }
  .lam-drive-hands { justify-content: center; }
  .lam-arrows { flex-basis: 200px; grid-template-columns: repeat(3, minmax(58px, 1fr)); }
  .lam-stick { width: 124px; height: 124px; }
}
@media (hover: none) { .lam-drive-acts kbd { display: none; } }
@media (prefers-reduced-motion: reduce) { .lam-stick i { transition: none; } }
/* On a phone picture and arrows are in sight together: little stands between them. */
@media (max-width: 760px) {
  #lam-drive-console { order: -1; } .form:has(#lam-drive-controller) { order: -2; }
  #lam-drive-seen .lam-drive-strip { display: none; }
  #lam-drive-seen .lam-drive-duo figcaption { font-size: .74rem; max-height: 4.35em; overflow-y: auto; }
}
"""
