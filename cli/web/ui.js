// What every part of the page needs, and the log of the chat. Whatever others wrote is text and stays text.
import { t } from './texts.js';

/** Older entries go, so that an evening of chatter does not fill the memory. */
const MOST_ENTRIES = 500;

export const by = id => document.getElementById(id);

/** Whether only this machine can use the page's link. */
export const isLocal = /^(localhost|127\.|\[::1\])/.test(location.host);

export function make(tag, className = '', data = {}, text = '') {
  const element = Object.assign(document.createElement(tag), { className, textContent: text });
  Object.assign(element.dataset, data);
  return element;
}

export function svg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** One of the symbols at the end of the page. */
export function icon(name) {
  const element = svg('svg', { 'aria-hidden': true, viewBox: '0 0 24 24' });
  element.append(svg('use', { href: `#i-${name}` }));
  return element;
}

/** A line of text without controls and overrides of direction. */
export function plain(text) {
  return String(text ?? '').replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '').trim();
}

/** Shows whether a button is pressed. */
export function press(id, on) {
  by(id).setAttribute('aria-pressed', on);
}

/** Says it to who cannot see it. */
export function announce(text) {
  by('announcer').textContent = text;
}

/** A message that goes by itself. */
export function toast(...content) {
  const element = make('p', 'toast');
  element.append(...content);
  by('toasts').append(element);
  setTimeout(() => element.remove(), content.length > 1 ? 60000 : 5000);
}

/** Copies a text, also where the browser has no clipboard for pages without https. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = Object.assign(make('textarea', 'unseen'), { value: text });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce(t('copied'));
  toast(t('copied'));
}

/** Shows a message; `via` is `channel` or `server`. */
export function showMessage({ from, name, text, via, self = false }) {
  const entry = make('article', 'message', { from, via, ...(self && { self: '' }) });
  const [head, time] = [make('header'), make('time')];
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' });
  head.append(make('bdi', '', {}, name), time);
  entry.append(head, Object.assign(make('p', 'message-text', {}, text), { dir: 'auto' }));
  append(entry);
}

/** Something that happened. */
export function showNote(...content) {
  const note = make('p', 'note');
  note.append(...content);
  append(note);
}

/** Adds to the log and keeps its end in sight, unless the reader looks at what was before. */
export function append(entry) {
  const log = by('chat-log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(entry);
  while (log.childElementCount > MOST_ENTRIES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}
