// One's own devices: what is on, what is chosen, and what everybody else gets.
import { Level, listDevices, openDevices } from './media.js';
import { stored } from './texts.js';

export const me = {
  name: '',
  mic: null,
  camera: null,
  screen: null,
  micOn: true,
  facing: 'user',
  problem: null,
  /** Called with the kind whenever a track is another one, and after all that shows in the controls. */
  onTrack: () => {},
  onChange: () => {},
  level: null,
};

/** What of it others see and hear. */
export function media() {
  return { mic: Boolean(me.mic && me.micOn), camera: Boolean(me.screen ?? me.camera), sharing: Boolean(me.screen) };
}

export function trackOf(kind) {
  return kind === 'audio' ? me.mic : me.screen ?? me.camera;
}

/** Opens what is wanted. */
export async function turnOn({ audio = false, video = false }) {
  const choice = kind => ({ deviceId: stored(`enishi.${kind}`) });
  const found = await openDevices({ audio: audio && choice('audioinput'), video: video && { ...choice('videoinput'), ...(me.facing !== 'user' && { facingMode: me.facing }) } });
  if (found.audio) use('mic', found.audio);
  if (found.video) use('camera', found.video);
  me.problem = found.problem;
  me.onChange();
  return found;
}

function use(slot, track) {
  me[slot]?.stop();
  me[slot] = track;
  if (track) track.onended = () => me[slot] === track && use(slot, null);
  if (slot === 'mic') {
    me.level?.stop();
    me.level = track ? new Level(track) : null;
    if (track) track.enabled = me.micOn;
  }
  me.onTrack(slot === 'mic' ? 'audio' : 'video');
  me.onChange();
}

/** The microphone stays open while it is muted, so that it comes back at once. */
export async function toggleMic() {
  if (!me.mic) {
    me.micOn = true;
    return turnOn({ audio: true });
  }
  me.micOn = !me.micOn;
  me.mic.enabled = me.micOn;
  me.onChange();
}

/** A camera that is off is closed, so that its light goes out. */
export async function toggleCamera() {
  if (me.camera) use('camera', null);
  else await turnOn({ video: true });
}

/** Between the front and the back of a phone. */
export async function flipCamera() {
  me.facing = me.facing === 'user' ? 'environment' : 'user';
  use('camera', null);
  await turnOn({ video: true });
}

/** Shows the screen in place of the camera until it is called again, or the browser's own bar ends it. */
export async function toggleScreen() {
  if (me.screen) return endScreen();
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: false });
  [me.screen] = stream.getVideoTracks();
  me.screen.contentHint = 'detail';
  me.screen.onended = endScreen;
  me.onTrack('video');
  me.onChange();
}

export function endScreen() {
  if (!me.screen) return;
  me.screen.onended = null;
  me.screen.stop();
  me.screen = null;
  me.onTrack('video');
  me.onChange();
}

export const canShare = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** Fills a picker and takes what is chosen there. */
export async function fillPicker(select, kind, onChoice, defaultText) {
  const devices = await listDevices(kind).catch(() => []);
  const options = devices.map(({ deviceId, label }, index) => new Option(label || `${defaultText} ${index + 1}`, deviceId));
  select.replaceChildren(...(options.length ? options : [new Option(defaultText, '')]));
  const now = { audioinput: me.mic, videoinput: me.camera }[kind]?.getSettings().deviceId ?? stored(`enishi.${kind}`);
  if (devices.some(({ deviceId }) => deviceId === now)) select.value = now;
  select.disabled = !options.length;
  select.onchange = () => {
    stored(`enishi.${kind}`, select.value);
    onChoice(select.value);
  };
  return devices.length;
}
