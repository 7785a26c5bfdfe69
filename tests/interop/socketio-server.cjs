// An official server of Socket.IO with the article's application: node socketio-server.cjs 4|0.9
//
// Prints the URL that it listens at. `disconnected` is printed for each client that goes.
'use strict';

const http = require('node:http');
const path = require('node:path');

const tools = process.env.ENISHI_TEST_TOOLS || path.join(process.env.HOME, '.cache/enishi-tests');
const modules = path.join(tools, 'socketio/node_modules');
const server = http.createServer();
let io;
if (process.argv[2] === '0.9') {
  process.EventEmitter = require('node:events'); // where it was when 0.9 was written
  io = require(path.join(modules, 'server-09')).listen(server, { 'log level': 0 }).sockets;
} else {
  io = new (require(path.join(modules, 'server-4')).Server)(server);
}
io.on('connection', (socket) => {
  socket.on('message', (message) => socket.broadcast.emit('message', message));
  socket.on('disconnect', () => {
    console.log('disconnected');
    socket.broadcast.emit('user disconnected');
  });
});
server.listen(0, '127.0.0.1', () => console.log(`ws://127.0.0.1:${server.address().port}/`));
