// The controls above the map and the legend below it.

function addControls(map) {
  const {
    root, on, pick, press, group, bar, plot, glass, note, legend, help, mapKey, three, store, keep, few, drawnHere,
    isHidden, markShown, layer, clusterName, measure, fit, queue, redraw, moved, zoom, repaint, look, shape,
    showCard,
  } = map;

  function controls() {
    const families = ['umap', 'pca'].filter((p) => map.data.maps[`${p}2`] || map.data.maps[`${p}3`]);
    const colours = [['size', 'size of the action'], ['source', 'source']];
    if (map.data.kinds.length) colours.push(['kind', 'kind of action']);
    if (map.data.arrays.cluster.some((v) => v >= 0)) colours.push(['cluster', 'cluster']);
    colours.push(['density', 'density'], ...Object.keys(map.data.known).map((k) => [`known:${k}`, k]));
    bar.replaceChildren(
      pick('projection', 'Map', families.map((f) => [f, f.toUpperCase()])),
      group('Dimensions', press('dims-2', '2D', 'Two dimensions'), press('dims-3', '3D', 'Three dimensions')),
      pick('colour', 'Colour', colours),
      group('What dragging does', press('mode-move', 'Move', 'Drag to move the map'), press('mode-lasso', 'Lasso', 'Drag to draw around actions; their mean is taken')),
      group('View', press('zoom-out', '−', 'Zoom out'), press('zoom-in', '+', 'Zoom in'), press('reset', 'Reset', 'Reset the view')),
    );
    map.settings = { ...map.settings, ...stored() };
    if (!families.includes(map.settings.projection)) map.settings.projection = families[0];
    if (![2, 3].includes(map.settings.dims) || !possible(map.settings.dims)) map.settings.dims = possible(2) ? 2 : 3;
    if (!colours.some(([c]) => c === map.settings.colour)) map.settings.colour = map.data.kinds.length ? 'kind' : 'size';
    if (map.settings.mode !== 'lasso') map.settings.mode = 'move';
    if (typeof map.settings.hidden !== 'object' || !map.settings.hidden) map.settings.hidden = {};
    showSettings();
  }

  const possible = (dims) => !!map.data.maps[`${map.settings.projection}${dims}`] && !(dims === 3 && map.renderer === 'svg');
  function stored() {
    try { return JSON.parse(localStorage.getItem(store())) ?? {}; } catch { return {}; }
  }

  function showSettings() {
    const part = (k) => bar.querySelector(`[data-lam="${k}"]`);
    part('projection').value = map.settings.projection;
    part('colour').value = map.settings.colour;
    for (const d of [2, 3]) {
      part(`dims-${d}`).setAttribute('aria-pressed', String(map.settings.dims === d));
      part(`dims-${d}`).disabled = !possible(d);
    }
    for (const m of ['move', 'lasso']) part(`mode-${m}`).setAttribute('aria-pressed', String(map.settings.mode === m));
    glass.classList.toggle('lam-lasso', map.settings.mode === 'lasso');
    root.dataset.projection = mapKey();
    const some = few() < map.data.n ? counted(map.layers.reduce((n, l) => n + l.rows.filter(drawnHere).length, 0)) : '';
    note.hidden = !some;
    if (some) {
      note.textContent = map.renderer === 'svg'
        ? `${some} of ${counted(map.data.n)} actions, in two dimensions: this browser offers no WebGL.`
        : `${some} of ${counted(map.data.n)} actions: this browser draws three dimensions without a graphics card.`;
    }
    const act = map.plays ? 'play' : 'show';
    help.textContent = three()
      ? `Drag to turn, scroll or pinch to zoom, click an action to ${act} it. Keys: arrows go to the next action that way on the screen, Enter ${act}s it, Space selects it, Shift+Enter takes the mean of the selected, Shift+arrows turn, + and − zoom, Esc leaves.`
      : `Drag to move, scroll or pinch to zoom, click an action to ${act} it; Shift+drag is a lasso. Keys: arrows go to the next action that way, Enter ${act}s it, Space selects it, Shift+Enter takes the mean of the selected, Shift+arrows move, + and − zoom, Esc leaves.`;
  }

  function showLegend() {
    const chip = (text, mark, key, isOff) => make('button', { type: 'button', 'data-lam-layer': key, 'aria-pressed': String(!isOff), title: isOff ? 'Show' : 'Hide' }, mark, make('span', { textContent: text }));
    const swatch = (colour) => { const m = make('i', { className: 'lam-map-swatch' }); m.style.background = colour; return m; };
    const rows = [];
    if (!map.colouring.categorical) {
      const stops = Array.from({ length: 13 }, (_, k) => scale(k / 12, map.colouring.signed)).join(', ');
      const ramp = make('i', { className: 'lam-map-ramp' });
      ramp.style.background = `linear-gradient(90deg, ${stops})`;
      const { low, high, cut, unit, signed } = map.colouring;
      const end = (v, mark) => (cut ? `${mark} ${told(v)}` : told(v));
      const name = bar.querySelector('[data-lam=colour]').selectedOptions[0]?.textContent ?? '';
      rows.push(make('div', { className: 'lam-map-colours', role: 'img', 'aria-label': `Colours: ${name} from ${told(low)} to ${told(high)} ${unit}` },
        make('span', { className: 'lam-map-unit', textContent: unit ? `${name}, ${unit}` : name }),
        make('div', {}, ramp, make('div', { className: 'lam-map-ticks' }, make('span', { textContent: end(low, '≤') }), make('span', { textContent: signed ? '0' : told((low + high) / 2) }), make('span', { textContent: end(high, '≥') })))));
    }
    const chips = map.colouring.layers.filter((l) => l.label).map((l) => chip(`${l.value != null && map.settings.colour === 'cluster' ? clusterName(l.value) : l.label}`, swatch(l.colour()), l.key, isHidden(l)));
    const tint = GROUPS[shade()];
    const sign = (symbol, colour, full) => {
      const node = make('canvas', { width: 28, height: 28, className: 'lam-map-sign' });
      const c = node.getContext('2d');
      c.scale(2, 2); c.lineWidth = 1.8; c.strokeStyle = c.fillStyle = colour;
      shape(c, symbol, 7, 7, full ? 6 : 4.2);
      full ? c.fill() : c.stroke();
      return node;
    };
    if (map.overlay.path) chips.push(chip(map.overlay.path.name || 'Your clip', sign('ring', look().ink), 'over:path', map.hiddenOver.has('path')));
    map.overlay.samples.forEach((s, g) => chips.push(chip(s.label, sign(s.symbol ?? SYMBOLS[g % SYMBOLS.length], tint[g % tint.length]), `over:sample${g}`, map.hiddenOver.has(`sample${g}`))));
    if (chips.length) rows.push(make('div', { className: 'lam-map-chips', role: 'group', 'aria-label': 'Legend: press to show or hide' }, ...chips));
    legend.replaceChildren(...rows);
  }

  on(legend, 'click', (event) => {
    const button = event.target.closest('button[data-lam-layer]');
    if (!button) return;
    const key = button.dataset.lamLayer;
    const flip = (set, k) => (set.has(k) ? set.delete(k) : set.add(k));
    if (key.startsWith('over:')) flip(map.hiddenOver, key.slice(5));
    else {
      const hidden = new Set(map.settings.hidden[map.settings.colour] ?? []);
      flip(hidden, key);
      map.settings.hidden = { ...map.settings.hidden, [map.settings.colour]: [...hidden] };
      markShown();
      keep();
      queue(() => map.figure && Plotly.restyle(plot, { visible: map.layers.map((l) => !isHidden(l)) }));
    }
    showLegend();
    legend.querySelector(`[data-lam-layer="${CSS.escape(key)}"]`)?.focus();
    repaint();
  });

  function change(more) {
    const before = mapKey();
    map.settings = { ...map.settings, ...more };
    if (!possible(map.settings.dims)) map.settings.dims = map.settings.dims === 3 ? 2 : 3;
    keep();
    map.target = map.cursor = null;
    showCard(null);
    if ('colour' in more) layer();
    if (mapKey() !== before) {
      map.places = null;
      markShown();
      measure();
      fit();
    }
    showSettings();
    showLegend();
    return 'colour' in more || mapKey() !== before ? redraw() : (repaint(), Promise.resolve());
  }

  on(bar, 'change', (event) => { const k = event.target.dataset.lam; if (map.data && k) change({ [k]: event.target.value }); });
  on(bar, 'click', (event) => {
    const k = event.target.closest('button')?.dataset.lam;
    if (!map.data || !k) return;
    if (k.startsWith('dims-')) change({ dims: Number(k.slice(5)) });
    else if (k.startsWith('mode-')) change({ mode: k.slice(5) });
    else if (k === 'zoom-in') zoom(1.4);
    else if (k === 'zoom-out') zoom(1 / 1.4);
    else if (k === 'reset') { fit(); moved(); }
  });

  Object.assign(map, { controls, showSettings, showLegend, change });
}
