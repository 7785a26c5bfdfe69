// Numbered messages over one data channel between two peers of libwebrtc in this process, which @roamhq/wrtc builds for
// node. Prints one JSON object.
'use strict'
const { RTCPeerConnection } = require('@roamhq/wrtc')
const { measure, options, receiver, throughLink } = require('./measure.cjs')

const BATCH = 64

async function main () {
  const offerer = new RTCPeerConnection()
  const answerer = new RTCPeerConnection()
  const channel = offerer.createDataChannel('bench')
  const receive = receiver()
  answerer.ondatachannel = ({ channel }) => {
    channel.binaryType = 'arraybuffer'
    channel.onmessage = ({ data }) => receive(data)
  }
  const opened = new Promise((resolve) => { channel.onopen = resolve })

  await offerer.setLocalDescription(await offerer.createOffer())
  await answerer.setRemoteDescription(await gathered(offerer, options.through[1]))
  await answerer.setLocalDescription(await answerer.createAnswer())
  await offerer.setRemoteDescription(await gathered(answerer, options.through[0]))
  await opened

  const message = new ArrayBuffer(options.bytes)
  const view = new DataView(message)
  let number = 0n
  // This build has no event for a low bufferedAmount. A turn is bounded, or the receiver would never get one.
  const pour = () => {
    for (let left = BATCH; left > 0; left--) {
      if (channel.bufferedAmount + message.byteLength > options.buffer) return setTimeout(pour, 1)
      view.setBigUint64(0, number++)
      channel.send(message)
    }
    setImmediate(pour)
  }
  pour()
  await measure(receive)
}

// The description with all candidates; with a port, with one: the link.
async function gathered (peer, port) {
  if (peer.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve()
    })
  }
  const { type, sdp } = peer.localDescription
  return { type, sdp: throughLink(sdp, port) }
}

main()
