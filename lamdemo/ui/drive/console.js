// The console of a drive: keys, buttons, stick and sliders become commands, one under way at a time.
//
// A command is the sliders' values and, on top of them, what is held. It goes to Python as
//   { act: "step", n, action: [A] }, { act: "undo", n }, { act: "reset", n }
// and is answered by a board with data-ack="n"; the next one is sent then. Runs with a gr.HTML's element, trigger, watch.

const TAP = 240; // milliseconds after which a key counts as held, and not as pressed once
const LOST = 20000; // after which an answer is no longer waited for
let spec = null, raw = null, base = [], strength = 0.7;
let sent = 0, done = 0, drive = null;
let queue = []; // orders that wait
const held = new Map(); // key -> { since, served }
let stick = null, hold = false, later = null;
let paused = null, changing = false; // while another controller is on its way

const root = () => element.querySelector('.lam-console');
const clip = (value, i) => Math.min(Math.max(value, spec.channels[i].low), spec.channels[i].high);
const reach = (i, sign) => (sign > 0 ? spec.channels[i].high : -spec.channels[i].low) || spec.channels[i].high - spec.channels[i].low;

function read() {
  const place = root();
  clearTimeout(paused);
  paused = null;
  element.classList.remove('lam-paused');
  held.clear(); queue = []; stick = null; hold = false;
  if (!place) { spec = raw = null; return; }
  raw = place.dataset.spec;
  spec = JSON.parse(raw);
  base = spec.channels.map((c) => c.zero);
  strength = 0.7;
}

// The console and the picture come one after the other: keys count from when both are of the same controller, and what
// was pressed since is not forgotten when the second has come.
function agree() {
  const place = root();
  if (place && drive && drive.controls && drive.controls !== place.dataset.controls) return;
  if (place && paused === null && raw === place.dataset.spec) return;
  read();
  mark();
}

function entry(key) { return spec && spec.keys.find((k) => k.key === key); }

function command() {
  const action = [...base];
  const push = (k, amount) => {
    const c = spec.channels[k.channel];
    // A target stays where it is put: its key moves it, and the slider with it.
    if (c.kind === 'target') { set(k.channel, base[k.channel] + k.sign * amount * (c.high - c.low) / 4); action[k.channel] = base[k.channel]; }
    else action[k.channel] += k.sign * amount * Math.abs(reach(k.channel, k.sign));
  };
  for (const key of held.keys()) { const k = entry(key); if (k) push(k, strength); }
  if (stick) for (const [key, amount] of [['ArrowLeft', -stick.x], ['ArrowRight', stick.x], ['ArrowDown', -stick.y], ['ArrowUp', stick.y]]) {
    const k = entry(key);
    if (k && amount > 0) push(k, amount);
  }
  return action.map(clip);
}

function set(i, value) {
  base[i] = clip(value, i);
  const input = element.querySelector(`[data-channel="${i}"]`);
  if (input) { input.value = base[i]; tell(input); }
}

function tell(input) {
  const out = input.parentElement.querySelector('output');
  out.textContent = input.dataset.strength !== undefined ? `${input.value} %`
    : `${Number(Number(input.value).toPrecision(2))}`;
}

function send(order) {
  sent += 1;
  const n = sent;
  setTimeout(() => { if (done < n) { done = n; pump(); } }, LOST);
  // Whose drive it is for: one that has ended by then must not be answered with a word about its commands.
  trigger('click', { ...order, n, drive: drive ? drive.drive : null });
}

function pump() {
  clearTimeout(later);
  if (!spec || done < sent) return;
  if (queue.length) { send(queue.shift()); return; }
  const now = performance.now();
  let wait = Infinity, go = hold || moved();
  for (const press of held.values()) {
    if (!press.served || now - press.since >= TAP) go = true;
    else wait = Math.min(wait, TAP - (now - press.since));
  }
  if (go) {
    for (const press of held.values()) press.served = true;
    if (stick) stick.served = true;
    send({ act: 'step', action: command() });
  } else if (wait < Infinity) later = setTimeout(pump, wait + 1);
}

// The stick at rest in a hand says nothing.
function moved() { return stick !== null && Math.hypot(stick.x, stick.y) > 0.1; }

function press(key) {
  if (!entry(key) || held.has(key)) return;
  held.set(key, { since: performance.now(), served: false });
  mark();
  // What is pressed at the same time counts together.
  setTimeout(pump, 12);
}

function release(key) {
  const was = held.get(key);
  if (!was) return;
  // A tap while another step was under way must not be lost, nor make a long tail.
  if (!was.served && queue.length < 2) queue.push({ act: 'step', action: command() });
  held.delete(key);
  mark();
  pump();
}

function let_go() { held.clear(); stick = null; mark(); place_knob(); }

function act(what) {
  const count = Number(drive ? drive.count : 0);
  if (what === 'once') { if (queue.length < 2) queue.push({ act: 'step', action: command() }); }
  else if (what === 'hold') hold = !hold;
  else if (what === 'undo' || what === 'reset') {
    hold = false;
    if ((count || done < sent) && queue.length < 4) queue.push({ act: what });
  }
  mark();
  pump();
}

function mark() {
  if (!root()) return;
  for (const b of element.querySelectorAll('[data-press]')) b.classList.toggle('down', held.has(b.dataset.press));
  element.querySelector('[data-do=hold]').setAttribute('aria-pressed', String(hold));
  element.querySelector('[data-do=undo]').disabled = !(drive && Number(drive.undo));
  element.querySelector('[data-do=reset]').disabled = !(drive && Number(drive.count));
}

