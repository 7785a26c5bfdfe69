// The drawer: numbers and a small graph for each person, and the report for who is asked to help.
import { t } from './texts.js';
import { make } from './ui.js';

/** What the graphs show, in seconds. */
const HISTORY = 60;
const GRAPHS = [
  ['kbit/s', sample => sample.inKbps + sample.outKbps],
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
    const peers = [...this.client.peers.values()].map(({ id, state, why, path, polite, connection, channels }) => {
      const { iceConnectionState, connectionState, signalingState } = connection ?? {};
      const labels = channels.map(({ label, readyState }) => `${label} ${readyState}`);
      return { id, state, why, path, polite, iceConnectionState, connectionState, signalingState, labels, last: this.#rows.get(id)?.history.slice(-10) };
    });
    const { state, why, id, iceServers } = this.client;
    const servers = iceServers.flatMap(({ urls }) => urls);
    return JSON.stringify({ at: new Date(), browser: navigator.userAgent, server: { state, why }, id, iceServers: servers, peers, ...extra }, null, 2);
  }

  async #sample() {
    for (const [id, row] of this.#rows) {
      if (this.client.peers.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    for (const peer of this.client.peers.values()) {
      const row = this.#rows.get(peer.id) ?? this.#add(peer);
      const stats = await peer.stats().catch(() => null);
      if (!stats) continue;
      const now = performance.now();
      const { last } = row;
      row.last = { ...stats, now };
      if (!last) continue;
      // A connection that began anew counts from 0 again.
      const more = key => Math.max(0, stats[key] - last[key]);
      const kbps = key => Math.round((more(key) * 8) / (now - last.now));
      const { bytesSent, bytesReceived, lost, packets, ...sample } = stats;
      const loss = Math.round((1000 * more('lost')) / (more('lost') + more('packets') || 1)) / 10;
      Object.assign(sample, { inKbps: kbps('bytesReceived'), outKbps: kbps('bytesSent'), loss });
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
      rtt: sample.rtt === null ? '–' : `${Math.round(sample.rtt)} ms`,
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
