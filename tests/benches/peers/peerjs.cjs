// The PeerJS server as it comes, with room for as many clients as are wanted. Prints where it listens.
'use strict'
const { createServer } = require('node:http')
const express = require('express')
const { ExpressPeerServer } = require('peer')

const app = express()
const http = createServer(app)
app.use('/', ExpressPeerServer(http, { path: '/', key: 'peerjs', concurrent_limit: 100000, alive_timeout: 600000 }))
http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => console.log(`listening ${http.address().port}`))
