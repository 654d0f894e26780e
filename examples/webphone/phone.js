// A telephone in a tab: JsSIP speaks SIP, the browser does the rest. No framework, one call at a time.
'use strict';

const $ = (id) => document.getElementById(id);
const LETTERS = ['', 'ABC', 'DEF', 'GHI', 'JKL', 'MNO', 'PQRS', 'TUV', 'WXYZ', '', '+', ''];
const KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];
const TITLE = document.title;
const ASK_EVERY_MS = 3000;
const RESTART_AFTER_MS = 300;
const SOON_MS = 200; // and up to twice that, since many pages lose their connection at once
const RINGS = { // hertz, seconds of sound, seconds of silence
  here: { hertz: [440, 480], on: 1, off: 2 },
  there: { hertz: [425], on: 1, off: 4 },
};

let ua = null;
let session = null;
let answeredAt = 0;
let wasLost = false; // the connection to the agent, since it was registered last
let sound = null; // the audio context; made at the first call, since browsers want a gesture before it
let meters = [];
let alerted = false; // the far end rings, and sends no sound of its own
let ringing = null; // what is heard until somebody answers

function show(state, text) {
  $('state').dataset.state = state;
  $('state').textContent = text;
}

function say(text) {
  $('said').textContent = text;
}

// --- Log in ---

$('realm').value = localStorage.realm ?? location.hostname;
$('user').value = localStorage.user ?? '';

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  sound ??= new AudioContext();
  localStorage.user = $('user').value;
  localStorage.realm = $('realm').value;
  logIn($('user').value, $('realm').value, $('password').value);
});

function logIn(user, realm, password) {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  ua?.stop();
  ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(`${scheme}://${location.host}`)],
    uri: `sip:${user}@${realm}`,
    password,
    // the same tab is the same device when it connects anew, so that its calls come back to it
    instance_id: (sessionStorage.instance ??= crypto.randomUUID()),
    connection_recovery_min_interval: 1,
    connection_recovery_max_interval: 5,
  });
  ua.on('registered', () => {
    $('login').hidden = true;
    $('phone').hidden = false;
    if (wasLost) restart();
    wasLost = false;
    if (!session && sessionStorage.talking) takeUp(JSON.parse(sessionStorage.talking));
    refresh();
  });
  ua.on('registrationFailed', ({ cause }) => say(`Not logged in: ${cause}`));
  ua.on('disconnected', ({ error }) => {
    // An agent that has died starts again, and whoever connects meanwhile waits at its door: no need for JsSIP's patience.
    if (error && !wasLost) setTimeout(() => ua.transport.connect(), SOON_MS * (1 + Math.random()));
    wasLost = true;
    show('lost', 'connection lost');
    if (session) say('The call waits until the connection is back.');
  });
  ua.on('connected', refresh);
  ua.on('newRTCSession', ({ originator, session: call }) => {
    if (session) {
      call.terminate({ status_code: 486 });
      return;
    }
    take(call);
    if (originator === 'remote') say(`${call.remote_identity.uri.user} calls.`);
  });
  ua.start();
}

// --- A call ---

function take(call) {
  session = call;
  answeredAt = 0;
  alerted = false;
  call.on('peerconnection', ({ peerconnection }) => watch(peerconnection));
  if (call.connection) watch(call.connection);
  call.on('progress', ({ response }) => {
    alerted = Boolean(response) && !response.body;
    refresh();
  });
  call.on('confirmed', () => {
    answeredAt ||= Date.now();
    remember(call);
    say('');
    refresh();
  });
  for (const change of ['hold', 'unhold', 'muted', 'unmuted']) call.on(change, refresh);
  call.on('ended', ({ cause }) => over(cause));
  call.on('failed', ({ cause }) => over(cause));
  refresh();
}

// A page that is reloaded forgets its calls, and the tab does not: it calls once more, in the place of its former self
// (RFC 3891). The line has to allow that: transfer = "serve".
function remember(call) {
  const { call_id, local_tag, remote_tag } = call._dialog.id; // JsSIP has no public name for it
  const number = call.remote_identity.uri.user;
  sessionStorage.talking = JSON.stringify({ call_id, local_tag, remote_tag, number, answeredAt });
}

function takeUp({ call_id, local_tag, remote_tag, number, answeredAt: since }) {
  delete sessionStorage.talking;
  say('The call is taken up again.');
  dial(number, [`Replaces: ${call_id};to-tag=${remote_tag};from-tag=${local_tag}`]);
  answeredAt = since;
}

function over(cause) {
  session = null;
  delete sessionStorage.talking;
  meters = [];
  say(cause === 'Terminated' ? 'The call is over.' : `The call is over: ${cause}.`);
  refresh();
}

function watch(connection) {
  connection.addEventListener('track', ({ streams, track }) => {
    const stream = streams[0] ?? new MediaStream([track]);
    $('audio').srcObject = stream;
    measure('theirs', stream);
    const [sender] = connection.getSenders();
    if (sender?.track) measure('own', new MediaStream([sender.track]));
  });
  // the media process of the agent has died, or our network has changed: ask for another way
  connection.addEventListener('connectionstatechange', () => {
    if (connection.connectionState === 'failed') restart();
  });
}

function restart() {
  const call = session;
  if (!call?.isEstablished()) return;
  setTimeout(() => {
    if (call === session) call.renegotiate({ rtcOfferConstraints: { iceRestart: true } });
  }, RESTART_AFTER_MS);
}

