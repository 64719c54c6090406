// The card of a step, what a screen reader is told, and the events that Python gets.

const MOST_PICKED = 20000; // indices that a lasso sends

function addCard(map) {
  const {
    root, source, narrow, stage, live, card, frames, shots, facts, screen, placeOf, same, clusterName, repaint,
  } = map;

  const seconds = (v) => `${v.toFixed(2)} s`;
  function describe(t) {
    const a = map.data.arrays;
    if (t.kind === 'path') {
      const p = map.overlay.path;
      const facts = [];
      if (p.seconds?.[t.index] != null) facts.push(['at', seconds(p.seconds[t.index])]);
      if (p.sizes?.[t.index] != null) facts.push(['size', told(p.sizes[t.index])]);
      return { title: `${p.name || 'Your clip'}, step ${t.index + 1}`, facts };
    }
    if (t.kind === 'sample') {
      const s = map.overlay.samples[t.group];
      return { title: `${s.label}, ${t.index + 1}`, facts: s.sizes?.[t.index] != null ? [['size', told(s.sizes[t.index])]] : [] };
    }
    const i = t.index;
    const facts = [['at', seconds(a.seconds[i])], ['size', told(a.size[i])]];
    if (a.kind[i] >= 0) facts.unshift(['kind', map.data.kinds[a.kind[i]]]);
    if (a.cluster[i] >= 0 && map.overlay.names?.clusters?.[a.cluster[i]]) facts.push(['cluster', clusterName(a.cluster[i])]);
    for (const [name, k] of Object.entries(map.data.known)) {
      if (!Number.isNaN(k.values[i]) && Math.abs(k.values[i]) > 1e-6) facts.push([name, told(k.values[i])]);
    }
    return { title: map.data.recordings[a.recording[i]], facts };
  }

  const spoken = (t) => { const d = describe(t); return `${d.title}: ${d.facts.map(([k, v]) => `${k} ${v}`).join(', ')}.`; };

  function picture(node, t, which) {
    const [w, h] = map.data.thumb;
    let background = '';
    if (t.kind === 'point') {
      const f = map.data.arrays.frame[t.index] + which;
      const [sheet, cell] = [Math.floor(f / map.data.sheet ** 2), f % map.data.sheet ** 2];
      const address = new URL(`sheet-${String(sheet).padStart(3, '0')}.jpg?v=${map.data.stamp}`, new URL(source, document.baseURI));
      const part = (k) => (100 * k) / (map.data.sheet - 1);
      background = `url("${address}") ${part(cell % map.data.sheet)}% ${part(Math.floor(cell / map.data.sheet))}% / ${100 * map.data.sheet}% ${100 * map.data.sheet}%`;
    } else if (t.kind === 'path' && /^data:image\//.test(map.overlay.path.thumbs?.[t.index + which] ?? '')) {
      background = `url("${map.overlay.path.thumbs[t.index + which].replace(/["\\\n]/g, '')}") center / cover`;
    }
    node.style.background = background;
    node.parentNode.style.aspectRatio = `${w} / ${h}`;
    return !!background;
  }

  function showCard(t) {
    const docked = narrow() || root.dataset.touch === 'yes';
    if (!t) {
      map.carded = null;
      if (!(docked && !card.hidden && map.taken)) card.hidden = true;
      return;
    }
    const { title, facts: list } = describe(t);
    if (!same(map.carded, t)) {
      const some = [[frames[0], 0, 0], [frames[1], 0, 1], [frames[2], 0, 0], [frames[2], 1, 1]].map(([f, layer, which]) => picture(f.querySelectorAll('i')[layer], t, which));
      shots.hidden = !some[0];
      facts.replaceChildren(make('strong', { textContent: title }), make('span', {}, ...list.flatMap(([k, v]) => [make('span', {}, make('small', { textContent: `${k} ` }), v)])));
      map.carded = t;
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

  function say(sentence) {
    clearTimeout(map.speech);
    map.speech = setTimeout(() => { live.textContent = sentence; }, 120);
  }

  // Events for Python.

  function take(t) {
    if (!t) return;
    map.taken = t;
    map.picked = [];
    const { kind, index, group } = t;
    trigger('click', kind === 'point' ? { kind, index } : kind === 'path' ? { kind, step: index } : { kind, index, group });
    say(`${map.plays ? 'Playing' : 'Showing'} ${spoken(t)}`);
    repaint();
  }

  function sendPicked(rows) {
    map.picked = rows.slice(0, MOST_PICKED);
    map.taken = null;
    trigger('click', { kind: 'lasso', indices: map.picked });
    say(map.picked.length ? `${counted(map.picked.length)} actions selected; their mean is taken.` : 'No action is inside.');
    repaint();
  }

  function inside(polygon) {
    const p = screen();
    const [xs, ys] = [polygon.map((q) => q[0]), polygon.map((q) => q[1])];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found = [];
    for (let i = 0; i < map.data.n; i++) {
      const [x, y] = [p.x[i], p.y[i]];
      if (!map.shown[i] || x < left || x > right || y < top || y > bottom) continue;
      let odd = false;
      for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
        if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return found;
  }

  Object.assign(map, { spoken, showCard, say, take, sendPicked, inside });
}
