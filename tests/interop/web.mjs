// Checks modules of the page that need no browser: the dictionary, SHA-256 and the QR codes. Says what is wrong and fails.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

globalThis.location = { host: 'example.test' };
const web = new URL('../../cli/web/', import.meta.url);
const source = name => readFileSync(new URL(name, web), 'utf8');

// Three texts for each key, with the same placeholders; every key that is named in the page has them.
const rows = /new Map\(`\n([^`]*)`/.exec(source('texts.js'))[1].trim().split('\n').map(line => line.trim().split('|'));
const holes = text => (text.match(/\{\w+\}/g) ?? []).sort().join();
for (const [key, ...texts] of rows) {
  assert.equal(texts.length, 3, key);
  for (const text of texts) assert.ok(text.trim() && holes(text) === holes(texts[0]), `${key}: ${text}`);
}
const keys = new Set(rows.map(([key]) => key));
assert.equal(keys.size, rows.length, 'a key is there twice');
const page = source('index.html');
for (const [, key] of page.matchAll(/data-t(?:-\w+)?="(\w+)"/g)) assert.ok(keys.has(key), `index.html: ${key}`);
for (const file of readdirSync(web).filter(name => name.endsWith('.js'))) {
  for (const [, key] of source(file).matchAll(/\bt\('([\w.-]+)'/g)) assert.ok(keys.has(key), `${file}: ${key}`);
  for (const [, id] of source(file).matchAll(/\bby\('([\w-]+)'\)/g)) {
    assert.ok(page.includes(`id="${id}"`) || id === 'recording-link', `${file}: no element ${id}`);
  }
}

// SHA-256, whole and in pieces of any length.
const { Sha256 } = await import(new URL('sha256.js', web));
for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_000]) {
  const bytes = randomBytes(length);
  const hash = new Sha256();
  for (let at = 0, step = 1; at < length; at += step, step = (step * 7) % 131) hash.update(bytes.subarray(at, at + step));
  assert.equal(hash.hex(), createHash('sha256').update(bytes).digest('hex'), `${length} bytes`);
}

// QR codes of each size. They were read back by zbarimg 0.23; what is compared here is the digest of the modules.
const { qr } = await import(new URL('qr.js', web));
const known = { 17: 'ce6ac487b9599451', 32: 'eff671a0a9379546', 53: 'edd8bae6af3c5da0', 78: '3f13e0b8dde29b9e', 106: '2ae4641ff7b411e9' };
for (const [length, digest] of Object.entries(known)) {
  const modules = qr('http://127.0.0.1:3000/#demo'.repeat(4).slice(0, Number(length)));
  const text = modules.map(row => row.map(Number).join('')).join('\n');
  assert.equal(createHash('sha256').update(text).digest('hex').slice(0, 16), digest, `a code of ${length} bytes`);
}
assert.equal(qr('a'.repeat(107)), null);
console.log('the modules of the page hold');