function dial(number, extraHeaders = []) {
  if (!number || !ua) return;
  const mediaConstraints = { audio: true, video: false };
  ua.call(`sip:${number}@${$('realm').value}`, { mediaConstraints, extraHeaders });
}

function transfer(call, number) {
  const failed = (why) => say(`Not transferred: ${why}.`);
  call.refer(`sip:${number}@${$('realm').value}`, {
    eventHandlers: {
      progress: () => say(`${number} rings.`),
      accepted: () => session === call && call.terminate(),
      failed: ({ status_line: line }) => failed(line?.reason_phrase || 'nobody is there'),
      requestFailed: ({ cause }) => failed(cause),
    },
  });
}

$('call').addEventListener('click', () => {
  sound ??= new AudioContext();
  say('');
  if (!session) dial($('number').value.replace(/[^\d+*#A-Za-z._-]/g, ''));
  else if (session.direction === 'incoming' && !session.isEstablished()) {
    session.answer({ mediaConstraints: { audio: true, video: false } });
  }
});
$('hangup').addEventListener('click', () => session?.terminate());
$('mute').addEventListener('click', () => (session?.isMuted().audio ? session.unmute() : session?.mute()));
$('hold').addEventListener('click', () => (session?.isOnHold().local ? session.unhold() : session?.hold()));
$('transfer').addEventListener('click', () => {
  const number = prompt('Transfer the call to');
  if (number && session) transfer(session, number);
});
$('erase').addEventListener('click', () => {
  $('number').value = $('number').value.slice(0, -1);
});
$('number').addEventListener('keydown', ({ key }) => {
  if (key === 'Enter') $('call').click();
});

KEYS.forEach((key, index) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.innerHTML = `${key}<small>${LETTERS[index]}</small>`;
  button.addEventListener('click', () => {
    if (session?.isEstablished()) session.sendDTMF(key, { transportType: 'RFC2833' });
    else $('number').value += key;
  });
  $('keys').append(button);
});

// --- What is shown ---

function refresh() {
  const talks = session?.isEstablished() ?? false;
  const rings = session && !talks;
  const incoming = rings && session.direction === 'incoming';
  $('call').textContent = incoming ? 'Answer' : 'Call';
  $('call').disabled = Boolean(session) && !incoming;
  $('hangup').disabled = !session;
  for (const id of ['mute', 'hold', 'transfer']) $(id).disabled = !talks;
  $('mute').ariaPressed = String(session?.isMuted()?.audio ?? false);
  $('hold').ariaPressed = String(session?.isOnHold()?.local ?? false);
  const whom = session?.remote_identity?.uri.user;
  ring(incoming ? 'here' : rings && alerted ? 'there' : null);
  document.title = incoming ? `${whom} calls` : TITLE;
  if (!ua?.isRegistered()) return;
  if (!session) show('ready', 'ready');
  else if (incoming) show('busy', `${whom} rings`);
  else if (rings) show('busy', `calling ${whom}`);
  else if (session.isOnHold().remote) show('busy', `held by ${whom}`);
  else show('talking', `talking to ${whom}`);
}

// Who looks at another page is to hear that somebody calls.
function ring(where) {
  if (ringing?.where === where) return;
  ringing?.stop();
  ringing = null;
  if (!where) return;
  sound ??= new AudioContext();
  const { hertz, on, off } = RINGS[where];
  const volume = sound.createGain();
  volume.gain.value = 0;
  volume.connect(sound.destination);
  const tones = hertz.map((frequency) => new OscillatorNode(sound, { frequency }));
  for (const tone of tones) {
    tone.connect(volume);
    tone.start();
  }
  const once = () => {
    volume.gain.setValueAtTime(0.1, sound.currentTime);
    volume.gain.setValueAtTime(0, sound.currentTime + on);
  };
  once();
  const timer = setInterval(once, (on + off) * 1000);
  ringing = {
    where,
    stop() {
      clearInterval(timer);
      for (const tone of tones) tone.stop();
      volume.disconnect();
    },
  };
}

function measure(id, stream) {
  sound ??= new AudioContext();
  const analyser = sound.createAnalyser();
  analyser.fftSize = 1024;
  sound.createMediaStreamSource(stream).connect(analyser);
  meters = [...meters.filter((one) => one.id !== id), { id, analyser, samples: new Float32Array(1024) }];
}

function draw() {
  for (const id of ['own', 'theirs']) {
    const found = meters.find((one) => one.id === id);
    if (!found) {
      $(id).value = 0;
      continue;
    }
    found.analyser.getFloatTimeDomainData(found.samples);
    const power = found.samples.reduce((sum, one) => sum + one * one, 0) / found.samples.length;
    $(id).value = Math.min(1, Math.sqrt(power) * 3);
  }
  const seconds = answeredAt && session ? Math.floor((Date.now() - answeredAt) / 1000) : 0;
  $('clock').textContent = session ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}` : '';
  requestAnimationFrame(draw);
}

async function ask() {
  if (document.hidden) return void setTimeout(ask, ASK_EVERY_MS);
  try {
    const { agent, server } = await (await fetch('serving.json')).json();
    $('serving').textContent = server ? `${agent}, served by ${server}` : `${agent}, waiting for a server`;
  } catch {
    $('serving').textContent = 'the agent does not answer';
  }
  setTimeout(ask, ASK_EVERY_MS);
}

draw();
ask();
