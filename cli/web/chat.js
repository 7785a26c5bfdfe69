// The conversation. Whatever others wrote is text and stays text.
import { make } from './tiles.js';

/** Older entries go, so that an evening of chatter does not fill the memory. */
const MOST_ENTRIES = 500;

const log = document.getElementById('chat-log');

/** Shows a message; `via` is `channel` or `server`. */
export function showMessage({ from, name, text, via, self = false }) {
  const entry = make('article', 'message', { from, via });
  if (self) entry.dataset.self = '';
  const head = document.createElement('header');
  const who = document.createElement('bdi');
  who.textContent = name;
  const time = document.createElement('time');
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' });
  head.append(who, time);
  const body = make('p', 'message-text');
  body.dir = 'auto';
  body.textContent = text;
  entry.append(head, body);
  append(entry);
}

/** Something that happened. */
export function showNote(text) {
  const note = make('p', 'note');
  note.textContent = text;
  append(note);
}

/** Adds an entry and keeps the end in sight, unless the reader looks at older ones. */
export function append(entry) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(entry);
  while (log.childElementCount > MOST_ENTRIES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

export function clearChat() {
  log.replaceChildren();
}
