// The same relay on Bun, whose WebSockets are uWebSockets'. Prints where it listens.
const clients = new Map()
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: (request, server) => (server.upgrade(request, { data: {} }) ? undefined : new Response('', { status: 426 })),
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: 1 << 20,
    backpressureLimit: 1 << 28,
    message(socket, text) {
      if (text.startsWith('4')) {
        // '40' enters, '42…' goes to all others.
        if (text.startsWith('40')) {
          socket.subscribe('all')
          return socket.send('40{"sid":"s"}')
        }
        return socket.publish('all', text)
      }
      const message = JSON.parse(text)
      if (message.type === 'register_request') {
        const own = message.data.client_id
        socket.data.own = own
        clients.set(own, socket)
        const answer = { success: true, client_id: own }
        return socket.send(JSON.stringify({ id: 'r', type: 'register_response', timestamp: message.timestamp, data: answer }))
      }
      clients.get(message.data.to_id)?.send(text)
    },
    close: (socket) => clients.delete(socket.data.own),
  },
})
console.log(`listening ${server.port}`)
