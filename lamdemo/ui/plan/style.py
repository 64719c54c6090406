# ruff: noqa: E501 (rules of CSS read best on a line of their own)
"""How the plan's tab looks, and the little of it that runs in the browser."""

# A chart of Plotly, whose JavaScript the page serves itself. The chart is kept when the component is drawn anew, so
# that it does not flicker while a search goes on; colours that begin with two dashes are the page's own.
FIGURE = """
const fresh = () => Object.assign(document.createElement('div'), { className: 'lam-plan-chart' });
let holder = fresh();
const scripts = (window.lamScripts ??= {});
const script = (address) => scripts[address] ??= new Promise((done, failed) => {
  if (window.Plotly) return done();
  const node = document.createElement('script');
  Object.assign(node, { src: address, async: true, onload: () => done() });
  node.onerror = () => { delete scripts[address]; node.remove(); failed(new Error('script')); };
  document.head.append(node);
});
const coloured = (value, style) => {
  if (typeof value === 'string') return value.startsWith('--') ? style.getPropertyValue(value).trim() : value;
  if (Array.isArray(value)) return typeof value[0] === 'number' ? value : value.map((v) => coloured(v, style));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style)]));
  return value;
};
let turn = Promise.resolve();
const draw = () => {
  const place = element.querySelector('[data-figure]');
  // Gradio keeps what it can of the element: neither a chart nor words may be left over. It may have made the chart's
  // own element the words', so the next chart gets another.
  if (!place) {
    for (const old of element.querySelectorAll('.lam-plan-chart')) old.remove();
    holder = fresh();
    return;
  }
  const wanted = JSON.parse(place.dataset.figure);
  place.replaceChildren(holder);
  const chart = holder;
  turn = turn.then(async () => {
    try {
      await script(place.dataset.plotly);
      if (!place.isConnected || chart !== holder) return;
      const figure = coloured(wanted, getComputedStyle(element));
      await Plotly.react(chart, figure.data, figure.layout, { displayModeBar: false, responsive: false });
      place.dataset.drawn = 'yes';
    } catch { place.textContent = 'The chart could not be drawn.'; }
  });
};
watch('value', draw);
draw();
// Its width alone: Plotly's own resizing takes the height from the page, which takes it from the chart.
let wide = 0;
new ResizeObserver(() => {
  if (!holder.data || !holder.clientWidth || holder.clientWidth === wide) return;
  wide = holder.clientWidth;
  turn = turn.then(() => Plotly.relayout(holder, { width: wide })).catch(() => null);
}).observe(element);
"""

