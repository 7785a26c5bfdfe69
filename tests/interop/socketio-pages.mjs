// Pages of another origin as Socket.IO's clients, in headless Chromium: node socketio-pages.mjs http://HOST:PORT
//
// Three pages: our own script from the server with WebSocket, the official clients of 4 and of 0.9 with polling. Each
// line of standard input is `PAGE JSON`, sent from that page with `json.send` where it has that. Printed a line each:
// `PAGE connect`, `PAGE message JSON`, `PAGE user disconnected`. `close PAGE` closes a page.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';

const url = process.argv[2];
const tools = process.env.ENISHI_TEST_TOOLS ?? `${homedir()}/.cache/enishi-tests`;
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
if (!existsSync(executablePath) || !existsSync(`${tools}/socketio`)) {
  console.error(`no ${executablePath} or nothing in ${tools}/socketio: run tests/setup first`);
  process.exit(1);
}

const script = path => readFileSync(`${tools}/socketio/node_modules/${path}`);
const page = (source, options) => `<!doctype html><script src="${source}"></script><script>
  const socket = io.connect(${JSON.stringify(url)}, ${JSON.stringify(options)});
  socket.on('connect', () => say('connect'));
  socket.on('message', message => say('message ' + JSON.stringify(message)));
  socket.on('user disconnected', () => say('user disconnected'));
  window.sendMessage = message => socket.json ? socket.json.send(message) : socket.send(message);
</script>`;
const files = new Map([
  ['/own', page(`${url}/socket.io/socket.io.js`, {})],
  ['/four', page('/four.js', { transports: ['polling'], withCredentials: true })],
  ['/legacy', page('/legacy.js', { transports: ['xhr-polling'] })],
  ['/four.js', script('client-4/dist/socket.io.js')],
  ['/legacy.js', script('client-09/dist/socket.io.js')],
]);
const server = createServer((request, response) => {
  const file = files.get(request.url);
  response.writeHead(file ? 200 : 404, { 'content-type': request.url.endsWith('.js') ? 'text/javascript' : 'text/html' });
  response.end(file);
});
await new Promise(listening => server.listen(0, '127.0.0.1', listening));

const { chromium } = createRequire(`${tools}/`)('playwright-core');
const browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-gpu'], timeout: 90_000 });
const pages = new Map();
for (const name of ['own', 'four', 'legacy']) {
  const page = await browser.newPage();
  await page.exposeFunction('say', line => console.log(`${name} ${line}`));
  page.on('pageerror', error => console.error(`${name}: ${error.message}`));
  page.on('console', message => console.error(`${name}: ${message.text()}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/${name}`);
  pages.set(name, page);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, rest] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)];
  if (name === 'close') await pages.get(rest).close();
  else await pages.get(name).evaluate(message => window.sendMessage(message), JSON.parse(rest));
}
await browser.close();
process.exit(0);
