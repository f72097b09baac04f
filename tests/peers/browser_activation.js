// A lock is paired, and what its owner's platform says of its activation is shown: a wrong code, the right one, and a lock that
// belongs to somebody already.
"use strict";
const { beside, check, claim, look, run, visitor } = require("./visit.js");

const { url, code, password, label, shots } = JSON.parse(process.argv[2]);

async function pair(page) {
  await page.goto(`${url}pair`);
  await page.fill("#label", label);
  await page.click("main form.card button");
  await page.waitForURL(/\/pair\/[0-9a-f]{16}$/);
}

run([], async (browser) => {
  const owner = await visitor(browser);
  const { page } = owner;
  await claim(owner, url, code, password);
  const state = await owner.context.storageState();
  await pair(page);
  await look(owner, "activation-waits", shots);
  // By events: the platform has a code that is not the lock's.
  await page.locator("#outcome .note.bad").waitFor();
  check((await page.textContent("#outcome")).includes("The owner code is wrong"), "a wrong code is told");
  check((await page.locator(".steps .late").count()) === 1, "the last step is not done");
  await look(owner, "activation-wrong-code", shots);
  for (const given of [{ lang: "zh-CN", scheme: "dark", width: 1280 }, { lang: "zh-CN", js: false }]) {
    const other = await visitor(browser, { ...given, state });
    await other.page.goto(page.url());
    check((await other.page.textContent("#outcome")).includes("所有者码不对"), "in Chinese, without JavaScript as with it");
    await look(other, "activation-wrong-code", shots);
    await other.context.close();
  }
  await beside("right code");
  await page.locator("#outcome .note.good h2", { hasText: "The lock is activated" }).waitFor();
  check((await page.locator(".steps .done").count()) === 4, "four steps are done");
  await look(owner, "activation-done", shots);

  // The same lock, blank again, as a thief would have it.
  await beside("blank lock");
  await pair(page);
  await page.locator("#outcome .note.bad").waitFor();
  check((await page.textContent("#outcome")).includes("belongs to somebody already"), "a lock with an owner is told");
  await look(owner, "activation-owned", shots);
});
