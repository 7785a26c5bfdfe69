// A call: the people in a room, their tiles, what they say, and the controls below.
import { Client } from './enishi.js';
import { FILE_LABEL, receiveFile, sendFile, transfersRunning } from './files.js';
import { audioContext, Level, me, media, trackOf } from './media.js';
import { qrSvg } from './qr.js';
import { Recording, recordingType } from './record.js';
import { Statistics } from './stats.js';
import { knows, t } from './texts.js';
import { playAll, Tile } from './tiles.js';
import { announce, by, copy, isLocal, make, plain, press, showMessage, showNote, toast } from './ui.js';

/** Where pages tell each other names, mutes and shares. */
const PAGE_LABEL = 'enishi.page';
/** A page's id ends in `~` and four characters, so that pages know each other, and a name can be used twice. */
const PAGE_ID = /~[a-z0-9]{4}$/;
/** A mesh: everybody sends to everybody. */
const MOST_PEOPLE = 8;
const NAME_LENGTH = 40;
/** Bits per second for the picture to each of so many others. */
const BITRATES = [1_800_000, 1_800_000, 1_000_000, 700_000, 500_000, 400_000, 350_000, 300_000];

export class Call {
  #people = new Map();
  #stops = [];
  #recording = null;
  #unread = 0;

  constructor({ room, token, onLeft }) {
    this.name = room;
    this.onLeft = onLeft;
    this.client = new Client({ id: pageId(me.name), token, media: true });
  }

