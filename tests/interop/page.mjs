// The page in headless Chromium, one scenario a run: node page.mjs SCENARIO --url URL --shots FOLDER
//
// It prints `step …` lines (one at least every eight seconds), asks for what it cannot do itself (`ask stop-server`,
// `ask start-server`, `ask peer ARGUMENTS`, `ask say LINE`, `ask hear TEXT`, `ask end-peer`, `ask probe FILE`,
// `ask probe-records`), reads one line when that is done, and prints `passed` at the end. When something fails, standard
// error has what was expected, what each page logged, its diagnostics, and where a screenshot of it is; the exit code is 1.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

/** How long anything may take: generous, because a loaded machine is slow and not wrong. */
const PATIENCE_MS = 40_000;
const tools = process.env.ENISHI_TEST_TOOLS ?? `${homedir()}/.cache/enishi-tests`;
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const { values: options, positionals: [scenario] } = parseArgs({
  allowPositionals: true,
  options: { url: { type: 'string' }, shots: { type: 'string' } },
});
const scratch = mkdtempSync(join(tmpdir(), 'enishi-page-'));
mkdirSync(options.shots, { recursive: true });
const require = createRequire(`${tools}/`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const people = [];
let browser, doing = 'starting', saidAt = Date.now();

// What every scenario uses.

function step(text) {
  doing = text;
  saidAt = Date.now();
  console.log(`step ${text}`);
}

/** Has the test that started this do something. */
async function ask(wish) {
  step(wish);
  console.log(`ask ${wish}`);
  const { done } = await lines.next();
  if (done) throw new Error(`nobody did: ${wish}`);
}

function check(condition, what) {
  if (!condition) throw new Error(`not so: ${what}`);
}

/** Asks again and again until `probe` gives something true. */
async function until(what, probe) {
  step(what);
  const deadline = Date.now() + PATIENCE_MS;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() - saidAt > 5000) step(`${what} …`);
    await new Promise(again => setTimeout(again, 100));
  }
  throw new Error(`not in time: ${what}; last: ${JSON.stringify(last)}`);
}

/** 320x240, ten frames a second, a block that wanders over a gradient: cheap to encode, and never twice the same. */
function smallCamera() {
  const path = join(scratch, 'camera.y4m');
  const [width, height, frames] = [320, 240, 20];
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420\n`)];
  for (let frame = 0; frame < frames; frame++) {
    const y = Buffer.alloc(width * height), u = Buffer.alloc((width * height) / 4), v = Buffer.alloc((width * height) / 4);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const inside = Math.abs(column - 40 - frame * 12) < 30 && Math.abs(row - 120) < 45;
        y[row * width + column] = inside ? 225 : 40 + (row + column) / 5;
      }
    }
    u.fill(150);
    v.fill(110 + frame);
    parts.push(Buffer.from('FRAME\n'), y, u, v);
  }
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

async function launch({ mdns = false, devices = true, more = [] } = {}) {
  check(existsSync(executablePath), `${executablePath} is there: run tests/setup first`);
  step('starting the browser');
  // Chromium's sandbox refuses to run as root; loopback candidates let the tests run on a machine without a network.
  const args = ['--no-sandbox', '--disable-gpu', '--allow-loopback-in-peer-connection', '--autoplay-policy=no-user-gesture-required', ...more];
  if (devices) args.push('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-video-capture=${smallCamera()}`);
  if (!mdns) args.push('--disable-features=WebRtcHideLocalIpsWithMdns');
  browser = await require('playwright-core').chromium.launch({ executablePath, headless: true, args, timeout: 90_000 });
}

/** A person in a browser profile of their own, in the lobby. */
async function visit(name, { room = 'demo', before, ...settings } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', acceptDownloads: true, ...settings });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const person = { name, context, page, log: [] };
  people.push(person);
  page.on('console', message => person.log.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => person.log.push(`uncaught: ${error.stack}`));
  // Headless, nobody answers the dialog that asks where to save.
  await page.addInitScript(() => delete window.showSaveFilePicker);
  if (before) await page.addInitScript(before);
  await page.goto(`${options.url}/#${room}`);
  await page.waitForFunction(() => document.body.dataset.view === 'lobby' && document.getElementById('join').textContent);
  return person;
}

