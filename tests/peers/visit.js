// What every journey through the page has: visitors, how a page must look, and orders to whoever stands beside the gateway, a line
// of words on standard output that is done once a line comes back.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const faults = [];

async function beside(what) {
  process.stdout.write(`${what}\n`);
  return (await answers.next()).value;
}

function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** A new browser profile, as one visitor has it. */
async function visitor(browser, { lang = "en", scheme = "light", width = 360, js = true, state, trusting = true } = {}) {
  const context = await browser.newContext({
    locale: lang, colorScheme: scheme, viewport: { width, height: width < 600 ? 740 : 900 }, javaScriptEnabled: js,
    ignoreHTTPSErrors: trusting, storageState: state, reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("console", (message) => {
    if (/Content.Security.Policy|Refused to/i.test(message.text())) faults.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  return { context, page, name: `${lang}-${scheme}-${width}${js ? "" : "-nojs"}`, js };
}

/** Screenshot, accessibility, and nothing that sticks out to the right. */
async function look(at, name, shots) {
  fs.mkdirSync(shots, { recursive: true });
  await at.page.screenshot({ path: path.join(shots, `${name}-${at.name}.png`), fullPage: true });
  if (!at.js) return;
  const wide = await at.page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
  if (wide) faults.push(`${name} ${at.name} scrolls sideways`);
  await at.page.evaluate(axe);
  const { violations } = await at.page.evaluate(() => axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
  }));
  for (const { id, nodes } of violations) {
    faults.push(`${name} ${at.name}: ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ").slice(0, 600)}`);
  }
}

/** The claim; somebody has confirmed it a moment ago. */
async function claim(at, url, code, password) {
  await at.page.goto(url);
  await at.page.fill("#code", code);
  await at.page.fill("#password", password);
  await at.page.fill("#again", password);
  await at.page.click("main button");
  await at.page.waitForSelector("nav.tabs");
}

/** Runs a journey; what went wrong on the way fails it at its end. */
function run(args, journey) {
  (async () => {
    const browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      args: ["--no-sandbox", "--host-resolver-rules=MAP gateway.local 127.0.0.1", ...args],
    });
    try {
      await journey(browser);
      check(faults.length === 0, `\n${[...new Set(faults)].join("\n")}`);
    } finally {
      await browser.close();
    }
    process.stdout.write("done\n", () => process.exit(0));
  })().catch((error) => {
    process.stderr.write(`${error.stack}\n${[...new Set(faults)].join("\n")}\n`);
    process.exit(1);
  });
}

module.exports = { beside, check, claim, faults, look, run, visitor };
