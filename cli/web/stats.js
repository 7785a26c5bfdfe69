// The drawer: numbers and a small graph for each person, and the report for who is asked to help.
import { t } from './texts.js';
import { make } from './ui.js';

/** What the graphs show, in seconds. */
const HISTORY = 60;
const GRAPHS = [
  ['bitrate', sample => sample.inKbps + sample.outKbps],
  ['rtt', sample => sample.rtt ?? 0],
  ['loss', sample => sample.loss],
  ['fps', sample => sample.fps ?? 0],
];

const list = document.getElementById('stats-peers');

/** Follows the connections of a client, once a second. */
export class Statistics {
  #rows = new Map();
  #timer;

  constructor(client, nameOf) {
    Object.assign(this, { client, nameOf, visible: false });
    this.#timer = setInterval(() => this.#sample(), 1000);
  }

  stop() {
    clearInterval(this.#timer);
    list.replaceChildren();
  }

  /** Everything that helps to understand a call, and no address, name or text. */
  report(extra) {
    const peers = [...this.client.peers.values()].map(peer => ({
      id: peer.id, state: peer.state, why: peer.why, path: peer.path, polite: peer.polite,
      ice: peer.connection?.iceConnectionState, dtls: peer.connection?.connectionState, signaling: peer.connection?.signalingState,
      channels: peer.channels.map(({ label, readyState, bufferedAmount }) => ({ label, readyState, bufferedAmount })),
      last: this.#rows.get(peer.id)?.history.slice(-10) ?? [],
    }));
    const { state, why, id, rooms, iceServers } = this.client;
    const servers = iceServers.flatMap(({ urls }) => urls);
    return JSON.stringify({ at: new Date().toISOString(), browser: navigator.userAgent, online: navigator.onLine, server: { state, why }, id, rooms: [...rooms.keys()], iceServers: servers, peers, ...extra }, null, 2);
  }

  async #sample() {
    const peers = [...this.client.peers.values()];
    for (const [id, row] of this.#rows) {
      if (this.client.peers.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    for (const peer of peers) {
      const row = this.#rows.get(peer.id) ?? this.#add(peer);
      const stats = await peer.stats().catch(() => null);
      if (!stats) continue;
      const now = performance.now();
      const { last } = row;
      row.last = { ...stats, now };
      if (!last || stats.bytesReceived < last.bytesReceived) continue;
      const seconds = (now - last.now) / 1000;
      const kbps = key => Math.max(0, Math.round(((stats[key] - last[key]) * 8) / 1000 / seconds));
      const [lost, got] = [Math.max(0, stats.lost - last.lost), Math.max(0, stats.packets - last.packets)];
      const { rtt, fps, width, height, local, remote, protocol } = stats;
      const sample = { rtt: rtt && Math.round(rtt * 10) / 10, fps, width, height, local, remote, protocol };
      Object.assign(sample, { inKbps: kbps('bytesReceived'), outKbps: kbps('bytesSent'), loss: lost + got ? Math.round((1000 * lost) / (lost + got)) / 10 : 0 });
      row.history.push(sample);
      row.history.splice(0, row.history.length - HISTORY);
      if (this.visible) this.#show(peer, row, sample);
    }
  }

  #add(peer) {
    const element = make('section', 'stats-peer', { peer: peer.id });
    const [title, canvas, numbers] = ['h3', 'canvas', 'dl'].map(tag => make(tag));
    canvas.setAttribute('role', 'img');
    element.append(title, canvas, numbers);
    list.append(element);
    const row = { element, title, canvas, numbers, history: [], last: null };
    this.#rows.set(peer.id, row);
    return row;
  }

  #show(peer, row, sample) {
    const path = [peer.path && t(peer.path), sample.local && `${sample.local} → ${sample.remote}`, sample.protocol].filter(Boolean);
    row.title.replaceChildren(make('bdi', '', {}, this.nameOf(peer)), make('span', '', {}, path.join(' · ')));
    const numbers = {
      rtt: sample.rtt === null ? '–' : `${sample.rtt} ms`,
      loss: `${sample.loss} %`,
      received: `${sample.inKbps} kbit/s`,
      sent: `${sample.outKbps} kbit/s`,
      fps: sample.fps === null ? '–' : String(Math.round(sample.fps)),
      picture: sample.width ? `${sample.width}×${sample.height}` : '–',
    };
    row.numbers.replaceChildren(...Object.entries(numbers).flatMap(([key, value]) => [make('dt', '', {}, t(key)), make('dd', '', {}, value)]));
    row.canvas.setAttribute('aria-label', Object.entries(numbers).map(([key, value]) => `${t(key)} ${value}`).join(', '));
    draw(row.canvas, row.history);
  }
}

/** Four small graphs beside each other, each scaled to its own highest value. */
function draw(canvas, history) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: wide, clientHeight: high } = canvas;
  if (canvas.width !== wide * scale) [canvas.width, canvas.height] = [wide * scale, high * scale];
  const paint = canvas.getContext('2d');
  const style = getComputedStyle(canvas);
  const color = name => style.getPropertyValue(name).trim();
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.clearRect(0, 0, wide, high);
  const width = wide / GRAPHS.length;
  GRAPHS.forEach(([key, valueOf], index) => {
    const left = index * width + 6;
    const values = history.map(valueOf);
    const most = Math.max(1, ...values);
    const [x, y] = [at => left + (at / (HISTORY - 1)) * (width - 12), value => high - 5 - (value / most) * (high - 24)];
    paint.fillStyle = color('--soft');
    paint.font = '10px system-ui, sans-serif';
    paint.fillText(t(key), left, 12, width - 12);
    paint.strokeStyle = color(key === 'loss' ? '--warn' : '--accent');
    paint.lineWidth = 1.5;
    paint.lineJoin = 'round';
    paint.beginPath();
    values.forEach((value, at) => paint.lineTo(x(HISTORY - values.length + at), y(value)));
    paint.stroke();
  });
}
