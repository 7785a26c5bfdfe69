// Runs conic.html in a headless Chromium as a conic-C peer; README.md has the lines it prints and reads.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const tools = process.env.ENISHI_TEST_TOOLS ?? `${homedir()}/.cache/enishi-tests`;
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const { values: options } = parseArgs({
  options: {
    signal: { type: 'string', default: 'ws://127.0.0.1:3000/ws' },
    role: { type: 'string', default: 'answer' },
    id: { type: 'string', default: 'page' },
    target: { type: 'string', default: '' },
    channel: { type: 'string', default: 'chat' },
    // Leave the page's addresses hidden behind .local names, as a browser does before it has camera permission.
    mdns: { type: 'boolean', default: false },
    // What media.js does: send the fake camera and microphone, with `h264` the picture in that codec alone.
    media: { type: 'string', default: '' },
    // A folder whose files the page may play.
    files: { type: 'string', default: '' },
  },
});

function playwright() {
  try {
    return createRequire(`${tools}/`)('playwright-core');
  } catch {
    console.error(`no playwright-core in ${tools}: run tests/setup first`);
    process.exit(1);
  }
}

if (!existsSync(executablePath)) {
  console.error(`no ${executablePath}: run tests/setup first`);
  process.exit(1);
}

const pages = new Map(['/conic.html', '/conic.js', '/media.js'].map(path => [path, readFileSync(new URL(`.${path}`, import.meta.url))]));
const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  if (options.files && path.startsWith('/files/')) return response.end(readFileSync(join(options.files, basename(path))));
  response.writeHead(pages.has(path) ? 200 : 404, { 'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/html' });
  response.end(pages.get(path));
});
await new Promise(listening => server.listen(0, '127.0.0.1', listening));

// Chromium's sandbox refuses to run as root; loopback candidates let the test run on a machine without a network.
const args = ['--no-sandbox', '--disable-gpu', '--allow-loopback-in-peer-connection'];
// Whoever may use a camera need not hide addresses, so only then.
if (options.media) args.push('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required');
if (!options.mdns) args.push('--disable-features=WebRtcHideLocalIpsWithMdns');
const browser = await playwright().chromium.launch({ executablePath, headless: true, args, timeout: 90_000 });
const page = await browser.newPage();
await page.exposeFunction('say', line => console.log(line));
page.on('console', message => console.error(`console ${message.type()}: ${message.text()}`));
page.on('pageerror', error => console.error(`page error: ${error.message}`));
const { mdns, files, ...query } = options;
await page.goto(`http://127.0.0.1:${server.address().port}/conic.html?${new URLSearchParams(query)}`);

for await (const text of createInterface({ input: process.stdin })) {
  await page.evaluate(text => window.sendText(text), text);
}
await browser.close();
process.exit(0);
