// The map of an atlas, in the browser: the body of the function that Gradio runs once the element is there, with
// `element`, `trigger` and `watch` given. Plotly draws the points of the atlas; all else, from the hover to the lasso,
// is done here from the places of the points on the screen, so that mouse, touch and keyboard work alike in two and in
// three dimensions and nothing depends on the insides of Plotly. Names come from files of visitors: they only ever
// become text, never HTML.

const MOST_PICKED = 20000; // indices that a lasso sends
const FEW_3D = 2500; // points that a renderer without a graphics card turns at a tolerable pace
const FEW_SVG = 2000; // points that are drawn where there is no WebGL at all
const BINS = 24; // colours of a continuous scale: one trace each, since a colour for each point is slow to parse
const REACH = { mouse: 9, pen: 12, touch: 22 }; // pixels between a pointer and what it means

// Petroff's ten colours (arXiv 2107.02270), chosen to be told apart also by the colour-blind; the two of them that are
// grey come last, since grey also means "other" and "not known".
const TEN = {
  light: ['#3f90da', '#ffa90e', '#bd1f01', '#832db6', '#a96b59', '#e76300', '#5fbfc4', '#b9ac70', '#717581', '#94a4a2'],
  dark: ['#5aa5ea', '#ffb733', '#e8553a', '#b57be0', '#c08a7a', '#ff8a3d', '#92dadd', '#cfc38d', '#8d92a1', '#a9b8b6'],
};
const FILMED = { light: '#1c1917', dark: '#fafaf9' };
const REST = { light: '#cdc7c0', dark: '#4b4641' };
const GROUPS = { light: ['#b45309', '#0f766e', '#6d28d9', '#be185d'], dark: ['#fbbf24', '#2dd4bf', '#c4b5fd', '#f9a8d4'] };
const SYMBOLS = ['diamond', 'triangle', 'square', 'ring'];
const VIRIDIS = ['440154', '482878', '3e4989', '31688e', '26828e', '1f9e89', '35b779', '6ece58', 'b5de2b', 'fde725'];

// Colours.

const isDark = () => document.body.classList.contains('dark') || !!document.querySelector('.gradio-container.dark');
const shade = () => (isDark() ? 'dark' : 'light');
const hex = (rgb) => '#' + rgb.map((v) => Math.round(Math.min(Math.max(v, 0), 255)).toString(16).padStart(2, '0')).join('');

function viridis(t) {
  const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const parts = (k) => [0, 2, 4].map((i) => parseInt(VIRIDIS[k].slice(i, i + 2), 16));
  const [a, b] = [parts(low), parts(low + 1)];
  return hex(a.map((v, i) => v + (b[i] - v) * (at - low)));
}

// OKLCH, in which equal steps look equal: a scale that is straight in it is perceptually uniform.
function oklch(l, c, hue) {
  const [a, b] = [c * Math.cos((hue * Math.PI) / 180), c * Math.sin((hue * Math.PI) / 180)];
  const [x, y, z] = [
    (l + 0.3963377774 * a + 0.2158037573 * b) ** 3,
    (l - 0.1055613458 * a - 0.0638541728 * b) ** 3,
    (l - 0.0894841775 * a - 1.291485548 * b) ** 3,
  ];
  const linear = [
    4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
    -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
    -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z,
  ];
  return hex(linear.map((v) => 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055)));
}

// What is much stands out from the ground in either theme; what is little, or zero, is close to it.
function scale(t, signed) {
  const dark = isDark();
  if (!signed) return dark ? viridis(0.14 + 0.86 * t) : viridis(0.88 * (1 - t));
  const far = Math.abs(2 * t - 1);
  const l = dark ? 0.4 + 0.42 * far : 0.85 - 0.39 * far;
  return oklch(l, 0.015 + 0.13 * far, t < 0.5 ? 250 : 52);
}

// Small helpers.

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const told = (v) => (v === 0 ? '0' : Number(v.toPrecision(Math.abs(v) >= 100 ? 3 : 2)).toString().replace('-', '−'));
const counted = (n) => n.toLocaleString('en');

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node && key !== 'role') node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c != null));
  return node;
}

function unpack(text, Type) {
  let bytes;
  if (Uint8Array.fromBase64) bytes = Uint8Array.fromBase64(text);
  else {
    const raw = atob(text);
    bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  }
  return new Type(bytes.buffer);
}

// A file of the page that holds a name is in a folder of its own, so that a promise for its address will do.
const scripts = (window.lamScripts ??= {});
function script(address) {
  scripts[address] ??= new Promise((done, failed) => {
    if (window.Plotly) return done();
    const node = make('script', { src: address, async: true });
    node.onload = () => done();
    node.onerror = () => {
      delete scripts[address];
      node.remove();
      failed(new Error('script'));
    };
    document.head.append(node);
  });
  return scripts[address];
}

// What draws: a graphics card, a processor that does as if, or nothing that knows WebGL.
function findRenderer() {
  try {
    const gl = document.createElement('canvas').getContext('webgl');
    if (!gl) return 'svg';
    const more = gl.getExtension('WEBGL_debug_renderer_info');
    const name = String(gl.getParameter(more ? more.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    gl.getExtension('WEBGL_lose_context')?.loseContext();
    return /swiftshader|llvmpipe|software|basic render/i.test(name) ? 'software' : 'webgl';
  } catch {
    return 'svg';
  }
}

// Data.

function read(raw) {
  const n = raw.count;
  const types = { float32: Float32Array, int32: Int32Array, int16: Int16Array };
  const get = (a) => unpack(a.data, types[a.type]);
  const maps = {};
  for (const [key, packed] of Object.entries(raw.projections)) {
    maps[key] = () => {
      const whole = unpack(packed.data, Int16Array);
      const d = packed.scale.length;
      const axes = packed.scale.map((s, a) => {
        const axis = new Float32Array(n);
        for (let i = 0; i < n; i++) axis[i] = whole[i * d + a] * s + packed.offset[a];
        return axis;
      });
      maps[key] = () => axes;
      return axes;
    };
  }
  const arrays = Object.fromEntries(Object.entries(raw.arrays).map(([k, a]) => [k, get(a)]));
  const known = Object.fromEntries(Object.entries(raw.known).map(([k, a]) => [k, { values: get(a), unit: a.unit }]));
  return { ...raw, n, maps, arrays, known };
}

// Categories as layers: the ten largest have a colour each, the others share one, what is not known another.
function categories(values, labels, rest) {
  const rows = new Map();
  values.forEach((v, i) => {
    if (!rows.has(v)) rows.set(v, []);
    rows.get(v).push(i);
  });
  const unknown = rows.get(-1);
  rows.delete(-1);
  const order = [...rows].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]);
  const layers = order.slice(0, 10).map(([v, rows], k) => ({ key: String(v), label: labels(v), value: v, rows, colour: () => TEN[shade()][k] }));
  const other = order.slice(10).flatMap((o) => o[1]);
  const grey = () => REST[shade()];
  if (other.length) layers.push({ key: 'other', label: `other (${order.length - 10})`, rows: other, colour: grey, below: true });
  if (unknown) layers.push({ key: 'none', label: rest, rows: unknown, colour: grey, below: true });
  return { layers, categorical: true };
}

