// The points as Plotly draws them: layers by colour, the two views, and how they move, one drawing after the other.

const FEW_3D = 2500; // points that a renderer without a graphics card turns at a tolerable pace
const FEW_SVG = 2000; // points that are drawn where there is no WebGL at all

function addFigure(map) {
  const { plot, axes, three, camera } = map;

  const ranges = () => {
    const [w, h] = map.size;
    return {
      'xaxis.range': [map.view.x - w / 2 / map.view.k, map.view.x + w / 2 / map.view.k],
      'yaxis.range': [map.view.y - h / 2 / map.view.k, map.view.y + h / 2 / map.view.k],
    };
  };

  const few = () => (map.renderer === 'svg' ? FEW_SVG : map.renderer === 'software' && three() ? FEW_3D : Infinity);
  const drawnHere = (i) => few() >= map.data.n || (Math.imul(i + 1, 2654435761) >>> 0) / 4294967296 < few() / map.data.n;

  function dot() {
    const n = Math.min(map.data.n, few());
    const base = n > 12000 ? 4 : n > 5000 ? 5 : n > 1500 ? 6.5 : 8;
    return three() ? base * 0.45 : base;
  }

  function layout() {
    const bare = { visible: false, fixedrange: true, autorange: false };
    const r = ranges();
    const side = (a) => ({
      range: [map.box.low[a], map.box.high[a]], autorange: false, title: { text: '' }, showticklabels: false, ticks: '', showspikes: false,
      showgrid: true, zeroline: false, showbackground: false, gridcolor: isDark() ? '#2f2b28' : '#e6e1db', nticks: 5,
    });
    return {
      width: map.size[0], height: map.size[1], autosize: false, margin: { t: 0, r: 0, b: 0, l: 0 }, showlegend: false,
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hovermode: false, dragmode: false,
      ...(three()
        ? { scene: { xaxis: side(0), yaxis: side(1), zaxis: side(2), aspectmode: 'manual', hovermode: false, dragmode: false,
            aspectratio: { x: map.box.side[0], y: map.box.side[1], z: map.box.side[2] },
            camera: { eye: camera(), center: { x: 0, y: 0, z: 0 }, up: { x: 0, y: 0, z: 1 } } } }
        : { xaxis: { ...bare, range: r['xaxis.range'] }, yaxis: { ...bare, range: r['yaxis.range'] } }),
    };
  }

  function traces() {
    const all = axes();
    const type = map.renderer === 'svg' ? 'scatter' : three() ? 'scatter3d' : 'scattergl';
    return map.layers.map((layer) => {
      const rows = layer.rows.filter(drawnHere);
      const [x, y, z] = all.map((axis) => Float32Array.from(rows, (i) => axis[i]));
      return {
        type, x, y, ...(three() ? { z } : {}), mode: 'markers', hoverinfo: 'skip', visible: !isHidden(layer),
        marker: {
          color: layer.colour(), size: (layer.large ? 1.35 : 1) * dot(), line: { width: 0 }, opacity: (layer.below ? 0.55 : 0.82) * (three() ? 1.1 : 1),
          symbol: three() && map.renderer === 'software' ? 'square' : 'circle',
        },
      };
    });
  }

  const isHidden = (layer) => (map.settings.hidden[map.settings.colour] ?? []).includes(layer.key);

  function markShown() {
    map.shown = new Uint8Array(map.data.n);
    for (const layer of map.layers) if (!isHidden(layer)) for (const i of layer.rows) if (drawnHere(i)) map.shown[i] = 1;
  }

  function layer() {
    const a = map.data.arrays;
    const name = map.settings.colour;
    if (name === 'source') map.colouring = categories(a.source, (v) => map.data.sources[v], 'not known');
    else if (name === 'kind') {
      map.colouring = categories(a.kind, (v) => map.data.kinds[v], 'filmed clips');
      for (const layer of map.colouring.layers) {
        // Two actions at once lie among the first of the two, and would hide it.
        if (layer.label === 'both') layer.below = true;
        // A drawn scene has a kind, a filmed clip has none. Those are what most want to see: dark, on top, and large where few.
        if (layer.key === 'none') Object.assign(layer, { below: false, large: layer.rows.length < FEW_FILMED, colour: () => FILMED[shade()] });
      }
    }
    else if (name === 'cluster') map.colouring = categories(a.cluster, clusterName, 'in no cluster');
    else if (name === 'density') map.colouring = continuum(a.density, map.data.units.density, { signed: false, ends: [0, 1] });
    else if (name.startsWith('known:')) map.colouring = continuum(map.data.known[name.slice(6)].values, map.data.known[name.slice(6)].unit);
    else map.colouring = continuum(a.size, map.data.units.size, { signed: false });
    // Grey lies below what has a colour.
    map.layers = [...map.colouring.layers].sort((a, b) => Number(!!b.below) - Number(!!a.below));
    markShown();
  }

  const clusterName = (v) => map.overlay.names?.clusters?.[v] || `cluster ${v + 1}`;

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
    map.box = { low, high, middle: low.map((l, a) => (l + high[a]) / 2), grow: 1 / longest, side: low.map((l, a) => (high[a] - l) / longest) };
  }

  // Pixels a unit at which all points just fit in.
  const whole = (w, h) => Math.min(w / (map.box.high[0] - map.box.low[0]), h / (map.box.high[1] - map.box.low[1]));

  function fit() {
    const [w, h] = map.size;
    map.eye = { turn: 0.8, lift: 0.42, far: 1.35 };
    map.view = { x: map.box.middle[0], y: map.box.middle[1], k: 0.92 * whole(w, h) };
    map.stamp++;
  }

  const least = () => 0.4 * whole(...map.size);

  // One after the other: Plotly draws in steps, and two figures at once would mix.
  function queue(work) {
    map.busy = map.busy.then(() => (map.dead ? null : work())).catch((error) => console.error('The map could not be drawn:', error));
    return map.busy;
  }

  function redraw() {
    return queue(async () => {
      if (!window.Plotly) return map.repaint();
      const kind = `${map.renderer}${map.settings.dims}`;
      plot.style.transform = '';
      if (map.figure && map.figure !== kind) Plotly.purge(plot); // gives the WebGL contexts back, of which a page has few
      const options = { staticPlot: !three(), displayModeBar: false, responsive: false, plotGlPixelRatio: map.renderer === 'software' ? 1 : clamp(devicePixelRatio, 1, 2) };
      await Plotly.react(plot, traces(), layout(), options);
      map.figure = kind;
      map.drawn = { ...map.view };
      map.repaint();
    });
  }

  const recolour = () => queue(async () => {
    if (!map.figure) return;
    await Plotly.restyle(plot, { 'marker.color': map.layers.map((l) => l.colour()) });
    if (three()) await Plotly.relayout(plot, layout());
  });

  let moving = false;
  let last = 0;
  let late = 0;
  // After each change of the view: the paper follows at once; so does Plotly where it can draw in time, and where it
  // cannot its last picture is moved and stretched until the gesture rests.
  function moved() {
    map.stamp++;
    map.repaint();
    if (three() || !map.slow) {
      plot.style.transform = '';
      if (moving) return;
      moving = true;
      requestAnimationFrame((now) => {
        if (last && now - last < 300) {
          late = now - last > 34 ? late + 1 : Math.max(late - 1, 0);
          if (late >= 4) map.slow = true;
        }
        last = now;
        queue(async () => {
          moving = false;
          if (!map.figure) return;
          await Plotly.relayout(plot, three() ? { 'scene.camera.eye': camera() } : ranges());
          map.drawn = { ...map.view };
        });
      });
      return;
    }
    const s = map.view.k / map.drawn.k;
    const [w, h] = map.size;
    plot.style.transform = `translate(${w / 2 + (map.drawn.x - map.view.x) * map.view.k - (w / 2) * s}px, ${h / 2 - (map.drawn.y - map.view.y) * map.view.k - (h / 2) * s}px) scale(${s})`;
    clearTimeout(map.settle);
    map.settle = setTimeout(() => queue(async () => {
      if (!map.figure) return;
      const asked = { ...map.view };
      await Plotly.relayout(plot, ranges());
      map.drawn = asked;
      plot.style.transform = '';
      if (map.stamp && (map.view.x !== asked.x || map.view.y !== asked.y || map.view.k !== asked.k)) moved();
    }), 140);
  }

  function zoom(by, x = map.size[0] / 2, y = map.size[1] / 2) {
    if (three()) map.eye.far = clamp(map.eye.far / by, 0.25, 5);
    else {
      const k = clamp(map.view.k * by, least(), least() * 2000);
      const [dx, dy] = [x - map.size[0] / 2, map.size[1] / 2 - y];
      map.view = { x: map.view.x + dx / map.view.k - dx / k, y: map.view.y + dy / map.view.k - dy / k, k };
    }
    moved();
  }

  function pan(dx, dy) {
    if (three()) {
      map.eye.turn -= dx * 0.008;
      map.eye.lift = clamp(map.eye.lift + dy * 0.008, -1.5, 1.5);
    } else map.view = { ...map.view, x: map.view.x - dx / map.view.k, y: map.view.y + dy / map.view.k };
    moved();
  }

  Object.assign(map, {
    few, drawnHere, dot, layout, isHidden, markShown, layer, clusterName, measure, whole, fit, least, queue, redraw,
    recolour, moved, zoom, pan,
  });
}
