# ruff: noqa: E501 (rules of CSS read best on a line of their own)
"""How the page looks, and the little that runs in the browser."""

from __future__ import annotations

from typing import Any

CSS = """
.gradio-container { width: 100% !important; max-width: 1360px !important; margin: 0 auto !important; padding: 0 24px 40px !important; }
.gradio-container .main, .gradio-container .main > .wrap, .gradio-container main { padding: 0 !important; }
#lam-head { padding: 30px 2px 4px; }
#lam-head h1 { font-size: 1.7rem; font-weight: 650; letter-spacing: -.02em; margin: 0 0 6px; line-height: 1.15;
  color: var(--body-text-color); }
#lam-head p { font-size: 1.02rem; line-height: 1.5; max-width: 74ch; margin: 0; color: var(--lam-soft); }

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

/* The place to drop a file: flat, dashed, as high as it must be. */
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
.lam-bars { height: 58px; align-items: end; border-bottom: 1px solid var(--lam-line); }
.lam-bars span { display: block; margin: 0 8%; border-radius: 3px 3px 0 0; background: var(--lam-bar); min-height: 2px; }
.lam-bars span.on { background: var(--lam-accent); }
.lam-bars span.on.far { background: var(--lam-far); }
.lam-bars span.now { outline: 2px solid var(--body-text-color); outline-offset: 1px; }
.lam-frames { margin-top: 3px; gap: 2px 0; }
.lam-frames span { display: block; height: 46px; margin-right: 2px; border-radius: 4px; background-repeat: no-repeat;
  background-color: var(--lam-stage); overflow: hidden; opacity: .32; }
.lam-frames span.on { opacity: 1; }
.lam-numbers { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); font-size: .68rem;
  font-variant-numeric: tabular-nums; margin-top: 2px; }
.lam-strip .lam-numbers span { text-align: center; color: var(--lam-soft); }
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
p.lam-warn b { color: inherit; }

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
.lam-examples video, .lam-examples img { width: 100%; height: 56px; object-fit: cover; border-radius: 7px !important;
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
    for (const b of document.querySelectorAll('.lam-pause')) {
      const word = paused ? 'Play' : 'Pause';
      if (b.textContent !== word) b.textContent = word;
    }
  };
  setInterval(tick, 100);
  document.addEventListener('click', (event) => {
    if (event.target.closest && event.target.closest('.lam-pause')) { paused = !paused; tick(); }
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
