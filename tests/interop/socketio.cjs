// One client of Socket.IO: node socketio.cjs URL 4|2|0.9 websocket|polling|both, one of the official ones
//                           node socketio.cjs URL own websocket, the script that the server serves itself
//
// Each line of standard input is JSON that is sent as `message`; the end of input disconnects. What happens is printed
// a line each: `connect`, `transport NAME`, `message JSON`, `user disconnected`.
'use strict';

const path = require('node:path');
const readline = require('node:readline');
const vm = require('node:vm');

const [url, version, transport] = process.argv.slice(2);
const tools = process.env.ENISHI_TEST_TOOLS || path.join(process.env.HOME, '.cache/enishi-tests');
const modules = path.join(tools, 'socketio/node_modules');

const say = (...words) => console.log(words.join(' '));
const old = version === '0.9';
const names = {
  websocket: ['websocket'],
  polling: [old ? 'xhr-polling' : 'polling'],
  both: old ? ['websocket', 'xhr-polling'] : ['polling', 'websocket'],
}[transport];

async function load() {
  if (version !== 'own') return require(path.join(modules, { 4: 'client-4', 2: 'client-2', 0.9: 'client-09' }[version]));
  // A browser has one.
  const engine = require.resolve('engine.io-client', { paths: [path.join(modules, 'client-4')] });
  globalThis.WebSocket = require(require.resolve('ws', { paths: [path.dirname(engine)] }));
  const script = await (await fetch(`${url}/socket.io/socket.io.js`)).text();
  vm.runInThisContext(script);
  return globalThis.io;
}

load().then((client) => {
  if (old) client.transports = names; // its options would be merged with the defaults
  const options = { transports: names, reconnection: false, reconnect: false, 'force new connection': true };
  const socket = client.connect(url, options);

  socket.on('connect', () => {
    say('connect');
    if (old) {
      say('transport', socket.socket.transport.name);
    } else if (version === 'own') {
      say('transport websocket');
    } else {
      const engine = socket.io.engine;
      say('transport', engine.transport.name);
      engine.on('upgrade', (upgraded) => say('transport', upgraded.name));
    }
  });
  socket.on('message', (message) => say('message', JSON.stringify(message)));
  socket.on('user disconnected', (...args) => say(['user disconnected', ...args.map(String)].join(' ')));
  socket.on('disconnect', () => say('disconnect'));
  for (const name of ['error', 'connect_error', 'connect_failed']) {
    socket.on(name, (error) => say(name, error && error.message ? error.message : String(error)));
  }

  readline.createInterface({ input: process.stdin })
    .on('line', (line) => {
      const message = JSON.parse(line);
      if (old || version === 'own') socket.json.send(message); else socket.send(message);
    })
    .on('close', () => {
      socket.disconnect();
      setTimeout(() => process.exit(0), 300);
    });
});