function continuum(values, unit, { signed = null, ends = null } = {}) {
  const finite = Array.from(values.filter((v) => !Number.isNaN(v))).sort((a, b) => a - b);
  if (!finite.length) return { layers: [{ key: 'none', label: 'not known', rows: [...values.keys()], colour: () => REST[shade()] }], categorical: true };
  const at = (q) => finite[Math.round(q * (finite.length - 1))];
  const both = signed ?? (finite[0] < 0 && finite[finite.length - 1] > 0);
  let [low, high] = ends ?? [at(0.01), at(0.99)];
  if (both) [low, high] = [-1, 1].map((s) => s * Math.max(Math.abs(low), Math.abs(high)));
  if (high <= low) [low, high] = [low - 0.5, low + 0.5];
  const bins = Array.from({ length: BINS }, () => []);
  const unknown = [];
  values.forEach((v, i) => {
    if (Number.isNaN(v)) unknown.push(i);
    else bins[clamp(Math.floor(((v - low) / (high - low)) * BINS), 0, BINS - 1)].push(i);
  });
  let layers = bins.map((rows, b) => ({ key: `bin${b}`, rows, bin: b, colour: () => scale((b + 0.5) / BINS, both) }));
  // What stands out is drawn last.
  if (both) layers.sort((a, b) => Math.abs(a.bin - (BINS - 1) / 2) - Math.abs(b.bin - (BINS - 1) / 2));
  layers = layers.filter((l) => l.rows.length);
  if (unknown.length) layers.unshift({ key: 'none', label: 'not known', rows: unknown, colour: () => REST[shade()], below: true });
  return { layers, low, high, unit, signed: both, cut: !ends && (finite[0] < low || finite[finite.length - 1] > high) };
}

// The map.

