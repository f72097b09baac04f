// Drives a real browser through the gateway's page. What only somebody beside the gateway can do is asked of the test, one
// word a line on standard output, and done once a line comes back.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const { url, code, password, labels, shots } = JSON.parse(process.argv[2]);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const faults = [];

async function beside(what) {
  process.stdout.write(`${what}\n`);
  await answers.next();
}

function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** A new browser profile, as one visitor has it. */
async function visitor(browser, { lang = "en", scheme = "light", width = 360, js = true, state } = {}) {
  const context = await browser.newContext({
    locale: lang, colorScheme: scheme, viewport: { width, height: width < 600 ? 740 : 900 },
    javaScriptEnabled: js, ignoreHTTPSErrors: true, storageState: state, deviceScaleFactor: width < 600 ? 2 : 1,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("console", (message) => {
    const text = message.text();
    if (/Content.Security.Policy|Refused to/i.test(text)) faults.push(`${page.url()}: ${text}`);
  });
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) faults.push(`asks elsewhere: ${request.url()}`);
  });
  return { context, page, name: `${lang}-${scheme}-${width}${js ? "" : "-nojs"}`, js, width };
}

/** Screenshot, accessibility, and nothing that sticks out to the right. */
async function look(at, name) {
  await at.page.screenshot({ path: path.join(shots, `${name}-${at.name}.png`), fullPage: true });
  if (await at.page.locator("#lost").isVisible()) faults.push(`${name} ${at.name}: says that the gateway does not answer`);
  if (!at.js) return;
  const sticksOut = await at.page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
  if (sticksOut) faults.push(`${name} ${at.name} scrolls sideways`);
  await at.page.evaluate(axe);
  const { violations } = await at.page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  for (const { id, nodes } of violations) {
    faults.push(`${name} ${at.name}: ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ").slice(0, 600)}`);
  }
}

async function claim(at) {
  const { page } = at;
  await page.goto(url);
  check(page.url().endsWith("/claim"), `nothing but the claim: ${page.url()}`);
  await page.fill("#code", code);
  await page.fill("#password", password);
  await page.fill("#again", password);
  await page.click("main button");
  check(await page.locator("[role=alert]").isVisible(), "a claim without presence is refused");
  await look(at, "claim-refused");
  await beside("confirm");
  await page.fill("#code", code);
  await page.fill("#password", password);
  await page.fill("#again", password);
  await page.click("main button");
  await page.waitForURL(url);
}

async function signIn(at) {
  await at.page.goto(url);
  check(at.page.url().endsWith("/sign-in"), `a stranger signs in: ${at.page.url()}`);
  await at.page.fill("#password", "not the password at all");
  await at.page.click("main button");
  check(await at.page.locator("[role=alert]").isVisible(), "a wrong password is refused");
  await at.page.fill("#password", password);
  await at.page.click("main button");
  await at.page.waitForURL(url);
}

/** From the overview to a lock that is paired, seen, and removed again. */
async function journey(at, number, done) {
  const { page } = at;
  await page.click("main .head a.button");
  await page.waitForURL(/\/pair$/);
  await page.fill("#label", labels[number].replace(/.$/, (c) => (c === "0" ? "1" : "0")));
  await page.click("main form button");
  check(await page.locator("[role=alert]").isVisible(), "a mistyped label is refused");
  await look(at, "pair-mistyped");
  await page.fill("#label", labels[number]);
  await page.click("main form button");
  await page.waitForURL(/\/pair\/[0-9a-f]{16}$/);
  await look(at, "pairing");
  await beside(`join ${number}`);
  await beside(`speak ${number}`);
  // By events, or by the page that loads itself anew.
  await page.locator(".note.good").waitFor();
  await look(at, "paired");
  check((await page.locator(".steps .done").count()) === 3, "three steps are done");
  await page.click("#actions a.second");
  await page.waitForURL(/\/locks\/[0-9a-f]{16}$/);
  await look(at, "lock");
  await done();
  await page.click("main .buttons a");
  await page.waitForURL(/\/remove$/);
  await look(at, "remove");
  await page.click("main .danger");
  await page.waitForURL(/\/locks$/);
  check((await page.locator(".list li").count()) === 0, "the lock is gone");
}

async function main() {
  fs.mkdirSync(shots, { recursive: true });
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--host-resolver-rules=MAP gateway.local 127.0.0.1"],
  });
  try {
    const looks = [];
    for (const lang of ["en", "zh-CN"]) for (const scheme of ["light", "dark"]) for (const width of [360, 1280]) {
      looks.push({ lang, scheme, width });
    }
    for (const one of looks) {
      const at = await visitor(browser, one);
      await at.page.goto(url);
      await look(at, "claim");
      await at.context.close();
    }

    const owner = await visitor(browser, {});
    await claim(owner);
    const state = await owner.context.storageState();
    await journey(owner, 0, async () => {
      for (const one of looks) {
        const at = await visitor(browser, { ...one, state });
        for (const [name, where] of [["overview", ""], ["locks", "locks"], ["pair", "pair"], ["security", "security"], ["about", "about"], ["prove", "prove?for=pair"]]) {
          await at.page.goto(url + where);
          await look(at, name);
        }
        await at.context.close();
        const stranger = await visitor(browser, one);
        await stranger.page.goto(url);
        await look(stranger, "sign-in");
        await stranger.context.close();
      }
    });

    // The other end of everything: no JavaScript, the other language, dark, wide.
    const other = await visitor(browser, { lang: "zh-CN", scheme: "dark", width: 1280, js: false });
    await signIn(other);
    check((await other.page.locator("html").getAttribute("lang")) === "zh-CN", "the browser's language");
    await other.page.click("button[name=tag]");
    check((await other.page.locator("html").getAttribute("lang")) === "en", "the chosen language");
    await journey(other, 1, async () => {});

    // A broker that goes is shown to whoever looks, without a new page.
    await owner.page.goto(url);
    await owner.page.locator("#cards .chip.good").first().waitFor();
    await beside("broker-down");
    await owner.page.locator(".note.bad").waitFor();
    await look(owner, "broker-down");
    // A session that is ended elsewhere ends where it is looked at.
    await other.page.goto(`${url}security`);
    await other.page.click("button[value=others]");
    await owner.page.waitForURL(/\/sign-in$/);
    check(faults.length === 0, `\n${[...new Set(faults)].join("\n")}`);
  } finally {
    await browser.close();
  }
  // What is still open (standard input) does not keep it.
  process.stdout.write("done\n", () => process.exit(0));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n${[...new Set(faults)].join("\n")}\n`);
  process.exit(1);
});
