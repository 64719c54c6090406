// Colours of the map, in a light and in a dark theme.

// Petroff's ten colours (arXiv 2107.02270), chosen to be told apart also by the colour-blind; the two of them that are
// grey come last, since grey also means "other" and "not known".
const TEN = {
  light: ['#3f90da', '#ffa90e', '#bd1f01', '#832db6', '#a96b59', '#e76300', '#5fbfc4', '#b9ac70', '#717581', '#94a4a2'],
  dark: ['#5aa5ea', '#ffb733', '#e8553a', '#b57be0', '#c08a7a', '#ff8a3d', '#92dadd', '#cfc38d', '#8d92a1', '#a9b8b6'],
};
const FEW_FILMED = 400; // steps of filmed clips, from which they would hide the others if they were large
const FILMED = { light: '#1c1917', dark: '#fafaf9' };
const REST = { light: '#cdc7c0', dark: '#4b4641' };
const GROUPS = { light: ['#b45309', '#0f766e', '#6d28d9', '#be185d'], dark: ['#fbbf24', '#2dd4bf', '#c4b5fd', '#f9a8d4'] };
const SYMBOLS = ['diamond', 'triangle', 'square', 'ring'];
const VIRIDIS = ['440154', '482878', '3e4989', '31688e', '26828e', '1f9e89', '35b779', '6ece58', 'b5de2b', 'fde725'];

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
