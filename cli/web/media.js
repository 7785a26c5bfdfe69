// One's own devices: what is open, what is chosen, how loud it is, and what others get of it.
import { stored } from './texts.js';

export const me = {
  name: '',
  mic: null,
  camera: null,
  screen: null,
  micOn: true,
  facing: 'user',
  /** What is in the way of a device: `insecure`, `denied`, `none`, `busy` or `other`. */
  problem: null,
  level: null,
  /** Called with the kind of a track that is another one, and after all that shows in the controls. */
  onTrack: () => {},
  onChange: () => {},
};

const PROBLEMS = { NotAllowedError: 'denied', SecurityError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none', NotReadableError: 'busy', AbortError: 'busy' };
const devices = navigator.mediaDevices;

/** What others see and hear. */
export function media() {
  return { mic: Boolean(me.mic && me.micOn), camera: Boolean(trackOf('video')), sharing: Boolean(me.screen) };
}

export function trackOf(kind) {
  return kind === 'audio' ? me.mic : me.screen ?? me.camera;
}

/** Opens what is wanted, or what there is of it. */
export async function turnOn({ audio = false, video = false }) {
  const chosen = kind => stored(`enishi.${kind}`) && { deviceId: { ideal: stored(`enishi.${kind}`) } };
  const facing = me.facing !== 'user' && { facingMode: me.facing };
  const wishes = {
    ...(audio && { audio: { echoCancellation: true, noiseSuppression: true, ...chosen('audioinput') } }),
    ...(video && { video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { max: 30 }, ...(facing || chosen('videoinput')) } }),
  };
  const take = async wish => {
    for (const track of (await devices.getUserMedia(wish)).getTracks()) use(track.kind === 'audio' ? 'mic' : 'camera', track);
  };
  const failed = error => (me.problem = PROBLEMS[error.name] ?? 'other');
  me.problem = null;
  if (!window.isSecureContext || !devices) me.problem = 'insecure';
  else {
    await take(wishes).catch(async error => {
      failed(error);
      // Together they fail if one of them is missing.
      if (audio && video) for (const kind of ['audio', 'video']) await take({ [kind]: wishes[kind] }).catch(failed);
    });
  }
  me.onChange();
}

function use(slot, track) {
  me[slot]?.stop();
  me[slot] = track;
  if (track) track.onended = () => me[slot] === track && use(slot, null);
  if (slot === 'mic') {
    me.level?.stop();
    me.level = track && new Level(track);
    if (track) track.enabled = me.micOn;
  }
  me.onTrack(slot === 'mic' ? 'audio' : 'video');
  me.onChange();
}

/** The microphone stays open while it is muted, so that it comes back at once. */
export async function toggleMic() {
  me.micOn = !(me.mic && me.micOn);
  if (!me.mic) return turnOn({ audio: true });
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
  if (me.screen) return use('screen', null);
  const [track] = (await devices.getDisplayMedia({ video: { frameRate: { max: 30 } } })).getVideoTracks();
  track.contentHint = 'detail';
  use('screen', track);
}

/** Lets a device be chosen; gives how many there are. */
export async function fillPicker(select, kind, unnamed, onChoice) {
  const all = (await devices?.enumerateDevices?.().catch(() => [])) ?? [];
  const found = all.filter(device => device.kind === kind && device.deviceId);
  const options = found.map(({ deviceId, label }, at) => new Option(label || `${unnamed} ${at + 1}`, deviceId));
  select.replaceChildren(...(options.length ? options : [new Option(unnamed, '')]));
  const now = { audioinput: me.mic, videoinput: me.camera }[kind]?.getSettings().deviceId ?? stored(`enishi.${kind}`);
  if (found.some(({ deviceId }) => deviceId === now)) select.value = now;
  select.disabled = !found.length;
  select.onchange = () => {
    stored(`enishi.${kind}`, select.value);
    onChoice(select.value);
  };
  return found.length;
}

let context = null;

/** The one audio context of the page. Browsers let it run after the first touch or key. */
export function audioContext() {
  if (!context) {
    context = new AudioContext();
    for (const type of ['pointerdown', 'keydown']) addEventListener(type, () => context.resume(), { capture: true });
  }
  return context;
}

/** Measures a track, 0 to 1. */
export class Level {
  #source = null;
  #analyser = new AnalyserNode(audioContext(), { fftSize: 1024 });
  #samples = new Float32Array(1024);

  constructor(track) {
    this.#source = audioContext().createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  get value() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return Math.sqrt(this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length);
  }

  stop() {
    this.#source.disconnect();
  }
}

/** Loudness for a meter: speech fills about two thirds. */
export function meterOf(level) {
  return level > 0.001 ? Math.min(1, (20 * Math.log10(level) + 60) / 60) : 0;
}
