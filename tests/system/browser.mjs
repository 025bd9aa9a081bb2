// Drives the softphone page in Debian's Chromium as a person would, and listens to what it plays.
//
//   node browser.mjs answer|place BASE TOKEN SPEECH.wav FOLDER [NUMBER]
//
// Prints one JSON object per line: {"step": …} as it goes, at last {"step": "done", …}. What the
// page played is written to FOLDER/heard.f32 (mono floats) with its rate in the last line.
import { writeFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [mode, base, token, speech, folder, number] = process.argv.slice(2);
const say = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
    `--use-file-for-fake-audio-capture=${speech}`,
  ],
});
const context = await browser.newContext({ permissions: ['microphone'], colorScheme: mode === 'place' ? 'dark' : 'light' });
const page = await context.newPage();
const complaints = [];
page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
page.on('pageerror', (error) => complaints.push(String(error)));

process.on('uncaughtException', async (error) => {
  console.error(error, await page.evaluate(() => document.body.innerText), complaints);
  await page.screenshot({ path: `${folder}/failed.png`, fullPage: true });
  process.exit(1);
});

/** Collects what the page's audio element plays. */
function listenInPage() {
  const remote = document.getElementById('remote');
  const audio = new AudioContext({ sampleRate: 48000 });
  const source = audio.createMediaStreamSource(remote.srcObject);
  const tap = audio.createScriptProcessor(4096, 1, 1);
  window.heard = [];
  window.heardRate = audio.sampleRate;
  tap.onaudioprocess = (event) => window.heard.push(new Float32Array(event.inputBuffer.getChannelData(0)));
  source.connect(tap);
  tap.connect(audio.destination);
}

async function converse() {
  await page.waitForFunction(() => document.getElementById('remote').srcObject, null, { timeout: 15000 });
  await page.waitForFunction(() => document.getElementById('call-state').textContent.startsWith('Connected'), null, { timeout: 15000 });
  await page.evaluate(listenInPage);
  await page.screenshot({ path: `${folder}/${mode}-connected.png`, fullPage: true });
  await page.waitForTimeout(6000); // speech takes its time
}

await page.goto(`${base}/#token=${token}`);
await page.waitForFunction(() => document.getElementById('connection').textContent === 'connected', null, { timeout: 15000 });
say('ready');
if (mode === 'answer') {
  await page.waitForSelector('#incoming:not([hidden])', { timeout: 20000 });
  await page.screenshot({ path: `${folder}/incoming.png`, fullPage: true });
  say('ringing', { from: await page.textContent('#incoming-from'), focus: await page.evaluate(() => document.activeElement.id) });
  await page.keyboard.press('Enter'); // the answer button has the focus
  await converse();
  await page.keyboard.press('5');
  say('digit');
} else {
  for (const key of number.replace('+', '')) {
    await page.click(`#pad button[data-key="${key}"]`);
  }
  await page.fill('#number', number);
  await page.click('#dial');
  await converse();
  await page.waitForTimeout(500);
  await page.keyboard.press('Escape');
}
await page.waitForFunction(() => document.getElementById('hang-up').disabled, null, { timeout: 20000 });
await page.click('#ladder-box summary');
await page.waitForFunction(() => document.getElementById('ladder').textContent.includes('INVITE'), null, { timeout: 5000 });
await page.screenshot({ path: `${folder}/${mode}-ended.png`, fullPage: true });
const { base64, rate } = await page.evaluate(() => {
  const all = new Float32Array(window.heard.reduce((n, block) => n + block.length, 0));
  window.heard.reduce((offset, block) => (all.set(block, offset), offset + block.length), 0);
  let text = '';
  const bytes = new Uint8Array(all.buffer);
  for (let i = 0; i < bytes.length; i += 32768) {
    text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  }
  return { base64: btoa(text), rate: window.heardRate };
});
writeFileSync(`${folder}/heard.f32`, Buffer.from(base64, 'base64'));
say('done', {
  rate,
  timer: await page.textContent('#timer'),
  state: await page.textContent('#call-state'),
  quality: await page.textContent('#quality'),
  ladder: await page.textContent('#ladder'),
  complaints,
});
await browser.close();
