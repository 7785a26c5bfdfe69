// A relay on node's `ws`: conic's third generation between two, Socket.IO's broadcast among all. Prints where it listens.
'use strict'
const { WebSocketServer } = require('ws')

const clients = new Map()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, backlog: 4096 })
server.on('listening', () => console.log(`listening ${server.address().port}`))
server.on('connection', (socket) => {
  let own = null
  socket.on('message', (data) => {
    if (data[0] === 0x34) {
      // '40' enters, '42…' goes to all others.
      if (data[1] === 0x30) return socket.send('40{"sid":"s"}')
      for (const other of server.clients) if (other !== socket) other.send(data, { binary: false })
      return
    }
    const message = JSON.parse(data)
    if (message.type === 'register_request') {
      own = message.data.client_id
      clients.set(own, socket)
      const answer = { success: true, client_id: own }
      return socket.send(JSON.stringify({ id: 'r', type: 'register_response', timestamp: message.timestamp, data: answer }))
    }
    const target = clients.get(message.data.to_id)
    if (target) target.send(data, { binary: false })
  })
  socket.on('error', () => {})
  socket.on('close', () => clients.delete(own))
})
