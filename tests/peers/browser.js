// Drives a real browser through the gateway's page. What only somebody beside the gateway can do is asked of the test, a line of
// words on standard output, and done once a line comes back: what the test has to say to it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const { url, code, password, labels, pictures, shots } = JSON.parse(process.argv[2]);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const faults = [];
const begun = Date.now();

/** Each language with each scheme, each width and each other: four of the eight. */
const LOOKS = [
  { lang: "en", scheme: "light", width: 360 }, { lang: "en", scheme: "dark", width: 1280 },
  { lang: "zh-CN", scheme: "dark", width: 360 }, { lang: "zh-CN", scheme: "light", width: 1280 },
];

function progress(what) {
  process.stderr.write(`${((Date.now() - begun) / 1000).toFixed(1)} s ${what}\n`);
}

async function beside(what) {
  process.stdout.write(`${what}\n`);
  return (await answers.next()).value;
}

function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** A new browser profile, as one visitor has it. */
async function visitor(browser, { lang = "en", scheme = "light", width = 360, js = true, state } = {}) {
  const context = await browser.newContext({
    locale: lang, colorScheme: scheme, viewport: { width, height: width < 600 ? 740 : 900 },
    javaScriptEnabled: js, ignoreHTTPSErrors: true, storageState: state, reducedMotion: "reduce",
    permissions: ["camera"],
  });
  // Chromium on Linux reads no codes itself: here another program does it, behind the browser's own interface.
  await context.exposeFunction("readCode", async (width, height, pixels) => {
    const { decodeQR: decode } = await import(path.join(process.env.NODE_PATH, "qr/decode.js"));
    try {
      return decode({ width, height, data: new Uint8Array(Buffer.from(pixels, "base64")) });
    } catch {
      return "";
    }
  });
  await context.addInitScript(() => {
    window.BarcodeDetector = class {
      static async getSupportedFormats() { return ["qr_code"]; }
      async detect(canvas) {
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        let text = "";
        for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
        const rawValue = await window.readCode(width, height, btoa(text));
        return rawValue ? [{ rawValue }] : [];
      }
    };
  });
  const page = await context.newPage();
  page.setDefaultTimeout(90_000);
  page.on("console", (message) => {
    const text = message.text();
    if (/Content.Security.Policy|Permissions.Policy|Refused to/i.test(text)) faults.push(`${page.url()}: ${text}`);
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
  const { violations } = await at.page.evaluate(() => axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
  }));
  for (const { id, nodes } of violations) {
    faults.push(`${name} ${at.name}: ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ").slice(0, 600)}`);
  }
}

/** Each of these pages in each look, several visitors at a time: a browser has a process for each. */
async function lookAround(browser, state, pages) {
  const one = async (each) => {
    const at = await visitor(browser, { ...each, state });
    for (const [name, where] of pages) {
      await at.page.goto(url + where);
      await look(at, name);
    }
    await at.context.close();
  };
  await Promise.all(LOOKS.map(one));
}

async function claim(at) {
  const { page } = at;
  await page.goto(url);
  check(page.url().endsWith("/claim"), `nothing but the claim: ${page.url()}`);
  const send = async (what) => {
    await page.fill("#code", what);
    await page.fill("#password", password);
    await page.fill("#again", password);
    await page.click("main button");
  };
  await send(code);
  check(await page.locator("[role=alert]").isVisible(), "a claim without presence is refused");
  await look(at, "claim-refused");
  await beside("confirm");
  await send("0000-0000-0000-0000");
  check(await page.locator("[role=alert]").isVisible(), "a wrong code is refused");
  await send(code);
  await page.waitForURL(url);
}

async function signIn(at, right = password) {
  await at.page.goto(url);
  check(at.page.url().endsWith("/sign-in"), `a stranger signs in: ${at.page.url()}`);
  await at.page.fill("#password", "not the password at all");
  await at.page.click("main button");
  check(await at.page.locator("[role=alert]").isVisible(), "a wrong password is refused");
  await at.page.fill("#password", right);
  await at.page.click("main button");
  await at.page.waitForURL(url);
}

/** By the text in the field, or by a picture of the label, as a photo or before the camera. */
async function giveLabel(page, radio, by) {
  await page.goto(`${url}pair`);
  if (by === "text") return page.fill("#label", labels[radio]);
  const posted = [];
  page.on("request", (request) => { if (request.method() === "POST") posted.push(request.postData() ?? ""); });
  if (by === "photo") {
    await page.setInputFiles("#photo", pictures[radio]);
  } else {
    await page.click("#camera");
  }
  await page.waitForFunction(() => document.getElementById("label").value !== "");
  check((await page.inputValue("#label")).toLowerCase() === labels[radio].toLowerCase(), "the label that is in the picture");
  check(posted.length === 0, "nothing is sent by looking");
}

