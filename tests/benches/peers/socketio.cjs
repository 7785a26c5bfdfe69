// socket.io 4 as its documentation shows it: a room a client, and a broadcast. Prints where it listens.
'use strict'
const { createServer } = require('node:http')
const { Server } = require('socket.io')

const http = createServer()
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, maxHttpBufferSize: 1 << 20 })
io.on('connection', (socket) => {
  const id = socket.handshake.auth.id
  if (id) socket.join(id)
  socket.on('signal', (message) => io.to(message.to).emit('signal', { from: id, data: message.data }))
  socket.on('message', (message) => socket.broadcast.emit('message', message))
})
http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => console.log(`listening ${http.address().port}`))
