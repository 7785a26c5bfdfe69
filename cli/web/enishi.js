// Enishi's client library: a signaling session (enishi.v1), rooms, and a WebRTC connection with each peer.
// Types are in enishi.d.ts, a guide in docs/browser.md, the protocol in docs/protocol.md.
// One file, no dependency: copy it, or import it from a server as `/enishi.js`.

/** The channel that an offer opens; texts on it are what people say. */
const CHAT = 'chat';
/** Between the first attempts to reach the server again, and the longest pause, in ms. */
const RETRY_MS = 500, RETRY_MAX_MS = 8000;
/** How often the server is asked for a sign of life, and how long that may take. */
const PROBE_EVERY_MS = 15000, PROBE_WAIT_MS = 5000;
/** For an answer to an offer, before it is said again. */
const ANSWER_MS = 10000;
/** From `disconnected` to an ICE restart: many paths come back by themselves. The polite side leaves the other the first turn. */
const RESTART_AFTER_MS = 2500, POLITE_RESTART_AFTER_MS = 5000;
/** Between two ICE restarts, and from the first attempt to giving up. */
const RESTART_EVERY_MS = 6000, GIVE_UP_MS = 30000;
/** Most candidates that are kept for a description that has not come. */
const EARLY_CANDIDATES = 64;
/** Most messages that wait for the server. */
const WAITING_MESSAGES = 200;
const PROBE = 'enishi.probe';
/** Close codes after which it makes no sense to connect again by oneself. */
const FINAL_CODES = { 1002: 'protocol', 1003: 'protocol', 1007: 'protocol', 1008: 'refused', 1009: 'protocol', 4000: 'replaced' };

/** What went wrong, with the stable code of docs/protocol.md. */
export class EnishiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

class Emitter {
  #target = new EventTarget();

  /** Calls `listener` whenever `type` happens; call what is returned to stop that. */
  on(type, listener) {
    const heard = event => listener(event.detail);
    this.#target.addEventListener(type, heard);
    return () => this.#target.removeEventListener(type, heard);
  }

