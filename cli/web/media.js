// Cameras, microphones and how loud they are.

/** What keeps us from a device: `insecure`, `denied`, `none`, `busy` or `other`. */
export function problemOf(error) {
  if (!window.isSecureContext || !navigator.mediaDevices) return 'insecure';
  const problems = { NotAllowedError: 'denied', SecurityError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none', NotReadableError: 'busy', AbortError: 'busy' };
  return problems[error?.name] ?? 'other';
}

/** Opens what there is: both, or the one that works. Gives the tracks and what was in the way. */
export async function openDevices({ audio, video }) {
  const found = { audio: null, video: null, problem: null };
  if (!window.isSecureContext || !navigator.mediaDevices) return { ...found, problem: 'insecure' };
  const take = async wish => {
    const stream = await navigator.mediaDevices.getUserMedia(wish);
    found.audio ??= stream.getAudioTracks()[0] ?? null;
    found.video ??= stream.getVideoTracks()[0] ?? null;
  };
  const wishes = { ...(audio && { audio: audioWish(audio) }), ...(video && { video: videoWish(video) }) };
  try {
    await take(wishes);
  } catch (error) {
    found.problem = problemOf(error);
    // Together they fail if one of them is missing.
    if (audio && video) {
      for (const kind of ['audio', 'video']) {
        await take({ [kind]: wishes[kind] }).catch(alone => (found.problem = problemOf(alone)));
      }
    }
  }
  return found;
}

function audioWish({ deviceId } = {}) {
  return { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(deviceId && { deviceId: { ideal: deviceId } }) };
}

function videoWish({ deviceId, facingMode } = {}) {
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
  return { ...size, ...(deviceId && { deviceId: { ideal: deviceId } }), ...(facingMode && { facingMode }) };
}

/** The devices of a kind (`audioinput`, `videoinput`, `audiooutput`) that can be chosen. */
export async function listDevices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return all.filter(device => device.kind === kind && device.deviceId);
}

let context = null;

/** The one audio context of the page. Browsers let it run after the first touch or key. */
export function audioContext() {
  if (!context) {
    context = new AudioContext();
    const wake = () => context.resume().catch(() => {});
    for (const type of ['pointerdown', 'keydown']) addEventListener(type, wake, { capture: true });
    wake();
  }
  return context;
}

/** Measures a track, 0 to 1; `stop` ends it. */
export class Level {
  #source;
  #analyser;
  #samples;

  constructor(track) {
    const audio = audioContext();
    this.#source = audio.createMediaStreamSource(new MediaStream([track]));
    this.#analyser = new AnalyserNode(audio, { fftSize: 1024 });
    this.#samples = new Float32Array(1024);
    this.#source.connect(this.#analyser);
  }

  get value() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const sum = this.#samples.reduce((all, sample) => all + sample * sample, 0);
    return Math.sqrt(sum / this.#samples.length);
  }

  stop() {
    this.#source.disconnect();
  }
}

/** Loudness for a meter: speech fills about two thirds. */
export function meterOf(level) {
  return level <= 0.001 ? 0 : Math.min(1, Math.max(0, (20 * Math.log10(level) + 60) / 60));
}
