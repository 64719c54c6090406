// Pointers, fingers and keys on the map.

const REACH = { mouse: 9, pen: 12, touch: 22 }; // pixels between a pointer and what it means

function addHands(map) {
  const {
    root, on, glass, card, three, screen, extras, placeOf, same, within, hit, fit, least, moved, zoom, pan, repaint,
    spoken, showCard, say, take, sendPicked, inside,
  } = map;

  const fingers = new Map();
  let gesture = null;
  const local = (event) => { const r = glass.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };

  on(glass, 'pointerdown', (event) => {
    if (!map.data || event.button > 0) return;
    root.dataset.touch = event.pointerType === 'touch' ? 'yes' : 'no';
    glass.focus({ preventScroll: true });
    glass.setPointerCapture(event.pointerId);
    const at = local(event);
    fingers.set(event.pointerId, at);
    const draws = fingers.size === 1 && (map.settings.mode === 'lasso' || event.shiftKey);
    gesture = { from: at, at, draws, far: false };
    if (draws) map.loop = [at];
    else map.loop = null;
    map.cursor = null;
  });

  let pending = null;
  on(glass, 'pointermove', (event) => {
    if (!map.data) return;
    const at = local(event);
    if (fingers.has(event.pointerId)) {
      const before = fingers.get(event.pointerId);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const spread = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 1);
        gesture.far = true;
        map.loop = null;
        zoom(spread(at) / spread(before), other[0], other[1]);
      } else if (gesture) {
        if (Math.hypot(at[0] - gesture.from[0], at[1] - gesture.from[1]) > 5) gesture.far = true;
        if (gesture.draws && map.loop) {
          const end = map.loop[map.loop.length - 1];
          if (Math.hypot(at[0] - end[0], at[1] - end[1]) > 3) map.loop.push(at);
          repaint();
        } else if (gesture.far && !gesture.draws) pan(at[0] - before[0], at[1] - before[1]);
      }
      fingers.set(event.pointerId, at);
      if (gesture?.far) { map.target = null; showCard(null); }
      return;
    }
    if (event.pointerType === 'touch') return;
    root.dataset.touch = 'no';
    const first = !pending;
    pending = at;
    if (first) requestAnimationFrame(() => {
      const spot = pending;
      pending = null;
      if (map.dead || !spot) return;
      const found = hit(spot[0], spot[1], REACH.mouse);
      if (!same(found, map.target)) {
        map.target = found;
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
    const polygon = map.loop;
    map.loop = null;
    if (event.type === 'pointercancel') return repaint();
    if (draws && far && polygon?.length > 2) return sendPicked(inside(polygon));
    if (far) return repaint();
    const [x, y] = local(event);
    const found = hit(x, y, REACH[event.pointerType] ?? REACH.mouse);
    if (found) {
      take(found);
      showCard(found);
    } else {
      map.taken = null;
      map.picked = [];
      card.hidden = true;
      repaint();
    }
  });

  const leave = () => { pending = null; if (map.target) { map.target = null; showCard(map.cursor); repaint(); } };
  on(glass, 'pointerleave', leave);
  on(window, 'scroll', () => { if (!card.hidden && !card.classList.contains('lam-docked')) { map.target = null; map.cursor = null; showCard(null); repaint(); } }, { passive: true, capture: true });
  on(glass, 'wheel', (event) => {
    if (!map.data) return;
    const by = Math.exp(-clamp(event.deltaY * (event.deltaMode ? 20 : 1), -120, 120) * 0.0022);
    // All of it in view already: let the page scroll on.
    if (by < 1 && (three() ? map.eye.far >= 5 : map.view.k <= least() * 1.001)) return;
    event.preventDefault();
    map.target = null;
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
    for (let i = 0; i < map.data.n; i++) if (map.shown[i]) consider(i, p.x[i], p.y[i]);
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
    for (let i = 0; i < map.data.n; i++) if (map.shown[i] && consider(p.x[i], p.y[i])) best = i;
    if (best !== null) best = { kind: 'point', index: best, group: null };
    for (const e of extras()) if (!same(e, from) && consider(e.x, e.y)) best = { kind: e.kind, index: e.index, group: e.group };
    return best;
  }

  function goTo(t) {
    if (!t) return say('There is nothing further that way.');
    map.cursor = t;
    map.target = null;
    const spot = placeOf(t);
    if (spot && !within(spot[0], spot[1], 24) && !three()) {
      map.view = { ...map.view, x: map.view.x + (spot[0] - map.size[0] / 2) / map.view.k, y: map.view.y - (spot[1] - map.size[1] / 2) / map.view.k };
      moved();
    }
    showCard(t);
    say(spoken(t));
    repaint();
  }

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  on(glass, 'keydown', (event) => {
    if (!map.data || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = WAYS[event.key];
    if (way && event.shiftKey) pan(-40 * way[0], -40 * way[1]);
    else if (way) goTo(map.cursor && placeOf(map.cursor) ? next(map.cursor, ...way) : nearest(map.size[0] / 2, map.size[1] / 2));
    else if (event.key === 'Home') goTo(nearest(map.size[0] / 2, map.size[1] / 2));
    else if (event.key === '+' || event.key === '=') zoom(1.3, ...(placeOf(map.cursor) ?? []));
    else if (event.key === '-') zoom(1 / 1.3, ...(placeOf(map.cursor) ?? []));
    else if (event.key === '0') { fit(); moved(); }
    else if (event.key === 'Enter' && event.shiftKey) sendPicked(map.picked);
    else if (event.key === 'Enter') { if (map.cursor) take(map.cursor); else goTo(nearest(map.size[0] / 2, map.size[1] / 2)); }
    else if (event.key === ' ') {
      if (map.cursor?.kind === 'point') {
        map.picked = map.picked.includes(map.cursor.index) ? map.picked.filter((i) => i !== map.cursor.index) : [...map.picked, map.cursor.index];
        say(`${counted(map.picked.length)} selected. Shift and Enter take their mean.`);
        repaint();
      }
    } else if (event.key === 'Escape') { map.cursor = null; map.target = null; map.loop = null; gesture = null; card.hidden = true; map.carded = null; repaint(); glass.blur(); }
    else return;
    event.preventDefault();
  });
  on(glass, 'blur', () => { if (map.cursor) { map.cursor = null; showCard(null); repaint(); } });
}