  /** Resolves when we are in; `onWaiting` is called as often as the server was not reached. */
  async enter(onWaiting) {
    this.client.on('state', ({ state }) => state === 'waiting' && !this.tile && onWaiting());
    for (const kind of ['audio', 'video']) await this.client.setTrack(kind, trackOf(kind));
    await this.client.ready;
    this.client.on('peer', peer => this.#meet(peer));
    this.room = await this.client.join(this.name);
    if (this.room.members.size >= MOST_PEOPLE) throw Object.assign(new Error(), { code: 'room-full' });
  }

  /** Shows it. */
  begin() {
    const { client } = this;
    window.enishi = { client, room: this.room };
    by('chat-log').replaceChildren();
    this.tile = new Tile({ id: client.id, self: true });
    this.tile.setName(t('you', { name: me.name || t('guest') }));
    this.tile.setState('connected', null, '');
    for (const peer of client.peers.values()) this.#meet(peer);
    ['audio', 'video'].forEach(kind => this.trackChanged(kind));
    this.mediaChanged();
    this.statistics = new Statistics(client, peer => this.#nameOf(peer.id));
    this.#stops.push(client.on('state', () => announce(this.#showServer())), client.on('data', data => this.#stray(data)));
    this.#controls();
    this.#showServer();
    this.#count();
    this.#openPanel(matchMedia('(min-width: 64rem)').matches ? 'chat' : null, false);
    if (this.#people.size === 0) showNote(t('alone'));
    this.#every(200, () => this.#listen());
    this.#every(500, () => this.#showServer());
  }

  close() {
    // What was recorded is saved before all goes.
    if (this.#recording) this.#record();
    this.#stops.splice(0).forEach(stop => stop());
    this.statistics?.stop();
    this.client.close();
    this.#people.forEach(person => this.#drop(person));
    this.#people.clear();
    this.tile?.remove();
    by('invite-dialog').close();
  }

  /** One's own track of a kind is another one. */
  trackChanged(kind) {
    this.client.setTrack(kind, trackOf(kind));
    this.tile.setTrack(kind, trackOf(kind));
    this.#tune();
  }

  /** A mute, a camera, a share: for one's own tile and for the others. */
  mediaChanged() {
    if (!this.tile) return;
    this.tile.rear = me.facing !== 'user';
    this.tile.setMedia(media());
    for (const peer of this.client.peers.values()) this.#introduce(peer);
  }

  #every(ms, action) {
    const timer = setInterval(action, ms);
    this.#stops.push(() => clearInterval(timer));
  }

  #listenTo(type, listener) {
    addEventListener(type, listener);
    this.#stops.push(() => removeEventListener(type, listener));
  }

  #nameOf(id) {
    return this.#people.get(id)?.name ?? id.replace(PAGE_ID, '');
  }

  // People.

  #meet(peer) {
    // In the lobby nobody is shown yet; `begin` comes back to them.
    if (!this.tile || this.#people.has(peer.id)) return;
    const person = { peer, name: this.#nameOf(peer.id), tiles: [], isPage: PAGE_ID.test(peer.id) };
    this.#people.set(peer.id, person);
    this.#addTile(person);
    for (const event of peer.tracks) this.#addTrack(person, event);
    peer.on('state', () => this.#showPeer(person));
    peer.on('track', event => this.#addTrack(person, event));
    peer.on('trackended', track => this.#dropTrack(person, track));
    peer.on('message', message => this.#said(person, message));
    peer.on('channel', channel => {
      if (channel.label === FILE_LABEL) this.#offered(person, channel);
    });
    peer.on('open', channel => channel.label === PAGE_LABEL && this.#introduce(peer));
    this.#introduce(peer);
    this.#showPeer(person);
    // A page tells its name at once, and one that finds the room full leaves at once.
    setTimeout(() => {
      person.told = this.#people.has(peer.id);
      if (person.told) this.#happened(t('joined', { name: person.name }));
    }, person.isPage ? 1000 : 0);
    this.#count();
  }

  #addTile(person) {
    const { peer } = person;
    const tile = new Tile({ id: peer.id, onRetry: () => peer.retry(), onBlocked: () => (by('unmute-all').hidden = false) });
    tile.setName(person.name);
    person.tiles.push(tile);
    return tile;
  }

  /** The first picture and all sound go to a person's tile; each further picture has a tile of its own. */
  #addTrack(person, { track, receiver }) {
    const [first] = person.tiles;
    const show = () => {
      if (track.kind === 'audio') {
        person.level?.stop();
        Object.assign(person, { receiver, level: new Level(track) });
        return first.setTrack('audio', track);
      }
      const taken = first.stream.getVideoTracks().find(one => one !== track && !one.muted && one.readyState === 'live');
      if (!taken) first.setTrack('video', track);
      else if (!person.tiles.some(tile => tile.stream.getTracks().includes(track))) {
        const tile = this.#addTile(person);
        tile.setTrack('video', track);
        tile.setMedia({ camera: true });
        tile.setState(person.peer.state, null, '');
      }
      this.#showMedia(person);
    };
    if (track.kind === 'audio' || !track.muted) show();
    if (track.kind === 'audio') return;
    track.addEventListener('unmute', show);
    track.addEventListener('mute', () => this.#showMedia(person));
  }

  #dropTrack(person, track) {
    for (const tile of person.tiles) {
      if (!tile.stream.getTracks().includes(track)) continue;
      tile.stream.removeTrack(track);
      if (tile === person.tiles[0]) continue;
      person.tiles = person.tiles.filter(other => other !== tile);
      tile.remove();
    }
    this.#showMedia(person);
  }

  /** What a page tells of itself counts; of others, what arrives. */
  #showMedia(person) {
    const [tile] = person.tiles;
    const flows = tile.stream.getVideoTracks().some(track => !track.muted && track.readyState === 'live');
    const { mic = true, camera = flows, sharing = false } = person.media ?? {};
    tile.setMedia({ mic, camera: camera && flows, sharing });
  }

  #showPeer(person) {
    const { peer } = person;
    const { state, path, why } = peer;
    if (state === 'closed') return this.#part(person);
    const words = t(state === 'failed' ? `failed.${why}` : path ?? state);
    person.tiles.forEach((tile, index) => tile.setState(state, path, index ? '' : words, state === 'failed'));
    if (state === 'connected') {
      if (person.isPage && !peer.polite && !peer.channels.some(({ label }) => label === PAGE_LABEL)) peer.open(PAGE_LABEL);
      this.#tune();
    }
    const isNews = person.shown !== state && [state, person.shown].some(one => one === 'failed' || one === 'reconnecting');
    if (isNews) announce(`${person.name}: ${words}`);
    person.shown = state;
  }

  #part(person) {
    if (!this.#people.delete(person.peer.id)) return;
    this.#drop(person);
    if (person.told) this.#happened(t('left', { name: person.name }));
    this.#count();
    this.#tune();
  }

  #drop(person) {
    person.level?.stop();
    person.tiles.forEach(tile => tile.remove());
  }

  #happened(text) {
    announce(text);
    showNote(text);
  }

  #count() {
    by('people-count').textContent = t('peopleCount', { n: this.#people.size + 1 });
  }

  /** Tells another page who we are. */
  #introduce(peer) {
    if (!PAGE_ID.test(peer.id) || peer.state === 'closed') return;
    peer.send(JSON.stringify({ name: me.name || t('guest'), ...media() }), PAGE_LABEL);
  }

  #introduced(person, text) {
    const told = JSON.parse(text);
    const name = plain(told.name).slice(0, NAME_LENGTH);
    if (name && name !== person.name) {
      person.name = name;
      person.tiles.forEach(tile => tile.setName(name));
    }
    person.media = { mic: Boolean(told.mic), camera: Boolean(told.camera), sharing: Boolean(told.sharing) };
    this.#showMedia(person);
  }