CSS = """
#lam-plan-intro p { margin: 0; max-width: 90ch; color: var(--lam-soft); font-size: .94rem; line-height: 1.5; }
.lam-plan-pair { display: grid; grid-template-columns: minmax(0, calc(250px * var(--shape, 1.5))) 18px minmax(0, calc(250px * var(--shape, 1.5))); gap: 8px; align-items: start; }
.lam-plan-pair.three { grid-template-columns: repeat(3, minmax(0, calc(290px * var(--shape, 1.5)))); gap: 12px; align-items: start; }
.lam-plan-pair.four { grid-template-columns: repeat(4, minmax(0, calc(230px * var(--shape, 1.5)))); gap: 12px; align-items: start; }
.lam-plan-pair figure, .lam-plan-strip figure, .lam-plan-tries figure { margin: 0; min-width: 0; }
.lam-plan-pair > span { align-self: center; text-align: center; color: var(--lam-soft); padding-bottom: 22px; }
.lam-plan-pair figcaption, .lam-plan-strip figcaption, .lam-plan-tries figcaption { font-size: .8rem; line-height: 1.4; color: var(--lam-soft); margin-top: 5px; }
.lam-plan-pair figcaption b { color: var(--body-text-color); font-weight: 620; }
.lam-plan-pair .lam-stage { aspect-ratio: var(--shape, 3 / 2); }
.lam-plan-line { display: flex; gap: 6px 18px; flex-wrap: wrap; align-items: baseline; font-size: .86rem; color: var(--lam-soft); margin: 0; }
.lam-plan-line b { color: var(--body-text-color); font-weight: 620; font-variant-numeric: tabular-nums; }
.lam-plan-meter { height: 4px; border-radius: 2px; background: var(--lam-stage); overflow: hidden; margin-top: 8px; }
.lam-plan-meter i { display: block; height: 100%; background: var(--lam-accent); }
.lam-plan-box { min-height: var(--tall, 260px); }
.lam-plan-box .lam-empty { display: grid; place-items: center; min-height: inherit; border-radius: 10px; background: var(--lam-stage);
  color: var(--lam-soft); font-size: .9rem; line-height: 1.5; text-align: center; padding: 0 20px; }
.lam-plan-tries { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
.lam-plan-tries img, .lam-plan-strip img { width: 100%; aspect-ratio: var(--shape, 3 / 2); object-fit: cover; display: block; margin: 0 !important; border-radius: 8px !important; background: var(--lam-stage); }
.lam-plan-tries.lam-plan-futures { grid-template-columns: repeat(auto-fill, minmax(110px, 150px)); margin-top: 8px; }
.lam-plan-tries figure.best img { outline: 2px solid var(--lam-accent); outline-offset: 1px; }
.lam-plan-strip { display: grid; grid-template-columns: 5.2em repeat(var(--n), minmax(0, 150px)); gap: 6px; align-items: center; }
.lam-plan-strip > span { font-size: .8rem; line-height: 1.35; color: var(--lam-soft); }
.lam-plan-strip figure.none { aspect-ratio: var(--shape, 3 / 2); border: 1px dashed var(--lam-line); border-radius: 8px; }
.lam-plan-actions { overflow-x: auto; }
.lam-plan-actions table { border-collapse: collapse; width: 100%; margin: 0; font-size: .84rem; border: 0 !important; }
.lam-plan-actions tr { border: 0 !important; background: transparent !important; }
.lam-plan-actions th, .lam-plan-actions td { border: 0 !important; border-bottom: 1px solid var(--lam-line) !important; padding: 7px 14px 7px 0 !important;
  text-align: left; vertical-align: top; color: var(--body-text-color) !important; background: transparent !important; font-weight: 400; min-width: 112px; }
.lam-plan-actions th:first-child { min-width: 44px; width: 44px; font-weight: 560; }
.lam-plan-actions thead th { font-weight: 620; }
.lam-plan-actions tbody tr:last-child > * { border-bottom: 0 !important; }
.lam-plan-actions small { display: block; font-size: .76rem; line-height: 1.4; color: var(--lam-soft); font-weight: 400; }
.lam-plan-actions .bar { position: relative; display: block; height: 9px; border-radius: 3px; background: var(--lam-stage); margin-bottom: 4px; min-width: 84px; }
.lam-plan-actions .bar i { position: absolute; top: 0; bottom: 0; background: var(--lam-accent); border-radius: 3px; min-width: 1px; }
.lam-plan-actions .bar u { position: absolute; top: -1px; bottom: -1px; width: 1px; background: var(--lam-bar); text-decoration: none; }
.lam-plan-actions .bar s { position: absolute; top: -3px; bottom: -3px; width: 3px; margin-left: -1px; border-radius: 2px; background: var(--lam-far); text-decoration: none; }
.lam-plan-told { margin: 0; font-size: .96rem; line-height: 1.5; color: var(--body-text-color); max-width: 80ch; }
.lam-plan-told.good { border-left: 3px solid var(--lam-accent); padding-left: 12px; }
.lam-plan-told.bad { border-left: 3px solid var(--lam-far); padding-left: 12px; }
/* What is of another start and goal than those above. */
.tabitem:has(.lam-plan-old) :is(#lam-plan-costs, #lam-plan-tries, #lam-plan-view, #lam-plan-actions, #lam-plan-energy) { opacity: .45; }
#lam-plan-result h3 { font-size: .86rem; font-weight: 620; margin: 0 0 6px; color: var(--body-text-color); }
.lam-plan-told + .lam-plan-pair { margin-top: 12px; }
#lam-plan-own, #lam-plan-own-goal { align-self: flex-end; height: 36px; }
#lam-plan-go, #lam-plan-execute { font-weight: 620; }
#lam-plan-seed input, #lam-plan-task input { max-width: none !important; }
@media (max-width: 760px) {
  .lam-plan-strip { grid-template-columns: repeat(var(--n), minmax(74px, 1fr)); overflow-x: auto; contain: inline-size; }
  .lam-plan-strip > span { grid-column: 1 / -1; }
  .lam-plan-pair.three, .lam-plan-pair.four { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .lam-plan-actions { contain: inline-size; }
}
"""
