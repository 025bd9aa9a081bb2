// @ts-check
/** The softphone page: what a user sees of tandem.js. */
import { Tandem } from '/tandem.js';

/** @typedef {import('./tandem.js').Call} Call */

const KEYS = [
  ['1', ''], ['2', 'ABC'], ['3', 'DEF'], ['4', 'GHI'], ['5', 'JKL'], ['6', 'MNO'],
  ['7', 'PQRS'], ['8', 'TUV'], ['9', 'WXYZ'], ['*', ''], ['0', '+'], ['#', ''],
];

/** Said of a state, in words; the codes of an ended call's reason likewise. */
const WORDS = {
  incoming: 'Incoming call', dialing: 'Calling…', ringing: 'Ringing…', 'early-media': 'Listening…', answered: 'Connected',
  hangup: 'Call ended', busy: 'Busy', declined: 'Declined', 'no-answer': 'No answer', cancelled: 'Cancelled',
  rejected: 'Refused', unallocated: 'This number does not exist', unreachable: 'Not reachable', failed: 'Failed',
  'media-lost': 'The sound was lost', timeout: 'Time is up', capacity: 'All lines are busy',
};

/** @type {Tandem|null} */
let tandem = null;
/** @type {Call|null} */
let current = null;
/** The call whose ladder is on the page, also after its end. @type {Call|null} */
let shown = null;
/** @type {Call|null} */
let ringing = null;
/** @type {{stop: () => void}|null} */
let meters = null;

/** @param {string} id  @returns {any} */
const at = (id) => document.getElementById(id);

/** Runs an action of the user; what fails is said on the page. @param {() => Promise<any>|undefined} action */
async function act(action) {
  at('problem').textContent = '';
  try {
    await action();
  } catch (error) {
    const isRefused = error instanceof DOMException && error.name === 'NotAllowedError';
    at('problem').textContent = isRefused ? 'The browser gives no microphone to this page.' : String(error?.message ?? error);
  }
}

// ---- logging in ---------------------------------------------------------------------------------

/** The user a token is for, by its `sub` claim (RFC 7519); the gateway checks it, not the page. */
function userOf(token) {
  try {
    const claims = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    return JSON.parse(atob(claims)).sub ?? '';
  } catch {
    return '';
  }
}

/** @param {Tandem} next */
async function begin(next) {
  tandem = next;
  next.on('connection', (state) => (at('connection').textContent = state));
  next.on('incoming', showIncoming);
  await next.connect();
  sessionStorage.setItem('tandem-token', next.token);
  at('user').textContent = userOf(next.token);
  at('who').hidden = at('dialer').hidden = false;
  at('log-in').hidden = true;
  at('number').focus();
}

function askToLogIn() {
  sessionStorage.removeItem('tandem-token');
  for (const id of ['who', 'dialer', 'call', 'figures', 'incoming']) {
    at(id).hidden = true;
  }
  at('log-in').hidden = false;
  at('login-user').focus();
}

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    history.replaceState(null, '', location.pathname);
  }
  const token = given ?? sessionStorage.getItem('tandem-token');
  if (!token) {
    askToLogIn();
    return;
  }
  try {
    await begin(new Tandem({ token }));
  } catch (error) {
    askToLogIn();
    throw error;
  }
}

// ---- incoming calls -------------------------------------------------------------------------------

/** @param {Call} call */
function showIncoming(call) {
  if (ringing || current) {
    act(() => call.reject(486));
    return;
  }
  ringing = call;
  at('incoming-from').textContent = call.from;
  at('incoming-to').textContent = `to ${call.to}`;
  at('incoming').hidden = false;
  at('answer').focus();
  document.title = `☎ ${call.from}`;
  call.on('ended', () => {
    if (ringing === call) {
      hideIncoming();
    }
  });
  act(() => call.ring());
}

function hideIncoming() {
  ringing = null;
  at('incoming').hidden = true;
  document.title = 'Tandem softphone';
}

async function answer() {
  const call = ringing;
  if (call) {
    hideIncoming();
    show(call);
    await call.answer();
  }
}

/** @param {number} [code] */
async function decline(code) {
  const call = ringing;
  if (call) {
    hideIncoming();
    await call.reject(code);
  }
}

// ---- the call ----------------------------------------------------------------------------------------

async function dial() {
  const number = at('number').value.trim();
  if (!tandem || !number || current) {
    return;
  }
  const to = /^[+0-9]/.test(number) ? number.replace(/[\s().-]/g, '') : number;
  at('dial').disabled = true;
  try {
    show(await tandem.call(to));
  } finally {
    at('dial').disabled = false;
  }
}

/** @param {Call} call */
function show(call) {
  current = shown = call;
  at('call-number').textContent = call.direction === 'inbound' ? call.from : call.to;
  at('digits').textContent = '';
  at('call').hidden = at('figures').hidden = false;
  at('quality').replaceChildren();
  at('ladder').textContent = '';
  showState();
  call.on('state', showState);
  call.on('digit', ({ digit }) => (at('digits').textContent += ` ${digit}`));
  call.on('quality', () => showQuality(call));
  call.on('track', (stream) => listen(call, stream));
  if (call.remoteStream) {
    listen(call, call.remoteStream);
  }
  call.on('ended', () => finish(call));
  at('hang-up').focus();
}

