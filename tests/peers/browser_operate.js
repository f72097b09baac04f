// Looks at the pages for operators in a real browser: both languages, light and dark, narrow and wide, with and without
// JavaScript. Somebody has confirmed the claim a moment ago, and lets locks in once it says that it has claimed.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const { url, code, password, lock, shots } = JSON.parse(process.argv[2]);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const faults = [];
const PAGES = {
  radios: "radios", zigbee: "radios/zigbee", broker: "broker", "broker-test": "broker/test", map: "map", log: "log",
  diagnosis: "diagnosis", system: "system", licences: "licences", lock: `locks/${lock}`,
};

async function visitor(browser, { lang = "en", scheme = "light", width = 360, js = true, state } = {}) {
  const context = await browser.newContext({
    locale: lang, colorScheme: scheme, viewport: { width, height: width < 600 ? 740 : 900 }, javaScriptEnabled: js,
    ignoreHTTPSErrors: true, storageState: state, reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("console", (message) => {
    if (/Content.Security.Policy|Refused to/i.test(message.text())) faults.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  return { context, page, name: `${lang}-${scheme}-${width}${js ? "" : "-nojs"}`, js };
}

async function look(at, name) {
  await at.page.screenshot({ path: path.join(shots, `${name}-${at.name}.png`), fullPage: true });
  if (!at.js) return;
  const wide = await at.page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
  if (wide) faults.push(`${name} ${at.name} scrolls sideways`);
  await at.page.evaluate(axe);
  const { violations } = await at.page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  for (const { id, nodes } of violations) {
    faults.push(`${name} ${at.name}: ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ").slice(0, 600)}`);
  }
}

async function main() {
  fs.mkdirSync(shots, { recursive: true });
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--host-resolver-rules=MAP gateway.local 127.0.0.1"],
  });
  const owner = await visitor(browser);
  await owner.page.goto(url);
  await owner.page.fill("[name=code]", code);
  await owner.page.fill("[name=password]", password);
  await owner.page.fill("[name=again]", password);
  await owner.page.click("main form button");
  await owner.page.waitForSelector("nav.tabs");
  const state = await owner.context.storageState();
  // Locks are let in now, beside the gateway.
  const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  process.stdout.write("claimed\n");
  await answers.next();

  for (const given of [
    {}, { width: 1280 }, { lang: "zh-CN", scheme: "dark" }, { lang: "zh-CN", width: 1280, scheme: "dark" }, { js: false },
  ]) {
    const at = await visitor(browser, { ...given, state });
    for (const [name, where] of Object.entries(PAGES)) {
      const answer = await at.page.goto(url + where);
      if (answer.status() !== 200) faults.push(`${name}: ${answer.status()}`);
      await look(at, name);
    }
    await at.context.close();
  }

  // A broker that is not there, told in words, without JavaScript as well as with it.
  for (const js of [true, false]) {
    const at = await visitor(browser, { state, js, width: 360 });
    await at.page.goto(`${url}broker/test`);
    await at.page.fill("[name=url]", "mqtt://127.0.0.1:1");
    await at.page.click("main form button.button");
    const said = await at.page.textContent("[role=alert]");
    if (!said.includes("Nothing listens on that port")) faults.push(`the broker's fault is not told: ${said}`);
    if (!said.includes("Nobody can be reached there") || said.includes("Something listens")) faults.push(`the step that failed is told as done: ${said}`);
    await look(at, "broker-failed");
    await at.context.close();
  }

  // The map is for keyboards: each lock is a link with a name.
  const at = await visitor(browser, { state });
  await at.page.goto(`${url}map`);
  await at.page.locator("svg.map a").first().focus();
  await Promise.all([at.page.waitForURL(/\/locks\/[0-9a-f]{16}$/), at.page.keyboard.press("Enter")]);

  await at.page.goto(`${url}diagnosis`);
  const [bundle] = await Promise.all([at.page.waitForEvent("download"), at.page.click("main form button")]);
  if (bundle.suggestedFilename() !== "cardea-diagnosis.tar.gz") faults.push(`the bundle is ${bundle.suggestedFilename()}`);
  await browser.close();
  for (const fault of faults) console.error(fault);
  process.exit(faults.length ? 1 : 0);
}

main().catch((error) => {
  console.error(error, faults);
  process.exit(1);
});
