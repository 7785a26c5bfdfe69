// The page: the lobby, and the way from there into a room and back.
import { Call } from './call.js';
import { knows, preferredLanguage, setLanguage, stored, t } from './texts.js';
import { fillPicker, flipCamera, me, media, meterOf, toggleCamera, toggleMic, toggleScreen, turnOn } from './media.js';
import { setSpeaker } from './tiles.js';
import { by, copy, icon, isLocal, press, toast } from './ui.js';

const ROOM = /^[A-Za-z0-9._~@:+-]{1,64}$/;
let call = null;

function roomOfLink() {
  // All characters of a room may stand in a link, but some programs encode them.
  const room = location.hash.slice(1).replace(/%[0-9a-f]{2}/gi, code => String.fromCharCode(parseInt(code.slice(1), 16)));
  return ROOM.test(room) ? room : null;
}

/** On one's own machine the room of the README, elsewhere one that nobody guesses. */
function someRoom() {
  if (isLocal) return 'demo';
  return Array.from(crypto.getRandomValues(new Uint8Array(10)), byte => 'abcdefghijkmnpqrstuvwxyz23456789'[byte % 32]).join('');
}

/** What to type to come into a room from a terminal. */
function commandFor(room) {
  return `enishi peer --room ${room || 'demo'} --signal ${location.origin.replace('http', 'ws')}/ws`;
}

function showTexts() {
  setLanguage(by('language').value);
  by('terminal-command').textContent = commandFor(by('room-name').value);
  showDevices();
  fillPickers();
}

async function fillPickers() {
  const unnamed = t('defaultDevice');
  await fillPicker(by('camera-select'), 'videoinput', unnamed, () => me.camera && turnOn({ video: true }));
  await fillPicker(by('mic-select'), 'audioinput', unnamed, () => me.mic && turnOn({ audio: true }));
  const speakers = await fillPicker(by('speaker-select'), 'audiooutput', unnamed, setSpeaker);
  by('speaker-picker').hidden = !speakers || !HTMLMediaElement.prototype.setSinkId;
}

/** Brings all controls up to date with the devices. */
function showDevices() {
  const { mic, sharing } = media();
  for (const id of ['mic', 'preview-mic']) press(id, mic);
  for (const id of ['camera', 'preview-camera']) press(id, Boolean(me.camera));
  press('share-screen', sharing);
  by('share-screen').hidden = !navigator.mediaDevices?.getDisplayMedia;
  by('flip').hidden = !(me.camera && matchMedia('(pointer: coarse)').matches && by('camera-select').options.length > 1);
  const preview = by('preview');
  if (preview.srcObject?.getTracks()[0] !== me.camera) preview.srcObject = me.camera && new MediaStream([me.camera]);
  preview.classList.toggle('mirror', me.facing === 'user');
  by('preview-empty').hidden = Boolean(me.camera);
  const notice = by('device-notice');
  notice.hidden = !me.problem;
  if (me.problem) {
    notice.dataset.problem = me.problem;
    const [what, how] = t(`problem.${me.problem}`).split('¦');
    notice.querySelector('strong').textContent = what;
    notice.querySelector('span').textContent = how;
    by('device-retry').hidden = me.problem === 'insecure';
  }
  call?.mediaChanged();
}

/** Tries a device switch, and says where a person looks what keeps it from working. */
function attempt(action) {
  return async () => {
    await action();
    if (me.problem && call) toast(t(`problem.${me.problem}`).replace('¦', ' '));
  };
}

function showError(text) {
  by('lobby-error').textContent = text;
  by('lobby-error').hidden = !text;
}

async function join(event) {
  event.preventDefault();
  const room = by('room-name').value.trim();
  if (!ROOM.test(room)) {
    showError(t('roomBad'));
    return by('room-name').focus();
  }
  showError('');
  me.name = by('name').value.trim();
  stored('enishi.name', me.name);
  by('join').disabled = true;
  by('join').textContent = t('joining');
  const next = new Call({ room, token: by('token').value || undefined, onLeft: leave });
  try {
    await next.enter(() => showError(t('why.unreachable')));
    showError('');
    call = next;
    location.hash = room;
    show('room');
    me.onTrack = kind => call?.trackChanged(kind);
    call.begin();
  } catch (error) {
    next.close();
    const wantsToken = error.code === 'unauthorized';
    by('token-field').hidden &&= !wantsToken;
    showError(wantsToken ? t('tokenNeeded') : knows(`why.${error.code}`) ? t(`why.${error.code}`) : error.message);
    by(wantsToken ? 'token' : 'room-name').focus();
  }
  by('join').disabled = false;
  by('join').textContent = t('join');
}

function show(view) {
  document.body.dataset.view = view;
  by('lobby').hidden = view !== 'lobby';
  by('room').hidden = view !== 'room';
  document.title = view === 'room' ? `${call.name} · Enishi` : 'Enishi';
  if (view === 'room') {
    by('room-title').textContent = call.name;
    by('invite-link').textContent = `${location.origin}/#${call.name}`;
    by('invite-command').textContent = commandFor(call.name);
  }
  by(view === 'room' ? 'mic' : 'join').focus({ preventScroll: true });
}

/** Back to the lobby; `why` if it was not one's own wish. */
function leave(why) {
  call?.close();
  call = null;
  delete window.enishi;
  if (me.screen) toggleScreen();
  show('lobby');
  showDevices();
  showError(why ?? '');
}

function start() {
  for (const element of document.querySelectorAll('[data-icon]')) element.prepend(icon(element.dataset.icon));
  by('language').value = preferredLanguage();
  by('language').onchange = () => {
    stored('enishi.language', by('language').value);
    showTexts();
  };
  by('name').value = stored('enishi.name') ?? '';
  by('room-name').value = roomOfLink() ?? someRoom();
  by('room-name').oninput = () => (by('terminal-command').textContent = commandFor(by('room-name').value.trim()));
  addEventListener('hashchange', () => {
    const room = roomOfLink();
    if (!call && room) by('room-name').value = room;
    by('room-name').oninput();
  });
  by('join-form').onsubmit = join;
  for (const id of ['mic', 'preview-mic']) by(id).onclick = attempt(toggleMic);
  for (const id of ['camera', 'preview-camera']) by(id).onclick = attempt(toggleCamera);
  by('flip').onclick = attempt(flipCamera);
  by('device-retry').onclick = attempt(() => turnOn({ audio: !me.mic, video: !me.camera }));
  by('share-screen').onclick = () => toggleScreen().catch(error => {
    // Else the person closed the browser's dialog.
    if (error.name !== 'NotAllowedError') toast(t('shareFailed'));
  });
  by('leave').onclick = () => leave();
  for (const button of document.querySelectorAll('[data-copy]')) {
    button.onclick = () => copy(by(button.dataset.copy).textContent);
  }
  me.onChange = showDevices;
  showTexts();
  setInterval(() => (by('mic-level').value = me.level && me.micOn && !call ? meterOf(me.level.value) : 0), 100);
  navigator.mediaDevices?.addEventListener?.('devicechange', fillPickers);
  turnOn({ audio: true, video: true }).then(fillPickers);
}

start();
