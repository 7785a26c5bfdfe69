// A conic-C peer in a page, for the interop tests. `say` and the query come from chromium.mjs.
const options = Object.fromEntries(new URLSearchParams(location.search));
const socket = new WebSocket(options.signal);
const connection = new RTCPeerConnection();
const early = [];
let target = options.target;
let sent = 0;

// A closing socket, a refused candidate, a lost channel: all of it should end the test with its reason.
addEventListener('error', event => say(`failed ${event.message}`));
addEventListener('unhandledrejection', event => say(`failed ${event.reason}`));

socket.onopen = () => send('register_request', { client_id: options.id });
socket.onclose = event => say(`signaling lost ${event.code} ${event.reason}`);
// Messages are handled one after the other, or a candidate could overtake the description it belongs to.
let queue = Promise.resolve();
socket.onmessage = event => {
  const { type, data } = JSON.parse(event.data);
  queue = queue.then(() => receive(type, data));
};

connection.onconnectionstatechange = () => say(`state ${connection.connectionState}`);
connection.ondatachannel = event => watch(event.channel);
connection.onicecandidate = ({ candidate }) => {
  if (!candidate) return;
  say(`candidate ${candidate.candidate}`);
  send('candidate', { from_id: options.id, to_id: target, candidate });
};

async function receive(type, data) {
  switch (type) {
    case 'register_response':
      if (!data.success || data.client_id !== options.id) throw new Error(`the server answered ${JSON.stringify(data)}`);
      if (options.media) {
        const { prepare } = await import('./media.js');
        await prepare(connection, options.media);
      }
      say(`registered ${data.client_id}`);
      if (options.role === 'offer') {
        watch(connection.createDataChannel(options.channel));
        await describe();
      }
      break;
    case 'sdp':
      target = data.from_id;
      say(`description ${data.session_description.type}`);
      await connection.setRemoteDescription(data.session_description);
      for (const candidate of early.splice(0)) await connection.addIceCandidate(candidate);
      if (data.session_description.type === 'offer') await describe();
      break;
    case 'candidate':
      if (connection.remoteDescription) await connection.addIceCandidate(data.candidate);
      else early.push(data.candidate);
      break;
    default:
      say(`ignored ${type}`);
  }
}

async function describe() {
  await connection.setLocalDescription();
  send('sdp', { from_id: options.id, to_id: target, session_description: connection.localDescription });
}

function watch(channel) {
  channel.onopen = () => {
    window.sendText = text => (options.media ? window.command(text) : channel.send(text));
    say(`open ${channel.label}`);
  };
  channel.onmessage = event => say(`got ${event.data}`);
  channel.onclose = () => say(`closed ${channel.label}`);
}

function send(type, data) {
  sent += 1;
  socket.send(JSON.stringify({ id: `${options.id}-${sent}`, type, timestamp: new Date().toISOString(), data }));
}
