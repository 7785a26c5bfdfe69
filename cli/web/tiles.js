// The grid: one tile for each person, sized so that all fit.
import { t } from './texts.js';
import { by, icon, make } from './ui.js';

/** Louder than this counts as speech, and for how long after, in ms. */
const SPEECH = 0.012, SPEECH_HOLD_MS = 700;

const grid = by('grid');
const tiles = new Set();
let sink = null;

/** All tiles, in order of coming. */
export function allTiles() {
  return [...tiles];
}

/** Plays everybody on this speaker. */
export function setSpeaker(deviceId) {
  sink = deviceId;
  for (const tile of tiles) tile.video.setSinkId?.(deviceId).catch(() => {});
}

/** Makes what a browser held back audible: call it in a click. */
export function playAll() {
  for (const tile of tiles) tile.play();
}

export class Tile {
  #spokeAt = 0;

  /** `onBlocked` is called if the browser wants a click before it plays sound. */
  constructor({ id, self = false, onRetry, onBlocked }) {
    this.id = id;
    this.self = self;
    this.onBlocked = onBlocked;
    this.stream = new MediaStream();
    this.element = make('article', 'tile', { peer: id, mic: 'on', camera: 'off', state: 'connecting', ...(self && { self: '' }) });
    this.video = Object.assign(make('video'), { autoplay: true, playsInline: true, muted: self, srcObject: this.stream });
    this.video.addEventListener('resize', () => this.#shape());
    if (sink && !self) this.video.setSinkId?.(sink).catch(() => {});
    const avatar = make('div', 'avatar');
    this.initial = avatar.appendChild(make('span'));
    avatar.setAttribute('aria-hidden', 'true');
    const foot = make('div', 'tile-foot');
    this.name = foot.appendChild(make('span', 'tile-name'));
    this.state = foot.appendChild(make('span', 'tile-state'));
    this.retry = Object.assign(make('button', 'tile-retry primary'), { hidden: true, onclick: onRetry });
    this.element.append(this.video, avatar, foot, ...(self ? [] : [this.retry]));
    tiles.add(this);
    grid.append(this.element);
    layout();
  }

  setName(name) {
    this.label = name;
    this.name.replaceChildren(icon('mic'), make('bdi', '', {}, name));
    this.initial.textContent = [...name.trim()][0]?.toUpperCase() ?? '·';
    const hue = [...this.id].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7);
    this.element.style.setProperty('--hue', hue);
    this.describe();
  }

  /** The state's word, and whether there is something to try. */
  setState(state, path, words, canRetry = false) {
    this.element.dataset.state = state;
    if (path) this.element.dataset.path = path;
    else delete this.element.dataset.path;
    this.state.textContent = words;
    this.state.hidden = !words;
    this.retry.textContent = t('retry');
    this.retry.hidden = !canRetry;
    this.describe();
  }

  /** `mic`, `camera`, `sharing` as told by the person's page; what is left out stays. */
  setMedia({ mic, camera, sharing }) {
    const { dataset } = this.element;
    if (mic !== undefined) dataset.mic = mic ? 'on' : 'off';
    if (camera !== undefined) dataset.camera = camera ? 'on' : 'off';
    if (sharing !== undefined) this.element.toggleAttribute('data-sharing', sharing);
    this.video.classList.toggle('mirror', this.self && !('sharing' in dataset) && !this.rear);
    this.describe();
  }

  /** Puts a track in, in place of any other of its kind; `null` only takes it out. */
  setTrack(kind, track) {
    const old = this.stream.getTracks().filter(one => one.kind === kind && one !== track);
    old.forEach(one => this.stream.removeTrack(one));
    if (track && !this.stream.getTracks().includes(track)) this.stream.addTrack(track);
    if (track) this.play();
  }

  play() {
    this.video.play().catch(error => error.name === 'NotAllowedError' && this.onBlocked?.());
  }

  /** Marks who speaks, by the level of this moment. */
  hear(level) {
    const now = performance.now();
    if (level > SPEECH) this.#spokeAt = now;
    this.element.toggleAttribute('data-speaking', this.#spokeAt > 0 && now - this.#spokeAt < SPEECH_HOLD_MS);
  }

  /** What a screen reader says of it. */
  describe() {
    const { mic, camera } = this.element.dataset;
    const parts = [this.label, this.state.textContent, mic === 'off' && t('micOff'), camera === 'off' && t('cameraIsOff')];
    this.element.setAttribute('aria-label', parts.filter(Boolean).join(', '));
  }

  remove() {
    tiles.delete(this);
    this.video.srcObject = null;
    this.element.remove();
    layout();
  }

  #shape() {
    this.element.toggleAttribute('data-portrait', this.video.videoHeight > this.video.videoWidth);
  }
}

/** The number of columns that makes tiles of about 4:3 largest. */
function layout() {
  const count = tiles.size;
  grid.dataset.count = count;
  const { width, height } = grid.getBoundingClientRect();
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const size = Math.min(width / columns, ((height / Math.ceil(count / columns)) * 4) / 3);
    if (size > best.size + 1) best = { columns, size };
  }
  grid.style.setProperty('--columns', best.columns);
  grid.style.setProperty('--rows', Math.max(1, Math.ceil(count / best.columns)));
}
new ResizeObserver(layout).observe(grid);
