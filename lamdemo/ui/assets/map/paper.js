// What is painted above the points: the visitor's path, samples, what was chosen, names of clusters, the lasso.

function addPaper(map) {
  const {
    root, paper, glass, mapKey, three, projector, screen, extras, placeOf, within, drawnHere, dot, isHidden,
  } = map;

  let painting = false;
  function repaint() {
    if (painting || map.dead) return;
    painting = true;
    requestAnimationFrame(() => { painting = false; if (!map.dead && map.data) paint(); });
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
    const [w, h] = map.size;
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

    if (!map.figure) {
      const r = dot() / 2;
      c.globalAlpha = 0.8;
      for (const l of map.layers.filter((l) => !isHidden(l))) {
        c.fillStyle = l.colour();
        for (const i of l.rows) if (drawnHere(i)) c.fillRect(p.x[i] - r, p.y[i] - r, 2 * r, 2 * r);
      }
      c.globalAlpha = 1;
    }
    if (map.picked.length) {
      c.fillStyle = colours.accent;
      const every = Math.ceil(map.picked.length / 4000);
      const r = three() ? 1.8 : dot() / 2;
      for (let k = 0; k < map.picked.length; k += every) {
        const i = map.picked[k];
        if (within(p.x[i], p.y[i])) c.fillRect(p.x[i] - r, p.y[i] - r, 2 * r, 2 * r);
      }
    }
    const tint = GROUPS[shade()];
    for (const e of extras().filter((e) => e.kind === 'sample' && within(e.x, e.y))) {
      const symbol = map.overlay.samples[e.group].symbol ?? SYMBOLS[e.group % SYMBOLS.length];
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
    const chosen = map.overlay.chosen;
    if (chosen) {
      for (const i of chosen.indices ?? []) if (i >= 0 && i < map.data.n) ring(p.x[i], p.y[i], 8, colours.accent);
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
    if (map.settings.colour === 'cluster') {
      const taken = []; // places of words that stand: the larger cluster keeps its own
      for (const l of map.colouring.layers.filter((l) => l.value != null && !isHidden(l))) {
        const [x, y] = ['x', 'y'].map((a) => Float32Array.from(l.rows, (i) => p[a][i]).sort()[l.rows.length >> 1]);
        const half = c.measureText(l.label).width / 2 + 4;
        if (!within(x, y) || taken.some((o) => Math.abs(o[0] - x) < o[2] + half && Math.abs(o[1] - y) < 16)) continue;
        taken.push([x, y, half]);
        words(c, l.label, x, y, colours);
      }
    }
    const there = (t) => (t ? placeOf(t) : null);
    const spot = there(map.taken);
    if (spot) { ring(spot[0], spot[1], 9, colours.accent, 2.5); }
    const over = there(map.target);
    if (over) ring(over[0], over[1], 8, colours.ink);
    const key = there(map.cursor);
    if (key) {
      ring(key[0], key[1], 12, colours.ink, 2);
      c.lineWidth = 2; c.strokeStyle = colours.ink;
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { c.beginPath(); c.moveTo(key[0] + 12 * dx, key[1] + 12 * dy); c.lineTo(key[0] + 17 * dx, key[1] + 17 * dy); c.stroke(); }
    }
    if (map.loop) {
      c.beginPath();
      map.loop.forEach(([x, y], k) => c[k ? 'lineTo' : 'moveTo'](x, y));
      c.closePath();
      c.fillStyle = colours.accent; c.globalAlpha = 0.12; c.fill(); c.globalAlpha = 1;
      c.setLineDash([5, 4]); c.lineWidth = 1.8; c.strokeStyle = colours.accent; c.stroke(); c.setLineDash([]);
    }
  }

  Object.assign(map, { repaint, look, shape, paint });
}
