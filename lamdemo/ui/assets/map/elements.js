// The parts of the map's element, and the state that all files of it share as `map`.

function elements(root) {
  const source = root.dataset.src;
  const name = root.dataset.label;
  const life = new AbortController();
  const on = (node, kinds, work, more = {}) => kinds.split(' ').forEach((k) => node.addEventListener(k, work, { signal: life.signal, ...more }));
  const watched = [];
  const observe = (observer) => (watched.push(observer), observer);
  const narrow = () => root.clientWidth < 600;

  // Parts of the element.

  const uid = `lam-map-${Math.random().toString(36).slice(2, 8)}`;
  const pick = (data, label, options) =>
    make('label', { className: 'lam-map-field' }, make('span', { textContent: label }),
      make('select', { 'data-lam': data }, ...options.map(([v, t]) => make('option', { value: v, textContent: t }))));
  const press = (data, text, label, more = {}) => make('button', { type: 'button', 'data-lam': data, textContent: text, title: label, 'aria-label': label, ...more });
  const group = (label, ...buttons) => make('div', { role: 'group', className: 'lam-map-group', 'aria-label': label }, ...buttons);

  const bar = make('div', { className: 'lam-map-bar', role: 'toolbar', 'aria-label': `Controls of the map: ${name}` });
  const plot = make('div', { className: 'lam-map-plot', 'aria-hidden': 'true' });
  const paper = make('canvas', { className: 'lam-map-paper', 'aria-hidden': 'true' });
  const glass = make('div', {
    className: 'lam-map-glass', tabIndex: 0, role: 'application', 'data-lam': 'stage', 'aria-label': name,
    'aria-roledescription': 'map', 'aria-describedby': `${uid}-help`,
  });
  const note = make('p', { className: 'lam-map-note', hidden: true });
  const wait = make('p', { className: 'lam-map-wait', textContent: 'The map appears here.' });
  const stage = make('div', { className: 'lam-map-stage' }, plot, paper, glass, note, wait);
  const legend = make('div', { className: 'lam-map-legend' });
  const live = make('p', { className: 'lam-map-live', role: 'status', 'aria-live': 'polite' });
  const help = make('p', { className: 'lam-map-help', id: `${uid}-help` });
  const card = make('div', { className: 'lam-map-card', hidden: true, 'aria-hidden': 'true' });
  const frames = ['before', 'after', 'both in turn'].map((word, k) => {
    const box = make('span', { className: 'lam-map-frame' }, ...(k < 2 ? [make('i')] : [make('i'), make('i', { className: 'lam-map-flip' })]));
    return make('span', { className: 'lam-map-shot' }, box, make('small', { textContent: word }));
  });
  const shots = make('div', { className: 'lam-map-shots' }, frames[0], make('b', { textContent: '→' }), frames[1], frames[2]);
  const facts = make('div', { className: 'lam-map-facts' });
  card.append(shots, facts);
  root.replaceChildren(bar, stage, card, legend, help, live);

  const map = {
    data: null,
    plays: root.dataset.plays !== 'no', // a click plays an action; of another model's map it is looked at
    renderer: 'webgl',
    settings: { projection: 'umap', dims: 2, colour: null, mode: 'move', hidden: {} },
    layers: [], // as drawn: {key, label, rows, colour}
    colouring: null,
    shown: null, // uint8: drawn and not hidden
    slow: false, // a frame takes so long that a gesture moves the picture of the last one
    view: { x: 0, y: 0, k: 1 }, // in two dimensions: centre, and pixels a unit
    drawn: { x: 0, y: 0, k: 1 }, // what Plotly has drawn
    eye: { turn: 0.8, lift: 0.42, far: 1.35 }, // in three
    box: null, // least and largest of each axis
    size: [0, 0],
    overlay: { path: null, samples: [], chosen: null, names: {} },
    hiddenOver: new Set(),
    target: null, // what the pointer is over: {kind, index, group}
    cursor: null, // what the keyboard is at
    picked: [], // by lasso or by space bar
    taken: null, // what was clicked last
    loop: null, // points of a lasso that is being drawn
    stamp: 0, // counts changes of the view
    dead: false,
    busy: Promise.resolve(),
    places: null, // of all points, as the last view had them
    figure: '', // kind of figure that stands
    settle: 0, // timer that ends a gesture
    carded: null, // what the card shows
    speech: 0, // timer of the next words for a screen reader
  };
  const mapKey = () => `${map.settings.projection}${map.settings.dims}`;
  const axes = () => map.data.maps[mapKey()]();
  const three = () => map.settings.dims === 3;
  const store = () => `lamdemo.map:${map.data.checkpoint.slice(0, 16)}:${map.data.n}`;
  const keep = () => {
    try { localStorage.setItem(store(), JSON.stringify(map.settings)); } catch { /* a browser that keeps nothing */ }
  };

  return Object.assign(map, {
    root, source, life, on, watched, observe, narrow, pick, press, group, bar, plot, paper, glass, note, wait,
    stage, legend, live, help, card, frames, shots, facts, mapKey, axes, three, store, keep,
  });
}
