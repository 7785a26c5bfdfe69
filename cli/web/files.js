// Files from page to page, each over a data channel of its own, labelled `enishi.file`:
//
//   sender    {"type":"offer","name":"a.pdf","size":5242880,"mime":"application/pdf"}
//   receiver  {"type":"accept"} or {"type":"decline"}
//   sender    the bytes, in binary messages; receiver  {"type":"got","bytes":1048576} as it stores them
//   sender    {"type":"end","sha256":"…"}
//   receiver  {"type":"done"} if size and hash are right, else {"type":"broken"}
//
// Either side may say {"type":"cancel"} or just close the channel.
import { t } from './texts.js';
import { append, make, plain } from './ui.js';
import { Sha256 } from './sha256.js';

export const FILE_LABEL = 'enishi.file';

/** A message, and what may wait in the channel: enough for a fast path, little enough to cancel quickly. */
const CHUNK_BYTES = 65536, BUFFER_BYTES = 1 << 20, RESUME_BYTES = 1 << 18;
/** What may be under way without the receiver having stored it, and how often it tells. */
const WINDOW_BYTES = 1 << 23, TELL_EVERY_BYTES = 1 << 20;
/** Offers of one peer that may wait for an answer. */
const MOST_OFFERS = 8;
const OVER = ['done', 'failed', 'declined', 'cancelled'];

/** Offers a file to a peer. */
export function sendFile(peer, name, file) {
  const channel = peer.open(FILE_LABEL, { ordered: true });
  return new Transfer({ channel, peer, name, out: true, file, title: file.name, size: file.size });
}

/** Takes the offers that come on a peer's file channel. */
export function receiveFile(peer, channel, nameOf, onOffer) {
  channel.addEventListener('message', ({ data }) => {
    const offer = parse(data);
    const { size, mime } = offer;
    if (offer.type !== 'offer' || !Number.isSafeInteger(size) || size < 0) return channel.close();
    const waiting = document.querySelectorAll('.transfer[data-state=offered][data-direction=in]');
    if ([...waiting].filter(one => one.dataset.peer === peer.id).length >= MOST_OFFERS) return channel.close();
    onOffer(new Transfer({ channel, peer, name: nameOf(), out: false, title: safeName(offer.name), size, mime: safeMime(mime) }));
  }, { once: true });
}

/** Whether anything is under way that would be lost by leaving. */
export function transfersRunning() {
  return document.querySelector('.transfer[data-state=active]') !== null;
}

class Transfer {
  #channel;
  #moved = 0;
  #began = 0;
  #shownAt = 0;
  #hash = new Sha256();
  #work = Promise.resolve();
  #wake = null;
  #sink = null;
  #told = 0;

  constructor({ channel, peer, name, out, file, title, size, mime }) {
    Object.assign(this, { name, out, file, title, size, mime, state: 'offered' });
    this.#channel = channel;
    channel.bufferedAmountLowThreshold = RESUME_BYTES;
    channel.addEventListener('bufferedamountlow', () => this.#wake?.());
    channel.addEventListener('message', ({ data }) => this.#receive(data));
    channel.addEventListener('close', () => {
      this.#wake?.();
      // What has come is still being stored.
      this.#then(() => this.#end(this.state === 'offered' ? 'cancelled' : 'failed'));
    });
    this.#show(peer.id);
    if (out) {
      const offer = () => this.#say({ type: 'offer', name: file.name, size, mime: file.type });
      if (channel.readyState === 'open') offer();
      else channel.addEventListener('open', offer, { once: true });
    }
  }

  /** Takes the offer: asks where to save it, where the browser can. */
  async accept() {
    try {
      this.#sink = await openSink(this.title, this.mime);
    } catch (error) {
      // The person closed the dialog: the offer stays.
      if (error.name === 'AbortError') return;
      this.#sink = blobSink(this.title, this.mime);
    }
    if (this.state !== 'offered') return this.#sink.abort();
    this.#set('active');
    this.#say({ type: 'accept' });
  }

  decline() {
    this.#say({ type: 'decline' });
    this.#end('declined');
  }

  cancel() {
    this.#say({ type: 'cancel' });
    this.#end('cancelled');
  }

  #receive(data) {
    if (OVER.includes(this.state)) return;
    if (typeof data !== 'string') {
      if (!this.out && this.state === 'active') this.#then(() => this.#store(new Uint8Array(data)));
      return;
    }
    const { type, bytes, sha256 } = parse(data);
    const over = { cancel: 'cancelled', ...(this.out && { decline: 'declined', done: 'done', broken: 'failed' }) }[type];
    if (over) this.#end(over);
    else if (this.out && type === 'accept' && this.state === 'offered') this.#send();
    else if (this.out && type === 'got') this.#got(bytes);
    else if (!this.out && type === 'end') this.#then(() => this.#check(sha256));
  }

  /** One thing after the other; what fails ends it. */
  #then(action) {
    this.#work = this.#work.then(action).catch(() => this.#end('failed'));
  }

