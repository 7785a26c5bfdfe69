// What the programs for node have in common: options, the receiver's count, the window.
'use strict'
const { parseArgs } = require('node:util')

const { values } = parseArgs({
  options: {
    bytes: { type: 'string', default: '16384' },
    buffer: { type: 'string', default: String(1 << 20) },
    'warm-up': { type: 'string', default: '1' },
    seconds: { type: 'string', default: '2' },
    // Ports on 127.0.0.1 of a link between the peers: the offerer's, the answerer's.
    through: { type: 'string', default: '' }
  }
})
const options = { bytes: +values.bytes, buffer: +values.buffer, through: values.through.split(',') }

const patience = setTimeout(() => {
  console.error('the peers have not connected within 30 s')
  process.exit(1)
}, 30_000)

// Counts messages, and those that are not the next.
function receiver () {
  const receive = (data, offset = 0, length = data.byteLength) => {
    const number = new DataView(data, offset).getBigUint64(0)
    if (number !== BigInt(receive.messages) || length !== options.bytes) receive.disordered++
    receive.messages++
  }
  return Object.assign(receive, { messages: 0, disordered: 0 })
}

// The description with one candidate instead of its own, if there is a link.
function throughLink (sdp, port) {
  if (!port) return sdp
  const lines = sdp.split('\r\n').filter((line) => line && !line.startsWith('a=candidate:'))
  return [...lines, `a=candidate:1 1 udp 2130706431 127.0.0.1 ${port} typ host`, ''].join('\r\n')
}

async function measure (receive) {
  clearTimeout(patience)
  await sleep(+values['warm-up'])
  const [start, cpu, already] = [performance.now(), process.cpuUsage(), receive.messages]
  await sleep(+values.seconds)
  // User and system, of all threads.
  const { user, system } = process.cpuUsage(cpu)
  const messages = receive.messages - already
  console.log(JSON.stringify({
    message_bytes: options.bytes,
    messages,
    disordered: receive.disordered,
    seconds: (performance.now() - start) / 1e3,
    megabytes: messages * options.bytes / 1e6,
    cpu_seconds: (user + system) / 1e6
  }))
  process.exit()
}

function sleep (seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1e3))
}

module.exports = { measure, options, receiver, throughLink }
