// A call of two pages in headless Firefox, a distribution's own: node firefox.mjs --url URL
//
// It prints `step …` lines and `passed` at the end. When something fails, standard error has what was expected and what
// the pages logged; the exit code is 1. puppeteer-core drives it (WebDriver BiDi, no geckodriver); playwright-core, which
// drives Chromium in page.mjs, knows only a Firefox of its own.
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { parseArgs } from 'node:util';

/** How long anything may take: generous, because a loaded machine is slow and not wrong. */
const PATIENCE_MS = 90_000;
const tools = process.env.ENISHI_TEST_TOOLS ?? `${homedir()}/.cache/enishi-tests`;
const require = createRequire(`${tools}/`);
const { values: options } = parseArgs({ options: { url: { type: 'string' } } });
const log = [];
let saidAt = 0;

function step(text) {
  saidAt = Date.now();
  console.log(`step ${text}`);
}

/** Asks a page again and again until the answer is true. */
async function until(what, page, probe, ...given) {
  step(what);
  const deadline = Date.now() + PATIENCE_MS;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await page.evaluate(probe, ...given);
      if (last) return;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() - saidAt > 5000) step(`${what} …`);
    await new Promise(again => setTimeout(again, 200));
  }
  throw new Error(`not in time: ${what}; last: ${JSON.stringify(last)}`);
}

async function arrive(browser, name) {
  const page = await browser.newPage();
  page.on('console', message => log.push(`${name}: ${message.text()}`));
  page.on('pageerror', error => log.push(`${name}: uncaught: ${error.message}`));
  await page.goto(`${options.url}/#demo`);
  await until(`${name} is in the lobby`, page, () => document.body.dataset.view === 'lobby' && document.getElementById('join').textContent);
  await page.evaluate(name => {
    document.getElementById('name').value = name;
    document.getElementById('join').click();
  }, name);
  await until(`${name} is in the room`, page, () => document.body.dataset.view === 'room');
  return page;
}

/** Whether the picture of somebody else changes from one question to the next. */
function moves() {
  const video = document.querySelector('.tile:not([data-self]) video');
  if (!video?.videoWidth) return false;
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 48);
  const now = context.getImageData(0, 0, 64, 48).data;
  const before = (window.seenBefore ??= now);
  return now.some((value, at) => Math.abs(value - before[at]) > 24);
}

step('starting Firefox');
const firefox = {
  browser: 'firefox',
  executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
  headless: true,
  timeout: PATIENCE_MS,
  protocolTimeout: PATIENCE_MS,
  extraPrefsFirefox: {
    'media.navigator.streams.fake': true,
    'media.navigator.permission.disabled': true,
    'media.autoplay.default': 0,
    'media.peerconnection.ice.loopback': true,
    'media.peerconnection.ice.obfuscate_host_addresses': false,
  },
};
const browser = await require('puppeteer-core').launch(firefox);
try {
  const [ann, ben] = [await arrive(browser, 'Ann'), await arrive(browser, 'Ben')];
  // Firefox draws only the page in front.
  for (const [page, who] of [[ben, 'Ben'], [ann, 'Ann']]) {
    await page.bringToFront();
    await until(`${who} is connected`, page, () => document.querySelector('.tile:not([data-self])')?.dataset.state === 'connected');
    await until(`${who} sees the other move`, page, moves);
  }
  await ann.evaluate(() => {
    if (document.getElementById('chat').hidden) document.getElementById('chat-toggle').click();
    document.getElementById('chat-input').value = 'hello from Firefox';
    document.getElementById('chat-input').form.requestSubmit();
  });
  await until('Ben reads it', ben, () => [...document.querySelectorAll('.message:not([data-self]) .message-text')].some(one => one.textContent === 'hello from Firefox'));
  console.log('passed');
} catch (error) {
  console.error(`${error.stack}\n${log.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