async function enter(person) {
  await person.page.fill('#name', person.name);
  await person.page.click('#join');
  await until(`${person.name} is in`, () => person.page.evaluate(() => document.body.dataset.view === 'room'));
  return person;
}

const arrive = async (name, settings) => enter(await visit(name, settings));

/** The tile in which somebody else is shown, by the name on it. */
const tile = (person, name) => person.page.locator('.tile:not([data-self])', { has: person.page.locator('.tile-name', { hasText: name }) }).first();

const connected = (person, name) => until(`${person.name} is connected with ${name}`, async () => (await tile(person, name).getAttribute('data-state', { timeout: 1000 })) === 'connected');

/** Pixels of a video, small, as the canvas has them. */
const pixels = locator => locator.locator('video').evaluate(video => {
  const canvas = new OffscreenCanvas(32, 24);
  const paint = canvas.getContext('2d', { willReadFrequently: true });
  paint.drawImage(video, 0, 0, 32, 24);
  return video.videoWidth ? [...paint.getImageData(0, 0, 32, 24).data] : [];
}, undefined, { timeout: 5000 });

/** Two pictures of somebody that differ in many places, and are not black. */
async function moves(person, name) {
  let first = null;
  await until(`${person.name} sees ${name} move`, async () => {
    const now = await pixels(tile(person, name));
    if (!now.some((value, at) => at % 4 < 3 && value > 60)) return false;
    first ??= now;
    return now.filter((value, at) => Math.abs(value - first[at]) > 24).length > 20;
  });
}

const marks = (person, name, mark) => until(`${person.name} sees ${name} ${mark}`, async () => (await tile(person, name).getAttribute(mark, { timeout: 1000 })) !== null);

const hears = (person, name) => marks(person, name, 'data-speaking');

async function say(person, text) {
  if (!(await person.page.locator('#chat').isVisible())) await person.page.click('#chat-toggle');
  await person.page.fill('#chat-input', text);
  await person.page.press('#chat-input', 'Enter');
}

const reads = (person, text) => until(`${person.name} reads ${text}`, () => person.page.evaluate(text => [...document.querySelectorAll('.message:not([data-self]) .message-text')].some(one => one.textContent === text), text));

async function chat(one, other, mark) {
  await say(one, `${mark} from ${one.name}`);
  await reads(other, `${mark} from ${one.name}`);
  await say(other, `${mark} <b>from</b> ${other.name}`);
  await reads(one, `${mark} <b>from</b> ${other.name}`);
}

const shot = async (person, name) => person.page.screenshot({ path: join(options.shots, `${name}.png`) });

const gone = (person, name) => until(`${name} is gone for ${person.name}`, async () => (await tile(person, name).count()) === 0);

/** No script error, and nothing that the policy of the page forbids. */
function clean(allowed = null) {
  for (const { name, log } of people) {
    const bad = log.filter(line => /^(error|uncaught)/.test(line) && !allowed?.test(line));
    check(bad.length === 0, `${name} logged no error, but ${bad.join(' | ')}`);
  }
}

// The scenarios.

