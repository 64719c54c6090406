// The map of an atlas: what Python lays over it, how it begins, follows the page, and ends. Names come from files of
// visitors: they only ever become text, never HTML.

function start(place) {
  const map = elements(place);
  addPlaces(map);
  addFigure(map);
  addPaper(map);
  addCard(map);
  addHands(map);
  addControls(map);
  const {
    root, observe, clusterName, repaint, showLegend, source, life, watched, plot, glass, wait, stage, placeOf,
    within, hit, layout, layer, measure, whole, fit, queue, redraw, recolour, moved, zoom, pan, paint, showCard,
    take, sendPicked, controls, showSettings, change,
  } = map;

  // What Python adds: a second element, whose content changes.

  let host = null;
  let heard = '';
  const hear = observe(new MutationObserver(() => listen()));
  function listen() {
    const text = host?.querySelector('.lam-map-overlay')?.dataset.overlay ?? '';
    if (text === heard) return;
    heard = text;
    try { map.overlay = { path: null, samples: [], chosen: null, names: {}, ...(text ? JSON.parse(text) : {}) }; }
    catch { return; }
    map.overlay.samples ??= [];
    map.overlay.names ??= {};
    if (!map.data) return;
    if (map.taken && map.taken.kind !== 'point') map.taken = null;
    if (map.overlay.chosen?.indices?.length || map.overlay.chosen?.star) map.taken = null;
    for (const l of map.colouring.layers) if (map.settings.colour === 'cluster' && l.value != null) l.label = clusterName(l.value);
    showLegend();
    repaint();
    root.dataset.overlays = String(Number(root.dataset.overlays ?? 0) + 1);
  }
  function attach() {
    if (map.dead) return;
    if (!root.isConnected) return api.destroy();
    if (host?.isConnected) return;
    host = document.getElementById(root.dataset.overlay);
    if (!host) return;
    hear.disconnect();
    hear.observe(host, { childList: true, subtree: true, attributes: true, attributeFilter: ['data-overlay'] });
    listen();
  }
  const looking = setInterval(attach, 500);
  attach();

  // Beginning and end.

  async function load() {
    const began = performance.now();
    root.dataset.state = 'loading';
    wait.textContent = 'Loading the map…';
    try {
      const plotly = script(root.dataset.plotly);
      plotly.catch(() => null); // it is awaited below
      const answer = await fetch(source, { cache: 'no-cache' });
      if (!answer.ok) throw new Error(`map: ${answer.status}`);
      const raw = await answer.json();
      if (map.dead) return;
      if (raw.format !== 'lamdemo-map/1') throw new Error('format');
      map.renderer = findRenderer();
      map.slow = map.renderer !== 'webgl';
      map.data = read(raw);
      controls();
      map.size = [stage.clientWidth, stage.clientHeight];
      layer();
      measure();
      fit();
      showSettings();
      showLegend();
      // A sketch on the paper, which can be used already while the browser compiles Plotly.
      wait.hidden = true;
      paint();
      root.dataset.first = String(Math.round(performance.now() - began));
      await plotly;
      if (map.dead) return;
      await redraw();
      if (!map.figure) throw new Error('drawing');
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      root.dataset.renderer = map.renderer;
      root.dataset.ms = String(Math.round(performance.now() - began));
      root.dataset.state = 'ready';
    } catch (error) {
      if (map.dead) return;
      console.error('The map could not be loaded:', error);
      map.data = null;
      root.dataset.state = 'failed';
      const again = make('button', { type: 'button', 'data-lam': 'again', textContent: 'Try again' });
      again.addEventListener('click', load);
      wait.hidden = false;
      wait.replaceChildren('The map could not be loaded. ', again);
    }
  }

  // A browser may take the WebGL contexts away: then what needs none goes on.
  plot.addEventListener('webglcontextlost', () => {
    if (!map.data || map.dead || map.renderer === 'svg') return;
    queue(async () => {
      if (!plot.querySelector('canvas')) return; // purged by ourselves
      Plotly.purge(plot);
      map.figure = '';
      map.renderer = root.dataset.renderer = 'svg';
      map.slow = true;
    }).then(() => change({ dims: 2, colour: map.settings.colour }));
  }, { capture: true, signal: life.signal });

  const seeing = observe(new IntersectionObserver((entries) => {
    if (!root.isConnected) return api.destroy();
    if (entries.some((e) => e.isIntersecting) && stage.clientWidth && !root.dataset.state) load();
  }));
  seeing.observe(stage);
  let resizing = 0;
  const sizing = observe(new ResizeObserver(() => {
    const [w, h] = [stage.clientWidth, stage.clientHeight];
    if (!map.data || !map.figure || !w || !h || (w === map.size[0] && h === map.size[1])) return;
    const k = (map.view.k * whole(w, h)) / whole(...map.size);
    map.size = [w, h];
    map.view = { ...map.view, k };
    map.stamp++;
    repaint();
    clearTimeout(resizing);
    resizing = setTimeout(() => queue(async () => { plot.style.transform = ''; await Plotly.relayout(plot, layout()); map.drawn = { ...map.view }; }), 60);
  }));
  sizing.observe(stage);
  let dark = isDark();
  const theming = observe(new MutationObserver(() => {
    if (dark === isDark()) return;
    dark = isDark();
    if (!map.data) return;
    recolour();
    showLegend();
    repaint();
  }));
  theming.observe(document.body, { attributes: true, attributeFilter: ['class'] });

  const api = {
    root,
    source,
    // For tests and for other parts of the page.
    state: () => ({ ready: root.dataset.state === 'ready', renderer: map.renderer, settings: { ...map.settings }, count: map.data?.n ?? 0, view: { ...map.view, ...map.eye }, chosen: map.taken, cursor: map.cursor, picked: [...map.picked], shown: map.shown ? map.shown.reduce((n, v) => n + v, 0) : 0, overlay: map.overlay }),
    // Where something is in the window, in CSS pixels: an index, or {kind, index, group}.
    screen: (t) => {
      const spot = placeOf(typeof t === 'number' ? { kind: 'point', index: t, group: null } : { group: null, ...t });
      const r = glass.getBoundingClientRect();
      return spot && { x: r.left + spot[0], y: r.top + spot[1], inside: within(spot[0], spot[1]) };
    },
    at: (x, y) => { const r = glass.getBoundingClientRect(); return hit(x - r.left, y - r.top, REACH.mouse); },
    select: (t) => { const what = typeof t === 'number' ? { kind: 'point', index: t, group: null } : { group: null, ...t }; take(what); showCard(what); },
    lasso: (rows) => sendPicked([...rows]),
    set: (more) => change(more),
    zoom: (by, x, y) => zoom(by, x, y),
    pan,
    reset: () => { fit(); moved(); },
    settled: () => new Promise((done) => setTimeout(() => map.busy.then(() => requestAnimationFrame(() => done(true))), 200)),
    destroy: () => {
      if (map.dead) return;
      map.dead = true;
      life.abort();
      clearInterval(looking);
      [map.settle, resizing, map.speech].forEach(clearTimeout);
      watched.forEach((w) => w.disconnect());
      try { if (map.figure) Plotly.purge(plot); } catch { /* it is gone already */ }
      delete root.dataset.state;
      if (window.lamMap === api) delete window.lamMap;
    },
  };
  root.lamMap = window.lamMap = api;
  return api;
}

let current = null;
const boot = () => {
  const root = element.querySelector('.lam-map');
  if (current && current.root === root && current.source === root.dataset.src) return;
  current?.destroy();
  current = root ? start(root) : null;
};
boot();
// Another atlas in the same place: Gradio changes the old element into the new one, child by child.
watch('value', boot);
