// A gateway whose broker settings, a visitor's browser name and its log hold script, and a lock that never comes: nothing runs, and the
// time that a lock has to come ends on the page.
"use strict";
const { beside, check, claim, look, run, visitor } = require("./visit.js");

const { url, code, password, label, hostile, shots } = JSON.parse(process.argv[2]);

/** The text is there as text, no element came of it, and nothing ran. */
async function inert(page, where) {
  check((await page.locator("main").textContent()).includes(hostile), `${where} shows it as text`);
  const made = await page.evaluate(() => document.querySelectorAll("main [onerror], main img[src='x'], main svg[onload]").length);
  check(made === 0, `${where} makes elements of it`);
  check((await page.evaluate(() => window.owned)) === undefined, `${where} runs it`);
}

run([], async (browser) => {
  const owner = await visitor(browser);
  const { page } = owner;
  await claim(owner, url, code, password);
  const state = await owner.context.storageState();
  await page.goto(`${url}pair`);
  await page.fill("#label", label);
  await page.click("main form.card button");
  await page.waitForURL(/\/pair\/[0-9a-f]{16}$/);
  check(/3:[0-5]\d|4:00/.test(await page.textContent("#time")), "four minutes to come");

  // Meanwhile: what the gateway's settings, log and visitors are called.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, userAgent: hostile, locale: "en", viewport: { width: 360, height: 740 } });
  const other = await context.newPage();
  await other.goto(url);
  await other.fill("#password", password);
  await other.click("main button");
  await other.waitForURL(url);
  const at = await visitor(browser, { state });
  const visits = [["", 1], ["broker", 1], ["log", 2], ["security", 1]];
  for (const [where, times] of visits) {
    for (let n = 0; n < times; n += 1) {
      await at.page.goto(url + where);
      // By the page, and by the events that replace its parts.
      await at.page.locator("main", { hasText: hostile }).waitFor();
      await at.page.waitForTimeout(2500);
      await inert(at.page, `/${where}`);
    }
    await look(at, `hostile-${where || "overview"}`, shots);
  }

  // By events, when the time is over.
  page.setDefaultTimeout(300_000);
  await page.locator("#outcome .note.warn").waitFor();
  await look(owner, "pair-window-over", shots);
  for (const given of [{ lang: "zh-CN", scheme: "dark", js: false }, { width: 1280 }]) {
    const one = await visitor(browser, { ...given, state });
    await one.page.goto(page.url());
    check(await one.page.locator("#outcome .note.warn").isVisible(), "who comes later sees it, too");
    await look(one, "pair-window-over", shots);
    await one.context.close();
  }
  check((await page.locator("#actions #again").count()) === 1, "it can be tried again");
  await page.click("#actions #stop");
  await page.waitForURL(/\/pair$/);
  check((await beside("is it gone")) === "gone", "who stops takes it back");
});
