// Sound and picture for conic.js: sends the fake camera and microphone, and tells what is seen, heard and played.
const SIZE = [64, 48];

/// Publishes what `mode` names (`camera`, `h264` or `watch`) and looks at whatever comes.
export async function prepare(connection, mode) {
  connection.ontrack = ({ track }) => {
    say(`track ${track.kind}`);
    if (track.kind === 'video') watch(track);
    else listen(track);
  };
  window.command = text => play(text.replace(/^play /, ''));
  if (mode === 'watch') return;
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } });
  for (const track of stream.getTracks()) connection.addTrack(track, stream);
  if (mode === 'h264') {
    const video = connection.getTransceivers().find(({ sender }) => sender.track.kind === 'video');
    // A name for a codec that is not ours: this Chromium may be built without H.264.
    const foreign = RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => /H264|VP9|AV1/.test(mimeType));
    video.setCodecPreferences(foreign);
  }
}

/// Two pixels of a picture: in the first and in the second square of a checkerboard.
function pixels(context, video) {
  context.drawImage(video, 0, 0, ...SIZE);
  return [4, 12].map(x => [...context.getImageData(x, 4, 1, 1).data].slice(0, 3).join('/')).join(' ');
}

function canvas() {
  const [width, height] = SIZE;
  return Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true });
}

/// Says every 30 frames how many a second there were, and every change of the picture's two pixels.
function watch(track) {
  const video = Object.assign(document.createElement('video'), { muted: true, srcObject: new MediaStream([track]) });
  document.body.append(video);
  const context = canvas();
  let [before, since, frames] = ['', performance.now(), 0];
  const see = now => {
    const seen = pixels(context, video);
    if (seen !== before) say(`pixels ${(before = seen)}`);
    frames += 1;
    if (frames === 30) {
      say(`rate ${((frames * 1000) / (now - since)).toFixed(1)}`);
      [since, frames] = [now, 0];
    }
    video.requestVideoFrameCallback(see);
  };
  video.requestVideoFrameCallback(see);
  video.play();
}

/// Says twice a second which tone is heard: the peak of 32768 samples, a parabola through it and its neighbours.
function listen(track) {
  // Without an element that plays it, Chromium does not pull remote sound.
  const stream = new MediaStream([track]);
  Object.assign(document.createElement('audio'), { muted: true, srcObject: stream }).play();
  const context = new AudioContext();
  const analyser = Object.assign(context.createAnalyser(), { fftSize: 32768, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(stream).connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount);
  setInterval(() => {
    analyser.getFloatFrequencyData(bins);
    let peak = 1;
    for (let bin = 1; bin < bins.length - 1; bin += 1) if (bins[bin] > bins[peak]) peak = bin;
    const [left, top, right] = bins.slice(peak - 1, peak + 2);
    if (!Number.isFinite(top) || top < -80) return say('silence');
    const shift = (left - right) / (2 * (left - 2 * top + right)) || 0;
    say(`hz ${(((peak + shift) * context.sampleRate) / analyser.fftSize).toFixed(1)}`);
  }, 500);
}

/// Plays a file of the folder to its end and decodes its sound.
async function play(name) {
  const bytes = await (await fetch(`/files/${name}`)).arrayBuffer();
  const url = URL.createObjectURL(new Blob([bytes], { type: 'video/webm' }));
  const video = Object.assign(document.createElement('video'), { muted: true, src: url });
  document.body.append(video);
  const context = canvas();
  const pictures = new Set();
  let frames = 0;
  const see = () => {
    frames += 1;
    context.drawImage(video, 0, 0, ...SIZE);
    pictures.add(context.getImageData(0, 0, ...SIZE).data.join());
    video.requestVideoFrameCallback(see);
  };
  video.requestVideoFrameCallback(see);
  const ended = new Promise((resolve, reject) => {
    video.onended = resolve;
    video.onerror = () => reject(new Error(video.error.message));
  });
  await video.play();
  await ended;
  const sound = await new AudioContext().decodeAudioData(bytes);
  const loudest = sound.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  say(`played ${JSON.stringify({ seconds: video.currentTime, frames, pictures: pictures.size, sound: sound.duration, loudest })}`);
}