const scenarios = {
  async two_pages() {
    await launch();
    const [ann, ben] = [await arrive('Ann'), await arrive('Ben')];
    await talk(ann, ben);
  },

  async hidden_addresses() {
    await launch({ mdns: true, devices: false });
    const nothing = { permissions: [] };
    const [ann, ben] = [await arrive('Ann', nothing), await arrive('Ben', nothing)];
    await connected(ann, 'Ben');
    await connected(ben, 'Ann');
    await chat(ann, ben, 'hello');
    const candidates = await ann.page.evaluate(() => [...enishi.client.peers.values()][0].connection.localDescription.sdp.match(/a=candidate.*/g));
    check(candidates.every(line => line.includes('.local')), `all addresses are hidden in ${candidates}`);
  },

  async four_pages() {
    await launch();
    const four = [];
    for (const name of ['Ann', 'Ben', 'Cleo', 'Dai']) four.push(await arrive(name));
    for (const one of four) for (const other of four) if (one !== other) await connected(one, other.name);
    for (const one of four.slice(0, 2)) for (const other of four) if (one !== other) await moves(one, other.name);
    await hears(four[3], 'Ann');
    check((await four[0].page.getAttribute('#grid', 'data-count')) === '4', 'four tiles');
    await say(four[0], 'good morning, everybody');
    await say(four[1], 'おはようございます');
    await reads(four[2], 'おはようございます');
    await reads(four[0], 'おはようございます');
    await shot(four[0], 'room-of-four');
    await four[0].page.emulateMedia({ colorScheme: 'dark' });
    await four[0].page.click('#stats-toggle');
    await until('the graphs have something to show', () => four[0].page.evaluate(() => [...document.querySelectorAll('.stats-peer dl')].filter(list => list.textContent).length === 3));
    await shot(four[0], 'room-of-four-statistics-dark');
    await four[0].page.click('#stats-toggle');
    await four[0].page.setViewportSize({ width: 390, height: 844 });
    await shot(four[0], 'room-of-four-phone');
    await fits(four[0]);
    // The others see at once that a tab was closed.
    await four[3].page.close({ runBeforeUnload: true });
    for (const one of four.slice(0, 3)) await gone(one, 'Dai');
  },

  async leaving() {
    await launch();
    const [ann, ben, cleo] = [await arrive('Ann'), await arrive('Ben'), await arrive('Cleo')];
    await connected(ann, 'Ben');
    await connected(ann, 'Cleo');
    await ben.page.click('#leave');
    let since = Date.now();
    await gone(ann, 'Ben');
    check(Date.now() - since < 5000, 'the button takes effect at once');
    check((await ben.page.getAttribute('body', 'data-view')) === 'lobby', 'Ben is in the lobby');
    since = Date.now();
    await cleo.page.goto('about:blank');
    await gone(ann, 'Cleo');
    check(Date.now() - since < 5000, 'pagehide takes effect at once');
    await enter(ben);
    await connected(ann, 'Ben');
    await moves(ann, 'Ben');
    clean();
  },

  async files() {
    await launch();
    const [ann, ben] = [await arrive('Ann'), await arrive('Ben', { before: () => (window.savesInOwnFolder = true) })];
    await connected(ann, 'Ben');
    await connected(ben, 'Ann');
    const buffer = randomBytes(5 << 20);
    const sha256 = bytes => createHash('sha256').update(bytes).digest('hex');
    const offer = async (name, bytes = buffer) => {
      await ann.page.setInputFiles('#file-input', { name, mimeType: 'application/octet-stream', buffer: bytes });
      await until(`Ben is offered ${name}`, () => ben.page.locator(`.transfer[data-file="${name}"][data-state=offered]`).count());
    };
    const reaches = (person, name, state) => until(`${name} is ${state} for ${person.name}`, () => person.page.locator(`.transfer[data-file="${name}"][data-state=${state}]`).count());
    const answer = (name, what) => ben.page.click(`.transfer[data-file="${name}"] .${what}`);

    await offer('whole.bin');
    const download = ben.page.waitForEvent('download');
    await answer('whole.bin', 'accept');
    await reaches(ben, 'whole.bin', 'done');
    await reaches(ann, 'whole.bin', 'done');
    check(sha256(readFileSync(await (await download).path())) === sha256(buffer), 'the file is the same');

    // Saved while it comes in: a folder of the page's own stands in for the one that a person would choose.
    await ben.page.evaluate(() => {
      window.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
    });
    await offer('stream.bin');
    await answer('stream.bin', 'accept');
    await reaches(ben, 'stream.bin', 'done');
    await reaches(ann, 'stream.bin', 'done');
    const stored = await ben.page.evaluate(async () => {
      const file = await (await (await navigator.storage.getDirectory()).getFileHandle('stream.bin')).getFile();
      const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
      return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, '0')).join('');
    });
    check(stored === sha256(buffer), 'the streamed file is the same');
    await ben.page.evaluate(() => delete window.showSaveFilePicker);

    await offer('empty.txt', Buffer.alloc(0));
    await answer('empty.txt', 'accept');
    await reaches(ann, 'empty.txt', 'done');

    await offer('declined.bin');
    await answer('declined.bin', 'decline');
    await reaches(ann, 'declined.bin', 'declined');

    // A receiver that takes nothing more keeps it under way until it is cancelled.
    await ben.page.evaluate(() => {
      window.showSaveFilePicker = async () => ({ createWritable: async () => ({ write: () => new Promise(() => {}), close() {}, abort: async () => {} }) });
    });
    await offer('cancelled.bin', Buffer.concat([buffer, buffer, buffer]));
    await answer('cancelled.bin', 'accept');
    await reaches(ann, 'cancelled.bin', 'active');
    await ann.page.click('.transfer[data-file="cancelled.bin"] .cancel');
    await reaches(ann, 'cancelled.bin', 'cancelled');
    await reaches(ben, 'cancelled.bin', 'cancelled');
    await chat(ann, ben, 'afterwards');
    await shot(ben, 'chat-and-files');
    clean();
  },

  async screen_share() {
    await launch({ more: ['--auto-select-desktop-capture-source=Entire screen'] });
    // A red canvas stands in for the screen: a machine without a display has none, and red is easy to know.
    const screen = () => {
      navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
        const paint = canvas.getContext('2d');
        let count = 0;
        setInterval(() => {
          paint.fillStyle = '#f00000';
          paint.fillRect(0, 0, 640, 360);
          paint.fillStyle = '#ffffff';
          paint.fillRect((count++ * 8) % 600, 300, 40, 40);
        }, 100);
        const stream = canvas.captureStream(10);
        window.screenTrack = stream.getVideoTracks()[0];
        return stream;
      };
    };
    const [ann, ben, cleo] = [await arrive('Ann', { before: screen }), await arrive('Ben'), await arrive('Cleo')];
    const red = async (person, wanted) => until(`${person.name} ${wanted ? 'sees the screen' : 'sees the camera again'}`, async () => {
      const [r, g, b] = (await pixels(tile(person, 'Ann'))).slice(4 * (32 * 4 + 16));
      return r !== undefined && (r > 180 && g < 70 && b < 70) === wanted;
    });
    for (const other of [ben, cleo]) await moves(other, 'Ann');
    const descriptions = () => ann.page.evaluate(() => [...enishi.client.peers.values()].map(peer => peer.connection.localDescription.sdp.length));
    const before = await descriptions();
    for (const ending of ['button', 'bar']) {
      await ann.page.click('#share-screen');
      for (const other of [ben, cleo]) {
        await red(other, true);
        await marks(other, 'Ann', 'data-sharing');
        await moves(other, 'Ann');
      }
      if (ending === 'button') await ann.page.click('#share-screen');
      // What the browser does when its own bar is used.
      else await ann.page.evaluate(() => {
        screenTrack.stop();
        screenTrack.dispatchEvent(new Event('ended'));
      });
      for (const other of [ben, cleo]) {
        await red(other, false);
        await moves(other, 'Ann');
        check((await tile(other, 'Ann').getAttribute('data-sharing')) === null, 'no mark of sharing is left');
      }
      check((await ann.page.getAttribute('#share-screen', 'aria-pressed')) === 'false', 'the button is up again');
    }
    check(String(before) === String(await descriptions()), 'nothing was negotiated anew');
    // And the screen that the browser itself has.
    await ben.page.click('#share-screen');
    await marks(cleo, 'Ben', 'data-sharing');
    await until('Cleo sees a picture as large as a screen', async () => (await tile(cleo, 'Ben').locator('video').evaluate(video => video.videoWidth)) > 320);
    await ben.page.click('#share-screen');
    await until('Cleo sees the camera of Ben again', async () => (await tile(cleo, 'Ben').locator('video').evaluate(video => video.videoWidth)) <= 320);
    await moves(cleo, 'Ben');
    clean();
  },

  async recording() {
    await launch();
    const [ann, ben] = [await arrive('Ann'), await arrive('Ben')];
    await moves(ann, 'Ben');
    await hears(ann, 'Ben');
    await ann.page.click('#record');
    const began = Date.now();
    await until('the timer has come to four seconds', async () => /0:0[4-9]/.test(await ann.page.textContent('#record-time')));
    const downloading = ann.page.waitForEvent('download');
    await ann.page.click('#record');
    const seconds = (Date.now() - began) / 1000;
    const download = await downloading;
    check(/\.(webm|mp4)$/.test(download.suggestedFilename()), `${download.suggestedFilename()} has the right ending`);
    const path = join(scratch, download.suggestedFilename());
    await download.saveAs(path);
    check(readFileSync(path).length > 10_000, 'there is something in it');
    const played = await ann.page.evaluate(async () => {
      const video = Object.assign(document.createElement('video'), { src: document.getElementById('recording-link').href, volume: 1 });
      document.body.append(video);
      const context = new AudioContext(), analyser = context.createAnalyser();
      context.createMediaElementSource(video).connect(analyser);
      const samples = new Float32Array(analyser.fftSize);
      let loudest = 0;
      const listening = setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one)), loudest);
      }, 20);
      await new Promise((done, failed) => {
        Object.assign(video, { onended: done, onerror: () => failed(new Error(video.error.message)) });
        video.play().catch(failed);
      });
      clearInterval(listening);
      const result = { duration: video.duration, at: video.currentTime, width: video.videoWidth, height: video.videoHeight, loudest };
      video.remove();
      return result;
    });
    step(`played ${JSON.stringify(played)} of ${seconds} s`);
    check(Math.abs(played.duration - seconds) < 1.5, `${played.duration} s is about ${seconds} s`);
    check(Math.abs(played.at - seconds) < 1.5, `it plays for ${played.at} s`);
    check(played.width === 1280 && played.height === 720, 'it has a picture');
    check(played.loudest > 0.01, `it can be heard: ${played.loudest}`);
    await ask(`probe ${path}`);
    clean();
  },

  async server_restart() {
    await launch();
    const [ann, ben] = [await arrive('Ann'), await arrive('Ben')];
    await connected(ann, 'Ben');
    await moves(ann, 'Ben');
    const server = (person, state) => until(`${person.name}'s server is ${state}`, async () => (await person.page.getAttribute('#server-state', 'data-state')) === state);
    await ask('stop-server');
    for (const one of [ann, ben]) await server(one, 'waiting');
    check(/\d/.test(await ann.page.textContent('#server-state')), 'the page says when it tries again');
    await moves(ann, 'Ben');
    await chat(ann, ben, 'without a server');
    await ask('start-server');
    for (const one of [ann, ben]) await server(one, 'online');
    await chat(ann, ben, 'with a server again');
    await moves(ben, 'Ann');
    check((await ann.page.locator('.tile').count()) === 2, 'nobody is shown twice');
    const cleo = await arrive('Cleo');
    for (const one of [ann, ben]) {
      await connected(one, 'Cleo');
      await moves(one, 'Cleo');
    }
    await chat(cleo, ben, 'newcomer');
    clean(/WebSocket connection|ERR_/);
  },

  async offline_and_back() {
    await launch();
    const ann = await visit('Ann');
    const line = await ann.context.newCDPSession(ann.page);
    await line.send('Network.enable');
    const loses = share => line.send('Network.emulateNetworkConditions', { offline: share === 100, latency: 1, downloadThroughput: -1, uploadThroughput: -1, packetLoss: share });
    // From the beginning, so that the connection's sockets are under it.
    await loses(0.01);
    await enter(ann);
    const ben = await arrive('Ben');
    await moves(ben, 'Ann');
    await loses(100);
    await until('Ben notices', async () => (await tile(ben, 'Ann').getAttribute('data-state')) === 'reconnecting');
    await loses(0);
    await connected(ben, 'Ann');
    await connected(ann, 'Ben');
    await moves(ben, 'Ann');
    await moves(ann, 'Ben');
    await until('Ann is online', async () => (await ann.page.getAttribute('#server-state', 'data-state')) === 'online');
    await chat(ann, ben, 'back');
    check((await ben.page.locator('.tile').count()) === 2, 'nobody is shown twice');
    clean(/WebSocket connection|ERR_/);
  },

  async both_retry() {
    await launch();
    // A line to the server on which signals can be held, in their order.
    const line = () => {
      const { send } = WebSocket.prototype;
      Object.assign(window, { held: null, offers: 0 });
      WebSocket.prototype.send = function (text) {
        if (text.startsWith('{"type":"offer"')) offers++;
        if (held && !text.startsWith('{"type":"data"')) held.push(() => send.call(this, text));
        else send.call(this, text);
      };
    };
    const [ann, ben] = [await arrive('Ann', { before: line }), await arrive('Ben', { before: line })];
    for (const [one, other] of [[ann, ben], [ben, ann]]) {
      await connected(one, other.name);
      await one.page.evaluate(() => ([window.peer] = enishi.room.peers));
    }
    const both = action => Promise.all([ann, ben].map(({ page }) => page.evaluate(action)));
    const fail = async () => {
      await both(() => {
        peer.connection.close();
        peer.connection.dispatchEvent(new Event('connectionstatechange'));
      });
      for (const [one, other] of [[ann, ben], [ben, ann]]) await until(`${one.name} is offered to try again`, () => tile(one, other.name).locator('.tile-retry').isVisible());
    };
    const retry = () => both(() => document.querySelector('.tile:not([data-self]) .tile-retry').click());
    const again = async mark => {
      for (const [one, other] of [[ann, ben], [ben, ann]]) await connected(one, other.name);
      await chat(ann, ben, mark);
      for (const [one, other] of [[ann, ben], [ben, ann]]) await moves(one, other.name);
      const offers = await both(() => offers);
      check(Math.max(...offers) < 12, `negotiation comes to its end, not ${offers} offers`);
      clean();
    };

    check(await ann.page.evaluate(() => peer.polite), 'Ann gives way');
    await fail();
    await retry();
    await again('offers that crossed');

    // What Ben said before the call failed arrives after both have begun anew.
    await ben.page.evaluate(() => {
      held = [];
      peer.connection.restartIce();
    });
    await until('Ben has offered on the old connection', () => ben.page.evaluate(() => held.length > 0));
    await fail();
    await ben.page.evaluate(() => (window.before = offers));
    await retry();
    await until('both have offered anew', async () => (await ben.page.evaluate(() => offers > before)) && ann.page.evaluate(() => peer.connection.signalingState === 'have-local-offer'));
    await ben.page.evaluate(() => {
      const line = held;
      held = null;
      line.forEach(send => send());
    });
    await again('an offer that came late');
  },

  async permission_denied() {
    await launch({ devices: false, more: ['--use-fake-device-for-media-stream'] });
    const ann = await visit('Ann', { permissions: [] });
    await until('the lobby says what is in the way', async () => (await ann.page.getAttribute('#device-notice', 'data-problem')) === 'denied');
    check(await ann.page.isVisible('#device-notice'), 'it is to be seen');
    check(/try again/i.test(await ann.page.textContent('#device-notice')), 'it says what to do');
    await shot(ann, 'lobby-denied');
    await enter(ann);
    const ben = await arrive('Ben', { permissions: ['camera', 'microphone'] });
    await moves(ann, 'Ben');
    await hears(ann, 'Ben');
    await chat(ann, ben, 'hello');
    check((await tile(ben, 'Ann').getAttribute('data-camera')) === 'off', 'Ben sees that there is no camera');
    check((await tile(ben, 'Ann').getAttribute('data-mic')) === 'off', 'nor a microphone');
    await ann.context.grantPermissions(['camera', 'microphone']);
    await ann.page.click('#camera');
    await moves(ben, 'Ann');
    clean();
  },

  async no_devices() {
    await launch({ devices: false, more: ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream=device-count=0'] });
    const ann = await visit('Ann', { before: () => (navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError'); }) });
    await until('the lobby says so', async () => (await ann.page.getAttribute('#device-notice', 'data-problem')) === 'none');
    await enter(ann);
    const ben = await arrive('Ben');
    await chat(ann, ben, 'hello');
    clean();
  },

  async terminal() {
    await launch();
    const ann = await arrive('Ann');
    await ask('peer --id terminal --room demo');
    await connected(ann, 'terminal');
    await ask('hear channel chat is open');
    await ask('say broadcast hello from the terminal');
    await reads(ann, 'hello from the terminal');
    await say(ann, 'hello from the page');
    await ask('hear hello from the page');
    await ask('end-peer');
    await gone(ann, 'terminal');
    clean();
  },

  async terminal_sends() {
    await launch();
    const ann = await arrive('Ann');
    await ask('peer --id terminal --room demo --video pattern --audio tone:440');
    await connected(ann, 'terminal');
    await moves(ann, 'terminal');
    await hears(ann, 'terminal');
    const loudest = () => tile(ann, 'terminal').locator('video').evaluate(async video => {
      window.ears ??= (() => {
        const context = new AudioContext(), analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
        context.createMediaStreamSource(new MediaStream(video.srcObject.getAudioTracks())).connect(analyser);
        return { context, analyser };
      })();
      const { context, analyser } = window.ears;
      const levels = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(levels);
      const at = levels.indexOf(Math.max(...levels));
      return { hertz: (at * context.sampleRate) / analyser.fftSize, decibels: levels[at] };
    });
    await until('the tone is heard at 440 Hz', async () => {
      const { hertz, decibels } = await loudest();
      step(`the loudest is ${Math.round(hertz)} Hz at ${Math.round(decibels)} dB`);
      return Math.abs(hertz - 440) < 8 && decibels > -60;
    });
    await shot(ann, 'room-with-terminal');
    await ask('end-peer');
    await gone(ann, 'terminal');
    clean();
  },

  async terminal_records() {
    await launch();
    const ann = await arrive('Ann');
    await ask('peer --id terminal --room demo --record RECORDS');
    await connected(ann, 'terminal');
    const sent = () => ann.page.evaluate(async () => {
      const stats = await [...enishi.client.peers.values()][0].connection.getStats();
      return [...stats.values()].filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video').reduce((sum, { framesSent }) => sum + framesSent, 0);
    });
    await until('forty frames have gone to the terminal', async () => (await sent()) >= 40);
    await ann.page.click('#leave');
    await ask('end-peer');
    await ask('probe-records');
    clean();
  },

  async accessible() {
    await launch();
    const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
    const ann = await visit('Ann');
    const ben = await arrive('Ben');
    const examine = async where => {
      for (const colorScheme of ['light', 'dark']) {
        step(`examining ${where}, ${colorScheme}`);
        await ann.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await ann.page.evaluate(axe);
        const { violations } = await ann.page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
        const found = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
        check(found.length === 0, `${where}, ${colorScheme}, has no serious finding, but ${found.join('\n')}`);
      }
    };
    await examine('lobby');
    await shot(ann, 'lobby-dark');
    await enter(ann);
    await connected(ann, 'Ben');
    await examine('room');
    if (!(await ann.page.isVisible('#chat'))) await ann.page.click('#chat-toggle');
    await chat(ann, ben, 'hello');
    await ben.page.setInputFiles('#file-input', { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('notes') });
    await until('a file is offered', () => ann.page.locator('.transfer .accept').isVisible());
    await examine('chat');
    await ann.page.click('#stats-toggle');
    await until('statistics are there', () => ann.page.locator('.stats-peer dl dd').count());
    await examine('statistics');
    await ann.page.click('#invite-open');
    await examine('invitation');
    await shot(ann, 'invitation-dark');
  },

  async keyboard() {
    await launch();
    const ben = await arrive('Ben');
    const ann = await visit('Ann');
    const { keyboard } = ann.page;
    const focus = () => ann.page.evaluate(() => document.activeElement.id);
    const walkTo = async (id, key = 'Tab') => {
      step(`walking to ${id}`);
      for (let steps = 0; steps < 40 && (await focus()) !== id; steps++) await keyboard.press(key);
      check((await focus()) === id, `${id} is reached by ${key}, but the focus is on ${await focus()}`);
      const outlined = await ann.page.evaluate(() => {
        const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement);
        return outlineStyle !== 'none' || boxShadow !== 'none';
      });
      check(outlined, `the focus on ${id} is visible`);
    };
    await walkTo('name');
    await keyboard.type('Ann');
    await keyboard.press('Enter');
    await connected(ann, 'Ben');
    await walkTo('mic');
    await keyboard.press('Space');
    await until('Ben sees the mute', async () => (await tile(ben, 'Ann').getAttribute('data-mic')) === 'off');
    await walkTo('camera', 'ArrowRight');
    await keyboard.press('Space');
    await until('Ben sees the camera go', async () => (await tile(ben, 'Ann').getAttribute('data-camera')) === 'off');
    await keyboard.press('Escape');
    await walkTo('chat-toggle');
    if ((await ann.page.getAttribute('#chat-toggle', 'aria-pressed')) === 'false') await keyboard.press('Enter');
    await walkTo('chat-input', 'Shift+Tab');
    await keyboard.type('typed');
    await keyboard.press('Enter');
    await reads(ben, 'typed');
    await say(ben, 'heard');
    await until('a screen reader would say it', async () => (await ann.page.textContent('[aria-live]#chat-log, #chat-log')).includes('heard'));
    await walkTo('leave');
    await keyboard.press('Enter');
    await gone(ben, 'Ann');
    check((await ann.page.getAttribute('body', 'data-view')) === 'lobby', 'Ann is in the lobby');
    clean();
  },

  async languages() {
    await launch();
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
    for (const [locale, lang, join, settings] of [['ja-JP', 'ja', '参加する', phone], ['zh-CN', 'zh', '加入', phone], ['en-GB', 'en', 'Join', phone], ['fr-FR', 'en', 'Join', {}]]) {
      const person = await visit('Ann', { locale, ...settings });
      check((await person.page.textContent('#join')) === join, `${locale} has ${join}`);
      check((await person.page.getAttribute('html', 'lang')) === lang, `${locale} is marked ${lang}`);
      const empty = await person.page.evaluate(() => [...document.querySelectorAll('[data-t]')].filter(one => !one.textContent.trim()).map(one => one.dataset.t));
      check(empty.length === 0, `${locale} lacks ${empty}`);
      await until('the camera shows', () => person.page.evaluate(() => document.getElementById('preview').videoWidth > 0));
      await until('the meter moves', () => person.page.evaluate(() => document.getElementById('mic-level').value > 0.1));
      await fits(person);
      await shot(person, settings === phone ? `lobby-phone-${lang}` : 'lobby');
      if (lang === 'ja') {
        await enter(person);
        await fits(person);
        await shot(person, 'room-phone-ja');
        await person.page.click('#chat-toggle');
        await fits(person);
        await shot(person, 'chat-phone-ja');
      }
      await person.context.close();
    }
    people.length = 0;
  },
};

/** Picture, sound and chat both ways. */
async function talk(one, other) {
  await connected(one, other.name);
  await connected(other, one.name);
  for (const [from, to] of [[one, other], [other, one]]) {
    await moves(from, to.name);
    await hears(from, to.name);
  }
  await chat(one, other, 'hello');
  check((await tile(one, other.name).getAttribute('data-path')) === 'direct', 'the path is direct');
  clean();
}

/** Nothing is wider than the screen. */
async function fits({ page, name }) {
  const wider = await page.evaluate(() => [...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && !one.closest('.unseen, video, pre, code, svg') && one.getBoundingClientRect().right > innerWidth + 1).map(one => `${one.tagName}#${one.id}.${one.className}`));
  check(wider.length === 0, `everything of ${name} fits, but ${wider}`);
}

async function explain(error) {
  console.error(`${scenario} failed while "${doing}": ${error.stack}`);
  for (const { name, page, log } of people) {
    for (const line of log) console.error(`${name} logged ${line}`);
    const path = join(options.shots, `failed-${scenario}-${name}.png`);
    const unless = { timeout: 5000 };
    await page.screenshot({ path, ...unless }).then(() => console.error(`${name} looks like ${path}`), () => {});
    const state = page.evaluate(() => JSON.stringify({
      tiles: [...document.querySelectorAll('.tile')].map(({ dataset, innerText }) => ({ ...dataset, innerText })),
      server: document.getElementById('server-state').dataset.state,
      lobby: document.getElementById('lobby-error').textContent,
      peers: [...(window.enishi?.client.peers.values() ?? [])].map(({ id, state, why, connection }) => ({ id, state, why, connection: connection?.connectionState, ice: connection?.iceConnectionState })),
    }));
    await Promise.race([state.then(text => console.error(`${name} has ${text}`), () => {}), new Promise(over => setTimeout(over, 5000))]);
  }
}

const alive = setInterval(() => console.log(`step ${doing} …`), 8000);
let code = 0;
try {
  check(scenarios[scenario], `${scenario} is one of ${Object.keys(scenarios)}`);
  await scenarios[scenario]();
} catch (error) {
  code = 1;
  await explain(error);
}
clearInterval(alive);
await Promise.race([browser?.close(), new Promise(over => setTimeout(over, 5000))]);
rmSync(scratch, { recursive: true, force: true });
if (code === 0) console.log('passed');
process.exit(code);
