// Small helpers: elements, numbers as words, packed arrays, scripts, and what can draw.

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
