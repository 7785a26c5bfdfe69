// What every part of the page needs.
import { t } from './texts.js';

export const by = id => document.getElementById(id);

/** Says it to who cannot see it. */
export function announce(text) {
  by('announcer').textContent = text;
}

/** A message that goes by itself. */
export function toast(...content) {
  const element = document.createElement('p');
  element.className = 'toast';
  element.append(...content);
  by('toasts').append(element);
  setTimeout(() => element.remove(), content.length > 1 ? 60000 : 5000);
}

/** Copies a text, also where the browser has no clipboard for pages without https. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = Object.assign(document.createElement('textarea'), { value: text, className: 'unseen' });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce(t('copied'));
  toast(t('copied'));
}