function showState() {
  if (current) {
    at('call-state').textContent = current.reason
      ? (WORDS[current.reason.code] ?? current.reason.code) + (current.reason.text ? `: ${current.reason.text}` : '')
      : WORDS[current.state] + (current.muted ? ', muted' : '');
    at('mute').setAttribute('aria-pressed', String(current.muted));
    at('mute').disabled = at('hang-up').disabled = current.state === 'ended';
  }
}

/** @param {Call} call  @param {MediaStream} stream */
function listen(call, stream) {
  at('remote').srcObject = stream;
  meters?.stop();
  meters = meter([[call.localStream, at('level-local')], [stream, at('level-remote')]]);
}

/** Shows the loudness of streams, 30 times a second. @param {[MediaStream|null, any][]} pairs */
function meter(pairs) {
  const context = new AudioContext();
  const watched = pairs.flatMap(([stream, element]) => {
    if (!stream) {
      return [];
    }
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    return [{ analyser, element, samples: new Float32Array(analyser.fftSize) }];
  });
  const timer = setInterval(() => {
    for (const { analyser, element, samples } of watched) {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      element.value = Math.min(1, Math.sqrt(power) * 4);
    }
  }, 33);
  return {
    stop() {
      clearInterval(timer);
      pairs.forEach(([, element]) => (element.value = 0));
      context.close();
    },
  };
}

/** @param {Call} call */
async function finish(call) {
  meters?.stop();
  meters = null;
  showState();
  await showLadder(call);
  if (current === call) {
    current = null;
    at('number').focus();
  }
}

// ---- figures -----------------------------------------------------------------------------------------

/** @param {Call} call */
async function showQuality(call) {
  const own = await call.statistics();
  const rows = [...call.quality].map(([leg, { stats }]) => [
    `Gateway, leg ${leg}`, [stats.codec_received, stats.codec_sent].filter(Boolean).join(' / '),
    figure(stats.mos_received, 2), figure(stats.mos_sent, 2), `${stats.packets_lost}`,
    `${figure(stats.jitter_ms, 1)} ms`, `${figure(stats.round_trip_ms, 0)} ms`,
  ]);
  rows.push(['Browser', own.codec, '–', '–', `${own.packetsLost}`, `${own.jitterMs.toFixed(1)} ms`, `${own.roundTripMs.toFixed(0)} ms`]);
  at('quality').replaceChildren(...rows.map(row));
  if (at('ladder-box').open) {
    await showLadder(call);
  }
}

/** @param {number|null|undefined} value  @param {number} places */
const figure = (value, places) => (typeof value === 'number' ? value.toFixed(places) : '–');

/** @param {string[]} cells */
function row(cells) {
  const line = document.createElement('tr');
  line.append(...cells.map((text, column) => {
    const cell = document.createElement(column === 0 ? 'th' : 'td');
    if (column === 0) {
      cell.setAttribute('scope', 'row');
    }
    cell.textContent = text;
    return cell;
  }));
  return line;
}

/** @param {Call|null} call */
async function showLadder(call) {
  if (call?.id) {
    at('ladder').textContent = await call.ladder().catch((error) => error.message);
  }
}

function showTime() {
  if (!current || current.state === 'ended') {
    return;
  }
  const since = current.answeredAt;
  const seconds = since ? Math.max(0, Math.floor((Date.now() - since.getTime()) / 1000)) : 0;
  at('timer').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

// ---- hands -------------------------------------------------------------------------------------------

/** A key of the pad or the keyboard: a tone during a call, a digit otherwise. @param {string} key */
function press(key) {
  if (current && current.state !== 'ended' && /^[0-9*#]$/.test(key)) {
    at('digits').textContent += ` ${key}`;
    act(() => current?.sendDigits(key));
  } else {
    at('number').value += key;
    at('number').focus();
  }
}

function buildPad() {
  at('pad').append(...KEYS.map(([key, letters]) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.key = key;
    button.setAttribute('aria-label', { '*': 'star', '#': 'hash' }[key] ?? key);
    const small = document.createElement('small');
    small.textContent = letters;
    button.append(key, small);
    button.addEventListener('click', () => press(key));
    return button;
  }));
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.ctrlKey || event.altKey || event.metaKey) {
    return;
  }
  if (event.key === 'Escape') {
    act(async () => (ringing ? decline() : current?.hangUp()));
  } else if (!isTyping && /^[0-9*#+]$/.test(event.key)) {
    press(event.key);
  } else if (!isTyping && event.key.toLowerCase() === 'm' && current) {
    act(toggleMute);
  }
}

async function toggleMute() {
  await (current?.muted ? current.unmute() : current?.mute());
}

function wire() {
  buildPad();
  at('log-in').addEventListener('submit', (event) => {
    event.preventDefault();
    act(async () => begin(await Tandem.logIn({ user: at('login-user').value, apiKey: at('login-key').value })));
  });
  at('dialer').addEventListener('submit', (event) => {
    event.preventDefault();
    act(dial);
  });
  at('log-out').addEventListener('click', () => act(async () => {
    await tandem?.close();
    askToLogIn();
  }));
  at('erase').addEventListener('click', () => (at('number').value = at('number').value.slice(0, -1)));
  at('answer').addEventListener('click', () => act(answer));
  at('reject').addEventListener('click', () => act(() => decline()));
  at('busy').addEventListener('click', () => act(() => decline(486)));
  at('mute').addEventListener('click', () => act(toggleMute));
  at('hang-up').addEventListener('click', () => act(async () => current?.hangUp()));
  at('ladder-box').addEventListener('toggle', () => act(() => showLadder(shown)));
  document.addEventListener('keydown', onKey);
  setInterval(showTime, 250);
}

wire();
act(start);