  // What they say.

  #said(person, { label, data, relayed }) {
    if (label === PAGE_LABEL) {
      try {
        this.#introduced(person, data);
      } catch {
        // Not from a page like this one.
      }
    } else if (label !== FILE_LABEL) {
      const text = typeof data === 'string' ? data : `(${data.byteLength} B)`;
      this.#message({ from: person.peer.id, name: person.name, text, via: relayed ? 'server' : 'channel' });
    }
  }

  /** Relayed by somebody with whom there is no connection. */
  #stray({ from, label, data }) {
    if (this.client.peers.has(from) || label === PAGE_LABEL || typeof data !== 'string') return;
    this.#message({ from, name: this.#nameOf(from), text: data, via: 'server' });
  }

  #message(message) {
    showMessage(message);
    if (!by('chat').hidden) return;
    this.#unread += 1;
    by('unread').textContent = this.#unread;
    by('unread').hidden = false;
    announce(`${message.name}: ${message.text.slice(0, 200)}`);
  }

  #say(event) {
    event.preventDefault();
    const text = by('chat-input').value.trim();
    if (!text) return;
    by('chat-input').value = '';
    this.room.send(text);
    showMessage({ from: this.client.id, name: me.name || t('guest'), text, via: 'channel', self: true });
  }

  #offered(person, channel) {
    receiveFile(person.peer, channel, () => person.name, transfer => {
      announce(t('file.in', { name: person.name, size: transfer.title }));
      this.#openPanel('chat');
      transfer.element.querySelector('.accept').focus();
    });
  }

  #send(files) {
    const takers = [...this.#people.values()].filter(({ isPage, peer }) => isPage && peer.state === 'connected');
    if (takers.length === 0) return toast(t('noTakers'));
    this.#openPanel('chat');
    for (const file of files) for (const { peer, name } of takers) sendFile(peer, name, file);
  }

  // The controls.

  #controls() {
    by('chat-form').onsubmit = event => this.#say(event);
    by('file-input').onchange = () => {
      this.#send([...by('file-input').files]);
      by('file-input').value = '';
    };
    for (const panel of ['chat', 'stats']) {
      by(`${panel}-toggle`).onclick = () => this.#openPanel(by(panel).hidden ? panel : null);
    }
    for (const button of document.querySelectorAll('[data-closes]')) button.onclick = () => this.#openPanel(null);
    this.#listenTo('keydown', event => this.#key(event));
    by('record').hidden = !recordingType;
    by('record').onclick = () => this.#record();
    by('copy-diagnostics').onclick = () => copy(this.statistics.report({ media: media(), secure: isSecureContext }));
    by('server-retry').onclick = () => this.client.retry();
    by('invite-open').onclick = () => this.#invite();
    by('invite-close').onclick = () => by('invite-dialog').close();
    by('unmute-all').onclick = () => {
      by('unmute-all').hidden = true;
      playAll();
    };
    const drag = (type, hidden, action) => this.#listenTo(type, event => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      by('drop-hint').hidden = hidden;
      event.preventDefault();
      action?.([...event.dataTransfer.files]);
    });
    drag('dragover', false);
    drag('dragleave', true);
    drag('drop', true, files => this.#send(files));
    this.#listenTo('pagehide', () => this.client.close());
    this.#listenTo('pageshow', event => event.persisted && this.onLeft());
    this.#listenTo('beforeunload', event => {
      if (this.#recording || transfersRunning()) event.preventDefault();
    });
  }

  /** Escape closes what is open; arrows walk along the bar. */
  #key(event) {
    if (event.key === 'Escape' && !by('invite-dialog').open) this.#openPanel(null);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !event.target.closest?.('.bar')) return;
    const buttons = [...document.querySelectorAll('.bar button')].filter(button => !button.hidden && !button.disabled);
    buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length]?.focus();
  }

  /** One panel at a time. */
  #openPanel(name, focus = true) {
    for (const panel of ['chat', 'stats']) {
      by(panel).hidden = panel !== name;
      press(`${panel}-toggle`, panel === name);
    }
    this.statistics.visible = name === 'stats';
    // The focus does not stay in what is hidden.
    if (!name && focus && document.activeElement?.closest('[hidden]')) by('chat-toggle').focus();
    if (name !== 'chat') return;
    this.#unread = 0;
    by('unread').hidden = true;
    by('chat-log').scrollTop = by('chat-log').scrollHeight;
    if (focus && matchMedia('(pointer: fine)').matches) by('chat-input').focus();
  }

  #invite() {
    const code = qrSvg(by('invite-link').textContent);
    by('qr').hidden = !code;
    if (code) by('qr').replaceChildren(code);
    by('invite-local').hidden = !isLocal;
    by('invite-dialog').showModal();
  }

  #showServer() {
    const { state, why, retryAt } = this.client;
    const pill = by('server-state');
    const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
    const text = t({ connecting: state, online: 'connected' }[state] ?? `server.${state}`, { n: seconds, why: knows(`why.${why}`) ? t(`why.${why}`) : why });
    pill.querySelector('span').textContent = text;
    pill.dataset.state = state;
    by('server-retry').hidden = state === 'online' || state === 'connecting';
    return text;
  }

  async #record() {
    if (!this.#recording) {
      this.#recording = new Recording();
      press('record', true);
      by('record-state').hidden = false;
      announce(t('record'));
      return this.#every(250, () => this.#recording && (by('record-time').textContent = clock(this.#recording.length)));
    }
    const recording = this.#recording;
    this.#recording = null;
    press('record', false);
    by('record-state').hidden = true;
    const file = await recording.stop(this.name);
    by('recording-link')?.removeAttribute('id');
    const link = () => Object.assign(make('a', '', {}, file.name), { href: URL.createObjectURL(file), download: file.name });
    const first = Object.assign(link(), { id: 'recording-link' });
    showNote(t('recorded'), ' ', first);
    toast(t('recorded'), ' ', link());
    first.click();
  }

  // Sound and picture.

  #listen() {
    this.tile.hear(me.level && me.micOn ? me.level.value : 0);
    // Without a sound card the context never runs; then the packets have to tell.
    const runs = audioContext().state === 'running';
    for (const { level, receiver, tiles } of this.#people.values()) {
      tiles[0].hear((runs ? level?.value : receiver?.getSynchronizationSources()[0]?.audioLevel) ?? 0);
    }
  }

  /** The more people, the less for each. */
  #tune() {
    const others = Math.min(this.#people.size, BITRATES.length - 1);
    const most = me.screen ? 2_500_000 : BITRATES[others];
    for (const peer of this.client.peers.values()) {
      for (const sender of peer.connection?.getSenders() ?? []) {
        if (sender.track?.kind !== 'video') continue;
        const parameters = sender.getParameters();
        if (!parameters.encodings?.length || parameters.encodings[0].maxBitrate === most) continue;
        Object.assign(parameters.encodings[0], { maxBitrate: most, scaleResolutionDownBy: others > 2 && !me.screen ? 2 : 1 });
        sender.setParameters(parameters).catch(() => {});
      }
    }
  }
}

/** As much of the name as an id can have, and a mark. */
function pageId(name) {
  const plain = name.normalize('NFKD').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^-+|-+$/g, '').toLowerCase().slice(0, 32);
  const mark = Array.from(crypto.getRandomValues(new Uint8Array(4)), byte => (byte % 36).toString(36)).join('');
  return `${plain || 'guest'}~${mark}`;
}

function clock(ms) {
  return new Date(ms).toISOString().slice(ms < 3_600_000 ? 14 : 11, 19);
}