/** From its label to a lock that is paired, seen, and removed again. */
async function journey(at, radio, { by = "text", meanwhile = async () => {} } = {}) {
  const { page } = at;
  await giveLabel(page, radio, by);
  await page.click("main form.card button");
  await page.waitForURL(/\/pair\/[0-9a-f]{16}$/);
  await look(at, `pairing-${radio}`);
  await beside(`wake ${radio}`);
  // By events, or by the page that loads itself anew.
  await page.locator("#outcome .note.good").waitFor();
  await look(at, `paired-${radio}`);
  check((await page.locator(".steps .done").count()) === 3, "three steps are done");
  await page.click("#actions a.second");
  await page.waitForURL(/\/locks\/[0-9a-f]{16}$/);
  await look(at, `lock-${radio}`);
  await meanwhile();
  await page.click("main .buttons a");
  await page.waitForURL(/\/remove$/);
  await look(at, `remove-${radio}`);
  await page.click("main .danger");
  await page.waitForURL(/\/locks$/);
  check((await page.locator(".list li").count()) === 0, "the lock is gone");
  progress(`${radio} paired and removed by ${by}`);
}

/** What a label must not be, and the owner code that must not even be shown. */
async function refusals(at) {
  const { page } = at;
  await page.goto(`${url}pair`);
  await page.fill("#label", labels.loopback.replace(/.$/, (c) => (c === "0" ? "1" : "0")));
  await page.click("main form.card button");
  check(await page.locator("[role=alert]").isVisible(), "a mistyped label is refused");
  await look(at, "pair-mistyped");
  await page.goto(`${url}pair`);
  await page.setInputFiles("#photo", pictures.owner);
  await page.waitForFunction((words) => document.getElementById("scanned").textContent === words,
    await page.getAttribute("#scan", "data-other"));
  check((await page.inputValue("#label")) === "", "another code than a label's stays out of the form");
  await page.setInputFiles("#photo", pictures.empty);
  await page.waitForFunction((words) => document.getElementById("scanned").textContent === words,
    await page.getAttribute("#scan", "data-none"));
}

async function main() {
  fs.mkdirSync(shots, { recursive: true });
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--host-resolver-rules=MAP gateway.local 127.0.0.1", "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${pictures.camera}`],
  });
  try {
    await lookAround(browser, undefined, [["claim", ""]]);
    progress("the claim's looks");
    const owner = await visitor(browser, {});
    await claim(owner);
    progress("claimed");
    await refusals(owner);
    const state = await owner.context.storageState();
    // LoRaWAN keeps its own time: whatever else there is to see is seen meanwhile.
    const other = await visitor(browser, { lang: "zh-CN", scheme: "dark", width: 1280, js: false });
    await signIn(other);
    check((await other.page.locator("html").getAttribute("lang")) === "zh-CN", "the browser's language");
    await other.page.click("button[name=tag]");
    check((await other.page.locator("html").getAttribute("lang")) === "en", "the chosen language");
    await journey(owner, "zigbee", { by: "photo" });
    await journey(other, "loopback");
    await journey(owner, "subghz");
    await journey(owner, "lora", { by: "camera", meanwhile: async () => {
      await lookAround(browser, state, [["overview", ""], ["locks", "locks"], ["pair", "pair"], ["security", "security"],
        ["password", "security/password"], ["about", "about"], ["prove", "prove?for=pair"]]);
      await lookAround(browser, undefined, [["sign-in", "sign-in"], ["recover", "recover"]]);
      progress("all looks");
    } });

    // A radio and a broker that go are shown to whoever looks, without a new page, and what to do.
    await owner.page.goto(url);
    await owner.page.locator("#cards .chip.good").first().waitFor();
    await beside("unplug");
    await owner.page.locator(".note.bad").waitFor();
    await look(owner, "radio-unplugged");
    await beside("plug");
    await owner.page.locator(".note.bad").waitFor({ state: "detached" });
    await beside("broker-down");
    await owner.page.locator(".note.bad").waitFor();
    await look(owner, "broker-down");
    progress("radio and broker");

    // A session that is ended elsewhere ends where it is looked at; and a forgotten password is set anew.
    await other.page.goto(`${url}security`);
    await other.page.click("button[value=others]");
    await owner.page.waitForURL(/\/sign-in$/);
    const recovery = await beside("recover");
    await owner.page.click("main a[href='/recover']");
    await owner.page.fill("#code", recovery);
    await owner.page.fill("#password", `${password} neu`);
    await owner.page.fill("#again", `${password} neu`);
    await owner.page.click("main form.card button");
    await owner.page.waitForURL(/\/security$/);
    await look(owner, "recovered");
    await other.page.goto(url);
    check(other.page.url().endsWith("/sign-in"), "who was signed in before is not any more");
    await signIn(other, `${password} neu`);
    progress("recovered");
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