  emit(type, detail) {
    this.#target.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Connects to a signaling server and says hello; resolves when the server has welcomed us. */
export async function connect(options) {
  return new Client(options).ready;
}

/** A session with a signaling server, kept alive over lost connections and restarts of the server. */
export class Client extends Emitter {
  #socket = null;
  #resume = null;
  #received = 0;
  #welcomed = false;
  #attempts = 0;
  #timers = new Timers();
  #waiting = [];
  #refs = new Map();
  #nextRef = 1;
  #settle = null;
  #probed = 0;
  #ticked = Date.now();
  #ticking;
  #look = () => this.probe();

  id = null;
  limits = null;
  iceServers = [];
  /** `connecting`, `online`, `waiting` (until `retryAt`) or `closed` (because of `why`). */
  state = 'connecting';
  why = null;
  retryAt = null;
  rooms = new Map();
  peers = new Map();
  /** What is sent to everybody. */
  tracks = { audio: null, video: null };
  stream = new MediaStream();

  constructor(options = {}) {
    super();
    this.options = { url: `${location.origin.replace('http', 'ws')}/v1`, ...options };
    this.media = options.media;
    [this.ready, this.#settle] = promise();
    addEventListener('online', this.#look);
    document.addEventListener('visibilitychange', this.#look);
    this.#ticking = setInterval(() => this.#tick(), 1000);
    this.#open();
  }

  /** Enters a room and offers to everybody in it. Rejects if the server refuses. */
  join(name) {
    const known = this.rooms.get(name);
    if (known) return known.ready;
    const room = new Room(this, name);
    this.rooms.set(name, room);
    if (this.state === 'online') this.#askFor(room);
    return room.ready;
  }

  /** The connection with somebody; begins one if there is none. */
  peer(id) {
    return this.peers.get(id) ?? this.create(id, true);
  }

  /** Sends a text through the server, for those who have no channel (yet). */
  relay(to, text, label = CHAT) {
    this.send({ type: 'data', to, label, text }, true);
  }

  /** What everybody gets from now on: a track, or `null` for silence or darkness. */
  async setTrack(kind, track) {
    this.media = true;
    const old = this.tracks[kind];
    if (old) this.stream.removeTrack(old);
    if (track) this.stream.addTrack(track);
    this.tracks[kind] = track;
    await Promise.all([...this.peers.values()].map(peer => peer.putTrack(kind)));
  }

  /** Connects now instead of waiting for `retryAt`, or again after the session was closed. */
  retry() {
    if (this.state === 'online' || this.state === 'connecting') return;
    this.#attempts = 0;
    this.#open();
  }

  /** Leaves everything. Fit for `pagehide`: all that has to be said is said at once. */
  close() {
    if (this.state === 'online') this.send({ type: 'bye' });
    removeEventListener('online', this.#look);
    document.removeEventListener('visibilitychange', this.#look);
    clearInterval(this.#ticking);
    this.#end('left');
    for (const peer of [...this.peers.values()]) peer.close('left');
  }

  /** Finds out whether the server still hears us: after sleep, or when the network changed. */
  probe() {
    if (this.state === 'waiting' && navigator.onLine !== false) return this.retry();
    if (this.state !== 'online' || this.#probed) return;
    this.#probed = Date.now();
    this.send({ type: 'data', to: this.id, label: PROBE, text: '' });
  }

  /** Sends a message of enishi.v1; `keep` it for later if there is no server. */
  send(message, keep = false) {
    if (this.state === 'online' && this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(message));
    } else if (keep && this.#waiting.length < WAITING_MESSAGES) {
      this.#waiting.push(message);
    }
  }

  #open() {
    this.#drop();
    this.#set('connecting');
    const socket = (this.#socket = new WebSocket(this.options.url, 'enishi.v1'));
    this.#welcomed = false;
    socket.onopen = () => {
      const { id, token } = this.options;
      const resume = this.#resume ? { token: this.#resume, received: this.#received } : undefined;
      socket.send(JSON.stringify({ type: 'hello', id: this.id ?? id, token, resume }));
    };
    socket.onmessage = event => this.#receive(event.data);
    socket.onclose = event => this.#lost(event.code, event.reason);
    this.#timers.set('open', PROBE_WAIT_MS * 2, () => this.#lost(0, 'no answer'));
  }

  /** Forgets the socket; nothing that it still says counts. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #lost(code, reason) {
    this.#drop();
    this.#timers.clear('open');
    this.#probed = 0;
    const final = FINAL_CODES[code];
    if (final) return this.#end(this.why ?? final, reason);
    if (this.state === 'closed') return;
    const least = code === 1013 ? 4000 : RETRY_MS * 2 ** Math.min(this.#attempts, 4);
    this.#attempts += 1;
    const pause = Math.min(least, RETRY_MAX_MS) * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + pause;
    this.#timers.set('retry', pause, () => this.#open());
    this.#set('waiting', code === 1012 ? 'restarting' : 'unreachable');
  }

  #end(why, message = '') {
    this.#drop();
    this.#timers.clearAll();
    this.#settle.reject(new EnishiError(why, message));
    for (const room of this.rooms.values()) room.refuse(new EnishiError(why, message));
    this.#resume = null;
    this.#set('closed', why);
  }

  #set(state, why = null) {
    this.why = why;
    if (state !== 'waiting') this.retryAt = null;
    this.state = state;
    this.emit('state', { state, why, retryAt: this.retryAt });
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.#ticked > 5000;
    this.#ticked = now;
    if (this.#probed && now - this.#probed > PROBE_WAIT_MS && !slept) return this.#lost(0, 'silence');
    if (slept) this.#probed = 0;
    if (slept || now - this.heardAt > PROBE_EVERY_MS) this.probe();
  }

  #receive(text) {
    const message = JSON.parse(text);
    const { type } = message;
    if (this.#welcomed) this.#received += 1;
    this.heardAt = Date.now();
    this.#probed = 0;
    if (type === 'welcome') return this.#welcome(message);
    if (type === 'error') return this.#error(message);
    if (type === 'roster') return this.rooms.get(message.room)?.take(message);
    if (type === 'joined' || type === 'left') return this.rooms.get(message.room)?.changed(message);
    if (type === 'data') return this.#data(message);
    if (message.from === undefined || message.from === this.id) return;
    const peer = this.peers.get(message.from) ?? (type === 'offer' ? this.create(message.from, false) : null);
    peer?.signal(message);
  }

  #welcome({ id, resumeToken, resumed, limits, iceServers }) {
    this.#timers.clear('open');
    const again = this.id !== null;
    this.#received = resumed === 'no' ? 1 : this.#received + 1;
    [this.#welcomed, this.#resume, this.#attempts] = [true, resumeToken, 0];
    Object.assign(this, { id, limits, iceServers: this.options.iceServers ?? iceServers });
    this.#set('online');
    if (resumed === 'no') this.rooms.forEach(room => this.#askFor(room));
    this.#waiting.splice(0).forEach(message => this.send(message));
    if (again) this.peers.forEach(peer => peer.again());
    this.#settle.resolve(this);
  }

  #error({ code, message, to, ref }) {
    const error = new EnishiError(code, message);
    if (!this.#welcomed) {
      if (code === 'session-gone') {
        this.#resume = null;
        return this.#open();
      }
      // Our own half-dead connection may still have the name.
      if (code === 'name-taken' && this.id !== null) return this.#lost(0, message);
      return this.#end(code, message);
    }
    const room = this.#refs.get(ref);
    this.#refs.delete(ref);
    if (room) {
      this.rooms.delete(room.name);
      return room.refuse(error);
    }
    if (to !== undefined) this.peers.get(to)?.undelivered(code);
    this.emit('error', Object.assign(error, { to }));
  }

  #data({ from, label, text, base64 }) {
    if (from === this.id && label === PROBE) return;
    const data = text ?? Uint8Array.from(atob(base64 ?? ''), char => char.charCodeAt(0)).buffer;
    this.emit('data', { from, label: label || CHAT, data });
    this.peers.get(from)?.emit('message', { label: label || CHAT, data, relayed: true });
  }

  #askFor(room) {
    const ref = String(this.#nextRef++);
    this.#refs.set(ref, room);
    this.send({ type: 'join', room: room.name, ref });
  }

  create(id, ours) {
    const peer = new Peer(this, id, ours);
    this.peers.set(id, peer);
    this.emit('peer', peer);
    peer.begin();
    return peer;
  }

  isMember(id) {
    return [...this.rooms.values()].some(room => room.members.has(id));
  }
}

/** A room that we are in, or want to be in. */
export class Room extends Emitter {
  #settle = null;

  /** Everybody else's ids. */
  members = new Set();

  constructor(client, name) {
    super();
    Object.assign(this, { client, name });
    [this.ready, this.#settle] = promise();
  }

  /** The connections with those in it. */
  get peers() {
    return [...this.members].map(id => this.client.peers.get(id)).filter(Boolean);
  }

  /** Sends a text to everybody: through the channels that are open, else through the server. */
  send(text, label = CHAT) {
    for (const peer of this.peers) peer.send(text, label);
  }

  leave() {
    this.client.rooms.delete(this.name);
    this.client.send({ type: 'leave', room: this.name });
    for (const id of this.members) if (!this.client.isMember(id)) this.client.peers.get(id)?.close('left');
    this.members.clear();
  }

  refuse(error) {
    this.#settle.reject(error);
  }

  /** A roster: whoever gets one is the one to offer. */
  take({ peers }) {
    const before = this.members;
    this.members = new Set(peers);
    for (const id of before) if (!this.members.has(id)) this.#gone(id, 'gone');
    for (const id of peers) {
      const peer = this.client.peers.get(id) ?? this.client.create(id, true);
      peer.came(true);
      if (!before.has(id)) this.emit('joined', { id, peer });
    }
    this.#settle.resolve(this);
    this.emit('roster', peers);
  }

  changed({ type, id, why }) {
    if (type === 'joined') {
      this.members.add(id);
      const peer = this.client.peers.get(id) ?? this.client.create(id, false);
      peer.came(false);
      this.emit('joined', { id, peer });
    } else if (id === this.client.id) {
      this.client.rooms.delete(this.name);
    } else if (this.members.delete(id)) {
      this.#gone(id, why);
    }
  }

  #gone(id, why) {
    if (!this.client.isMember(id)) this.client.peers.get(id)?.gone(why);
    this.emit('left', { id, why });
  }
}

/** A WebRTC connection with somebody: perfect negotiation, trickle, restarts, channels and tracks. */
export class Peer extends Emitter {
  #pc = null;
  #ours;
  #makingOffer = false;
  #ignoring = false;
  #offeredAt = 0;
  #early = [];
  #work = Promise.resolve();
  #timers = new Timers();
  #slots = { audio: null, video: null };
  #absent = false;
  #trouble = 0;

  /** `connecting`, `connected`, `reconnecting`, `failed` (because of `why`) or `closed`. */
  state = 'connecting';
  why = null;
  /** `direct` or `relayed` once it is connected. */
  path = null;
  channels = [];
  /** What comes from the remote: `RTCTrackEvent`s that have not ended. */
  tracks = [];

  constructor(client, id, ours) {
    super();
    Object.assign(this, { client, id });
    this.#ours = ours;
  }

  /**
   * When two offers cross, the one whose id compares lower, byte for byte, gives way. Our ids are ASCII, so that the
   * order of UTF-16 is the same.
   */
  get polite() {
    return this.client.id < this.id;
  }

  /** The `RTCPeerConnection`. */
  get connection() {
    return this.#pc;
  }

  /** The open channel of a label; for `chat` any one that the other side opened in its stead. */
  channel(label = CHAT) {
    const open = this.channels.filter(({ readyState }) => readyState === 'open');
    return open.find(channel => channel.label === label) ?? open.find(channel => label === CHAT && !channel.label.startsWith('enishi.'));
  }

  /** Sends on the channel of this label; a text goes through the server while there is none. Whether it went directly. */
  send(data, label = CHAT) {
    const channel = this.channel(label);
    if (channel) channel.send(data);
    else if (typeof data === 'string') this.client.relay(this.id, data, label);
    else throw new EnishiError('no-channel', `there is no open channel ${label}`);
    return Boolean(channel);
  }

  /** Opens a further channel. */
  open(label, options) {
    return this.#keep(this.#pc.createDataChannel(label, options));
  }

  /** Starts over, after it failed. */
  retry() {
    this.#ours = true;
    this.begin();
  }

  /** Ends the connection. */
  close(why = 'closed') {
    if (this.state === 'closed') return;
    this.#timers.clearAll();
    this.#shut();
    if (this.client.peers.get(this.id) === this) this.client.peers.delete(this.id);
    this.#set('closed', why);
  }

  /** Counters of this moment; totals, in bytes, packets and ms. */
  async stats() {
    const report = await this.#pc?.getStats();
    const all = [...(report?.values() ?? [])];
    const transport = all.find(({ selectedCandidatePairId }) => selectedCandidatePairId);
    const pair = report?.get(transport?.selectedCandidatePairId) ?? all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    const [local, remote] = [report?.get(pair?.localCandidateId), report?.get(pair?.remoteCandidateId)];
    const stats = {
      rtt: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      bytesSent: pair?.bytesSent ?? 0,
      bytesReceived: pair?.bytesReceived ?? 0,
      lost: 0,
      packets: 0,
      fps: null,
      width: null,
      height: null,
      local: local?.candidateType ?? null,
      remote: remote?.candidateType ?? null,
      protocol: local?.protocol ?? null,
    };
    for (const entry of all.filter(({ type }) => type === 'inbound-rtp')) {
      stats.lost += entry.packetsLost ?? 0;
      stats.packets += entry.packetsReceived ?? 0;
      if (entry.framesDecoded) Object.assign(stats, { fps: entry.framesPerSecond ?? 0, width: entry.frameWidth, height: entry.frameHeight });
    }
    return stats;
  }

  // What follows is for `Client` and `Room`.

  /** A fresh connection, which offers if that is our part. */
  begin() {
    this.#shut();
    this.#timers.clearAll();
    this.#trouble = Date.now();
    const { iceServers, options: { iceTransportPolicy } } = this.client;
    const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy, bundlePolicy: 'max-bundle' });
    this.#pc = pc;
    const handlers = {
      negotiationneeded: () => this.#offer(pc),
      icecandidate: ({ candidate }) => this.#candidate(candidate),
      connectionstatechange: () => this.#changed(pc),
      datachannel: ({ channel }) => this.emit('channel', this.#keep(channel)),
      track: event => this.#track(event),
      signalingstatechange: () => pc.signalingState === 'stable' && this.#fillSlots(pc),
    };
    for (const [type, handler] of Object.entries(handlers)) pc.addEventListener(type, event => this.#pc === pc && handler(event));
    this.#set('connecting');
    this.#timers.set('give-up', GIVE_UP_MS, () => this.#giveUp('no-path'));
    if (this.#ours) {
      this.#keep(pc.createDataChannel(CHAT));
      this.#fillSlots(pc);
    } else {
      this.#timers.set('offer', ANSWER_MS, () => this.retry());
    }
  }

  /** A signal from this peer. They are handled one after the other. */
  signal(message) {
    this.#work = this.#work.then(() => this.#take(message)).catch(error => this.emit('warning', error));
  }

  /** They are in a room of ours, and by a roster it is for us to offer. */
  came(byRoster) {
    this.#absent = false;
    if (this.state === 'connecting' || this.state === 'connected') return;
    this.#ours = byRoster;
    this.begin();
  }

  /** They left our last common room. A connection that stands needs no server, unless they left on purpose. */
  gone(why) {
    this.#absent = true;
    if (why === 'left' || this.state !== 'connected') this.close(why);
  }

  /** What was signaled may be lost: says an offer again that got no answer. */
  again() {
    if (this.#pc?.signalingState === 'have-local-offer') this.#say('offer');
    else if (this.state === 'reconnecting') this.#restart();
  }

  /** The server could not deliver something. */
  undelivered(code) {
    if (!this.#absent && /^(no-such-peer|peer-away)$/.test(code)) this.#timers.set('again', 2000, () => this.again());
  }

  /** Sends the client's track of this kind from now on. */
  async putTrack(kind) {
    const slot = this.#slots[kind];
    if (slot) return slot.sender.replaceTrack(this.client.tracks[kind]).catch(error => this.emit('warning', error));
    if (this.#pc?.signalingState === 'stable' && this.#pc.remoteDescription) this.#fillSlots(this.#pc);
  }

  #shut() {
    const pc = this.#pc;
    if (!pc) return;
    this.#pc = null;
    // What a closed connection was asked for may never be answered.
    this.#work = Promise.resolve();
    for (const { track } of this.tracks.splice(0)) this.emit('trackended', track);
    this.channels = [];
    this.#early = [];
    this.#slots = { audio: null, video: null };
    this.#makingOffer = this.#ignoring = false;
    this.path = null;
    pc.close();
  }

  async #offer(pc) {
    this.#makingOffer = true;
    await pc.setLocalDescription().catch(error => this.emit('warning', error));
    this.#makingOffer = false;
    if (pc === this.#pc && pc.signalingState === 'have-local-offer') this.#say('offer');
  }

  /** Sends our present description. */
  #say(type) {
    const { sdp } = this.#pc.localDescription;
    this.client.send({ type, to: this.id, sdp });
    if (type !== 'offer') return;
    this.#offeredAt = Date.now();
    this.#timers.set('again', ANSWER_MS, () => this.again());
  }

  #candidate(candidate) {
    if (!candidate) this.client.send({ type: 'end-of-candidates', to: this.id });
    else if (candidate.candidate) this.client.send({ type: 'candidate', to: this.id, candidate: candidate.toJSON() });
  }

  async #take(message) {
    const { type } = message;
    if (this.state === 'closed') return;
    if (type === 'offer') return this.#takeOffer(message.sdp);
    const pc = this.#pc;
    if (type === 'answer' && this.#isOther(message.sdp)) {
      // They began anew, or what we took for their answer was to an offer before ours: what stands leads to nobody.
      this.#anew(true);
    } else if (type === 'answer' && pc?.signalingState === 'have-local-offer') {
      this.#timers.clear('again');
      if (await this.#apply(pc, { type, sdp: message.sdp })) await this.#takeEarly(pc);
    } else if (type === 'candidate') {
      await this.#takeCandidate(pc, message.candidate);
    } else if (type === 'restart') {
      if (pc?.signalingState === 'have-local-offer') this.#say('offer');
      else if (pc?.remoteDescription) pc.restartIce();
    }
  }

  async #takeOffer(sdp) {
    // The program behind this id was started anew, or its connection was given up here.
    if (!this.#pc || this.#isOther(sdp)) this.#anew(false);
    const pc = this.#pc;
    const collision = this.#makingOffer || pc.signalingState !== 'stable';
    this.#ignoring = collision && !this.polite;
    if (this.#ignoring) {
      if (Date.now() - this.#offeredAt > 3000 && pc.signalingState === 'have-local-offer') this.#say('offer');
      return;
    }
    this.#timers.clear('offer');
    this.#timers.clear('again');
    if (!(await this.#apply(pc, { type: 'offer', sdp }))) return;
    this.#adoptSlots(pc);
    await this.#takeEarly(pc);
    await pc.setLocalDescription();
    if (pc === this.#pc) this.#say('answer');
  }

  /** Whether a description is of another connection than the one we know: signals keep their order, so that it is a later one. */
  #isOther(sdp) {
    const known = this.#pc?.remoteDescription;
    return known && fingerprint(known.sdp) !== fingerprint(sdp);
  }

  /** Begins again because of a signal. Nothing hangs, and those behind it keep their turn. */
  #anew(ours) {
    const work = this.#work;
    this.#ours = ours;
    this.begin();
    this.#work = work;
  }

  /** Whether the connection took a remote description, and is still ours. */
  async #apply(pc, description) {
    try {
      await pc.setRemoteDescription(description);
    } catch (error) {
      this.emit('warning', error);
      if (pc === this.#pc && this.state === 'connecting') this.#giveUp('refused', error.message);
      return false;
    }
    return pc === this.#pc;
  }

  async #takeCandidate(pc, candidate) {
    if (!pc?.remoteDescription) {
      if (this.#early.length < EARLY_CANDIDATES) this.#early.push(candidate);
      return;
    }
    // Those of an offer that was ignored, or of a generation that is over, cannot be taken.
    await pc.addIceCandidate(candidate).catch(error => this.#ignoring || this.emit('warning', error));
  }

  async #takeEarly(pc) {
    for (const candidate of this.#early.splice(0)) await this.#takeCandidate(pc, candidate);
  }

  /**
   * The remote's offer has sections for sound and picture: what we send goes there. What an offer of ours that gave way
   * had prepared is offered again: Chromium asks for negotiation for ever if a transceiver without a section is stopped.
   */
  #adoptSlots(pc) {
    for (const kind of ['audio', 'video']) {
      const found = pc.getTransceivers().find(one => one.receiver.track.kind === kind && one.mid !== null && one.direction !== 'stopped');
      if (this.#slots[kind] || !found || !this.client.media) continue;
      found.direction = 'sendrecv';
      this.#fill(kind, found, false);
    }
  }

  /** A section of each kind that we can send in, so that later changes of track need no negotiation. */
  #fillSlots(pc) {
    if (!this.client.media || (!this.#ours && !pc.remoteDescription)) return;
    for (const kind of ['audio', 'video']) {
      const slot = this.#slots[kind];
      const deaf = slot && !slot.ours && /^(recvonly|inactive)$/.test(slot.transceiver.currentDirection ?? '');
      if (slot && !deaf) continue;
      this.#fill(kind, pc.addTransceiver(kind, { direction: 'sendrecv', streams: [this.client.stream] }), true);
    }
  }

  #fill(kind, transceiver, ours) {
    const { sender } = transceiver;
    this.#slots[kind] = { transceiver, sender, ours };
    if (!ours) sender.setStreams?.(this.client.stream);
    sender.replaceTrack(this.client.tracks[kind]).catch(error => this.emit('warning', error));
  }

  #keep(channel) {
    channel.binaryType = 'arraybuffer';
    this.channels.push(channel);
    const { label } = channel;
    channel.addEventListener('message', ({ data }) => this.emit('message', { label, data, relayed: false }));
    channel.addEventListener('open', () => this.emit('open', channel));
    channel.addEventListener('close', () => {
      this.channels = this.channels.filter(other => other !== channel);
    });
    if (channel.readyState === 'open') queueMicrotask(() => this.emit('open', channel));
    return channel;
  }

  #track(event) {
    const { track } = event;
    if (this.tracks.some(known => known.track === track)) return;
    this.tracks.push(event);
    track.addEventListener('ended', () => {
      this.tracks = this.tracks.filter(known => known.track !== track);
      this.emit('trackended', track);
    });
    this.emit('track', event);
  }

  async #changed(pc) {
    const state = pc.connectionState;
    if (state === 'connected') {
      for (const name of ['give-up', 'restart']) this.#timers.clear(name);
      this.#trouble = 0;
      const watched = pc.sctp?.transport;
      if (watched) watched.onstatechange = () => watched.state === 'closed' && this.#pc === pc && this.#hungUp();
      this.#set('connected');
      const { local, remote } = await this.stats();
      if (this.#pc !== pc || this.state !== 'connected') return;
      this.path = local === 'relay' || remote === 'relay' ? 'relayed' : 'direct';
      this.#set('connected');
    } else if (state === 'disconnected' || state === 'failed') {
      if (this.#absent) return this.close('gone');
      if (!this.#trouble) {
        this.#trouble = Date.now();
        this.#timers.set('give-up', GIVE_UP_MS, () => this.#giveUp('no-path'));
      }
      const patience = this.polite ? POLITE_RESTART_AFTER_MS : RESTART_AFTER_MS;
      const patient = state === 'disconnected' || this.polite;
      this.#timers.set('restart', patient ? patience : 0, () => this.#restart());
      // Before it stood once, it is still being made.
      this.#set(this.state === 'connecting' ? 'connecting' : 'reconnecting');
    } else if (state === 'closed') {
      this.#hungUp();
    }
  }

  #restart() {
    const pc = this.#pc;
    if (!pc || pc.connectionState === 'connected') return;
    if (this.client.state === 'online') {
      if (pc.signalingState === 'have-local-offer') this.#say('offer');
      else pc.restartIce();
    }
    this.#timers.set('restart', RESTART_EVERY_MS, () => this.#restart());
  }

  /** The other side closed the connection without leaving. */
  #hungUp() {
    if (this.#absent) return this.close('gone');
    // Who leaves the room hangs up first; the server tells us in a moment.
    this.#timers.set('hung-up', 1500, () => this.#giveUp('hung-up'));
  }

  #giveUp(why, message) {
    // Without a server nothing could be tried.
    if (this.client.state !== 'online' && this.client.state !== 'closed' && why === 'no-path') {
      return this.#timers.set('give-up', GIVE_UP_MS, () => this.#giveUp(why));
    }
    this.#timers.clearAll();
    this.#shut();
    this.#set('failed', why, message);
  }

  #set(state, why = null, message = null) {
    Object.assign(this, { state, why });
    this.emit('state', { state, why, message, path: this.path });
  }
}

/** Named timers: setting one again replaces it. */
class Timers {
  #running = new Map();

  set(name, ms, then) {
    this.clear(name);
    const timer = setTimeout(() => {
      this.#running.delete(name);
      then();
    }, ms);
    this.#running.set(name, timer);
  }

  clear(name) {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  clearAll() {
    for (const name of [...this.#running.keys()]) this.clear(name);
  }
}

/** A promise whose failure nobody has to hear, and how to settle it. */
function promise() {
  let settle;
  const made = new Promise((resolve, reject) => (settle = { resolve, reject }));
  made.catch(() => {});
  return [made, settle];
}

function fingerprint(sdp) {
  return /a=fingerprint:(\S+ \S+)/.exec(sdp)?.[1].toUpperCase();
}