  async #send() {
    this.#set('active');
    try {
      let sent = 0;
      while (sent < this.size) {
        const block = new Uint8Array(await this.file.slice(sent, sent + BUFFER_BYTES).arrayBuffer());
        for (let at = 0; at < block.length; at += CHUNK_BYTES) {
          const chunk = block.subarray(at, at + CHUNK_BYTES);
          while (this.#channel.bufferedAmount > BUFFER_BYTES || sent - this.#moved > WINDOW_BYTES) {
            await new Promise(wake => (this.#wake = wake));
            if (this.state !== 'active') return;
          }
          if (this.state !== 'active') return;
          this.#hash.update(chunk);
          this.#channel.send(chunk);
          sent += chunk.length;
        }
        if (block.length === 0) throw new Error('the file became shorter');
      }
      this.#say({ type: 'end', sha256: this.#hash.hex() });
    } catch {
      this.cancel();
      this.#set('failed');
    }
  }

  #got(bytes) {
    if (!Number.isSafeInteger(bytes) || bytes > this.size) return;
    this.#moved = Math.max(this.#moved, bytes);
    this.#wake?.();
    this.#draw();
  }

  async #store(bytes) {
    if (this.state !== 'active') return;
    this.#moved += bytes.length;
    if (this.#moved > this.size) return this.#end('failed');
    this.#hash.update(bytes);
    await this.#sink.write(bytes);
    this.#draw();
    if (this.#moved - this.#told >= TELL_EVERY_BYTES || this.#moved === this.size) {
      this.#told = this.#moved;
      this.#say({ type: 'got', bytes: this.#moved });
    }
  }

  async #check(sha256) {
    if (this.state !== 'active') return;
    if (this.#moved !== this.size || this.#hash.hex() !== sha256) {
      this.#say({ type: 'broken' });
      return this.#end('failed');
    }
    const link = await this.#sink.close();
    this.#sink = null;
    this.#say({ type: 'done' });
    this.#end('done');
    if (!link) return;
    link.classList.add('saved');
    link.textContent = t('saveAgain');
    this.buttons.append(link);
    link.click();
  }

  #say(message) {
    if (this.#channel.readyState === 'open') this.#channel.send(JSON.stringify(message));
  }

  #end(state) {
    if (OVER.includes(this.state)) return;
    this.#set(state);
    this.#wake?.();
    this.#sink?.abort();
    this.#sink = null;
    // The last word has to leave before the channel goes.
    setTimeout(() => this.#channel.close(), 500);
  }

  #set(state) {
    this.state = state;
    if (state === 'active') this.#began = performance.now();
    this.element.dataset.state = state;
    const [accept, decline, cancel] = this.buttons.children;
    accept.hidden = decline.hidden = this.out || state !== 'offered';
    this.bar.hidden = state !== 'active';
    cancel.hidden = this.bar.hidden && !(this.out && state === 'offered');
    this.#draw(true);
  }

  #show(peerId) {
    this.element = make('section', 'transfer', { file: this.title, direction: this.out ? 'out' : 'in', peer: peerId });
    const title = Object.assign(make('strong', '', {}, this.title), { dir: 'auto' });
    this.line = make('span');
    this.bar = Object.assign(make('progress', 'progress'), { max: 1, value: 0 });
    this.bar.setAttribute('aria-label', this.title);
    this.buttons = make('div', 'buttons');
    for (const name of ['accept', 'decline', 'cancel']) {
      this.buttons.append(Object.assign(make('button', `${name} soft`, {}, t(name)), { onclick: () => this[name]() }));
    }
    this.element.append(title, this.line, this.bar, this.buttons);
    append(this.element);
    this.#set('offered');
  }

  /** At most ten times a second. */
  #draw(now = false) {
    const time = performance.now();
    if (!now && time - this.#shownAt < 100 && this.#moved < this.size) return;
    this.#shownAt = time;
    this.bar.value = this.size ? this.#moved / this.size : 1;
    const values = { name: this.name, size: bytesText(this.size), moved: bytesText(this.#moved), speed: bytesText((this.#moved / (time - this.#began)) * 1000 || 0) };
    this.line.textContent = t(`file.${this.state === 'offered' ? (this.out ? 'out' : 'in') : this.state}`, values);
  }
}

/** Saves while it comes, if the browser has a dialog for that. */
async function openSink(name, mime) {
  if (!window.showSaveFilePicker) return blobSink(name, mime);
  const handle = await window.showSaveFilePicker({ suggestedName: name });
  const stream = await handle.createWritable();
  return {
    write: bytes => stream.write(bytes),
    close: async () => void (await stream.close()),
    abort: () => void stream.abort().catch(() => {}),
  };
}

/** Keeps it and gives a link to save it. */
function blobSink(name, mime) {
  let parts = [];
  return {
    write: async bytes => void parts.push(bytes),
    close: async () => {
      const href = URL.createObjectURL(new Blob(parts, { type: mime }));
      parts = [];
      return Object.assign(document.createElement('a'), { href, download: name });
    },
    abort: () => (parts = []),
  };
}

function parse(data) {
  try {
    const message = JSON.parse(data);
    return message && typeof message === 'object' ? message : {};
  } catch {
    return {};
  }
}

/** A file name without a path, controls or overrides of direction. */
function safeName(name) {
  const clean = plain(name).split(/[\\/]/).pop().replace(/^\.+|[<>:"|?*]/g, '');
  return [...clean].slice(0, 120).join('').trim() || 'file';
}

/** Nothing that a browser would run if it were opened. */
function safeMime(mime) {
  return /^(image\/(png|jpeg|gif|webp)|audio\/[\w.+-]+|video\/[\w.+-]+|application\/(pdf|zip)|text\/plain)$/.test(mime) ? mime : 'application/octet-stream';
}

export function bytesText(bytes) {
  const units = ['B', 'kB', 'MB', 'GB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${(bytes / 1000 ** power).toFixed(power && bytes < 1e11 ? 1 : 0)} ${units[power]}`;
}