function start(root) {
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

  // State.

  let data = null;
  let renderer = 'webgl';
  let settings = { projection: 'umap', dims: 2, colour: null, mode: 'move', hidden: {} };
  let layers = []; // as drawn: {key, label, rows, colour}
  let colouring = null;
  let shown = null; // uint8: drawn and not hidden
  let slow = false; // a frame takes so long that a gesture moves the picture of the last one
  let view = { x: 0, y: 0, k: 1 }; // in two dimensions: centre, and pixels a unit
  let drawn = { ...view }; // what Plotly has drawn
  let eye = { turn: 0.8, lift: 0.42, far: 1.35 }; // in three
  let box = null; // least and largest of each axis
  let size = [0, 0];
  let overlay = { path: null, samples: [], chosen: null, names: {} };
  let hiddenOver = new Set();
  let target = null; // what the pointer is over: {kind, index, group}
  let cursor = null; // what the keyboard is at
  let picked = []; // by lasso or by space bar
  let taken = null; // what was clicked last
  let loop = null; // points of a lasso that is being drawn
  let stamp = 0; // counts changes of the view
  let dead = false;
  let busy = Promise.resolve();

  const mapKey = () => `${settings.projection}${settings.dims}`;
  const axes = () => data.maps[mapKey()]();
  const three = () => settings.dims === 3;
  const store = () => `lamdemo.map:${data.checkpoint.slice(0, 16)}:${data.n}`;
  const keep = () => {
    try { localStorage.setItem(store(), JSON.stringify(settings)); } catch { /* a browser that keeps nothing */ }
  };

  // Places on the screen.

  function camera() {
    const flat = Math.cos(eye.lift) * eye.far;
    return { x: flat * Math.cos(eye.turn), y: flat * Math.sin(eye.turn), z: Math.sin(eye.lift) * eye.far };
  }

  // Plotly's scene: ranges of the axes become a box about the origin, seen from `eye` with an opening of 45 degrees.
  function projector() {
    const [w, h] = size;
    if (!three()) return (x, y) => [w / 2 + (x - view.x) * view.k, h / 2 - (y - view.y) * view.k, 0];
    const e = camera();
    const far = Math.hypot(e.x, e.y, e.z);
    const f = [-e.x / far, -e.y / far, -e.z / far];
    const flat = Math.hypot(f[0], f[1]);
    const s = [f[1] / flat, -f[0] / flat, 0];
    const u = [s[1] * f[2], -s[0] * f[2], s[0] * f[1] - s[1] * f[0]];
    const t = 1 / Math.tan(Math.PI / 8);
    const [a, b, c] = box.middle;
    const g = box.grow;
    return (x, y, z) => {
      const p = [(x - a) * g - e.x, (y - b) * g - e.y, (z - c) * g - e.z];
      const depth = f[0] * p[0] + f[1] * p[1] + f[2] * p[2];
      const across = s[0] * p[0] + s[1] * p[1];
      const up = u[0] * p[0] + u[1] * p[1] + u[2] * p[2];
      const near = Math.max(depth, 1e-6);
      return [w / 2 + ((across * t) / near) * (h / 2), h / 2 - ((up * t) / near) * (h / 2), depth];
    };
  }

  let places = null;
  function screen() {
    if (places && places.stamp === stamp) return places;
    const project = projector();
    const [x, y, z] = axes();
    places ??= { x: new Float32Array(data.n), y: new Float32Array(data.n), d: new Float32Array(data.n) };
    for (let i = 0; i < data.n; i++) {
      const p = project(x[i], y[i], z ? z[i] : 0);
      places.x[i] = p[0];
      places.y[i] = p[1];
      places.d[i] = p[2];
    }
    places.stamp = stamp;
    return places;
  }

  // What can be pointed at beside the points: the path and the samples, where this map has places for them.
  function extras() {
    const found = [];
    const project = projector();
    const add = (kind, group, coordinates) => (coordinates?.[mapKey()] ?? []).forEach((p, index) => {
      const [x, y] = project(p[0], p[1], p[2] ?? 0);
      found.push({ kind, group, index, x, y });
    });
    if (overlay.path && !hiddenOver.has('path')) add('path', null, overlay.path.coordinates);
    overlay.samples.forEach((s, g) => hiddenOver.has(`sample${g}`) || add('sample', g, s.coordinates));
    return found;
  }

  function placeOf(t) {
    if (!t) return null;
    if (t.kind === 'point') return [screen().x[t.index], screen().y[t.index]];
    const e = extras().find((e) => same(e, t));
    return e ? [e.x, e.y] : null;
  }

  const same = (a, b) => !!a && !!b && a.kind === b.kind && a.index === b.index && (a.group ?? null) === (b.group ?? null);
  const within = (x, y, edge = 0) => x >= edge && y >= edge && x <= size[0] - edge && y <= size[1] - edge;

  function hit(x, y, reach) {
    let best = null;
    let least = reach * reach;
    for (const e of extras()) {
      const d = (e.x - x) ** 2 + (e.y - y) ** 2;
      if (d <= least) [best, least] = [{ kind: e.kind, index: e.index, group: e.group }, d];
    }
    if (best) return best; // they lie on top
    const p = screen();
    const depth = three() ? 60 : 0; // of two that are about as close, the nearer to the eye
    let index = -1;
    least = Infinity;
    for (let i = 0; i < data.n; i++) {
      if (!shown[i]) continue;
      const [dx, dy] = [p.x[i] - x, p.y[i] - y];
      const d = dx * dx + dy * dy;
      if (d > reach * reach) continue;
      const cost = d + depth * p.d[i];
      if (cost < least) [index, least] = [i, cost];
    }
    return index < 0 ? null : { kind: 'point', index, group: null };
  }

  // Drawing by Plotly.

  const ranges = () => {
    const [w, h] = size;
    return {
      'xaxis.range': [view.x - w / 2 / view.k, view.x + w / 2 / view.k],
      'yaxis.range': [view.y - h / 2 / view.k, view.y + h / 2 / view.k],
    };
  };

  const few = () => (renderer === 'svg' ? FEW_SVG : renderer === 'software' && three() ? FEW_3D : Infinity);
  const drawnHere = (i) => few() >= data.n || (Math.imul(i + 1, 2654435761) >>> 0) / 4294967296 < few() / data.n;

  function dot() {
    const n = Math.min(data.n, few());
    const base = n > 12000 ? 4 : n > 5000 ? 5 : n > 1500 ? 6.5 : 8;
    return three() ? base * 0.45 : base;
  }

  function layout() {
    const bare = { visible: false, fixedrange: true, autorange: false };
    const r = ranges();
    const side = (a) => ({
      range: [box.low[a], box.high[a]], autorange: false, title: { text: '' }, showticklabels: false, ticks: '', showspikes: false,
      showgrid: true, zeroline: false, showbackground: false, gridcolor: isDark() ? '#2f2b28' : '#e6e1db', nticks: 5,
    });
    return {
      width: size[0], height: size[1], autosize: false, margin: { t: 0, r: 0, b: 0, l: 0 }, showlegend: false,
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hovermode: false, dragmode: false,
      ...(three()
        ? { scene: { xaxis: side(0), yaxis: side(1), zaxis: side(2), aspectmode: 'manual', hovermode: false, dragmode: false,
            aspectratio: { x: box.side[0], y: box.side[1], z: box.side[2] },
            camera: { eye: camera(), center: { x: 0, y: 0, z: 0 }, up: { x: 0, y: 0, z: 1 } } } }
        : { xaxis: { ...bare, range: r['xaxis.range'] }, yaxis: { ...bare, range: r['yaxis.range'] } }),
    };
  }

  function traces() {
    const all = axes();
    const type = renderer === 'svg' ? 'scatter' : three() ? 'scatter3d' : 'scattergl';
    return layers.map((layer) => {
      const rows = layer.rows.filter(drawnHere);
      const [x, y, z] = all.map((axis) => Float32Array.from(rows, (i) => axis[i]));
      return {
        type, x, y, ...(three() ? { z } : {}), mode: 'markers', hoverinfo: 'skip', visible: !isHidden(layer),
        marker: {
          color: layer.colour(), size: (layer.large ? 1.35 : 1) * dot(), line: { width: 0 }, opacity: (layer.below ? 0.55 : 0.82) * (three() ? 1.1 : 1),
          symbol: three() && renderer === 'software' ? 'square' : 'circle',
        },
      };
    });
  }

  const isHidden = (layer) => (settings.hidden[settings.colour] ?? []).includes(layer.key);

  function markShown() {
    shown = new Uint8Array(data.n);
    for (const layer of layers) if (!isHidden(layer)) for (const i of layer.rows) if (drawnHere(i)) shown[i] = 1;
  }

  function layer() {
    const a = data.arrays;
    const name = settings.colour;
    if (name === 'source') colouring = categories(a.source, (v) => data.sources[v], 'not known');
    else if (name === 'kind') {
      colouring = categories(a.kind, (v) => data.kinds[v], 'filmed clips');
      for (const layer of colouring.layers) {
        // Two actions at once lie among the first of the two, and would hide it.
        if (layer.label === 'both') layer.below = true;
        // A drawn scene has a kind, a filmed clip has none. Those are few, and what most want to see: dark, large, on top.
        if (layer.key === 'none') Object.assign(layer, { below: false, large: true, colour: () => FILMED[shade()] });
      }
    }
    else if (name === 'cluster') colouring = categories(a.cluster, clusterName, 'in no cluster');
    else if (name === 'density') colouring = continuum(a.density, data.units.density, { signed: false, ends: [0, 1] });
    else if (name.startsWith('known:')) colouring = continuum(data.known[name.slice(6)].values, data.known[name.slice(6)].unit);
    else colouring = continuum(a.size, data.units.size, { signed: false });
    // Grey lies below what has a colour.
    layers = [...colouring.layers].sort((a, b) => Number(!!b.below) - Number(!!a.below));
    markShown();
  }

  const clusterName = (v) => overlay.names?.clusters?.[v] || `cluster ${v + 1}`;

  function measure() {
    const all = axes();
    const ends = all.map((axis) => {
      let [low, high] = [Infinity, -Infinity];
      for (const v of axis) { if (v < low) low = v; if (v > high) high = v; }
      return high > low ? [low, high] : [low - 1, low + 1];
    });
    const pad = three() ? 0.02 : 0;
    const low = ends.map(([l, h]) => l - pad * (h - l));
    const high = ends.map(([l, h]) => h + pad * (h - l));
    const longest = Math.max(...low.map((l, a) => high[a] - l));
    box = { low, high, middle: low.map((l, a) => (l + high[a]) / 2), grow: 1 / longest, side: low.map((l, a) => (high[a] - l) / longest) };
  }

  // Pixels a unit at which all points just fit in.
  const whole = (w, h) => Math.min(w / (box.high[0] - box.low[0]), h / (box.high[1] - box.low[1]));

  function fit() {
    const [w, h] = size;
    eye = { turn: 0.8, lift: 0.42, far: 1.35 };
    view = { x: box.middle[0], y: box.middle[1], k: 0.92 * whole(w, h) };
    stamp++;
  }

  const least = () => 0.4 * whole(...size);

  // One after the other: Plotly draws in steps, and two figures at once would mix.
  function queue(work) {
    busy = busy.then(() => (dead ? null : work())).catch((error) => console.error('The map could not be drawn:', error));
    return busy;
  }

  let figure = ''; // kind of figure that stands
  function redraw() {
    return queue(async () => {
      if (!window.Plotly) return repaint();
      const kind = `${renderer}${settings.dims}`;
      plot.style.transform = '';
      if (figure && figure !== kind) Plotly.purge(plot); // gives the WebGL contexts back, of which a page has few
      const options = { staticPlot: !three(), displayModeBar: false, responsive: false, plotGlPixelRatio: renderer === 'software' ? 1 : clamp(devicePixelRatio, 1, 2) };
      await Plotly.react(plot, traces(), layout(), options);
      figure = kind;
      drawn = { ...view };
      repaint();
    });
  }

  const recolour = () => queue(async () => {
    if (!figure) return;
    await Plotly.restyle(plot, { 'marker.color': layers.map((l) => l.colour()) });
    if (three()) await Plotly.relayout(plot, layout());
  });

  let moving = false;
  let settle = 0;
  let last = 0;
  let late = 0;
  // After each change of the view: the paper follows at once; so does Plotly where it can draw in time, and where it
  // cannot its last picture is moved and stretched until the gesture rests.
  function moved() {
    stamp++;
    repaint();
    if (three() || !slow) {
      plot.style.transform = '';
      if (moving) return;
      moving = true;
      requestAnimationFrame((now) => {
        if (last && now - last < 300) {
          late = now - last > 34 ? late + 1 : Math.max(late - 1, 0);
          if (late >= 4) slow = true;
        }
        last = now;
        queue(async () => {
          moving = false;
          if (!figure) return;
          await Plotly.relayout(plot, three() ? { 'scene.camera.eye': camera() } : ranges());
          drawn = { ...view };
        });
      });
      return;
    }
    const s = view.k / drawn.k;
    const [w, h] = size;
    plot.style.transform = `translate(${w / 2 + (drawn.x - view.x) * view.k - (w / 2) * s}px, ${h / 2 - (drawn.y - view.y) * view.k - (h / 2) * s}px) scale(${s})`;
    clearTimeout(settle);
    settle = setTimeout(() => queue(async () => {
      if (!figure) return;
      const asked = { ...view };
      await Plotly.relayout(plot, ranges());
      drawn = asked;
      plot.style.transform = '';
      if (stamp && (view.x !== asked.x || view.y !== asked.y || view.k !== asked.k)) moved();
    }), 140);
  }

  function zoom(by, x = size[0] / 2, y = size[1] / 2) {
    if (three()) eye.far = clamp(eye.far / by, 0.25, 5);
    else {
      const k = clamp(view.k * by, least(), least() * 2000);
      const [dx, dy] = [x - size[0] / 2, size[1] / 2 - y];
      view = { x: view.x + dx / view.k - dx / k, y: view.y + dy / view.k - dy / k, k };
    }
    moved();
  }

  function pan(dx, dy) {
    if (three()) {
      eye.turn -= dx * 0.008;
      eye.lift = clamp(eye.lift + dy * 0.008, -1.5, 1.5);
    } else view = { ...view, x: view.x - dx / view.k, y: view.y + dy / view.k };
    moved();
  }

  // Drawing on the paper above.

  let painting = false;
  function repaint() {
    if (painting || dead) return;
    painting = true;
    requestAnimationFrame(() => { painting = false; if (!dead && data) paint(); });
  }

  const look = () => {
    const style = getComputedStyle(root);
    const get = (key, or) => style.getPropertyValue(key).trim() || or;
    return { ink: get('--body-text-color', isDark() ? '#eee' : '#222'), ground: get('--lam-card', isDark() ? '#1d1b19' : '#fff'), accent: get('--lam-accent', '#0f766e'), line: get('--lam-line', '#ccc') };
  };

  function shape(c, symbol, x, y, r) {
    c.beginPath();
    if (symbol === 'diamond') { c.moveTo(x, y - r * 1.25); c.lineTo(x + r * 1.25, y); c.lineTo(x, y + r * 1.25); c.lineTo(x - r * 1.25, y); c.closePath(); }
    else if (symbol === 'triangle') { c.moveTo(x, y - r * 1.25); c.lineTo(x + r * 1.15, y + r * 0.85); c.lineTo(x - r * 1.15, y + r * 0.85); c.closePath(); }
    else if (symbol === 'square') c.rect(x - r, y - r, 2 * r, 2 * r);
    else if (symbol === 'star') {
      for (let k = 0; k < 10; k++) {
        const [a, q] = [(k * Math.PI) / 5 - Math.PI / 2, k % 2 ? r * 0.45 : r];
        c[k ? 'lineTo' : 'moveTo'](x + q * Math.cos(a), y + q * Math.sin(a));
      }
      c.closePath();
    } else c.arc(x, y, r, 0, 7);
  }

  function words(c, text, x, y, colours, align = 'center') {
    c.textAlign = align;
    c.lineWidth = 3.5;
    c.lineJoin = 'round';
    c.strokeStyle = colours.ground;
    c.fillStyle = colours.ink;
    c.strokeText(text, x, y);
    c.fillText(text, x, y);
  }

  function paint() {
    const [w, h] = size;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (paper.width !== Math.round(w * ratio) || paper.height !== Math.round(h * ratio)) [paper.width, paper.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    const c = paper.getContext('2d');
    const colours = look();
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    c.font = `600 11.5px ${getComputedStyle(root).fontFamily}`;
    c.textBaseline = 'middle';
    const p = screen();
    const project = projector();
    const at = (q) => project(q[0], q[1], q[2] ?? 0);
    const ring = (x, y, r, colour, width = 2) => {
      c.lineWidth = width + 2.5; c.strokeStyle = colours.ground; shape(c, 'ring', x, y, r); c.stroke();
      c.lineWidth = width; c.strokeStyle = colour; shape(c, 'ring', x, y, r); c.stroke();
    };

    if (!figure) {
      const r = dot() / 2;
      c.globalAlpha = 0.8;
      for (const l of layers.filter((l) => !isHidden(l))) {
        c.fillStyle = l.colour();
        for (const i of l.rows) if (drawnHere(i)) c.fillRect(p.x[i] - r, p.y[i] - r, 2 * r, 2 * r);
      }
      c.globalAlpha = 1;
    }
    if (picked.length) {
      c.fillStyle = colours.accent;
      const every = Math.ceil(picked.length / 4000);
      const r = three() ? 1.8 : dot() / 2;
      for (let k = 0; k < picked.length; k += every) {
        const i = picked[k];
        if (within(p.x[i], p.y[i])) c.fillRect(p.x[i] - r, p.y[i] - r, 2 * r, 2 * r);
      }
    }
    const tint = GROUPS[shade()];
    for (const e of extras().filter((e) => e.kind === 'sample' && within(e.x, e.y))) {
      const symbol = overlay.samples[e.group].symbol ?? SYMBOLS[e.group % SYMBOLS.length];
      shape(c, symbol, e.x, e.y, 4.2);
      c.lineWidth = 4; c.strokeStyle = colours.ground; c.stroke();
      c.lineWidth = 1.8; c.strokeStyle = tint[e.group % tint.length]; c.stroke();
    }
    const path = extras().filter((e) => e.kind === 'path');
    if (path.length) {
      for (const [colour, width] of [[colours.ground, 6], [colours.ink, 2]]) {
        c.lineWidth = width; c.strokeStyle = colour; c.lineJoin = 'round';
        c.beginPath();
        path.forEach((e, k) => c[k ? 'lineTo' : 'moveTo'](e.x, e.y));
        c.stroke();
      }
      path.forEach((e, k) => {
        // Time goes from hollow to full.
        shape(c, 'ring', e.x, e.y, 5.5);
        c.fillStyle = colours.ground; c.fill();
        c.globalAlpha = path.length > 1 ? k / (path.length - 1) : 1;
        c.fillStyle = colours.ink; c.fill();
        c.globalAlpha = 1;
        c.lineWidth = 2; c.strokeStyle = colours.ink; c.stroke();
      });
      words(c, '1', path[0].x, path[0].y - 14, colours);
      if (path.length > 1) words(c, String(path.length), path[path.length - 1].x, path[path.length - 1].y - 14, colours);
    }
    const chosen = overlay.chosen;
    if (chosen) {
      for (const i of chosen.indices ?? []) if (i >= 0 && i < data.n) ring(p.x[i], p.y[i], 8, colours.accent);
      const star = chosen.star?.[mapKey()];
      if (star) {
        const [x, y] = at(star);
        shape(c, 'star', x, y, 11);
        c.lineWidth = 4; c.strokeStyle = colours.ground; c.stroke();
        c.fillStyle = colours.accent; c.fill();
        if (chosen.label) {
          // Near an edge the words stay on the map.
          const half = c.measureText(chosen.label).width / 2 + 6;
          words(c, chosen.label, Math.min(Math.max(x, half), glass.clientWidth - half), y + 20, colours);
        }
      }
    }
    if (settings.colour === 'cluster') {
      const taken = []; // places of words that stand: the larger cluster keeps its own
      for (const l of colouring.layers.filter((l) => l.value != null && !isHidden(l))) {
        const [x, y] = ['x', 'y'].map((a) => Float32Array.from(l.rows, (i) => p[a][i]).sort()[l.rows.length >> 1]);
        const half = c.measureText(l.label).width / 2 + 4;
        if (!within(x, y) || taken.some((o) => Math.abs(o[0] - x) < o[2] + half && Math.abs(o[1] - y) < 16)) continue;
        taken.push([x, y, half]);
        words(c, l.label, x, y, colours);
      }
    }
    const there = (t) => (t ? placeOf(t) : null);
    const spot = there(taken);
    if (spot) { ring(spot[0], spot[1], 9, colours.accent, 2.5); }
    const over = there(target);
    if (over) ring(over[0], over[1], 8, colours.ink);
    const key = there(cursor);
    if (key) {
      ring(key[0], key[1], 12, colours.ink, 2);
      c.lineWidth = 2; c.strokeStyle = colours.ink;
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { c.beginPath(); c.moveTo(key[0] + 12 * dx, key[1] + 12 * dy); c.lineTo(key[0] + 17 * dx, key[1] + 17 * dy); c.stroke(); }
    }
    if (loop) {
      c.beginPath();
      loop.forEach(([x, y], k) => c[k ? 'lineTo' : 'moveTo'](x, y));
      c.closePath();
      c.fillStyle = colours.accent; c.globalAlpha = 0.12; c.fill(); c.globalAlpha = 1;
      c.setLineDash([5, 4]); c.lineWidth = 1.8; c.strokeStyle = colours.accent; c.stroke(); c.setLineDash([]);
    }
  }

  // The card of a step.

  const seconds = (v) => `${v.toFixed(2)} s`;
  function describe(t) {
    const a = data.arrays;
    if (t.kind === 'path') {
      const p = overlay.path;
      const facts = [];
      if (p.seconds?.[t.index] != null) facts.push(['at', seconds(p.seconds[t.index])]);
      if (p.sizes?.[t.index] != null) facts.push(['size', told(p.sizes[t.index])]);
      return { title: `${p.name || 'Your clip'}, step ${t.index + 1}`, facts };
    }
    if (t.kind === 'sample') {
      const s = overlay.samples[t.group];
      return { title: `${s.label}, ${t.index + 1}`, facts: s.sizes?.[t.index] != null ? [['size', told(s.sizes[t.index])]] : [] };
    }
    const i = t.index;
    const facts = [['at', seconds(a.seconds[i])], ['size', told(a.size[i])]];
    if (a.kind[i] >= 0) facts.unshift(['kind', data.kinds[a.kind[i]]]);
    if (a.cluster[i] >= 0 && overlay.names?.clusters?.[a.cluster[i]]) facts.push(['cluster', clusterName(a.cluster[i])]);
    for (const [name, k] of Object.entries(data.known)) {
      if (!Number.isNaN(k.values[i]) && Math.abs(k.values[i]) > 1e-6) facts.push([name, told(k.values[i])]);
    }
    return { title: data.recordings[a.recording[i]], facts };
  }

  const spoken = (t) => { const d = describe(t); return `${d.title}: ${d.facts.map(([k, v]) => `${k} ${v}`).join(', ')}.`; };

  function picture(node, t, which) {
    const [w, h] = data.thumb;
    let background = '';
    if (t.kind === 'point') {
      const f = data.arrays.frame[t.index] + which;
      const [sheet, cell] = [Math.floor(f / data.sheet ** 2), f % data.sheet ** 2];
      const address = new URL(`sheet-${String(sheet).padStart(3, '0')}.jpg?v=${data.stamp}`, new URL(source, document.baseURI));
      const part = (k) => (100 * k) / (data.sheet - 1);
      background = `url("${address}") ${part(cell % data.sheet)}% ${part(Math.floor(cell / data.sheet))}% / ${100 * data.sheet}% ${100 * data.sheet}%`;
    } else if (t.kind === 'path' && /^data:image\//.test(overlay.path.thumbs?.[t.index + which] ?? '')) {
      background = `url("${overlay.path.thumbs[t.index + which].replace(/["\\\n]/g, '')}") center / cover`;
    }
    node.style.background = background;
    node.parentNode.style.aspectRatio = `${w} / ${h}`;
    return !!background;
  }

  let carded = null;
  function showCard(t) {
    const docked = narrow() || root.dataset.touch === 'yes';
    if (!t) {
      carded = null;
      if (!(docked && !card.hidden && taken)) card.hidden = true;
      return;
    }
    const { title, facts: list } = describe(t);
    if (!same(carded, t)) {
      const some = [[frames[0], 0, 0], [frames[1], 0, 1], [frames[2], 0, 0], [frames[2], 1, 1]].map(([f, layer, which]) => picture(f.querySelectorAll('i')[layer], t, which));
      shots.hidden = !some[0];
      facts.replaceChildren(make('strong', { textContent: title }), make('span', {}, ...list.flatMap(([k, v]) => [make('span', {}, make('small', { textContent: `${k} ` }), v)])));
      carded = t;
    }
    card.classList.toggle('lam-docked', docked);
    card.hidden = false;
    if (docked) { card.style.left = card.style.top = ''; return; }
    const spot = placeOf(t);
    if (!spot) return;
    const r = stage.getBoundingClientRect();
    const [w, h] = [card.offsetWidth, card.offsetHeight];
    const [vw, vh] = [document.documentElement.clientWidth, window.innerHeight];
    let x = r.left + spot[0] + 20;
    if (x + w > vw - 8) x = r.left + spot[0] - 20 - w;
    card.style.left = `${clamp(x, 8, Math.max(vw - w - 8, 8))}px`;
    card.style.top = `${clamp(r.top + spot[1] - h / 2, 8, Math.max(vh - h - 8, 8))}px`;
  }

  let speech = 0;
  function say(sentence) {
    clearTimeout(speech);
    speech = setTimeout(() => { live.textContent = sentence; }, 120);
  }

  // Events for Python.

  function take(t) {
    if (!t) return;
    taken = t;
    picked = [];
    const { kind, index, group } = t;
    trigger('click', kind === 'point' ? { kind, index } : kind === 'path' ? { kind, step: index } : { kind, index, group });
    say(`Playing ${spoken(t)}`);
    repaint();
  }

  function sendPicked(rows) {
    picked = rows.slice(0, MOST_PICKED);
    taken = null;
    trigger('click', { kind: 'lasso', indices: picked });
    say(picked.length ? `${counted(picked.length)} actions selected; their mean is taken.` : 'No action is inside.');
    repaint();
  }

  function inside(polygon) {
    const p = screen();
    const [xs, ys] = [polygon.map((q) => q[0]), polygon.map((q) => q[1])];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found = [];
    for (let i = 0; i < data.n; i++) {
      const [x, y] = [p.x[i], p.y[i]];
      if (!shown[i] || x < left || x > right || y < top || y > bottom) continue;
      let odd = false;
      for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
        if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return found;
  }

  // Pointers.

  const fingers = new Map();
  let gesture = null;
  const local = (event) => { const r = glass.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };

  on(glass, 'pointerdown', (event) => {
    if (!data || event.button > 0) return;
    root.dataset.touch = event.pointerType === 'touch' ? 'yes' : 'no';
    glass.focus({ preventScroll: true });
    glass.setPointerCapture(event.pointerId);
    const at = local(event);
    fingers.set(event.pointerId, at);
    const draws = fingers.size === 1 && (settings.mode === 'lasso' || event.shiftKey);
    gesture = { from: at, at, draws, far: false };
    if (draws) loop = [at];
    else loop = null;
    cursor = null;
  });

  let pending = null;
  on(glass, 'pointermove', (event) => {
    if (!data) return;
    const at = local(event);
    if (fingers.has(event.pointerId)) {
      const before = fingers.get(event.pointerId);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const spread = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 1);
        gesture.far = true;
        loop = null;
        zoom(spread(at) / spread(before), other[0], other[1]);
      } else if (gesture) {
        if (Math.hypot(at[0] - gesture.from[0], at[1] - gesture.from[1]) > 5) gesture.far = true;
        if (gesture.draws && loop) {
          const end = loop[loop.length - 1];
          if (Math.hypot(at[0] - end[0], at[1] - end[1]) > 3) loop.push(at);
          repaint();
        } else if (gesture.far && !gesture.draws) pan(at[0] - before[0], at[1] - before[1]);
      }
      fingers.set(event.pointerId, at);
      if (gesture?.far) { target = null; showCard(null); }
      return;
    }
    if (event.pointerType === 'touch') return;
    root.dataset.touch = 'no';
    const first = !pending;
    pending = at;
    if (first) requestAnimationFrame(() => {
      const spot = pending;
      pending = null;
      if (dead || !spot) return;
      const found = hit(spot[0], spot[1], REACH.mouse);
      if (!same(found, target)) {
        target = found;
        glass.classList.toggle('lam-over', !!found);
        showCard(found);
        repaint();
      }
    });
  });

  on(glass, 'pointerup pointercancel', (event) => {
    if (!fingers.delete(event.pointerId) || !gesture) return;
    if (fingers.size) { gesture = { from: [...fingers.values()][0], far: true, draws: false }; return; }
    const { far, draws } = gesture;
    gesture = null;
    const polygon = loop;
    loop = null;
    if (event.type === 'pointercancel') return repaint();
    if (draws && far && polygon?.length > 2) return sendPicked(inside(polygon));
    if (far) return repaint();
    const [x, y] = local(event);
    const found = hit(x, y, REACH[event.pointerType] ?? REACH.mouse);
    if (found) {
      take(found);
      showCard(found);
    } else {
      taken = null;
      picked = [];
      card.hidden = true;
      repaint();
    }
  });

  const leave = () => { pending = null; if (target) { target = null; showCard(cursor); repaint(); } };
  on(glass, 'pointerleave', leave);
  on(window, 'scroll', () => { if (!card.hidden && !card.classList.contains('lam-docked')) { target = null; cursor = null; showCard(null); repaint(); } }, { passive: true, capture: true });
  on(glass, 'wheel', (event) => {
    if (!data) return;
    const by = Math.exp(-clamp(event.deltaY * (event.deltaMode ? 20 : 1), -120, 120) * 0.0022);
    // All of it in view already: let the page scroll on.
    if (by < 1 && (three() ? eye.far >= 5 : view.k <= least() * 1.001)) return;
    event.preventDefault();
    target = null;
    showCard(null);
    zoom(by, ...local(event));
  }, { passive: false });
  on(glass, 'dblclick', (event) => { if (!hit(...local(event), REACH.mouse)) { fit(); moved(); } });

  // Keys.

  function nearest(x, y) {
    const p = screen();
    let best = null;
    let least = Infinity;
    const consider = (t, px, py) => { const d = (px - x) ** 2 + (py - y) ** 2; if (d < least && within(px, py)) [best, least] = [t, d]; };
    for (let i = 0; i < data.n; i++) if (shown[i]) consider(i, p.x[i], p.y[i]);
    if (typeof best === 'number') best = { kind: 'point', index: best, group: null };
    for (const e of extras()) consider({ kind: e.kind, index: e.index, group: e.group }, e.x, e.y);
    return best;
  }

  // The nearest one within 45 degrees of a direction on the screen, with what lies aside counted as farther.
  function next(from, dx, dy) {
    const p = screen();
    const [x, y] = placeOf(from);
    let best = null;
    let least = Infinity;
    const consider = (px, py) => {
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy - (py - y) * dx);
      if (along < 0.5 || aside > along) return false;
      const cost = along + 2 * aside;
      if (cost >= least) return false;
      least = cost;
      return true;
    };
    for (let i = 0; i < data.n; i++) if (shown[i] && consider(p.x[i], p.y[i])) best = i;
    if (best !== null) best = { kind: 'point', index: best, group: null };
    for (const e of extras()) if (!same(e, from) && consider(e.x, e.y)) best = { kind: e.kind, index: e.index, group: e.group };
    return best;
  }

  function goTo(t) {
    if (!t) return say('There is nothing further that way.');
    cursor = t;
    target = null;
    const spot = placeOf(t);
    if (spot && !within(spot[0], spot[1], 24) && !three()) {
      view = { ...view, x: view.x + (spot[0] - size[0] / 2) / view.k, y: view.y - (spot[1] - size[1] / 2) / view.k };
      moved();
    }
    showCard(t);
    say(spoken(t));
    repaint();
  }

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  on(glass, 'keydown', (event) => {
    if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = WAYS[event.key];
    if (way && event.shiftKey) pan(-40 * way[0], -40 * way[1]);
    else if (way) goTo(cursor && placeOf(cursor) ? next(cursor, ...way) : nearest(size[0] / 2, size[1] / 2));
    else if (event.key === 'Home') goTo(nearest(size[0] / 2, size[1] / 2));
    else if (event.key === '+' || event.key === '=') zoom(1.3, ...(placeOf(cursor) ?? []));
    else if (event.key === '-') zoom(1 / 1.3, ...(placeOf(cursor) ?? []));
    else if (event.key === '0') { fit(); moved(); }
    else if (event.key === 'Enter' && event.shiftKey) sendPicked(picked);
    else if (event.key === 'Enter') { if (cursor) take(cursor); else goTo(nearest(size[0] / 2, size[1] / 2)); }
    else if (event.key === ' ') {
      if (cursor?.kind === 'point') {
        picked = picked.includes(cursor.index) ? picked.filter((i) => i !== cursor.index) : [...picked, cursor.index];
        say(`${counted(picked.length)} selected. Shift and Enter take their mean.`);
        repaint();
      }
    } else if (event.key === 'Escape') { cursor = null; target = null; loop = null; gesture = null; card.hidden = true; carded = null; repaint(); glass.blur(); }
    else return;
    event.preventDefault();
  });
  on(glass, 'blur', () => { if (cursor) { cursor = null; showCard(null); repaint(); } });

  // Controls and legend.

  function controls() {
    const families = ['umap', 'pca'].filter((p) => data.maps[`${p}2`] || data.maps[`${p}3`]);
    const colours = [['size', 'size of the action'], ['source', 'source']];
    if (data.kinds.length) colours.push(['kind', 'kind of action']);
    if (data.arrays.cluster.some((v) => v >= 0)) colours.push(['cluster', 'cluster']);
    colours.push(['density', 'density'], ...Object.keys(data.known).map((k) => [`known:${k}`, k]));
    bar.replaceChildren(
      pick('projection', 'Map', families.map((f) => [f, f.toUpperCase()])),
      group('Dimensions', press('dims-2', '2D', 'Two dimensions'), press('dims-3', '3D', 'Three dimensions')),
      pick('colour', 'Colour', colours),
      group('What dragging does', press('mode-move', 'Move', 'Drag to move the map'), press('mode-lasso', 'Lasso', 'Drag to draw around actions; their mean is taken')),
      group('View', press('zoom-out', '−', 'Zoom out'), press('zoom-in', '+', 'Zoom in'), press('reset', 'Reset', 'Reset the view')),
    );
    settings = { ...settings, ...stored() };
    if (!families.includes(settings.projection)) settings.projection = families[0];
    if (![2, 3].includes(settings.dims) || !possible(settings.dims)) settings.dims = possible(2) ? 2 : 3;
    if (!colours.some(([c]) => c === settings.colour)) settings.colour = data.kinds.length ? 'kind' : 'size';
    if (settings.mode !== 'lasso') settings.mode = 'move';
    if (typeof settings.hidden !== 'object' || !settings.hidden) settings.hidden = {};
    showSettings();
  }

  const possible = (dims) => !!data.maps[`${settings.projection}${dims}`] && !(dims === 3 && renderer === 'svg');
  function stored() {
    try { return JSON.parse(localStorage.getItem(store())) ?? {}; } catch { return {}; }
  }

  function showSettings() {
    const part = (k) => bar.querySelector(`[data-lam="${k}"]`);
    part('projection').value = settings.projection;
    part('colour').value = settings.colour;
    for (const d of [2, 3]) {
      part(`dims-${d}`).setAttribute('aria-pressed', String(settings.dims === d));
      part(`dims-${d}`).disabled = !possible(d);
    }
    for (const m of ['move', 'lasso']) part(`mode-${m}`).setAttribute('aria-pressed', String(settings.mode === m));
    glass.classList.toggle('lam-lasso', settings.mode === 'lasso');
    root.dataset.projection = mapKey();
    const some = few() < data.n ? counted(layers.reduce((n, l) => n + l.rows.filter(drawnHere).length, 0)) : '';
    note.hidden = !some;
    if (some) {
      note.textContent = renderer === 'svg'
        ? `${some} of ${counted(data.n)} actions, in two dimensions: this browser offers no WebGL.`
        : `${some} of ${counted(data.n)} actions: this browser draws three dimensions without a graphics card.`;
    }
    help.textContent = three()
      ? 'Drag to turn, scroll or pinch to zoom, click an action to play it. Keys: arrows go to the next action that way on the screen, Enter plays it, Space selects it, Shift+Enter takes the mean of the selected, Shift+arrows turn, + and − zoom, Esc leaves.'
      : 'Drag to move, scroll or pinch to zoom, click an action to play it; Shift+drag is a lasso. Keys: arrows go to the next action that way, Enter plays it, Space selects it, Shift+Enter takes the mean of the selected, Shift+arrows move, + and − zoom, Esc leaves.';
  }

  function showLegend() {
    const chip = (text, mark, key, isOff) => make('button', { type: 'button', 'data-lam-layer': key, 'aria-pressed': String(!isOff), title: isOff ? 'Show' : 'Hide' }, mark, make('span', { textContent: text }));
    const swatch = (colour) => { const m = make('i', { className: 'lam-map-swatch' }); m.style.background = colour; return m; };
    const rows = [];
    if (!colouring.categorical) {
      const stops = Array.from({ length: 13 }, (_, k) => scale(k / 12, colouring.signed)).join(', ');
      const ramp = make('i', { className: 'lam-map-ramp' });
      ramp.style.background = `linear-gradient(90deg, ${stops})`;
      const { low, high, cut, unit, signed } = colouring;
      const end = (v, mark) => (cut ? `${mark} ${told(v)}` : told(v));
      const name = bar.querySelector('[data-lam=colour]').selectedOptions[0]?.textContent ?? '';
      rows.push(make('div', { className: 'lam-map-colours', role: 'img', 'aria-label': `Colours: ${name} from ${told(low)} to ${told(high)} ${unit}` },
        make('span', { className: 'lam-map-unit', textContent: unit ? `${name}, ${unit}` : name }),
        make('div', {}, ramp, make('div', { className: 'lam-map-ticks' }, make('span', { textContent: end(low, '≤') }), make('span', { textContent: signed ? '0' : told((low + high) / 2) }), make('span', { textContent: end(high, '≥') })))));
    }
    const chips = colouring.layers.filter((l) => l.label).map((l) => chip(`${l.value != null && settings.colour === 'cluster' ? clusterName(l.value) : l.label}`, swatch(l.colour()), l.key, isHidden(l)));
    const tint = GROUPS[shade()];
    const sign = (symbol, colour, full) => {
      const node = make('canvas', { width: 28, height: 28, className: 'lam-map-sign' });
      const c = node.getContext('2d');
      c.scale(2, 2); c.lineWidth = 1.8; c.strokeStyle = c.fillStyle = colour;
      shape(c, symbol, 7, 7, full ? 6 : 4.2);
      full ? c.fill() : c.stroke();
      return node;
    };
    if (overlay.path) chips.push(chip(overlay.path.name || 'Your clip', sign('ring', look().ink), 'over:path', hiddenOver.has('path')));
    overlay.samples.forEach((s, g) => chips.push(chip(s.label, sign(s.symbol ?? SYMBOLS[g % SYMBOLS.length], tint[g % tint.length]), `over:sample${g}`, hiddenOver.has(`sample${g}`))));
    if (chips.length) rows.push(make('div', { className: 'lam-map-chips', role: 'group', 'aria-label': 'Legend: press to show or hide' }, ...chips));
    legend.replaceChildren(...rows);
  }

  on(legend, 'click', (event) => {
    const button = event.target.closest('button[data-lam-layer]');
    if (!button) return;
    const key = button.dataset.lamLayer;
    const flip = (set, k) => (set.has(k) ? set.delete(k) : set.add(k));
    if (key.startsWith('over:')) flip(hiddenOver, key.slice(5));
    else {
      const hidden = new Set(settings.hidden[settings.colour] ?? []);
      flip(hidden, key);
      settings.hidden = { ...settings.hidden, [settings.colour]: [...hidden] };
      markShown();
      keep();
      queue(() => figure && Plotly.restyle(plot, { visible: layers.map((l) => !isHidden(l)) }));
    }
    showLegend();
    legend.querySelector(`[data-lam-layer="${CSS.escape(key)}"]`)?.focus();
    repaint();
  });

  function change(more) {
    const before = mapKey();
    settings = { ...settings, ...more };
    if (!possible(settings.dims)) settings.dims = settings.dims === 3 ? 2 : 3;
    keep();
    target = cursor = null;
    showCard(null);
    if ('colour' in more) layer();
    if (mapKey() !== before) {
      places = null;
      markShown();
      measure();
      fit();
    }
    showSettings();
    showLegend();
    return 'colour' in more || mapKey() !== before ? redraw() : (repaint(), Promise.resolve());
  }

  on(bar, 'change', (event) => { const k = event.target.dataset.lam; if (data && k) change({ [k]: event.target.value }); });
  on(bar, 'click', (event) => {
    const k = event.target.closest('button')?.dataset.lam;
    if (!data || !k) return;
    if (k.startsWith('dims-')) change({ dims: Number(k.slice(5)) });
    else if (k.startsWith('mode-')) change({ mode: k.slice(5) });
    else if (k === 'zoom-in') zoom(1.4);
    else if (k === 'zoom-out') zoom(1 / 1.4);
    else if (k === 'reset') { fit(); moved(); }
  });

  // What Python adds: a second element, whose content changes.

  let host = null;
  let heard = '';
  const hear = observe(new MutationObserver(() => listen()));
  function listen() {
    const text = host?.querySelector('.lam-map-overlay')?.dataset.overlay ?? '';
    if (text === heard) return;
    heard = text;
    try { overlay = { path: null, samples: [], chosen: null, names: {}, ...(text ? JSON.parse(text) : {}) }; }
    catch { return; }
    overlay.samples ??= [];
    overlay.names ??= {};
    if (!data) return;
    if (taken && taken.kind !== 'point') taken = null;
    if (overlay.chosen?.indices?.length || overlay.chosen?.star) taken = null;
    for (const l of colouring.layers) if (settings.colour === 'cluster' && l.value != null) l.label = clusterName(l.value);
    showLegend();
    repaint();
    root.dataset.overlays = String(Number(root.dataset.overlays ?? 0) + 1);
  }
  function attach() {
    if (dead) return;
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
      if (dead) return;
      if (raw.format !== 'lamdemo-map/1') throw new Error('format');
      renderer = findRenderer();
      slow = renderer !== 'webgl';
      data = read(raw);
      controls();
      size = [stage.clientWidth, stage.clientHeight];
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
      if (dead) return;
      await redraw();
      if (!figure) throw new Error('drawing');
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      root.dataset.renderer = renderer;
      root.dataset.ms = String(Math.round(performance.now() - began));
      root.dataset.state = 'ready';
    } catch (error) {
      if (dead) return;
      console.error('The map could not be loaded:', error);
      data = null;
      root.dataset.state = 'failed';
      const again = make('button', { type: 'button', 'data-lam': 'again', textContent: 'Try again' });
      again.addEventListener('click', load);
      wait.hidden = false;
      wait.replaceChildren('The map could not be loaded. ', again);
    }
  }

  // A browser may take the WebGL contexts away: then what needs none goes on.
  plot.addEventListener('webglcontextlost', () => {
    if (!data || dead || renderer === 'svg') return;
    queue(async () => {
      if (!plot.querySelector('canvas')) return; // purged by ourselves
      Plotly.purge(plot);
      figure = '';
      renderer = root.dataset.renderer = 'svg';
      slow = true;
    }).then(() => change({ dims: 2, colour: settings.colour }));
  }, { capture: true, signal: life.signal });

  const seeing = observe(new IntersectionObserver((entries) => {
    if (!root.isConnected) return api.destroy();
    if (entries.some((e) => e.isIntersecting) && stage.clientWidth && !root.dataset.state) load();
  }));
  seeing.observe(stage);
  let resizing = 0;
  const sizing = observe(new ResizeObserver(() => {
    const [w, h] = [stage.clientWidth, stage.clientHeight];
    if (!data || !figure || !w || !h || (w === size[0] && h === size[1])) return;
    const k = (view.k * whole(w, h)) / whole(...size);
    size = [w, h];
    view = { ...view, k };
    stamp++;
    repaint();
    clearTimeout(resizing);
    resizing = setTimeout(() => queue(async () => { plot.style.transform = ''; await Plotly.relayout(plot, layout()); drawn = { ...view }; }), 60);
  }));
  sizing.observe(stage);
  let dark = isDark();
  const theming = observe(new MutationObserver(() => {
    if (dark === isDark()) return;
    dark = isDark();
    if (!data) return;
    recolour();
    showLegend();
    repaint();
  }));
  theming.observe(document.body, { attributes: true, attributeFilter: ['class'] });

  const api = {
    root,
    source,
    // For tests and for other parts of the page.
    state: () => ({ ready: root.dataset.state === 'ready', renderer, settings: { ...settings }, count: data?.n ?? 0, view: { ...view, ...eye }, chosen: taken, cursor, picked: [...picked], shown: shown ? shown.reduce((n, v) => n + v, 0) : 0, overlay }),
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
    settled: () => new Promise((done) => setTimeout(() => busy.then(() => requestAnimationFrame(() => done(true))), 200)),
    destroy: () => {
      if (dead) return;
      dead = true;
      life.abort();
      clearInterval(looking);
      [settle, resizing, speech].forEach(clearTimeout);
      watched.forEach((w) => w.disconnect());
      try { if (figure) Plotly.purge(plot); } catch { /* it is gone already */ }
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