window.lamDrive = {
  answered(data) {
    const other = drive && drive.drive !== data.drive;
    drive = { ...data };
    if (other && !changing) { queue = []; hold = false; }
    if (other) changing = false;
    agree();
    done = Math.max(done, Math.min(Number(data.ack) || 0, sent));
    mark();
    pump();
  },
  // Its keys would be those of the controller before.
  pause() {
    stop();
    queue = [];
    spec = null;
    changing = true;
    element.classList.add('lam-paused');
    clearTimeout(paused);
    paused = setTimeout(() => { changing = false; read(); mark(); }, LOST);
  },
  state: () => ({ sent, done, held: [...held.keys()], hold, base: [...base], stick, queue: queue.length }),
};

// Buttons: held as keys are. A click without a pointer (a screen reader's, Enter) is one step.
element.addEventListener('pointerdown', (event) => {
  const button = event.target.closest('[data-press]');
  if (button && event.button === 0) { event.preventDefault(); button.focus({ preventScroll: true }); press(button.dataset.press); return; }
  const pad = event.target.closest('.lam-stick');
  if (!pad || !spec) return;
  event.preventDefault();
  pad.setPointerCapture(event.pointerId);
  pad.classList.add('down');
  move(pad, event);
});
element.addEventListener('pointermove', (event) => { if (stick) { const pad = element.querySelector('.lam-stick'); move(pad, event); } });
for (const end of ['pointerup', 'pointercancel']) window.addEventListener(end, (event) => {
  if (!element.isConnected) return;
  if (stick) {
    if (moved() && !stick.served && queue.length < 2) queue.push({ act: 'step', action: command() });
    stick = null;
    place_knob();
    pump();
  }
  for (const b of element.querySelectorAll('[data-press].down')) if (!keys_down.has(b.dataset.press)) release(b.dataset.press);
  // A slider that was moved by hand gives the arrows back.
  if (event.target.closest && element.contains(event.target) && event.target.matches('input[type=range]')) event.target.blur();
});
element.addEventListener('contextmenu', (event) => { if (event.target.closest('[data-press], .lam-stick')) event.preventDefault(); });
element.addEventListener('click', (event) => {
  const doing = event.target.closest('[data-do]');
  if (doing && !doing.disabled) { act(doing.dataset.do); return; }
  const button = event.target.closest('[data-press]');
  if (button && event.detail === 0) { press(button.dataset.press); setTimeout(() => release(button.dataset.press), 40); }
});
element.addEventListener('input', (event) => {
  const input = event.target;
  if (input.dataset.strength !== undefined) strength = Number(input.value) / 100;
  else if (input.dataset.channel !== undefined) base[Number(input.dataset.channel)] = Number(input.value);
  else return;
  tell(input);
});
element.addEventListener('dblclick', (event) => {
  const input = event.target.closest('.lam-slide')?.querySelector('[data-channel]');
  if (input) set(Number(input.dataset.channel), spec.channels[Number(input.dataset.channel)].zero);
});

function move(pad, event) {
  const box = pad.getBoundingClientRect(), far = box.width / 2 - 22;
  let x = (event.clientX - box.left - box.width / 2) / far, y = -(event.clientY - box.top - box.height / 2) / far;
  const length = Math.hypot(x, y);
  if (length > 1) { x /= length; y /= length; }
  stick = Object.assign(stick || { served: false }, { x, y });
  place_knob();
  pump();
}

function place_knob() {
  const pad = element.querySelector('.lam-stick');
  if (!pad) return;
  if (!stick) pad.classList.remove('down');
  const far = pad.clientWidth / 2 - 22;
  pad.querySelector('i').style.transform = stick ? `translate(${stick.x * far}px, ${-stick.y * far}px)` : '';
}

// Keys, wherever the keyboard's place is, unless it is where keys mean something else.
const OTHERS = 'input, textarea, select, video, audio, [contenteditable=""], [contenteditable=true], [role=slider], '
  + '[role=listbox], [role=option], [role=combobox], [role=menu], [role=radio], dialog';
const keys_down = new Set();
function seen() {
  if (!element.isConnected || !root() || element.offsetParent === null) return false;
  const picture = document.querySelector('#lam-drive-view .lam-stage');
  if (!picture) return false;
  const box = picture.getBoundingClientRect();
  return box.height > 0 && box.bottom > 0 && box.top < innerHeight;
}
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !spec) return;
  const at = event.target instanceof Element ? event.target : document.body;
  if (at.closest(OTHERS) || !seen()) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const doing = { u: 'undo', Backspace: 'undo', r: 'reset', h: 'hold', ' ': 'once' }[name];
  if (name === ' ' && at.closest('button, a, summary, [role=button]')) return;
  if (!doing && !entry(name)) return;
  event.preventDefault();
  if (at.matches('[role=tab]')) at.blur(); // its ring would say that the keys are the tab's
  if (doing) { if (!event.repeat || doing === 'undo') act(doing); return; }
  keys_down.add(name);
  press(name);
});
document.addEventListener('keyup', (event) => {
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  keys_down.delete(name);
  if (element.isConnected) release(name);
});
const stop = () => { keys_down.clear(); hold = false; let_go(); };
window.addEventListener('blur', stop);
document.addEventListener('visibilitychange', () => { if (document.hidden) stop(); });
// Another tab of the page is opened: nothing goes on unseen.
new IntersectionObserver((all) => { if (all.every((one) => !one.isIntersecting) && element.offsetParent === null) stop(); }).observe(element);

watch('value', agree);
read();
mark();
