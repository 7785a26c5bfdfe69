// Numbered messages over one data channel between two peers of libdatachannel in this process, which node-datachannel
// brings to node. Prints one JSON object.
'use strict'
const { PeerConnection } = require('node-datachannel')
const { measure, options, receiver, throughLink } = require('./measure.cjs')

async function main () {
  const offerer = new PeerConnection('offerer', { iceServers: [] })
  const answerer = new PeerConnection('answerer', { iceServers: [] })
  introduce(offerer, answerer, options.through[1])
  introduce(answerer, offerer, options.through[0])
  const receive = receiver()
  let incoming
  answerer.onDataChannel((channel) => {
    incoming = channel
    incoming.onMessage((data) => receive(data.buffer, data.byteOffset, data.byteLength))
  })
  const channel = offerer.createDataChannel('bench')
  await new Promise((resolve) => channel.onOpen(resolve))

  const message = Buffer.alloc(options.bytes)
  let number = 0n
  const pour = () => {
    while (channel.bufferedAmount() + message.length <= options.buffer) {
      message.writeBigUInt64BE(number++)
      channel.sendMessageBinary(message)
    }
  }
  channel.setBufferedAmountLowThreshold(options.buffer / 2)
  channel.onBufferedAmountLow(pour)
  pour()
  await measure(receive)
}

// Tells the other end what one end says; with a port, the link is the only candidate.
function introduce (peer, other, port) {
  peer.onLocalDescription((sdp, type) => other.setRemoteDescription(throughLink(sdp, port), type))
  peer.onLocalCandidate((candidate, mid) => port || other.addRemoteCandidate(candidate, mid))
}

main()
