// Where the points, the path and the samples are on the screen, in two dimensions and in three, and what a pointer hits.

function addPlaces(map) {
  const { mapKey, axes, three } = map;

  function camera() {
    const flat = Math.cos(map.eye.lift) * map.eye.far;
    return { x: flat * Math.cos(map.eye.turn), y: flat * Math.sin(map.eye.turn), z: Math.sin(map.eye.lift) * map.eye.far };
  }

  // Plotly's scene: ranges of the axes become a box about the origin, seen from `eye` with an opening of 45 degrees.
  function projector() {
    const [w, h] = map.size;
    if (!three()) return (x, y) => [w / 2 + (x - map.view.x) * map.view.k, h / 2 - (y - map.view.y) * map.view.k, 0];
    const e = camera();
    const far = Math.hypot(e.x, e.y, e.z);
    const f = [-e.x / far, -e.y / far, -e.z / far];
    const flat = Math.hypot(f[0], f[1]);
    const s = [f[1] / flat, -f[0] / flat, 0];
    const u = [s[1] * f[2], -s[0] * f[2], s[0] * f[1] - s[1] * f[0]];
    const t = 1 / Math.tan(Math.PI / 8);
    const [a, b, c] = map.box.middle;
    const g = map.box.grow;
    return (x, y, z) => {
      const p = [(x - a) * g - e.x, (y - b) * g - e.y, (z - c) * g - e.z];
      const depth = f[0] * p[0] + f[1] * p[1] + f[2] * p[2];
      const across = s[0] * p[0] + s[1] * p[1];
      const up = u[0] * p[0] + u[1] * p[1] + u[2] * p[2];
      const near = Math.max(depth, 1e-6);
      return [w / 2 + ((across * t) / near) * (h / 2), h / 2 - ((up * t) / near) * (h / 2), depth];
    };
  }

  function screen() {
    if (map.places && map.places.stamp === map.stamp) return map.places;
    const project = projector();
    const [x, y, z] = axes();
    map.places ??= { x: new Float32Array(map.data.n), y: new Float32Array(map.data.n), d: new Float32Array(map.data.n) };
    for (let i = 0; i < map.data.n; i++) {
      const p = project(x[i], y[i], z ? z[i] : 0);
      map.places.x[i] = p[0];
      map.places.y[i] = p[1];
      map.places.d[i] = p[2];
    }
    map.places.stamp = map.stamp;
    return map.places;
  }

  // What can be pointed at beside the points: the path and the samples, where this map has places for them.
  function extras() {
    const found = [];
    const project = projector();
    const add = (kind, group, coordinates) => (coordinates?.[mapKey()] ?? []).forEach((p, index) => {
      const [x, y] = project(p[0], p[1], p[2] ?? 0);
      found.push({ kind, group, index, x, y });
    });
    if (map.overlay.path && !map.hiddenOver.has('path')) add('path', null, map.overlay.path.coordinates);
    map.overlay.samples.forEach((s, g) => map.hiddenOver.has(`sample${g}`) || add('sample', g, s.coordinates));
    return found;
  }

  function placeOf(t) {
    if (!t) return null;
    if (t.kind === 'point') return [screen().x[t.index], screen().y[t.index]];
    const e = extras().find((e) => same(e, t));
    return e ? [e.x, e.y] : null;
  }

  const same = (a, b) => !!a && !!b && a.kind === b.kind && a.index === b.index && (a.group ?? null) === (b.group ?? null);
  const within = (x, y, edge = 0) => x >= edge && y >= edge && x <= map.size[0] - edge && y <= map.size[1] - edge;

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
    for (let i = 0; i < map.data.n; i++) {
      if (!map.shown[i]) continue;
      const [dx, dy] = [p.x[i] - x, p.y[i] - y];
      const d = dx * dx + dy * dy;
      if (d > reach * reach) continue;
      const cost = d + depth * p.d[i];
      if (cost < least) [index, least] = [i, cost];
    }
    return index < 0 ? null : { kind: 'point', index, group: null };
  }

  Object.assign(map, { camera, projector, screen, extras, placeOf, same, within, hit });
}
