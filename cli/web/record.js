// Records what one sees and hears: the tiles on a canvas, all voices in a mix.
import { allTiles } from './tiles.js';
import { audioContext } from './media.js';

const WIDTH = 1280, HEIGHT = 720, FRAMES_PER_SECOND = 20;
/** Best first: small and playable nearly everywhere. */
const TYPES = ['video/webm;codecs=vp9,opus', 'video/webm;codecs=vp8,opus', 'video/webm', 'video/mp4;codecs=avc1.42E01F,mp4a.40.2', 'video/mp4'];

/** What this browser can record, if it can. */
export const recordingType = TYPES.find(type => window.MediaRecorder?.isTypeSupported(type));

export class Recording {
  #chunks = [];
  #recorder;
  #canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
  #mix = audioContext().createMediaStreamDestination();
  #heard = new Map();
  #drawing;
  #done;

  constructor() {
    const picture = this.#canvas.captureStream(FRAMES_PER_SECOND);
    const stream = new MediaStream([...picture.getVideoTracks(), ...this.#mix.stream.getAudioTracks()]);
    this.#recorder = new MediaRecorder(stream, { mimeType: recordingType, videoBitsPerSecond: 2_500_000 });
    this.#recorder.ondataavailable = ({ data }) => data.size && this.#chunks.push(data);
    this.#done = new Promise(done => (this.#recorder.onstop = done));
    this.#recorder.onerror = () => this.#recorder.state !== 'inactive' && this.#recorder.stop();
    this.#draw();
    this.#drawing = setInterval(() => this.#draw(), 1000 / FRAMES_PER_SECOND);
    this.#recorder.start(1000);
    this.began = performance.now();
  }

  /** Time so far, in ms. */
  get length() {
    return performance.now() - this.began;
  }

  /** Ends it: a file with the right extension. */
  async stop(title) {
    const length = this.length;
    if (this.#recorder.state !== 'inactive') this.#recorder.stop();
    await this.#done;
    clearInterval(this.#drawing);
    this.#heard.forEach(source => source.disconnect());
    this.#recorder.stream.getTracks().forEach(track => track.stop());
    const [container] = recordingType.split(';');
    const whole = new Blob(this.#chunks, { type: container });
    const blob = container === 'video/webm' ? await withDuration(whole, length) : whole;
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
    return new File([blob], `enishi-${title}-${stamp}.${container.split('/')[1]}`, { type: container });
  }

  #draw() {
    const tiles = allTiles();
    this.#listen(tiles);
    const paint = this.#canvas.getContext('2d', { alpha: false });
    paint.fillStyle = '#141318';
    paint.fillRect(0, 0, WIDTH, HEIGHT);
    const columns = Math.ceil(Math.sqrt(tiles.length));
    const rows = Math.ceil(tiles.length / columns);
    const [width, height] = [WIDTH / columns, HEIGHT / rows];
    tiles.forEach((tile, index) => {
      drawTile(paint, tile, (index % columns) * width, Math.floor(index / columns) * height, width, height);
    });
  }

  /** Everybody who came since the last time joins the mix. */
  #listen(tiles) {
    const tracks = tiles.flatMap(tile => tile.stream.getAudioTracks());
    for (const track of tracks.filter(track => !this.#heard.has(track))) {
      const source = audioContext().createMediaStreamSource(new MediaStream([track]));
      source.connect(this.#mix);
      this.#heard.set(track, source);
    }
    for (const [track, source] of this.#heard) {
      if (tracks.includes(track)) continue;
      source.disconnect();
      this.#heard.delete(track);
    }
  }
}

function drawTile(paint, tile, left, top, width, height) {
  const { video, label } = tile;
  paint.save();
  paint.beginPath();
  paint.rect(left + 4, top + 4, width - 8, height - 8);
  paint.clip();
  if (tile.element.dataset.camera === 'on' && video.videoWidth) {
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    const [wide, high] = [video.videoWidth * scale, video.videoHeight * scale];
    paint.drawImage(video, left + (width - wide) / 2, top + (height - high) / 2, wide, high);
  } else {
    paint.fillStyle = '#2a2731';
    paint.fillRect(left, top, width, height);
  }
  paint.font = '600 20px system-ui, sans-serif';
  paint.fillStyle = '#16141bcc';
  paint.fillRect(left + 14, top + height - 46, paint.measureText(label).width + 20, 32);
  paint.fillStyle = '#fff';
  paint.fillText(label, left + 24, top + height - 23);
  paint.restore();
}

/**
 * Writes the duration into a WebM file that was recorded live, so that players show it. Such a file begins with an
 * EBML head and a segment of unknown size, in which the element Info (RFC 9559, 5.1.2) has no Duration yet.
 */
async function withDuration(blob, ms) {
  const head = new Uint8Array(await blob.slice(0, 1024).arrayBuffer());
  const find = (...id) => head.findIndex((_, at) => id.every((byte, index) => head[at + index] === byte));
  const info = find(0x15, 0x49, 0xa9, 0x66) + 4;
  // How many bytes the size has is told by the zeros in front.
  const digits = Math.clz32(head[info]) - 23;
  const begin = info + digits;
  const size = [...head.slice(info + 1, begin)].reduce((sum, byte) => sum * 256 + byte, head[info] & (0xff >> digits));
  const isLive = find(0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) >= 0 && info > 3;
  if (!isLive || begin + size > head.length || find(0x44, 0x89, 0x88) >= 0) return blob;
  // Times are in ms: no browser writes another TimestampScale.
  const duration = new DataView(new ArrayBuffer(11));
  duration.setUint32(0, 0x44898800);
  duration.setFloat64(3, ms);
  const grown = new DataView(new ArrayBuffer(4));
  grown.setUint32(0, 0x10000000 | (size + 11));
  return new Blob([head.slice(0, info), grown, head.slice(begin, begin + size), duration, blob.slice(begin + size)], { type: blob.type });
}
