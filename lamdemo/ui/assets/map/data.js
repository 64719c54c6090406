// An atlas as the browser has it, and its steps as layers of one colour each.

const BINS = 24; // colours of a continuous scale: one trace each, since a colour for each point is slow to parse

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
