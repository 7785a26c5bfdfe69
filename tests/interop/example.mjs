// Runs the example of docs/browser.md in a headless Chromium, as a page of the server's own origin. A line of the standard
// input is typed into its input field; what its log shows is printed. `--signal` is the server, as `http://HOST:PORT`.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const tools = process.env.ENISHI_TEST_TOOLS ?? `${homedir()}/.cache/enishi-tests`;
const { chromium } = createRequire(`${tools}/`)('playwright-core');
const { values: options } = parseArgs({ options: { signal: { type: 'string' } } });

const guide = readFileSync(new URL('../../docs/browser.md', import.meta.url), 'utf8');
const whole = guide.slice(guide.indexOf('```html\n') + 8, guide.indexOf('\n```\n', guide.indexOf('```html\n')));
console.log(`lines ${whole.split('\n').length}`);

// The page is given by playwright, so that Chromium does not know that it comes from this machine.
const args = ['--no-sandbox', '--disable-gpu', '--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks'];
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, headless: true, args, timeout: 90_000 });
const page = await browser.newPage();
page.on('console', message => console.error(`console ${message.type()}: ${message.text()}`));
page.on('pageerror', error => console.log(`page error: ${error.message}`));
const url = `${options.signal}/example.html`;
await page.route(url, route => route.fulfill({ contentType: 'text/html', body: `<!doctype html>${whole}` }));
await page.exposeFunction('report', line => console.log(line));
await page.goto(url);
await page.evaluate(() => {
  const log = document.getElementById('log');
  let shown = 0;
  new MutationObserver(() => {
    const lines = log.textContent.split('\n').slice(0, -1);
    for (; shown < lines.length; shown++) window.report(`log ${lines[shown]}`);
  }).observe(log, { childList: true, characterData: true, subtree: true });
  for (const line of log.textContent.split('\n').slice(0, -1)) {
    shown += 1;
    window.report(`log ${line}`);
  }
});

for await (const text of createInterface({ input: process.stdin })) {
  await page.fill('#say', text);
  await page.press('#say', 'Enter');
}
await browser.close();
process.exit(0);
